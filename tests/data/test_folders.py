"""A folder of images as a data set: its parts, labels and pixels, what is refused, and what is said of it."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfvae.data import folders
from tfvae.errors import InputError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of the test's own."""
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TFVAE_CACHE", str(path))
    return path


def save(path, height=4, width=6, channels=0, dtype=np.uint8):
    """A random image, and its array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = RNG.integers(0, np.iinfo(dtype).max + 1, (height, width, channels) if channels else (height, width), dtype)
    Image.fromarray(array).save(path)
    return array


def read(folder, image_size=None, channels=None, skip_damaged=False, memory=1e9, with_labels=True):
    return folders.read(folder, image_size, channels, skip_damaged, memory, with_labels)


def refusal(folder, **options):
    with pytest.raises(InputError) as refused:
        read(folder, **options)
    message = refused.value.for_command_line
    assert message.startswith(f"--dataset={folder}: must ") and "\n" not in message
    return message.removeprefix(f"--dataset={folder}: must ")


def test_classes_in_parts(tmp_path):
    names = ["train/a/1.png", "train/a/2.png", "train/c/1.png", "val/b/1.png", "test/a/1.png", "test/c/1.png"]
    arrays = {name: save(tmp_path / name) for name in names}
    folder = read(tmp_path)
    assert list(folder.splits) == ["train", "validation", "test"]
    assert folder.notes == ("6 images of 3 classes",)
    for part, labels in (("train", [0, 0, 2]), ("validation", [1]), ("test", [0, 2])):
        split = folder.splits[part]
        expected = [arrays[name] for name in names if name.startswith(part[:3])]
        np.testing.assert_array_equal(split.images, np.stack(expected)[..., None])
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64 and split.labels.tolist() == labels
        assert split.label_names == ("a", "b", "c")


def test_without_labels(tmp_path):
    save(tmp_path / "a" / "1.png")
    split = read(tmp_path, with_labels=False).splits["train"]
    assert split.labels is None and split.label_names == ()
    assert folders.read(tmp_path, None, None, False, 1e9).splits["train"].labels.tolist() == [0]


def test_one_colour_image_makes_the_set_one_of_colours(tmp_path):
    grey, colour = save(tmp_path / "1.png"), save(tmp_path / "2.png", channels=3)
    deep = save(tmp_path / "3.png", dtype=np.uint16)
    folder = read(tmp_path)
    images = folder.splits["train"].images
    np.testing.assert_array_equal(images[:2], [np.stack([grey] * 3, -1), colour])
    np.testing.assert_allclose(images[2], np.stack([deep] * 3, -1) / 257, atol=0.51)
    assert folder.notes == ("3 images", "16-bit pixels reduced to 8 bits")


def test_16_bits_make_a_grey_set_one_of_floats(tmp_path):
    grey, deep = save(tmp_path / "1.png"), save(tmp_path / "2.png", dtype=np.uint16)
    folder = read(tmp_path)
    images = folder.splits["train"].images
    assert images.dtype == np.float32 and images.shape == (2, 4, 6, 1)
    np.testing.assert_allclose(images[..., 0], [grey / 255, deep / 65_535], rtol=1e-6)
    assert folder.notes == ("2 images", "16-bit pixels over 65,535")


def test_channels_and_image_size_are_as_asked_and_said(tmp_path):
    save(tmp_path / "1.png", 20, 30, 4)
    save(tmp_path / "2.png", 30, 20, 3)
    folder = read(tmp_path, image_size=(8, 12), channels=1)
    assert folder.splits["train"].images.shape == (2, 8, 12, 1)
    assert folder.notes == (
        "2 images",
        "cropped and resized to 8x12",
        "colours made grey",
        "transparent pixels on white",
    )
    assert read(tmp_path, image_size=(8, 12)).splits["train"].images.shape == (2, 8, 12, 3)


def test_several_sizes_are_refused_with_the_commonest(tmp_path):
    for i in range(3):
        save(tmp_path / f"a{i}.png", 4, 6)
    for i in range(2):
        save(tmp_path / f"b{i}.png", 6, 4)
    flag = "(height x width): --image_size=4,6 crops and resizes them"
    assert refusal(tmp_path) == f"have images of one size, and has 3 of 4x6 and 2 of 6x4 {flag}"
    save(tmp_path / "c.png", 9, 9)
    assert refusal(tmp_path) == f"have images of one size, and has 3 of 4x6, 2 of 6x4 and 1 other {flag}"


def test_damaged_files_are_named_or_left_out(tmp_path):
    arrays = [save(tmp_path / name / f"{i}.png", 40, 60) for i, name in enumerate("aabb")]
    (tmp_path / "a" / "0.png").write_bytes(b"")
    content = (tmp_path / "b" / "2.png").read_bytes()
    (tmp_path / "b" / "2.png").write_bytes(content[:1_000])
    hint = "(--skip_damaged leaves such files out)"
    assert refusal(tmp_path) == f"have images that can be read, and a/0.png can't: is empty {hint}"
    folder = read(tmp_path, skip_damaged=True)
    np.testing.assert_array_equal(folder.splits["train"].images[..., 0], [arrays[1], arrays[3]])
    assert folder.splits["train"].labels.tolist() == [0, 1]
    assert folder.notes == ("2 images of 2 classes", "2 damaged files left out: a/0.png, b/2.png")
    (tmp_path / "a" / "0.png").unlink()
    message = refusal(tmp_path)
    assert message.startswith("have images that can be read, and b/2.png can't: ") and message.endswith(hint)


def test_a_part_whose_files_are_all_damaged_is_refused(tmp_path):
    save(tmp_path / "train" / "1.png")
    save(tmp_path / "test" / "1.png")
    for part in ("test", "train"):
        for name in ("1.png", "2.png"):
            (tmp_path / part / name).write_bytes(b"?")
        message = "have images that can be read, and has none in {} files: {}/1.png: is no image"
        assert refusal(tmp_path, skip_damaged=True) == message.format(
            *((2, "test") if part == "test" else (4, "train"))
        )


def test_an_unfit_file_is_named(tmp_path):
    save(tmp_path / "a" / "1.png")
    Image.fromarray(np.zeros((4, 6), np.float32)).save(tmp_path / "a" / "f.tif")
    message = "have images of 8 or 16 bits, and a/f.tif has floating-point pixels (Pillow's mode F)"
    assert refusal(tmp_path, skip_damaged=True) == message


def test_neither_tensorflow_nor_keras_is_imported(tmp_path):
    save(tmp_path / "1.png")
    script = (
        "import sys; from pathlib import Path; from tfvae.data import folders\n"
        f"folders.read(Path({str(tmp_path)!r}), None, None, False, 1e9)\n"
        "print({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize(("name", "shown"), [("caf\udce9", r"caf\udce9"), ("a\nb", r"a\nb")])
def test_a_class_of_a_name_that_no_line_can_show_is_refused_unless_there_are_no_classes(tmp_path, name, shown):
    array = save(tmp_path / name / "1.png")
    assert refusal(tmp_path) == (
        f"have folders of classes whose names can be printed, and one is {shown}: rename it, or do without classes by "
        "--labels=none"
    )
    split = read(tmp_path, with_labels=False).splits["train"]
    np.testing.assert_array_equal(split.images, array[None, ..., None])


@pytest.mark.parametrize(("name", "shown"), [("caf\udce9.png", r"caf\udce9.png"), ("a\nb.png", r"a\nb.png")])
def test_files_of_such_names_are_read_and_told_in_a_line(tmp_path, name, shown):
    array = save(tmp_path / "a" / name)
    np.testing.assert_array_equal(read(tmp_path).splits["train"].images, array[None, ..., None])
    save(tmp_path / "a" / "other.png")
    (tmp_path / "a" / name).write_bytes(b"?")
    damage = f"have images that can be read, and a/{shown} can't: is no image (--skip_damaged leaves such files out)"
    assert refusal(tmp_path) == damage
    assert len(read(tmp_path, skip_damaged=True).splits["train"].images) == 1
    assert refusal(tmp_path) == damage  # from the cache
    save(tmp_path / "a" / name, height=5)
    assert refusal(tmp_path).startswith("have images of one size, and has 1 of ")
