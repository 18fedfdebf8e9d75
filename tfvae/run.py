"""How a run comes to be, from its settings to its results: puts the wings together for the commands and for Python.

Nothing here waits for TensorFlow until it is called. What is done with a trained run is in `trained.py`.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfvae.config import Config, left_to_data
from tfvae.config.data_names import ARRAYS
from tfvae.config.flagfile import check_resumable, config_of_run
from tfvae.config.network_name import LAYERS
from tfvae.config.run_name import run_name
from tfvae.runtime.failures import told_plainly
from tfvae.runtime.files import locked, require_writable
from tfvae.runtime.tensorflow import import_tensorflow
from tfvae.serving import ownership

if TYPE_CHECKING:
    import keras

    from tfvae.core.own_network import Trunks
    from tfvae.core.vae import VAE
    from tfvae.data.sources import Parts
    from tfvae.data.splits import Dataset, Split
    from tfvae.training.initial import InitialWeights
    from tfvae.training.strategy import Placement

RUNS = Path("runs")  # where a run's directory is, unless it is given
_WRITTEN_IN_A_RUN = ("checkpoints", "evaluation", "figures", "tensorboard")  # directories, while it trains


def train(
    config: Config, on_workers_met: Callable[[], None] = lambda: None, profile_steps: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Trains, evaluates and exports; goes on where the run directory has a checkpoint.

    A finished run is not trained again: its results are read. Where `TF_CONFIG` names several workers, each of them
    calls it; `on_workers_met` is called when all are there. `profile_steps` are traced, for TensorBoard.

    Returns:
        What `<run>/results.json` holds: test figures in nats and what they are of, speed, the export.

    Raises:
        InputError: the data, or the run directory's settings, don't fit; nothing has been written.
        RunError: the run failed after its start; the message says what is safe.
    """
    return train_on(config, None, on_workers_met, profile_steps, is_command=True)[1]


def train_on(
    config: Config,
    arrays: "dict[str, Split] | None",
    on_workers_met: Callable[[], None] = lambda: None,
    profile_steps: tuple[int, int] | None = None,
    is_command: bool = False,
    layers: "tuple[keras.Layer, keras.Layer] | None" = None,
) -> tuple[Config, dict[str, Any]]:
    """`train`, on the parts that Python hands in (`memory.load`) in the place of a data set, if these are given.

    So are the encoder's and the decoder's `layers`, in the place of a network.

    Only where it `is_command` it ends with the commands to type next: Python has a `Run` to go on with.

    Returns:
        `config` with what it left to the data filled in, and `train`'s results.

    Raises:
        InputError, RunError: as `train`.
    """
    start = _start(config, arrays, on_workers_met, layers)
    config, dataset, placement, data_line, _, _ = start
    from tfvae.data import place
    from tfvae.training import checkpoints, profile, report

    run_dir = config.directory
    placement.log(f"{data_line}; {dataset.describe()}")
    results = report.finished_results(config, dataset.fingerprint())
    if results:
        if placement.chief:
            place.record(config)
        placement.say(f"{run_dir} is finished: {report.describe_end(config, results)}")
    else:
        _check(start)
        if profile_steps:
            profile.require_steps(profile_steps, config, len(dataset.train.images))
            done = checkpoints.read_notes(run_dir).get("step", 0)
            if profile_steps[0] < done:  # the same command must go on with a run that was stopped
                placement.say(f"no profile of steps {profile_steps[0]:,} to {profile_steps[1]:,}: {done:,} are done")
                profile_steps = None
        results = _train_in(run_dir, start, profile_steps)
    placement.say(report.table(results))
    if is_command:
        placement.log(report.next_commands(run_dir, Path(results["export"])))
    return config, results


def dry_run(config: Config) -> None:
    """Prints what `train` would do, and leaves; some steps are made to measure their time, and nothing is written.

    Raises:
        InputError: what `train` would refuse.
    """
    start = _start(config, None, lambda: None)
    config, dataset, placement, data_line, _, trunks = start
    from tfvae.training import report
    from tfvae.training.dry_run import DryRun

    placement.say(f"{data_line}; {dataset.describe()}")
    if report.finished_results(config, dataset.fingerprint()):
        placement.say(f"{config.directory} is finished: nothing is left to do")
        return
    _check(start)
    for line in DryRun(config, dataset, placement, trunks).lines():
        placement.say(line)
    placement.say(f"{config.directory}: nothing is written: --dry_run")


def _check(start: "_Start") -> None:
    """Refuses what can't be trained here, and says what is not advisable; raises InputError."""
    config, dataset, placement, _, initial, trunks = start
    from tfvae.data import provenance
    from tfvae.training import memory

    _check_places(config, dataset.fingerprint())
    memory.require_fitting(config, dataset, placement.local_replicas, trunks)
    advice = None if dataset.columns else provenance.likelihood_advice(config, dataset.test.array)
    if advice:
        placement.say(advice)
    if initial is not None:
        initial.require_architecture(config, dataset, trunks)


class _Start(NamedTuple):
    """What training starts from."""

    config: Config  # with what it left to the data filled in
    dataset: "Dataset"
    placement: "Placement"
    data_line: str  # which data are taken, and why
    initial: "InitialWeights | None"  # another run's, where training starts from these
    trunks: "Trunks | None"  # of a network of the user's own


def _start(
    config: Config,
    arrays: "dict[str, Split] | None",
    on_workers_met: Callable[[], None],
    layers: "tuple[keras.Layer, keras.Layer] | None" = None,
) -> _Start:
    """Loads the images, meets the other workers, and checks the run directory.

    What NumPy alone can refuse is refused before TensorFlow is imported, which takes seconds. The images as they were
    read are freed at the end, when the splits have been made of them.
    """
    from tfvae.data import place, sources
    from tfvae.training import initial, network_file

    config = initial.with_recorded(place.absolute(config))
    if arrays is None:
        place.require_there(config)
    parts = sources.read_early(config, arrays)
    if parts is not None:
        config = _with_what_data_tell(config, parts)
    _check_run_dir(config)
    initial.check_early(config)
    network_file.check_early(config, layers)
    import_tensorflow()
    from tfvae.data import dataset as data
    from tfvae.training import strategy

    placement = strategy.place(config)
    on_workers_met()
    config, weights = initial.read(config)
    name, data_line = sources.resolve(config)
    config = dataclasses.replace(config, dataset=name)
    if parts is None:
        parts = sources.read(config)
        config = _with_what_data_tell(config, parts)
    dataset = data.divide(config, parts)
    lines = (data_line, *parts.notes, *left_to_data.choices(config, parts.kind, dataset.image_shape[-1]))
    config = _with_run_dir(left_to_data.with_filters(config, dataset.image_shape), dataset, layers)
    _check_run_dir(config)
    trunks = network_file.network_of(config, dataset, layers, placement.say)
    return _Start(config, dataset, placement, "; ".join(lines), weights, trunks)


def _with_what_data_tell(config: Config, parts: "Parts") -> Config:
    """`config` with what it left to the data, but for the filters, which depend on the images' shape."""
    config = left_to_data.with_models(config, parts.kind)
    return left_to_data.with_epochs(config, parts.sizes.train, parts.sizes.validation, parts.kind)


def _with_run_dir(config: Config, dataset: "Dataset", layers: "tuple[keras.Layer, keras.Layer] | None") -> Config:
    """`config` with its run directory, which is named by all other settings where none is given."""
    name = run_name(config)
    if config.dataset == ARRAYS:  # other arrays are another run
        name += f"-{dataset.fingerprint()}"
    if layers is not None:  # and so are other layers
        from tfvae.core.own_network import as_trunks

        name += f"-{as_trunks(LAYERS, layers).fingerprint}"
    return dataclasses.replace(config, run_dir=str(Path(config.run_dir or RUNS / name)))


def _check_run_dir(config: Config) -> None:
    """Refuses a run directory that another run has made; raises InputError. What is auto is not compared."""
    recorded = config_of_run(config)
    if recorded is not None:
        check_resumable(dataclasses.replace(config, run_dir=str(config.directory)), recorded)


def told_plainly_of(config: Config) -> contextlib.AbstractContextManager[None]:
    """Turns errors of the disks that a command on a run writes to into RunError; it says what is safe."""
    from tfvae.training import checkpoints

    return told_plainly((config.directory, Path(config.export_dir)), lambda: checkpoints.safe_on_disk(config.directory))


def _check_places(config: Config, fingerprint: str) -> None:
    """Refuses places that training can't write to, and another run's; raises InputError, and nothing is written."""
    from tfvae.data.dataset import changed
    from tfvae.training import checkpoints

    of_run = checkpoints.read_notes(config.directory).get("fingerprint", fingerprint)
    if of_run != fingerprint:
        raise changed(config, config.directory, fingerprint, of_run)
    require_writable("run_dir", config.directory, *_WRITTEN_IN_A_RUN)
    require_writable("export_dir", config.export_dir, *ownership.names(config).values())
    ownership.require_own(config, fingerprint)


def _train_in(run_dir: Path, start: "_Start", profile_steps: tuple[int, int] | None) -> dict[str, Any]:
    """Trains in a run directory that no other process uses; says what is safe where that fails."""
    config, dataset, placement, _, initial, trunks = start
    from tfvae.analysis.pictures import draw_pictures
    from tfvae.training import checkpoints
    from tfvae.training.trainer import Trainer

    draw = functools.partial(draw_pictures, dataset=dataset, config=config)
    export_trained = functools.partial(export_models, config, dataset.fingerprint())
    safe = functools.partial(checkpoints.safe_on_disk, run_dir)
    with locked(run_dir) if placement.chief else contextlib.nullcontext():
        with told_plainly_of(config), placement.together(safe):
            facts = (initial, profile_steps, trunks)
            return Trainer(config, dataset, run_dir, placement, draw, export_trained, *facts).train()


def export_models(config: Config, fingerprint: str, vae: "VAE", step: int, results: dict[str, Any]) -> Path:
    """Exports the encoder and the decoder of a run on images of that fingerprint; returns the decoder's new version."""
    from tfvae.serving import saved_model

    base = Path(config.export_dir, ownership.names(config)["decoder"])
    claim = functools.partial(ownership.claim, config, fingerprint)
    with told_plainly_of(config):
        return saved_model.export(vae, base, saved_model.describe(config, step, results), claim)
