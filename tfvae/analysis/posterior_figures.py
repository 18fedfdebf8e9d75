"""The aggregate posterior, the mean of q(z|x) over images, beside the prior: where they differ, samples are worse.

Shapes: N draws of z, L latents.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfvae.analysis.figures import rasterized
from tfvae.core.distributions import NormalMixture

_MARGINALS = 4  # latents
_GRID = 60  # points along each axis of the prior's contours
_BELOW, _TICKS = 0.03, 0.05  # of the height, free below and above a histogram, for its ticks
_REACH = 3.5  # stddevs of the prior, that are shown at least


def aggregate_posterior(z: np.ndarray, active: np.ndarray, prior: NormalMixture, title: str) -> np.ndarray:
    """Draws z [N, L] of q(z|x), one for each image, beside p(z): uint8 [480, 900, 3].

    `active` are latents, the most active first. To the left the first two of them as dots, with the prior's contours
    (of a single latent there is none); to the right histograms of up to four, with the prior's density.
    """
    weights, means, stddevs = _components(prior)
    figure = Figure(figsize=(9.0, 4.8), dpi=100)
    figure.set_layout_engine("none")  # axes are at fixed places, also where the user's settings ask for another
    canvas = FigureCanvasAgg(figure)
    figure.text(0.5, 0.95, title, ha="center", fontsize=11)
    if z.shape[1] > 1:
        axes = figure.add_axes((0.07, 0.11, 0.46, 0.78))
        _plane(axes, z, active[:2], weights, means, stddevs)
    shown = active[:_MARGINALS]
    left, width = (0.6, 0.38) if z.shape[1] > 1 else (0.1, 0.85)
    height = 0.78 / len(shown)
    for row, latent in enumerate(shown):
        bottom = 0.89 - (row + 1) * height + _BELOW
        axes = figure.add_axes((left, bottom, width, height - _BELOW - _TICKS))
        _marginal(axes, z[:, latent], weights, means[:, latent], stddevs[:, latent])
        axes.set_ylabel(f"z[{latent}]", fontsize=8)
    return rasterized(canvas)


def _components(prior: NormalMixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [C], means and stddevs [C, L]."""
    logits, means, log_variances = (np.asarray(value, np.float64) for value in prior)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum(), means, np.exp(log_variances / 2)


def _density(points: np.ndarray, means: np.ndarray, stddevs: np.ndarray) -> np.ndarray:
    """Of normal components [C] at points [P]: [P, C]."""
    return np.exp(-0.5 * ((points[:, None] - means) / stddevs) ** 2) / (np.sqrt(2 * np.pi) * stddevs)


def _range(values: np.ndarray, means: np.ndarray, stddevs: np.ndarray) -> tuple[float, float]:
    """What an axis shows: the prior, and all but the outermost thousandths of the draws."""
    low, high = np.quantile(values, [0.001, 0.999])
    return (
        min(float(low), float((means - _REACH * stddevs).min())),
        max(float(high), float((means + _REACH * stddevs).max())),
    )


def _plane(
    axes: Axes, z: np.ndarray, pair: np.ndarray, weights: np.ndarray, means: np.ndarray, stddevs: np.ndarray
) -> None:
    limits = [_range(z[:, latent], means[:, latent], stddevs[:, latent]) for latent in pair]
    grids = [np.linspace(*limit, _GRID) for limit in limits]
    along_x, along_y = (_density(grid, means[:, latent], stddevs[:, latent]) for grid, latent in zip(grids, pair))
    density = np.einsum("yc,xc,c->yx", along_y, along_x, weights)
    axes.scatter(z[:, pair[0]], z[:, pair[1]], s=4 if len(z) > 1_000 else 12, alpha=0.5, linewidths=0, color="C0")
    levels = density.max() * np.exp(-0.5 * np.array([3.0, 2.0, 1.0]) ** 2)  # at 3, 2 and 1 stddevs of a normal
    axes.contour(*grids, density, levels=levels, colors="C1", linewidths=1.2)
    axes.set(xlim=limits[0], ylim=limits[1], xlabel=f"z[{pair[0]}]", ylabel=f"z[{pair[1]}]")


def _marginal(axes: Axes, values: np.ndarray, weights: np.ndarray, means: np.ndarray, stddevs: np.ndarray) -> None:
    limits = _range(values, means, stddevs)
    points = np.linspace(*limits, 200)
    # a step line, for bars are a patch each
    counts, edges = np.histogram(values, bins=min(50, 2 + int(len(values) ** 0.5)), range=limits, density=True)
    axes.stairs(counts, edges, fill=True, alpha=0.4, color="C0")
    axes.plot(points, _density(points, means, stddevs) @ weights, color="C1", linewidth=1.2)
    axes.set_xlim(*limits)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
