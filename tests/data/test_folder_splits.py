"""What is made of a folder without parts: its validation and test images; and a real kill amid its decoding."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sources import load

from tfvae.data import folders

CLASSES = {"ant": 120, "bee": 60, "cat": 20}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def save(path, number):
    """An image that is no other's: its first two pixels are its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((3, 4), np.uint8)
    pixels[0, :2] = divmod(number, 256)
    Image.fromarray(pixels).save(path)


def numbers_of(split):
    """The numbers of a split's images."""
    pixels = split.array[:, 0, :2, 0].astype(int)
    return (pixels[:, 0] * 256 + pixels[:, 1]).tolist()


@pytest.fixture
def photos(tmp_path):
    """200 images, class by class; {number: class}."""
    classes = {}
    for name, count in CLASSES.items():
        for i in range(count):
            number = len(classes)
            classes[number] = name
            save(tmp_path / "photos" / name / f"{i:03}.png", number)
    return tmp_path / "photos", classes


def load_photos(folder, **settings):
    return load(folder, network="mlp", **settings)


def test_the_parts_share_no_image_and_leave_none_out(photos):
    folder, classes = photos
    parts = [numbers_of(split) for split in load_photos(folder)]
    assert sorted(sum(parts, [])) == list(classes)
    assert [len(part) for part in parts] == [160, 20, 20]  # a tenth for validation, and one for the test


def test_each_part_has_images_of_each_class_with_their_own_labels(photos):
    folder, classes = photos
    dataset = load_photos(folder)
    for split in dataset:
        assert split.label_names == ("ant", "bee", "cat")
        assert [split.label_names[label] for label in split.labels] == [classes[n] for n in numbers_of(split)]
        counts = np.bincount(split.labels, minlength=3)
        assert counts.all()
        # within four deviations of a draw without replacement: they are no run of the folder's own order
        shares = np.array([0.6, 0.3, 0.1])
        spread = np.sqrt(shares * (1 - shares) * len(split.labels))
        np.testing.assert_array_less(abs(counts - shares * len(split.labels)), 4 * spread)


def test_every_seed_has_the_same_parts(photos):
    folder, _ = photos
    first = [numbers_of(split) for split in load_photos(folder)]
    for seed in (1, 2):
        assert [numbers_of(split) for split in load_photos(folder, seed=seed)] == first


def test_other_numbers_of_validation_images_leave_the_test_images_as_they_are(photos):
    folder, _ = photos
    of_default, of_fifty = load_photos(folder), load_photos(folder, validation_examples=50)
    assert numbers_of(of_default.test) == numbers_of(of_fifty.test)
    assert len(of_fifty.validation.images) == 50
    assert not set(numbers_of(of_fifty.train)) & set(numbers_of(of_fifty.validation))


def test_a_folder_with_a_test_part_keeps_it_whole(tmp_path):
    for number in range(40):
        save(tmp_path / "photos" / ("test" if number % 4 == 0 else "train") / f"{number}.png", number)
    dataset = load_photos(tmp_path / "photos")
    assert sorted(numbers_of(dataset.test)) == list(range(0, 40, 4))
    assert sorted(numbers_of(dataset.train) + numbers_of(dataset.validation)) == [n for n in range(40) if n % 4]


READS_AND_STOPS = """
import sys, threading
from pathlib import Path
from tfvae.data import folders, image_blocks
decode = image_blocks.decode

def stops_at_the_last(path, form):
    if path.name == sys.argv[2]:
        print("there", flush=True)
        threading.Event().wait()
    return decode(path, form)

image_blocks.decode = stops_at_the_last
folders.read(Path(sys.argv[1]), None, None, False, 1e9)
"""


def read(folder):
    return folders.read(folder, None, None, False, 1e9)


def test_a_real_kill_amid_decoding_leaves_a_cache_that_the_next_start_completes(tmp_path, cache, monkeypatch):
    folder = tmp_path / "photos"
    for number in range(30):
        save(folder / ("train" if number < 20 else "test") / "ab"[number % 2] / f"{number:02}.png", number)
    child = subprocess.Popen([sys.executable, "-c", READS_AND_STOPS, str(folder), "29.png"], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"there\n"
    child.send_signal(signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    child.stdout.close()
    [place] = cache.iterdir()
    left = sorted(path.name.partition("-")[2] for path in place.glob("*-*"))
    assert left == ["test.npy.tmp", "train-labels.npy", "train.npy"]
    assert not (place / "info.json").exists()  # without which they don't count

    completed = read(folder)
    assert not list(place.glob(".*.tmp"))
    with monkeypatch.context() as patch:
        patch.setenv("TFVAE_CACHE", "")
        expected = read(folder)
    for part in ("train", "test"):
        np.testing.assert_array_equal(completed.splits[part].images, expected.splits[part].images)
        np.testing.assert_array_equal(completed.splits[part].labels, expected.splits[part].labels)
    with monkeypatch.context() as patch:
        patch.setattr("tfvae.data.image_blocks.decode", None)
        again = read(folder)  # which decodes nothing
    np.testing.assert_array_equal(again.splits["test"].images, expected.splits["test"].images)
    assert completed.notes == again.notes == ("30 images of 2 classes",)
