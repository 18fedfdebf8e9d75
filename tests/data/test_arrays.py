"""Images in .npy and .npz files: which arrays are taken as what, and files that are refused."""

import zipfile

import numpy as np
import pytest
from sources import GREY, RNG, load, npy, npz, refused, rows, together


def test_npy_of_bytes(tmp_path):
    dataset = load(npy(tmp_path, GREY))
    assert [len(split.images) for split in dataset] == [32, 4, 4]  # a tenth each
    assert dataset.image_shape == (5, 7, 1)
    assert dataset.train.images.dtype == np.uint8
    assert all(split.labels is None for split in dataset)
    assert rows(together(dataset)) == rows(GREY)


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


def test_npz_that_is_larger_than_the_memory_it_may_take_is_refused(tmp_path):
    path = npz(tmp_path, images=np.tile(GREY, (100, 1, 1)), labels=np.arange(4_000))  # 0.172 MB
    message = refused(path, memory_gb=0.00017)
    assert message.startswith(f"dataset={path}: must be a .npy of the images alone, or memory_gb more")
    assert len(load(path, memory_gb=0.00018).train.images) == 3_200


def test_a_file_is_what_it_holds_whatever_its_name(tmp_path):
    npy(tmp_path, GREY).rename(tmp_path / "a.npz")
    npz(tmp_path, images=GREY).rename(tmp_path / "b.npy")
    for name in ("a.npz", "b.npy"):
        assert rows(together(load(tmp_path / name))) == rows(GREY)


def with_byte(content, place, byte):
    """A zip file with this byte in the entry of its directory: the versions of Python write others before it."""
    place += content.index(b"PK\1\2")
    return content[:place] + byte + content[place + 1 :]


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
        "encrypted npz": ("b.npz", with_byte(good, 8, b"\1")),
        "npz of unknown compression": ("b.npz", with_byte(good, 10, b"\x63")),
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
        assert message.startswith(f"dataset={tmp_path / name}: must be a readable .npy or .npz file")


def test_pickles_are_refused(tmp_path):
    array = np.array([{"a": 1}] * 20, object)
    for path in (npy(tmp_path, array, allow_pickle=True), npz(tmp_path, images=array)):
        assert "without pickles" in refused(path)


def test_members_that_nobody_needs_are_not_read(tmp_path):
    """A pickle is none of our business, as dSprites' metadata; and its size counts for nothing."""
    metadata = np.array({"author": "x" * 10_000}, object)
    path = npz(tmp_path, imgs=GREY, metadata=metadata, latents_classes=np.zeros((40, 6)), notes=np.full(9_000, "a"))
    dataset = load(path, memory_gb=2e-6)
    assert rows(together(dataset)) == rows(GREY) and not dataset.has_labels
    assert "to be that large" in refused(path, memory_gb=1e-6)


def test_a_pickle_that_is_needed_is_named_and_labels_can_be_done_without(tmp_path):
    path = npz(tmp_path, images=GREY, labels=np.array([{}] * 40, object))
    message = refused(path)
    assert message.startswith(f"dataset={path}: must be a readable .npy or .npz file without pickles: labels: ")
    assert rows(together(load(path, labels="none"))) == rows(GREY)


def test_npz_as_medmnist_has_it(tmp_path):
    parts = {"train": GREY[:20], "val": GREY[20:27], "test": GREY[27:]}
    labels = {f"{name}_labels": np.arange(len(images), dtype=np.uint8)[:, None] for name, images in parts.items()}
    dataset = load(npz(tmp_path, **{f"{name}_images": images for name, images in parts.items()}, **labels))
    for split, name in zip(dataset, parts):
        np.testing.assert_array_equal(split.images[..., 0], parts[name])
        assert split.labels.tolist() == list(range(len(parts[name])))


@pytest.mark.parametrize("kind", ["missing", "directory", "loop"])
def test_no_file(tmp_path, kind):
    path = tmp_path / "a.npy"
    if kind == "directory":
        path.mkdir()
    if kind == "loop":
        path.symlink_to(path)
    assert refused(path).startswith(f"dataset={path}: must be a readable .npy or .npz file")


def test_npz_without_images(tmp_path):
    assert "has pictures, places" in refused(npz(tmp_path, pictures=GREY, places=GREY))
    assert "has test" in refused(npz(tmp_path, test=GREY))
    with zipfile.ZipFile(tmp_path / "none.npz", "w"):
        pass
    assert "has none" in refused(tmp_path / "none.npz")
    with zipfile.ZipFile(tmp_path / "words.npz", "w") as file:
        file.writestr("images", "some words")
    assert refused(tmp_path / "words.npz").startswith("dataset=")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": GREY, "labels": np.zeros(39, int)},
            "labels must be a whole number or a word for each of the 40 examples",
        ),
        (
            {"x_train": GREY, "y_train": np.zeros(40, int), "x_test": GREY[:9], "y_test": np.zeros(40, int)},
            "y_test must be a whole number or a word for each of the 9 examples, and has the shape [40]",
        ),
        ({"images": GREY, "labels": np.float32(3)}, "labels must be .* the shape [] and the type float32;"),
    ],
    ids=["too few", "of the other part", "a number"],
)
def test_labels_of_another_number_are_refused(tmp_path, arrays, message):
    path = npz(tmp_path, **arrays)
    assert_message(refused(path), path, message)
    assert load(path, labels="none").train.labels is None


def assert_message(message, path, expected):
    begin, _, end = expected.partition(" .* ")
    assert message.startswith(f"dataset={path}: {begin}") and end in message
    assert message.endswith("; labels=none does without")
