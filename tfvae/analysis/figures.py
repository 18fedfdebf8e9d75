"""The pictures, as arrays: pure functions from arrays to uint8 [H, W, 3 or 1], with no files and no global state.

Images come as [N, H, W, C], uint8 or float32 in [0, 1].
"""

import statistics

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure  # never pyplot, which keeps every figure of a long run alive
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from tfvae.data.pixels import shown_channels

_CELL = 40  # narrower images are enlarged to about this many pixels
_CAPTION = 20  # pixels of its height
_SCATTER_AXES = (0.125, 0.09, 0.755, 0.83)  # left, bottom, width, height
_LEGEND_PAD = 10  # pixels, beside it
_LONGEST_NAME = 24  # characters
_LARGEST_RATIO = 8  # of the ranges of two latents that are drawn to one scale: beyond it one of them is a line


def as_pixels(images: np.ndarray) -> np.ndarray:
    """The images as uint8, values outside [0, 1] cut off."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def tile(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Images row by row in a grid on white: uint8 [rows * (H + gap) + gap, columns * (W + gap) + gap, 1 or 3].

    Where `shown_channels` leaves some away, a caption below the grid says so.
    """
    images = as_pixels(images)
    n, height, width, channels = images.shape
    channels, caption = shown_channels(channels)
    images = images[..., :channels]
    scale = max(1, _CELL // width)
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = images.shape[1:3]
    rows = -(-n // columns)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
        canvas[top : top + height, left : left + width] = image
    return _captioned(canvas, caption) if caption else canvas


def _captioned(picture: np.ndarray, caption: str) -> np.ndarray:
    """The picture [H, W, 1 or 3] with a line of text below it, for which it is widened if need be."""
    height, width, channels = picture.shape
    wide = max(width, 8 * len(caption))
    figure = Figure(figsize=(wide / 100, _CAPTION / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    figure.text(4 / wide, 0.5, caption, fontsize=9, va="center")
    widened = np.full((height, wide, channels), 255, np.uint8)
    widened[:, :width] = picture
    return np.concatenate([widened, rasterized(canvas)[..., :channels]])


def reconstructions(images: np.ndarray, reconstructed: np.ndarray, columns: int = 10) -> np.ndarray:
    """Pairs in a grid: each image, and below it, after a thin white line, its reconstruction."""
    line = np.full((len(images), 1, *images.shape[2:]), 255, np.uint8)
    return tile(np.concatenate([as_pixels(images), line, as_pixels(reconstructed)], axis=1), columns, gap=3)


def manifold_latents(side: int) -> np.ndarray:
    """float32 [side * side, 2]: a grid over the unit square taken through the normal's inverse distribution function.

    Equal steps of prior probability (Kingma & Welling 2014, figure 4), the first latent to the right, the second up.
    """
    quantiles = [statistics.NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)]
    return np.array([(right, up) for up in reversed(quantiles) for right in quantiles], np.float32)


def latent_scatter(
    mean: np.ndarray, labels: np.ndarray | None, title: str, label_names: tuple[str, ...] = ()
) -> np.ndarray:
    """The first two coordinates of the posterior means [N, L], coloured by label: uint8 [600, 660, 3].

    `label_names` are the names of the labels 0, 1, ..., where they have some.
    A length is the same along both axes, unless one latent has nearly collapsed: then each axis has a scale of its own,
    and the title says so.
    """
    figure = Figure(figsize=(6.6, 6.0), dpi=100)
    figure.set_layout_engine("none")  # also where the user's settings ask for another
    canvas = FigureCanvasAgg(figure)
    # at fixed places: to find a place by the labels' sizes takes longer than all the drawing
    axes = figure.add_axes(_SCATTER_AXES, xlabel="z[0]", ylabel="z[1]")
    axes.locator_params(nbins=7)  # that their numbers do not overlap, however many digits they need
    ranges = sorted(np.ptp(mean[:, :2], axis=0))
    if ranges[0] * _LARGEST_RATIO < ranges[1]:
        title += "; scales differ"
    else:
        axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(title, y=1.025)  # above what Matplotlib writes there, where an axis's numbers have an offset
    colors = np.full(len(mean), "C0", dtype=object)
    classes = np.zeros(0) if labels is None else np.unique(labels)
    if 1 < len(classes) <= 20:
        handles = []
        for i, label in enumerate(classes):
            colors[labels == label] = f"C{i}"
            handles.append(Line2D([], [], linestyle="", marker="o", color=f"C{i}", label=label))
        legend = figure.legend(handles=handles, loc="center right", frameon=False, handletextpad=0.1)
        if label_names:
            _write_names(legend, [label_names[int(label)] for label in classes])
            left, bottom, width, height = _SCATTER_AXES
            free = 1 - (legend.get_window_extent().width + _LEGEND_PAD) / figure.bbox.width
            axes.set_position((left, bottom, min(width, free - left), height))
    size = 5 if len(mean) > 1_000 else 25
    # together, in the images' order, so that no class hides the others
    axes.scatter(mean[:, 0], mean[:, 1], c=list(colors), s=size, alpha=0.7, linewidths=0)
    axes.grid(alpha=0.2)
    return rasterized(canvas)


def _write_names(legend: Legend, names: list[str]) -> None:
    """Names as they are, but short and in a line: Matplotlib leaves out `_name`, and takes `$name$` for a formula."""
    for text, name in zip(legend.get_texts(), names):
        line = " ".join(name.split())
        text.set_parse_math(False)
        text.set_text(line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…")


def accuracies(rows: dict[str, dict[str, float]], title: str) -> np.ndarray:
    """Fractions in [0, 1] as bars, a group for each row: uint8 [400, 660, 3]."""
    figure = Figure(figsize=(6.6, 4.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(ylabel="accuracy on the test images", ylim=(0, 1.1), title=title)
    methods = list(next(iter(rows.values())))
    for i, method in enumerate(methods):
        places = np.arange(len(rows)) + (i - (len(methods) - 1) / 2) * 0.4
        bars = axes.bar(places, [row[method] for row in rows.values()], 0.36, label=method)
        axes.bar_label(bars, fmt="%.3f")
    axes.set_xticks(range(len(rows)), list(rows))
    axes.legend(ncols=len(methods), loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    return rasterized(canvas)


def rasterized(canvas: FigureCanvasAgg) -> np.ndarray:
    """What is drawn on the canvas: uint8 [H, W, 3]."""
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
