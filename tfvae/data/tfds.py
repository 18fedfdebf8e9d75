"""Image data sets of TensorFlow Datasets (TFDS): found or downloaded, and unpacked once into .npy files beside them."""

import fcntl
import importlib.resources
import importlib.util
import math
import os
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfvae.data.disk import open_images
from tfvae.data.splits import PARTS, Split
from tfvae.errors import InputError

_NETWORK_SECONDS = 4.0
_BATCH = 1_000  # images that are unpacked at once


def load(name: str, data_dir: str | None, memory: float, with_labels: bool = True) -> dict[str, Split]:
    """The parts of the data set `name`; train images that take more than `memory` bytes stay on disk.

    Its `label` is read if it is a whole number, and not without `with_labels`.

    Raises:
        InputError: the data set can't be had, its examples have no image of one size, or it has to stay on disk and
            can't be unpacked there.
    """
    builder = prepare(name, data_dir)
    features = builder.info.features
    if "image" not in features or None in features["image"].shape:
        raise InputError(f"--dataset={name}: must have an image of one size in each example")
    has_labels = with_labels and "label" in features and _is_whole_number(features["label"])
    files = [UnpackedFiles(builder, part, has_labels) for part in PARTS if part in builder.info.splits]
    return {file.part: _load_part(name, file, memory) for file in files}


def _is_whole_number(feature: Any) -> bool:
    """Whether a feature of TFDS is a single whole number: not text, which NumPy could not keep beside the images."""
    return feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)


def _load_part(name: str, files: "UnpackedFiles", memory: float) -> Split:
    on_disk = files.part == "train" and files.image_bytes() > memory
    try:
        files.make()
    except OSError as error:
        if on_disk:
            raise InputError(
                f"--data_dir={files.builder._data_dir_root}: must take the images of {name} unpacked, for they are "
                f"larger than --memory_gb: {error.strerror}"
            ) from None
        return files.read_without_unpacking()
    return files.load(on_disk)


class UnpackedFiles:
    """A part of a TFDS set as .npy files of images and labels beside it: quick to load, and any row can be read."""

    def __init__(self, builder: Any, part: str, has_labels: bool) -> None:
        folder = Path(builder.data_dir)
        self.builder, self.part, self.has_labels = builder, part, has_labels
        self.images = folder / f"tfvae-{part}.npy"
        self.labels = folder / f"tfvae-{part}-labels.npy"
        self.info = folder / "dataset_info.json"

    def image_bytes(self) -> int:
        """What the part's images take in memory."""
        image = self.builder.info.features["image"]
        examples = self.builder.info.splits[self.part].num_examples
        return examples * math.prod(image.shape) * np.dtype(image.np_dtype).itemsize

    def are_current(self) -> bool:
        """Whether they are there, and the set has not been prepared anew since they were made."""
        if not self.images.exists() or (self.has_labels and not self.labels.exists()):
            return False
        return self.images.stat().st_mtime >= self.info.stat().st_mtime

    def make(self) -> None:
        """Makes them where they are missing; one process does, the others wait. Raises OSError where it can't be."""
        if self.are_current():
            return
        with open(self.images.with_name(f".{self.images.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.are_current():
                self._unpack()

    def load(self, on_disk: bool) -> Split:
        """The part, whose images stay in their file with `on_disk`."""
        images = open_images(self.images) if on_disk else np.load(self.images)
        return Split(images, np.load(self.labels) if self.has_labels else None)

    def read_without_unpacking(self) -> Split:
        """The part, decoded by TFDS."""
        import tensorflow_datasets as tfds

        dataset = self.builder.as_dataset(split=self.part, batch_size=-1, decoders=self._decoders())
        examples = tfds.as_numpy(dataset)
        return Split(examples["image"], examples["label"] if self.has_labels else None)

    def _unpack(self) -> None:
        import tensorflow_datasets as tfds

        dataset = self.builder.as_dataset(split=self.part, decoders=self._decoders(), batch_size=_BATCH)
        aside = self.images.with_name(f".{self.images.name}.tmp")
        labels = []
        try:
            with open(aside, "wb") as file:  # a mapped file would end the process where the disk is full
                np.lib.format.write_array_header_1_0(file, self._header())
                for batch in tfds.as_numpy(dataset):
                    file.write(batch["image"])
                    if self.has_labels:
                        labels.append(batch["label"])
                _flush(file)
            if self.has_labels:
                with open(self.labels, "wb") as file:
                    np.save(file, np.concatenate(labels))
                    _flush(file)
            os.replace(aside, self.images)  # the last step: `are_current` asks for the images' file
        finally:
            aside.unlink(missing_ok=True)

    def _header(self) -> dict[str, Any]:
        """The header of the images' .npy file."""
        image = self.builder.info.features["image"]
        return {
            "descr": np.lib.format.dtype_to_descr(np.dtype(image.np_dtype)),
            "fortran_order": False,
            "shape": (self.builder.info.splits[self.part].num_examples, *image.shape),
        }

    def _decoders(self) -> Any:
        """Has TFDS decode the images and labels alone."""
        import tensorflow_datasets as tfds

        wanted = {"image": True}
        if self.has_labels:
            wanted["label"] = True
        return tfds.decode.PartialDecoding(wanted)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def is_known(name: str, data_dir: str | None) -> bool:
    """Whether TFDS knows a data set of this name, here or to be downloaded."""
    try:
        _builder(name, data_dir)
    except Exception:  # AssertionError for a version, TypeError for a setting, ...
        return False
    return True


def _builder(name: str, data_dir: str | None) -> Any:
    if importlib.util.find_spec("importlib_resources") is None:  # TFDS 4.9.10 imports it and doesn't depend on it
        sys.modules["importlib_resources"] = importlib.resources
    import tensorflow_datasets as tfds

    return tfds.builder(name, data_dir=data_dir)


def prepare(name: str, data_dir: str | None) -> Any:
    """A TFDS builder whose data are on disk; downloads and prepares them if need be and if it can be done.

    Raises:
        InputError: TFDS doesn't know the name, or the data can't be had.
    """
    try:
        builder = _builder(name, data_dir)
    except Exception:  # AssertionError for a version, TypeError for a setting, ...
        kinds = "the name of a TFDS data set, a folder of images, or a .npy, .npz, .csv or .parquet file"
        reason = f"must be auto, digits, {kinds}"
        raise _refusal(name, reason) from None
    try:
        if builder.is_prepared():
            return builder
    except OSError as error:
        raise _refusal(name, f"can't be looked for in {builder._data_dir_root}: {error.strerror}") from None
    _require_download(name, builder)
    try:
        import tensorflow_datasets as tfds

        if not sys.stderr.isatty():
            tfds.disable_progress_bar()
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # TFDS raises what its many parts raise, without a common base
        reason = f"could not be prepared: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise _refusal(name, reason) from None
    return builder


def _refusal(name: str, reason: str, ways: str = "") -> InputError:
    """What to raise; `ways` out of it are left away where another message quotes the reason."""
    return InputError(f"--dataset={name}: {reason}{ways}", reason)


def _require_download(name: str, builder: Any) -> None:
    """Refuses a set whose files are neither in the directory for manual downloads nor on a server that answers."""
    manual = Path(builder._data_dir_root) / "downloads" / "manual"
    if _is_downloaded(builder.url_infos, manual):
        return
    reason = why_unreachable(next(iter(builder.url_infos), "https://storage.googleapis.com"))
    if reason:
        raise _refusal(
            name,
            f"is not prepared in {builder._data_dir_root} and can't be downloaded ({reason})",
            f"; name the directory that has it by --data_dir or TFDS_DATA_DIR, put its files into {manual}, or "
            "take --dataset=digits",
        )


def _is_downloaded(url_infos: dict[str, Any], manual: Path) -> bool:
    """Whether all files are in the directory `manual`, by their names and sizes; not of a set that lists none."""
    if not url_infos:
        return False
    for url, info in url_infos.items():
        file = manual / os.path.basename(url)
        if not os.path.isfile(file) or file.stat().st_size != info.size:
            return False
    return True


def why_unreachable(url: str) -> str | None:
    """Why `url`'s server can't be reached, or None; TFDS's own retries would take minutes to find out."""
    probe = _Probe(url)
    probe.start()
    probe.join(_NETWORK_SECONDS)
    return probe.reason


class _Probe(threading.Thread):
    """Asks a server once; in a thread, since the look-up of a server's name has no time limit of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.reason: str | None = f"no network: no answer in {_NETWORK_SECONDS:g} s"  # until there is one

    def run(self) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(self.url, method="HEAD"), timeout=_NETWORK_SECONDS)
            self.reason = None
        except urllib.error.HTTPError as error:
            refuses_head = error.code in (405, 501)  # but would answer a GET
            self.reason = None if refuses_head else f"the server answers {error.code}"
        except OSError as error:
            cause = getattr(error, "reason", error)
            self.reason = f"no network: {getattr(cause, 'strerror', None) or cause}"
