"""What is done with a trained run: evaluated, explored, exported; and a model of Keras's own file, loaded.

Nothing here waits for TensorFlow until it is called.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfvae import run
from tfvae.config import Config
from tfvae.config.capabilities import TASKS
from tfvae.config.checkpoint_choice import AUTO, Choice
from tfvae.config.rules import check_explorer, check_onnx, check_task
from tfvae.errors import InputError
from tfvae.runtime.files import require_checkpoints, require_writable, write_atomically
from tfvae.runtime.tensorflow import import_tensorflow
from tfvae.serving import ownership

if TYPE_CHECKING:
    import keras

    from tfvae.data.splits import Dataset, Split
    from tfvae.training.checkpoints import SavedRun


def _load_run(config: Config, checkpoint: Choice) -> "SavedRun":
    """The trained VAE of `config.run_dir`; a directory that can't have one is refused before TensorFlow is imported."""
    require_checkpoints(config.directory)
    import_tensorflow()
    from tfvae.training import checkpoints

    return checkpoints.load_run(config.directory, checkpoint)


def _load_run_and_data(
    config: Config, checkpoint: Choice, arrays: "dict[str, Split] | None" = None, task: str | None = None
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
    trained = _load_run(config, checkpoint)
    from tfvae.data.dataset import load_of_run

    dataset = load_of_run(config, trained.fingerprint, parts)
    if arrays is None:
        place.record(config)
    return trained, dataset


def evaluate(
    config: Config,
    with_baselines: bool = False,
    arrays: "dict[str, Split] | None" = None,
    checkpoint: Choice = AUTO,
) -> dict[str, Any]:
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
    trained, dataset = _load_run_and_data(config, checkpoint, arrays)
    from tfvae.data.provenance import examples, provenance
    from tfvae.training import block_plan, checkpoints, evaluation, health, history, report

    if with_baselines:
        from tfvae.analysis import baselines

        baselines.check_size(dataset.image_shape)
        baselines.check_vectors(dataset.columns)
    images, samples = dataset.test.array, config.eval_samples
    plan = block_plan.plan_blocks(trained.vae, config.eval_memory_gb)
    evaluator = evaluation.Evaluator(trained.vae, config.latent_dim, config.seed, config.closed_kl, plan=plan)
    kept_blocks = evaluation.KeptBlocks(run_dir, trained.step, samples, plan.block_size(len(images)))
    with run.told_plainly_of(config):
        of_images = evaluation.evaluate_run(evaluator, dataset.test, samples, kept_blocks, examples(dataset.columns))
        summary = of_images.summary()
    notes = checkpoints.read_notes(run_dir)
    of = provenance(config, images, samples, dataset.columns, notes.get("initial_weights"))
    results: dict[str, Any] = {
        "of": {**of, **report.of_weights(config, trained.step, notes.get("best_step"))},
        "test": report.meaningful_figures(config, summary, dataset.image_shape),
        "evaluation": {"images_together": plan.block_size(len(images))},
    }
    results["warnings"] = health.warnings(config, results, history.read(run_dir), trained.step)
    print(f"{run_dir}, step {trained.step:,}: {report.table(results)}", flush=True)
    if with_baselines:
        results["baselines"] = baselines.compare(config, dataset, float(summary["squared_error"]))
        print(baselines.table(results["of"], results["baselines"]), flush=True)
    with run.told_plainly_of(config):
        write_atomically(run_dir / "evaluation.json", json.dumps(results, indent=1) + "\n")
    kept_blocks.forget()
    return results


def explore(
    config: Config,
    task: str = "samples",
    arrays: "dict[str, Split] | None" = None,
    checkpoint: Choice = AUTO,
) -> dict[str, Any]:
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
        trained, dataset = _load_run_and_data(config, checkpoint, arrays, task)
    else:
        trained = _load_run(config, checkpoint)
    from tfvae.analysis import tasks

    with run.told_plainly_of(config):
        return tasks.explore(config, trained.vae, trained.step, dataset, task)


def export(
    config: Config, export_format: str = "saved_model", with_explorer: bool = False, checkpoint: Choice = AUTO
) -> Path:
    """Writes the next version of the run in `config.run_dir` and returns its directory.

    The run's images are read for the explorer alone, and where `config` names another place of them than the run does.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had; or another run's models have
            its name in `config.export_dir`.
        RunError: the exported model doesn't answer as the trained one does; it is not there.
    """
    from tfvae.data import place

    config = place.absolute(config)
    if with_explorer:
        check_explorer(config)
    if export_format == "onnx":
        check_onnx(config)
    require_writable("export_dir", config.export_dir, *ownership.names(config).values())
    run_dir = config.directory
    dataset = None
    if with_explorer or place.is_new(config):
        require_writable("run_dir", run_dir)
        trained, dataset = _load_run_and_data(config, checkpoint)
    else:
        trained = _load_run(config, checkpoint)
    if with_explorer and trained.vae.decoder.columns:
        raise InputError("--explorer=true: must be false for a run of vectors, which have no pixels to show")
    ownership.require_own(config, trained.fingerprint)
    from tfvae.training import report

    results = report.results_of_step(run_dir, trained.step)
    exported = run.export_models(config, trained.fingerprint, trained.vae, trained.step, results)
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
        how = "tfvae serve shows it, and decodes for it" if trained.vae.decoder.own_trunk else "open it in a browser"
        print(f"{folder / 'explorer.html'}: {how}")


def load_model(path: str | os.PathLike[str]) -> "keras.Model":
    """The VAE, encoder or decoder that `model.save(path)` wrote to a .keras file.

    `keras.saving.load_model` does the same, once Keras and tfvae are imported.

    Raises:
        InputError: it is no such file.
    """
    import_tensorflow()
    import keras

    from tfvae.core.models import Decoder, Encoder
    from tfvae.core.vae import VAE  # which registers the classes

    if not os.path.isfile(path):
        raise InputError(f"path={os.fspath(path)}: must be a .keras file, and there is none")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:  # a damaged file raises anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"path={os.fspath(path)}: must be a .keras file of a VAE, encoder or decoder: "
            f"{type(error).__name__}: {reason}"
        ) from None
    if not isinstance(model, VAE | Encoder | Decoder):
        raise InputError(
            f"path={os.fspath(path)}: must be a .keras file of a VAE, encoder or decoder, and has a "
            f"{type(model).__name__}"
        )
    return model
