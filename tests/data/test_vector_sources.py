"""Vectors from each source: the same rows in all, no row in two splits, and one line for what is refused."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sources import load, npy, npz, refused

from tfvae.config import Config
from tfvae.data import memory
from tfvae.data import sources as data_sources

WINE = load_wine()
NAMES = tuple(WINE.feature_names)
OPTIONS = {"likelihood": "gaussian", "scale": "standardize"}


def wine(folder, ending):
    frame = pd.DataFrame(WINE.data, columns=NAMES)
    frame["cultivar"] = WINE.target_names[WINE.target]
    path = folder / f"wine{ending}"
    if ending == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def as_rows(dataset):
    return np.concatenate([split.array[:, 0, 0] for split in dataset])


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_is_split_into_rows_of_all_classes(tmp_path, ending):
    dataset = load(wine(tmp_path, ending), label_column="cultivar", **OPTIONS)
    assert [len(split.images) for split in dataset] == [142, 18, 18] and dataset.image_shape == (1, 1, 13)
    expected = np.unique(WINE.data.astype(np.float32), axis=0)
    np.testing.assert_array_equal(np.unique(as_rows(dataset), axis=0), expected)  # none in two splits, none lost
    for split in dataset:  # the table is sorted by its classes
        assert set(split.labels) == {0, 1, 2} and split.label_names == ("class_0", "class_1", "class_2")
    columns = dataset.columns
    assert columns.names == NAMES and not columns.missing
    train = dataset.train.array[:, 0, 0].astype(np.float64)
    np.testing.assert_allclose(columns.offset, train.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(columns.scale, train.std(axis=0), rtol=1e-4)


def test_npy_npz_and_arrays_have_the_same_rows(tmp_path):
    x = WINE.data[:, :4]
    config = Config(dataset="arrays", batch_size=1, **OPTIONS)
    handed_in = memory.load(x, None, None, WINE.target, 1e9)
    datasets = [
        load(npy(tmp_path, x), **OPTIONS),
        load(npz(tmp_path, X=x, y=WINE.target), **OPTIONS),
        data_sources.read(config, handed_in),
    ]
    np.testing.assert_array_equal(as_rows(datasets[0]), as_rows(datasets[1]))
    assert datasets[0].columns.names == ("0", "1", "2", "3")
    assert datasets[1].train.labels is not None
    np.testing.assert_array_equal(datasets[2].splits["train"].array, x)
    assert datasets[2].kind == "vectors"


def test_parts_of_their_own_are_taken(tmp_path):
    parts = {"x_train": WINE.data[:100], "x_validation": WINE.data[100:110], "x_test": WINE.data[110:]}
    dataset = load(npz(tmp_path, **parts), **OPTIONS)
    np.testing.assert_array_equal(dataset.test.array[:, 0, 0], WINE.data[110:].astype(np.float32))
    assert len(dataset.validation.images) == 10


@pytest.mark.parametrize(
    ("scale", "offset", "width"),
    [("none", [0, 0], [1, 1]), ("unit", [0, -2], [19, 4]), ("standardize", [9.5, 0], [np.sqrt(33.25), np.sqrt(2)])],
)
def test_scales(tmp_path, scale, offset, width):
    part = np.stack([np.arange(20.0), np.tile([-2.0, -1, 1, 2, 0], 4)], axis=1)
    columns = load(
        npz(tmp_path, x_train=part, x_validation=part, x_test=part), scale=scale, **{"likelihood": "gaussian"}
    ).columns
    np.testing.assert_allclose(columns.offset, offset, atol=1e-12)
    np.testing.assert_allclose(columns.scale, width)


def test_a_given_range_is_that_of_all_columns(tmp_path):
    path = npy(tmp_path, np.random.default_rng(0).uniform(-1, 1, (30, 2)))
    columns = load(path, likelihood="gaussian", scale="unit", value_range=(-1, 1)).columns
    assert columns.offset == (-1, -1) and columns.scale == (2, 2)


def test_missing_values_are_counted_out_of_the_scales(tmp_path):
    x = np.random.default_rng(0).normal(3, 2, (60, 3))
    x[::7, 1] = np.nan
    dataset = load(npy(tmp_path, x), missing="allow", **OPTIONS)
    train = dataset.train.array[:, 0, 0]
    assert np.isnan(train).any() and dataset.columns.missing
    np.testing.assert_allclose(dataset.columns.offset, np.nanmean(train, axis=0), rtol=1e-5)
    assert "of the values missing" in dataset.describe()


WITH_HOLE = np.where(np.arange(120).reshape(40, 3) == 7, np.nan, np.random.default_rng(0).normal(size=(40, 3)))
WHOLE = np.random.default_rng(0).normal(size=(40, 3))


@pytest.mark.parametrize(
    ("array", "settings", "part"),
    [
        (WHOLE, {"binarize": "threshold"}, "binarize=threshold: must be none for vectors"),
        (WHOLE, {"network": "conv"}, "network=conv: must be mlp for vectors"),
        (WHOLE, {"dequantize": True, "likelihood": "gaussian"}, "dequantize=True: must be false for vectors"),
        (WHOLE, {"image_size": 64}, "image_size=64,64: must not be set: it is for folders of images"),
        (WHOLE, {"channels": 3}, "channels=3: must not be set: it is for folders of images"),
        (WHOLE, {"likelihood": "bernoulli"}, "must be of numbers in [0, 1] for likelihood=bernoulli"),
        (WHOLE, {"memory_gb": 0.0}, "must fit into memory_gb"),
        (WHOLE, {"label_column": "y"}, "label_column=y: must not be set: it is for tables"),
        (
            np.abs(WHOLE) / 9,
            {"likelihood": "bernoulli", "scale": "unit"},
            "scale=unit: must be none with likelihood=bernoulli, whose probabilities have no unit to scale",
        ),
        (
            np.abs(WHOLE) / 9,
            {"likelihood": "bernoulli", "scale": "standardize"},
            "scale=standardize: must be none with",
        ),
        (WITH_HOLE, {}, "must have no missing values, and has 1, the first in row 2"),
        (WITH_HOLE, {"missing": "allow", "sigma": "optimal"}, "sigma=optimal: must not be optimal with missing=allow"),
        (np.ones((40, 3)), {"scale": "standardize"}, "must have no constant column"),
    ],
)
def test_what_vectors_do_not_take_is_refused(tmp_path, array, settings, part):
    assert part in refused(npy(tmp_path, array), **settings)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"missing": "allow"}, "missing=allow: must be refuse for images"),
        ({"scale": "standardize"}, "scale=standardize: must be none or unit for images"),
        ({"label_column": "y"}, "label_column=y: must not be set: it is for tables"),
        ({"skip_damaged": True}, "skip_damaged=True: must be false: it is for folders of images"),
    ],
)
def test_what_images_do_not_take_is_refused(tmp_path, settings, part):
    assert part in refused(npy(tmp_path, np.zeros((20, 3, 4), np.uint8)), **settings)


@pytest.mark.parametrize("scale", [None, "none"])
def test_probabilities_of_a_bernoulli_likelihood_stay_as_they_are(tmp_path, scale):
    dataset = load(npy(tmp_path, np.abs(WHOLE) / 9), likelihood="bernoulli", scale=scale)
    assert not dataset.columns.are_scaled


def test_another_number_of_columns_is_refused(tmp_path):
    assert "must have 3 columns, as the training part" in refused(npz(tmp_path, x_train=WHOLE, x_test=WHOLE[:, :2]))


def test_images_of_another_range_become_fractions(tmp_path):
    x = np.random.default_rng(0).uniform(-1, 1, (40, 3, 4))
    dataset = load(npy(tmp_path, x), scale="unit", value_range=(-1, 1))
    together = np.concatenate([split.array for split in dataset])
    np.testing.assert_allclose(np.sort(together.ravel()), np.sort((x.ravel() + 1) / 2), atol=1e-7)
    assert dataset.value_range == (-1, 1)
    found = load(npy(tmp_path, x), scale="unit").value_range
    assert found == (x.min(), x.max())
    assert "must be of numbers from -1 to 1 (value_range), and has some from" in refused(
        npy(tmp_path, x * 2), scale="unit", value_range=(-1, 1)
    )
