"""Results of any length in files: the same content from blocks of any size, under names that a user finds."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

from tfvae.analysis import output_files  # noqa: E402
from tfvae.analysis.output_files import Content  # noqa: E402

RNG = np.random.default_rng(0)
COLUMNS = {
    "file": np.array([f"a/{i}.jpg" for i in range(23)]),
    "label": np.arange(23),
    "elbo": RNG.normal(size=23),
    "mean": RNG.normal(size=(23, 2)).astype(np.float32),
}


def content(columns, rows_together=5, vector_names=()):
    rows = len(next(iter(columns.values())))
    places = [slice(first, first + rows_together) for first in range(0, rows, rows_together)]
    return Content(
        rows,
        lambda: ({name: values[place] for name, values in columns.items()} for place in places),
        lambda name: (columns[name][place] for place in places),
        vector_names,
    )


@pytest.mark.parametrize("form", ["npz", "csv", "parquet"])
def test_the_bytes_are_the_same_from_blocks_of_any_size(tmp_path, form):
    for rows in (1, 5, 23):
        output_files.WRITERS[form](content(COLUMNS, rows), tmp_path / str(rows))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "5").read_bytes() == (tmp_path / "23").read_bytes()


def test_npz_has_what_numpy_s_own_has(tmp_path):
    columns = {name: values for name, values in COLUMNS.items() if name != "file"}  # which is savez's own argument
    columns["names"] = COLUMNS["file"]
    output_files.write_npz(content(columns), tmp_path / "x.npz")
    expected = io.BytesIO()
    np.savez(expected, **columns)
    expected.seek(0)
    with np.load(tmp_path / "x.npz") as found, np.load(expected) as numpys:
        assert found.files == numpys.files
        for name in found.files:
            assert found[name].dtype == numpys[name].dtype
            np.testing.assert_array_equal(found[name], numpys[name])
    assert zipfile.ZipFile(tmp_path / "x.npz").testzip() is None


def test_csv_has_a_column_for_each_latent(tmp_path):
    output_files.write_csv(content(COLUMNS), tmp_path / "x.csv")
    with open(tmp_path / "x.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["file", "label", "elbo", "mean_0", "mean_1"]
    assert [line["file"] for line in lines] == COLUMNS["file"].tolist()
    assert [float(line["elbo"]) for line in lines] == COLUMNS["elbo"].tolist()
    np.testing.assert_array_equal([np.float32(line["mean_1"]) for line in lines], COLUMNS["mean"][:, 1])


def test_parquet_has_groups_of_rows_of_one_size(tmp_path, monkeypatch):
    from pyarrow import parquet

    monkeypatch.setattr(output_files, "_MOST_GROUP_ROWS", 7)
    output_files.write_parquet(content(COLUMNS), tmp_path / "x.parquet")
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [7, 7, 7, 2]
    np.testing.assert_array_equal(file.read()["mean_0"].to_numpy(), COLUMNS["mean"][:, 0])


def test_a_user_s_column_keeps_its_name_and_ours_gives_way(tmp_path):
    columns = {"row": np.arange(4), "x": RNG.normal(size=(4, 2))}
    output_files.write_csv(content(columns, 3, vector_names=("row", "ash")), tmp_path / "x.csv")
    with open(tmp_path / "x.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["row_", "row", "ash"]
    assert [line["row_"] for line in lines] == ["0", "1", "2", "3"]
    assert [float(line["row"]) for line in lines] == columns["x"][:, 0].tolist()


def pictures(count, channels=1):
    return RNG.integers(0, 256, (count, 4, 6, channels)).astype(np.float32) / 255


def test_a_directory_has_a_picture_under_the_name_of_each_file(tmp_path):
    images = pictures(3)
    names = np.array(["a/1.jpg", "a/b/2.png", "3.tif"])
    output_files.write_directory(content({"file": names, "images": images}, 2), tmp_path / "out")
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")) == [
        "3.png",
        "a/1.png",
        "a/b/2.png",
    ]
    np.testing.assert_array_equal(Image.open(tmp_path / "out" / "a" / "1.png"), np.rint(images[0, ..., 0] * 255))


def test_two_files_that_differ_in_their_endings_alone_are_two_pictures(tmp_path):
    names = np.array(["1.jpg", "1.png", "2.png"])
    output_files.write_directory(content({"file": names, "images": pictures(3, 3)}), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1.jpg.png", "1.png.png", "2.png.png"}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(["all", "all", "all"], ["00.png", "01.png", "10.png"]), (["a", "b", "b"], ["a/00.png", "b/01.png", "b/10.png"])],
)
def test_pictures_without_files_are_named_by_their_rows(tmp_path, parts, expected):
    columns = {"part": np.array(parts), "row": np.array([0, 1, 10]), "images": pictures(3)}
    output_files.write_directory(content(columns), tmp_path / "out")
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")) == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_one_picture_has_all_images_row_by_row(tmp_path, channels):
    images = np.linspace(0, 1, 5, dtype=np.float32)[:, None, None, None] * np.ones((1, 40, 40, channels), np.float32)
    output_files.write_picture(content({"images": images}, 2), tmp_path / "x")
    picture = np.asarray(Image.open(tmp_path / "x"))
    assert picture.shape == (83, 124) + ((3,) if channels == 3 else ())  # 2 rows of 3, with lines of a pixel
    centres = [picture[21 + 41 * (i // 3), 21 + 41 * (i % 3)] for i in range(5)]
    np.testing.assert_array_equal(np.array(centres).reshape(5, -1)[:, 0], np.rint(np.linspace(0, 1, 5) * 255))
