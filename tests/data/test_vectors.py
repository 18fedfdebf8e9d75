"""What vectors must be: each that can't be modelled is refused in a line with its count and place."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.lib.recfunctions import structured_to_unstructured
from sklearn.datasets import load_breast_cancer, load_wine

from tfvae.data import arrays, memory, vectors
from tfvae.errors import InputError

NAMES = ("alcohol", "ash", "hue")
VALUES = np.random.default_rng(0).normal(size=(50, 3))


def refused(function, *arguments):
    with pytest.raises(InputError) as caught:
        function("--dataset=x", *arguments)
    line = caught.value.for_command_line
    assert "\n" not in line and line.startswith("--dataset=x: ")
    return line.removeprefix("--dataset=x: ")


def changed(**cells):
    """VALUES with cells like r5c0 set."""
    values = VALUES.copy()
    for cell, value in cells.items():
        row, column = cell[1:].split("c")
        values[int(row), int(column)] = value
    return values


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.longdouble, np.int8, np.uint64, ">f4", bool])
def test_numbers_of_any_type_are_taken_as_float64(dtype):
    values = (VALUES * 3).astype(dtype)
    checked = vectors.check_values("x", values, (), "refuse")
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, values)
    assert vectors.check_values("x", VALUES, (), "refuse") is VALUES


@pytest.mark.parametrize("read", [load_breast_cancer, load_wine])
@pytest.mark.parametrize("scale", ["none", "unit", "standardize"])
def test_real_tables_pass(read, scale):
    values = read().data
    np.testing.assert_array_equal(vectors.check_values("x", values, (), "refuse"), values)
    vectors.check_spread("x", values, (), scale)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (VALUES[0], "has the shape [3]"),
        (VALUES[None], "has the shape [1, 50, 3]"),
        (VALUES[:0], "has the shape [0, 3]"),
        (VALUES[:, :0], "has the shape [50, 0]"),
        (VALUES.astype(str), "has the type <U32"),
        (VALUES.astype(object), "has the type object"),
        (VALUES * 1j, "has the type complex128"),
        (VALUES.astype("M8[s]"), "has the type datetime64[s]"),
    ],
)
def test_others_are_refused(values, reason):
    assert refused(vectors.check_values, values, (), "allow") == f"must be vectors [N, D] of numbers, and {reason}"


@pytest.mark.parametrize("missing", ["refuse", "allow"])
def test_infinities_are_refused_with_their_count_and_the_first_place(missing):
    values = changed(r7c1=np.inf, r7c2=-np.inf, r40c0=np.inf)
    reason = "must have finite values that float32 can hold, and has 3 that aren't, the first, inf, in row 7 (from 0), "
    assert refused(vectors.check_values, values, NAMES, missing) == reason + "column ash"
    assert refused(vectors.check_values, values, (), missing) == reason + "column 1 (from 0)"
    assert "has 1 that aren't, the first, -1e+39, in row 3" in refused(
        vectors.check_values, changed(r3c0=-1e39), NAMES, missing
    )


def test_missing_values_are_refused_or_allowed():
    values = changed(r9c2=np.nan, r5c0=np.nan, r5c2=np.nan)
    assert refused(vectors.check_values, values, NAMES, "refuse") == (
        "must have no missing values, and has 3, the first in row 5 (from 0), column alcohol: "
        "--missing=allow leaves them out of the likelihood"
    )
    assert vectors.check_values("x", values, NAMES, "allow") is values
    vectors.check_spread("x", values, NAMES, "standardize")


def test_rows_and_columns_of_which_nothing_is_observed_are_refused():
    values = VALUES.copy()
    values[[4, 30]] = np.nan
    assert refused(vectors.check_values, values, NAMES, "allow") == (
        "must have a value in each row, and has none in 2 of them, the first row 4 (from 0): leave them out"
    )
    values[:, 1] = np.nan
    line = "must have values in each column, and has none in column ash: leave it out"
    assert refused(vectors.check_values, values, NAMES, "allow") == line
    assert refused(vectors.check_spread, values, NAMES, "none") == line


def test_counts_and_places_are_those_of_the_whole_array_whatever_the_blocks(monkeypatch):
    monkeypatch.setattr(vectors, "_BLOCK_VALUES", 12)  # four rows
    values = changed(r9c2=np.nan, r10c0=np.nan, r31c1=np.nan)
    assert "has 3, the first in row 9 (from 0), column hue" in refused(vectors.check_values, values, NAMES, "refuse")
    assert vectors.check_values("x", values, NAMES, "allow") is values
    values[[13, 22, 49]] = np.nan
    assert "in 3 of them, the first row 13 " in refused(vectors.check_values, values, NAMES, "allow")
    values[17:, 0] = np.inf
    assert "has 33 that aren't, the first, inf, in row 17 (from 0), column alcohol" in refused(
        vectors.check_values, values, NAMES, "allow"
    )


@pytest.mark.parametrize("scale", ["unit", "standardize"])
def test_a_constant_column_can_not_be_scaled(scale):
    values = VALUES.copy()
    values[:, 1] = 0.1
    values[3, 1] = np.nan
    values[:, 2] = 7
    assert refused(vectors.check_spread, values, NAMES, scale) == (
        f"must have no constant column, which --scale={scale} can't scale, and has column ash, hue "
        "(the first is 0.1 in each row): leave it out, or take --scale=none"
    )
    vectors.check_spread("x", values, NAMES, "none")


@pytest.mark.parametrize("scale", ["none", "unit", "standardize"])
def test_a_column_that_float32_can_not_tell_apart_is_refused(scale):
    seconds = 1.7e9 + np.arange(50.0)
    assert len(np.unique(seconds.astype(np.float32))) == 1  # what a model would see of it
    values = np.stack([VALUES[:, 0], seconds, VALUES[:, 1]], axis=1)
    assert refused(vectors.check_spread, values, NAMES, scale) == (
        "must have values that float32 can tell apart, and has some near 1.7e+09 with a standard deviation of 14.4 in "
        "column ash: subtract a constant from them, or take another unit"
    )
    values[:, 1] -= 1.7e9
    vectors.check_spread("x", values, NAMES, scale)
    values[:, 1] = 1.7e9 + 1e4 * np.arange(50)  # steps of 128 in a deviation of 144,000
    vectors.check_spread("x", values, NAMES, scale)
    values[:, 1] *= 1e-55
    assert "near 1.7e-46" in refused(vectors.check_spread, values, NAMES, scale)


def test_many_columns_are_listed_in_part():
    columns = tuple(f"c{i}" for i in range(25))
    assert "column c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 15 more (the first is 1 in" in refused(
        vectors.check_spread, np.ones((4, 25)), columns, "unit"
    )


def test_tensorflow_is_not_imported():
    program = "import sys, tfvae.data.vectors; print({'tensorflow', 'keras', 'pandas', 'pyarrow'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


# Files of NumPy. The data are vectors before anything is checked, so `arrays.load` gives them as they are.


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, bool])
def test_npy_and_npz_hold_vectors_as_they_are(tmp_path, dtype):
    values = (VALUES * 3).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", x_train=values, x_test=values[:9], y_test=np.arange(9))
    one, parts = arrays.load(tmp_path / "x.npy", 1e9), arrays.load(tmp_path / "x.npz", 1e9)
    assert list(one) == ["train"] and list(parts) == ["train", "test"]
    for split, expected in ((one["train"], values), (parts["train"], values), (parts["test"], values[:9])):
        np.testing.assert_array_equal(split.images, expected)
        assert split.images.dtype == dtype
    assert parts["test"].labels.tolist() == list(range(9))


WORDS = np.array(["b", "a"])[np.arange(50) % 2]
NAMED = {  # the arrays of a file, and the labels that are taken of them
    "scikit-learn's sets": ({"data": VALUES, "target": WORDS, "y": VALUES}, ("a", "b")),
    "scikit-learn's examples": ({"X": VALUES, "y": WORDS, "target": VALUES}, ("a", "b")),
    "y beside images": ({"images": VALUES, "X": VALUES[:9], "y": VALUES, "target": VALUES}, ()),
    "X_test beside images": ({"images": VALUES, "X_test": VALUES[:9]}, ()),
    "labels beside data": ({"data": VALUES, "labels": WORDS, "target": VALUES}, ("a", "b")),
}


@pytest.mark.parametrize(("named", "names"), NAMED.values(), ids=NAMED)
def test_the_names_of_arrays(tmp_path, named, names):
    np.savez(tmp_path / "x.npz", **named)
    parts = arrays.load(tmp_path / "x.npz", 1e9)
    assert list(parts) == ["train"] and parts["train"].label_names == names
    np.testing.assert_array_equal(parts["train"].images, VALUES)
    if names:
        np.testing.assert_array_equal(np.array(names)[parts["train"].labels], WORDS)


def test_parts_with_a_capital(tmp_path):
    np.savez(tmp_path / "x.npz", X_train=VALUES, y_train=WORDS, X_test=VALUES[:9], y_test=WORDS[:9])
    parts = arrays.load(tmp_path / "x.npz", 1e9)
    np.testing.assert_array_equal(parts["test"].images, VALUES[:9])
    assert parts["test"].labels.tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1]


def test_structured_arrays_are_refused_in_a_line_that_says_what_to_do(tmp_path):
    structured = np.array([(1.5, 2), (3, 4)], [("length", float), ("count", int)])
    reason = "must be a plain array of numbers, and is a structured one with the fields length, count: numpy.lib."
    assert refused(vectors.check_values, structured, (), "refuse").startswith(reason)
    np.testing.assert_array_equal(structured_to_unstructured(structured), [[1.5, 2], [3, 4]])
    with pytest.raises(InputError, match=f"^images: {reason}"):
        memory.load(structured, None, None, None, 1e9)
    path = tmp_path / "x.npy"
    np.save(path, structured)
    np.savez(tmp_path / "x.npz", x_train=structured)
    with pytest.raises(InputError, match=f"^dataset={path}: {reason}"):
        arrays.load(path, 1e9)
    with pytest.raises(InputError, match=f"^dataset={path}: {reason}"):
        arrays.load(path, 1)  # too large for memory
    with pytest.raises(InputError, match=f"^dataset={path}: {reason}"):
        arrays.map_npy(path)
    with pytest.raises(InputError, match=f"^dataset={tmp_path}/x.npz: {reason}"):
        arrays.load(tmp_path / "x.npz", 1e9)
