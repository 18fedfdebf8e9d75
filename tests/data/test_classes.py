"""The classes of a conditional run: those of its training part, and where each label is among them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from sources import GREY, load, npz, refused

from tfvae.config import Config
from tfvae.data import classes, memory, sources
from tfvae.data import dataset as data
from tfvae.data.splits import Split
from tfvae.errors import InputError

LABELS = np.array([7, 3])[np.arange(40) % 2]
NAMES = np.array(["cat", "ant"])[np.arange(40) % 2]


def test_classes_are_the_labels_in_order_and_y_their_places(tmp_path):
    for labels, names in ((LABELS, ("3", "7")), (NAMES, ("ant", "cat"))):
        dataset = load(npz(tmp_path, images=GREY, labels=labels), condition="label")
        assert dataset.classes == names and dataset.of_model[-1] == names
        assert "images of 5x7x1 in 2 classes" in dataset.describe()
        for split in dataset:
            assert split.y.dtype == np.int32 and len(split.y) == len(split.images)
            assert [names[place] for place in split.y] == split.shown_labels
        assert sum(split.y.sum() for split in dataset) == 20


def test_rows_of_a_split_keep_their_labels(tmp_path):
    train = load(npz(tmp_path, images=GREY, labels=LABELS), condition="label").train
    np.testing.assert_array_equal(train.rows(slice(3, 6)).y, train.y[3:6])
    assert train.in_memory().y is train.y


def test_without_a_condition_labels_have_no_places_and_do_not_count(tmp_path):
    path = npz(tmp_path, images=GREY, labels=LABELS)
    plain, conditional = load(path), load(path, condition="label")
    assert plain.classes == () and all(split.y is None for split in plain)
    others = load(npz(tmp_path, images=GREY, labels=LABELS[::-1]))
    assert plain.fingerprint() == others.fingerprint() != conditional.fingerprint()


@pytest.mark.parametrize("labels", [LABELS[::-1], LABELS + 1], ids=["another order", "other names"])
def test_other_labels_are_another_set(tmp_path, labels):
    path = npz(tmp_path, images=GREY, labels=LABELS)
    fingerprint = load(path, condition="label").fingerprint()
    assert load(path, condition="label").fingerprint() == fingerprint
    assert load(npz(tmp_path, images=GREY, labels=labels), condition="label").fingerprint() != fingerprint


TRAIN_ALONE = {"x_train": GREY, "y_train": LABELS}
REFUSED = {
    "no labels": ({"images": GREY}, "its train part has no labels"),
    "none of the test part": ({**TRAIN_ALONE, "x_test": GREY}, "its test part has no labels"),
    "one class": ({"images": GREY, "labels": np.ones(40, int)}, "has a single label, and classes are 2 to 1,000"),
    "many": (
        {"images": np.repeat(GREY, 30, 0), "labels": np.arange(1_200)},
        "has 1,200 different labels, and",
    ),
    "another class": (
        {**TRAIN_ALONE, "x_test": GREY, "y_test": LABELS + 1},
        "its test part has the class 8, of which its training part has no example",
    ),
    "another name": (
        {"x_train": GREY, "y_train": NAMES, "x_test": GREY[:2], "y_test": np.array(["ant", "bee"])},
        "its test part has the class bee, of which",
    ),
}


@pytest.mark.parametrize(("arrays", "reason"), REFUSED.values(), ids=REFUSED)
def test_labels_that_number_no_classes_are_refused(tmp_path, arrays, reason):
    path = npz(tmp_path, **arrays)
    assert f"condition=label: must be none for dataset={path}: " in refused(path, condition="label")
    assert reason in refused(path, condition="label")
    with pytest.raises(InputError):  # before TensorFlow is there to divide them
        sources.read(Config(dataset=str(path), condition="label"))
    load(path)


def test_a_folder_without_classes_is_told_what_they_are(tmp_path):
    for i, image in enumerate(GREY[:20]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    message = refused(tmp_path, condition="label")
    assert message.endswith("its train part has no labels: a folder's classes are its subfolders")


def test_a_label_that_tfds_does_not_tell_is_no_class():
    """It is -1, and the names of classes have a last one."""
    labels = {"train": [0, 1, 0, 1], "test": [-1, 0, -1, 1]}
    splits = {part: Split(GREY[:4], np.array(of_part), ("ant", "bee")) for part, of_part in labels.items()}
    with pytest.raises(InputError, match="its test part has the class -1, of which"):
        classes.require(Config(condition="label"), splits)


def test_a_table_is_told_of_its_label_column(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "1.5,2\n2.5,1\n" * 20)
    assert refused(tmp_path / "x.csv", condition="label").endswith(": label_column names the column that has them")
    dataset = load(tmp_path / "x.csv", condition="label", label_column="b", validation_examples=0)
    assert dataset.classes == ("1", "2") and len(dataset.validation.y) == 0


def test_python_hands_in_labels_of_each_part():
    config = Config(dataset="arrays", condition="label", batch_size=1)
    handed_in = memory.load(GREY, (GREY[:3], NAMES[:3]), (GREY[:2].tolist(), ["cat", "cat"]), NAMES, 1e9)
    dataset = data.load(config, handed_in)
    assert [split.y.tolist() for split in (dataset.validation, dataset.test)] == [[1, 0, 1], [1, 1]]
    with pytest.raises(InputError, match=r"test part has no labels: hand in labels=\.\.\., and validation and test as"):
        data.load(config, memory.load(GREY, None, GREY, LABELS, 1e9))
    with pytest.raises(InputError, match=r"validation: its labels must be a whole number or a word for each of the 3"):
        memory.load(GREY, (GREY[:3], [1, 2]), None, LABELS, 1e9)


def test_labels_from_outside_are_names_or_numbers_one_for_each_or_one_for_all():
    names = ("3", "7", "cat")
    np.testing.assert_array_equal(classes.places(names, [7, 3, 3], 3), [1, 0, 0])
    np.testing.assert_array_equal(classes.places(names, np.array([[7.0], [3.0]]), 2), [1, 0])
    np.testing.assert_array_equal(classes.places(names, "cat", 2), [2, 2])
    np.testing.assert_array_equal(classes.places(names, 3, 2), [0, 0])
    for labels, message in {
        5: "labels: must be of the model's 3 classes, 3, 7, cat, and one is 5",
        (3, 7): "labels: must be a whole number or a word for each of the 3 examples",
        (0.5, 1.0, 2.0): "labels: must be a whole number or a word for each of the 3 examples",
    }.items():
        with pytest.raises(InputError, match=message):
            classes.places(names, labels, 3)


def test_labels_are_given_to_conditional_models_alone():
    assert classes.places_if_conditional((), None, 3) is None
    with pytest.raises(InputError, match="label: must be given: the run is conditional .* of a, b$"):
        classes.places_if_conditional(("a", "b"), None, 3, "label")
    with pytest.raises(InputError, match="labels: must not be given: the run is not conditional"):
        classes.places_if_conditional((), [1, 2, 3], 3)


def test_a_part_without_examples_needs_no_labels(tmp_path):
    dataset = load(npz(tmp_path, images=GREY, labels=LABELS), condition="label", validation_examples=0)
    assert dataset.validation.y.shape == (0,)
    empty = dataclasses.replace(dataset, validation=dataset.validation._replace(labels=None))
    assert classes.with_classes(Config(condition="label"), empty).validation.y.shape == (0,)
