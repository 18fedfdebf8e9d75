"""A data set as a whole: its parts share no image and depend on the data alone; fingerprints."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sources import GREY, load, npy, npz, rows, together

from tfvae import data as wing
from tfvae.config import Config
from tfvae.data import dataset as data
from tfvae.data import splits
from tfvae.errors import InputError


def test_it_starts_tensorflow_quietly(monkeypatch):
    started = []
    monkeypatch.setattr("tfvae.runtime.tensorflow.import_tensorflow", lambda: started.append(True))
    wing.load(Config(dataset="digits"))
    assert started == [True]


def test_digits_are_scikit_learns_each_once():
    digits = load_digits()
    dataset = load("digits")
    assert [len(split.images) for split in dataset] == [1437, 180, 180]
    assert dataset.image_shape == (8, 8, 1)
    assert dataset.train.images.dtype == np.float32
    counts = sum((rows(np.rint(split.images[..., 0] * 16).astype(int), split.labels) for split in dataset), Counter())
    assert counts == rows(digits.images.astype(int), digits.target)  # an image that two parts share would count twice
    np.testing.assert_array_equal(dataset.train.images * 16, np.rint(dataset.train.images * 16))


def test_digits_test_set_is_a_draw_of_all_classes():
    labels = load("digits").test.labels
    assert Counter(labels.tolist()).keys() == set(range(10))
    assert 3.0 < labels.mean() < 6.0  # 4.49 in all, standard error 0.2


def test_the_parts_depend_on_the_data_alone():
    one = load("digits", seed=0)
    two = load("digits", seed=7, epochs=3, batch_size=9, latent_dim=5)
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_validation_is_the_end_of_train():
    whole = load("digits", validation_examples=0)
    dataset = load("digits", validation_examples=100)
    assert [len(split.images) for split in whole] == [1617, 0, 180]
    assert [len(split.images) for split in dataset] == [1517, 100, 180]
    np.testing.assert_array_equal(dataset.train.images, whole.train.images[:1517])
    np.testing.assert_array_equal(dataset.validation.images, whole.train.images[1517:])
    np.testing.assert_array_equal(dataset.validation.labels, whole.train.labels[1517:])
    np.testing.assert_array_equal(dataset.test.images, whole.test.images)


def test_train_keeps_the_order_of_the_source():
    images = (load_digits().images / 16).astype(np.float32)[..., None]
    order = {}
    for i, image in enumerate(images):
        order.setdefault(image.tobytes(), i)
    train = load("digits", validation_examples=0).train.images
    places = [order[image.tobytes()] for image in train]
    assert places == sorted(places) and len(set(places)) == 1617


def test_fingerprint_changes_with_a_pixel(tmp_path):
    before = load(npy(tmp_path, GREY)).fingerprint()
    assert load(npy(tmp_path, GREY)).fingerprint() == before
    changed = GREY.copy()
    changed[20, 2, 2] ^= 1
    assert load(npy(tmp_path, changed)).fingerprint() != before


@pytest.mark.parametrize("memory_gb", [None, 0.0], ids=["in memory", "on disk"])
def test_fingerprint_of_a_large_part_is_of_its_number_and_some_of_its_images(tmp_path, monkeypatch, memory_gb):
    monkeypatch.setattr(splits, "_WHOLE_FINGERPRINT_BYTES", 90_000)
    images = np.zeros((12_000, 3, 3), np.uint8)
    images[:, 0, 0] = 7
    fingerprints = {}
    for name, place in {"as it is": 0, "first": 0, "second": 1, "last": 11_999}.items():
        changed = images.copy()
        changed[place, 1, 1] = name != "as it is"
        path = npz(tmp_path, train=changed, test=images[:10]) if memory_gb is None else npy(tmp_path, changed)
        fingerprints[name] = load(path, validation_examples=0, memory_gb=memory_gb).fingerprint()
    assert fingerprints["as it is"] == fingerprints["second"]
    assert len(set(fingerprints.values())) == 3
    fewer = npz(tmp_path, train=images[:-1], test=images[:10]) if memory_gb is None else npy(tmp_path, images[:-1])
    assert load(fewer, validation_examples=0, memory_gb=memory_gb).fingerprint() not in fingerprints.values()


def test_the_test_part_of_a_file_without_one_is_a_tenth_but_at_most_ten_thousand(tmp_path):
    for size, sizes in ((99_990, (84_991, 5_000, 9_999)), (100_100, (85_100, 5_000, 10_000))):
        dataset = load(npy(tmp_path, np.zeros((size, 1, 1), np.uint8)))
        assert tuple(len(split.images) for split in dataset) == sizes


def test_all_parts_are_scaled_alike(tmp_path):
    dark = np.minimum(GREY, 1)  # 0 and 1 of 255, for train goes to 255
    dataset = load(npz(tmp_path, train=GREY, test=dark))
    np.testing.assert_array_equal(dataset.test.images[..., 0], dark)


LEVELS = np.arange(256, dtype=np.uint8).repeat(20).reshape(20, 16, 16)


@pytest.mark.parametrize(
    ("source", "binarize", "fingerprint"),
    [
        ("digits", "none", "407f5be1"),
        ("digits", "threshold", "d284da6b"),
        ("digits", "stochastic", "7ad766c5"),
        ("levels", "none", "e5945d21"),
        ("levels", "threshold", "234163af"),
        ("levels", "stochastic", "27bc40a7"),
    ],
)
def test_fingerprints_are_those_that_old_runs_recorded(tmp_path, source, binarize, fingerprint):
    """Literals that version 0.1.0 printed before it was divided into wings: a run directory records one."""
    path = source if source == "digits" else npy(tmp_path, LEVELS)
    assert load(path, binarize=binarize).fingerprint() == fingerprint


def test_images_of_another_run_are_refused(tmp_path):
    config = Config(dataset=str(npy(tmp_path, GREY)), batch_size=1, run_dir="runs/a")
    fingerprint = load(tmp_path / "x.npy").fingerprint()
    assert rows(together(data.load_of_run(config, fingerprint))) == rows(GREY)
    npy(tmp_path, 255 - GREY)
    with pytest.raises(
        InputError, match="must be the images that runs/a was made with, and these are others"
    ) as caught:
        data.load_of_run(config, fingerprint)
    others = load(tmp_path / "x.npy").fingerprint()
    assert str(caught.value) == str(data.changed(config, "runs/a", others, fingerprint))
    assert f"their checksum is {others}, and that of the run's images {fingerprint}" in str(caught.value)


def test_the_wing_imports_tensorflow_only_to_load():
    """`from tfvae import data; data.load(config)` is in the README, and `import tfvae` must not wait for TensorFlow."""
    program = "import sys, tfvae.data as data; print(callable(data.load), {'tensorflow', 'keras'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed == "True set()\n"
    dataset = wing.load(Config(dataset="digits"))
    assert isinstance(dataset, splits.Dataset)
    assert dataset.fingerprint() == load("digits").fingerprint()


@pytest.mark.parametrize(
    ("channels", "shown"),
    [
        (1, ""),
        (2, "; pictures show channel 1 of 2, as grey"),
        (3, ""),
        (4, "; pictures show channels 1 to 3 of 4, as colour"),
    ],
)
def test_a_data_sets_line_says_which_channels_pictures_leave_away(tmp_path, channels, shown):
    dataset = load(npy(tmp_path, np.zeros((20, 5, 7, channels), np.uint8)))
    assert dataset.describe() == f"16 train, 2 validation, 2 test images of 5x7x{channels}{shown}"
