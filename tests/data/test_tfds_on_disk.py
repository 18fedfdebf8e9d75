"""A TFDS set that is larger than the memory it may take is unpacked once, and read from there."""

import concurrent.futures
import errno
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

from tfvae import data  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.data import tfds as source  # noqa: E402
from tfvae.errors import InputError  # noqa: E402

GREY = np.random.default_rng(0).integers(0, 256, (65, 6, 5), dtype=np.uint8)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    """A TFDS set, prepared in three files, and its directory."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.raises(InputError):
        source.prepare("no_such_set", str(folder))  # imports TFDS as it must be
    import tensorflow_datasets as tfds

    class StreamedSet(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(6, 5, 1)), "label": tfds.features.ClassLabel(num_classes=9)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(GREY), "test": self._generate_examples(GREY[:7])}

        def _generate_examples(self, images):
            for i, image in enumerate(images):
                yield i, {"image": image[..., None], "label": i % 9}

    StreamedSet(data_dir=str(folder)).download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=3, try_download_gcs=False)
    )
    return folder


@pytest.fixture
def copied(small_set, tmp_path):
    shutil.copytree(small_set, tmp_path / "tfds")
    return tmp_path / "tfds"


def unpacked(folder):
    return folder / "streamed_set" / "1.0.0" / "tfvae-train.npy"


def load(folder, memory_gb=0.0):
    config = Config(
        dataset="streamed_set", data_dir=str(folder), memory_gb=memory_gb, batch_size=8, validation_examples=5
    )
    return data.load(config)


def assert_same(disk, memory):
    for a, b in zip(disk, memory):
        np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(disk.test.labels, memory.test.labels)
    assert disk.fingerprint() == memory.fingerprint()


def load_as_tfds_reads_it(folder, monkeypatch):
    """As where nothing can be written beside the set."""

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(source.UnpackedFiles, "make", refuse)
        return load(folder, None)


def test_a_tfds_set_is_unpacked_once_in_its_own_order(copied, monkeypatch):
    memory = load_as_tfds_reads_it(copied, monkeypatch)
    assert not unpacked(copied).exists() and len(list(unpacked(copied).parent.glob("*train*-of-00003"))) == 3
    unpacked(copied).with_name(".tfvae-train.npy.tmp").write_bytes(b"x" * 10**5)  # of a killed process
    for memory_gb in (0.0, None):
        dataset = load(copied, memory_gb)
        assert_same(dataset, memory)
        np.testing.assert_array_equal(dataset.train.labels, memory.train.labels)
    locks = [".tfvae-test.npy.lock", ".tfvae-train.npy.lock"]
    assert sorted(p.name for p in unpacked(copied).parent.glob(".*")) == locks
    monkeypatch.setattr(source.UnpackedFiles, "_unpack", None)
    assert_same(load(copied), memory)


def test_a_tfds_set_that_is_prepared_anew_is_unpacked_anew(copied):
    memory = load(copied, None)
    np.save(unpacked(copied), GREY[..., None] // 2)
    assert (load(copied).train.images.read(np.arange(60)) < 128).all()
    later = unpacked(copied).stat().st_mtime + 9
    os.utime(unpacked(copied).with_name("dataset_info.json"), (later, later))
    assert_same(load(copied), memory)


def test_one_of_many_unpacks_and_the_others_wait(copied, monkeypatch):
    """Whoever unpacks goes on only when all have seen that the files are missing."""
    unpackings, looks, all_have_looked = [], [], threading.Event()
    unpack, are_current = source.UnpackedFiles._unpack, source.UnpackedFiles.are_current

    def look(files):
        answer = are_current(files)
        looks.append(answer)
        if len(looks) == 4:  # three before they take turns, and one of whose turn it is
            all_have_looked.set()
        return answer

    def unpack_late(files):
        unpackings.append(files.images)
        assert all_have_looked.wait(300)
        unpack(files)

    builder = source.prepare("streamed_set", str(copied))
    monkeypatch.setattr(source.UnpackedFiles, "are_current", look)
    monkeypatch.setattr(source.UnpackedFiles, "_unpack", unpack_late)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        files = [source.UnpackedFiles(builder, "train", True) for _ in range(3)]
        list(pool.map(source.UnpackedFiles.make, files))
    assert unpackings == [unpacked(copied)]
    assert looks == [False] * 4 + [True] * 2
    split = files[0].load(on_disk=False)
    assert (len(split.images), len(split.labels)) == (65, 65)


def test_a_set_is_read_without_its_labels_and_then_with_them(copied):
    builder = source.prepare("streamed_set", str(copied))
    without = source.load("streamed_set", str(copied), 1e9, with_labels=False)["train"]
    assert without.labels is None and not unpacked(copied).with_name("tfvae-train-labels.npy").exists()
    split = source.load("streamed_set", str(copied), 1e9)["train"]
    np.testing.assert_array_equal(split.images, without.images)
    assert len(split.labels) == builder.info.splits["train"].num_examples


def test_labels_of_tfds_are_single_whole_numbers(small_set):
    import tensorflow_datasets as tfds

    features = tfds.features
    wanted = {
        True: [features.ClassLabel(num_classes=3), features.Scalar(np.int32)],
        False: [features.Text(), features.Scalar(np.float32), features.Tensor(shape=(2,), dtype=np.int64)],
    }
    for is_label, kinds in wanted.items():
        assert [source._is_whole_number(feature) for feature in kinds] == [is_label] * len(kinds)


def test_a_directory_that_can_not_take_the_unpacked_images_is_refused(copied, monkeypatch):
    import tensorflow_datasets as tfds

    def full(examples):
        yield {"image": GREY[:9, ..., None], "label": np.arange(9)}
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched, pytest.raises(InputError) as caught:
        patched.setattr(tfds, "as_numpy", full)
        load(copied)
    assert str(caught.value) == (
        f"data_dir={copied}: must take the images of streamed_set unpacked, for they are larger than memory_gb: "
        "No space left on device"
    )
    lock = unpacked(copied).with_name(".tfvae-train.npy.lock")
    assert list(lock.parent.glob("*tfvae*")) == [lock]
    lock.unlink()
    lock.mkdir()  # as good as a directory that can't be written, which root does not know
    with pytest.raises(InputError, match="^data_dir=.*: Is a directory$"):
        load(copied)
    np.save(unpacked(copied).with_name("tfvae-train-labels.npy"), np.zeros(len(GREY), int))
    np.save(unpacked(copied), GREY[..., None])
    assert len(load(copied).train.images) == 60  # once unpacked, nothing is written


@pytest.mark.slow
def test_mnist_on_disk_is_that_in_memory(tmp_path):
    directory = os.environ.get("TFDS_DATA_DIR", "")
    if not directory or not (Path(directory) / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR names no directory that has mnist prepared")
    shutil.copytree(Path(directory) / "mnist", tmp_path / "mnist", ignore=shutil.ignore_patterns("*tfvae*"))
    options = {"dataset": "mnist", "data_dir": str(tmp_path), "batch_size": 128, "binarize": "stochastic"}
    memory, disk = (data.load(Config(**options, memory_gb=memory_gb)) for memory_gb in (None, 0.01))
    assert not isinstance(disk.train.images, np.ndarray)
    assert_same(disk, memory)
