"""The examples that a trained run is applied to: its own, by its own splits, or any others, by the run's rules.

Shapes: images [N, H, W, C], uint8 or float32 in [0, 1]; vectors float32 [N, 1, 1, D].
"""

import dataclasses
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfvae.config import Config
from tfvae.config.data_names import ARRAYS, TABLES
from tfvae.core.inputs import InputRule
from tfvae.core.vectors import VectorRule
from tfvae.data import arrays, dataset, pixels, sources, tables, vectors
from tfvae.data.disk import DiskImages
from tfvae.data.new_images import NewImages, TrainingImages
from tfvae.data.sources import Parts
from tfvae.data.splits import PARTS, Dataset, Split, fingerprint
from tfvae.errors import InputError, listed

ALL = "all"  # the part of a set that has no parts, and the request for every part
_LOOKED_AT = 1_000  # images whose values are looked at for a warning


class ExamplesPart(NamedTuple):
    """Some examples in their order.

    `images[rows]` are what the model takes. `names` [N] are the input files, relative to their folder, or the rows of
    the part of the source that the examples come from. `labels` [N] are whole numbers, or words; y [N] are what a
    conditional run is given: places among its classes.
    """

    name: str  # train, validation, test or all
    images: np.ndarray | NewImages
    names: np.ndarray
    labels: np.ndarray | None
    y: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)


class Examples(NamedTuple):
    """Parts of one source. `checksum` changes when an example, its name or its label does."""

    source: str
    parts: tuple[ExamplesPart, ...]
    checksum: str
    notes: tuple[str, ...]
    are_of_run: bool

    @property
    def have_files(self) -> bool:
        """Whether their names are those of files."""
        return self.parts[0].names.dtype.kind == "U"

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)


def may_be_of_run(config: Config, recorded: Config) -> bool:
    """Whether `config.dataset` may be the run's own data at another place: under the same name, or for its arrays."""
    if recorded.dataset == ARRAYS:
        return config.dataset.endswith((".npy", ".npz"))
    return Path(config.dataset).name == Path(recorded.dataset).name


def find_of_run(config: Config, fingerprint: str, split: str) -> Examples | None:
    """The run's own examples, if these are what `config.dataset` has, which another run's may be too; else None.

    Raises:
        InputError: the split has no examples.
    """
    try:
        mapped = _mapped_bytes(config)
        parts = sources.read(config, None if mapped is None else {"train": Split(mapped, None)})
        run_data = dataset.divide(config, parts)
    except InputError:
        return None
    if run_data.fingerprint() != fingerprint:
        return None
    return of_run(config, run_data, parts, split)


def of_run(config: Config, run_data: Dataset, parts: Parts, split: str) -> Examples:
    """The run's own examples; `parts` are those that `run_data` was made of.

    Raises:
        InputError: the split has no examples.
    """
    sizes = {part: len(of_part.images) for part, of_part in parts.splits.items()}
    names = parts.files or {part: np.arange(size) for part, size in sizes.items()}
    names = dataset.divide_values(parts, names)
    images: dict[str, np.ndarray | NewImages] = {
        "train": TrainingImages(run_data.train.images, config),
        "validation": run_data.validation.array,
        "test": run_data.test.array,
    }
    found = []
    for part, of_part in zip(PARTS, run_data):
        if len(of_part.images):
            found.append(ExamplesPart(part, images[part], names[part], _shown_labels(of_part)))
    return _examples(config, found, split, run_data.fingerprint(), (), are_of_run=True)


def of_others(
    config: Config, rule: InputRule | VectorRule, split: str, label_column_is_given: bool = False
) -> Examples:
    """The examples of `config.dataset` (resolved), read by the run's rule; no split is made of them.

    Args:
        label_column_is_given: whether `config.label_column` must be there; else it is taken where it is there.

    Raises:
        InputError: they can't be had, don't follow the rule, or have no part of that name.
    """
    if not config.dataset.endswith(TABLES) and not label_column_is_given:
        config = dataclasses.replace(config, label_column=None)
    splits, notes, files = _read_others(config, rule, label_column_is_given)
    if sources.is_folder(config) and isinstance(rule, InputRule) and rule.value_range is None:
        rule = rule._replace(white=255)  # a file's white pixel is x = 1 for a model of zeros and ones too
    flag = f"--dataset={config.dataset}"
    found = []
    for part, of_part in splits.items():
        if isinstance(rule, VectorRule) and isinstance(of_part.images, np.ndarray) and of_part.images.ndim == 2:
            vectors.check_finite(flag, of_part.images, rule.columns.names)
        images = NewImages(of_part.images, rule, config, flag)
        names = np.arange(len(images)) if files is None else files[part]
        name = part if len(splits) > 1 else ALL
        found.append(ExamplesPart(name, images, names, _shown_labels(of_part)))
    notes += _notes_of_values(splits, rule)
    return _examples(config, found, split, fingerprint(splits.values()), notes, are_of_run=False)


class _Read(NamedTuple):
    splits: dict[str, Split]
    notes: tuple[str, ...]
    files: dict[str, np.ndarray] | None


def _read_others(config: Config, rule: InputRule | VectorRule, label_column_is_given: bool) -> _Read:
    """The parts of a source as they come, images of a folder in the run's shape, a table's columns in the run's order.

    What is in a .npy file of bytes, or in the cache of a folder, stays there.
    """
    flag = f"--dataset={config.dataset}"
    config = dataclasses.replace(config, image_size=None, channels=None)
    if sources.is_folder(config):
        height, width, channels = rule.image_shape
        if isinstance(rule, VectorRule):
            raise InputError(f"{flag}: must be vectors [N, {channels}], as the run's, and is a folder of images")
        if channels not in (1, 3):
            raise InputError(
                f"{flag}: must be images of {channels} channels, as the run's, and files of images have 1 or 3"
            )
        config = dataclasses.replace(config, image_size=(height, width), channels=channels)
        return _Read(*sources.read_splits(config, on_disk=True))
    if config.skip_damaged:
        raise InputError("--skip_damaged=True: must be false: it is for folders of images")
    path = Path(config.dataset).expanduser()
    if config.dataset.endswith(TABLES) and isinstance(rule, VectorRule):
        return _read_columns(config, path, rule, label_column_is_given)
    mapped = _mapped_bytes(config)
    if mapped is not None and config.label_column is None:
        return _Read({"train": Split(mapped, None)}, (), None)
    return _Read(*sources.read_splits(config))


def _mapped_bytes(config: Config) -> DiskImages | None:
    """The images of a .npy file of bytes, which stay there; None of any other source."""
    if not config.dataset.endswith(".npy"):
        return None
    mapped = arrays.map_npy(Path(config.dataset).expanduser())
    if mapped is None or mapped.array.dtype != np.uint8 or mapped.array.ndim not in (3, 4):
        return None
    return mapped if mapped.array.flags.c_contiguous else None


def _read_columns(config: Config, path: Path, rule: VectorRule, label_column_is_given: bool) -> _Read:
    names = rule.columns.names
    if _are_numbers(names):  # the run's columns had no names: those of the file are taken in their order
        return _Read(*sources.read_splits(config))
    splits, ignored = tables.load_columns(
        path,
        names,
        config.label_column,
        sources.memory_bytes(config),
        config.labels == "auto",
        label_column_is_given,
    )
    notes = (f"columns that the run was not trained on are ignored: {listed(ignored)}",) if ignored else ()
    return _Read(splits, notes, None)


def _are_numbers(names: tuple[str, ...]) -> bool:
    """Whether columns were counted, as those of arrays are, which have no names."""
    return names == tuple(map(str, range(len(names))))


def _shown_labels(split: Split) -> np.ndarray | None:
    if split.labels is None:
        return None
    return np.array(split.label_names)[split.labels] if split.label_names else split.labels


def _notes_of_values(splits: dict[str, Split], rule: InputRule | VectorRule) -> tuple[str, ...]:
    """A warning of images whose whole numbers are 0 and 1, where the run's were 0 to 255."""
    if isinstance(rule, VectorRule) or rule.white == 1 or rule.value_range is not None:
        return ()
    for split in splits.values():
        first = split.rows(slice(_LOOKED_AT)).in_memory().array
        if first.dtype.kind not in "iu" or not pixels.is_zeros_and_ones(first):
            return ()
    return ("no pixel is above 1, but the run's images have 0 to 255: 1 is taken as 1/255, nearly black",)


def _examples(
    config: Config,
    found: list[ExamplesPart],
    split: str,
    of_images: str,
    notes: tuple[str, ...],
    are_of_run: bool,
) -> Examples:
    """The parts that `split` asks for."""
    parts = [part for part in found if split in (ALL, part.name)]
    if not parts:
        present = ", ".join(part.name for part in found)
        there = "has no parts" if present == ALL else f"has {present}"
        raise InputError(f"--split={split}: must be all, or a part of {config.dataset}, which {there}")
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part.names.tobytes(), checksum)
        if part.labels is not None:
            checksum = zlib.crc32(part.labels.tobytes(), checksum)
    return Examples(config.dataset, tuple(parts), f"{of_images}-{checksum:08x}", notes, are_of_run)
