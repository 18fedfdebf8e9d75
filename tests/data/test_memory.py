"""Images that Python hands in: arrays, lists, tensors, datasets of tf.data."""

import numpy as np
import pytest
import tensorflow as tf
from sources import GREY, npz

from tfvae.config import Config
from tfvae.data import dataset as data
from tfvae.data import memory
from tfvae.errors import InputError

LABELS = np.arange(40) % 10
PLENTY = 1e9


def load(images, validation=None, test=None, labels=None, limit=PLENTY):
    return memory.load(images, validation, test, labels, limit)


def endless(images):
    return tf.data.Dataset.from_tensor_slices(images).repeat()


@pytest.mark.parametrize(
    "images",
    [
        GREY,
        GREY.tolist(),
        tf.constant(GREY),
        tf.data.Dataset.from_tensor_slices(GREY),
        tf.data.Dataset.from_tensor_slices(GREY[..., None]),
        tf.data.Dataset.from_tensor_slices(GREY).batch(16),
        tf.data.Dataset.from_tensor_slices(GREY[..., None]).batch(16, drop_remainder=False),
        tf.data.Dataset.from_generator(lambda: iter(GREY), output_signature=tf.TensorSpec((5, 7), tf.uint8)),
    ],
    ids=["array", "lists", "tensor", "images", "images with channels", "batches", "batches with channels", "generator"],
)
def test_images_of_any_form_are_the_same_images(images):
    dataset = data.load(Config(batch_size=1), load(images))
    expected = data.load(Config(batch_size=1), load(GREY[..., None]))
    for ours, theirs in zip(dataset, expected):
        np.testing.assert_array_equal(ours.images, theirs.images)
    assert dataset.image_shape == (5, 7, 1) and dataset.white == 255


def test_arrays_are_the_parts_that_a_file_of_them_would_be(tmp_path):
    """So that a command finds the images of a run that was made of arrays by their fingerprint."""
    train, test = GREY[:30], GREY[30:]
    file = npz(tmp_path, x_train=train, x_test=test, y_train=LABELS[:30])
    of_file = data.load(Config(dataset=str(file), batch_size=1))
    of_arrays = data.load(Config(batch_size=1), load(train, test=test, labels=LABELS[:30].tolist()))
    assert of_arrays.fingerprint() == of_file.fingerprint()
    np.testing.assert_array_equal(of_arrays.train.labels, of_file.train.labels)
    np.testing.assert_array_equal(of_arrays.test.images[..., 0], test)


def test_validation_is_taken_as_it_is(tmp_path):
    dataset = data.load(Config(batch_size=1), load(GREY[:20], validation=GREY[20:26], test=GREY[26:]))
    assert [len(split.images) for split in dataset] == [20, 6, 14]


def test_zeros_and_ones_are_binary_and_the_set_says_so():
    ones = (GREY > 127).astype(np.uint8)
    dataset = data.load(Config(batch_size=1), load(ones))
    assert dataset.white == 1 and set(np.unique(dataset.test.images)) == {0, 255}
    assert data.load(Config(batch_size=1), load(ones * np.uint8(255))).white == 255
    assert data.load(Config(batch_size=1), load(ones > 0)).white == 1
    assert data.load(Config(batch_size=1, binarize="threshold"), load(ones)).white == 1


def test_pairs_have_labels():
    pairs = tf.data.Dataset.from_tensor_slices((GREY, LABELS))
    for dataset in (pairs, pairs.batch(16)):
        split = load(dataset)["train"]
        np.testing.assert_array_equal(split.labels, LABELS)
        assert split.images.shape[0] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": endless(GREY)}, "images: must be a finite tf.data.Dataset, and this one repeats without an end"),
        ({"images": tf.data.Dataset.from_tensor_slices(GREY), "limit": 99.0}, "images: must be .* fits into memory"),
        (
            {
                "images": tf.data.Dataset.from_generator(
                    lambda: iter(endless(GREY)), output_signature=tf.TensorSpec((5, 7), tf.uint8)
                ),
                "limit": 1e5,
            },
            "images: must be a finite tf.data.Dataset that fits into memory, and has more than 0.0001 GB",
        ),
        (
            {"images": tf.data.Dataset.from_tensor_slices({"image": GREY})},
            "must be a tf.data.Dataset of images, or of",
        ),
        ({"images": tf.data.Dataset.range(5)}, r"elements of the shape \(\)"),
        ({"images": tf.data.Dataset.from_tensor_slices(GREY).take(0)}, "images: must have images"),
        ({"images": [[1, 2], [3]]}, "images: must be an array, and is a list that makes none"),
        ({"images": "digits"}, None),
        (
            {"images": GREY, "labels": LABELS[:-1]},
            r"labels: must be a whole number or a word for each of the 40 .* \[39\]",
        ),
        ({"images": GREY, "labels": LABELS / 2}, "labels: must be a whole number .* float64, with fractions"),
        ({"images": tf.data.Dataset.from_tensor_slices(GREY), "labels": LABELS}, "labels: must not be given"),
        ({"images": GREY, "validation": GREY * 2.5}, "^validation: must be images .* of numbers in"),
        ({"images": GREY, "test": GREY[0, 0]}, r"^test: must be images .* and has the shape \[7\]"),
        ({"images": GREY, "test": GREY[:, :4]}, "must have images of one shape and type in all its parts"),
        ({"images": GREY[:5]}, "at least 10 images"),
        ({"images": GREY.astype(complex)}, "^images: must be images .* complex128"),
        ({"images": GREY.astype(int) * 2}, "^images: must be images .* whole numbers from 0 to 255"),
    ],
)
def test_what_is_no_images_is_refused_in_a_line(arguments, message):
    with pytest.raises(InputError, match=message) as info:
        data.load(Config(batch_size=1), load(**arguments))
    assert "\n" not in str(info.value)
