"""What a data set is before its splits are made: which one is taken, what its parts hold, and what does not fit."""

import numpy as np
import pytest
from sources import GREY, UNPLUGGED, load, npy, npz, refused, rows, together

from tfvae.config import Config
from tfvae.data import arrays, sources, tfds
from tfvae.data.splits import Split
from tfvae.errors import InputError


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(tfds, "why_unreachable", lambda url: UNPLUGGED)


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sources.resolve(Config(dataset="x.npy"))[0] == str(tmp_path / "x.npy")


def test_a_file_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    npy(tmp_path, GREY)
    name, why = sources.resolve(Config(dataset="~/x.npy"))
    assert name == str(tmp_path / "x.npy") and name in why
    assert rows(together(load("~/x.npy"))) == rows(GREY)


@pytest.mark.parametrize(
    "arrays",
    [
        {"train": GREY, "test": GREY[:, :4]},
        {"train": GREY, "test": GREY[..., None].repeat(3, -1)},
        {"train": GREY, "test": GREY / 255},
        {"train": GREY, "validation": GREY[:, :, :4], "test": GREY},
    ],
    ids=["other height", "colour", "floats", "other width in validation"],
)
def test_parts_that_do_not_match(tmp_path, arrays):
    assert "one shape and type" in refused(npz(tmp_path, **arrays))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_every_part_is_checked(tmp_path, part):
    floats = (GREY / 255).astype(np.float32)
    bad = floats.copy()
    bad[3, 2, 1] = np.nan
    parts = {"train": floats, "validation": floats, "test": floats}
    assert "at [3, 2, 1], is nan" in refused(npz(tmp_path, **{**parts, part: bad}))
    assert "[0, 5, 7]" in refused(npz(tmp_path, **{**parts, part: floats[:0]}))


def test_sizes_that_are_too_large():
    assert load("digits", batch_size=1437).image_shape == (8, 8, 1)
    message = refused("digits", batch_size=1438)
    assert message.startswith("batch_size=1438: must be at most") and "1,437" in message
    assert refused("digits", validation_examples=1617).startswith("validation_examples=1617: must be")
    assert len(load("digits", validation_examples=1616).train.images) == 1


def test_too_many_of_a_given_validation_part(tmp_path):
    path = npz(tmp_path, train=GREY, validation=GREY[:7], test=GREY)
    assert len(load(path, validation_examples=7).validation.images) == 7
    message = refused(path, validation_examples=8)
    assert message.startswith("validation_examples=8: must be") and "7" in message and "below 7" not in message


def test_auto_falls_back_to_the_digits(tmp_path, offline):
    name, why = sources.resolve(Config(data_dir=str(tmp_path)))
    assert name == "digits"
    assert why.startswith("data: ") and "\n" not in why
    for part in ("digits", "mnist", str(tmp_path), UNPLUGGED):
        assert part in why
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_kept(offline):
    assert sources.resolve(Config(dataset="digits")) == ("digits", "data: digits")
    assert sources.resolve(Config(dataset="mnist"))[0] == "mnist"


def test_fractions_are_not_dequantized():
    message = refused("digits", dequantize=True, likelihood="gaussian")
    assert message == "dequantize=True: must have 8-bit pixels, and digits has fractions"
    message = refused("digits", likelihood="categorical")
    assert message == "likelihood=categorical: must have 8-bit pixels, and digits has fractions"


@pytest.mark.parametrize("validation_examples", [None, 0, 3])
@pytest.mark.parametrize("parts", [("train",), ("train", "test"), ("train", "validation"), sources.Sizes._fields])
def test_sizes_are_those_of_the_splits(tmp_path, parts, validation_examples):
    path = npz(tmp_path, **{part: GREY[: 40 - 7 * place] for place, part in enumerate(parts)})
    options = {"validation_examples": validation_examples, "batch_size": 1}
    sizes = sources.read(Config(dataset=str(path), **options)).sizes
    assert sizes == tuple(len(split.images) for split in load(path, **options))


@pytest.mark.parametrize("validation_examples", [None, 0, 3])
def test_sizes_of_images_on_disk_are_those_of_the_splits(tmp_path, validation_examples):
    options = {"validation_examples": validation_examples, "batch_size": 1, "memory_gb": 0.0}
    path = npy(tmp_path, GREY)
    sizes = sources.read(Config(dataset=str(path), **options)).sizes
    assert sizes == tuple(len(split.images) for split in load(path, **options))


@pytest.mark.parametrize(
    ("labelled", "expected"),
    [((), False), (("train",), False), (("test",), False), (("train", "test"), True), (("train", "validation"), False)],
)
def test_labels_are_there_if_train_and_test_have_them(tmp_path, labelled, expected):
    labels = {f"y_{part}": np.arange(40) for part in labelled}
    path = npz(tmp_path, train=GREY, validation=GREY, test=GREY, **labels)
    assert sources.read(Config(dataset=str(path), batch_size=1)).has_labels == expected
    assert load(path).has_labels == expected


@pytest.mark.parametrize("labels", [{}, {"labels": np.arange(40)}], ids=["without", "with"])
def test_test_images_that_are_taken_off_the_training_images_have_their_labels(tmp_path, labels):
    path = npz(tmp_path, images=GREY, **labels)
    assert sources.read(Config(dataset=str(path), batch_size=1)).has_labels == bool(labels)
    assert load(path).has_labels == bool(labels)


def read_early(dataset, **settings):
    return sources.read_early(Config(dataset=str(dataset), **{"batch_size": 1, **settings}))


def refused_early(dataset, **settings):
    with pytest.raises(InputError) as caught:
        read_early(dataset, **settings)
    return str(caught.value)


def test_files_and_arrays_are_read_early_and_sets_of_a_name_are_not(tmp_path, monkeypatch):
    early = read_early(npy(tmp_path, GREY))
    assert early is not None
    np.testing.assert_array_equal(early.splits["train"].images[..., 0], GREY)
    handed_in = sources.read_early(Config(dataset="arrays", batch_size=1), {"train": Split(GREY, None)})
    assert handed_in is not None and handed_in.sizes == early.sizes
    assert refused_early("arrays").startswith("dataset=arrays: must be given")
    monkeypatch.setattr(sources, "read", None)  # would fail
    for name in ("auto", "digits", "mnist"):
        assert read_early(name) is None


@pytest.fixture
def every_file_is_large(monkeypatch):
    monkeypatch.setattr(sources, "QUICK_BYTES", 0)


def fail(*arguments):
    raise AssertionError("it must not be read yet")


@pytest.mark.parametrize(
    ("array", "settings", "part"),
    [
        pytest.param(GREY.reshape(-1), {}, "the shape [1400]", id="shape"),
        pytest.param(GREY.astype(complex), {}, "the type complex128", id="type"),
        pytest.param(GREY, {"batch_size": 33}, "batch_size=33: must be at most the 32 training images", id="batch"),
        pytest.param(GREY, {"validation_examples": 36}, "validation_examples=36: must be", id="validation"),
        pytest.param(GREY[:9], {}, "at least 10 images", id="few images"),
        pytest.param(GREY / 255, {"memory_gb": 0.0}, "not float64", id="type on disk"),
        pytest.param(np.asfortranarray(GREY), {"memory_gb": 0.0}, "in Fortran order", id="order on disk"),
    ],
)
def test_a_large_file_is_refused_by_its_header_alone(tmp_path, monkeypatch, every_file_is_large, array, settings, part):
    path = npy(tmp_path, array)
    message = refused(path, **settings)
    assert part in message
    monkeypatch.setattr(arrays, "_read", fail)
    assert refused_early(path, **settings) == message  # as when it is read


def test_a_large_file_that_is_good_is_read_later(tmp_path, monkeypatch, every_file_is_large):
    monkeypatch.setattr(arrays, "_read", fail)
    for array in (GREY, GREY / 255, GREY > 127, GREY.astype(int)):
        assert read_early(npy(tmp_path, array)) is None
    assert read_early(npy(tmp_path, GREY), memory_gb=0.0) is None
    npz(tmp_path, pictures=GREY).rename(tmp_path / "renamed.npy")
    for name in ("renamed.npy", npz(tmp_path, pictures=GREY).name):  # a .npz file, whatever its name
        assert read_early(tmp_path / name) is None


def test_a_large_file_that_can_not_be_read(tmp_path, every_file_is_large):
    path = npy(tmp_path, GREY)
    path.write_bytes(path.read_bytes()[:-1])
    assert refused_early(path).startswith(f"dataset={path}: must be a readable .npy or .npz file without pickles: ")
    assert refused_early(tmp_path / "none.npy").startswith(f"dataset={tmp_path / 'none.npy'}: must be a readable")
