"""The image files of a folder: which there are, in which part and of which class.

The layouts are those of `keras.utils.image_dataset_from_directory`: images alone, or a subfolder for each class; both
also within `train/`, `validation/` (or `val/`) and `test/`.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from tfvae.data.splits import PARTS
from tfvae.errors import InputError, is_printable

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")

_FOLDERS_OF_PARTS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_PARTS_ALONE = {(name,) for names in _FOLDERS_OF_PARTS.values() for name in names}


class PartFiles(NamedTuple):
    """The image files of a part, in the order of the images, and the class of each; None where there are no classes."""

    paths: list[Path]
    labels: list[int] | None


class FolderFiles(NamedTuple):
    """The image files of a folder by its parts, of `splits.PARTS`.

    `label_names` are the names of the classes 0, 1, ... `digest` is another one as soon as a file is added, removed,
    renamed or written.
    """

    parts: dict[str, PartFiles]
    label_names: tuple[str, ...]
    digest: str


class _File(NamedTuple):
    """An image file: the folders between it and the top, its name, and what its digest is made of."""

    folders: tuple[str, ...]
    name: str
    bytes: int
    mtime_ns: int


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not name.startswith(".") and name.lower().endswith(ENDINGS)


def find(folder: Path) -> FolderFiles:
    """The image files below `folder`; a hidden file or folder is passed over, and so is a link to a folder
    within a class.

    Raises:
        InputError: it is no folder, can't be read, has no images, or has them in places that contradict each other.
    """
    if is_image_name(folder.name) and folder.is_file():
        raise InputError(f"--dataset={folder}: must be a folder of images, and is a single one: name its folder")
    if folder.is_file():
        endings = "must be a folder of images, or a file that ends in .npy, .npz, .csv or .parquet"
        raise InputError(f"--dataset={folder}: {endings}")
    files = _files_below(folder, folder, ())
    if not files:
        raise InputError(f"--dataset={folder}: must be a folder of images, and has no file {' '.join(ENDINGS)}")
    by_part = _by_part(folder, files)
    names = sorted({file.folders[0] for part in by_part.values() for file in part if file.folders})
    parts = {}
    for part in PARTS:
        if part in by_part:
            where = _folder_of(part, files) if _has_parts(files) else ""
            parts[part] = _part_files(folder, where, by_part[part], names)
    return FolderFiles(parts, tuple(names), _digest(files))


def check_class_names(folder: Path, names: tuple[str, ...]) -> None:
    """Raises InputError where the name of a class can't be printed in a line: pictures and tables show them."""
    for name in names:
        if not is_printable(name):
            raise InputError(
                f"--dataset={folder}: must have folders of classes whose names can be printed, and one is {name}: "
                "rename it, or do without classes by --labels=none"
            )


def _files_below(top: Path, folder: Path, folders: tuple[str, ...]) -> list[_File]:
    """The image files of a folder and of those in it."""
    files = []
    is_above_classes = not folders or folders in _PARTS_ALONE  # there, as in Keras, a link to a folder is a class
    try:
        with os.scandir(folder) as scanned:
            entries = [entry for entry in scanned if not entry.name.startswith(".")]
        for entry in entries:
            if entry.is_dir(follow_symlinks=is_above_classes):
                files += _files_below(top, Path(entry.path), (*folders, entry.name))
            elif is_image_name(entry.name) and not entry.is_dir():
                files += _as_file(entry, folders)
    except OSError as error:
        raise InputError(
            f"--dataset={top}: must be a folder that can be read, and {folder} can't: {error.strerror}"
        ) from None
    return files


def _as_file(entry: os.DirEntry[str], folders: tuple[str, ...]) -> list[_File]:
    """The file; none if it is a pipe or a device, of which reading might never end."""
    if entry.is_file():
        status = entry.stat()
        return [_File(folders, entry.name, status.st_size, status.st_mtime_ns)]
    if entry.is_symlink() and not os.path.exists(entry.path):  # its image is missing, which is told as damage
        return [_File(folders, entry.name, -1, -1)]
    return []


def _has_parts(files: list[_File]) -> bool:
    """Whether the folders at the top are parts and not classes."""
    return any(file.folders[:1] == ("train",) for file in files)


def _folder_of(part: str, files: list[_File]) -> str:
    """The name of a part's folder."""
    tops = {file.folders[0] for file in files if file.folders}
    return next(name for name in _FOLDERS_OF_PARTS[part] if name in tops)


def _by_part(folder: Path, files: list[_File]) -> dict[str, list[_File]]:
    """The files of each part, whose folder is taken off their `folders`.

    Raises:
        InputError: there are images that belong to no part or to no class, or a part has none.
    """
    tops = {file.folders[0] for file in files if file.folders}
    part_names = {name for names in _FOLDERS_OF_PARTS.values() for name in names}
    beside = sorted(file.name for file in files if not file.folders)
    if not (folder / "train").is_dir():
        if tops and tops <= part_names:
            raise InputError(f"--dataset={folder}: must have a folder train beside {', '.join(sorted(tops))}")
        return {"train": files}
    if beside:
        raise InputError(f"--dataset={folder}: must have no images beside the folder train, and has {beside[0]}")
    if tops - part_names:
        raise InputError(
            f"--dataset={folder}: must have no images beside train, validation and test, and has some in "
            f"{min(tops - part_names)}: where train is a class like it, give it another name"
        )
    by_part = {}
    for part, names in _FOLDERS_OF_PARTS.items():
        there = [name for name in names if (folder / name).is_dir()]
        if len(there) > 1:
            raise InputError(f"--dataset={folder}: must have one of the folders {' and '.join(there)}, not both")
        if there and there[0] not in tops:
            raise InputError(f"--dataset={folder}: must have images in the folder {there[0]}, and has none there")
        if there:
            by_part[part] = [f._replace(folders=f.folders[1:]) for f in files if f.folders[0] == there[0]]
    return by_part


def _part_files(top: Path, where: str, files: list[_File], names: list[str]) -> PartFiles:
    """A part's files, class by class, within a class in Keras's order: by folder, then by name."""
    without_class = sorted(file.name for file in files if not file.folders)
    if without_class and len(without_class) < len(files):
        first = next(file.folders[0] for file in files if file.folders)
        raise InputError(
            f"--dataset={top}: must have all images in folders of classes or none, and has "
            f"{os.path.join(where, without_class[0])} beside the folder {os.path.join(where, first)}"
        )
    files = sorted(files, key=_order)
    base = os.path.join(top, where)
    paths = [Path(base, *file.folders, file.name) for file in files]
    if without_class:
        return PartFiles(paths, None)
    numbers = {name: number for number, name in enumerate(names)}
    return PartFiles(paths, [numbers[file.folders[0]] for file in files])


def _order(file: _File) -> tuple[str, str, str]:
    return (file.folders[0] if file.folders else "", "/".join(file.folders), file.name)


def _digest(files: list[_File]) -> str:
    """Of the relative paths, sizes and times of all files."""
    digest = hashlib.blake2b(digest_size=12)
    for file in sorted(files):
        path = os.fsencode("/".join((*file.folders, file.name)))
        digest.update(b"%s\0%d\0%d\0" % (path, file.bytes, file.mtime_ns))
    return digest.hexdigest()
