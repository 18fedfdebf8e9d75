"""The decoded images of a folder are kept, and count as long as they are whole and the folder is as it was."""

import collections
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfvae.data import folder_cache, folders, image_blocks
from tfvae.data.disk import DiskImages
from tfvae.errors import InputError

RNG = np.random.default_rng(0)
PARTS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def folder(tmp_path):
    for part in PARTS:
        for i in range(6):
            save(tmp_path / "set" / part / "ab"[i % 2] / f"{i}.png")
    return tmp_path / "set"


def save(path, height=4, width=6, value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width), dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    Image.fromarray(pixels).save(path)


@pytest.fixture
def decoded(monkeypatch):
    """How often each file has been decoded."""
    counts = collections.Counter()
    decode = image_blocks.decode

    def counting(path, form):
        counts[path] += 1
        return decode(path, form)

    monkeypatch.setattr(image_blocks, "decode", counting)
    return counts


def read(folder, image_size=None, channels=None, skip_damaged=False, memory=1e9, with_labels=True):
    return folders.read(folder, image_size, channels, skip_damaged, memory, with_labels)


def assert_same(one, other):
    assert one.notes == other.notes and list(one.splits) == list(other.splits)
    for a, b in zip(one.splits.values(), other.splits.values()):
        np.testing.assert_array_equal(a.images, b.images)
        assert a.images.dtype == b.images.dtype
        np.testing.assert_array_equal(a.labels, b.labels)
        assert a.label_names == b.label_names


def without_cache(folder, monkeypatch, **options):
    with monkeypatch.context() as patch:
        patch.setenv("TFVAE_CACHE", "")
        return read(folder, **options)


def files_of(cache):
    return sorted(path.name.split("-", 1)[-1] for path in cache.glob("*/*"))


def test_the_second_start_decodes_nothing(folder, cache, decoded, monkeypatch):
    first = read(folder)
    assert sum(decoded.values()) == 18
    monkeypatch.setattr(image_blocks, "read_header", None)
    assert_same(read(folder), first)
    assert read(folder, with_labels=False).splits["train"].labels is None
    assert_same(read(folder, skip_damaged=True), first)
    monkeypatch.chdir(folder.parent)
    assert_same(read(folder.relative_to(folder.parent)), first)
    assert sum(decoded.values()) == 18
    arrays = [f"{part}{end}.npy" for part in PARTS for end in ("", "-labels")]
    assert files_of(cache) == sorted([".lock", "info.json", *arrays])


def test_without_a_cache_the_same_is_decoded_into_memory(folder, cache, monkeypatch):
    assert_same(without_cache(folder, monkeypatch), read(folder))
    shutil.rmtree(cache)
    without_cache(folder, monkeypatch)
    assert not cache.exists()
    with pytest.raises(InputError) as refused:
        without_cache(folder, monkeypatch, memory=100)
    assert refused.value.for_command_line == (
        f"--dataset={folder}: must be kept decoded, for its 0.00 GB are more than --memory_gb, and there is no cache; "
        "TFVAE_CACHE names another place"
    )


def test_a_train_part_that_is_larger_than_memory_stays_on_disk(folder, monkeypatch):
    in_memory = read(folder)
    on_disk = read(folder, memory=6 * 24 - 1)
    assert isinstance(on_disk.splits["train"].images, DiskImages)
    assert not isinstance(on_disk.splits["test"].images, DiskImages)
    assert not isinstance(read(folder, memory=6 * 24).splits["train"].images, DiskImages)
    assert_same(on_disk, in_memory)


def changed(folder, change):
    path = folder / "train" / "a" / "0.png"
    if change == "written":
        save(path)
        os.utime(path, ns=(1, 1))
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(path.with_name("9.png"))
    elif change == "added":
        save(path.with_name("x.png"))
    else:
        save(folder / "train" / "c" / "x.png")


@pytest.mark.parametrize("change", ["written", "removed", "renamed", "added", "added as another class"])
def test_a_changed_folder_is_decoded_anew(folder, cache, decoded, monkeypatch, change):
    read(folder)
    before = sum(decoded.values())
    changed(folder, change)
    folder_now = read(folder)
    assert sum(decoded.values()) > before
    assert_same(folder_now, without_cache(folder, monkeypatch))
    assert len(list(cache.glob("*/*train.npy"))) == 1


def test_options_have_places_of_their_own(folder, cache, decoded):
    assert read(folder).splits["train"].images.shape == (6, 4, 6, 1)
    assert read(folder, channels=3).splits["train"].images.shape == (6, 4, 6, 3)
    assert read(folder, image_size=(2, 3)).splits["train"].images.shape == (6, 2, 3, 1)
    assert sum(decoded.values()) == 3 * 18 and len(list(cache.iterdir())) == 3
    assert read(folder).splits["train"].images.shape == (6, 4, 6, 1)
    assert sum(decoded.values()) == 3 * 18


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


@pytest.mark.parametrize("harm", [cut, empty, remove])
@pytest.mark.parametrize("name", ["info.json", "*-train.npy", "*-test.npy", "*-test-labels.npy"])
def test_a_damaged_cache_is_made_again(folder, cache, decoded, harm, name):
    first = read(folder)
    [path] = cache.glob(f"*/{name}")
    harm(path)
    assert_same(read(folder), first)
    assert sum(decoded.values()) == 2 * 18


@pytest.mark.parametrize("content", ["[]", "{}", '{"digest": 3}', '{"form": [1]}', "null"])
def test_an_info_file_that_says_something_else_is_made_again(folder, cache, content):
    first = read(folder)
    [path] = cache.glob("*/info.json")
    said = json.loads(path.read_text())
    if content == '{"form": [1]}':
        content = json.dumps({**said, "form": [1]})
    path.write_text(content)
    assert_same(read(folder), first)


def test_damage_is_told_from_the_cache_too(folder, decoded):
    (folder / "test" / "b" / "1.png").write_bytes(b"?")
    skipped = read(folder, skip_damaged=True)
    assert skipped.notes == ("17 images of 2 classes", "1 damaged file left out: test/b/1.png")
    assert skipped.splits["test"].labels.tolist() == [0, 0, 0, 1, 1]
    before = sum(decoded.values())
    with pytest.raises(InputError, match="and test/b/1.png can't: is no image .skip_damaged leaves such files out.$"):
        read(folder)
    assert sum(decoded.values()) == before
    assert_same(read(folder, skip_damaged=True), skipped)


def test_an_interrupted_decoding_leaves_nothing_that_counts(folder, cache, decoded, monkeypatch):
    replace, count = os.replace, iter(range(9))

    def interrupted(source, target):
        if next(count) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read(folder)
    assert "info.json" not in files_of(cache) and not list(cache.glob("*/*.tmp"))
    [place] = cache.iterdir()
    (place / ".0-train.npy.tmp").write_bytes(b"of a killed process")
    first = read(folder)
    assert not list(cache.glob("*/.*.tmp"))
    assert_same(first, without_cache(folder, monkeypatch))


def test_one_decodes_and_the_others_wait(folder, decoded):
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        results = list(threads.map(read, [folder] * 4))
    assert sum(decoded.values()) == 18
    for result in results[1:]:
        assert_same(result, results[0])


def full_disk(monkeypatch, cache):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100))


def fills_up(monkeypatch, cache):
    def append(self, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_cache.ArrayFile, "append", append)


def a_file_there(monkeypatch, cache):
    cache.parent.mkdir(parents=True)
    cache.touch()


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (full_disk, "No space left on device"),
        (fills_up, "No space left on device"),
        (a_file_there, "Not a directory"),
    ],
)
def test_where_nothing_can_be_kept_memory_has_to_do(folder, cache, monkeypatch, trouble, reason):
    expected = without_cache(folder, monkeypatch)
    trouble(monkeypatch, cache)
    assert_same(read(folder), expected)
    with pytest.raises(InputError) as refused:
        read(folder, memory=100)
    message = refused.value.for_command_line
    assert message.endswith(f" and {cache} can't take it: {reason}; TFVAE_CACHE names another place")
    if cache.is_dir():
        assert files_of(cache) == [".lock"]


MEASURED = """
import resource, sys
from pathlib import Path
from tfvae.data import folders
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder = folders.read(Path(sys.argv[1]), None, None, False, 1e6)
assert type(folder.splits["train"].images).__name__ == "DiskImages", folder
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tmp_path):
    peaks = {}
    for count in (5_000, 20_000):
        place = tmp_path / str(count)
        place.mkdir()
        for i in range(count):
            Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
                place / f"{i}.png", compress_level=1
            )
        command = [sys.executable, "-c", MEASURED, str(place)]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
        peaks[count] = float(output)
    assert peaks[20_000] < peaks[5_000] + 60, peaks  # MB; the images are 246 MB, and 184 MB more than those of 5,000
