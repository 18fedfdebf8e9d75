"""Images that stay on disk: the numbers are those of images in memory, to the bit."""

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from runs import assert_same_values, run_program, start

from tfvae import data
from tfvae.config import Config
from tfvae.core import noise
from tfvae.data.disk import DiskImages
from tfvae.errors import InputError, RunError
from tfvae.training import feeds, strategy
from tfvae.training.feeds import HeldImages, StreamedImages, epoch_order, epoch_orders, make_feed
from tfvae.training.step import TrainProgram
from tfvae.training.strategy import Placement, one_device

GREY = np.random.default_rng(0).integers(0, 256, (65, 6, 5), dtype=np.uint8)
FLOATS = (GREY / 255).astype(np.float32)
OPTIONS = {"hidden_units": (8,), "filters": (4,), "batch_size": 8, "epochs": 3, "validation_examples": 5}
CONV = {"network": "conv", "latent_dim": 3}  # quicker than the other network, which XLA compiles
EPOCH_STEPS = 6  # of 8 of the 54 images that are left to train on


@pytest.fixture(autouse=True)
def four_steps(monkeypatch):
    """Of bytes a buffer holds four steps, so that an epoch's second one is short; of floats it holds one."""
    monkeypatch.setattr(feeds, "_BUFFER_BYTES", 4 * 8 * 30)


def save(folder, images):
    np.save(folder / "images.npy", images)
    return str(folder / "images.npy")


def load(path, memory_gb=0.0, **options):
    return data.load(Config(**{**OPTIONS, **options}, dataset=path, memory_gb=memory_gb))


def train_images(folder, images, memory_gb=0.0):
    return load(save(folder, images), memory_gb).train.images


def trained(images, calls, **options):
    state, results = run_program(calls, images, **{**OPTIONS, **options})
    assert all(bad_step is None for _, bad_step in results)
    return state


# Training.


@pytest.mark.parametrize(
    ("images", "options"),
    [
        pytest.param(GREY, {"binarize": "stochastic"}, id="bytes, stochastic", marks=pytest.mark.slow),
        pytest.param(FLOATS, CONV, id="floats, conv"),
        pytest.param(GREY, {}, id="bytes", marks=pytest.mark.nightly),
        pytest.param(FLOATS, {}, id="floats", marks=pytest.mark.slow),
        pytest.param(GREY, {"binarize": "threshold"}, id="bytes, threshold", marks=pytest.mark.nightly),
        pytest.param(FLOATS, {"binarize": "threshold"}, id="floats, threshold", marks=pytest.mark.nightly),
        pytest.param(
            GREY, {"likelihood": "gaussian", "dequantize": True}, id="bytes, dequantized", marks=pytest.mark.slow
        ),
    ],
)
def test_the_weights_are_those_of_images_in_memory_bit_for_bit(tmp_path, images, options):
    path = save(tmp_path, images)
    memory = trained(load(path, None, **options).train.images, [(0, 15)], **options)
    calls = [(0, 0), (0, 1), (1, 4), (5, 3), (8, 0), (8, 7)]
    assert_same_values(trained(load(path, **options).train.images, calls, **options), memory)


@pytest.mark.slow
def test_a_run_that_goes_on_amid_a_buffer_has_the_weights_of_an_unbroken_one(tmp_path):
    memory, disk = (train_images(tmp_path, GREY, memory_gb) for memory_gb in (None, 0.0))
    state = trained(disk, [(0, 9)], **CONV)
    TrainProgram(state, Config(**{**OPTIONS, **CONV}), disk).run(9, 6)
    assert_same_values(state, trained(memory, [(0, 15)], **CONV))


# What is read.


def test_the_images_decide_which_feed_it_is(tmp_path):
    memory, disk = (train_images(tmp_path, GREY, memory_gb) for memory_gb in (None, 0.0))
    assert type(make_feed(Config(**OPTIONS), memory, one_device())) is HeldImages
    assert type(make_feed(Config(**OPTIONS), disk, one_device())) is StreamedImages


def test_an_epoch_visits_each_image_at_most_once_and_epochs_differ():
    orders = [epoch_order(0, e, 50) for e in range(3)]
    assert all((np.sort(o) == np.arange(50)).all() for o in orders)
    assert len({tuple(o) for o in orders}) == 3
    assert (epoch_order(1, 0, 50) != orders[0]).any()


def test_the_orders_of_some_epochs_are_those_of_each():
    np.testing.assert_array_equal(epoch_orders(3, 5, 4, 65), [epoch_order(3, epoch, 65) for epoch in range(5, 9)])


def test_an_epoch_s_order_sorts_the_integers_that_its_seed_gives():
    """In every release: run directories depend on it."""
    keys = noise.integers((65,), noise.seed_for(3, noise.Stream.SHUFFLE, 7)).numpy().view(np.int32)
    np.testing.assert_array_equal(epoch_order(3, 7, 65), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("count", [1, 8, 9, 30])
def test_held_images_are_all_there_in_the_order_of_the_step_s_epoch(monkeypatch, count):
    monkeypatch.setattr(feeds, "_MOST_EPOCHS", 3)
    feed = HeldImages(Config(**OPTIONS, seed=3), GREY[..., None], one_device())
    epoch_steps = 65 // 8
    shapes = set()
    for step in [*range(33), 3, 40]:  # in order, back and far off
        rows = feed.rows_at(step, count)
        assert rows.start <= step < rows.stop and rows.start % epoch_steps == rows.stop % epoch_steps == 0
        assert rows.stop - rows.start <= 3 * epoch_steps
        order = epoch_order(3, step // epoch_steps, 65)[step % epoch_steps * 8 :][:8]
        np.testing.assert_array_equal(rows.order[(step - rows.start) * 8 :][:8], order)
        np.testing.assert_array_equal(rows.stored.images, GREY[..., None])
        shapes.add(tuple(rows.order.shape))
    assert shapes == {(3 * epoch_steps * 8,)}  # else the program would be compiled anew
    fresh = feed.rows_at(80, count)  # the first step of an epoch
    assert (fresh.start, fresh.stop) == (80, 80 + min(3, -(-count // epoch_steps)) * epoch_steps)


def test_more_images_are_fewer_epochs_at_once(monkeypatch):
    monkeypatch.setattr(feeds, "_ORDER_ROWS", 200)
    assert HeldImages(Config(**OPTIONS), GREY[..., None], one_device()).epochs_at_once == 3  # of 65 images
    monkeypatch.setattr(feeds, "_ORDER_ROWS", 10)
    assert HeldImages(Config(**OPTIONS), GREY[..., None], one_device()).epochs_at_once == 1


class Worker(Placement):
    """One of some workers, without the others."""

    def per_replica(self, values):
        assert len(values) == self.local_replicas
        return values


@pytest.mark.parametrize(
    ("images", "workers", "replicas"),
    [(GREY, 1, 1), (GREY, 2, 2), (GREY, 2, 4), (FLOATS, 2, 2)],
    ids=["one", "two", "two of two replicas", "two, floats"],
)
def test_a_worker_reads_its_own_rows_of_each_batch_and_no_others(tmp_path, monkeypatch, images, workers, replicas):
    stored = train_images(tmp_path, images)
    share, reads = 8 // workers, []
    expected = np.asarray(stored)
    read = DiskImages.read
    monkeypatch.setattr(DiskImages, "read", lambda self, rows: reads.append(len(rows)) or read(self, rows))
    for index in range(workers):
        worker = Worker(SimpleNamespace(num_replicas_in_sync=replicas), workers, index)
        feed = StreamedImages(Config(**OPTIONS, seed=3), stored, worker)
        for step in [*range(15), 4, 5, 6, 0, 7, 40]:  # in order, back, to the start and far off
            rows = feed.rows_at(step, 1)
            assert rows.start <= step < rows.stop and len(rows.stored.images) == worker.local_replicas
            assert rows.start // EPOCH_STEPS == (rows.stop - 1) // EPOCH_STEPS
            order = epoch_order(3, step // EPOCH_STEPS, len(stored))
            batch = order[step % EPOCH_STEPS * 8 :][index * share : (index + 1) * share]
            places = rows.order.numpy()[(step - rows.start) * 8 :][index * share : (index + 1) * share]
            for buffer in rows.stored.images:
                np.testing.assert_array_equal(buffer.numpy()[places], expected[batch])
    assert max(reads) == share * min(EPOCH_STEPS, feeds._BUFFER_BYTES // (share * expected[0].nbytes))


@pytest.mark.parametrize("batch_size", [1, 54])
def test_a_buffer_as_large_as_an_epoch_or_smaller_than_a_batch(tmp_path, monkeypatch, batch_size):
    stored = train_images(tmp_path, GREY)
    for size, steps in ((2**30, 54 // batch_size), (1, 1)):
        monkeypatch.setattr(feeds, "_BUFFER_BYTES", size)
        feed = StreamedImages(Config(**{**OPTIONS, "batch_size": batch_size}), stored, one_device())
        rows = feed.rows_at(54 // batch_size, 1)  # the second epoch's first
        assert rows.stop - rows.start == steps and rows.stored.images.shape == (steps * batch_size, 6, 5, 1)
        order = epoch_order(0, 1, 54)[: steps * batch_size]
        np.testing.assert_array_equal(rows.stored.images.numpy()[rows.order.numpy()], np.asarray(stored)[order])


# What fails.


def steps_until_it_fails(stored):
    """For how many of 12 steps there are images, and how it ends."""
    feed = StreamedImages(Config(**OPTIONS), stored, one_device())
    for step in range(2 * EPOCH_STEPS):
        try:
            feed.rows_at(step, 1)
        except RunError as error:
            assert "\n" not in str(error) and error.__cause__ is None
            return step, str(error)
    return 2 * EPOCH_STEPS, None


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.001, 1.001])
def test_a_pixel_out_of_range_that_training_comes_upon_is_a_run_error_that_names_it(tmp_path, value):
    path = save(tmp_path, FLOATS)
    stored = load(path).train.images
    assert steps_until_it_fails(stored) == (12, None)
    row = epoch_order(0, 0, 54)[3 * 8 + 2]  # of step 3
    place = stored.file_rows[row]
    np.lib.format.open_memmap(path, "r+")[place, 2, 2] = value
    step, message = steps_until_it_fails(stored)
    assert step == 3
    assert message.startswith(f"--dataset={path}: must be of numbers in [0, 1]")
    assert message.endswith(f"has {value} at [{place}, 2, 2]")
    with pytest.raises(InputError, match=rf" at \[{place}, 2, 2\]"):  # of so few all are looked at before training
        load(path).fingerprint()


def test_a_file_that_is_cut_or_goes_while_training_is_a_run_error(tmp_path):
    path = save(tmp_path, GREY)
    stored = load(path).train.images
    os.truncate(path, os.path.getsize(path) // 2)
    assert f"--dataset={path}: must stay as it is" in steps_until_it_fails(stored)[1]
    os.remove(path)
    step, message = steps_until_it_fails(stored)
    assert step == 0 and path in message


def test_a_program_says_what_is_wrong_with_an_image(tmp_path):
    path = save(tmp_path, GREY)
    stored = load(path).train.images
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(RunError, match="must stay as it is"):
        trained(stored, [(0, 12)], **CONV)


def test_a_short_buffer_has_the_shape_and_type_of_a_whole_one(tmp_path):
    """Else the program would be compiled anew for each epoch's end."""
    feed = StreamedImages(Config(**OPTIONS), train_images(tmp_path, GREY), one_device())
    rows = [feed.rows_at(step, 1) for step in (0, 4, 6)]  # whole buffers, and a short one
    assert {(r.stored.images.dtype, tuple(r.stored.images.shape)) for r in rows} == {(tf.uint8, (32, 6, 5, 1))}
    assert {(r.order.dtype, tuple(r.order.shape)) for r in rows} == {(tf.int32, (32,))}


@pytest.mark.nightly
def test_mnist_on_disk_gives_the_weights_of_mnist_in_memory(tmp_path):
    directory = os.environ.get("TFDS_DATA_DIR", "")
    if not directory or not (Path(directory) / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR names no directory that has mnist prepared")
    shutil.copytree(Path(directory) / "mnist", tmp_path / "mnist", ignore=shutil.ignore_patterns("*tfvae*"))
    options = {"data_dir": str(tmp_path), "batch_size": 128, "hidden_units": (64,), "binarize": "stochastic"}
    memory, disk = (load("mnist", memory_gb, **options).train.images for memory_gb in (None, 0.01))
    assert isinstance(disk, DiskImages) and isinstance(memory, np.ndarray)
    calls = [(400, 100)]  # over the end of an epoch of 468
    assert_same_values(trained(disk, calls, **options), trained(memory, calls, **options))


# Held images in memory.


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_large_array_is_copied_to_the_device(monkeypatch, dtype):
    monkeypatch.setattr(strategy, "_LARGE_BYTES", 100)
    array = np.arange(5 * 7 * 11).reshape(5, 7, 11).astype(dtype)[:, ::2]
    expected = array.copy()
    tensor = one_device().per_replica([array])
    assert tensor.dtype == dtype and tensor.shape == (5, 4, 11)
    array[...] = 0  # whoever made it may change it
    np.testing.assert_array_equal(tensor, expected)


MEASURING = """
import numpy as np
from tfvae.runtime.tensorflow import import_tensorflow
import_tensorflow()
import tensorflow as tf
from tfvae.config import Config
from tfvae.training.feeds import HeldImages
from tfvae.training.strategy import one_device

def peak():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

images = np.ones((300_000, 28, 28, 1), np.uint8)
tf.ones([10]) + 1
before = peak()
feed = HeldImages(Config(dataset="x", epochs=1), images, one_device())
print((peak() - before) / images.nbytes)
"""


@pytest.mark.slow
def test_the_device_has_one_copy_of_the_images_and_none_is_made_on_the_way(tmp_path):
    done = start(["-c", MEASURING], stdout=subprocess.PIPE)
    copies = float(done.communicate()[0])
    assert done.returncode == 0 and 0.9 < copies < 1.2
