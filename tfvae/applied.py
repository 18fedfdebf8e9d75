"""A trained run applied to any examples: latents, scores, reconstructions, samples, into a file.

Nothing here waits for TensorFlow until it is called.
"""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfvae.config import Config, apply_options
from tfvae.config.application import Request
from tfvae.config.data_names import ARRAYS, is_file_name
from tfvae.config.flagfile import read_config
from tfvae.errors import InputError
from tfvae.runtime.files import require_checkpoints, require_place
from tfvae.runtime.tensorflow import import_tensorflow

if TYPE_CHECKING:
    from tfvae.analysis.anomaly_search import AnomalySearch
    from tfvae.analysis.applications import Quantity
    from tfvae.core.vae import VAE
    from tfvae.data.examples import Examples, ExamplesPart
    from tfvae.training.checkpoints import SavedRun

_BYTES_OF_Z = 20  # of memory for each value of z while it is drawn: the noise, and what it becomes step by step


def apply(config: Config, request: Request, label_column_is_given: bool = False) -> dict[str, Any]:
    """Applies the run in `config.run_dir` to the examples of `config.dataset`; writes `request.output`.

    Beside the output, `<output>.json` says what its numbers are of. A process that was killed goes on, when it is
    called again, with the chunks in `<output>.parts/`.

    Args:
        label_column_is_given: whether `config.label_column` was asked for now, and must be there.

    Returns:
        What the JSON file holds.

    Raises:
        InputError: the run, the examples or the output can't be used; nothing has been written.
        RunError: it failed after its start; the message says what is safe.
    """
    from tfvae.analysis import unfinished
    from tfvae.data import place

    config = place.absolute(config)
    request.check(config)
    unfinished.require_free(request.path, request.overwrite)
    require_place("output", request.path)
    trained, examples = _load(config, request, label_column_is_given)
    from tfvae.analysis import conditions
    from tfvae.analysis.job import Job, check_output

    check_output(request, trained.vae, examples)
    if examples is not None:
        examples = conditions.with_y(trained.vae.classes, request.label, examples)
    search = _search(config, request, trained, examples)
    if examples is not None and request.what == "impute":
        from tfvae.data.incomplete import with_missing

        examples = with_missing(examples, trained.vae.encoder.user_rule, request.observed)
    quantity = _quantity(config, request, trained.vae)
    return Job(config, request, trained.vae, trained.step, examples, quantity, search).run()


def apply_with(config: Config, options: dict[str, Any]) -> dict[str, Any]:
    """`apply` for Python: `options` are arguments by the names of `tfvae.apply`'s flags, in the place of a `Request`.

    Raises:
        InputError, RunError: as `apply`.
    """
    request, settings = apply_options.divide(apply_options.checked(options))
    config = dataclasses.replace(config, **settings).as_usual()
    return apply(config, request, settings.get("label_column") is not None)


def _load(config: Config, request: Request, label_column_is_given: bool) -> "tuple[SavedRun, Examples | None]":
    """The trained run, and what it is applied to, where that is anything; what NumPy can refuse first."""
    from tfvae.data import place

    require_checkpoints(config.directory)
    recorded = place.absolute(read_config(config.directory))
    are_of_run = not place.is_new(config) and config.label_column == recorded.label_column
    parts = None
    if not request.capabilities.needs_data:
        if place.is_new(config):
            raise InputError(
                f"--dataset={config.dataset}: must not be set with --what={request.what}: it reads no data"
            )
        _check_count(config, request)
    elif are_of_run:
        parts = place.read_early(config)
    else:
        _check_early(config)
    import_tensorflow()
    from tfvae.training import checkpoints

    trained = checkpoints.load_run(config.directory, request.checkpoint)
    if not request.capabilities.needs_data:
        return trained, None
    from tfvae.core.vectors import VectorRule
    from tfvae.data import dataset, examples, sources

    if are_of_run:
        parts = parts or place.read(config)
        run_data = dataset.load_of_run(config, trained.fingerprint, parts)
        return trained, examples.of_run(config, run_data, parts, request.split)
    config = dataclasses.replace(config, dataset=sources.resolve(config)[0])
    if config.label_column == recorded.label_column and examples.may_be_of_run(config, recorded):
        found = examples.find_of_run(config, trained.fingerprint, request.split)
        if found is not None:
            place.record(config)
            return trained, found
    rule = trained.vae.encoder.user_rule
    if request.what == "impute" and trained.vae.encoder.columns is not None:
        config = dataclasses.replace(config, missing="allow")  # what was whole in training may lack values now
        rule = VectorRule(trained.vae.encoder.columns._replace(missing=True))
    return trained, examples.of_others(config, rule, request.split, label_column_is_given)


def _check_count(config: Config, request: Request) -> None:
    """Refuses more samples than whose z memory can hold: all are drawn together, as `Run.sample` draws them."""
    from tfvae.data import sources

    memory = sources.memory_bytes(config)
    most = int(memory / (_BYTES_OF_Z * config.latent_dim))
    if request.sample_count > most:
        raise InputError(
            f"--count={request.sample_count}: must be at most {most:,}, whose z of {config.latent_dim:,} latents fit "
            f"into the {memory / 1e9:.3g} GB that --memory_gb allows: take several files, each with another --seed"
        )


def _check_early(config: Config) -> None:
    """Refuses a file or a folder that is not there or can't be read, by its header or its names; raises InputError."""
    from tfvae.data import arrays, folder_files, sources

    path = Path(config.dataset)
    if not is_file_name(config.dataset):
        return
    if not os.path.exists(path):
        raise InputError(f"--dataset={path}: must be a file or a folder, and there is none")
    if path.suffix in (".npy", ".npz"):
        is_quick = path.stat().st_size <= sources.QUICK_BYTES
        if arrays.map_npy(path) is None and is_quick:
            arrays.load(path, sources.memory_bytes(config), config.labels == "auto")
    elif sources.is_folder(config):
        folder_files.find(path)


def _search(
    config: Config, request: Request, trained: "SavedRun", examples: "Examples | None"
) -> "AnomalySearch | None":
    """What finds anomalies among the examples, where they are asked for."""
    if not request.anomalies.is_made or examples is None:
        return None
    from tfvae.analysis.anomaly_search import AnomalySearch

    encoder = trained.vae.encoder
    by = request.anomalies.score(config, encoder.columns is not None, encoder.white)
    reference = None
    if request.anomalies.threshold_quantile is not None:
        reference = _usual_part(config, request.anomalies.threshold_split, trained, examples)
    return AnomalySearch(by, request.anomalies, reference, examples)


def _usual_part(config: Config, split: str, trained: "SavedRun", examples: "Examples") -> "ExamplesPart":
    """The part of the run's own data that a limit is found on: one of the `examples`, or read for it alone."""
    from tfvae.analysis import conditions
    from tfvae.data import dataset, place
    from tfvae.data.examples import ALL, of_run

    if not examples.are_of_run:
        config = place.absolute(read_config(config.directory))
        if config.dataset == ARRAYS:
            raise InputError(
                "--threshold_quantile: must not be set for a run of arrays, which it does not keep as usual examples: "
                "use Scores.anomalies in Python"
            )
    for part in examples.parts:
        if examples.are_of_run and part.name == split:
            return part
    parts = place.read(config)
    run_data = dataset.load_of_run(config, trained.fingerprint, parts)
    own = conditions.with_y(trained.vae.classes, None, of_run(config, run_data, parts, ALL)).parts
    for part in own:
        if part.name == split:
            return part
    there = ", ".join(part.name for part in own)
    raise InputError(f"--threshold_split={split}: must be a part of the run's own examples, which have {there}")


def _quantity(config: Config, request: Request, vae: "VAE") -> "Quantity":
    """What computes `request.what`."""
    from tfvae.analysis import applications, conditions
    from tfvae.training.scoring import Scoring

    if request.what == "latents":
        return applications.Encoding(vae)
    if request.what == "scores":
        return Scoring(vae, config)
    if request.what == "reconstructions":
        return applications.Reconstruction(vae, request.is_picture)
    if request.what == "impute":
        return applications.Imputation(vae, config.eval_samples, config.seed, request.draws, request.is_picture)
    y = conditions.y_of_samples(vae.classes, request.label, request.sample_count)
    return applications.Sampling(vae, request.sample_count, config.seed, request.draw, request.is_picture, y)
