"""The pictures of vectors, as arrays: functions from arrays to uint8 [H, W, 3], with no files and no global state.

Shapes: vectors [N, D], in their own units, NaN where a value is missing.
"""

import math

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfvae.analysis.figures import rasterized

_MOST_PANELS = 12  # columns that are shown
_PANELS_WIDE = 4
_MOST_BARS = 40


def reconstructions(x: np.ndarray, reconstructed: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """For each column its values to the right and their reconstructions up, and the share of variance explained."""
    canvas, panels = _panels(names, "values (right), their reconstructions (up), and the share of variance explained")
    for axes, (name, true, guess) in zip(panels, zip(names, x.T, reconstructed.T)):
        is_observed = ~np.isnan(true)
        true, guess = true[is_observed], guess[is_observed]
        if len(true) == 0 or np.ptp(true) == 0:  # nothing varies that could be explained
            axes.set_title(_shortened(name), fontsize=8)
            continue
        ends = [true.min(), true.max()]
        axes.plot(ends, ends, color="0.6", linewidth=1)
        axes.scatter(true, guess, s=6, alpha=0.6, linewidths=0)
        explained = 1 - np.mean(np.square(true - guess)) / np.var(true)
        axes.set_title(f"{_shortened(name)}: {explained:.0%}", fontsize=8)
    return rasterized(canvas)


def histograms(drawn: np.ndarray, names: tuple[str, ...], title: str) -> np.ndarray:
    """The values of each column."""
    canvas, panels = _panels(names, title)
    for axes, (name, values) in zip(panels, zip(names, drawn.T)):
        axes.hist(values.astype(np.float64), bins=30)  # float32 has no 30 bins between values that hardly differ
        axes.set_yticks([])
        axes.set_title(_shortened(name), fontsize=8)
    return rasterized(canvas)


def deviations(stddev: np.ndarray, scale: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The deviation of p(x|z) of each column, [D], as a share of the column's own, `scale`: what z leaves open."""
    shares = (stddev / scale)[:_MOST_BARS]
    figure = Figure(figsize=(6.6, 1.2 + 0.22 * len(shares)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    title = f"deviation of p(x|z) over that of the column{_of_all(len(shares), len(names))}"
    axes = figure.add_subplot(title=title, xlim=(0, max(1.15, 1.15 * shares.max())))
    bars = axes.barh(range(len(shares)), shares, height=0.7)
    labels = [f"{share:.2f} ({value:.3g})" for share, value in zip(shares, stddev)]
    axes.bar_label(bars, labels, fontsize=8, padding=2)
    axes.set_yticks(range(len(shares)), [_shortened(name) for name in names[: len(shares)]], fontsize=8)
    axes.invert_yaxis()
    return rasterized(canvas)


def _panels(names: tuple[str, ...], title: str) -> tuple[FigureCanvasAgg, list]:
    """Axes for the first columns."""
    count = min(len(names), _MOST_PANELS)
    rows = math.ceil(count / _PANELS_WIDE)
    figure = Figure(figsize=(8.0, 0.6 + 1.9 * rows), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(f"{title}{_of_all(count, len(names))}", fontsize=10)
    panels = [figure.add_subplot(rows, min(count, _PANELS_WIDE), i + 1) for i in range(count)]
    for axes in panels:
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
    return canvas, panels


def _of_all(shown: int, count: int) -> str:
    return "" if shown == count else f"; {shown} of {count:,} columns"


def _shortened(name: str) -> str:
    """A name in a line, as it is: Matplotlib takes what is between two dollars for a formula."""
    line = " ".join(name.split())
    line = line if len(line) <= 24 else f"{line[:23]}…"
    return line.replace("$", r"\$")
