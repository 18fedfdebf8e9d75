"""What pixels become: units and binarization by a threshold; and arrays that are not images."""

import shlex
import subprocess
import sys

import numpy as np
import pytest
from sources import GREY, RNG, load, npy, refused, rows, together

from tfvae.data import pixels
from tfvae.errors import InputError


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_npy_of_floats(tmp_path, dtype):
    floats = (GREY / 255).astype(dtype)
    dataset = load(npy(tmp_path, floats))
    assert dataset.train.images.dtype == np.float32
    assert rows(together(dataset)) == rows(floats.astype(np.float32))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.uint64])
def test_zeros_and_ones_become_0_and_255(tmp_path, dtype):
    dataset = load(npy(tmp_path, (GREY > 127).astype(dtype)))
    assert dataset.train.images.dtype == np.uint8
    assert rows(together(dataset)) == rows(np.where(GREY > 127, 255, 0).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint64, ">u2"])
def test_wide_integers_become_bytes(tmp_path, dtype):
    dataset = load(npy(tmp_path, GREY.astype(dtype)))
    assert dataset.train.images.dtype == np.uint8
    assert rows(together(dataset)) == rows(GREY)


def test_threshold():
    grey, ones = load("digits"), load("digits", binarize="threshold")
    for a, b in zip(grey, ones):
        np.testing.assert_array_equal(b.images, np.where(np.rint(a.images * 16) > 8, 255, 0))
        np.testing.assert_array_equal(a.labels, b.labels)
    assert ones.train.images.dtype == np.uint8


def test_threshold_of_bytes(tmp_path):
    dataset = load(npy(tmp_path, np.arange(256, dtype=np.uint8).repeat(20).reshape(20, 16, 16)), binarize="threshold")
    assert set(np.unique(together(dataset))) == {0, 255}
    assert together(dataset).astype(bool).sum() == 128 * 20  # 127 is below a half, 128 above


def valued(value, dtype=np.float32):
    images = np.zeros((20, 3, 4), dtype)
    images[7, 1, 2] = value
    return images


@pytest.mark.parametrize(
    ("array", "part"),
    [
        pytest.param(valued(np.nan), "float32 from 0.0 to 0.0: the first wrong one, at [7, 1, 2], is nan", id="nan"),
        pytest.param(valued(np.inf), "from 0.0 to 0.0: the first wrong one, at [7, 1, 2], is inf", id="inf"),
        pytest.param(np.full((20, 3, 4), np.nan), "no finite float64: the first wrong one, at [0, 0, 0]", id="nans"),
        pytest.param(valued(1.0000001), "[0, 1], or all of them whole", id="float above 1, what is allowed"),
        pytest.param(
            valued(1.0000001), "has float32 from 0.0 to 1.0000001: the first wrong one, at [7, 1, 2]", id="above 1"
        ),
        pytest.param(valued(-0.001), "from -0.001 to 0.0: the first wrong one, at [7, 1, 2]", id="float below 0"),
        pytest.param(valued(256.0), "from 0.0 to 256.0: the first wrong one, at [7, 1, 2]", id="whole float above 255"),
        pytest.param(
            np.concatenate([np.full((9, 3, 4), 37.0), valued(127.5)]),
            "from 0.0 to 127.5: the first wrong one, at [16, 1, 2], is 127.5",
            id="a fraction among whole floats",
        ),
        pytest.param(valued(-1, np.int32), "-1", id="negative"),
        pytest.param(valued(256, np.int32), "256", id="above 255"),
        pytest.param(valued(2**64 - 1, np.uint64), str(2**64 - 1), id="uint64"),
        pytest.param(np.array(3), "[]", id="rank 0"),
        pytest.param(np.zeros(20), "[20]", id="rank 1"),
        pytest.param(np.zeros((20, 3, 4, 3, 1)), "[20, 3, 4, 3, 1]", id="rank 5"),
        pytest.param(np.zeros((0, 3, 4)), "[0, 3, 4]", id="no image"),
        pytest.param(
            np.zeros((20, 3, 32, 30), np.uint8), "[20, 3, 32, 30], channels first: take its transpose", id="NCHW"
        ),
        pytest.param(np.zeros((20, 1, 8, 8)), "[20, 1, 8, 8], channels first: take its transpose", id="grey NCHW"),
        pytest.param(np.zeros((20, 0, 4)), "[20, 0, 4]", id="no row"),
        pytest.param(np.zeros((20, 3, 4, 0)), "[20, 3, 4, 0]", id="no channel"),
        pytest.param(np.full((20, 3, 4), "a"), "<U1", id="strings"),
        pytest.param(np.full((20, 3, 4), b"a"), "S1", id="bytes"),
        pytest.param(valued(1, complex), "complex128", id="complex"),
        pytest.param(np.zeros((20, 3, 4), "datetime64[s]"), "datetime64", id="dates"),
        pytest.param(np.zeros((20, 3, 4), "timedelta64[s]"), "timedelta64", id="times"),
        pytest.param(np.zeros((20, 3, 4), [("a", np.uint8)]), "must be a plain array", id="structs"),
        pytest.param(GREY[:9], "at least 10 images", id="nine images"),
    ],
)
def test_an_array_that_is_not_images(tmp_path, array, part):
    message = refused(npy(tmp_path, array))
    assert message.startswith("dataset") and "must" in message
    assert part in message


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_floats_that_are_all_whole_are_bytes(tmp_path, dtype):
    """Those of which none is above 1 are zeros and ones as they come."""
    dataset = load(npy(tmp_path, GREY.astype(dtype)))
    assert dataset.train.images.dtype == np.uint8 and dataset.white == 255
    assert dataset.fingerprint() == load(npy(tmp_path, GREY)).fingerprint()
    dark = load(npy(tmp_path, (GREY > 127).astype(dtype)))
    assert dark.train.images.dtype == np.float32 and together(dark).max() == 1


@pytest.mark.parametrize("name", ["x.npy", "it's $a x.npz"])
def test_the_command_that_puts_channels_last_works(tmp_path, name):
    first = RNG.integers(0, 256, (20, 3, 6, 7), dtype=np.uint8)
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, first)
        assert refused(path, memory_gb=0.0) == refused(path)
    else:
        np.savez(path, images=first, labels=np.arange(20))
    before, command = refused(path).split(": python -c ")
    assert before == (
        f"dataset={path}: must be images [N, H, W] or [N, H, W, C], and has the shape [20, 3, 6, 7], channels first: "
        "take its transpose(0, 2, 3, 1)"
    )
    command = f"{shlex.quote(sys.executable)} -c {command}"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    (new,) = set(tmp_path.iterdir()) - {path}
    dataset = load(new)
    assert rows(together(dataset)) == rows(first.transpose(0, 2, 3, 1))
    assert (dataset.train.labels is None) == (path.suffix == ".npy")


def test_arrays_of_python_that_have_channels_first_are_told_to_be_transposed():
    with pytest.raises(InputError, match=r"channels first: take its transpose\(0, 2, 3, 1\)$"):
        pixels.check_shape("images", (20, 3, 6, 7))
    with pytest.raises(InputError, match=r"channels first: take its transpose\(0, 2, 3, 1\)$"):
        pixels.check_shape("--dataset=mnist", (20, 3, 6, 7))


@pytest.mark.parametrize("shape", [(20, 3, 4, 4), (20, 3, 4, 5), (20, 2, 7, 7), (20, 5, 7, 3), (20, 3, 7, 4)])
def test_other_small_images_are_taken_as_they_are(shape):
    assert pixels.as_images("x", np.zeros(shape, np.uint8)).shape == shape


@pytest.mark.parametrize("images", [GREY, np.float32(GREY / 255)], ids=["bytes", "floats"])
def test_images_of_the_right_type_are_not_copied(images):
    assert np.shares_memory(pixels.as_images("x", images), images)
