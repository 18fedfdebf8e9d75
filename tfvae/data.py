"""The images: digits, any TFDS data set, or a .npy/.npz file, in three parts that share no image.

Shapes: images [N, H, W, C], uint8 in 0 .. 255 or float32 in [0, 1]; labels int64 [N], or None.
"""

import fcntl
import importlib.resources
import importlib.util
import math
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
_FINGERPRINTED = 2**30  # bytes of a part; of a larger one some images stand for all
_MOST_TEST_IMAGES = 10_000  # that are taken off a set without a test part: a tenth at most
_SPLIT_SEED = 0  # the test set and its binarization are the same in every run, whatever --seed says


class Stored:
    """Training images [N, H, W, C] that stay in a .npy file, for they are larger than the memory they may take.

    `which` are their rows in the file, whose pixels are multiplied by `scale`, and, for `threshold`, made 0 or 255.
    """

    def __init__(self, array: np.ndarray, which: np.ndarray, scale: int = 1, threshold: bool = False) -> None:
        self.array, self.which, self.scale, self.threshold = array, which, scale, threshold
        self.shape = (len(which), *array.shape[1:], *(1,) * (4 - array.ndim))
        self.dtype = np.dtype(np.uint8) if threshold or array.dtype == bool else array.dtype
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.which)

    def rows(self, which: Any) -> "Stored":
        return Stored(self.array, self.which[which], self.scale, self.threshold)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """These rows' images: uint8 or float32, as those in memory.

        Raises:
            InputError: a pixel is not in [0, 1], or the file has become shorter.
        """
        places, path = self.which[rows], self.array.filename
        images = np.empty((len(rows), *self.array.shape[1:]), self.array.dtype)
        with open(path, "rb", buffering=0) as file:  # a mapped file reads megabytes ahead at each of these places
            for i in np.argsort(places, kind="stable").tolist():  # for the disk
                start = self.array.offset + int(places[i]) * images[i].nbytes
                if os.preadv(file.fileno(), [images[i]], start) < images[i].nbytes:
                    raise InputError(f"--dataset={path}: must stay as it is, and has become shorter")
        if images.dtype != np.float32:
            images = images.astype(np.uint8, copy=False) * np.uint8(self.scale)
        elif not (images.min(initial=0) >= 0 and images.max(initial=1) <= 1):  # so is one that is no number
            wrong = next(p for p, image in zip(places, images) if not (image.min() >= 0 and image.max() <= 1))
            raise InputError(f"--dataset={path}: must be of finite numbers in [0, 1], and images[{wrong}] is not")
        images = _ones(images) if self.threshold else images
        return images.reshape(len(rows), *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read(np.arange(len(self))).astype(dtype or self.dtype, copy=False)


class Split(NamedTuple):
    """Images and, where there are some, their labels."""

    images: np.ndarray | Stored
    labels: np.ndarray | None

    def rows(self, which: Any) -> "Split":
        """The images (and labels) of these rows."""
        images = self.images.rows(which) if isinstance(self.images, Stored) else self.images[which]
        return Split(images, None if self.labels is None else self.labels[which])

    def in_memory(self) -> "Split":
        return self._replace(images=np.asarray(self.images))


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
        """Changes when the images do; of a part larger than 1 GB, when one of some thousand or their number does.

        It is the same of images in memory and on disk.
        """
        value = 0
        for images in (split.images for split in self):
            rows = np.arange(len(images))
            if images.nbytes > _FINGERPRINTED:
                value = zlib.crc32(b"%d" % len(images), value)
                rows = np.linspace(0, len(images) - 1, 4_096).astype(int)
            for some in np.array_split(rows, images.nbytes // 2**25 + 1):
                some = images.read(some) if isinstance(images, Stored) else images[some]
                value = zlib.crc32(np.ascontiguousarray(some), value)
        return f"{value:08x}"

    def describe(self) -> str:
        sizes = f"{len(self.train.images):,} train, {len(self.validation.images):,} validation, "
        sizes += f"{len(self.test.images):,} test images of {'x'.join(map(str, self.image_shape))}"
        return sizes + ("; training images are read from disk" if isinstance(self.train.images, Stored) else "")


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
        parts = _from_file(Path(name).expanduser(), memory_bytes(config))
    else:
        parts = _from_tfds(name, config.data_dir, memory_bytes(config))
    parts = {part: Split(_as_images(name, s.images), s.labels) for part, s in parts.items() if s is not None}
    if "train" not in parts:
        raise InputError(f"--dataset={name}: must have a train split")
    if all(s.images.dtype == np.uint8 and _is_binary(s.images) for s in parts.values()):
        # binary sets come as 0 and 1 as often as 0 and 255
        for part, s in parts.items():
            stored = isinstance(s.images, Stored)
            images = Stored(s.images.array, s.images.which, 255) if stored else s.images * np.uint8(255)
            parts[part] = s._replace(images=images)
    dataset = _split(parts, config.validation_examples)
    dataset = dataset._replace(validation=dataset.validation.in_memory(), test=dataset.test.in_memory())
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


def memory_bytes(config: Config) -> float:
    """What training images may take; larger ones stay on disk."""
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
    return half if config.memory_gb is None else config.memory_gb * 1e9


def load_of(config: Config, fingerprint: str) -> Dataset:
    """`load`, of the images that the run in `config.run_dir` was made with; raises InputError if they are others."""
    dataset = load(config)
    if dataset.fingerprint() != fingerprint:
        raise changed(config, config.run_dir)
    return dataset


def changed(config: Config, run_dir: os.PathLike[str]) -> InputError:
    """What to raise where the images are not those of a run."""
    return InputError(f"--dataset={config.dataset}: must be the images that {run_dir} was made with: they changed")


def _split(parts: dict[str, Split], validation_examples: int | None) -> Dataset:
    """Makes train, validation and test of the parts that there are."""
    train, validation, test = parts["train"], parts.get("validation"), parts.get("test")
    if test is None:  # by a draw that every run shares; the rest keep their order
        size = len(train.images)
        if size < 10:
            raise InputError(f"--dataset: must have at least 10 images, and has {size}")
        chosen = np.zeros(size, bool)
        order = noise.permutation(size, noise.seed_for(_SPLIT_SEED, Stream.SHUFFLE))
        chosen[order[: min(round(size / 10), _MOST_TEST_IMAGES)]] = True
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
    if how == "threshold" and isinstance(split.images, Stored):
        return split._replace(images=Stored(split.images.array, split.images.which, split.images.scale, True))
    if how == "threshold":
        return split._replace(images=_ones(split.images))
    images = split.images if split.images.dtype == np.float32 else split.images.astype(np.float32) / 255
    ones = noise.bernoulli(images, noise.seed_for(_SPLIT_SEED, Stream.BINARIZE, part)).numpy() > 0
    return split._replace(images=ones.astype(np.uint8) * 255)


def _ones(images: np.ndarray) -> np.ndarray:
    """255 where a pixel is above a half, else 0."""
    return (images > (0.5 if images.dtype == np.float32 else 127)).astype(np.uint8) * np.uint8(255)


def _is_binary(images: np.ndarray | Stored) -> bool:
    """Whether no value is above 1; reads no further than the first that is."""
    array = images.array if isinstance(images, Stored) else images
    return array.dtype == bool or all(array[i : i + 10_000].max() <= 1 for i in range(0, len(array), 10_000))


def _dequantize(split: Split, part: int) -> Split:
    """Adds the uniform noise of `--dequantize` once and for all: float32."""
    if not len(split.images):
        return split
    images = tf.image.convert_image_dtype(split.images, tf.float32)
    return split._replace(images=noise.dequantize(images, noise.seed_for(_SPLIT_SEED, Stream.BINARIZE, part)).numpy())


def _as_images(name: str, array: np.ndarray | Stored) -> np.ndarray | Stored:
    """Checks and normalises to [N, H, W, C], uint8 or float32 in [0, 1]."""
    where = f"--dataset={name}: must be images [N, H, W] or [N, H, W, C]"
    raw = array.array if isinstance(array, Stored) else array
    if raw.ndim not in (3, 4) or 0 in raw.shape:
        raise InputError(f"{where}, and has the shape {list(raw.shape)}")
    if raw is not array:
        if raw.dtype not in (bool, np.uint8, np.float32) or not raw.flags.c_contiguous:
            order = "" if raw.flags.c_contiguous else " in Fortran order"
            raise InputError(
                f"{where} of uint8 or float32 in C order, not {raw.dtype}{order}, to be larger than --memory_gb"
            )
        return array
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


def _from_file(path: Path, memory: float) -> dict[str, Split | None]:
    """.npy: the images, which stay in the file if they take more than `memory` bytes.

    .npz: `train`, `validation`, `test` (or Keras's `x_train`, `x_test`), or one array `images`; labels in `y_train`,
    `y_validation`, `y_test`, or `labels`.
    """
    where = f"--dataset={path}"
    try:
        with open(path, "rb") as file:  # NumPy itself leaves a damaged .npz open
            if path.suffix == ".npy" and path.stat().st_size > memory:
                return {"train": Split(_on_disk(path), None)}
            loaded = np.load(file, allow_pickle=False)
            members = [] if isinstance(loaded, np.ndarray) else loaded.zip.infolist()
            if sum(member.file_size for member in members) > memory:
                raise InputError(f"{where}: must be a .npy of the images alone, or --memory_gb more, to be that large")
            arrays = (
                {"images": loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
            )
    except InputError:
        raise
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


def _from_tfds(name: str, data_dir: str | None, memory: float) -> dict[str, Split | None]:
    import tensorflow_datasets as tfds

    builder = _prepare(name, data_dir)
    features = builder.info.features
    if "image" not in features or None in features["image"].shape:
        raise InputError(f"--dataset={name}: must have an image of one size in each example")
    label = "label" if "label" in features and features["label"].shape == () else None

    def part(split: str) -> Split | None:
        if split not in builder.info.splits:
            return None
        image_bytes = math.prod(features["image"].shape) * np.dtype(features["image"].np_dtype).itemsize
        large = split == "train" and builder.info.splits[split].num_examples * image_bytes > memory
        try:
            images, labels = _unpacked(builder, split, label)
        except OSError as error:
            if large:
                raise InputError(
                    f"--data_dir={builder._data_dir_root}: must take the images of {name} unpacked, for they are "
                    f"larger than --memory_gb: {error.strerror}"
                ) from None
            decoders = tfds.decode.PartialDecoding({key: True for key in ("image", label) if key})
            examples = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1, decoders=decoders))
            return Split(examples["image"], examples[label] if label else None)
        return Split(_on_disk(images) if large else np.load(images), np.load(labels) if label else None)

    return {split: part(split) for split in ("train", "validation", "test")}


def _on_disk(path: Path) -> Stored:
    array = np.lib.format.open_memmap(path, "r")
    return Stored(array, np.arange(array.shape[0] if array.ndim else 0))


def _unpacked(builder: Any, split: str, label: str | None) -> tuple[Path, Path]:
    """A part of a TFDS set as .npy files of images and labels beside it: quick to load, and any row can be read.

    Made at the first use; raises OSError where that can't be.
    """
    folder = Path(builder.data_dir)
    images, labels, info = (
        folder / f for f in (f"tfvae-{split}.npy", f"tfvae-{split}-labels.npy", "dataset_info.json")
    )

    def is_done() -> bool:  # and the set has not been prepared anew since
        there = images.exists() and (labels.exists() or not label)
        return there and images.stat().st_mtime >= info.stat().st_mtime

    if not is_done():
        with open(folder / f".{images.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process unpacks, the others wait for it
            if not is_done():
                _unpack(builder, split, label, images, labels)
    return images, labels


def _unpack(builder: Any, split: str, label: str | None, images: Path, labels: Path) -> None:
    import tensorflow_datasets as tfds

    image = builder.info.features["image"]
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(image.np_dtype)), "fortran_order": False}
    header["shape"] = (builder.info.splits[split].num_examples, *image.shape)
    decoders = tfds.decode.PartialDecoding({key: True for key in ("image", label) if key})
    aside, found = images.with_name(f".{images.name}.tmp"), []
    try:
        with open(aside, "wb") as file:  # a mapped one would end the process where the disk is full
            np.lib.format.write_array_header_1_0(file, header)
            for batch in tfds.as_numpy(builder.as_dataset(split=split, decoders=decoders, batch_size=1_000)):
                file.write(batch["image"])
                found.append(batch[label] if label else [])
            file.flush()
            os.fsync(file.fileno())
        if label:
            with open(labels, "wb") as file:
                np.save(file, np.concatenate(found))
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, images)  # the last: with it, all is there
    finally:
        aside.unlink(missing_ok=True)


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
