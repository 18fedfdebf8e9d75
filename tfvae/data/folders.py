"""Folders of image files as a source of images.

It imports neither TensorFlow nor Keras, so that a folder that can't be used is refused within a second.
"""

import contextlib
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfvae.data import folder_cache
from tfvae.data.folder_cache import ArrayFile, FolderCache, Record
from tfvae.data.folder_files import FolderFiles, check_class_names, find
from tfvae.data.image_blocks import Survey, all_damaged, blocks, survey
from tfvae.data.image_files import Form
from tfvae.data.splits import Split
from tfvae.errors import InputError, printable

_NAMED = 3  # of the damaged files that are left out


class Folder(NamedTuple):
    """The parts of a folder of images, and what was done to have them, in words for a line.

    `files` are the names of each part's files in the folder, in the order of its images: text [N].
    """

    splits: dict[str, Split]
    notes: tuple[str, ...]
    files: dict[str, np.ndarray]


def read(
    folder: Path,
    image_size: tuple[int, int] | None,
    channels: int | None,
    skip_damaged: bool,
    memory: float,
    with_labels: bool = True,
    on_disk: bool = False,
) -> Folder:
    """The images of a folder, of one size, uint8; float32 in [0, 1] if they are grey and a file has 16 bits.

    They are decoded once, and kept in the cache (`folder_cache`) until a file is added, removed or written.

    Args:
        image_size: the height and width to which they are cropped and resized; None: the one that they all have.
        channels: 1 for grey or 3 for colour; None: 3 if an image has colour.
        skip_damaged: leave out files that can't be decoded, and say how many; else they are refused.
        memory: the bytes that the training images may take; larger ones stay on disk, in the cache.
        with_labels: whether subfolders are classes, numbered in the order of their names; else there are no labels.
        on_disk: whether the images of all parts stay in the cache, where there is one.

    Raises:
        InputError: the folder has no images, or such as can't be one data set; or they are larger than `memory` and
            can't be kept on disk.
    """
    files = find(folder)
    if with_labels:
        check_class_names(folder, files.label_names)
    request = _Request(folder, files, image_size, channels, skip_damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that it reads all the same
        return _read(request, memory, with_labels, on_disk)


class _Request(NamedTuple):
    folder: Path
    files: FolderFiles
    image_size: tuple[int, int] | None
    channels: int | None
    skip_damaged: bool

    def survey(self) -> Survey:
        """What the headers say; raises InputError where that is refused."""
        paths = [path for part in self.files.parts.values() for path in part.paths]
        seen = survey(self.folder, paths, self.image_size, self.channels)
        if seen.damaged and not self.skip_damaged:
            raise self.refuse_damaged(self.describe_damage(*seen.damaged[0]))
        return seen

    def names(self, left_out: dict[str, list[int]]) -> dict[str, np.ndarray]:
        """The names in the folder of each part's files, without those at the places that are left out."""
        names = {}
        for part, files in self.files.parts.items():
            relative = [os.fsencode(os.path.relpath(path, self.folder)) for path in files.paths]
            of_part = np.array([name.decode("utf-8", "backslashreplace") for name in relative])
            names[part] = np.delete(of_part, np.array(left_out[part], int))
        return names

    def describe_damage(self, path: Path, reason: str) -> str:
        """A damaged file's name in the folder, and the reason."""
        return f"{os.path.relpath(path, self.folder)} can't: {reason}"

    def refuse_damaged(self, damage: str) -> InputError:
        """What to raise for the damage that `describe_damage` tells."""
        return InputError(
            f"--dataset={self.folder}: must have images that can be read, and {damage} "
            "(--skip_damaged leaves such files out)"
        )


def _read(request: _Request, memory: float, with_labels: bool, on_disk: bool) -> Folder:
    root = folder_cache.root()
    if root is None:
        return _without_cache(request, memory, with_labels, "there is no cache")
    options = (request.image_size, request.channels)
    cache = FolderCache(root, request.folder, options, request.files.digest)
    try:
        with cache.locked():
            record = cache.read_record()
            if record is None:
                record = _fill(cache, request)
            if record.first_damaged and not request.skip_damaged:
                raise request.refuse_damaged(record.first_damaged)
            train_bytes = record.counts["train"] * record.form.image_bytes
            splits = {}
            for part in record.counts:
                stays = on_disk or (part == "train" and train_bytes > memory)
                split = cache.load(part, record, stays)
                splits[part] = _with_labels(split, record.label_names if with_labels else None)
    except OSError as error:
        return _without_cache(request, memory, with_labels, f"{root} can't take it: {error.strerror or error}")
    return Folder(splits, record.notes, request.names(record.left_out))


def _without_cache(request: _Request, memory: float, with_labels: bool, reason: str) -> Folder:
    """The images, decoded into memory; raises InputError where they are larger than `memory`."""
    seen = request.survey()
    needed = seen.images * seen.form.image_bytes
    if needed > memory:
        raise InputError(
            f"--dataset={request.folder}: must be kept decoded, for its {needed / 1e9:,.2f} GB are more than "
            f"--memory_gb, and {reason}; TFVAE_CACHE names another place"
        )
    decoding = _Decoding(request, seen)
    splits = {}
    for part, files in request.files.parts.items():
        images = _Array(len(files.paths), seen.form)
        labels = decoding.decode(part, images)
        splits[part] = _with_labels(Split(images.array, labels), request.files.label_names if with_labels else None)
    return Folder(splits, decoding.record().notes, request.names(decoding.left_out))


def _fill(cache: FolderCache, request: _Request) -> Record:
    """Decodes the folder into the cache."""
    seen = request.survey()
    cache.make_room(seen.images * seen.form.image_bytes)
    decoding = _Decoding(request, seen)
    for part, files in request.files.parts.items():
        with ArrayFile(cache.images_file(part), len(files.paths), seen.form.shape, seen.form.dtype) as images:
            labels = decoding.decode(part, images)
        if labels is not None:
            cache.write_labels(part, labels)
    record = decoding.record()
    cache.write_record(record)
    return record


def _with_labels(split: Split, label_names: tuple[str, ...] | None) -> Split:
    """The split with the names of its labels; without its labels if that is None."""
    if label_names is None or split.labels is None:
        return split._replace(labels=None)
    return split._replace(label_names=label_names)


class _Array:
    """As ArrayFile, in memory."""

    def __init__(self, most: int, form: Form) -> None:
        self.rows = np.empty((most, *form.shape), form.dtype)
        self.count = 0

    def append(self, rows: np.ndarray) -> None:
        self.rows[self.count : self.count + len(rows)] = rows
        self.count += len(rows)

    @property
    def array(self) -> np.ndarray:
        return self.rows[: self.count]


class _Decoding:
    """Decodes a folder's parts, and counts what is to be said of them."""

    def __init__(self, request: _Request, seen: Survey) -> None:
        self.request, self.seen = request, seen
        self.counts: dict[str, int] = {}
        self.left_out: dict[str, list[int]] = {}
        self.damaged: list[tuple[Path, str]] = []
        self.had_transparency = False

    def decode(self, part: str, images: ArrayFile | _Array) -> np.ndarray | None:
        """Appends a part's images to `images`, and returns their labels, where there are some.

        Raises:
            InputError: a file is damaged and may not be left out, or all are.
        """
        files = self.request.files.parts[part]
        rows: list[int] = []
        damaged: list[tuple[Path, str]] = []
        with contextlib.closing(blocks(self.request.folder, files.paths, self.seen.form)) as all_blocks:
            for block in all_blocks:
                damaged += block.damaged
                if damaged and not self.request.skip_damaged:
                    raise self.request.refuse_damaged(self.request.describe_damage(*damaged[0]))
                images.append(block.images)
                rows += block.rows
                self.had_transparency |= block.had_transparency
        if not rows:
            raise all_damaged(self.request.folder, damaged)
        self.counts[part] = len(rows)
        self.left_out[part] = sorted(set(range(len(files.paths))) - set(rows))
        self.damaged += damaged
        return None if files.labels is None else np.array(files.labels, np.int64)[rows]

    def record(self) -> Record:
        """What there is to know of the decoded images."""
        first_damaged = self.request.describe_damage(*self.damaged[0]) if self.damaged else ""
        label_names = self.request.files.label_names
        labelled = [name for name, part in self.request.files.parts.items() if part.labels is not None]
        return Record(self.seen.form, self.counts, labelled, label_names, self.left_out, first_damaged, self._notes())

    def _notes(self) -> tuple[str, ...]:
        """What was done, each in a few words."""
        form, damaged = self.seen.form, len(self.damaged)
        classes = len(self.request.files.label_names)
        of_classes = f" of {classes:,} class{'es' if classes > 1 else ''}" if classes else ""
        notes = [f"{sum(self.counts.values()):,} images{of_classes}"]
        if set(self.seen.sizes) != {(form.height, form.width)}:
            notes.append(f"cropped and resized to {form.height}x{form.width}")
        if damaged:
            names = [printable(os.path.relpath(path, self.request.folder)) for path, _ in self.damaged[:_NAMED]]
            names += ["..."] if damaged > _NAMED else []
            notes.append(f"{damaged:,} damaged file{'s' if damaged > 1 else ''} left out: {', '.join(names)}")
        if form.channels == 1 and self.seen.has_colour:
            notes.append("colours made grey")
        if form.as_floats:
            notes.append("16-bit pixels over 65,535")
        elif self.seen.has_16_bits:
            notes.append("16-bit pixels reduced to 8 bits")
        if self.had_transparency:
            notes.append("transparent pixels on white")
        return tuple(notes)
