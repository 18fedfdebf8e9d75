"""Labels: whole numbers or words, one for each image; other kinds are named, and can be done without."""

import numpy as np
import pandas as pd
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
WORDS = np.array(["bee", "ape", "eel", "bée"])
WRONG = {  # what the message says of each after shape and type
    "floats": (CLASSES / 2, "[40] and the type float64, with fractions or others that number no class"),
    "a column of floats": (CLASSES[:, None] / 2, "[40, 1] and the type float64, with fractions"),
    "missing": (np.where(CLASSES == 1, np.nan, CLASSES), "[40] and the type float64, with fractions"),
    "infinite": (np.where(CLASSES == 1, np.inf, CLASSES), "[40] and the type float64, with fractions"),
    "latin-1": (np.array([b"ape", b"b\xe9e"])[CLASSES % 2], "[40] and the type |S3, and not all are text (UTF-8)"),
    "complex": (CLASSES * 1j, "[40] and the type complex128"),
    "one-hot": (ONE_HOT, "[40, 4] and the type float64, one-hot: its argmax(axis=1) numbers the classes"),
    "one-hot bytes": (ONE_HOT.astype(np.uint8), "[40, 4] and the type uint8, one-hot"),
    "one-hot truths": (ONE_HOT > 0, "[40, 4] and the type bool, one-hot"),
    "several": (np.stack([CLASSES, CLASSES], 1), "[40, 2] and the type int64, several for each example"),
    "several words": (WORDS[np.stack([CLASSES, CLASSES], 1)], "[40, 2] and the type <U3, several for each example"),
    "too few": (CLASSES[:39], "[39] and the type int64"),
    "too few words": (WORDS[CLASSES[:39]], "[39] and the type <U3"),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">i4"])
def test_whole_numbers_in_a_row_or_a_column_are_taken(dtype):
    labels = CLASSES.astype(dtype)
    for form in (labels, labels[:, None]):
        np.testing.assert_array_equal(as_labels("labels:", form, 40), CLASSES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_that_are_whole_and_truths_are_whole_numbers(dtype):
    labels = as_labels("labels:", (CLASSES - 1).astype(dtype)[:, None], 40)
    np.testing.assert_array_equal(labels, CLASSES - 1)
    truths = as_labels("labels:", CLASSES > 2, 40)
    np.testing.assert_array_equal(truths, CLASSES > 2)
    assert labels.dtype == truths.dtype == np.int64


def assert_named(split, words):
    """Whether the names of its labels are these words; ape, bee, bée, eel are the names of 0, 1, 2, 3."""
    assert split.label_names == ("ape", "bee", "bée", "eel")
    np.testing.assert_array_equal(np.array(split.label_names)[split.labels], words)


TEXT = {
    "text": WORDS[CLASSES],
    "a column": WORDS[CLASSES][:, None],
    "bytes": np.char.encode(WORDS[CLASSES], "utf-8"),
    "StringDType": WORDS[CLASSES].astype(np.dtypes.StringDType()),
    "objects": WORDS[CLASSES].astype(object),
    "a list": WORDS[CLASSES].tolist(),
    "pandas": pd.Series(WORDS[CLASSES]),
    "pandas' categories": pd.Series(WORDS[CLASSES]).astype("category"),
    "TensorFlow": tf.constant(WORDS[CLASSES]),
}


@pytest.mark.parametrize("labels", TEXT.values(), ids=TEXT)
def test_words_of_any_type_are_numbered_by_name(labels):
    assert_named(memory.load(GREY, None, None, labels, 1e9)["train"], WORDS[CLASSES])
    dataset = data.load(Config(batch_size=1), memory.load(GREY, None, None, labels, 1e9))
    for split in dataset:
        assert split.label_names == ("ape", "bee", "bée", "eel")
        rows = [next(row for row in range(40) if np.array_equal(GREY[row], image[..., 0])) for image in split.images]
        np.testing.assert_array_equal(np.array(split.label_names)[split.labels], WORDS[CLASSES[rows]])


@pytest.mark.parametrize("words", [WORDS, np.char.encode(WORDS, "utf-8")], ids=["text", "bytes"])
def test_words_of_a_file_are_numbered_over_all_its_parts(tmp_path, words):
    train, test = words[CLASSES % 2], words[2 + CLASSES[:9] % 2]
    dataset = load(npz(tmp_path, x_train=GREY, y_train=train, x_test=GREY[:9], y_test=test[:, None]))
    assert_named(dataset.test, WORDS[2 + CLASSES[:9] % 2])
    assert_named(dataset.train, WORDS[CLASSES[: len(dataset.train.labels)] % 2])
    assert dataset.fingerprint() == load(npz(tmp_path, x_train=GREY, x_test=GREY[:9])).fingerprint()


def test_words_and_numbers_in_parts_of_one_file_are_refused(tmp_path):
    path = npz(tmp_path, x_train=GREY, y_train=WORDS[CLASSES], x_test=GREY[:9], y_test=CLASSES[:9])
    assert refused(path) == (
        f"dataset={path}: labels must be of one kind in all parts, and are words in train and numbers in test; "
        "labels=none does without"
    )
    assert load(path, labels="none").train.labels is None


def test_pairs_of_tf_data_may_have_words():
    pairs = tf.data.Dataset.from_tensor_slices((GREY, WORDS[CLASSES]))
    for dataset in (pairs, pairs.batch(7)):
        parts = memory.load(dataset, None, pairs.take(5), None, 1e9)
        assert_named(parts["train"], WORDS[CLASSES])
        assert_named(parts["test"], WORDS[CLASSES[:5]])


def test_objects_that_are_no_text_are_refused():
    with pytest.raises(InputError, match="the type object, and not all are text"):
        memory.load(GREY, None, None, [None, *WORDS[CLASSES[1:]]], 1e9)


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
        f"dataset={path}: labels must be a whole number or a word for each of the 40 examples, and has the shape"
    )
    assert message in line and line.endswith("; labels=none does without")
    without = load(path, labels="none")
    assert without.train.labels is None
    assert without.fingerprint() == load(npz(tmp_path, images=GREY)).fingerprint()


@pytest.mark.parametrize(("labels", "message"), WRONG.values(), ids=WRONG)
def test_others_of_an_array_are_named(labels, message):
    with pytest.raises(InputError) as caught:
        memory.load(GREY, None, None, labels, 1e9)
    assert str(caught.value).startswith(
        "labels: must be a whole number or a word for each of the 40 examples, and has the shape"
    )
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


@pytest.mark.parametrize(("word", "shown"), [("b\nb", r"b\nb"), ("caf\udce9", r"caf\udce9")])
def test_words_that_no_line_can_show_are_refused(word, shown):
    labels = np.array(["ape", word])[np.arange(40) % 2]
    with pytest.raises(InputError) as caught:
        memory.load(GREY, None, None, labels, 1e9)
    assert str(caught.value) == f"labels: must be words that can be printed, and one is {shown}"
