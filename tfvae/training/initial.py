"""The weights that a run starts from, where they are another run's: `--init_from`, `--init_part`, `--init_checksum`.

A part's weights are its own variables: the encoder's, or the decoder's, to which a learned sigma belongs; all are these
and a learned prior's. Optimizer, step, data and all other settings are the new run's own. Weights work in the network's
units, images in [0, 1] or columns as `--scale` makes them: the training images' range and the scales of a table's
columns are those of the new run's data.

The other run is needed until the new one has a checkpoint. It is told by the checksum of the weights, which the new
run's `config.flags` records: it may be moved, but not exchanged.

What settings tell is told without TensorFlow, which is imported by what reads or assigns weights.
"""

import dataclasses
import itertools
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfvae.config import Config
from tfvae.config.architecture import A_NUMBER, architecture, other_setting
from tfvae.config.fields import to_python, to_text
from tfvae.config.flagfile import FILE_NAME, config_of_run, read_config
from tfvae.core.columns import Columns
from tfvae.errors import InputError, RunError, as_arguments, listed
from tfvae.runtime.files import numbered_directories

if TYPE_CHECKING:
    import tensorflow as tf

    from tfvae.core.own_network import Trunks
    from tfvae.core.vae import VAE
    from tfvae.data.splits import Dataset

_PREFIXES = {"all": "vae/", "encoder": "vae/encoder/", "decoder": "vae/decoder/"}  # of the variables' names
_WORDS = {"all": "the weights", "encoder": "the encoder's weights", "decoder": "the decoder's weights"}


def with_recorded(config: Config) -> Config:
    """`config` with what its run directory records of the weights that the run started from, where it names none."""
    recorded = config_of_run(config)
    if recorded is None:
        return config
    if config.init_from is None:
        names = ("init_from", "init_part", "init_checksum")
        return dataclasses.replace(config, **{name: getattr(recorded, name) for name in names})
    return dataclasses.replace(config, init_checksum=config.init_checksum or recorded.init_checksum)


def check_early(config: Config) -> None:
    """Refuses what is no run that has a checkpoint, or is one of another architecture, before TensorFlow is imported.

    Raises:
        InputError: names the first setting that differs.
    """
    if not _are_needed(config):
        return
    folder = Path(str(config.init_from))
    if not os.path.isfile(folder / FILE_NAME):
        raise InputError(f"--init_from={folder}: must be the directory of a run, and has no {FILE_NAME}")
    if not numbered_directories(folder / "checkpoints"):
        raise InputError(f"--init_from={folder}: must be the directory of a run that has a checkpoint")
    _require_same_settings(config, read_config(folder).as_usual())


def _are_needed(config: Config) -> bool:
    """Whether the other run is read: it is not where a run goes on from a checkpoint of its own.

    But where another place of it is given, the weights there are compared with those that the run started from.
    """
    if config.init_from is None:
        return False
    recorded = config_of_run(config)
    if recorded is None or not numbered_directories(config.directory / "checkpoints"):
        return True
    return config.init_from != recorded.init_from


def _require_same_settings(config: Config, of_weights: Config) -> None:
    """Raises InputError, which names the first setting that differs, unless the weights fit; auto is not compared."""
    name = other_setting(config, of_weights, config.init_part)
    if name is not None:
        there = architecture(of_weights, config.init_part)[name]
        raise _must_be_as_there(config, name, there)


def _must_be_as_there(config: Config, name: str, there: object) -> InputError:
    """What to raise where a setting is another one than that which the weights were made with."""
    here = getattr(config, name)
    in_python = there if there == A_NUMBER else to_python(there)
    reason = f"as of the run of --init_from={config.init_from}: {_WORDS[config.init_part]} are made for it"
    return InputError(
        f"--{name}={to_text(here)}: must be {to_text(there) or 'nothing'}, {reason}; "
        f"--flagfile={config.init_from}/{FILE_NAME} takes all settings from there",
        in_python=f"{name}={to_python(here)}: must be {in_python}, {as_arguments(reason)}; "
        f"tfvae.load({config.init_from!r}).config has all its settings",
    )


class InitialWeights(NamedTuple):
    """The weights of a part of another run's VAE, and what else must be known of them."""

    part: str  # that of `--init_part`
    values: dict[str, np.ndarray]  # by the variables' names
    config: Config  # of that run
    step: int  # of its checkpoint
    image_shape: tuple[int, int, int]
    columns: Columns | None  # of vectors
    start_stddev: float | None  # from which a learned sigma counts
    sigma_pace: float  # in which it counts
    classes: tuple[str, ...]  # of a conditional run
    checksum: str
    own_trunks: dict[str, str | None]  # of each part, where it is a network of the user's own

    @property
    def has_decoder(self) -> bool:
        """Whether a decoder's are among them."""
        return self.part != "encoder"

    def describe(self) -> str:
        """What they are, in words."""
        of_run = f"{self.config.run_dir}, step {self.step:,}, trained on {self.config.dataset}"
        return f"{_WORDS[self.part]} of {of_run} (checksum {self.checksum})"

    def require_architecture(self, config: Config, dataset: "Dataset", trunks: "Trunks | None" = None) -> None:
        """Refuses them for a run with these settings, nothing of which is auto, on these data; nothing is written.

        Raises:
            InputError: names the first setting, or the first weight, that differs.
        """
        from tfvae.core.making import make_vae

        _require_same_settings(config, self.config)
        self._require_same_columns(config, dataset.columns)
        if dataset.classes != self.classes:
            raise InputError(
                f"--dataset={config.dataset}: must have the classes of the run of --init_from={config.init_from}, "
                f"{listed(self.classes)}, and has {listed(dataset.classes)}"
            )
        vae = make_vae(config, dataset.image_shape, dataset.white, self.start_stddev, *dataset.of_model, trunks)
        self._require_same_trunks(config, vae)
        variables = _variables(vae, self.part)
        for name in {**variables, **self.values}:
            here = variables[name].shape.as_list() if name in variables else None
            there = list(self.values[name].shape) if name in self.values else None
            if here != there:
                raise InputError(
                    f"--dataset={config.dataset}: must have images of the shape {list(self.image_shape)}, as those of "
                    f"the run of --init_from={config.init_from}, and has {list(dataset.image_shape)}: {name} has the "
                    f"shape {there} there, {here} here"
                )

    def _require_same_trunks(self, config: Config, vae: "VAE") -> None:
        for part, there in self.own_trunks.items():
            if self.part in ("all", part) and getattr(vae, part).own_trunk != there:
                raise InputError(
                    f"--network={config.network}: must be the network of the run of --init_from={config.init_from}, "
                    f"and its {part} is another one there"
                )

    def _require_same_columns(self, config: Config, columns: Columns | None) -> None:
        if self.columns is None and columns is None:
            return
        of_run = f"as the run of --init_from={config.init_from}"
        if columns is None or self.columns is None:
            here, there = ("images", "vectors") if columns is None else ("vectors", "images")
            raise InputError(f"--dataset={config.dataset}: must have {there}, {of_run}, and has {here}")
        if config.scale != self.config.scale:
            raise _must_be_as_there(config, "scale", self.config.scale)
        pairs = itertools.zip_longest(columns.names, self.columns.names, fillvalue="no column")
        for number, (here, there) in enumerate(pairs):
            if here != there:
                raise InputError(
                    f"--dataset={config.dataset}: must have the columns of the run of --init_from={config.init_from}, "
                    f"in their order: number {number} (from 0) is {there} there, {here} here"
                )

    def assign(self, vae: "VAE") -> None:
        """Gives them to a VAE, of the architecture that `require_architecture` has found to be theirs."""
        for name, variable in _variables(vae, self.part).items():
            variable.assign(self.values[name])
        if not self.has_decoder:
            return
        from tfvae.core.likelihoods import LOG_VARIANCE_CHANGE

        for variable in vae.decoder.learned:
            if variable.name == LOG_VARIANCE_CHANGE:  # the pace is the learning rate's, which may be another
                variable.assign(variable * (self.sigma_pace / vae.decoder.sigma_pace))


def _variables(vae: "VAE", part: str) -> "dict[str, tf.Variable]":
    """Those of a part, by their names."""
    return {v.path: v.value for v in vae.variables if v.path.startswith(_PREFIXES[part])}


def _checksum(values: dict[str, np.ndarray]) -> str:
    """Eight hexadecimal digits that change when a weight does: the CRC-32 of their names, shapes and bytes."""
    checksum = 0
    for name, value in sorted(values.items()):
        checksum = zlib.crc32(f"{name} {list(value.shape)}".encode(), checksum)
        checksum = zlib.crc32(value.astype("<f4").tobytes(), checksum)
    return f"{checksum:08x}"


def read(config: Config) -> tuple[Config, InitialWeights | None]:
    """`config` with the checksum of the weights that the run starts from, and these weights; None where none are read.

    Raises:
        InputError: there is no good checkpoint, or it has other weights than the run has started from.
    """
    if not _are_needed(config):
        return config, None
    check_early(config)
    from tfvae.training import checkpoints

    try:
        saved = checkpoints.load_run(str(config.init_from))
    except RunError as error:
        raise InputError(f"--init_from={config.init_from}: must have a checkpoint that can be read: {error}") from None
    vae = saved.vae
    values = {name: variable.numpy() for name, variable in _variables(vae, config.init_part).items()}
    checksum = _checksum(values)
    weights = InitialWeights(
        config.init_part,
        values,
        saved.config,
        saved.step,
        vae.encoder.image_shape,
        vae.encoder.columns,
        vae.decoder.start_stddev,
        vae.decoder.sigma_pace,
        vae.classes,
        checksum,
        {"encoder": vae.encoder.own_trunk, "decoder": vae.decoder.own_trunk},
    )
    if config.init_checksum not in (None, checksum):
        way = f"--init_checksum=auto takes these, of --init_part={config.init_part}"
        if config_of_run(config) is not None:
            way = f"{config.run_dir} was started from these: name the directory that has them, or another --run_dir"
        raise InputError(
            f"--init_from={config.init_from}: must have the weights of --init_checksum={config.init_checksum}, and "
            f"those of its step {saved.step:,} have the checksum {checksum}; {way}"
        )
    return dataclasses.replace(config, init_checksum=checksum), weights
