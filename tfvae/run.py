"""What a run is, from its settings to its results: puts the wings together for the commands and for Python.

Nothing here waits for TensorFlow until it is called.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfvae.config import Config, left_to_data
from tfvae.config.capabilities import TASKS
from tfvae.config.config import ARRAYS
from tfvae.config.flagfile import FILE_NAME, check_resumable, read_config
from tfvae.config.rules import check_task
from tfvae.errors import InputError
from tfvae.runtime.failures import told_plainly
from tfvae.runtime.files import locked, require_checkpoints, require_writable, write_atomically
from tfvae.runtime.tensorflow import import_tensorflow
from tfvae.serving import ownership

if TYPE_CHECKING:
    from tfvae.core.vae import VAE
    from tfvae.data.sources import Parts
    from tfvae.data.splits import Dataset, Split
    from tfvae.training.checkpoints import SavedRun
    from tfvae.training.strategy import Placement

RUNS = Path("runs")  # where a run's directory is, unless it is given
_WRITTEN_IN_A_RUN = ("checkpoints", "evaluation", "figures", "tensorboard")  # directories, while it trains


def train(config: Config, on_workers_met: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Trains, evaluates and exports; goes on where the run directory has a checkpoint.

    A finished run is not trained again: its results are read. Where `TF_CONFIG` names several workers, each of them
    calls it; `on_workers_met` is called when all are there.

    Returns:
        What `<run>/results.json` holds: test figures in nats and what they are of, speed, the export.

    Raises:
        InputError: the data, or the run directory's settings, don't fit; nothing has been written.
        RunError: the run failed after its start; the message says what is safe.
    """
    return train_on(config, None, on_workers_met)[1]


def train_on(
    config: Config, arrays: "dict[str, Split] | None", on_workers_met: Callable[[], None] = lambda: None
) -> tuple[Config, dict[str, Any]]:
    """`train`, on the parts that Python hands in (`memory.load`) in the place of a data set, if these are given.

    Returns:
        `config` with what it left to the data filled in, and `train`'s results.

    Raises:
        InputError, RunError: as `train`.
    """
    config, dataset, placement, data_line = _start(config, arrays, on_workers_met)
    from tfvae.data import place, provenance
    from tfvae.training import memory, report

    run_dir = config.directory
    placement.say(f"{data_line}; {dataset.describe()}")
    results = report.finished_results(config, dataset.fingerprint())
    if results:
        if placement.chief:
            place.record(config)
        placement.say(f"{run_dir} is finished: {config.epochs:,} epochs")
    else:
        _check_places(config, dataset.fingerprint())
        memory.require_fitting(config, dataset.image_shape, placement.local_replicas)
        advice = None if dataset.columns else provenance.likelihood_advice(config, dataset.test.array)
        if advice:
            placement.say(advice)
        results = _train_in(run_dir, config, dataset, placement)
    exported = Path(results["export"])
    placement.say(f"{report.table(results)}\n{report.next_commands(run_dir, exported, config.dataset == ARRAYS)}")
    return config, results


class _Start(NamedTuple):
    """What training starts from."""

    config: Config  # with what it left to the data filled in
    dataset: "Dataset"
    placement: "Placement"
    data_line: str  # which data are taken, and why


def _start(config: Config, arrays: "dict[str, Split] | None", on_workers_met: Callable[[], None]) -> _Start:
    """Loads the images, meets the other workers, and checks the run directory.

    What NumPy alone can refuse is refused before TensorFlow is imported, which takes seconds. The images as they were
    read are freed at the end, when the splits have been made of them.
    """
    from tfvae.data import place, sources

    config = place.absolute(config)
    if arrays is None:
        place.require_there(config)
    parts = sources.read_early(config, arrays)
    if parts is not None:
        config = _with_what_data_tell(config, parts)
    _check_run_dir(config)
    import_tensorflow()
    from tfvae.data import dataset as data
    from tfvae.training import strategy

    placement = strategy.place(config)
    on_workers_met()
    name, data_line = sources.resolve(config)
    config = dataclasses.replace(config, dataset=name)
    if parts is None:
        parts = sources.read(config)
        config = _with_what_data_tell(config, parts)
    lines = (data_line, *parts.notes, *left_to_data.choices(config, parts.kind))
    dataset = data.divide(config, parts)
    config = _with_run_dir(left_to_data.with_filters(config, dataset.image_shape), dataset)
    _check_run_dir(config)
    return _Start(config, dataset, placement, "; ".join(lines))


def _with_what_data_tell(config: Config, parts: "Parts") -> Config:
    """`config` with what it left to the data, but for the filters, which depend on the images' shape."""
    config = left_to_data.with_models(config, parts.kind)
    return left_to_data.with_epochs(config, parts.sizes.train, parts.sizes.validation, parts.kind)


def _with_run_dir(config: Config, dataset: "Dataset") -> Config:
    """`config` with its run directory, which is named by all other settings where none is given."""
    name = config.name()
    if config.dataset == ARRAYS:  # other arrays are another run
        name += f"-{dataset.fingerprint()}"
    return dataclasses.replace(config, run_dir=str(Path(config.run_dir or RUNS / name)))


def _check_run_dir(config: Config) -> None:
    """Refuses a run directory that another run has made; raises InputError. What is auto is not compared."""
    if config.run_dir is None:
        return
    run_dir = config.directory
    if (run_dir / FILE_NAME).exists():
        check_resumable(dataclasses.replace(config, run_dir=str(run_dir)), read_config(run_dir))


def _told_plainly(config: Config) -> contextlib.AbstractContextManager[None]:
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


def _train_in(run_dir: Path, config: Config, dataset: "Dataset", placement: "Placement") -> dict[str, Any]:
    """Trains in a run directory that no other process uses; says what is safe where that fails."""
    from tfvae.analysis.pictures import draw_pictures
    from tfvae.training import checkpoints
    from tfvae.training.trainer import Trainer

    draw = functools.partial(draw_pictures, dataset=dataset, config=config)
    export_trained = functools.partial(_export_models, config, dataset.fingerprint())
    safe = functools.partial(checkpoints.safe_on_disk, run_dir)
    with locked(run_dir) if placement.chief else contextlib.nullcontext():
        with _told_plainly(config), placement.together(safe):
            return Trainer(config, dataset, run_dir, placement, draw, export_trained).train()


def _export_models(config: Config, fingerprint: str, vae: "VAE", step: int, results: dict[str, Any]) -> Path:
    """Exports the encoder and the decoder of a run on images of that fingerprint; returns the decoder's new version."""
    from tfvae.serving import saved_model

    base = Path(config.export_dir, ownership.names(config)["decoder"])
    claim = functools.partial(ownership.claim, config, fingerprint)
    with _told_plainly(config):
        return saved_model.export(vae, base, saved_model.describe(config, step, results), claim)


def _load_run(config: Config) -> "SavedRun":
    """The trained VAE of `config.run_dir`; a directory that can't have one is refused before TensorFlow is imported."""
    require_checkpoints(config.directory)
    import_tensorflow()
    from tfvae.training import checkpoints

    return checkpoints.load_run(config.directory)


def _load_run_and_data(
    config: Config, arrays: "dict[str, Split] | None" = None, task: str | None = None
) -> "tuple[SavedRun, Dataset]":
    """`_load_run`, with the run's images, whose place is recorded if it is a new one.

    A task of `tfvae.explore` that is refused, and images that are, are refused before TensorFlow is imported where
    NumPy alone can tell. The images as they were read are freed at the end, when the splits have been made of them.
    """
    from tfvae.data import place

    require_checkpoints(config.directory)
    parts = place.read_early(config, arrays)
    if task is not None and parts is not None:
        check_task(config, task, parts.has_labels, parts.kind == "vectors")
    trained = _load_run(config)
    from tfvae.data.dataset import load_of_run

    dataset = load_of_run(config, trained.fingerprint, parts)
    if arrays is None:
        place.record(config)
    return trained, dataset


def evaluate(config: Config, with_baselines: bool = False, arrays: "dict[str, Split] | None" = None) -> dict[str, Any]:
    """Evaluates the run in `config.run_dir` with S = `config.eval_samples`; returns figures and what they are of.

    `with_baselines` adds those of `baselines.compare`. `arrays` are the images of a run that was made of arrays. Where
    `config` names another place of the run's images than the run does, the run records it.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had.
        RunError: no checkpoint of it can be read.
    """
    from tfvae.data import place

    config = place.absolute(config)
    run_dir = config.directory
    require_writable("run_dir", run_dir, "evaluation")
    trained, dataset = _load_run_and_data(config, arrays)
    from tfvae.data.provenance import provenance
    from tfvae.training import block_plan, evaluation, report

    if with_baselines:
        from tfvae.analysis import baselines

        baselines.check_size(dataset.image_shape)
        baselines.check_vectors(dataset.columns)
    images, samples = dataset.test.array, config.eval_samples
    plan = block_plan.plan_blocks(trained.vae, config.eval_memory_gb)
    evaluator = evaluation.Evaluator(trained.vae, config.latent_dim, config.seed, config.closed_kl, plan=plan)
    kept_blocks = evaluation.KeptBlocks(run_dir, trained.step, samples, plan.block_size(len(images)))
    with _told_plainly(config):
        summary = evaluation.evaluate_run(evaluator, images, samples, kept_blocks).summary()
    results = {
        "of": {**provenance(config, images, samples, dataset.columns), "step": trained.step},
        "test": report.meaningful_figures(config, summary, dataset.image_shape),
        "evaluation": {"images_together": plan.block_size(len(images))},
    }
    print(f"{run_dir}, step {trained.step:,}: {report.table(results)}", flush=True)
    if with_baselines:
        results["baselines"] = baselines.compare(config, dataset, float(summary["squared_error"]))
        print(baselines.table(results["of"], results["baselines"]), flush=True)
    with _told_plainly(config):
        write_atomically(run_dir / "evaluation.json", json.dumps(results, indent=1) + "\n")
    kept_blocks.forget()
    return results


def explore(config: Config, task: str = "samples", arrays: "dict[str, Split] | None" = None) -> dict[str, Any]:
    """Does `task` with the run in `config.run_dir`, its draws by `config.seed`; returns numbers and what they are of.

    `arrays` are the images of a run that was made of arrays. They are asked for where the task needs images, or where
    `config` names another place of them than the run does, which is then checked and recorded.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had or lack labels that are needed.
    """
    from tfvae.data import place

    config = place.absolute(config)
    require_writable("run_dir", config.directory, "explore")
    check_task(config, task)
    dataset = None
    if TASKS[task].needs_data or place.is_new(config):
        trained, dataset = _load_run_and_data(config, arrays, task)
    else:
        trained = _load_run(config)
    from tfvae.analysis import tasks

    with _told_plainly(config):
        return tasks.explore(config, trained.vae, trained.step, dataset, task)


def export(config: Config, export_format: str = "saved_model", with_explorer: bool = False) -> Path:
    """Writes the next version of the run in `config.run_dir` and returns its directory.

    The run's images are read for the explorer alone, and where `config` names another place of them than the run does.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had; or another run's models have
            its name in `config.export_dir`.
        RunError: the exported model doesn't answer as the trained one does; it is not there.
    """
    from tfvae.data import place

    config = place.absolute(config)
    require_writable("export_dir", config.export_dir, *ownership.names(config).values())
    run_dir = config.directory
    dataset = None
    if with_explorer or place.is_new(config):
        require_writable("run_dir", run_dir)
        trained, dataset = _load_run_and_data(config)
    else:
        trained = _load_run(config)
    if with_explorer and trained.vae.decoder.columns:
        raise InputError("--explorer=true: must be false for a run of vectors, which have no pixels to show")
    ownership.require_own(config, trained.fingerprint)
    path = run_dir / "results.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    exported = _export_models(config, trained.fingerprint, trained.vae, trained.step, results)
    base = exported.parent
    print(f"{exported}: the decoder of step {trained.step:,}; the encoder: {base}-encoder", flush=True)
    if export_format == "onnx":
        from tfvae.serving.onnx import export_onnx

        export_onnx(trained.vae, base / "decoder.onnx")
        print(f"{base / 'decoder.onnx'}: the decoder as ONNX, the same in onnxruntime")
    if with_explorer and dataset is not None:
        _write_explorer(trained, config, dataset, (run_dir, base))
    return exported


def _write_explorer(trained: "SavedRun", config: Config, dataset: "Dataset", folders: tuple[Path, ...]) -> None:
    """Writes the latent explorer, one HTML page, into each of these folders."""
    from tfvae.analysis import explorer

    title = f"{config.directory.resolve().name}, step {trained.step:,}"
    page = explorer.page(trained.vae, config, dataset, title)
    for folder in folders:
        write_atomically(folder / "explorer.html", page)
        print(f"{folder / 'explorer.html'}: open it in a browser")
