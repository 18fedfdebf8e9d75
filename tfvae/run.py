"""What a run is, from its settings to its results: puts the wings together for the commands and for Python.

Nothing here waits for TensorFlow until it is called.
"""

import contextlib
import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfvae.config import Config
from tfvae.config.config import ARRAYS
from tfvae.config.flagfile import FILE_NAME, check_resumable, read_config
from tfvae.config.rules import task_refusals
from tfvae.errors import InputError, RunError
from tfvae.runtime.files import locked, require_writable, write_atomically
from tfvae.runtime.tensorflow import import_tensorflow

if TYPE_CHECKING:
    from tfvae.core.vae import VAE
    from tfvae.data.splits import Dataset, Split
    from tfvae.training.checkpoints import SavedRun
    from tfvae.training.strategy import Placement

_AUTO_IMAGES = 1_000_000  # that --epochs=auto passes over, in 10 epochs at least


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
    import_tensorflow()
    from tfvae.data import dataset as data
    from tfvae.training import report, strategy

    placement = strategy.place(config)
    on_workers_met()
    name, data_line = data.resolve(config)
    config = dataclasses.replace(config, dataset=name)
    dataset = data.load(config, arrays)
    config = _with_resolved_settings(config, dataset)
    run_dir = config.directory
    if (run_dir / FILE_NAME).exists():
        check_resumable(config, read_config(run_dir))
    placement.say(f"{data_line}; {dataset.describe()}")
    results = _finished_results(run_dir, config, dataset.fingerprint())
    if results:
        placement.say(f"{run_dir} is finished: {config.epochs:,} epochs")
    else:
        results = _train_in(run_dir, config, dataset, placement)
    exported = Path(results["export"])
    placement.say(f"{report.table(results)}\n{report.next_commands(run_dir, exported, config.dataset == ARRAYS)}")
    return config, results


def _with_resolved_settings(config: Config, dataset: "Dataset") -> Config:
    """`config` with what it leaves to the data, and then its run directory, filled in."""
    config = dataclasses.replace(
        config,
        epochs=config.epochs or max(10, math.ceil(_AUTO_IMAGES / len(dataset.train.images))),
        validation_examples=len(dataset.validation.images),
    )
    config = dataclasses.replace(config, validate_every=config.epochs_a_validation)
    name = config.name()
    if config.dataset == ARRAYS:  # other arrays are another run
        name += f"-{dataset.fingerprint()}"
    return dataclasses.replace(config, run_dir=str(Path(config.run_dir or Path("runs") / name)))


def _finished_results(run_dir: Path, config: Config, fingerprint: str) -> dict[str, Any] | None:
    """The results of a run on these images that has nothing left to do."""
    path = run_dir / "results.json"
    if not path.is_file():
        return None
    results = json.loads(path.read_text())
    is_finished = results["train"]["epochs"] == config.epochs and results["fingerprint"] == fingerprint
    return results if is_finished else None


def _train_in(run_dir: Path, config: Config, dataset: "Dataset", placement: "Placement") -> dict[str, Any]:
    """Trains in a run directory that no other process uses; says what is safe where that fails."""
    import tensorflow as tf

    from tfvae.analysis.pictures import draw_pictures
    from tfvae.training import checkpoints
    from tfvae.training.trainer import Trainer

    draw = functools.partial(draw_pictures, dataset=dataset, config=config)
    export_trained = functools.partial(_export_models, config)
    with locked(run_dir) if placement.chief else contextlib.nullcontext():
        try:
            with placement.together(lambda: checkpoints.safe_on_disk(run_dir)):
                return Trainer(config, dataset, run_dir, placement, draw, export_trained).train()
        except (OSError, tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
            reason = " ".join(str(error).split())[-200:]  # TensorFlow says the reason last
            raise RunError(f"{type(error).__name__}: {reason}; {checkpoints.safe_on_disk(run_dir)}") from error


def _export_models(config: Config, vae: "VAE", step: int, results: dict[str, Any]) -> Path:
    """Exports the encoder and the decoder; returns the decoder's new version."""
    from tfvae.serving import saved_model

    base = saved_model.model_directory(config.export_dir, config.directory)
    return saved_model.export(vae, base, saved_model.describe(config, step, results))


def evaluate(config: Config, with_baselines: bool = False, arrays: "dict[str, Split] | None" = None) -> dict[str, Any]:
    """Evaluates the run in `config.run_dir` with S = `config.eval_samples`; returns figures and what they are of.

    `with_baselines` adds those of `baselines.compare`. `arrays` are the images of a run that was made of arrays.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had.
        RunError: no checkpoint of it can be read.
    """
    import_tensorflow()
    from tfvae.data.dataset import load_of_run
    from tfvae.data.provenance import provenance
    from tfvae.training import checkpoints, evaluation, report

    run_dir = config.directory
    require_writable("run_dir", run_dir)
    trained = checkpoints.load_run(run_dir)
    dataset = load_of_run(config, trained.fingerprint, arrays)
    images, samples = dataset.test.array, config.eval_samples
    evaluator = evaluation.Evaluator(trained.vae, config.latent_dim, config.seed, config.closed_kl)
    kept_blocks = evaluation.KeptBlocks(run_dir, trained.step, samples)
    summary = evaluation.evaluate_run(evaluator, images, samples, kept_blocks).summary()
    results = {
        "of": {**provenance(config, images, samples), "step": trained.step},
        "test": report.meaningful_figures(config, summary, dataset.image_shape),
    }
    print(f"{run_dir}, step {trained.step:,}: {report.table(results)}", flush=True)
    if with_baselines:
        from tfvae.analysis import baselines

        results["baselines"] = baselines.compare(config, dataset, float(summary["squared_error"]))
        print(baselines.table(results["of"], results["baselines"]), flush=True)
    write_atomically(run_dir / "evaluation.json", json.dumps(results, indent=1) + "\n")
    kept_blocks.forget()
    return results


def explore(config: Config, task: str = "samples", arrays: "dict[str, Split] | None" = None) -> dict[str, Any]:
    """Does `task` with the run in `config.run_dir`, its draws by `config.seed`; returns numbers and what they are of.

    `arrays` are the images of a run that was made of arrays.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had or lack labels that are needed.
    """
    for reason in task_refusals(config, task):
        raise InputError(f"--task={task}: {reason}")
    import_tensorflow()
    from tfvae.analysis import tasks
    from tfvae.data.dataset import load_of_run
    from tfvae.training import checkpoints

    trained = checkpoints.load_run(config.directory)
    require_writable("run_dir", config.directory / "explore")
    dataset = load_of_run(config, trained.fingerprint, arrays)
    return tasks.explore(config, trained.vae, trained.step, dataset, task)


def export(config: Config, export_format: str = "saved_model", with_explorer: bool = False) -> Path:
    """Writes the next version of the run in `config.run_dir` and returns its directory.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had.
        RunError: the exported model doesn't answer as the trained one does; it is not there.
    """
    import_tensorflow()
    from tfvae.training import checkpoints

    require_writable("export_dir", config.export_dir)
    run_dir = config.directory
    trained = checkpoints.load_run(run_dir)
    path = run_dir / "results.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    exported = _export_models(config, trained.vae, trained.step, results)
    base = exported.parent
    print(f"{exported}: the decoder of step {trained.step:,}; the encoder: {base}-encoder", flush=True)
    if export_format == "onnx":
        from tfvae.serving.onnx import export_onnx

        export_onnx(trained.vae, base / "decoder.onnx")
        print(f"{base / 'decoder.onnx'}: the decoder as ONNX, the same in onnxruntime")
    if with_explorer:
        _write_explorer(trained, config, (run_dir, base))
    return exported


def _write_explorer(trained: "SavedRun", config: Config, folders: tuple[Path, ...]) -> None:
    """Writes the latent explorer, one HTML page, into each of these folders."""
    from tfvae.analysis import explorer
    from tfvae.data.dataset import load_of_run

    title = f"{config.directory.resolve().name}, step {trained.step:,}"
    page = explorer.page(trained.vae, config, load_of_run(config, trained.fingerprint), title)
    for folder in folders:
        write_atomically(folder / "explorer.html", page)
        print(f"{folder / 'explorer.html'}: open it in a browser")
