"""A comparison of runs as a picture: each figure over a setting, with error bars."""

import io
import math
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture  # never pyplot, which keeps every figure alive

from tfvae.config.fields import to_text
from tfvae.errors import InputError
from tfvae.training.comparison import Comparison, Figure, Table, Value, describe, incomparable
from tfvae.training.records import RunRecord

_PANELS = ("test_elbo", "test_log_px", "test_kl", "test_active_units", "test_squared_error", "test_bits_per_dimension")
_COLUMNS = 3
_MOST_LINES = 10  # of different colours
_LEGEND_WIDTH = 150  # characters, with six for each sign
_BESIDE = 0.08  # of the distance of two names: lines have no place of their own on an axis of names


class _Point(NamedTuple):
    """A run, or the mean over the seeds of one."""

    place: Any  # on the axis of settings
    line: str  # the other settings
    figures: dict[str, Value]  # by `Figure.name`


class _Axis(NamedTuple):
    """The setting along which figures are drawn."""

    setting: str  # or `run`: the runs themselves, where no setting differs
    is_numeric: bool


def draw(comparison: Comparison, output: Path) -> bytes:
    """A PNG for the file `output`: a panel a figure, the setting of most values along the axis, lines for the others.

    Means over seeds where there are some, with the runs as dots behind them.

    Raises:
        InputError: no run is finished, or figures can't be compared, or there are more lines than colours.
    """
    table = _one_table(comparison, output)
    axis = _axis(comparison, table)
    points, dots = _points(comparison, table, axis)
    lines = list(dict.fromkeys(point.line for point in points))
    if len(lines) > _MOST_LINES:
        raise InputError(
            f"--output={output}: must be of fewer runs for a picture: {axis.setting} is its axis, and the other "
            f"settings have {len(lines)} combinations, more than {_MOST_LINES}"
        )
    figures = [figure for figure in table.figures if figure.name in _PANELS]
    rows = math.ceil(len(figures) / _COLUMNS)
    picture = Picture(figsize=(12, 1.4 + 3.2 * rows), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(picture)
    picture.suptitle(_title(table), fontsize=10, parse_math=False)
    columns = min(_COLUMNS, len(figures))
    for place, figure in enumerate(figures):
        panel = picture.add_subplot(rows, columns, place + 1, xlabel=axis.setting, title=figure.label)
        _draw_panel(panel, figure, axis, points, dots, lines)
    if len(lines) > 1:
        handles, labels = picture.axes[0].get_legend_handles_labels()
        ncols = max(1, _LEGEND_WIDTH // (max(map(len, labels)) + 6))
        legend = picture.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    content = io.BytesIO()
    canvas.print_png(content)
    return content.getvalue()


def _one_table(comparison: Comparison, output: Path) -> Table:
    if not comparison.tables:
        raise InputError(f"--output={output}: must be of a run that is finished for a picture, and none is")
    differences = incomparable(comparison.tables)
    if differences:
        words = [f"{word} ({'; '.join(values)})" for word, values in differences.items()]
        raise InputError(
            f"--output={output}: must be of figures that can be compared for a picture: {', '.join(words)}"
        )
    return comparison.tables[0]


def _title(table: Table) -> str:
    bars = "standard errors over the seeds" if table.over_seeds else "standard errors over the examples"
    return textwrap.fill(f"{describe(table)}; bars: {bars}", 150)


def _axis(comparison: Comparison, table: Table) -> _Axis:
    """The setting with the most values, a numeric one before others; the seed where no other differs."""
    best = _Axis("run", False)
    best_rank = (False, 0)
    others = [name for name in comparison.settings if name != "seed"]
    for name in others or comparison.settings:
        values = {getattr(record.config, name) for record in table.records}
        is_numeric = all(type(value) in (int, float) for value in values)
        rank = (is_numeric, len(values))
        if len(values) > 1 and rank > best_rank:
            best, best_rank = _Axis(name, is_numeric), rank
    return best


def _points(comparison: Comparison, table: Table, axis: _Axis) -> tuple[list[_Point], list[_Point]]:
    """What the lines go through, and the dots behind them."""
    runs = []
    for record in table.records:
        values = {figure.name: figure.of_run(record) for figure in table.figures}
        runs.append(_point(comparison, record, axis, {name: value for name, value in values.items() if value}))
    if not table.over_seeds or axis.setting == "seed":
        return runs, []
    means = [_point(comparison, mean.record, axis, mean.figures) for mean in table.over_seeds]
    return means, runs


def _point(comparison: Comparison, record: RunRecord, axis: _Axis, figures: dict[str, Value]) -> _Point:
    if axis.setting == "run":
        return _Point(comparison.names[record.directory], "", figures)
    value = getattr(record.config, axis.setting)
    others = [name for name in comparison.settings if name not in (axis.setting, "seed")]
    line = ", ".join(f"{name}={to_text(getattr(record.config, name))}" for name in others)
    return _Point(value if axis.is_numeric else to_text(value) or "nothing", line, figures)


def _draw_panel(
    panel: Axes, figure: Figure, axis: _Axis, points: list[_Point], dots: list[_Point], lines: list[str]
) -> None:
    places = _places(axis, points)
    for number, line in enumerate(lines):
        color = f"C{number}"
        shift = 0.0 if axis.is_numeric else _BESIDE * (number - (len(lines) - 1) / 2)
        behind = [dot for dot in dots if dot.line == line and figure.name in dot.figures]
        panel.scatter(
            [places[dot.place] + shift for dot in behind],
            [dot.figures[figure.name].value for dot in behind],
            s=12,
            color=color,
            alpha=0.4,
        )
        own = [point for point in points if point.line == line and figure.name in point.figures]
        own.sort(key=lambda point: places[point.place])
        panel.errorbar(
            [places[point.place] + shift for point in own],
            [point.figures[figure.name].value for point in own],
            yerr=[point.figures[figure.name].standard_error or 0.0 for point in own],
            color=color,
            marker="o",
            markersize=4,
            capsize=3,
            linestyle="-" if axis.is_numeric else "",
            label=line,
        )
    panel.grid(alpha=0.2)
    if axis.is_numeric and _spans_decades(list(places)):
        panel.set_xscale("log")
    panel.set_xticks(list(places.values()), [f"{place:g}" if axis.is_numeric else place for place in places])
    panel.minorticks_off()
    if not axis.is_numeric:
        panel.tick_params(axis="x", rotation=30)
        for label in panel.get_xticklabels():
            label.set_parse_math(False)


def _places(axis: _Axis, points: list[_Point]) -> dict[Any, float]:
    """Where on the axis each value is: numbers at their own place, names one after the other."""
    values = list(dict.fromkeys(point.place for point in points))
    if axis.is_numeric:
        return {value: float(value) for value in sorted(values)}
    return {value: float(place) for place, value in enumerate(values)}


def _spans_decades(values: list[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= 20
