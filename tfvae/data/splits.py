"""`Split`, images with their labels, and `Dataset`, the three splits that a run works on.

Shapes: images [N, H, W, C], uint8 in 0 .. 255 or float32 in [0, 1]; labels int64 [N], or None; y int32 [N], or None.
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from tfvae.core.columns import Columns
from tfvae.data.disk import DiskImages
from tfvae.data.pixels import shown_channels

PARTS = ("train", "validation", "test")  # the names that a source gives its splits

_WHOLE_FINGERPRINT_BYTES = 2**30  # of a part; a larger one is represented by some of its images
_REPRESENTATIVES = 4_096  # images
_BLOCK_BYTES = 2**25


class Split(NamedTuple):
    """Images and, where there are some, their labels."""

    images: np.ndarray | DiskImages
    labels: np.ndarray | None
    label_names: tuple[str, ...] = ()  # of the labels 0, 1, ...; none where the numbers are all that is known
    columns: tuple[str, ...] = ()  # of vectors: the names of their values
    y: np.ndarray | None = None  # of a conditional run: the labels' places among `Dataset.classes`

    def rows(self, rows: np.ndarray | slice) -> "Split":
        """The images (and labels, and their places) of these rows."""
        images = self.images.rows(rows) if isinstance(self.images, DiskImages) else self.images[rows]
        labels = None if self.labels is None else self.labels[rows]
        return self._replace(images=images, labels=labels, y=None if self.y is None else self.y[rows])

    @property
    def array(self) -> np.ndarray:
        """The images, where they are in memory, as those of validation and test always are; else raises TypeError."""
        if isinstance(self.images, DiskImages):
            raise TypeError("images: must be in memory here: see in_memory")
        return self.images

    @property
    def known_labels(self) -> np.ndarray:
        """The labels, where there are some; else raises ValueError."""
        if self.labels is None:
            raise ValueError("labels: must be there, and are not")
        return self.labels

    @property
    def shown_labels(self) -> list[str]:
        """The labels as pictures show them: by their names, where they have some, else by their numbers."""
        if self.label_names:
            return [self.label_names[label] for label in self.known_labels]
        return [str(label) for label in self.known_labels]

    def in_memory(self) -> "Split":
        """The same images as an array."""
        return self._replace(images=np.asarray(self.images))


def fingerprint(splits: Iterable[Split]) -> str:
    """That of `Dataset.fingerprint`, of any parts."""
    checksum = 0
    for split in splits:
        count, size = len(split.images), split.images.nbytes
        rows = np.arange(count)
        if size > _WHOLE_FINGERPRINT_BYTES:
            checksum = zlib.crc32(b"%d" % count, checksum)
            rows = np.linspace(0, count - 1, _REPRESENTATIVES).astype(int)
        for block in np.array_split(rows, size // _BLOCK_BYTES + 1):
            images = np.ascontiguousarray(split.rows(block).in_memory().array)
            checksum = zlib.crc32(images.data, checksum)
    return f"{checksum:08x}"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Three disjoint parts. `test` is fixed: it depends on the data set alone.

    `white` is the whole number that stood for x = 1 where the images came from: 1 where all were 0 or 1, else 255.
    `columns` are those of vectors, which are kept as float32 [N, 1, 1, D], in their own units; NaN are missing values.
    `value_range` is what stands for 0 and 1 where the images came from, if it is neither [0, 1] nor 0 to `white`.
    `classes` are the names of a conditional run's: each example's label is given to the model.
    """

    train: Split
    validation: Split
    test: Split
    white: int = 255
    columns: Columns | None = None
    value_range: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Split]:
        return iter((self.train, self.validation, self.test))

    @property
    def of_model(self) -> tuple[Columns | None, tuple[float, float] | None, tuple[str, ...]]:
        """`columns`, `value_range` and `classes`: what a model is made with, beside its settings and `white`."""
        return (self.columns, self.value_range, self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        _, height, width, channels = self.train.images.shape
        return (height, width, channels)

    @property
    def has_labels(self) -> bool:
        """Whether the training and the test images have labels."""
        return self.train.labels is not None and self.test.labels is not None

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change when an image of a part does.

        Of a part larger than 1 GB, they change when its number of images or one of 4,096 of its images does. They are
        the same for images in memory and on disk. Those of a conditional run change with its labels too.
        """
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:  # computed once: a large set takes seconds
        checksum = int(fingerprint(self), 16)
        if self.classes:
            checksum = zlib.crc32(repr(self.classes).encode(), checksum)
            for split in self:
                checksum = zlib.crc32(np.asarray(split.y, np.int32).tobytes(), checksum)
        return f"{checksum:08x}"

    def _describe_columns(self, columns: Columns) -> str:
        words = f"rows of {len(columns.names):,} columns"
        if columns.missing:
            values = np.concatenate([split.array.ravel() for split in self])
            words += f", {np.isnan(values).mean():.1%} of the values missing"
        return words

    def _count_of_classes(self) -> str:
        return f" in {len(self.classes):,} classes" if self.classes else ""

    def describe(self) -> str:
        """The sizes of the parts and of an image, and what pictures leave away of it, in words."""
        train, validation, test = (f"{len(split.images):,}" for split in self)
        if self.columns:
            rows = self._describe_columns(self.columns)
            return f"{train} train, {validation} validation, {test} test {rows}{self._count_of_classes()}"
        shape = "x".join(map(str, self.image_shape))
        sizes = f"{train} train, {validation} validation, {test} test images of {shape}{self._count_of_classes()}"
        _, shown = shown_channels(self.image_shape[-1])
        if shown:
            sizes += f"; {shown}"
        if isinstance(self.train.images, DiskImages):
            return f"{sizes}; training images are read from disk"
        return sizes
