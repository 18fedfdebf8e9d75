"""A folder of images, as `keras.utils.image_dataset_from_directory` reads one: subfolders are classes, if any.

`train/`, `validation/` (or `val/`) and `test/` at its top are the parts. What is decoded is kept in a cache, from which
sets larger than memory are streamed. Neither TensorFlow nor Keras is needed.
"""

import collections
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tfvae.data.folder_cache import THREADS, FolderCache, Work, damaged_file
from tfvae.data.image_files import ENDINGS, Damaged, Header, Wanted, read_header
from tfvae.data.splits import PARTS, Split
from tfvae.errors import InputError

_OTHER_NAMES = {"val": "validation"}  # of parts


class Options(NamedTuple):
    """What is made of the images.

    `image_size` is the height and width to which each is cropped and resized, None theirs, which must be one;
    `channels` are 1 or 3, None 3 if an image has colour; `skip_damaged` leaves out files that can't be read.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    skip_damaged: bool = False


class Folder(NamedTuple):
    """What a folder has, and in words what was done to it."""

    splits: dict[str, Split]
    notes: tuple[str, ...]


class Files(NamedTuple):
    """The files of a part, sorted, and the number of each one's class: 0 where there are no classes."""

    paths: list[str]
    labels: list[int]


def read(folder: Path, options: Options, memory: float, with_labels: bool = True) -> Folder:
    """The parts of a folder of images: uint8 [N, H, W, C], or float32 in [0, 1] of 16-bit grey values.

    Training images that take more than `memory` bytes stay on disk. Without `with_labels` the classes are not looked
    at.

    Raises:
        InputError: it has no images, or not of one size, or in several places; or a file is damaged.
    """
    source = f"--dataset={folder}"
    class_names, parts = find(folder)
    files = {part: of_part.paths for part, of_part in parts.items()}
    cache = FolderCache(folder, options._asdict(), files)
    if not cache.is_current():
        labels = {part: of_part.labels for part, of_part in parts.items()}
        headers = _headers(source, files, options.skip_damaged)
        wanted = _wanted(source, headers, options)
        cache.make(Work(source, files, labels, wanted, options.skip_damaged, _notes(headers, wanted)))
    names = tuple(class_names) if with_labels else ()
    splits = {}
    for part in parts:
        images, numbers = cache.load(part, memory if part == "train" else float("inf"))
        splits[part] = Split(images, numbers if names else None, names)
    count = sum(len(split.images) for split in splits.values())
    of_classes = f" of {len(class_names):,} classes" if class_names else ""
    return Folder(splits, (f"{count:,} images{of_classes}", *cache.info["notes"]))


def find(folder: Path) -> tuple[list[str], dict[str, Files]]:
    """The names of the classes, sorted, and the files of each part.

    Raises:
        InputError: there are no images, or they lie where it is not clear what they are.
    """
    source = f"--dataset={folder}"
    _require_folder(folder, source)
    part_folders = _part_folders(folder, source)
    by_class = {part: _of_classes(source, path) for part, path in part_folders.items()}
    class_names = sorted({name for classes in by_class.values() for name in classes if name})
    number_of = {name: number for number, name in enumerate(class_names)}
    parts = {}
    for part, classes in by_class.items():
        if not any(classes.values()):
            endings = ", ".join(ENDINGS)
            raise InputError(f"{source}: must have images ({endings}), and there is none in {part_folders[part]}")
        if class_names and "" in classes:
            raise InputError(f"{source}: must have class folders in all its parts or in none, and {part} has none")
        paths, labels = [], []
        for name in sorted(classes):
            paths += classes[name]
            labels += [number_of.get(name, 0)] * len(classes[name])
        parts[part] = Files(paths, labels)
    return class_names, parts


def _require_folder(folder: Path, source: str) -> None:
    if folder.is_file():
        if folder.suffix.lower() in ENDINGS:
            raise InputError(f"{source}: must be a folder of images, and is a single one: name the folder it lies in")
        raise InputError(f"{source}: must be a folder of images, or a file that ends in .npy, .npz, .csv or .parquet")
    try:
        os.listdir(folder)
    except OSError as error:
        raise InputError(f"{source}: must be a folder of images that can be read: {error.strerror}") from None


def _part_folders(folder: Path, source: str) -> dict[str, Path]:
    """The folder of each part; where there is no `train`, the whole folder is it."""
    subfolders = _subfolders(folder)
    found = {_OTHER_NAMES.get(path.name, path.name): path for path in subfolders}
    if "train" not in found:
        return {"train": folder}
    parts = {part: found[part] for part in PARTS if part in found}
    others = [path.name for path in subfolders if path not in parts.values() and _images(path)]
    if _images(folder, nested=False):
        others.append(".")
    if others:
        raise InputError(
            f"{source}: must have all images in its parts {', '.join(parts)}, and has others in {others[0]}"
        )
    return parts


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path, nested: bool = True) -> list[str]:
    """The files of a folder, and of those in it, whose names end as images' do, sorted; hidden ones are passed over."""
    found = []
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if nested and not name.startswith(".")]
        found += [os.path.join(root, name) for name in files if name[0] != "." and name.lower().endswith(ENDINGS)]
    return sorted(found)


def _of_classes(source: str, folder: Path) -> dict[str, list[str]]:
    """The images of each class by its name; of a folder without subfolders of images, all by the name ''."""
    direct = _images(folder, nested=False)
    classes = {path.name: _images(path) for path in _subfolders(folder)}
    classes = {name: images for name, images in classes.items() if images}
    if direct and classes:
        raise InputError(
            f"{source}: must have all images in class folders or none, and has {len(direct):,} beside the folder "
            f"{next(iter(classes))}: move them into a folder"
        )
    return classes or {"": direct}


def _headers(source: str, files: dict[str, list[str]], skip_damaged: bool) -> list[Header]:
    """The headers of all images that have one; raises InputError for a damaged one, unless they are left out."""
    headers = []
    paths = [path for of_part in files.values() for path in of_part]
    with ThreadPoolExecutor(THREADS) as pool:
        for path, header in zip(paths, pool.map(_header_or_reason, paths)):
            if isinstance(header, Header):
                headers.append(header)
            elif not skip_damaged:
                raise damaged_file(source, path, header)
    if not headers:
        raise InputError(f"{source}: must have images that can be read, and all {len(paths):,} are damaged")
    return headers


def _header_or_reason(path: str) -> Header | str:
    try:
        return read_header(path)
    except Damaged as damage:
        return str(damage)


def _wanted(source: str, headers: Iterable[Header], options: Options) -> Wanted:
    """What the images are made; raises InputError where their sizes differ and none is given."""
    sizes = collections.Counter(header.size for header in headers)
    if options.image_size is None and len(sizes) > 1:
        raise InputError(_differing(source, sizes))
    channels = options.channels
    if channels is None:
        channels = 3 if any(header.has_colour for header in headers) else 1
    return Wanted(options.image_size, channels, channels == 1 and any(header.is_deep for header in headers))


def _differing(source: str, sizes: collections.Counter) -> str:
    commonest = sizes.most_common(2)
    words = [f"{count:,} of {height}x{width}" for (height, width), count in commonest]
    others = sum(sizes.values()) - sum(count for _, count in commonest)
    if others:
        words.append(f"{others:,} of other sizes")
    height, width = commonest[0][0]
    return (
        f"{source}: must have images of one size, and has {', '.join(words)} (height x width): "
        f"--image_size={height},{width} crops and resizes them"
    )


def _notes(headers: list[Header], wanted: Wanted) -> tuple[str, ...]:
    """What is done to the images, in words."""
    notes = []
    if wanted.size is not None and {header.size for header in headers} != {wanted.size}:
        notes.append(f"cropped and resized to {wanted.size[0]}x{wanted.size[1]}")
    if wanted.channels == 1 and any(header.has_colour for header in headers):
        notes.append("colours made grey")
    if any(header.is_transparent for header in headers):
        notes.append("transparent pixels on white")
    if wanted.is_deep:
        notes.append("16-bit grey values over 65,535")
    elif any(header.is_deep for header in headers):
        notes.append("16-bit grey values as 8-bit ones")
    return tuple(notes)
