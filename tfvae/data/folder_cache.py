"""The decoded images of a folder, kept for the next start in `$TFVAE_CACHE/images` or ~/.cache/tfvae/images.

    KEY/info.json                       the digest of the folder's files and what `Record` has; written last: without
                                        it nothing else counts
    KEY/DIGEST-train.npy                images [N, H, W, C], uint8 or float32; so validation and test
    KEY/DIGEST-train-labels.npy         labels [N], int64, where there are some

KEY stands for the folder's path and for what is made of its images, DIGEST for its files: a run that reads a file from
disk never finds other images in it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfvae.data.disk import open_images
from tfvae.data.image_files import Form
from tfvae.data.splits import Split
from tfvae.runtime.files import write_atomically

_VERSION = 1  # of the layout, and of what is made of an image


class Record(NamedTuple):
    """What is known of the images that are kept.

    `counts` are the images of each part, and `labelled` the parts that have labels. `left_out` are the places, among
    each part's files, of those that are damaged; `first_damaged` is the first of them, with the reason. `notes` are
    those of `folders.Folder`.
    """

    form: Form
    counts: dict[str, int]
    labelled: list[str]
    label_names: tuple[str, ...]
    left_out: dict[str, list[int]]
    first_damaged: str
    notes: tuple[str, ...]


def root() -> Path | None:
    """The directory of all folders' images; None where TFVAE_CACHE is empty or there is no home: nothing is kept."""
    cache = os.environ.get("TFVAE_CACHE", "~/.cache/tfvae")
    if not cache:
        return None
    try:
        return Path(cache).expanduser().absolute() / "images"
    except RuntimeError:  # no home
        return None


class FolderCache:
    """The place of one folder's images, of one size and number of channels, as its files are now."""

    def __init__(self, root: Path, folder: Path, options: tuple[Any, ...], digest: str) -> None:
        key = json.dumps([_VERSION, str(folder.absolute()), options])
        self.place = root / hashlib.blake2b(key.encode(), digest_size=10).hexdigest()
        self.digest = digest

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time is here, and others wait; raises OSError where nothing can be written."""
        self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.place / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def images_file(self, part: str) -> Path:
        """The file of a part's images."""
        return self.place / f"{self.digest}-{part}.npy"

    def labels_file(self, part: str) -> Path:
        """The file of a part's labels."""
        return self.place / f"{self.digest}-{part}-labels.npy"

    def read_record(self) -> Record | None:
        """What is kept of the folder's files as they are now; None if that is nothing, or is damaged."""
        try:
            content = json.loads((self.place / "info.json").read_text())
            if content.pop("digest") != self.digest:
                return None
            record = Record(**content)
            record = record._replace(
                form=Form(*record.form), label_names=tuple(record.label_names), notes=tuple(record.notes)
            )
            is_whole = all(self._has(part, record) for part in record.counts)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError):
            return None
        return record if is_whole else None

    def _has(self, part: str, record: Record) -> bool:
        """Whether a part's files have the right length; raises ValueError or OSError where one can't be read."""
        count, images = record.counts[part], open_images(self.images_file(part)).array
        if images.shape != (count, *record.form.shape) or images.dtype != record.form.dtype:
            return False
        return part not in record.labelled or np.load(self.labels_file(part)).shape == (count,)

    def load(self, part: str, record: Record, on_disk: bool) -> Split:
        """A part with its labels; its images stay in their file with `on_disk`."""
        path = self.images_file(part)
        images = open_images(path) if on_disk else np.load(path)
        return Split(images, np.load(self.labels_file(part)) if part in record.labelled else None)

    def make_room(self, needed: int) -> None:
        """Removes what was left by other versions of the folder and by killed processes.

        Raises:
            OSError: `needed` bytes are not free.
        """
        (self.place / "info.json").unlink(missing_ok=True)
        for path in [*self.place.glob("*.npy"), *self.place.glob(".*.tmp")]:
            path.unlink()
        if shutil.disk_usage(self.place).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_labels(self, part: str, labels: np.ndarray) -> None:
        """Keeps a part's labels."""
        with ArrayFile(self.labels_file(part), len(labels), (), labels.dtype) as file:
            file.append(labels)

    def write_record(self, record: Record) -> None:
        """Makes count what was written before it."""
        write_atomically(self.place / "info.json", json.dumps({"digest": self.digest, **record._asdict()}))


class ArrayFile:
    """A .npy file that is written block by block, and is there whole or not at all.

    It is not mapped: where the disk is full, a mapped file would end the process.
    """

    def __init__(self, path: Path, most: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.aside = path, path.with_name(f".{path.name}.tmp")
        self.shape, self.dtype = shape, dtype
        self.count = 0
        self.file = open(self.aside, "wb")
        self._write_header(most)

    def __enter__(self) -> "ArrayFile":
        return self

    def append(self, rows: np.ndarray) -> None:
        """Adds rows [R, ...] of the file's shape and type."""
        self.file.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)

    def __exit__(self, failure: type[BaseException] | None, *_: Any) -> None:
        try:
            if failure is None:
                self._finish()
        finally:
            with contextlib.suppress(OSError):  # what could not be flushed was raised before
                self.file.close()
            self.aside.unlink(missing_ok=True)

    def _finish(self) -> None:
        self.file.seek(0)
        self._write_header(self.count)  # of the same length: NumPy leaves room for a longer number
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.aside, self.path)

    def _write_header(self, count: int) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (count, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, header)
