"""What vectors from outside must be, whatever they come in: numbers [N, D], of which NaN are missing.

It imports NumPy alone, so that bad vectors are refused before TensorFlow is imported.
Shapes: values [N, D]. In messages rows are counted from 0, as NumPy and pandas count them, and say so.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tfvae.errors import InputError, listed

_BLOCK_VALUES = 2**22  # that are looked at together: the checks' own arrays stay small
_FEWEST_STEPS = 100  # of float32 within a column's deviation


def check_values(source: str, values: np.ndarray, columns: Sequence[str], missing: str) -> np.ndarray:
    """The values as float64 [N, D], not copied if they are that.

    Args:
        source: what they are, for the message: `--dataset=NAME`, or an argument's name.
        columns: their D names; none where they have none.
        missing: `refuse` or `allow`, as --missing has them.

    Raises:
        InputError: they are no numbers [N, D], or too large for float32; or some are missing and may not be; or a row
            or a column has none at all.
    """
    check_plain(source, values)
    expected = f"{source}: must be vectors [N, D] of numbers"
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{expected}, and has the shape {list(values.shape)}")
    if values.dtype.kind not in "biuf":  # bool, signed, unsigned, float
        raise InputError(f"{expected}, and has the type {values.dtype}")
    values = values.astype(np.float64, copy=False)
    check_finite(source, values, columns)
    _check_missing(source, values, columns, missing)
    return values


def check_spread(source: str, values: np.ndarray, columns: Sequence[str], scale: str) -> None:
    """Refuses columns that can't be scaled, or whose values are all the same for a model, which computes in float32.

    Args:
        source: as that of `check_values`.
        values: those of training, float64 [N, D]; NaN are left out.
        scale: `none`, `unit` or `standardize`: a constant column can't be scaled.

    Raises:
        InputError: names the columns.
    """
    constant, coarse, empty = [], [], []
    for i, column in enumerate(values.T):
        observed = column[~np.isnan(column)]
        if not observed.size:
            empty.append(i)
        elif observed.min() == observed.max():
            constant.append(i)
        elif _step_of_float32(observed) * _FEWEST_STEPS > observed.std():
            coarse.append(i)
    if empty:
        raise InputError(_nothing_observed(source, columns, empty))
    if constant and scale != "none":
        first = values[:, constant[0]]
        value = first[~np.isnan(first)][0]
        raise InputError(
            f"{source}: must have no constant column, which --scale={scale} can't scale, and has "
            f"{_named(columns, constant)} (the first is {value:g} in each row): leave it out, or take --scale=none"
        )
    if coarse:
        first = values[:, coarse[0]]
        first = first[~np.isnan(first)]
        raise InputError(
            f"{source}: must have values that float32 can tell apart, and has some near {np.abs(first).max():.3g} with "
            f"a standard deviation of {first.std():.3g} in {_named(columns, coarse)}: subtract a constant from them, "
            "or take another unit"
        )


def check_plain(source: str, array: np.ndarray) -> None:
    """Refuses a structured array, whose elements are rows with named fields; raises InputError."""
    if array.dtype.names is not None:
        raise InputError(
            f"{source}: must be a plain array of numbers, and is a structured one with the fields "
            f"{listed(array.dtype.names)}: numpy.lib.recfunctions.structured_to_unstructured makes plain columns of it"
        )


def check_finite(source: str, values: np.ndarray, columns: Sequence[str]) -> None:
    """Refuses infinite values, and those that float32 can't hold; raises InputError. NaN pass."""
    count, first = 0, None
    for start, block in _blocks(values):
        wrong = np.abs(block) > np.finfo(np.float32).max  # false for NaN, which is missing
        count += int(wrong.sum())
        if first is None and wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            first = (start + row, column)
    if first is not None:
        raise InputError(
            f"{source}: must have finite values that float32 can hold, and has {count:,} that aren't, the first, "
            f"{values[first]:g}, in {_place(columns, *first)}"
        )


def _check_missing(source: str, values: np.ndarray, columns: Sequence[str], missing: str) -> None:
    count, empty_rows, first, first_empty_row = 0, 0, None, 0
    observed = np.zeros(values.shape[1], np.int64)
    for start, block in _blocks(values):
        is_missing = np.isnan(block)
        if not is_missing.any():
            observed += len(block)
            continue
        if first is None:
            row, column = np.argwhere(is_missing)[0].tolist()
            first = (start + row, column)
        is_empty = is_missing.all(axis=1)
        if not empty_rows and is_empty.any():
            first_empty_row = start + int(is_empty.argmax())
        empty_rows += int(is_empty.sum())
        count += int(is_missing.sum())
        observed += (~is_missing).sum(axis=0)
    if first is None:
        return
    if missing == "refuse":
        raise InputError(
            f"{source}: must have no missing values, and has {count:,}, the first in {_place(columns, *first)}: "
            "--missing=allow leaves them out of the likelihood"
        )
    if not observed.all():
        raise InputError(_nothing_observed(source, columns, np.flatnonzero(observed == 0).tolist()))
    if empty_rows:
        raise InputError(
            f"{source}: must have a value in each row, and has none in {empty_rows:,} of them, the first row "
            f"{first_empty_row:,} (from 0): leave them out"
        )


def _nothing_observed(source: str, columns: Sequence[str], empty: Sequence[int]) -> str:
    return f"{source}: must have values in each column, and has none in {_named(columns, empty)}: leave it out"


def _blocks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The values in parts along the rows, each with the row that it begins at."""
    rows = max(1, _BLOCK_VALUES // values.shape[1])
    for start in range(0, len(values), rows):
        yield start, values[start : start + rows]


def _step_of_float32(values: np.ndarray) -> float:
    """The distance between float32 numbers where the largest of the values is."""
    return float(np.spacing(np.abs(values).max().astype(np.float32)))


def _place(columns: Sequence[str], row: int, column: int) -> str:
    return f"row {row:,} (from 0), {_named(columns, [column])}"


def _named(columns: Sequence[str], numbers: Sequence[int]) -> str:
    """These columns by their names, or by their numbers where they have none."""
    if columns:
        return f"column {listed([columns[number] for number in numbers])}"
    return f"column {listed([str(number) for number in numbers])} (from 0)"
