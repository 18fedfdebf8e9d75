"""Many image files: what their headers say together, and their pixels, block by block, decoded in threads.

Shapes: images [B, H, W, C], uint8 or float32 in [0, 1].
"""

import functools
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfvae.data.image_files import DamagedImage, Form, UnfitImage, decode, read_header
from tfvae.errors import InputError
from tfvae.runtime.progress import Progress

_BLOCK_BYTES = 2**24  # of decoded images that wait to be written
_MOST_FILES = 1_000  # in a block


class Survey(NamedTuple):
    """What the headers of a set's files say.

    `sizes` counts the sizes (height, width) of the images before they are cropped. Of `damaged` files, (path, reason),
    only those are known by then that are no images at all.
    """

    form: Form
    sizes: Counter[tuple[int, int]]
    has_colour: bool
    has_16_bits: bool
    damaged: list[tuple[Path, str]]

    @property
    def images(self) -> int:
        """How many files have a header."""
        return sum(self.sizes.values())


class Block(NamedTuple):
    """Some decoded images [B, H, W, C] with the rows [B] that their files had; of damaged files there are none."""

    images: np.ndarray
    rows: list[int]
    damaged: list[tuple[Path, str]]
    had_transparency: bool


def survey(folder: Path, paths: list[Path], image_size: tuple[int, int] | None, channels: int | None) -> Survey:
    """Reads the headers of all files, and decides of what form the set's images are.

    Raises:
        InputError: none is an image, one is of a kind that is not taken, or they have several sizes and `image_size`
            is None.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    has_colour = has_16_bits = False
    damaged = []
    with _Pool(folder, len(paths), "reading headers") as pool:
        for path, header in pool.run(read_header, paths):
            if isinstance(header, str):
                damaged.append((path, header))
                continue
            sizes[header.height, header.width] += 1
            has_colour |= header.has_colour
            has_16_bits |= header.has_16_bits
    if not sizes:
        raise all_damaged(folder, damaged)
    if image_size is None and len(sizes) > 1:
        raise InputError(f"--dataset={folder}: {_several_sizes(sizes)}")
    height, width = next(iter(sizes)) if image_size is None else image_size
    if channels is None:
        channels = 3 if has_colour else 1
    form = Form(height, width, channels, as_floats=has_16_bits and channels == 1, crops=image_size is not None)
    return Survey(form, sizes, has_colour, has_16_bits, damaged)


def all_damaged(folder: Path, damaged: list[tuple[Path, str]]) -> InputError:
    """What to raise where no file of a part, or none at all, is an image."""
    path, reason = damaged[0]
    return InputError(
        f"--dataset={folder}: must have images that can be read, and has none in {len(damaged):,} files: "
        f"{os.path.relpath(path, folder)}: {reason}"
    )


def blocks(folder: Path, paths: list[Path], form: Form) -> Generator[Block, None, None]:
    """The images of the files, in their order.

    Raises:
        InputError: one is of a kind that is not taken.
    """
    size = min(max(_BLOCK_BYTES // form.image_bytes, 1), _MOST_FILES)
    with _Pool(folder, len(paths), "decoding images") as pool:
        for first in range(0, len(paths), size):
            block_paths = paths[first : first + size]
            images = np.empty((len(block_paths), *form.shape), form.dtype)
            rows: list[int] = []
            damaged: list[tuple[Path, str]] = []
            had_transparency = False
            results = pool.run(functools.partial(decode, form=form), block_paths)
            for row, (path, decoded) in enumerate(results, first):
                if isinstance(decoded, str):
                    damaged.append((path, decoded))
                    continue
                images[len(rows)] = decoded.pixels
                rows.append(row)
                had_transparency |= decoded.was_transparent
            yield Block(images[: len(rows)], rows, damaged, had_transparency)


class _Pool:
    """Threads for the files of a folder, and their progress."""

    def __init__(self, folder: Path, count: int, doing: str) -> None:
        self.folder = folder
        self.threads = ThreadPoolExecutor(os.cpu_count() or 1)
        self.progress = Progress(doing, count, "files")

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: Any) -> None:
        self.threads.shutdown(cancel_futures=True)
        self.progress.close()

    def run(self, work: Callable[[Path], Any], paths: list[Path]) -> Iterator[tuple[Path, Any]]:
        """Each file, in order, with what `work` makes of it, or the reason why the file is damaged, as a string."""
        for first in range(0, len(paths), _MOST_FILES):  # at a time, for a waiting task takes memory too
            block = paths[first : first + _MOST_FILES]
            try:
                yield from zip(block, self.threads.map(functools.partial(_or_damage, work), block))
            except UnfitImage as error:
                name = os.path.relpath(error.path, self.folder)
                raise InputError(f"--dataset={self.folder}: must have {error.must_be}, and {name} {error}") from None
            self.progress.advance(len(block))


def _or_damage(work: Callable[[Path], Any], path: Path) -> Any:
    """What `work` makes of a file, or the reason why the file is damaged, as a string."""
    try:
        return work(path)
    except DamagedImage as error:
        return str(error)


def _several_sizes(sizes: Counter[tuple[int, int]]) -> str:
    (first, first_count), (second, second_count), *rest = sizes.most_common()
    others = sum(count for _, count in rest)
    named = [f"{first_count:,} of {first[0]}x{first[1]}", f"{second_count:,} of {second[0]}x{second[1]}"]
    there = f"{', '.join(named)} and {others:,} other{'s' if others > 1 else ''}" if others else " and ".join(named)
    return (
        f"must have images of one size, and has {there} (height x width): --image_size={first[0]},{first[1]} crops "
        "and resizes them"
    )
