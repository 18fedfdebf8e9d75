"""The images: digits, any TFDS data set, or a .npy/.npz file, in three parts that share no image.

Shapes: images [N, H, W, C], uint8 in 0 .. 255 or float32 in [0, 1]; labels int64 [N], or None.
"""

import importlib.resources
import importlib.util
import os
import sys
import threading
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae import noise
from tfvae.config import Config, InputError, is_file_name
from tfvae.noise import Stream

_NETWORK_SECONDS = 4.0
_SPLIT_SEED = 0  # the test set and its binarization are the same in every run, whatever --seed says


class Split(NamedTuple):
    """Images and, where there are some, their labels."""

    images: np.ndarray
    labels: np.ndarray | None

    def rows(self, which: Any) -> "Split":
        """The images (and labels) of these rows."""
        return Split(self.images[which], None if self.labels is None else self.labels[which])


class Dataset(NamedTuple):
    """Three disjoint parts. `test` is fixed: it depends on the data set alone."""

    train: Split
    validation: Split
    test: Split

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.train.images.shape[1:]

    def fingerprint(self) -> str:
        """Changes when the images do."""
        value = 0
        for split in self:
            value = zlib.crc32(np.ascontiguousarray(split.images), value)
        return f"{value:08x}"

    def describe(self) -> str:
        sizes = f"{len(self.train.images):,} train, {len(self.validation.images):,} validation, "
        return sizes + f"{len(self.test.images):,} test images of {'x'.join(map(str, self.image_shape))}"


def resolve(config: Config) -> tuple[str, str]:
    """What `--dataset` stands for, and a line that says which data are taken and why."""
    name = config.dataset
    if is_file_name(name):
        name = str(Path(name).expanduser().absolute())
    if name != "auto":
        return name, f"data: {name}"
    try:
        _prepare("mnist", config.data_dir)
    except InputError as error:
        return "digits", f"data: digits (mnist {error.why})"
    return "mnist", "data: mnist (it is here)"


def load(config: Config) -> Dataset:
    """Loads `config.dataset` (resolved), splits and binarizes it.

    Raises:
        InputError: it can't be had, or isn't images.
    """
    name = config.dataset
    if name == "digits":
        parts = _digits()
    elif is_file_name(name):
        parts = _from_file(Path(name).expanduser())
    else:
        parts = _from_tfds(name, config.data_dir)
    parts = {part: Split(_as_images(name, s.images), s.labels) for part, s in parts.items() if s is not None}
    if "train" not in parts:
        raise InputError(f"--dataset={name}: must have a train split")
    if all(s.images.dtype == np.uint8 and s.images.max() <= 1 for s in parts.values()):
        # binary sets come as 0 and 1 as often as 0 and 255
        parts = {part: s._replace(images=s.images * np.uint8(255)) for part, s in parts.items()}
    dataset = _split(parts, config.validation_examples)
    if len({s.images.shape[1:] for s in dataset}) > 1 or len({s.images.dtype for s in dataset}) > 1:
        raise InputError(f"--dataset={name}: must have images of one shape and type in all its parts")
    if config.batch_size > len(dataset.train.images):
        raise InputError(
            f"--batch_size={config.batch_size}: must be at most the {len(dataset.train.images):,} training images"
        )
    if config.dequantize:
        if dataset.train.images.dtype != np.uint8:
            raise InputError(f"--dequantize=True: must have 8-bit pixels, and {name} has fractions")
        return dataset._replace(validation=_dequantize(dataset.validation, 1), test=_dequantize(dataset.test, 2))
    return dataset._replace(
        train=_binarize(dataset.train, "none" if config.binarize == "stochastic" else config.binarize, 0),
        validation=_binarize(dataset.validation, config.binarize, 1),
        test=_binarize(dataset.test, config.binarize, 2),
    )


def changed(config: Config, run_dir: os.PathLike[str]) -> InputError:
    """What to raise where the images are not those of a run."""
    return InputError(f"--dataset={config.dataset}: must be the images that {run_dir} was made with: they changed")


def _split(parts: dict[str, Split], validation_examples: int | None) -> Dataset:
    """Makes train, validation and test of the parts that there are."""
    train, validation, test = parts["train"], parts.get("validation"), parts.get("test")
    if test is None:  # a tenth, by a draw that every run shares; the rest keep their order
        size = len(train.images)
        if size < 10:
            raise InputError(f"--dataset: must have at least 10 images, and has {size}")
        chosen = np.zeros(size, bool)
        chosen[noise.permutation(size, noise.seed_for(_SPLIT_SEED, Stream.SHUFFLE)).numpy()[: round(size / 10)]] = True
        train, test = train.rows(~chosen), train.rows(chosen)
    size = len(train.images) if validation is None else len(validation.images)
    if validation_examples is None:
        # a small set spares a tenth of what it had before the test images were taken off
        spare = min(5_000, round(sum(len(s.images) for s in (train, test)) / 10))
        validation_examples = min(spare, size // 2) if validation is None else size
    limit = size - 1 if validation is None else size
    if validation_examples > limit:
        raise InputError(f"--validation_examples={validation_examples}: must be auto or at most {limit:,}")
    if validation is None:
        cut = size - validation_examples
        train, validation = train.rows(slice(cut)), train.rows(slice(cut, None))
    return Dataset(train, validation.rows(slice(validation_examples)), test)


def _binarize(split: Split, how: str, part: int) -> Split:
    """Applies `--binarize` once and for all: uint8 0 or 255."""
    if how == "none" or not len(split.images):
        return split
    images = split.images if split.images.dtype == np.float32 else split.images.astype(np.float32) / 255
    if how == "threshold":
        ones = images > 0.5
    else:
        ones = noise.bernoulli(images, noise.seed_for(_SPLIT_SEED, Stream.BINARIZE, part)).numpy() > 0
    return split._replace(images=ones.astype(np.uint8) * 255)


def _dequantize(split: Split, part: int) -> Split:
    """Adds the uniform noise of `--dequantize` once and for all: float32."""
    if not len(split.images):
        return split
    images = tf.image.convert_image_dtype(split.images, tf.float32)
    return split._replace(images=noise.dequantize(images, noise.seed_for(_SPLIT_SEED, Stream.BINARIZE, part)).numpy())


def _as_images(name: str, array: np.ndarray) -> np.ndarray:
    """Checks and normalises to [N, H, W, C], uint8 or float32 in [0, 1]."""
    where = f"--dataset={name}: must be images [N, H, W] or [N, H, W, C]"
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError(f"{where}, and has the shape {list(array.shape)}")
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer):
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise InputError(f"{where} of whole numbers from 0 to 255, and has some from {low} to {high}")
        array = array.astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise InputError(f"{where} of finite numbers in [0, 1] (or whole numbers from 0 to 255)")
        array = array.astype(np.float32)
    else:
        raise InputError(f"{where} of numbers, and has the type {array.dtype}")
    return array[..., None] if array.ndim == 3 else array


def _digits() -> dict[str, Split]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return {"train": Split((digits.images / 16).astype(np.float32), digits.target)}


def _from_file(path: Path) -> dict[str, Split | None]:
    """.npy: the images. .npz: `train`, `validation`, `test` (or Keras's `x_train`, `x_test`), or one array `images`;
    labels in `y_train`, `y_validation`, `y_test`, or `labels`."""
    where = f"--dataset={path}"
    try:
        with open(path, "rb") as file:  # NumPy itself leaves a damaged .npz open
            loaded = np.load(file, allow_pickle=False)
            arrays = (
                {"images": loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
            )
    except Exception as error:  # a damaged file raises anything from OSError to TokenError
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: must be a readable .npy or .npz file without pickles: {reason}") from None
    if wrong := [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise InputError(f"{where}: must hold arrays alone, and {wrong[0]} is none")

    def part(name: str) -> Split | None:
        found = [k for k in (f"x_{name}", name, *(("images",) if name == "train" else ())) if k in arrays]
        if not found:
            return None
        images = arrays[found[0]]
        labels = arrays.get(f"y_{name}", arrays.get("labels") if name == "train" else None)
        if labels is not None and (labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer)):
            raise InputError(f"{where}: must have a whole number for each image as its labels, or none")
        return Split(images, labels)

    parts = {name: part(name) for name in ("train", "validation", "test")}
    if parts["train"] is None:
        found = ", ".join(arrays) or "none"
        raise InputError(f"{where}: must hold an array images, train or x_train, and has {found}")
    return parts


def _from_tfds(name: str, data_dir: str | None) -> dict[str, Split | None]:
    import tensorflow_datasets as tfds

    builder = _prepare(name, data_dir)
    features = builder.info.features
    if "image" not in features or None in features["image"].shape:
        raise InputError(f"--dataset={name}: must have an image of one size in each example")
    label = "label" if "label" in features and features["label"].shape == () else None

    def part(split: str) -> Split | None:
        if split not in builder.info.splits:
            return None
        read = {key: True for key in ("image", label) if key}
        decoders = tfds.decode.PartialDecoding(read)
        examples = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1, decoders=decoders))
        return Split(examples["image"], examples[label] if label else None)

    return {split: part(split) for split in ("train", "validation", "test")}


def _prepare(name: str, data_dir: str | None) -> Any:
    """A TFDS builder whose data are on disk; downloads and prepares them if need be and if it can be done.

    Raises:
        InputError: unknown, or not to be had.
    """
    if importlib.util.find_spec("importlib_resources") is None:  # TFDS 4.9.10 imports it and doesn't depend on it
        sys.modules["importlib_resources"] = importlib.resources
    import tensorflow_datasets as tfds

    def refuse(why: str, ways: str = "") -> InputError:
        return InputError(f"--dataset={name}: {why}{ways}", why)

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except Exception:  # AssertionError for a version, TypeError for a setting, ...
        raise refuse("must be auto, digits, the name of a TFDS data set, or a path to .npy or .npz images") from None
    try:
        if builder.is_prepared():
            return builder
    except OSError as error:
        raise refuse(f"can't be looked for in {builder._data_dir_root}: {error.strerror}") from None
    manual = Path(builder._data_dir_root) / "downloads" / "manual"
    infos = builder.url_infos
    at_hand = [(manual / os.path.basename(url)) for url in infos]
    if not infos or not all(os.path.isfile(f) and f.stat().st_size == i.size for f, i in zip(at_hand, infos.values())):
        reason = _no_network(next(iter(infos), "https://storage.googleapis.com"))
        if reason:
            raise refuse(
                f"is not prepared in {builder._data_dir_root} and can't be downloaded ({reason})",
                f"; name the directory that has it by --data_dir or TFDS_DATA_DIR, put its files into {manual}, or "
                "take --dataset=digits",
            )
    try:
        if not sys.stderr.isatty():
            tfds.disable_progress_bar()
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # TFDS raises what its many parts raise, without a common base
        raise refuse(f"could not be prepared: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
    return builder


def _no_network(url: str) -> str | None:
    """Why `url`'s server can't be reached, or None; TFDS's own retries would take minutes to find out."""
    found: list[str | None] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_NETWORK_SECONDS)
            found.append(None)
        except urllib.error.HTTPError as error:
            found.append(None if error.code in (405, 501) else f"the server answers {error.code}")  # those mind HEAD
        except OSError as error:
            reason = getattr(error, "reason", error)
            found.append(f"no network: {getattr(reason, 'strerror', None) or reason}")

    thread = threading.Thread(target=ask, daemon=True)  # a look-up of a name has no time limit of its own
    thread.start()
    thread.join(_NETWORK_SECONDS)
    return found[0] if found else f"no network: no answer in {_NETWORK_SECONDS:g} s"
