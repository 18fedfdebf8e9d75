"""Training images that are larger than the memory they may take: they stay in a .npy file, and are read row by row."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from tfvae.data import pixels
from tfvae.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class DiskImages:
    """Images [N, H, W, C] in a .npy file of uint8, bool or float32.

    `array` maps the file, and `file_rows` [N] are the images' rows in it. `scale` multiplies whole-numbered pixels
    (255 where the file holds 0 and 1); with `binarized`, pixels are then made 0 or 255 by `pixels.threshold`.
    """

    array: np.memmap
    file_rows: np.ndarray
    scale: int = 1
    binarized: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, H, W, C], also where the file holds [N, H, W]."""
        channels = (1,) if self.array.ndim == 3 else ()
        return (len(self), *self.array.shape[1:], *channels)

    @property
    def dtype(self) -> np.dtype:
        """Of the images that `read` returns: uint8 or float32."""
        if self.binarized or self.array.dtype == bool:
            return np.dtype(np.uint8)
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """What all these images would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.file_rows)

    def rows(self, rows: np.ndarray | slice) -> "DiskImages":
        """The images of these rows, still on disk."""
        return dataclasses.replace(self, file_rows=self.file_rows[rows])

    def scaled(self, scale: int) -> "DiskImages":
        """The same images with their pixels times `scale`."""
        return dataclasses.replace(self, scale=scale)

    def thresholded(self) -> "DiskImages":
        """The same images with their pixels made 0 or 255."""
        return dataclasses.replace(self, binarized=True)

    def check(self, source: str) -> None:
        """Refuses what `read` could not read; raises InputError. `source` is for the message: `--dataset=NAME`.

        That the pixels of float32 images are in [0, 1] is checked by `read`: the whole file would take too long. So
        are whole numbers of that type refused, which are taken in memory: that all are whole is not known before.
        """
        pixels.check_shape(source, self.array.shape)
        in_c_order = self.array.flags.c_contiguous
        if self.array.dtype not in (bool, np.uint8, np.float32) or not in_c_order:
            order = "" if in_c_order else " in Fortran order"
            raise InputError(
                f"{pixels.must_be_images(source)} of uint8 or float32 in C order, not {self.array.dtype}{order}, "
                "to be larger than --memory_gb"
            )

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The images of these rows [R]: [R, H, W, C], uint8 or float32, as those in memory.

        Raises:
            InputError: a pixel is not in [0, 1], or the file has become shorter.
        """
        file_rows = self.file_rows[rows]
        images = self._read_file(file_rows)
        if images.dtype == np.float32:
            self._check_range(images, file_rows)
        else:
            images = images.astype(np.uint8, copy=False) * np.uint8(self.scale)
        if self.binarized:
            images = pixels.threshold(images)
        return images.reshape(len(rows), *self.shape[1:])

    def _read_file(self, file_rows: np.ndarray) -> np.ndarray:
        """These rows of the file as they are; not by `array`, since a mapped file reads megabytes ahead at each row."""
        images = np.empty((len(file_rows), *self.array.shape[1:]), self.array.dtype)
        with open(str(self.array.filename), "rb", buffering=0) as file:
            for i in np.argsort(file_rows, kind="stable").tolist():  # a disk reads faster in the file's order
                start = self.array.offset + int(file_rows[i]) * images[i].nbytes
                if os.preadv(file.fileno(), [images[i]], start) < images[i].nbytes:
                    raise InputError(f"--dataset={self.array.filename}: must stay as it is, and has become shorter")
        return images

    def _check_range(self, images: np.ndarray, file_rows: np.ndarray) -> None:
        if _is_in_range(images):
            return
        row, image = next((row, image) for row, image in zip(file_rows, images) if not _is_in_range(image))
        place = next(place for place, value in np.ndenumerate(image) if not 0 <= value <= 1)
        raise InputError(
            f"--dataset={self.array.filename}: must be of numbers in [0, 1], or whole numbers of the type uint8, to be "
            f"read from disk, and has {image[place]!s} at {[int(row), *place]}"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read(np.arange(len(self))).astype(dtype or self.dtype, copy=False)


def _is_in_range(images: np.ndarray) -> bool:
    """Whether all pixels are in [0, 1]; NaN is not, since each comparison with it is false."""
    return images.min(initial=0) >= 0 and images.max(initial=1) <= 1


def open_images(path: Path) -> DiskImages:
    """The images of a .npy file; raises ValueError or OSError where it can't be mapped. `DiskImages.check` is due."""
    array = np.lib.format.open_memmap(path, "r")
    count = array.shape[0] if array.ndim else 0
    return DiskImages(array, np.arange(count))
