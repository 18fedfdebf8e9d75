"""Tables: what pandas writes of scikit-learn's sets is read back; a table that can't be taken is refused in a line."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_wine

from tfvae.data import tables
from tfvae.errors import InputError

PLENTY = 1e9
FORMS = ("csv", "parquet")


def write(frame, path, **options):
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, **options)
    else:
        frame.to_parquet(path, **options)
    return path


def refused(path, label_column=None, memory=PLENTY):
    with pytest.raises(InputError) as caught:
        tables.load(path, label_column, memory)
    line = str(caught.value)
    assert "\n" not in line
    return line


def csv(folder, content):
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("read", [load_breast_cancer, load_wine])
def test_real_tables_are_read_to_the_last_bit(tmp_path, read, form):
    bunch = read(as_frame=True)
    words = np.asarray(bunch.target_names)[bunch.target]
    frame = bunch.data.assign(kind=words)
    split = tables.load(write(frame, tmp_path / f"t.{form}"), "kind", PLENTY)["train"]
    assert split.images.dtype == np.float64
    np.testing.assert_array_equal(split.images, bunch.data.to_numpy())
    assert split.columns == tuple(bunch.feature_names)
    assert split.label_names == tuple(sorted(bunch.target_names))
    np.testing.assert_array_equal(np.array(split.label_names)[split.labels], words)
    numbered = write(bunch.data.assign(kind=bunch.target), tmp_path / f"n.{form}")
    split = tables.load(numbered, "kind", PLENTY)["train"]
    np.testing.assert_array_equal(split.labels, bunch.target)
    assert split.label_names == () and split.labels.dtype == np.int64
    assert tables.load(numbered, None, PLENTY)["train"].images.shape == (len(words), len(bunch.feature_names) + 1)


def test_types_of_pandas_and_arrow_are_numbers_and_what_is_missing_is_nan(tmp_path):
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], "Int64"),
            "truth": [True, False, True],
            "small": np.array([1, 2, 3], np.uint8),
            "half": np.array([1.5, np.nan, 2], np.float16),
            "arrow": pd.array([1.25, None, 4], "float64[pyarrow]"),
            "nothing": [None, None, None],
            "maybe": pd.array([True, None, False], "boolean"),
        }
    )
    nan = np.nan
    expected = [[1, 1, 1, 1.5, 1.25, nan, 1], [nan, 0, 2, nan, nan, nan, nan], [3, 1, 3, 2, 4, nan, 0]]
    for form in FORMS:
        split = tables.load(write(frame, tmp_path / f"t.{form}"), None, PLENTY)["train"]
        np.testing.assert_array_equal(split.images, expected)
        assert split.labels is None and split.columns == tuple(frame)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_separators_line_ends_marks_and_quotes(tmp_path, separator, end, mark):
    rows = [["a", ' "b, or;|c" ', "d"], ["1", "-2.5", '"x, y"'], ["", "NaN", "z"]]
    if separator != ",":
        rows[0][1] = '"b, or c"'
    else:
        rows[0][1] = '"b, or;|c"'
    content = end.join(separator.join(row) for row in rows) + end
    split = tables.load(csv(tmp_path, mark + content.encode()), "d", PLENTY)["train"]
    np.testing.assert_array_equal(split.images, [[1, -2.5], [np.nan, np.nan]])
    assert split.columns == ("a", rows[0][1][1:-1]) and split.label_names == ("x, y", "z")


def test_one_column_and_columns_that_are_counted(tmp_path):
    np.testing.assert_array_equal(tables.load(csv(tmp_path, "a\n1\n2"), None, PLENTY)["train"].images, [[1], [2]])
    array = np.arange(12.0).reshape(3, 4)
    path = write(pd.DataFrame(array), tmp_path / "n.csv")
    np.testing.assert_array_equal(tables.load(path, None, PLENTY)["train"].images, array)
    write(pd.DataFrame(array).assign(y=["b", "a", "b"]), path)
    assert tables.load(path, "y", PLENTY)["train"].labels.tolist() == [1, 0, 1]


def test_the_index_of_pandas_is_no_column_of_a_parquet_file(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    path = write(frame[frame.a > 1], tmp_path / "t.parquet")
    split = tables.load(path, None, PLENTY)["train"]
    assert split.columns == ("a",) and split.images.tolist() == [[2], [3]]


LABELS = {  # a column, and its labels and their names
    "words": (["b", "a", "b"], [1, 0, 1], ("a", "b")),
    "categories": (pd.Categorical(["low", "high", "low"], ["low", "high"]), [1, 0, 1], ("high", "low")),
    "truths": ([True, False, True], [1, 0, 1], ("False", "True")),
    "whole": ([3, -1, 3], [3, -1, 3], ()),
    "whole floats": ([3.0, 0.0, 3.0], [3, 0, 3], ()),
    "nullable": (pd.array([3, 0, 3], "Int64"), [3, 0, 3], ()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("column", "labels", "names"), LABELS.values(), ids=LABELS)
def test_labels(tmp_path, form, column, labels, names):
    path = write(pd.DataFrame({"y": column, "a": [1, 2, 3]}), tmp_path / f"t.{form}")
    split = tables.load(path, "y", PLENTY)["train"]
    assert split.labels.tolist() == labels and split.label_names == names
    assert split.images.tolist() == [[1], [2], [3]]
    unseen = tables.load(path, "y", PLENTY, with_labels=False)["train"]
    assert unseen.labels is None and unseen.columns == ("a",)


WRONG_LABELS = {
    "missing words": (
        ["b", None, "b"],
        "must have a label in each row, and has none in 1, the first in row 1 (from 0)",
    ),
    "missing numbers": (
        [np.nan, 1, np.nan],
        "must have a label in each row, and has none in 2, the first in row 0 (from 0)",
    ),
    "fractions": (
        [1, 2, 0.5],
        "must be whole numbers or words, and has other numbers, the first, 0.5, in row 2 (from 0)",
    ),
    "infinite": (
        [1, np.inf, 2],
        "must be whole numbers or words, and has other numbers, the first, inf, in row 1 (from 0)",
    ),
    "dates": (pd.to_datetime(["2020-01-01"] * 3), "must be whole numbers or words, and has dates or times"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("column", "message"), WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_wrong_labels_are_refused_and_can_be_done_without(tmp_path, form, column, message):
    path = write(pd.DataFrame({"a": [1, 2, 3], "y": column}), tmp_path / f"t.{form}")
    assert refused(path, "y") == f"label_column=y: {message}"
    assert tables.load(path, "y", PLENTY, with_labels=False)["train"].images.tolist() == [[1], [2], [3]]


def test_a_label_column_that_is_not_there(tmp_path):
    path = csv(tmp_path, "length,species,width\n1,2,3\n")
    assert refused(path, "speceis") == (
        f"label_column=speceis: must be a column of {path}, which has length, species, width: is it species?"
    )
    write(pd.DataFrame(np.ones((2, 30))).rename(columns=lambda i: f"c{i}"), path)
    assert refused(path, "target").endswith("which has c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 20 more")
    assert "must have a numeric column beside a, and has none" in refused(csv(tmp_path, "a\n1\n"), "a")


@pytest.mark.parametrize("form", FORMS)
def test_other_columns_are_named(tmp_path, form):
    frame = pd.DataFrame({"species": ["x", "y"], "a": [1, 2], "city": ["p", "q"], "day": pd.to_datetime(["2020"] * 2)})
    path = write(frame, tmp_path / f"t.{form}")
    found = "text in species, city, and dates or times in day (the first is 'x', in row 0 (from 0) of species)"
    start = f"dataset={path}: must have numeric columns, and has "
    assert refused(path) == f"{start}{found}: leave them out of the file, or take one as label_column"
    assert refused(path, "species").endswith(
        "(the first is 'p', in row 0 (from 0) of city): leave them out of the file"
    )


def test_other_types_of_parquet_are_named(tmp_path):
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"]), "l": [[1], [2]], "b": [b"1", b"2"], "a": [1, 2]})
    line = refused(write(frame, tmp_path / "t.parquet"))
    assert "categories in c, and values of the type list<element: int64> in l, and bytes that" in line


REFUSED = {
    "empty": ("", "must have a line of column names and rows of numbers, and is empty"),
    "blank": ("\n\n", "must have a line of column names and rows of numbers, and is empty"),
    "header alone": ("a,b\n", "must have rows below its first line, and has none"),
    "no header": (
        "5.1,5.1,2\n4,3,1\n",
        "must have a first line of column names, and has numbers there, 5.1, 5.1, 2: if",
    ),
    "no header, words": ("5.1,3.5,setosa\n4,3,virginica\n", "and has numbers there, 5.1, 3.5: if they are names"),
    "no header, missing": ("5.1,,2\n4,3,1\n", "and has numbers there, 5.1, 2: if they are names"),
    "decimal comma": ("a;b\n1,5;2,5\n3,5;4\n", "has text in a, b (the first is '1,5', in row 0 (from 0) of a)"),
    "a mark among numbers": ("a,b\n1,5\n2,?\n", "has text in b (the first is '?', in row 1 (from 0) of b)"),
    "same names": ("a,b,a\n1,2,3\n", "must have a name of its own for each column, and has twice a"),
    "same but for spaces": ("a,b, a\n1,2,3\n", "and has twice a"),
    "pandas' index": (",a\n0,2\n", "its first column, without a name, seems to be the rows' numbers or names: write"),
    "pandas' index and numbers": (",0,1\n0,2,5\n", "its first column, without a name, seems to be the rows'"),
    "pandas' index, read back": ("Unnamed: 0,a\n0,2\n", "its first column, Unnamed: 0, seems to be the rows'"),
    "a name left out": ("a,,c\n0,2,3\n", "must have a name for each column, and has none for column 2"),
    "a long row": ("a,b\n1,2\n1,2,3\n", "must be a readable .csv file: CSV parse error: "),
    "cut short": ("a,b\n1,2\n1", "must be a readable .csv file: CSV parse error: Expected 2 columns, got 1: 1"),
    "not utf-8": ("ä,b\n1,2\n".encode("latin-1"), "must be a readable .csv file: 'utf-8' codec can't decode"),
    "cells not utf-8": (b"a,b\n" + b"1,x\n" * 9_000 + b"1,\xe4\n", "has bytes that are no UTF-8 text in b: leave"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), "must be a readable .csv file: 'utf-8' codec can't decode"),
    "binary": (bytes(range(256)) * 10, "must be a readable .csv file: "),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_csv_files_are_refused(tmp_path, content, message):
    path = csv(tmp_path, content)
    line = refused(path)
    assert line.startswith(f"dataset={path}: ") and message in line


def test_the_command_that_writes_a_header_works(tmp_path):
    path = csv(tmp_path, "5.1,5.1,2\n4,3,1\n")
    command = refused(path).split("`")[1].replace("NEW_FILE", "new.csv").replace("FILE", "t.csv")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    split = tables.load(tmp_path / "new.csv", None, PLENTY)["train"]
    assert split.columns == ("x1", "x2", "x3") and split.images.tolist() == [[5.1, 5.1, 2], [4, 3, 1]]


@pytest.mark.parametrize("form", FORMS)
def test_files_that_are_none(tmp_path, form):
    path = tmp_path / f"t.{form}"
    assert refused(path).startswith(f"dataset={path}: must be a readable .{form} file: ")
    path.mkdir()
    assert "Is a directory" in refused(path)
    other = tmp_path / "o.parquet"
    other.write_text("a\n1\n")
    assert refused(other).startswith(f"dataset={other}: must be a readable .parquet file: ")
    good = write(pd.DataFrame({"a": np.arange(1e4)}), tmp_path / "g.parquet").read_bytes()
    other.write_bytes(good[: len(good) // 2] + bytes(9) + good[len(good) // 2 + 9 :])
    assert "readable .parquet file" in refused(other)


def test_a_parquet_file_without_rows_or_columns(tmp_path):
    assert "must have rows, and has none" in refused(write(pd.DataFrame({"a": [1.0]})[:0], tmp_path / "t.parquet"))
    assert "must have a numeric column, and has none" in refused(write(pd.DataFrame(index=[1]), tmp_path / "t.parquet"))


@pytest.mark.parametrize("form", FORMS)
def test_a_table_larger_than_memory_is_refused(tmp_path, form):
    path = write(pd.DataFrame({"a": np.arange(1000), "b": 0}), tmp_path / f"t.{form}")
    assert tables.load(path, None, 16_000)["train"].images.nbytes == 16_000
    assert refused(path, memory=15_999) == (
        f"dataset={path}: must fit into memory: its 1,000 rows of 2 columns take 1.6e-05 GB, "
        "and memory_gb allows 1.6e-05"
    )


@pytest.mark.parametrize("form", FORMS)
def test_without_pyarrow_a_line_says_what_to_install(tmp_path, monkeypatch, form):
    path = write(pd.DataFrame({"a": [1]}), tmp_path / f"t.{form}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert refused(path) == f"dataset={path}: needs pyarrow: pip install 'tfvae[tables]'"


def test_neither_tensorflow_nor_pandas_is_imported():
    program = "import sys, tfvae.data.tables; print({'tensorflow', 'keras', 'pandas', 'pyarrow'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
