"""Tables in files: .csv and .parquet, whose numeric columns are vectors.

Shapes: values float64 [N, D], a missing one is NaN; labels int64 [N], or None. Rows are counted without the header.
pyarrow, which reads both kinds of file, comes with tfvae[tables], and is not imported before a table is read.
TensorFlow is not needed.
"""

import csv
import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfvae.data.labels import are_whole, number_words
from tfvae.data.splits import Split
from tfvae.errors import InputError, listed

_SEPARATORS = (",", ";", "\t", "|")
_BLOCK_BYTES = 2**24
_ROW_NUMBERS = re.compile(r"Unnamed: 0(\.\d+)?")  # what pandas calls the column of its index, when it reads one back


def load(path: Path, label_column: str | None, memory: float, with_labels: bool = True) -> dict[str, Split]:
    """The one part, `train`, of a table: the values of its numeric and boolean columns, and its labels.

    Args:
        label_column: the column that has the labels, whole numbers or words, and is no value.
        memory: the bytes that the values may take.
        with_labels: whether the labels are read; without, their column is left out unseen.

    Raises:
        InputError: the file can't be read, is too large, or has a column that isn't numeric, or wrong labels.
    """
    source = f"--dataset={path}"
    table = _read_table(path, source, memory)
    if label_column is not None and label_column not in table.column_names:
        raise InputError(_no_such_column(label_column, path, table.column_names))
    columns = tuple(name for name in table.column_names if name != label_column)
    return _as_train(source, table, columns, label_column, with_labels)


class NamedColumns(NamedTuple):
    """A table of which some columns were taken by their names, as the one part `train`; `ignored` are the others."""

    splits: dict[str, Split]
    ignored: tuple[str, ...]


def load_columns(
    path: Path,
    columns: tuple[str, ...],
    label_column: str | None,
    memory: float,
    with_labels: bool = True,
    needs_labels: bool = False,
) -> NamedColumns:
    """As `load`, but of these columns alone, in this order, whatever order the file has them in.

    Without `needs_labels` a `label_column` that the file doesn't have is passed over: new rows may well have no labels.

    Raises:
        InputError: as `load`; or the file lacks a column.
    """
    source = f"--dataset={path}"
    table = _read_table(path, source, memory)
    if label_column not in table.column_names:
        if needs_labels:
            raise InputError(_no_such_column(str(label_column), path, table.column_names))
        label_column = None
    lacking = [name for name in columns if name not in table.column_names]
    if lacking:
        nearest = difflib.get_close_matches(lacking[0], table.column_names, n=1)
        hint = f": is {lacking[0]} its {nearest[0]}?" if nearest else ""
        raise InputError(
            f"{source}: must have the columns that the run was trained on, and lacks {listed(lacking)}; it has "
            f"{listed(table.column_names)}{hint}"
        )
    ignored = tuple(name for name in table.column_names if name not in (*columns, label_column))
    return NamedColumns(_as_train(source, table, columns, label_column, with_labels), ignored)


def _read_table(path: Path, source: str, memory: float) -> Any:
    return _read_parquet(path, source, memory) if _is_parquet(path) else _read_csv(path, source, memory)


def _as_train(
    source: str, table: Any, columns: tuple[str, ...], label_column: str | None, with_labels: bool
) -> dict[str, Split]:
    """These columns of a table as values, and its labels; raises InputError where they can't be."""
    _check_columns(source, table, columns, label_column)
    values = np.empty((table.num_rows, len(columns)))
    for i, name in enumerate(columns):
        values[:, i] = _as_floats(table.column(name))
    split = Split(values, None, columns=columns)
    if label_column is None or not with_labels:
        return {"train": split}
    label_source = f"--label_column={label_column}"
    labels = _labels(label_source, table.column(label_column))
    return number_words(f"{label_source}:", {"train": split._replace(labels=labels)})


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _import_error(source: str, error: ImportError) -> InputError:
    return InputError(f"{source}: needs {error.name}: pip install 'tfvae[tables]'")


def _unreadable(path: Path, source: str, error: Exception) -> InputError:
    """What to raise where a file can't be read."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{source}: must be a readable {path.suffix.lower()} file: {reason}")


def _read_parquet(path: Path, source: str, memory: float) -> Any:
    """The file's columns, without those that pandas' metadata name as its index."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise _import_error(source, error) from None
    try:
        with open(path, "rb") as opened:  # pyarrow would take a directory too
            file = parquet.ParquetFile(opened)
            index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
            names = [name for name in file.schema_arrow.names if name not in index]
            _check_names(source, names)
            _check_size(source, file.metadata.num_rows, len(names), memory)
            return file.read(columns=names)
    except InputError:
        raise
    except Exception as error:  # a damaged file raises anything from OSError to ArrowInvalid
        raise _unreadable(path, source, error) from None


def _read_csv(path: Path, source: str, memory: float) -> Any:
    """The file's columns, by their names in its first line, whatever its separator is."""
    try:
        from pyarrow import csv as arrow_csv
    except ImportError as error:
        raise _import_error(source, error) from None
    try:
        first, second, separator = _first_rows(path)
        if not first:
            raise InputError(f"{source}: must have a line of column names and rows of numbers, and is empty")
        if not second:
            raise InputError(f"{source}: must have rows below its first line, and has none")
        _check_size(source, _lines(path) - 1, len(first), memory)
        table = arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(strings_can_be_null=True),
        )
    except InputError:
        raise
    except Exception as error:  # as above
        raise _unreadable(path, source, error) from None
    names = [name.strip() for name in table.column_names]
    _check_header(source, names, table.schema.types)  # before their names, which may well be equal if they are data
    _check_names(source, names)
    return table.rename_columns(names)


def _first_rows(path: Path) -> tuple[list[str], list[str], str]:
    """The cells of a csv file's first two rows, empty where there is none, and the separator of its cells.

    Of the separators that make as many cells of the first row as of the second, it is the one that makes the most.
    """
    rows = {separator: _two_rows(path, separator) for separator in _SEPARATORS}
    agreeing = [each for each in _SEPARATORS if len(rows[each][0]) == len(rows[each][1])]
    separator = max(agreeing or _SEPARATORS, key=lambda each: len(rows[each][0]))  # of equal ones the first, a comma
    return (*rows[separator], separator)


def _two_rows(path: Path, separator: str) -> tuple[list[str], list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = (row for row in csv.reader(file, delimiter=separator) if row)
        return next(rows, []), next(rows, [])


def _lines(path: Path) -> int:
    """How many lines a file has that aren't empty at the end; quoted cells may have more than one."""
    count, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _check_size(source: str, rows: int, columns: int, memory: float) -> None:
    size = 8 * rows * columns
    if size > memory:
        raise InputError(
            f"{source}: must fit into memory: its {rows:,} rows of {columns:,} columns take {size / 1e9:.3g} GB, and "
            f"--memory_gb allows {memory / 1e9:.3g}"
        )


def _check_names(source: str, names: Sequence[str]) -> None:
    """Refuses columns without a name or with the same, and those of row numbers; raises InputError."""
    if names and (not names[0] or _ROW_NUMBERS.fullmatch(names[0])):
        raise InputError(
            f"{source}: must have values alone, and its first column, {names[0] or 'without a name'}, seems to be the "
            "rows' numbers or names: write the file without them (index=False in pandas, row.names=FALSE in R)"
        )
    unnamed = [i + 1 for i, name in enumerate(names) if not name]
    if unnamed:
        raise InputError(f"{source}: must have a name for each column, and has none for column {unnamed[0]}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{source}: must have a name of its own for each column, and has twice {listed(twice)}")


def _check_header(source: str, names: Sequence[str], types: Sequence[Any]) -> None:
    """Refuses a csv file whose first line has numbers, as the rows below; raises InputError.

    Columns that are numbered from 0, as pandas names those of an array, are names, if there are three or more of them,
    or a first one without a name: pandas' index, of which `_check_names` speaks.
    """
    numeric = [name for name, kind in zip(names, types) if name and _content(kind) == "numbers"]
    are_counted = numeric == [str(i) for i in range(len(numeric))] and (len(numeric) > 2 or not names[0])
    if numeric and not are_counted and all(_is_number(name) for name in numeric):
        count = len(names)
        raise InputError(
            f"{source}: must have a first line of column names, and has numbers there, {listed(numeric)}: if they are "
            f"names, write them with a letter; if they are data, `(seq -s, -f x%g {count}; cat FILE) > NEW_FILE` puts "
            f"the names x1 to x{count} before them"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check_columns(source: str, table: Any, columns: Sequence[str], label_column: str | None) -> None:
    """Refuses a table with columns of no numbers, or without rows or columns; raises InputError."""
    if not columns:
        beside = "" if label_column is None else f" beside {label_column}"
        raise InputError(f"{source}: must have a numeric column{beside}, and has none")
    if not table.num_rows:
        raise InputError(f"{source}: must have rows, and has none")
    others: dict[str, list[str]] = {}  # what columns hold that aren't numeric
    for name in columns:
        content = _content(table.schema.field(name).type)
        if content != "numbers":
            others.setdefault(content, []).append(name)
    if not others:
        return
    found = ", and ".join(f"{content} in {listed(names)}" for content, names in others.items())
    example = _first_word(table, others["text"][0]) if "text" in others else ""
    way_out = "leave them out of the file" + (", or take one as --label_column" if label_column is None else "")
    raise InputError(f"{source}: must have numeric columns, and has {found}{example}: {way_out}")


def _content(kind: Any) -> str:
    """What a column of this pyarrow type holds, in a word. A csv file's column that isn't UTF-8 has a binary type."""
    from pyarrow import types

    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        return "numbers"
    if types.is_null(kind):  # a csv file's empty column
        return "numbers"
    if types.is_dictionary(kind):
        return "categories"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_temporal(kind):
        return "dates or times"
    if types.is_binary(kind) or types.is_large_binary(kind):
        return "bytes that are no UTF-8 text"
    return f"values of the type {kind}"


def _first_word(table: Any, name: str) -> str:
    """The first text of a column that is no number: a `?` among numbers is easily overlooked."""
    for row, cell in enumerate(table.column(name).to_pylist()):
        if cell is not None and not _is_number(cell):
            return f" (the first is {cell[:40]!r}, in row {row:,} (from 0) of {name})"
    return ""


def _as_floats(column: Any) -> np.ndarray:
    """float64 [N] of a numeric column; whole numbers above 2**53 are rounded, missing ones are NaN."""
    import pyarrow as pa

    return column.cast(pa.float64(), safe=False).to_numpy()


def _labels(source: str, column: Any) -> np.ndarray:
    """Whole numbers [N], or words, of a column; truth values and categories are words."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    cells = column.to_pylist()
    missing = [row for row, cell in enumerate(cells) if cell is None or (isinstance(cell, float) and math.isnan(cell))]
    if missing:
        places = f"{len(missing):,}, the first in row {missing[0]:,} (from 0)"
        raise InputError(f"{source}: must have a label in each row, and has none in {places}")
    if types.is_integer(kind) and max(cells) < 2**63:
        return np.array(cells, np.int64)
    if types.is_floating(kind):
        numbers = np.array(cells, np.float64)
        if are_whole(numbers):
            return numbers.astype(np.int64)
        row = next(row for row, number in enumerate(numbers) if not are_whole(number))
        raise InputError(
            f"{source}: must be whole numbers or words, and has other numbers, the first, {cells[row]}, in row {row:,} "
            "(from 0)"
        )
    if types.is_boolean(kind) or _content(kind) == "text":
        return np.array([str(cell) for cell in cells])
    raise InputError(f"{source}: must be whole numbers or words, and has {_content(kind)}")


def _no_such_column(name: str, path: Path, columns: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, columns, n=1)
    hint = f": is it {nearest[0]}?" if nearest else ""
    return f"--label_column={name}: must be a column of {path}, which has {listed(columns)}{hint}"
