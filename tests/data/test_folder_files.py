"""Which files of a folder are images, in which part and of which class; layouts that say nothing clear are refused."""

import os

import numpy as np
import pytest
from PIL import Image

from tfvae.data.folder_files import find
from tfvae.errors import InputError


def make(folder, *names):
    """Files without content: finding them reads none."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def relative(folder, part):
    return [str(path.relative_to(folder)) for path in part.paths]


def refusal(folder):
    with pytest.raises(InputError) as refused:
        find(folder)
    message = refused.value.for_command_line
    assert message.startswith(f"--dataset={folder}: must ") and "\n" not in message
    return message


def test_images_without_subfolders_have_no_labels(tmp_path):
    names = ["b.PNG", "a.jpg", "c.JPEG", "d.webp", "e.bmp", "f.gif", "g.tif", "h.Tiff"]
    make(tmp_path, *names, ".hidden.png", "notes.txt", "png", ".thumbnails/x.png", "empty/notes.txt")
    found = find(tmp_path)
    assert list(found.parts) == ["train"] and found.label_names == ()
    assert relative(tmp_path, found.parts["train"]) == sorted(names, key=str.lower)
    assert found.parts["train"].labels is None


def test_subfolders_are_classes_and_what_is_nested_belongs_to_the_top_one(tmp_path):
    make(
        tmp_path,
        "dog/2.png",
        "dog/old/1.png",
        "dog/old-er/1.png",
        "dog/old/x/1.png",
        "cat/z.png",
        "cat/a.png",
        "empty/notes.txt",
    )
    found = find(tmp_path)
    assert found.label_names == ("cat", "dog")
    assert relative(tmp_path, found.parts["train"]) == [
        "cat/a.png",
        "cat/z.png",
        "dog/2.png",
        "dog/old/1.png",
        "dog/old-er/1.png",
        "dog/old/x/1.png",
    ]
    assert found.parts["train"].labels == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_train_validation_and_test_are_parts_with_the_union_of_their_classes(tmp_path, validation):
    make(tmp_path, "train/b/1.png", "train/d/1.png", f"{validation}/c/1.png", "test/a/1.png", "test/d/1.png")
    make(tmp_path, "README/about.txt")
    found = find(tmp_path)
    assert list(found.parts) == ["train", "validation", "test"] and found.label_names == ("a", "b", "c", "d")
    assert [part.labels for part in found.parts.values()] == [[1, 3], [2], [0, 3]]
    assert relative(tmp_path, found.parts["validation"]) == [f"{validation}/c/1.png"]


def test_a_test_part_may_lack_classes(tmp_path):
    make(tmp_path, "train/b/1.png", "train/d/1.png", "test/1.png")
    parts = find(tmp_path).parts
    assert parts["train"].labels == [0, 1] and parts["test"].labels is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.txt"], "a folder of images, and has no file .png .jpg .jpeg .webp .bmp .gif .tif .tiff"),
        (["1.png", "cat/1.png"], "all images in folders of classes or none, and has 1.png beside the folder cat"),
        (["train/1.png", "train/cat/1.png"], "has train/1.png beside the folder train/cat"),
        (["train/1.png", "1.png"], "no images beside the folder train, and has 1.png"),
        (["train/1.png", "extra/1.png"], "no images beside train, validation and test, and has some in extra"),
        (["train/1.png", "test/1.txt"], "images in the folder test, and has none there"),
        (["train/1.txt", "test/1.png"], "images in the folder train, and has none there"),
        (["train/1.png", "val/1.png", "validation/1.png"], "one of the folders validation and val, not both"),
        (["val/1.png", "test/1.png"], "a folder train beside test, val"),
    ],
)
def test_a_layout_that_says_nothing_clear_is_refused(tmp_path, names, message):
    make(tmp_path, *names)
    assert message in refusal(tmp_path)


def test_a_single_image_is_refused(tmp_path):
    make(tmp_path, "one.jpg")
    assert refusal(tmp_path / "one.jpg").endswith("must be a folder of images, and is a single one: name its folder")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    make(tmp_path, "cat/1.png", "dog/1.png")
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refusal(tmp_path).endswith(f"a folder that can be read, and {tmp_path}/dog can't: Permission denied")
    assert "No such file" in refusal(tmp_path / "missing")


def test_pipes_are_passed_over_and_a_link_without_a_file_is_not(tmp_path):
    make(tmp_path, "cat/1.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat")
    assert relative(tmp_path, find(tmp_path).parts["train"]) == ["cat/1.png", "cat/link.png"]


@pytest.mark.parametrize("above", ["", "train"])
def test_a_link_to_a_folder_is_a_class(tmp_path, above):
    make(tmp_path / "elsewhere", "1.png")
    (tmp_path / "set" / above).mkdir(parents=True)
    (tmp_path / "set" / above / "cat").symlink_to(tmp_path / "elsewhere")
    found = find(tmp_path / "set")
    assert found.label_names == ("cat",) and found.parts["train"].labels == [0]


def test_the_digest_notices_each_change_of_a_file(tmp_path):
    make(tmp_path, "a.png", "b.png")
    digests = [find(tmp_path).digest]
    assert find(tmp_path).digest == digests[0]
    os.utime(tmp_path / "a.png", ns=(0, 1))
    digests.append(find(tmp_path).digest)
    (tmp_path / "a.png").write_bytes(b"x")
    os.utime(tmp_path / "a.png", ns=(0, 1))
    digests.append(find(tmp_path).digest)
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    digests.append(find(tmp_path).digest)
    (tmp_path / "c.png").unlink()
    digests.append(find(tmp_path).digest)
    make(tmp_path, "d.png")
    digests.append(find(tmp_path).digest)
    assert len(set(digests)) == len(digests)


def test_order_and_labels_are_those_of_keras(tmp_path):
    import keras

    names = [
        "dog/2.png",
        "dog/10.png",
        "dog/old/1.png",
        "dog/old-er/3.png",
        "dog/old/x/4.png",
        "Cat/z.png",
        "Cat/a.png",
        "ant/b.PNG",
    ]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), i).save(tmp_path / name)
    dataset = keras.utils.image_dataset_from_directory(
        tmp_path, shuffle=False, color_mode="grayscale", image_size=(3, 4), batch_size=None, verbose=False
    )
    found = find(tmp_path)
    pixels = [np.asarray(Image.open(path))[0, 0] for path in found.parts["train"].paths]
    expected = [(int(image[0, 0, 0]), int(label)) for image, label in dataset]
    assert list(zip(pixels, found.parts["train"].labels)) == expected
    assert list(found.label_names) == dataset.class_names
