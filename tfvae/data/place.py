"""Where a run's images are: a run that was made elsewhere is told their new place, and records it.

The place is `--dataset`, where that is a file, and `--data_dir`. That the images there are the run's is not this
module's business: `dataset.load_of_run` compares their fingerprint.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

from tfvae.config import Config
from tfvae.config.data_names import ARRAYS, is_file_name
from tfvae.config.flagfile import FILE_NAME, config_of_run, may_move, to_flagfile
from tfvae.data import sources
from tfvae.data.sources import Parts
from tfvae.data.splits import Split
from tfvae.errors import InputError
from tfvae.runtime.files import write_atomically

_OF_THE_RUN = ("--batch_size=", "--validation_examples=", "--dequantize=")  # recorded, so the images must go with them


def absolute(config: Config) -> Config:
    """`config` with absolute paths to what it reads: they must mean the same from any directory."""
    data_dir, init_from = config.data_dir, config.init_from
    if data_dir is not None:
        data_dir = os.path.abspath(data_dir)
    if init_from is not None:
        init_from = os.path.abspath(init_from)
    dataset = sources.absolute(config.dataset)
    return dataclasses.replace(config, dataset=dataset, data_dir=data_dir, init_from=init_from)


def is_new(config: Config) -> bool:
    """Whether `config` names another place than its run has recorded. Arrays, which Python hands in, are at none."""
    recorded = config_of_run(config)
    if recorded is None or config.dataset == ARRAYS:
        return False
    here, there = absolute(config), absolute(recorded)
    return (here.dataset, here.data_dir) != (there.dataset, there.data_dir)


def record(config: Config) -> None:
    """Writes the place of `config` into its run's `config.flags`; the images there must be known to be the run's.

    A data set of a name stays under its name, though a file may hold the same images: training goes by the name.
    """
    recorded = config_of_run(config)
    if recorded is None or not is_new(config):
        return
    moved = dataclasses.replace(recorded, data_dir=config.data_dir)
    if may_move(recorded.dataset) and may_move(config.dataset):
        moved = dataclasses.replace(moved, dataset=config.dataset)
    if moved != recorded:
        write_atomically(config.directory / FILE_NAME, to_flagfile(moved))


def require_there(config: Config) -> None:
    """Refuses a run's recorded file that is not there any more; raises InputError, which says what to do."""
    if not is_file_name(config.dataset) or os.path.exists(os.path.expanduser(config.dataset)):
        return
    if config_of_run(config) is None or is_new(config):
        return
    missing = f"must be the images of {config.run_dir}, and there is no such file"
    raise InputError(
        f"--dataset={config.dataset}: {missing}: name the images' new place by --dataset",
        in_python=f"dataset={config.dataset}: {missing}: hand in the images, or name their new place by "
        "python -m tfvae.evaluate --run_dir=... --dataset=...",
    )


def read_early(config: Config, handed_in: dict[str, Split] | None = None) -> Parts | None:
    """`sources.read_early` of the images of the run in `config.run_dir`.

    Raises:
        InputError: they can't be had, or can't be those of the run.
    """
    if handed_in is None:
        require_there(config)
    with _in_words_of_a_run(config):
        return sources.read_early(config, handed_in)


def read(config: Config) -> Parts:
    """`sources.read` of the images of the run in `config.run_dir`.

    Raises:
        InputError: they can't be had, or can't be those of the run.
    """
    require_there(config)
    with _in_words_of_a_run(config):
        return sources.read(config)


@contextlib.contextmanager
def _in_words_of_a_run(config: Config) -> Iterator[None]:
    """Refuses images in words that help one who has a run: settings are recorded, and other images are of no use."""
    try:
        yield
    except InputError as error:
        message = error.for_command_line
        if message.startswith(_OF_THE_RUN):
            raise InputError(
                f"--dataset={config.dataset}: must be the images that {config.run_dir} was made with, and these can't "
                f"be: {message}"
            ) from None
        if error.reason and not is_new(config):  # a data set of TFDS that is not here
            raise InputError(
                f"--dataset={config.dataset}: {error.reason}; name the directory that has it by --data_dir or "
                "TFDS_DATA_DIR"
            ) from None
        raise
