"""A run's final figures as text, and the commands to type next."""

import base64
import html
import json
import math
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfvae.config import Config
from tfvae.config.capabilities import OBJECTIVES
from tfvae.config.rules import asks_for_levels
from tfvae.data.provenance import describe_pixels, describe_sigma, given_label, provenance
from tfvae.data.splits import Dataset
from tfvae.training.evaluation import has_few_effective_samples
from tfvae.training.notes import Notes
from tfvae.training.records import is_trained

_SHOWN = ("manifold", "samples", "reconstructions", "latent_scatter")  # of a run's pictures, in Jupyter


def finished_results(config: Config, fingerprint: str) -> dict[str, Any] | None:
    """The results of the run in `config.run_dir` on these images, if it has nothing left to do."""
    path = config.directory / "results.json"
    if not path.is_file():
        return None
    results = json.loads(path.read_text())
    return results if is_trained(results, config) and results["fingerprint"] == fingerprint else None


def describe_end(config: Config, results: dict[str, Any]) -> str:
    """How a finished training has ended, and which of its weights are the best, in words."""
    early, best = results["train"].get("stopped_at_epoch"), results.get("best")
    words = f"--patience={config.patience} ended it after epoch {early:,}" if early else f"{config.epochs:,} epochs"
    if best:
        words += f"; the best weights are those of epoch {best['epoch']:,} (step {best['step']:,})"
    return words


def results_of_step(run_dir: Path, step: int) -> dict[str, Any]:
    """What `results.json` holds, without its test figures where these are of the weights of another step."""
    path = run_dir / "results.json"
    if not path.is_file():
        return {}
    results = json.loads(path.read_text())
    evaluated_step = results["of"].get("step", results["train"]["steps"])  # older results are of the last step
    if evaluated_step != step:
        del results["of"], results["test"]
    return results


def announcement(config: Config, dataset: Dataset, notes: Notes, steps: str) -> list[str]:
    """Says from where a run starts and what its figures will be of, in lines; `steps` are all of them, in words."""
    begins = f"goes on from step {notes.step:,}" if notes.step else "starts from step 0"
    lines = [f"{begins} of {steps}; {_of_training_figures(config, dataset, notes)}"]
    if notes.initial_weights and not notes.step:
        lines.append(f"starts from {notes.initial_weights}")
    other = _other_objective(config)
    if config.selects and other:
        lines.append(
            f"advice: --keep_best and --patience go by the validation ELBO, which may fall while the objective of "
            f"{other} still rises: the best weights by it may be hardly trained ones"
        )
    return lines


def _other_objective(config: Config) -> str | None:
    """The flag by which a training maximises something else than the ELBO; None where it is the ELBO."""
    if config.objective != "elbo":
        return f"--objective={config.objective}"
    return f"--beta={config.beta:g}" if config.beta != 1 else None


def _of_training_figures(config: Config, dataset: Dataset, notes: Notes) -> str:
    """What the figures of a training are figures of, in words."""
    columns = dataset.columns
    likelihood = f"{config.likelihood} likelihood{describe_sigma(config)}"
    has_own_sigma = config.init_from is None or config.init_part == "encoder"
    if notes.start_stddev is not None and has_own_sigma:
        own = "images'" if columns is None else "values'"
        likelihood += f" (from {notes.start_stddev:.3f}, the training {own} own deviation)"
    an_example = "an image" if columns is None else "a row"
    pixels = describe_pixels(config, dataset.test.array, columns)
    return f"{pixels}, {likelihood}, seed {config.seed}; ELBO in nats {an_example}{given_label(config)}"


def results(
    config: Config, dataset: Dataset, notes: Notes, taken: Notes, summary: dict[str, Any], images_together: int
) -> dict[str, Any]:
    """What `results.json` holds of a run that has made all its steps, but for the export.

    `notes` are those of the last step, `taken` those of the weights that were evaluated. `summary` is that of the test
    images, of which so many were evaluated together.
    """
    images = notes.step * config.batch_size
    epoch_steps = len(dataset.train.images) // config.batch_size
    early = {"stopped_at_epoch": notes.step // epoch_steps} if notes.stopped_early else {}
    kept = {}
    if config.keep_best:
        kept = {"best": {"step": taken.step, "epoch": taken.step // epoch_steps, "validation_elbo": taken.best_elbo}}
    of = provenance(config, dataset.test.array, config.eval_samples, dataset.columns, notes.initial_weights)
    return {
        "of": {**of, **of_weights(config, taken.step, notes.best_step)},
        "test": meaningful_figures(config, summary, dataset.image_shape),
        "train": {
            "elbo": notes.elbo,  # the last epoch's mean over its steps, as the weights moved
            "images_per_second": images / notes.clock_seconds,
            "compiled_images_per_second": images / notes.seconds,
            "steps": notes.step,
            "epochs": config.epochs,
            **early,
        },
        **kept,
        "evaluation": {"images_together": images_together},
        "fingerprint": notes.fingerprint,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


def of_weights(config: Config, step: int, best_step: int | None) -> dict[str, Any]:
    """Which weights figures are of: their step, and with --keep_best whether they are the best, in words."""
    if not config.keep_best:
        return {"step": step}
    words = "the best weights by validation" if step == best_step else "not the best weights by validation"
    return {"step": step, "weights": words}


def meaningful_figures(config: Config, summary: dict[str, Any], image_shape: tuple[int, ...]) -> dict[str, Any]:
    """The figures that mean something for this model: an autoencoder has no density, 8-bit pixels have bits."""
    if not OBJECTIVES[config.objective].has_prior:
        names = ("squared_error", "active_units")
        return {name: value if name in names else None for name, value in summary.items()}
    if asks_for_levels(config):
        return {**summary, "bits_per_dimension": bits_of_levels(config, summary["log_px"], image_shape)}
    return summary


def bits_of_levels(config: Config, log_p: float, image_shape: tuple[int, ...]) -> float:
    """Bits a value of 8-bit images, of their log probability, or of the log density of dequantized ones, in nats.

    A density over [0, 1] is one over 256 levels times 256 (Theis et al. 2016, section 3.1).
    """
    nats_per_value = -log_p / math.prod(image_shape)
    if config.dequantize:
        nats_per_value += math.log(256)
    return nats_per_value / math.log(2)


def with_bits(config: Config, summary: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """The figures of a validation, with the ELBO as bits a value where it bounds the length of a code.

    So it does of the levels of 8-bit images, and of binarized images with the Bernoulli likelihood.
    """
    shape = dataset.image_shape
    if not OBJECTIVES[config.objective].has_prior or dataset.columns:
        return summary
    if asks_for_levels(config):
        return {**summary, "bits_per_dimension": bits_of_levels(config, summary["elbo"], shape)}
    if config.likelihood == "bernoulli" and (config.binarize != "none" or dataset.white == 1):
        return {**summary, "bits_per_dimension": -summary["elbo"] / (math.prod(shape) * math.log(2))}
    return summary


def table(results: dict[str, Any]) -> str:
    """Test figures as text, with what they are figures of, and a line for each thing that is wrong with the run."""
    of, test = results["of"], results["test"]
    examples = of.get("examples", "images")  # of older results there is no word
    error, other_draws = test.get("log_px_monte_carlo_error"), "its standard error over other draws of z"
    if error is not None and has_few_effective_samples(error**2 * of["images"]):
        other_draws = "too small an error: fewer than 2 effective samples of z"
    x, x_given_z, z_given_x, given = "x", "x|z", "z|x", ""
    if "condition" in of:
        x, x_given_z, z_given_x, given = "x|y", "x|z, y", "z|x, y", ", given the label y"
    a_value = "a pixel" if examples == "images" else "a value, as the network scales it"
    rows = [
        ("ELBO", "elbo", "10.2f", f"mean over {of['samples']:,} samples of z{given}"),
        (f"  over {examples}", "elbo_standard_error", "10.2f", f"its standard error as a mean over these {examples}"),
        (f"  log p({x_given_z})", "log_likelihood", "10.2f", "log-likelihood: minus the reconstruction error"),
        ("  KL", "kl", "10.2f", f"KL(q({z_given_x}) || p(z)), {of['kl']}; {of['posterior']} q, {of['prior']} p"),
        (f"log p({x})", "log_px", "10.2f", f"by {of['samples']:,} importance samples{given}"),
        (f"  over {examples}", "log_px_standard_error", "10.2f", f"its standard error as a mean over these {examples}"),
        ("  Monte-Carlo", "log_px_monte_carlo_error", "12.4f", other_draws),
        ("bits per dim", "bits_per_dimension", "12.4f", f"minus log2 p({x}) of the 256 levels, a channel of a pixel"),
        ("squared error", "squared_error", "12.4f", f"of the reconstruction at the mean of q({z_given_x}), {a_value}"),
        ("  its root", "rmse", "12.4f", "beside the likelihood's deviation:"),
        ("  sigma", "sigma", "12.4f", f"root of the mean variance of p({x_given_z}) at the mean of q({z_given_x})"),
        ("active units", "active_units", "7d", "latents whose posterior mean varies by more than 0.01"),
    ]
    weights = f", {of['weights']}" if "weights" in of else ""
    lines = [
        f"{of['dataset']}, {of['images']:,} {of['split']} {examples}, {of['pixels']}, "
        f"{of['likelihood']} likelihood, seed {of['seed']}{weights}, {of['units']}:"
    ]
    for label, key, form, text in rows:
        value = test.get(key)
        if value is not None:
            lines.append(f"  {label:14}{value:{form}}".ljust(32) + text)
    lines += [f"warning: {warning}" for warning in results.get("warnings", [])]  # older results have none
    return "\n".join(lines)


def as_html(title: str, results: dict[str, Any], pictures: dict[str, Path]) -> str:
    """A run as Jupyter shows it: its test figures, and some pictures, within the page. `results` may be empty."""
    text = table(results) if results else "not finished: without test figures"
    parts = [f"<b>{html.escape(title)}</b><pre>{html.escape(text)}</pre>"]
    for name in (name for name in _SHOWN if name in pictures):
        content = base64.b64encode(pictures[name].read_bytes()).decode()
        caption = f'<figcaption style="text-align: center">{html.escape(name.replace("_", " "))}</figcaption>'
        image = f'<img style="max-height: 320px" alt="{html.escape(name)}" src="data:image/png;base64,{content}">'
        parts.append(f'<figure style="display: inline-block; margin: 4px">{image}{caption}</figure>')
    return "\n".join(parts)


def next_commands(run_dir: Path, exported: Path) -> str:
    """What to type after a run."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    interpreter = shlex.quote(str(python))
    run, base = shlex.quote(str(run_dir)), shlex.quote(str(exported.parent.absolute()))
    name = shlex.quote(exported.parent.name)
    serve = f"docker run -p 8501:8501 -v {base}:/models/{name} -e MODEL_NAME={name} tensorflow/serving"
    if shutil.which("docker") is None:
        serve = f"{interpreter} -m tfvae.serve {base}"
    return (
        f"next:\n  {interpreter} -m tensorboard.main --logdir={run}/tensorboard\n"
        f"  {interpreter} -m tfvae.evaluate --run_dir={run}\n"
        f"  {serve}"
    )
