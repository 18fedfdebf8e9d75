"""What a run shows: progress on the terminal, TensorBoard, pictures, and the words that say what a number is of."""

import math
import shlex
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import tensorflow as tf
import tqdm

from tfvae import figures, noise
from tfvae.config import Config
from tfvae.data import Dataset
from tfvae.models import VAE
from tfvae.noise import Stream

_PICTURED = 40  # test images in the picture of reconstructions
_SCATTERED = 5_000  # test images in the latent scatter


class Monitor:
    """Writes one run's scalars and pictures to `<run>/tensorboard` and `<run>/figures`, and shows its progress.

    All of it happens on the host, between calls of compiled programs.
    """

    def __init__(self, run_dir: Path, config: Config, dataset: Dataset, step: int, steps: int) -> None:
        self.run_dir, self.config, self.dataset = run_dir, config, dataset
        self.per_epoch = steps // config.epochs
        folder = run_dir / "tensorboard"
        self.writers = {part: tf.summary.create_file_writer(str(folder / part)) for part in ("train", "validation")}
        self.bar = tqdm.tqdm(
            total=steps * config.batch_size, initial=step * config.batch_size, unit=" images", unit_scale=True,
            disable=not sys.stderr.isatty(), dynamic_ncols=True,
        )  # fmt: skip
        with self.writers["train"].as_default():
            text = "".join(f"    {line}\n" for line in config.to_flags().splitlines())
            tf.summary.text("config", text, step=step)

    def scalars(self, part: str, values: dict[str, float], step: int) -> None:
        """Writes values, in nats unless their names say otherwise, of `train` or `validation`."""
        with self.writers[part].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def advance(self, count: int, step: int, elbo: float) -> None:
        """Moves the progress bar by `count` steps, the last of them number `step`; the epoch's train ELBO so far."""
        self.bar.set_description(f"epoch {-(-step // self.per_epoch)}/{self.config.epochs}", refresh=False)
        self.bar.set_postfix_str(f"train ELBO {elbo:.2f} nats", refresh=False)
        self.bar.update(count * self.config.batch_size)

    def epoch(self, step: int, elbo: float, validation: dict[str, Any] | None, speed: float, told: bool) -> None:
        """Writes the validation's figures; if `told`, prints a line on the epoch that ends here, above the bar."""
        text = f"epoch {step // self.per_epoch:,}/{self.config.epochs:,}: train ELBO {elbo:.2f}"
        if validation:
            names = ("elbo", "log_likelihood", "kl", "active_units")
            self.scalars("validation", {name: validation[name] for name in names}, step)
            text += f", validation ELBO {validation['elbo']:.2f} (one z an image)"
        if told:
            tqdm.tqdm.write(f"{text}, {speed:,.0f} images/s")
            sys.stdout.flush()

    def pictures(self, vae: VAE, step: int) -> None:
        """Draws the pictures on fixed inputs, so that steps compare: to TensorBoard, and the newest as PNG files."""
        folder = self.run_dir / "figures"
        folder.mkdir(exist_ok=True)
        with self.writers["train"].as_default():
            for name, picture in draw(vae, self.dataset, self.config).items():
                tf.summary.image(name, picture[None], step=step)
                matplotlib.image.imsave(folder / f"{name}.png", picture.repeat(4 - picture.shape[-1], axis=-1)[..., :3])
        self.flush()

    def flush(self) -> None:
        for writer in self.writers.values():
            writer.flush()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        for writer in self.writers.values():
            writer.close()


def draw(vae: VAE, dataset: Dataset, config: Config) -> dict[str, np.ndarray]:
    """The pictures of a VAE, uint8 [H, W, 1 or 3]: of test images, and of z drawn from the prior by `config.seed`."""

    def unit(images: np.ndarray) -> tf.Tensor:
        return tf.image.convert_image_dtype(images, tf.float32)

    some, many = (dataset.test.rows(slice(n)) for n in (_PICTURED, _SCATTERED))
    seed = noise.seed_for(config.seed, Stream.PRIOR)
    z = vae.sample_prior(noise.normal((100, config.latent_dim), seed), noise.uniform((100,), noise.fold_in(seed, 1)))
    pictures = {
        "reconstructions": figures.reconstructions(some.images, vae(unit(some.images)).numpy()),
        "samples": figures.tile(vae.decode(z).mean.numpy(), columns=10),
    }
    if config.latent_dim == 2:
        manifold = vae.decode(tf.constant(figures.manifold_latents())).mean.numpy()
        pictures["manifold"] = figures.tile(manifold, columns=20)
        mean = vae.encode(unit(many.images)).mean.numpy()
        title = f"posterior means of {len(mean):,} test images"
        pictures["latent_scatter"] = figures.latent_scatter(mean, many.labels, title)
    return pictures


def pixels(config: Config, images: np.ndarray) -> str:
    """What the pixels are that a likelihood is of: figures for grey and binarized ones differ by tens of nats."""
    if config.dequantize:
        return "8-bit pixels with uniform noise"
    if config.binarize != "none":
        drawn = "drawn with their grey value as the probability"
        return {"threshold": "pixels 1 above 0.5", "stochastic": f"pixels {drawn}"}[config.binarize]
    binary = np.isin(images, (0, 255) if images.dtype == np.uint8 else (0, 1)).all()
    return "binary pixels as they come" if binary else "grey values"


def provenance(config: Config, images: np.ndarray, samples: int) -> dict[str, Any]:
    """What test figures are numbers of; `images` are the test images."""
    sigma = f", sigma {config.sigma}" if config.likelihood == "gaussian" else ""
    once = " (once, by a fixed seed)" if config.binarize == "stochastic" or config.dequantize else ""
    return {
        "dataset": config.dataset, "split": "test", "images": len(images), "pixels": pixels(config, images) + once,
        "likelihood": config.likelihood + sigma, "posterior": config.posterior, "prior": config.prior,
        "objective": config.objective, "kl": "closed" if config.closed_kl else "sampled", "samples": samples,
        "seed": config.seed, "units": "nats per image",
    }  # fmt: skip


def test_figures(config: Config, summary: dict[str, Any], image_shape: tuple[int, ...]) -> dict[str, Any]:
    """The figures that mean something for this model: an autoencoder has no density, 8-bit pixels have bits."""
    if config.objective == "autoencoder":
        return {k: v if k in ("squared_error", "active_units") else None for k, v in summary.items()}
    if config.dequantize:  # a density over [0, 1] is one over 256 levels times 256 (Theis et al. 2016, section 3.1)
        per_pixel = -summary["log_px"] / math.prod(image_shape)
        return {**summary, "bits_per_dimension": (per_pixel + math.log(256)) / math.log(2)}
    return summary


def table(results: dict[str, Any]) -> str:
    """Test figures as text, with what they are of."""
    of, test = results["of"], results["test"]
    rows = [
        ("ELBO", "elbo", "10.2f", f"mean over {of['samples']:,} samples of z"),
        ("  over images", "elbo_standard_error", "10.2f", "its standard error as a mean over these images"),
        ("  log p(x|z)", "log_likelihood", "10.2f", "log-likelihood: minus the reconstruction error"),
        ("  KL", "kl", "10.2f", f"KL(q(z|x) || p(z)), {of['kl']}; {of['posterior']} q, {of['prior']} p"),
        ("log p(x)", "log_px", "10.2f", f"by {of['samples']:,} importance samples"),
        ("  over images", "log_px_standard_error", "10.2f", "its standard error as a mean over these images"),
        ("  Monte-Carlo", "log_px_monte_carlo_error", "12.4f", "its standard error over other draws of z"),
        ("bits per pixel", "bits_per_dimension", "12.4f", "minus log2 p(x) of the 256 levels"),
        ("squared error", "squared_error", "12.4f", "of the reconstruction at the mean of q(z|x), a pixel"),
        ("active units", "active_units", "7d", "latents whose posterior mean varies by more than 0.01"),
    ]
    head = (
        f"{of['dataset']}, {of['images']:,} {of['split']} images, {of['pixels']}, "
        f"{of['likelihood']} likelihood, seed {of['seed']}, {of['units']}:"
    )
    shown = [(name, test[key], form, text) for name, key, form, text in rows if test.get(key) is not None]
    return "\n".join([head, *(f"  {name:14}{value:{form}}".ljust(32) + text for name, value, form, text in shown)])


def next_commands(run_dir: Path, exported: Path) -> str:
    """What to type after a run."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    python, run, base = (shlex.quote(str(p)) for p in (python, run_dir, exported.parent.absolute()))
    name = shlex.quote(exported.parent.name)
    return (
        f"next:\n  {python} -m tensorboard.main --logdir={run}/tensorboard\n"
        f"  {python} -m tfvae.evaluate --run_dir={run}\n"
        f"  docker run -p 8501:8501 -v {base}:/models/{name} -e MODEL_NAME={name} tensorflow/serving"
    )
