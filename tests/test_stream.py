"""Images that stay on disk: the numbers are those of images in memory, to the bit, and the memory is bounded."""

import concurrent.futures
import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfvae import config

config.import_tensorflow()


import tfvae.train  # noqa: E402
from tfvae import evaluate  # noqa: E402
from tfvae.data import dataset as data  # noqa: E402
from tfvae.training import step as training  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.errors import InputError, RunError  # noqa: E402
from tfvae.training.strategy import Placement, one_device  # noqa: E402

GREY = np.random.default_rng(0).integers(0, 256, (65, 6, 5), dtype=np.uint8)
FLOATS = (GREY / 255).astype(np.float32)
OPTIONS = {"hidden_units": (8,), "filters": (4,), "batch_size": 8, "epochs": 3, "validation_examples": 5}
CONV = {"network": "conv", "latent_dim": 3}  # quicker than the other network, which XLA compiles
PER_EPOCH = 6  # steps of 8 of the 54 images that are left to train on


@pytest.fixture(autouse=True)
def four_steps(monkeypatch):
    """Of bytes a buffer holds four steps, so that an epoch's second one is short; of floats it holds one."""
    monkeypatch.setattr(training, "_BUFFER_BYTES", 4 * 8 * 30)


def save(folder, images):
    np.save(folder / "images.npy", images)
    return str(folder / "images.npy")


def load(path, memory_gb=0.0, **options):
    return data.load(Config(**{**OPTIONS, **options}, dataset=path, memory_gb=memory_gb))


def trained(images, calls, state=None, **options):
    """The state after calls of `run_steps` with these (first, count)."""
    config = Config(**{**OPTIONS, **options})
    state = state or training.create_state(config, images.shape[1:], len(images))
    run_steps = training.make_run_steps(state, config, images)
    for first, count in calls:
        assert run_steps(first, count)[1] is None
    return state


def assert_same_weights(state, other):
    assert state.step == other.step
    for name, variable in state.variables().items():
        np.testing.assert_array_equal(variable, other.variables()[name], err_msg=name)


# Training


@pytest.mark.parametrize(
    ("images", "options"),
    [
        pytest.param(GREY, {"binarize": "stochastic"}, id="bytes, stochastic"),
        pytest.param(FLOATS, CONV, id="floats, conv", marks=pytest.mark.slow),
        pytest.param(GREY, {}, id="bytes", marks=pytest.mark.slow),
        pytest.param(FLOATS, {}, id="floats", marks=pytest.mark.slow),
        pytest.param(GREY, {"binarize": "threshold"}, id="bytes, threshold", marks=pytest.mark.slow),
        pytest.param(FLOATS, {"binarize": "threshold"}, id="floats, threshold", marks=pytest.mark.slow),
        pytest.param(
            GREY, {"likelihood": "gaussian", "dequantize": True}, id="bytes, dequantized", marks=pytest.mark.slow
        ),
    ],
)
def test_the_weights_are_those_of_images_in_memory_bit_for_bit(tmp_path, images, options):
    path = save(tmp_path, images)
    memory = trained(load(path, None, **options).train.images, [(0, 15)], **options)
    calls = [(0, 0), (0, 1), (1, 4), (5, 3), (8, 0), (8, 7)]
    assert_same_weights(trained(load(path, **options).train.images, calls, **options), memory)


def test_a_run_that_goes_on_amid_a_buffer_has_the_weights_of_an_unbroken_one(tmp_path):
    memory, disk = (load(save(tmp_path, GREY), memory_gb).train.images for memory_gb in (None, 0.0))
    state = trained(disk, [(0, 9)], **CONV)
    assert_same_weights(trained(disk, [(9, 6)], state, **CONV), trained(memory, [(0, 15)], **CONV))


def train(path, folder, **options):
    here = {"run_dir": str(folder / "run"), "export_dir": str(folder / "export"), "eval_samples": 5}
    return tfvae.train.train(Config(**{**OPTIONS, **CONV, **here, **options}, dataset=path))


def test_a_run_says_that_it_reads_from_disk_and_has_the_weights_of_images_in_memory(tmp_path, capsys):
    path = save(tmp_path, GREY)
    train(path, tmp_path, memory_gb=0.0)
    assert capsys.readouterr().out.splitlines()[0].endswith("of 6x5x1; training images are read from disk")
    memory = trained(load(path, None).train.images, [(0, 3 * PER_EPOCH)], **CONV)
    vae = tfvae.load(tmp_path / "run").vae
    for ours, expected in zip(vae.variables, memory.vae.variables, strict=True):
        np.testing.assert_array_equal(ours, expected, err_msg=ours.path)


@pytest.mark.slow
def test_a_run_may_go_on_and_be_evaluated_with_other_memory(tmp_path, capsys):
    path = save(tmp_path, GREY)
    unbroken = train(path, tmp_path / "unbroken")
    assert "from disk" not in capsys.readouterr().out
    for epochs, memory_gb in ((1, None), (2, 0.0), (3, None)):
        broken = train(path, tmp_path / "broken", epochs=epochs, memory_gb=memory_gb)
    assert {**broken, "train": 0, "export": 0} == {**unbroken, "train": 0, "export": 0}
    evaluate.main({"run_dir": str(tmp_path / "broken" / "run")})


# What is read


class Worker(Placement):
    """One of some workers, without the others."""

    def per_replica(self, values):
        assert len(values) == self.local
        return values


@pytest.mark.parametrize(
    ("images", "workers", "replicas"),
    [(GREY, 1, 1), (GREY, 2, 2), (GREY, 2, 4), (FLOATS, 2, 2)],
    ids=["one", "two", "two of two replicas", "two, floats"],
)
def test_a_worker_reads_its_own_rows_of_each_batch_and_no_others(tmp_path, monkeypatch, images, workers, replicas):
    stored = load(save(tmp_path, images)).train.images
    share, own = 8 // workers, []
    expected = np.asarray(stored)
    read = data.Stored.read
    monkeypatch.setattr(data.Stored, "read", lambda self, rows: own.append(len(rows)) or read(self, rows))
    for index in range(workers):
        worker = Worker(SimpleNamespace(num_replicas_in_sync=replicas), workers, index)
        find = training._stream(Config(**OPTIONS, seed=3), stored, worker)
        for step in [*range(15), 4, 5, 6, 0, 7, 40]:  # in order, back, to the start and far off
            rows = find(step)
            assert rows.start <= step < rows.stop and len(rows.images) == worker.local
            assert rows.start // PER_EPOCH == (rows.stop - 1) // PER_EPOCH
            order = training.epoch_order(3, step // PER_EPOCH, len(stored))
            batch = order[step % PER_EPOCH * 8 :][index * share : (index + 1) * share]
            places = rows.order.numpy()[(step - rows.start) * 8 :][index * share : (index + 1) * share]
            for buffer in rows.images:
                np.testing.assert_array_equal(buffer.numpy()[places], expected[batch])
    assert max(own) == share * min(PER_EPOCH, training._BUFFER_BYTES // (share * expected[0].nbytes))


@pytest.mark.parametrize("batch_size", [1, 54])
def test_a_buffer_as_large_as_an_epoch_or_smaller_than_a_batch(tmp_path, monkeypatch, batch_size):
    stored = load(save(tmp_path, GREY)).train.images
    for size, steps in ((2**30, 54 // batch_size), (1, 1)):
        monkeypatch.setattr(training, "_BUFFER_BYTES", size)
        find = training._stream(Config(**{**OPTIONS, "batch_size": batch_size}), stored, one_device())
        rows = find(54 // batch_size)  # the second epoch's first
        assert rows.stop - rows.start == steps and rows.images.shape == (steps * batch_size, 6, 5, 1)
        order = training.epoch_order(0, 1, 54)[: steps * batch_size]
        np.testing.assert_array_equal(rows.images.numpy()[rows.order.numpy()], np.asarray(stored)[order])


# What fails


def found_until_it_fails(stored):
    """How many of 12 steps' images are found, and how it ends."""
    find = training._stream(Config(**OPTIONS), stored, one_device())
    for step in range(2 * PER_EPOCH):
        try:
            find(step)
        except RunError as error:
            assert "\n" not in str(error) and error.__cause__ is None
            return step, str(error)
    return 2 * PER_EPOCH, None


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.001, 1.001])
def test_a_pixel_out_of_range_that_training_comes_upon_is_a_run_error_that_names_it(tmp_path, value):
    path = save(tmp_path, FLOATS)
    stored = load(path).train.images
    assert found_until_it_fails(stored) == (12, None)
    row = training.epoch_order(0, 0, 54)[3 * 8 + 2]  # of step 3
    place = stored.which[row]
    np.lib.format.open_memmap(path, "r+")[place, 2, 2] = value
    step, message = found_until_it_fails(stored)
    assert step == 3
    assert message == f"--dataset={path}: must be of finite numbers in [0, 1], and images[{place}] is not"
    with pytest.raises(InputError, match=rf"images\[{place}\] is not"):  # of so few all are looked at before training
        load(path).fingerprint()


def test_a_file_that_is_cut_or_goes_while_training_is_a_run_error(tmp_path):
    path = save(tmp_path, GREY)
    stored = load(path).train.images
    os.truncate(path, os.path.getsize(path) // 2)
    assert f"--dataset={path}: must stay as it is" in found_until_it_fails(stored)[1]
    os.remove(path)
    step, message = found_until_it_fails(stored)
    assert step == 0 and path in message


# TFDS


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    """A TFDS set, prepared in three files, and its directory."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.raises(InputError):
        data._prepare("no_such_set", str(folder))  # imports TFDS as it must be
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


def load_set(folder, memory_gb=0.0):
    return load("streamed_set", memory_gb, data_dir=str(folder))


def assert_same(disk, memory):
    for a, b in zip(disk, memory):
        np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(disk.test.labels, memory.test.labels)
    assert disk.fingerprint() == memory.fingerprint()


def as_tfds_reads_it(folder, monkeypatch):
    """As where nothing can be written beside the set."""

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(data, "_unpacked", refuse)
        return load_set(folder, None)


def test_a_tfds_set_is_unpacked_once_in_its_own_order(copied, monkeypatch):
    memory = as_tfds_reads_it(copied, monkeypatch)
    assert not unpacked(copied).exists() and len(list(unpacked(copied).parent.glob("*train*-of-00003"))) == 3
    unpacked(copied).with_name(".tfvae-train.npy.tmp").write_bytes(b"x" * 10**5)  # of a killed process
    for memory_gb in (0.0, None):
        found = load_set(copied, memory_gb)
        assert_same(found, memory)
        np.testing.assert_array_equal(found.train.labels, memory.train.labels)
    locks = [".tfvae-test.npy.lock", ".tfvae-train.npy.lock"]
    assert sorted(p.name for p in unpacked(copied).parent.glob(".*")) == locks
    monkeypatch.setattr(data, "_unpack", None)
    assert_same(load_set(copied), memory)


def test_a_tfds_set_that_is_prepared_anew_is_unpacked_anew(copied):
    memory = load_set(copied, None)
    np.save(unpacked(copied), GREY[..., None] // 2)
    assert (load_set(copied).train.images.read(np.arange(60)) < 128).all()
    os.utime(unpacked(copied).with_name("dataset_info.json"), (time.time() + 9, time.time() + 9))
    assert_same(load_set(copied), memory)


def test_one_of_many_processes_unpacks_and_the_others_wait(copied, monkeypatch):
    calls, unpack = [], data._unpack

    def slowly(builder, split, label, images, labels):
        calls.append(images)
        time.sleep(0.5)
        unpack(builder, split, label, images, labels)

    monkeypatch.setattr(data, "_unpack", slowly)
    builder = data._prepare("streamed_set", str(copied))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for paths in pool.map(data._unpacked, [builder] * 3, ["train"] * 3, ["label"] * 3):
            assert [len(np.load(path)) for path in paths] == [65, 65]
    assert calls == [unpacked(copied)]


def test_a_directory_that_can_not_take_the_unpacked_images_is_refused(copied, monkeypatch):
    import tensorflow_datasets as tfds

    def full(examples):
        yield {"image": GREY[:9, ..., None], "label": np.arange(9)}
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched, pytest.raises(InputError) as caught:
        patched.setattr(tfds, "as_numpy", full)
        load_set(copied)
    assert str(caught.value) == (
        f"--data_dir={copied}: must take the images of streamed_set unpacked, for they are larger than --memory_gb: "
        "No space left on device"
    )
    lock = unpacked(copied).with_name(".tfvae-train.npy.lock")
    assert list(lock.parent.glob("*tfvae*")) == [lock]
    lock.unlink()
    lock.mkdir()  # as good as a directory that can't be written, which root does not know
    with pytest.raises(InputError, match="^--data_dir=.*: Is a directory$"):
        load_set(copied)
    np.save(unpacked(copied).with_name("tfvae-train-labels.npy"), np.zeros(len(GREY), int))
    np.save(unpacked(copied), GREY[..., None])
    assert len(load_set(copied).train.images) == 60  # once unpacked, nothing is written


@pytest.mark.slow
def test_mnist_on_disk_is_that_in_memory(tmp_path):
    source = Path(os.environ.get("TFDS_DATA_DIR", "")) / "mnist"
    if "TFDS_DATA_DIR" not in os.environ or not source.is_dir():
        pytest.skip("TFDS_DATA_DIR names no directory that has mnist prepared")
    shutil.copytree(source, tmp_path / "mnist", ignore=shutil.ignore_patterns("*tfvae*"))
    options = {"data_dir": str(tmp_path), "batch_size": 128, "hidden_units": (64,), "binarize": "stochastic"}
    memory, disk = (load("mnist", memory_gb, **options) for memory_gb in (None, 0.01))
    assert_same(disk, memory)
    calls = [(400, 100)]  # over the end of an epoch of 468
    states = (trained(parts.train.images, calls, **options) for parts in (memory, disk))
    assert_same_weights(*states)


# The process


def run_program(text, *arguments, first=""):
    """What a program prints that begins with these imports; it must end by itself."""
    imports = "import sys, threading, time\nimport numpy as np\nfrom tfvae import config\n"
    imports += "config.import_tensorflow()\nimport tfvae.train\nfrom tfvae import Config, data, training\n"
    command = [sys.executable, "-c", first + imports + text, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sparse(path, size):
    np.lib.format.open_memmap(path, "w+", np.uint8, (size, 28, 28))
    return path


@pytest.mark.slow
def test_no_image_is_read_any_more_when_the_interpreter_ends(tmp_path):
    """A thread of tf.data that would then call Python often kept the process from ending."""
    first = """
import atexit, time
begun = []
def last():  # registered first
    before = len(begun)
    time.sleep(2)
    print(before, len(begun))
atexit.register(last)
"""
    text = """
images = data.load(Config(dataset=sys.argv[1], batch_size=8, memory_gb=0.0)).train.images
read = images.read
images.read = lambda rows: begun.append(rows) or time.sleep(0.3) or read(rows)
training._BUFFER_BYTES = 1
find = training._stream(Config(batch_size=8), images, tfvae.strategy.one_device())
find(0)
find(1)
"""
    before, after = run_program(text, save(tmp_path, GREY), first=first).split()
    assert before == after


@pytest.mark.slow
def test_memory_is_that_of_a_few_buffers_however_large_the_file(tmp_path):
    text = """
def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) * 1e3
def watch():
    while True:
        peaks[-1] = max(peaks[-1], anonymous())
        time.sleep(0.01)
peaks = [0]
threading.Thread(target=watch, daemon=True).start()
for path in sys.argv[1:]:
    peaks.append(0)
    tfvae.train.train(Config(
        dataset=path, memory_gb=0.01, hidden_units=(8,), batch_size=1_000, epochs=1, eval_samples=1,
        run_dir=path + ".run", export_dir=path + ".export",
    ))
print(*peaks[1:])
"""
    small, large = (sparse(tmp_path / f"{size}.npy", size) for size in (100_000, 1_300_000))
    before, peak = map(float, run_program(text, small, large).split()[-2:])
    assert peak - before < 0.2e9 < large.stat().st_size / 5
