"""The decoded images of a folder, kept once: they are there at once at the next start, and can be larger than memory.

A set is a directory in `$TFVAE_CACHE/images` (~/.cache/tfvae/images) with `<part>.npy`, `<part>-labels.npy`, and
`info.json`. It is written aside and renamed, and counts as long as the folder has the same files, of the same sizes and
times. Where nothing can be kept, it is a temporary directory, which goes with the process.
"""

import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import tqdm

from tfvae.data.disk import DiskImages, open_images
from tfvae.data.image_files import Damaged, Wanted, read_pixels
from tfvae.errors import InputError

THREADS = 2 * (os.cpu_count() or 1)  # Pillow lets others compute while it decodes
_BLOCK = 256  # images that are decoded together
_FORMAT = 1  # of what is kept: a version that decodes otherwise has another number


class Work(NamedTuple):
    """What is to be decoded, and how."""

    source: str  # for messages: `--dataset=NAME`
    paths: dict[str, list[str]]  # of each part
    labels: dict[str, list[int]]  # of each part, one for each path
    wanted: Wanted
    skip_damaged: bool
    notes: tuple[str, ...]  # what is done to the images, in words


class FolderCache:
    """The set that a folder, with these `files` in each part, is decoded to under these options."""

    def __init__(self, folder: Path, options: dict[str, Any], files: dict[str, list[str]]) -> None:
        folder = folder.resolve()
        key = hashlib.sha256(json.dumps([str(folder), options, _FORMAT]).encode()).hexdigest()
        self.name = f"{folder.name}-{key[:16]}"
        self.digest = _digest(files)
        self.info: dict[str, Any] = {}
        root = os.environ.get("TFVAE_CACHE", "~/.cache/tfvae")
        self.place = Path(root).expanduser() / "images" / self.name if root else None

    def is_current(self) -> bool:
        """Whether the set is there, whole, and of the files as they are now."""
        if self.place is None:
            return False
        try:
            info = json.loads((self.place / "info.json").read_text())
            sizes = {name: (self.place / name).stat().st_size for name in info["sizes"]}
            if info["digest"] != self.digest or sizes != info["sizes"]:
                return False
        except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
            return False
        self.info = info
        return True

    def make(self, work: Work) -> None:
        """Decodes the images; of several processes one does, and the others wait for it.

        Raises:
            InputError: a file is damaged and is not to be left out, or there is no room.
        """
        reason = "TFVAE_CACHE is empty"
        if self.place is not None:
            try:
                return self._make_in(self.place, work)
            except OSError as error:
                reason = f"{self.place.parent}: {error.strerror}"
        temporary = Path(tempfile.mkdtemp(prefix="tfvae-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        self.place = temporary / self.name
        try:
            self._make_in(self.place, work)
        except OSError as error:
            raise InputError(
                f"{work.source}: must be kept decoded in the directory that TFVAE_CACHE names ({reason}), or in "
                f"{temporary.parent} ({error.strerror})"
            ) from None

    def load(self, part: str, memory: float) -> tuple[np.ndarray | DiskImages, np.ndarray]:
        """The images of a part, which stay on disk if they take more than `memory` bytes, and its labels."""
        if self.place is None:
            raise RuntimeError("load: must come after make")
        path = self.place / f"{part}.npy"
        images = open_images(path) if path.stat().st_size > memory else np.load(path)
        return images, np.load(self.place / f"{part}-labels.npy")

    def _make_in(self, place: Path, work: Work) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.with_name(f".{place.name}.lock")):
            if self.is_current():  # another process has made it meanwhile
                return
            for leftover in place.parent.glob(f".{place.name}.*.tmp"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent))
            try:
                self._write(aside, work)
                shutil.rmtree(place, ignore_errors=True)
                os.rename(aside, place)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        if not self.is_current():
            raise InputError(f"{work.source}: must stay as it is while its images are decoded, and has changed")

    def _write(self, aside: Path, work: Work) -> None:
        damaged = 0
        for part in work.paths:
            damaged += _decode_part(aside, part, work)
        notes = [*work.notes, f"{damaged:,} damaged files left out"] if damaged else list(work.notes)
        sizes = {path.name: path.stat().st_size for path in aside.iterdir()}
        info = {"digest": self.digest, "sizes": sizes, "notes": notes}
        with open(aside / "info.json", "w") as file:
            json.dump(info, file)
            _flush(file)


def _digest(files: dict[str, list[str]]) -> str:
    """It changes when a file comes, goes, or changes."""
    digest = hashlib.sha256()
    for part, paths in files.items():
        for path in paths:
            stat = os.stat(path)
            digest.update(f"{part}\0{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _decode_part(aside: Path, part: str, work: Work) -> int:
    """Writes the images of a part and their labels, block by block; returns how many files are damaged."""
    paths, labels = work.paths[part], work.labels[part]
    kept: list[int] = []
    with open(aside / f"{part}.npy", "wb") as file, ThreadPoolExecutor(THREADS) as pool, _bar(part, paths) as bar:
        _write_header(file, 0, (), np.dtype(np.uint8))  # whose length does not depend on the numbers
        image = np.zeros(0)
        for first in range(0, len(paths), _BLOCK):
            block = paths[first : first + _BLOCK]
            for place, image_or_reason in enumerate(pool.map(lambda path: _pixels_or_reason(path, work.wanted), block)):
                if isinstance(image_or_reason, np.ndarray):
                    image = image_or_reason
                    file.write(np.ascontiguousarray(image).data)
                    kept.append(labels[first + place])
                elif not work.skip_damaged:
                    raise damaged_file(work.source, block[place], image_or_reason)
            bar.update(len(block))
        if not kept:
            raise InputError(f"{work.source}: must have images that can be read, and {part} has none")
        file.seek(0)
        _write_header(file, len(kept), image.shape, image.dtype)
        _flush(file)
    with open(aside / f"{part}-labels.npy", "wb") as file:
        np.save(file, np.array(kept, np.int64))
        _flush(file)
    return len(paths) - len(kept)


def damaged_file(source: str, path: str, reason: str) -> InputError:
    """What to raise where a file can't be read as an image."""
    return InputError(
        f"{source}: must have whole images, and {path} is damaged: {reason} (--skip_damaged leaves such files out)"
    )


def _pixels_or_reason(path: str, wanted: Wanted) -> np.ndarray | str:
    try:
        return read_pixels(path, wanted)
    except Damaged as damage:
        return str(damage)


def _write_header(file: BinaryIO, count: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """A .npy file's header, filled up to a fixed length."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count, *shape)}
    text = repr(header).encode("latin-1")
    length = 256 - len(np.lib.format.MAGIC_PREFIX) - 4
    file.write(np.lib.format.magic(1, 0) + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n")


def _bar(part: str, paths: list[str]) -> tqdm.tqdm:
    is_shown = sys.stderr.isatty()
    return tqdm.tqdm(total=len(paths), desc=f"decoding {part}", unit=" images", leave=False, disable=not is_shown)
