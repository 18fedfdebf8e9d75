"""Labels: whole numbers, one for each image, in one column too; other kinds are named, and can be done without."""

import numpy as np
import pytest
import tensorflow as tf
from sources import GREY, load, npz, refused

from tfvae.config import Config
from tfvae.data import dataset as data
from tfvae.data import memory
from tfvae.data.labels import as_labels
from tfvae.errors import InputError

CLASSES = np.arange(40) % 4
ONE_HOT = np.eye(4)[CLASSES]
WRONG = {  # what the message says of each after shape and type
    "floats": (CLASSES / 2, "[40] and the type float64, of floating point: if they number classes, take its astype("),
    "a column of floats": (CLASSES[:, None] / 2, "[40, 1] and the type float64, of floating point"),
    "text": (np.array(["ape", "bee"])[CLASSES % 2], "[40] and the type <U3, text: np.unique(labels, return_inverse="),
    "bytes": (np.array([b"ape", b"bee"])[CLASSES % 2], "[40] and the type |S3, text"),
    "one-hot": (ONE_HOT, "[40, 4] and the type float64, one-hot: its argmax(axis=1) numbers the classes"),
    "one-hot bytes": (ONE_HOT.astype(np.uint8), "[40, 4] and the type uint8, one-hot"),
    "one-hot truths": (ONE_HOT > 0, "[40, 4] and the type bool, one-hot"),
    "several": (np.stack([CLASSES, CLASSES], 1), "[40, 2] and the type int64, several for each image"),
    "truths": (CLASSES > 2, "[40] and the type bool, truth values: its astype(int) is 0 and 1"),
    "too few": (CLASSES[:39], "[39] and the type int64"),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">i4"])
def test_whole_numbers_in_a_row_or_a_column_are_taken(dtype):
    labels = CLASSES.astype(dtype)
    for form in (labels, labels[:, None]):
        np.testing.assert_array_equal(as_labels("labels:", form, 40), CLASSES)


def test_a_column_in_a_file_as_keras_cifar10_has_it(tmp_path):
    path = npz(tmp_path, x_train=GREY, y_train=CLASSES[:, None], x_test=GREY[:9], y_test=CLASSES[:9, None])
    dataset = load(path)
    np.testing.assert_array_equal(np.concatenate([dataset.train.labels, dataset.validation.labels]), CLASSES)
    np.testing.assert_array_equal(dataset.test.labels, CLASSES[:9])


@pytest.mark.parametrize(("labels", "message"), WRONG.values(), ids=WRONG)
def test_others_are_named_and_done_without(tmp_path, labels, message):
    path = npz(tmp_path, images=GREY, labels=labels)
    line = refused(path)
    assert line.startswith(
        f"dataset={path}: labels must be a whole number for each of the 40 images, and has the shape"
    )
    assert message in line and line.endswith("; labels=none does without")
    without = load(path, labels="none")
    assert without.train.labels is None
    assert without.fingerprint() == load(npz(tmp_path, images=GREY)).fingerprint()


@pytest.mark.parametrize(("labels", "message"), WRONG.values(), ids=WRONG)
def test_others_of_an_array_are_named(labels, message):
    with pytest.raises(InputError) as caught:
        memory.load(GREY, None, None, labels, 1e9)
    assert str(caught.value).startswith("labels: must be a whole number for each of the 40 images, and has the shape")
    assert message in str(caught.value)


def test_the_labels_of_pairs_may_be_anything_without_them():
    pairs = tf.data.Dataset.from_tensor_slices((GREY, ONE_HOT))
    with pytest.raises(InputError, match="^images: its labels must be .* one-hot: .*; labels=none does without"):
        memory.load(pairs, None, None, None, 1e9)
    assert memory.load(pairs, None, None, None, 1e9, with_labels=False)["train"].labels is None
    columns = tf.data.Dataset.from_tensor_slices((GREY, CLASSES[:, None])).batch(7)
    np.testing.assert_array_equal(memory.load(columns, None, None, None, 1e9)["train"].labels, CLASSES)


def test_the_digits_without_labels():
    assert load("digits", labels="none").train.labels is None
    assert load("digits").train.labels is not None


def test_labels_that_are_handed_in_are_used_in_any_case():
    parts = memory.load(GREY, None, None, CLASSES, 1e9, with_labels=False)
    assert data.load(Config(batch_size=1, labels="none"), parts).has_labels
