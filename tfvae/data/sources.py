"""The images, or vectors, of a data set in the parts that it comes in: read, checked and counted, but not yet split.

A source is a function that returns its parts, `dict[str, Split]`, in a module of this wing, and a line in
`_read_source`. Nothing here imports TensorFlow, but for sets of TFDS: what is wrong with a file is said before
TensorFlow's import, which takes seconds.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfvae.config import Config
from tfvae.config.capabilities import LIKELIHOODS, REALS
from tfvae.config.data_names import ARRAYS, FILES, TABLES, is_file_name
from tfvae.config.left_to_data import with_models
from tfvae.config.rules import asks_for_levels, check_kind
from tfvae.data import arrays, classes, digits, folders, pixels, scaling, tables, tfds, vectors
from tfvae.data.disk import DiskImages
from tfvae.data.scaling import ValueRange
from tfvae.data.splits import Split
from tfvae.errors import InputError
from tfvae.runtime.memory import machine_bytes

_MAX_TEST_IMAGES = 10_000  # that are taken off a set without a test part: a tenth at most
QUICK_BYTES = 10**9  # of a file that NumPy reads and checks in about a second
_ARGUMENTS = {"train": "images", "validation": "validation", "test": "test"}  # of Python, that hand the parts in


class Sizes(NamedTuple):
    """The numbers of images of a run's three splits."""

    train: int
    validation: int
    test: int


class Parts(NamedTuple):
    """The checked images of a source, or its vectors, float64 [N, D], before its splits are made.

    `splits` has the parts that the source has, of `splits.PARTS`; `sizes` are those of the splits that a run makes of
    them. `white` is the whole number that stood for x = 1 in the source: 1 where all were 0 or 1, else 255. `kind` is
    that of `left_to_data.with_models`. `notes` say what was done. `value_range` became [0, 1]; `files`: see `Folder`.
    """

    splits: dict[str, Split]
    sizes: Sizes
    white: int
    kind: str = "images"
    notes: tuple[str, ...] = ()
    value_range: ValueRange | None = None
    files: dict[str, np.ndarray] | None = None

    @property
    def has_labels(self) -> bool:
        """Whether the training and the test images have labels; test images may be taken off the training images."""
        test = self.splits.get("test", self.splits["train"])
        return self.splits["train"].labels is not None and test.labels is not None


def resolve(config: Config) -> tuple[str, str]:
    """What `--dataset` stands for, and a line that says which data are taken and why."""
    name = absolute(config.dataset)
    if not is_file_name(name) and os.path.isdir(name):
        return _resolve_folder_or_set(name, config.data_dir)
    if name != "auto":
        return name, f"data: {name}"
    try:
        tfds.prepare("mnist", config.data_dir)
    except InputError as error:
        return "digits", f"data: digits (mnist {error.reason})"
    return "mnist", "data: mnist (it is here)"


def _resolve_folder_or_set(name: str, data_dir: str | None) -> tuple[str, str]:
    """`resolve`, of a name that a folder here has too."""
    if name in ("auto", "digits") or tfds.is_known(name, data_dir):
        return name, f"data: the data set {name}, not the folder of this name: that is ./{name}"
    folder = absolute(f"./{name}")
    return folder, f"data: {folder}"


def absolute(dataset: str) -> str:
    """`dataset`, a path as an absolute one: it must mean the same file from any directory."""
    if is_file_name(dataset):
        return str(Path(dataset).expanduser().absolute())
    return dataset


def memory_bytes(config: Config) -> float:
    """What training images may take; larger ones stay on disk."""
    if config.memory_gb is not None:
        return config.memory_gb * 1e9
    return machine_bytes() / 2


def read_early(config: Config, handed_in: dict[str, Split] | None = None) -> Parts | None:
    """`read`, where it takes about a second and no TensorFlow; else None, and `read` is due when TensorFlow is there.

    A .npy file that would take longer is only checked by its header.

    Raises:
        InputError: as `read`.
    """
    if handed_in is not None:
        return read(config, handed_in)
    if is_file_name(config.dataset) and _file_size(config) > QUICK_BYTES:
        _check_header(config)
        return None
    if is_file_name(config.dataset) or config.dataset == ARRAYS:
        return read(config)
    return None


def read(config: Config, handed_in: dict[str, Split] | None = None) -> Parts:
    """Reads `config.dataset` (resolved), or takes what Python has `handed_in` (`memory.load`), and checks it.

    Raises:
        InputError: it can't be had, or isn't images, or does not go with other settings.
    """
    splits, notes, files = read_splits(config) if handed_in is None else _AsTheyCome(handed_in)
    if "train" not in splits:
        raise InputError(f"{_flag(config)}: must have a train split")
    classes.require(config, splits)
    names = {part: _flag(config) if handed_in is None else _ARGUMENTS[part] for part in splits}
    if len(splits["train"].images.shape) == 2:
        return _vectors(config, splits, names)
    kind = "images" if files is None else "folder"
    check_kind(config, kind)
    if config.scale == "unit":
        return _ranged(config, splits, names, kind, notes)._replace(files=files)
    splits = {part: _checked(names[part], split) for part, split in splits.items()}
    white = 255
    if all(_is_zeros_and_ones(split.images) for split in splits.values()):
        white = 1
        splits = {part: _ones_to_255(split) for part, split in splits.items()}
    sizes = _sizes(config, splits)
    _check_whole(config, splits)
    return Parts(splits, sizes, white, kind, notes, files=files)


def _ranged(
    config: Config, splits: dict[str, Split], names: dict[str, str], kind: str, notes: tuple[str, ...]
) -> Parts:
    """The parts of a source of images whose values are in a range of their own."""
    for part, split in splits.items():
        if isinstance(split.images, DiskImages):
            raise InputError(f"{names[part]}: must fit into --memory_gb with --scale=unit")
        pixels.check_type(names[part], split.images.shape, split.images.dtype)
    of = scaling.find_range(config, splits)
    checked = {}
    for part, split in splits.items():
        images = scaling.to_unit_range(names[part], split.array, of)
        checked[part] = _checked(names[part], split._replace(images=images))
    _check_whole(config, checked)
    return Parts(checked, _sizes(config, checked), 255, kind, (*notes, of.describe()), of)


def _vectors(config: Config, splits: dict[str, Split], names: dict[str, str]) -> Parts:
    """The parts of a source of vectors; raises InputError as `read`."""
    check_kind(config, "vectors")
    count = np.shape(splits["train"].images)[1]
    columns = splits["train"].columns or tuple(map(str, range(count)))
    checked = {}
    for part, split in splits.items():
        if isinstance(split.images, DiskImages):
            raise _too_large_vectors(names[part])
        if np.shape(split.images)[1:] != (count,):
            raise InputError(f"{names[part]}: must have {count} columns, as the training part")
        values = vectors.check_values(names[part], split.images, columns, config.missing)
        checked[part] = split._replace(images=values, columns=columns)
    _check_range(config, names, checked)
    # the scales are found later, in the training split; what no row of any split can change is refused at the start
    scale = with_models(config, "vectors").scale or "none"
    vectors.check_spread(names["train"], checked["train"].array, columns, scale)
    return Parts(checked, _sizes(config, checked), 255, "vectors")


def _too_large_vectors(source: str) -> InputError:
    return InputError(f"{source}: must fit into --memory_gb: vectors are not read from disk")


def _check_range(config: Config, names: dict[str, str], splits: dict[str, Split]) -> None:
    """Refuses vectors that a likelihood of numbers in [0, 1] can't be of; raises InputError."""
    likelihood = with_models(config, "vectors").likelihood
    if likelihood is None or LIKELIHOODS[likelihood].support == REALS:
        return
    for part, split in splits.items():
        low, high = np.nanmin(split.array), np.nanmax(split.array)
        if low < 0 or high > 1:
            raise InputError(
                f"{names[part]}: must be of numbers in [0, 1] for --likelihood={likelihood}, and has some from "
                f"{low:g} to {high:g}: --likelihood=gaussian takes any"
            )


def _check_label_column(config: Config) -> None:
    """Refuses --label_column of what is no table; raises InputError."""
    if config.label_column is not None and not config.dataset.endswith(TABLES):
        raise InputError(f"--label_column={config.label_column}: must not be set: it is for tables, .csv and .parquet")


def _flag(config: Config) -> str:
    return f"--dataset={config.dataset}"


def _path(config: Config) -> Path:
    return Path(config.dataset).expanduser()


class _AsTheyCome(NamedTuple):
    """The parts that a source has, of `splits.PARTS`, not yet checked; the rest is that of `folders.Folder`."""

    splits: dict[str, Split]
    notes: tuple[str, ...] = ()
    files: dict[str, np.ndarray] | None = None


def read_splits(config: Config, on_disk: bool = False) -> _AsTheyCome:
    """The parts of `config.dataset` (resolved) as they come; with `on_disk` a folder's images stay in its cache.

    Raises:
        InputError: it can't be had.
    """
    _check_label_column(config)
    if not is_folder(config):
        return _AsTheyCome(_read_source(config))
    with_labels = config.labels == "auto"
    options = (config.image_size, config.channels, config.skip_damaged, memory_bytes(config))
    return _AsTheyCome(*folders.read(_path(config), *options, with_labels, on_disk))


def _read_source(config: Config) -> dict[str, Split]:
    """The parts that the source has, with the pixels as they come."""
    memory = memory_bytes(config)
    if config.dataset == ARRAYS:
        raise InputError(
            f"{_flag(config)}: must be given: the run was made of arrays from Python; a .npy or .npz file of the "
            "same images does, and in Python the arrays"
        )
    with_labels = config.labels == "auto"
    if config.dataset == "digits":
        return digits.load(with_labels)
    if config.dataset.endswith(TABLES):
        return tables.load(_path(config), config.label_column, memory, with_labels)
    if is_file_name(config.dataset):
        return arrays.load(_path(config), memory, with_labels)
    return tfds.load(config.dataset, config.data_dir, memory, with_labels)


def is_folder(config: Config) -> bool:
    """Whether the data set is a path that is no file of arrays or of a table: a folder, or what is refused as one."""
    return is_file_name(config.dataset) and not config.dataset.endswith(FILES)


def _file_size(config: Config) -> int:
    """In bytes; 0 where that can't be told, for `read` says why."""
    try:
        return _path(config).stat().st_size
    except OSError:
        return 0


def _check_header(config: Config) -> None:
    """Refuses a .npy file by what its header says: shape, type, and number of images. A .npz file is not looked at."""
    _check_label_column(config)
    images = arrays.map_npy(_path(config))
    if images is None:
        return
    is_large = _file_size(config) > memory_bytes(config)
    if len(images.shape) == 2:
        check_kind(config, "vectors")
        if is_large:
            raise _too_large_vectors(_flag(config))
    elif is_large:
        images.check(_flag(config))
    else:
        pixels.check_type(_flag(config), images.array.shape, images.array.dtype)
    _sizes(config, {"train": Split(images, None)})


def _checked(source: str, split: Split) -> Split:
    """The split with images [N, H, W, C], uint8 or float32 in [0, 1]; raises InputError where it has none."""
    if isinstance(split.images, DiskImages):
        split.images.check(source)
        return split
    return split._replace(images=pixels.as_images(source, split.images))


def _is_zeros_and_ones(images: np.ndarray | DiskImages) -> bool:
    """Whether they are uint8 and binary, but with 1 in place of 255: binary sets come both ways."""
    if images.dtype != np.uint8:
        return False
    return pixels.is_zeros_and_ones(images.array if isinstance(images, DiskImages) else images)


def _ones_to_255(split: Split) -> Split:
    if isinstance(split.images, DiskImages):
        return split._replace(images=split.images.scaled(255))
    return split._replace(images=split.images * np.uint8(255))


def _sizes(config: Config, splits: dict[str, Split]) -> Sizes:
    """How many images train, validation and test get of the parts that there are.

    Raises:
        InputError: there are too few images, or fewer than other settings ask for.
    """
    train = len(splits["train"].images)
    if "test" in splits:
        test = len(splits["test"].images)
    else:
        test = _test_size(train)
        train -= test
    if "validation" in splits:
        validation = limit = len(splits["validation"].images)
    else:
        # a small set spares a tenth of what it had before the test images were taken off
        validation = min(5_000, round((train + test) / 10), train // 2)
        limit = train - 1
    if config.validation_examples is not None:
        validation = config.validation_examples
    if validation > limit:
        raise InputError(f"--validation_examples={validation}: must be auto or at most {limit:,}")
    if "validation" not in splits:
        train -= validation
    if config.batch_size > train:
        raise InputError(f"--batch_size={config.batch_size}: must be at most the {train:,} training images")
    return Sizes(train, validation, test)


def _test_size(size: int) -> int:
    """How many test images are taken off a set of this size that has no test part."""
    if size < 10:
        raise InputError(f"--dataset: must have at least 10 images, and has {size}")
    return min(round(size / 10), _MAX_TEST_IMAGES)


def _check_whole(config: Config, splits: dict[str, Split]) -> None:
    """Refuses parts that don't go with each other or with --dequantize; raises InputError."""
    shapes = {split.images.shape[1:] for split in splits.values()}
    dtypes = {split.images.dtype for split in splits.values()}
    if len(shapes) > 1 or len(dtypes) > 1:
        raise InputError(f"{_flag(config)}: must have images of one shape and type in all its parts")
    flag = asks_for_levels(config)
    if flag and dtypes != {np.dtype(np.uint8)}:
        raise InputError(f"{flag}: must have 8-bit pixels, and {config.dataset} has fractions")
