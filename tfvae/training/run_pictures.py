"""Pictures of how a training went, drawn from the files that a run keeps of it: a run that goes on continues them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfvae.training import history, latent_watch

_SIZE = (6.6, 4.8)  # inches, of 100 pixels
_MOST_POINTS = 200
_SETTLED = 0.1  # the share of the validations after which the ranges of the axes are taken
_MOST_NAMES = 24  # of latents, beside their rows


def draw(run_dir: Path, has_kl: bool, step: int) -> Iterator[tuple[str, np.ndarray]]:
    """The pictures of the run up to `step`: names, and uint8 [480, 660, 3].

    There are none where there was no validation, nor of a plain autoencoder, which has no KL.
    """
    if not has_kl:
        return
    path = RatePath.read(run_dir, step)
    if path is not None and len(path.rate) > 1:
        yield "rate_distortion", rate_distortion(path)
    of_latents = latent_watch.read(run_dir, step)
    if of_latents is not None:
        yield "kl_per_latent", kl_per_latent(of_latents)


class RatePath:
    """The validations of a run in the plane of rate and distortion, in nats an example."""

    def __init__(self, epochs: np.ndarray, rate: np.ndarray, distortion: np.ndarray) -> None:
        self.epochs, self.rate, self.distortion = epochs, rate, distortion

    @classmethod
    def read(cls, run_dir: Path, step: int) -> "RatePath | None":
        """Up to a step, at most 200 of them; None without any."""
        columns = history.read(run_dir)
        if not columns:
            return None
        names = ("step", "epoch", "val_kl", "val_log_likelihood")
        table = np.array([columns[name] for name in names], np.float64)  # None becomes NaN
        table = table[:, (table[0] <= step) & np.isfinite(table).all(axis=0)]
        if not table.shape[1]:
            return None
        chosen = np.linspace(0, table.shape[1] - 1, min(table.shape[1], _MOST_POINTS)).astype(int)
        _, epochs, rate, log_likelihood = table[:, chosen]
        return cls(epochs, rate, -log_likelihood)


def rate_distortion(path: RatePath) -> np.ndarray:
    """The run's path, KL to the right and -log p(x|z) upwards, with lines of equal ELBO (Alemi et al. 2018, figure 1).

    A point is a validation. The first tenth of them, far away, may be outside.
    """
    figure = _figure()
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.13, 0.11, 0.72, 0.8), xlabel="rate: KL, nats", ylabel="distortion: -log p(x|z), nats")
    axes.set_title("validation: rate and distortion; lines of equal ELBO", fontsize=11)
    settled = min(int(len(path.rate) * _SETTLED), len(path.rate) - 2)
    limits = [_with_margin(values[settled:]) for values in (path.rate, path.distortion)]
    (left, right), (bottom, top) = limits
    axes.plot(path.rate, path.distortion, color="0.6", linewidth=0.8, zorder=2)
    dots = axes.scatter(path.rate, path.distortion, c=path.epochs, cmap="viridis", s=14, zorder=3)
    for elbo in MaxNLocator(7).tick_values(-right - top, -left - bottom):
        axes.plot([left, right], [-elbo - left, -elbo - right], color="0.8", linewidth=0.8, zorder=1)
        start = max(left, -elbo - top)  # where the line enters the picture, from the left or from above
        if bottom < -elbo - start and start < right:
            place = (start + 0.02 * (right - left), -elbo - start - 0.03 * (top - bottom))
            axes.text(*place, f"{elbo:g}", color="0.45", fontsize=7, clip_on=True, zorder=1)
    axes.set(xlim=limits[0], ylim=limits[1])
    bar = figure.colorbar(dots, cax=figure.add_axes((0.875, 0.11, 0.02, 0.8)))
    bar.set_label("epoch")
    return _pixels(canvas)


def kl_per_latent(of_run: latent_watch.KlHistory) -> np.ndarray:
    """A heat map: a column for each validation, a row for each latent, the one with the largest last KL on top."""
    order = np.argsort(-of_run.kl[-1], kind="stable")
    validations, count = of_run.kl.shape
    figure = _figure()
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.11, 0.11, 0.74, 0.8), xlabel="epoch", ylabel="latent, by its last KL")
    latents = f"the first {count}" if count == latent_watch.MOST_LATENTS else f"{count}"
    above = int((of_run.kl[-1] > 0.01).sum())
    axes.set_title(f"KL of each latent, nats: {above} of {latents} above 0.01", fontsize=11)
    largest = max(float(of_run.kl.max()), 1e-6)
    image = axes.imshow(of_run.kl[:, order].T, aspect="auto", cmap="magma", vmin=0, vmax=largest)
    places = np.unique(np.linspace(0, validations - 1, min(validations, 6)).astype(int))
    axes.set_xticks(places, [f"{epoch:,}" for epoch in of_run.epochs[places]])
    rows = np.unique(np.linspace(0, count - 1, min(count, _MOST_NAMES)).astype(int))
    axes.set_yticks(rows, [f"z[{latent}]" for latent in order[rows]], fontsize=7)
    figure.colorbar(image, cax=figure.add_axes((0.875, 0.11, 0.02, 0.8)))
    return _pixels(canvas)


def _figure() -> Figure:
    figure = Figure(figsize=_SIZE, dpi=100)
    figure.set_layout_engine("none")  # axes are at fixed places, also where the user's settings ask for another
    return figure


def _with_margin(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _pixels(canvas: FigureCanvasAgg) -> np.ndarray:
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
