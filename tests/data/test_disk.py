"""Images that stay in a .npy file: the same as in memory, and refused where they could not be read row by row."""

import numpy as np
import pytest
from sources import GREY, load, npy, refused

from tfvae.data.disk import DiskImages
from tfvae.errors import InputError


@pytest.mark.parametrize(
    ("images", "options"),
    [
        pytest.param(GREY, {}, id="bytes"),
        pytest.param(GREY, {"binarize": "threshold"}, id="bytes, threshold"),
        pytest.param(GREY, {"binarize": "stochastic"}, id="bytes, stochastic"),
        pytest.param(GREY, {"dequantize": True, "likelihood": "gaussian"}, id="bytes, dequantized"),
        pytest.param(GREY, {"validation_examples": 0}, id="bytes, no validation"),
        pytest.param(GREY > 127, {}, id="bool"),
        pytest.param(np.uint8(GREY > 127), {}, id="0 and 1"),
        pytest.param(np.uint8(GREY > 127), {"binarize": "threshold"}, id="0 and 1, threshold"),
        pytest.param(np.float32(GREY / 255), {}, id="floats"),
        pytest.param(np.float32(GREY / 255), {"binarize": "threshold"}, id="floats, threshold"),
        pytest.param(np.float32(GREY / 255), {"binarize": "stochastic"}, id="floats, stochastic"),
        pytest.param(np.float32(GREY / 255), {"validation_examples": 0}, id="floats, no validation"),
        pytest.param(GREY[..., None], {}, id="one channel"),
        pytest.param(np.stack([GREY, GREY // 2, GREY // 3], -1), {}, id="colour"),
    ],
)
def test_images_on_disk_are_those_in_memory(tmp_path, images, options):
    path = npy(tmp_path, images)
    memory, disk = load(path, **options), load(path, memory_gb=0.0, **options)
    assert isinstance(disk.train.images, DiskImages)
    assert disk.describe() == memory.describe() + "; training images are read from disk"
    for a, b in zip(memory, disk):
        for name in ("shape", "dtype", "nbytes"):
            assert getattr(a.images, name) == getattr(b.images, name)
        np.testing.assert_array_equal(a.images, b.images)
    chosen = np.array([30, 2, 2, 0])
    np.testing.assert_array_equal(disk.train.images.read(chosen), memory.train.images[chosen])
    assert disk.fingerprint() == memory.fingerprint()


def test_memory_gb_is_of_bytes_of_the_file(tmp_path):
    size = npy(tmp_path, GREY).stat().st_size
    for more, kind in ((0, np.ndarray), (-1, DiskImages)):
        assert isinstance(load(tmp_path / "x.npy", memory_gb=(size + more) / 1e9).train.images, kind)


@pytest.mark.parametrize(
    ("array", "part"),
    [
        pytest.param(np.array(3), "the shape []", id="rank 0"),
        pytest.param(np.zeros(20, np.uint8), "the shape [20]", id="rank 1"),
        pytest.param(np.zeros((20, 3, 4, 3, 1), np.uint8), "the shape [20, 3, 4, 3, 1]", id="rank 5"),
        pytest.param(np.zeros((0, 3, 4), np.uint8), "the shape [0, 3, 4]", id="no image"),
        pytest.param(GREY.astype(np.float32), "be read from disk, and has ", id="whole floats"),
        pytest.param(np.zeros((20, 3, 32, 32), np.uint8), "channels first", id="channels first"),
        pytest.param(GREY / 255, "not float64", id="float64"),
        pytest.param(GREY.astype(int), "not int64", id="int64"),
        pytest.param((GREY / 255).astype(">f4"), "not >f4", id="big-endian"),
        pytest.param(np.asfortranarray(GREY), "not uint8 in Fortran order", id="Fortran order"),
        pytest.param(GREY[:9], "at least 10 images", id="nine images"),
        pytest.param(
            np.full((20, 3, 4), np.nan, np.float32), "numbers in [0, 1], or whole numbers of the type uint8", id="nan"
        ),
    ],
)
def test_an_array_on_disk_that_is_not_images(tmp_path, array, part):
    message = refused(npy(tmp_path, array), memory_gb=0.0)
    assert message.startswith("dataset") and "must" in message
    assert part in message


def test_rows_of_rows_are_those_of_the_array(tmp_path):
    images = load(npy(tmp_path, GREY), memory_gb=0.0, validation_examples=0).train.images
    whole = np.asarray(images)
    few = images.rows(slice(3, 30)).rows(np.array([5, 1, 26]))
    assert isinstance(few, DiskImages) and few.shape == (3, 5, 7, 1)
    np.testing.assert_array_equal(few, whole[[8, 4, 29]])
    np.testing.assert_array_equal(few.rows(np.array([False, True, True])), whole[[4, 29]])


def test_a_derived_view_leaves_the_others_as_they_are(tmp_path):
    images = load(npy(tmp_path, GREY), memory_gb=0.0).train.images
    whole = np.asarray(images)
    binary = images.thresholded().rows(slice(4))
    np.testing.assert_array_equal(binary, np.where(whole[:4] > 127, 255, 0))
    np.testing.assert_array_equal(images.rows(slice(4)).scaled(2), whole[:4].astype(int) * 2 % 256)
    np.testing.assert_array_equal(images, whole)


def test_a_file_that_has_become_shorter_is_refused(tmp_path):
    path = npy(tmp_path, GREY)
    images = load(path, memory_gb=0.0, validation_examples=0).train.images
    last = int(images.file_rows[-1])
    with open(path, "r+b") as file:
        file.truncate(images.array.offset + last * 35 + 34)  # a byte less than the last image's end
    np.testing.assert_array_equal(images.read(np.array([0]))[0, ..., 0], GREY[images.file_rows[0]])
    with pytest.raises(InputError, match="must stay as it is, and has become shorter"):
        images.read(np.array([0, len(images) - 1]))


@pytest.mark.parametrize("value", [np.nan, -0.001, 1.001])
def test_a_float_out_of_range_is_named_when_it_is_read(tmp_path, value):
    floats = np.float32(GREY / 255)
    images = load(npy(tmp_path, floats), memory_gb=0.0, validation_examples=0).train.images
    row = int(images.file_rows[20])
    floats[row, 1, 2] = value
    npy(tmp_path, floats)
    assert images.read(np.array([19, 21])).shape == (2, 5, 7, 1)
    with pytest.raises(InputError) as caught:
        images.read(np.array([21, 20]))
    assert str(caught.value).endswith(f"to be read from disk, and has {np.float32(value)!s} at [{row}, 1, 2]")
