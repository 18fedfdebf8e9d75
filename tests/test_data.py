"""The images: what each kind of source becomes, how it is split and binarized, and what is refused."""

import gzip
import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfvae import config

config.import_tensorflow()

from tfvae.data import dataset as data  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.errors import InputError  # noqa: E402

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 5, 7), dtype=np.uint8)
GREY[0, 0, :2] = 0, 255


def load(dataset, **settings):
    return data.load(Config(dataset=str(dataset), **{"batch_size": 1, **settings}))


def refused(dataset, **settings):
    """The message that refuses it: one line."""
    with pytest.raises(InputError) as caught:
        load(dataset, **settings)
    message = str(caught.value)
    assert "\n" not in message and not message.startswith("(")
    return message


def npy(folder, array, **options):
    np.save(folder / "x.npy", array, **options)
    return folder / "x.npy"


def npz(folder, **arrays):
    np.savez(folder / "x.npz", **arrays)
    return folder / "x.npz"


def together(dataset):
    return np.concatenate([split.images for split in dataset])


def rows(images, labels=None):
    return Counter((image.tobytes(), None if labels is None else int(labels[i])) for i, image in enumerate(images))


# The digits


def test_digits_are_scikit_learns_each_once():
    digits = load_digits()
    dataset = load("digits")
    assert [len(split.images) for split in dataset] == [1437, 180, 180]
    assert dataset.image_shape == (8, 8, 1)
    assert dataset.train.images.dtype == np.float32
    found = sum((rows(np.rint(split.images[..., 0] * 16).astype(int), split.labels) for split in dataset), Counter())
    assert found == rows(digits.images.astype(int), digits.target)  # an image that two parts share would count twice
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


# Files


def test_npy_of_bytes(tmp_path):
    dataset = load(npy(tmp_path, GREY))
    assert [len(split.images) for split in dataset] == [32, 4, 4]  # a tenth each
    assert dataset.image_shape == (5, 7, 1)
    assert dataset.train.images.dtype == np.uint8
    assert all(split.labels is None for split in dataset)
    assert rows(together(dataset)) == rows(GREY)


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


def test_all_parts_are_scaled_alike(tmp_path):
    dark = np.minimum(GREY, 1)  # 0 and 1 of 255, for train goes to 255
    dataset = load(npz(tmp_path, train=GREY, test=dark))
    np.testing.assert_array_equal(dataset.test.images[..., 0], dark)


def test_colour_fortran_order_and_one_column(tmp_path):
    colour = RNG.integers(0, 256, (30, 6, 4, 3), dtype=np.uint8)
    dataset = load(npy(tmp_path, colour))
    assert dataset.image_shape == (6, 4, 3)
    assert rows(together(dataset)) == rows(colour)
    assert rows(together(load(npy(tmp_path, np.asfortranarray(colour))))) == rows(colour)
    assert load(npy(tmp_path, colour[:, :, :1])).image_shape == (6, 1, 3)


def test_npz_as_keras_writes_it(tmp_path):
    path = npz(tmp_path, x_train=GREY, x_test=GREY[:10] // 2, y_train=np.arange(40), y_test=np.arange(10) + 100)
    dataset = load(path)
    assert [len(split.images) for split in dataset] == [35, 5, 10]
    np.testing.assert_array_equal(together(dataset)[..., 0], np.concatenate([GREY, GREY[:10] // 2]))
    assert [split.labels.tolist() for split in dataset] == [
        list(range(35)),
        list(range(35, 40)),
        list(range(100, 110)),
    ]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_images_and_labels(tmp_path, save):
    save(tmp_path / "x.npz", images=GREY, labels=np.arange(40, dtype=np.uint8))
    dataset = load(tmp_path / "x.npz")
    assert [len(split.images) for split in dataset] == [32, 4, 4]
    for split in dataset:  # each label is still with its image
        np.testing.assert_array_equal(split.images[..., 0], GREY[split.labels])


def test_npz_with_three_parts(tmp_path):
    parts = {"train": GREY[:20], "validation": GREY[20:27], "test": GREY[27:]}
    path = npz(tmp_path, **parts, y_validation=np.arange(7))
    dataset = load(path)
    for name in parts:
        np.testing.assert_array_equal(getattr(dataset, name).images[..., 0], parts[name])
    assert dataset.train.labels is None and dataset.validation.labels.tolist() == list(range(7))
    fewer = load(path, validation_examples=3)
    assert [len(split.images) for split in fewer] == [20, 3, 13]  # train stays as it is
    np.testing.assert_array_equal(fewer.validation.images[..., 0], GREY[20:23])
    assert [len(split.images) for split in load(path, validation_examples=0)] == [20, 0, 13]


def test_a_file_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    npy(tmp_path, GREY)
    name, why = data.resolve(Config(dataset="~/x.npy"))
    assert name == str(tmp_path / "x.npy") and name in why
    assert rows(together(load("~/x.npy"))) == rows(GREY)


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert data.resolve(Config(dataset="x.npy"))[0] == str(tmp_path / "x.npy")


def test_the_test_part_of_a_file_without_one_is_a_tenth_but_at_most_ten_thousand(tmp_path):
    for size, sizes in ((99_990, (84_991, 5_000, 9_999)), (100_100, (85_100, 5_000, 10_000))):
        dataset = load(npy(tmp_path, np.zeros((size, 1, 1), np.uint8)))
        assert tuple(len(split.images) for split in dataset) == sizes


def test_npz_that_is_larger_than_the_memory_it_may_take_is_refused(tmp_path):
    path = npz(tmp_path, images=np.tile(GREY, (100, 1, 1)), labels=np.arange(4_000))  # 0.172 MB
    message = refused(path, memory_gb=0.00017)
    assert message.startswith(f"--dataset={path}: must be a .npy of the images alone, or --memory_gb more")
    assert len(load(path, memory_gb=0.00018).train.images) == 3_200


def test_a_file_is_what_it_holds_whatever_its_name(tmp_path):
    npy(tmp_path, GREY).rename(tmp_path / "a.npz")
    npz(tmp_path, images=GREY).rename(tmp_path / "b.npy")
    for name in ("a.npz", "b.npy"):
        assert rows(together(load(tmp_path / name))) == rows(GREY)


# Files that are larger than the memory they may take


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
    assert isinstance(disk.train.images, data.Stored)
    assert disk.describe() == memory.describe() + "; training images are read from disk"
    for a, b in zip(memory, disk):
        for name in ("shape", "dtype", "nbytes"):
            assert getattr(a.images, name) == getattr(b.images, name)
        np.testing.assert_array_equal(a.images, b.images)
    some = np.array([30, 2, 2, 0])
    np.testing.assert_array_equal(disk.train.images.read(some), memory.train.images[some])
    assert disk.fingerprint() == memory.fingerprint()


def test_memory_gb_is_of_bytes_of_the_file(tmp_path):
    size = npy(tmp_path, GREY).stat().st_size
    for more, kind in ((0, np.ndarray), (-1, data.Stored)):
        assert isinstance(load(tmp_path / "x.npy", memory_gb=(size + more) / 1e9).train.images, kind)


@pytest.mark.parametrize("memory_gb", [None, 0.0], ids=["in memory", "on disk"])
def test_fingerprint_of_a_large_part_is_of_its_number_and_some_of_its_images(tmp_path, monkeypatch, memory_gb):
    monkeypatch.setattr(data, "_FINGERPRINTED", 90_000)
    images = np.zeros((12_000, 3, 3), np.uint8)
    images[:, 0, 0] = 7
    found = {}
    for name, place in {"as it is": 0, "first": 0, "second": 1, "last": 11_999}.items():
        changed = images.copy()
        changed[place, 1, 1] = name != "as it is"
        path = npz(tmp_path, train=changed, test=images[:10]) if memory_gb is None else npy(tmp_path, changed)
        found[name] = load(path, validation_examples=0, memory_gb=memory_gb).fingerprint()
    assert found["as it is"] == found["second"]
    assert len(set(found.values())) == 3
    fewer = npz(tmp_path, train=images[:-1], test=images[:10]) if memory_gb is None else npy(tmp_path, images[:-1])
    assert load(fewer, validation_examples=0, memory_gb=memory_gb).fingerprint() not in found.values()


@pytest.mark.parametrize(
    ("array", "part"),
    [
        pytest.param(np.array(3), "the shape []", id="rank 0"),
        pytest.param(np.zeros(20, np.uint8), "the shape [20]", id="rank 1"),
        pytest.param(np.zeros((20, 3, 4, 3, 1), np.uint8), "the shape [20, 3, 4, 3, 1]", id="rank 5"),
        pytest.param(np.zeros((0, 3, 4), np.uint8), "the shape [0, 3, 4]", id="no image"),
        pytest.param(GREY / 255, "not float64", id="float64"),
        pytest.param(GREY.astype(int), "not int64", id="int64"),
        pytest.param((GREY / 255).astype(">f4"), "not >f4", id="big-endian"),
        pytest.param(np.asfortranarray(GREY), "not uint8 in Fortran order", id="Fortran order"),
        pytest.param(GREY[:9], "at least 10 images", id="nine images"),
        pytest.param(np.full((20, 3, 4), np.nan, np.float32), "finite numbers in [0, 1], and images[", id="nan"),
    ],
)
def test_an_array_on_disk_that_is_not_images(tmp_path, array, part):
    message = refused(npy(tmp_path, array), memory_gb=0.0)
    assert message.startswith("--dataset") and "must" in message
    assert part in message


# Binarization


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


@pytest.mark.parametrize("kind", ["float", "bytes"])
def test_stochastic_is_a_draw_with_the_grey_value_as_probability(tmp_path, kind):
    source = "digits" if kind == "float" else npy(tmp_path, np.tile(GREY, (10, 2, 2)))
    grey, drawn = load(source), load(source, binarize="stochastic")
    np.testing.assert_array_equal(drawn.train.images, grey.train.images)  # drawn anew at each visit, in training
    assert drawn.train.images.dtype == grey.train.images.dtype
    for a, b in zip(grey[1:], drawn[1:]):
        p = a.images.astype(np.float64) / (1 if kind == "float" else 255)
        assert b.images.dtype == np.uint8 and set(np.unique(b.images)) == {0, 255}
        ones = b.images > 0
        assert not ones[p == 0].any() and ones[p == 1].all()
        assert abs((ones - p).sum()) < 5 * np.sqrt((p * (1 - p)).sum())
        middle = (p > 0.4) & (p < 0.6)  # a threshold would pass the first test if the grey values were even
        assert abs((ones - p)[middle].sum()) < 5 * np.sqrt((p * (1 - p))[middle].sum())
        assert ones[middle & (p < 0.5)].any() and not ones[middle & (p > 0.5)].all()


def test_stochastic_is_drawn_once_for_evaluation():
    one, two = (load("digits", binarize="stochastic", seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one.validation.images, two.validation.images)
    np.testing.assert_array_equal(one.test.images, two.test.images)


def test_validation_and_test_are_drawn_apart(tmp_path):
    half = np.full((50, 20, 20), 0.5, np.float32)
    dataset = load(npz(tmp_path, train=half, validation=half, test=half), binarize="stochastic")
    same = (dataset.validation.images == dataset.test.images).mean()
    assert abs(same - 0.5) < 5 * 0.5 / np.sqrt(half.size)


def test_a_part_without_images_is_left():
    assert load("digits", binarize="stochastic", validation_examples=0).validation.images.shape == (0, 8, 8, 1)


# What is refused


def valued(value, dtype=np.float32):
    images = np.zeros((20, 3, 4), dtype)
    images[7, 1, 2] = value
    return images


@pytest.mark.parametrize(
    ("array", "part"),
    [
        pytest.param(valued(np.nan), "finite", id="nan"),
        pytest.param(valued(np.inf), "finite", id="inf"),
        pytest.param(valued(1.001), "[0, 1]", id="float above 1"),
        pytest.param(valued(-0.001), "[0, 1]", id="float below 0"),
        pytest.param(valued(255.0), "[0, 1]", id="floats of 0 to 255"),
        pytest.param(valued(-1, np.int32), "-1", id="negative"),
        pytest.param(valued(256, np.int32), "256", id="above 255"),
        pytest.param(valued(2**64 - 1, np.uint64), str(2**64 - 1), id="uint64"),
        pytest.param(np.array(3), "[]", id="rank 0"),
        pytest.param(np.zeros(20), "[20]", id="rank 1"),
        pytest.param(np.zeros((20, 784)), "[20, 784]", id="rank 2"),
        pytest.param(np.zeros((20, 3, 4, 3, 1)), "[20, 3, 4, 3, 1]", id="rank 5"),
        pytest.param(np.zeros((0, 3, 4)), "[0, 3, 4]", id="no image"),
        pytest.param(np.zeros((20, 0, 4)), "[20, 0, 4]", id="no row"),
        pytest.param(np.zeros((20, 3, 4, 0)), "[20, 3, 4, 0]", id="no channel"),
        pytest.param(np.full((20, 3, 4), "a"), "<U1", id="strings"),
        pytest.param(np.full((20, 3, 4), b"a"), "S1", id="bytes"),
        pytest.param(valued(1, complex), "complex128", id="complex"),
        pytest.param(np.zeros((20, 3, 4), "datetime64[s]"), "datetime64", id="dates"),
        pytest.param(np.zeros((20, 3, 4), [("a", np.uint8)]), "must be images", id="structs"),
        pytest.param(GREY[:9], "at least 10 images", id="nine images"),
    ],
)
def test_an_array_that_is_not_images(tmp_path, array, part):
    message = refused(npy(tmp_path, array))
    assert message.startswith("--dataset") and "must" in message
    assert part in message


def contents(kind, folder):
    """A file that can't be read, of this kind."""
    good = npz(folder, images=GREY).read_bytes()
    array = npy(folder, GREY).read_bytes()
    middle = len(good) // 2
    return {
        "corrupt npz": ("b.npz", good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :]),
        "truncated npz": ("b.npz", good[:middle]),
        "npz without its last byte": ("b.npz", good[:-1]),
        "words as npz": ("b.npz", b"some words"),
        "zip magic alone": ("b.npz", b"PK\x03\x04" + b"x" * 100),
        "empty npz": ("b.npz", b""),
        "encrypted npz": ("b.npz", good.replace(b"PK\1\2-\3-\0\0", b"PK\1\2-\3-\0\1")),
        "npz of unknown compression": ("b.npz", good.replace(b"PK\1\2-\3-\0\0\0\0\0", b"PK\1\2-\3-\0\0\0\x63\0")),
        "truncated npy": ("b.npy", array[:-1]),
        "npy header alone": ("b.npy", array[:20]),
        "npy of unknown version": ("b.npy", b"\x93NUMPYxxxx"),
        "npy with an open bracket": ("b.npy", array.replace(b"7), }", b"7,{ (")),
        "npy with an unknown type": ("b.npy", array.replace(b"'|u1'", b"'|q9'")),
        "npy of a trillion images": (
            "b.npy",
            array.replace(b"(40, 5, 7), }" + b" " * 12, b"(40000000000000, 5, 7), }"),
        ),
        "words as npy": ("b.npy", b"some words"),
        "empty npy": ("b.npy", b""),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "corrupt npz",
        "truncated npz",
        "npz without its last byte",
        "words as npz",
        "zip magic alone",
        "empty npz",
        "encrypted npz",
        "npz of unknown compression",
        "truncated npy",
        "npy header alone",
        "npy of unknown version",
        "npy with an open bracket",
        "npy with an unknown type",
        "npy of a trillion images",
        "words as npy",
        "empty npy",
    ],
)
def test_a_file_that_can_not_be_read(tmp_path, kind):
    name, content = contents(kind, tmp_path)
    assert content not in [(tmp_path / f"x{suffix}").read_bytes() for suffix in (".npy", ".npz")]  # it is damaged
    (tmp_path / name).write_bytes(content)
    for memory_gb in (None, 0.0) if name.endswith("npy") else (None,):
        message = refused(tmp_path / name, memory_gb=memory_gb)
        assert message.startswith(f"--dataset={tmp_path / name}: must be a readable .npy or .npz file")


def test_pickles_are_refused(tmp_path):
    array = np.array([{"a": 1}] * 20, object)
    for path in (npy(tmp_path, array, allow_pickle=True), npz(tmp_path, images=array)):
        assert "without pickles" in refused(path)


@pytest.mark.parametrize("kind", ["missing", "directory", "loop"])
def test_no_file(tmp_path, kind):
    path = tmp_path / "a.npy"
    if kind == "directory":
        path.mkdir()
    if kind == "loop":
        path.symlink_to(path)
    assert refused(path).startswith(f"--dataset={path}: must be a readable .npy or .npz file")


def test_npz_without_images(tmp_path):
    assert "has pictures, places" in refused(npz(tmp_path, pictures=GREY, places=GREY))
    assert "has test" in refused(npz(tmp_path, test=GREY))
    with zipfile.ZipFile(tmp_path / "none.npz", "w"):
        pass
    assert "has none" in refused(tmp_path / "none.npz")
    with zipfile.ZipFile(tmp_path / "words.npz", "w") as file:
        file.writestr("images", "some words")
    assert refused(tmp_path / "words.npz").startswith("--dataset")


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": GREY, "labels": np.zeros(39, int)},
        {"images": GREY, "labels": np.zeros((40, 1), int)},
        {"images": GREY, "labels": np.zeros(40)},
        {"images": GREY, "labels": np.full(40, "a")},
        {"x_train": GREY, "y_train": np.zeros(40, int), "x_test": GREY[:9], "y_test": np.zeros(40, int)},
    ],
    ids=["too few", "a column", "floats", "words", "of the other part"],
)
def test_labels_that_do_not_fit(tmp_path, arrays):
    assert "labels" in refused(npz(tmp_path, **arrays))


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
    assert "finite" in refused(npz(tmp_path, **{**parts, part: bad}))
    assert "[0, 5, 7]" in refused(npz(tmp_path, **{**parts, part: floats[:0]}))


def test_sizes_that_are_too_large():
    assert load("digits", batch_size=1437).image_shape == (8, 8, 1)
    message = refused("digits", batch_size=1438)
    assert message.startswith("--batch_size=1438: must be at most") and "1,437" in message
    assert refused("digits", validation_examples=1617).startswith("--validation_examples=1617: must be")
    assert len(load("digits", validation_examples=1616).train.images) == 1


def test_too_many_of_a_given_validation_part(tmp_path):
    path = npz(tmp_path, train=GREY, validation=GREY[:7], test=GREY)
    assert len(load(path, validation_examples=7).validation.images) == 7
    message = refused(path, validation_examples=8)
    assert message.startswith("--validation_examples=8: must be") and "7" in message and "below 7" not in message


# TFDS


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(data, "_no_network", lambda url: "no network: unplugged")


@pytest.mark.parametrize(
    "name", ["no_such_set", "mnist/no_such_config", "mnist:9.9.9", "mnist/x=1", "two words", "MNIST!"]
)
def test_an_unknown_name(tmp_path, offline, name):
    message = refused(name, data_dir=str(tmp_path))
    assert message.startswith(f"--dataset={name}: must be ") and "TFDS" in message


def test_mnist_that_can_not_be_had(tmp_path, offline):
    message = refused("mnist", data_dir=str(tmp_path))
    assert message.startswith("--dataset=mnist: ") and "no network: unplugged" in message
    for way in ("--data_dir", "TFDS_DATA_DIR", str(tmp_path / "downloads" / "manual"), "--dataset=digits"):
        assert way in message
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_a_reason():
    assert data._no_network("http://127.0.0.1:9/mnist.gz").startswith("no network: ")


def test_auto_falls_back_to_the_digits(tmp_path, offline):
    name, why = data.resolve(Config(data_dir=str(tmp_path)))
    assert name == "digits"
    assert why.startswith("data: ") and "\n" not in why
    for part in ("digits", "mnist", str(tmp_path), "no network: unplugged"):
        assert part in why
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_kept(offline):
    assert data.resolve(Config(dataset="digits")) == ("digits", "data: digits")
    assert data.resolve(Config(dataset="mnist"))[0] == "mnist"


def prepared(name):
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"TFDS_DATA_DIR names no directory that has {name} prepared")


@pytest.mark.slow
def test_real_mnist():
    prepared("mnist")
    assert data.resolve(Config())[0] == "mnist"  # auto takes what is here
    dataset = load("mnist")
    assert [split.images.shape for split in dataset] == [(n, 28, 28, 1) for n in (55_000, 5_000, 10_000)]
    assert [split.labels.shape for split in dataset] == [(n,) for n in (55_000, 5_000, 10_000)]
    assert dataset.train.images.dtype == np.uint8
    sixty = np.concatenate([dataset.train.images, dataset.validation.images])
    assert sixty.mean(dtype=np.float64) / 255 == pytest.approx(0.1306604762738429, abs=1e-6)
    assert len(load("mnist", validation_examples=0).train.images) == 60_000
    assert not rows(sixty).keys() & rows(dataset.test.images).keys()


@pytest.mark.slow
def test_real_mnist_is_lecuns_image_by_image():
    """TFDS keeps its examples in an order of its own, so the first test image is not LeCun's first, a 7."""
    prepared("mnist")
    test = load("mnist").test
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    folder = Path(__file__).parents[2] / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not hold the original files to compare with")
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(images, np.uint8, offset=16).reshape(10_000, 28, 28, 1)
    labels = np.frombuffer(labels, np.uint8, offset=8)
    assert labels[0] == 7
    assert rows(test.images, test.labels) == rows(images, labels)


@pytest.mark.slow
def test_real_binarized_mnist():
    prepared("binarized_mnist")
    dataset = load("binarized_mnist")
    assert [split.images.shape for split in dataset] == [(n, 28, 28, 1) for n in (50_000, 10_000, 10_000)]
    for split in dataset:
        assert set(np.unique(split.images)) == {0, 255}
        assert split.labels is None
