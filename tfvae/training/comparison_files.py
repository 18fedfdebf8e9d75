"""A comparison of runs as text for a terminal, and as Markdown, CSV, JSON."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from tfvae.config.fields import to_text
from tfvae.training.comparison import Comparison, Figure, SeedMeans, Table, Value, describe, incomparable
from tfvae.training.records import RunRecord

Rows = list[list[str]]  # the first one is the heading


def as_text(comparison: Comparison) -> str:
    """The tables for a terminal, in columns."""
    lines = []
    for title, rows in _parts(comparison):
        lines.append(f"{title}:" if rows else title)
        if rows:
            lines += [*_in_columns(rows), ""]
    return "\n".join(lines).rstrip("\n")


def as_markdown(comparison: Comparison) -> str:
    """The tables in Markdown."""
    parts = []
    for title, rows in _parts(comparison):
        parts.append(f"{title}:" if rows else f"{title}.")
        if rows:
            heading, *others = [_markdown_line(row) for row in rows]
            parts.append("\n".join([heading, "|" + " --- |" * len(rows[0]), *others]))
    return "\n\n".join(parts) + "\n"


def _markdown_line(row: list[str]) -> str:
    cells = [cell.replace("|", r"\|") for cell in row]
    return f"| {' | '.join(cells)} |"


def as_csv(comparison: Comparison) -> str:
    """A row a run, without means: settings that differ, figures, what these are of; numbers in full."""
    figures = list(dict.fromkeys(figure for table in comparison.tables for figure in table.figures))
    figure_names = []
    for figure in figures:
        figure_names += [figure.name, f"{figure.name}_standard_error"] if figure.error_key else [figure.name]
    content = io.StringIO()
    columns = ["run", "finished", "epochs_done", *comparison.settings, *figure_names, "figures_are_of"]
    writer = csv.DictWriter(content, columns, lineterminator="\n")
    writer.writeheader()
    for table in comparison.tables:
        for record in table.records:
            cells: dict[str, Any] = {}
            for figure in figures:
                value = figure.of_run(record)
                if value:
                    cells[figure.name] = value.value
                if value and figure.error_key:
                    cells[f"{figure.name}_standard_error"] = value.standard_error
            writer.writerow({**_run_cells(comparison, record), **cells, "figures_are_of": describe(table)})
    for record in comparison.unfinished:
        writer.writerow(_run_cells(comparison, record))
    return content.getvalue()


def _run_cells(comparison: Comparison, record: RunRecord) -> dict[str, Any]:
    settings = {name: to_text(getattr(record.config, name)) for name in comparison.settings}
    is_finished = "true" if record.results else "false"
    name = comparison.names[record.directory]
    return {"run": name, "finished": is_finished, "epochs_done": record.epochs_done, **settings}


def as_json(comparison: Comparison) -> str:
    """All of it: tables with their runs and the means over seeds, and the runs that are not finished."""
    content = {
        "settings": comparison.settings,
        "tables": [_table_as_json(comparison, table) for table in comparison.tables],
        "unfinished": [_run_as_json(comparison, record) for record in comparison.unfinished],
    }
    return json.dumps(content, indent=1) + "\n"


def _table_as_json(comparison: Comparison, table: Table) -> dict[str, Any]:
    runs = []
    for record in table.records:
        values = {figure.name: figure.of_run(record) for figure in table.figures}
        figures = {name: value._asdict() for name, value in values.items() if value}
        runs.append({**_run_as_json(comparison, record), "figures": figures})
    over_seeds = []
    for mean in table.over_seeds:
        settings = _settings_as_json(comparison, mean.record)
        settings.pop("seed", None)
        figures = {name: value._asdict() for name, value in mean.figures.items()}
        over_seeds.append({"settings": settings, "seeds": mean.seeds, "figures": figures})
    return {"figures_are_of": describe(table), "runs": runs, "over_seeds": over_seeds}


def _run_as_json(comparison: Comparison, record: RunRecord) -> dict[str, Any]:
    return {
        "run": comparison.names[record.directory],
        "run_dir": str(record.directory),
        "epochs_done": record.epochs_done,
        "settings": _settings_as_json(comparison, record),
    }


def _settings_as_json(comparison: Comparison, record: RunRecord) -> dict[str, Any]:
    return {name: getattr(record.config, name) for name in comparison.settings}


def _parts(comparison: Comparison) -> list[tuple[str, Rows]]:
    """Titles, each with the rows below it; a remark has none."""
    parts: list[tuple[str, Rows]] = []
    differences = incomparable(comparison.tables)
    if differences:
        words = [f"{word} ({'; '.join(values)})" for word, values in differences.items()]
        number = len(comparison.tables)
        parts.append((f"figures of different tables of these {number} can't be compared: {', '.join(words)}", []))
    for table in comparison.tables:
        parts.append((f"{describe(table)}; ± standard error over the examples", _rows_of_runs(comparison, table)))
        if table.over_seeds:
            parts.append(("means over seeds, ± standard error over the seeds", _rows_of_means(comparison, table)))
    if comparison.unfinished:
        parts.append(("not finished", _rows_of_unfinished(comparison)))
    return parts


def _rows_of_runs(comparison: Comparison, table: Table) -> Rows:
    rows = [["run", *comparison.settings, *(figure.label for figure in table.figures)]]
    for record in table.records:
        figures = [_cell(figure, figure.of_run(record)) for figure in table.figures]
        rows.append([comparison.names[record.directory], *_settings(comparison.settings, record), *figures])
    return rows


def _rows_of_means(comparison: Comparison, table: Table) -> Rows:
    settings = tuple(name for name in comparison.settings if name != "seed")
    rows = [[*settings, "seeds", *(figure.label for figure in table.figures)]]
    for mean in table.over_seeds:
        rows.append([*_settings(settings, mean.record), _seeds(mean), *_mean_cells(table, mean)])
    return rows


def _mean_cells(table: Table, mean: SeedMeans) -> list[str]:
    cells = []
    for figure in table.figures:
        of_mean = figure._replace(form=".1f") if figure.form == "d" else figure  # of whole numbers it is none
        cells.append(_cell(of_mean, mean.figures.get(figure.name)))
    return cells


def _seeds(mean: SeedMeans) -> str:
    return f"{len(mean.seeds)} ({','.join(map(str, mean.seeds))})"


def _rows_of_unfinished(comparison: Comparison) -> Rows:
    rows = [["run", *comparison.settings, "epoch"]]
    for record in comparison.unfinished:
        epoch = f"{record.epochs_done:,} of {to_text(record.config.epochs)}"
        rows.append([comparison.names[record.directory], *_settings(comparison.settings, record), epoch])
    return rows


def _settings(names: tuple[str, ...], record: RunRecord) -> list[str]:
    return [to_text(getattr(record.config, name)) or "nothing" for name in names]


def _cell(figure: Figure, value: Value | None) -> str:
    if value is None:
        return "-"
    number = f"{value.value:{figure.form}}"
    return number if value.standard_error is None else f"{number} ± {value.standard_error:{figure.form}}"


def _in_columns(rows: Rows) -> list[str]:
    """Rows as lines; a column is as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


WRITERS = {".csv": as_csv, ".md": as_markdown, ".json": as_json}


def to_bytes(comparison: Comparison, output: Path) -> bytes:
    """The comparison in the format that a file's name ends in: .csv, .md, .json, .png.

    Raises:
        InputError: a picture of figures that can't be compared.
    """
    if output.suffix == ".png":
        from tfvae.training import comparison_picture  # it imports Matplotlib

        return comparison_picture.draw(comparison, output)
    return WRITERS[output.suffix](comparison).encode()
