"""What a run shows while it trains: real TensorBoard files read back, pictures, and lines on the terminal."""

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfvae.config import Config
from tfvae.config.flagfile import to_flagfile
from tfvae.training.monitor import Monitor

CONFIG = Config(dataset="digits", epochs=2, batch_size=16, run_dir="runs/a")
STEPS = 6  # 3 in each epoch
GREY = np.arange(20, dtype=np.uint8).reshape(4, 5, 1)
COLOURS = np.random.default_rng(0).integers(0, 256, (7, 6, 3), dtype=np.uint8)
VALIDATION = {
    "elbo": -70.25,
    "log_likelihood": -64.0,
    "kl": 6.25,
    "active_units": 2,
    "rmse": 0.5,
    "sigma": 0.25,
    "log_px": -69.0,
}


class Level:
    """In the place of a VAE: one variable, by which a picture tells which weights it is of."""

    def __init__(self, level=0):
        self.variables = [tf.Variable(level, dtype=tf.int32)]


def draw_pictures(vae):
    """What `run.py` hands the trainer."""
    yield "samples", GREY + vae.variables[0].numpy().astype(np.uint8)
    yield "latent_scatter", COLOURS


def make_monitor(folder, step=0):
    return Monitor(folder, CONFIG, step, STEPS, Level, draw_pictures, lambda: False)


@pytest.fixture
def monitor(tmp_path):
    with make_monitor(tmp_path) as monitor:
        yield monitor


def read_events(folder, part):
    """{tag: [(step, value), ...]} of what TensorBoard would show; reads the files that have been flushed."""
    events = EventAccumulator(str(folder / "tensorboard" / part), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def test_scalars_are_found_by_tensorboard_by_part_name_and_step(tmp_path):
    with make_monitor(tmp_path) as monitor:
        monitor.scalars("train", {"elbo": -80.5, "learning_rate": 1e-3}, 3)
        monitor.scalars("train", {"elbo": -75.0}, 6)
        monitor.validation(VALIDATION, 3)
    train, validation = (read_events(tmp_path, part) for part in ("train", "validation"))
    assert train.pop("config")[0][0] == 0
    assert train.keys() == {"elbo", "learning_rate"}
    assert [(step, float(value)) for step, value in train["elbo"]] == [(3, -80.5), (6, -75.0)]
    np.testing.assert_allclose(train["learning_rate"][0][1], 1e-3)
    assert {name: [(step, float(v)) for step, v in values] for name, values in validation.items()} == {
        "elbo": [(3, -70.25)],
        "log_likelihood": [(3, -64.0)],
        "kl": [(3, 6.25)],
        "active_units": [(3, 2.0)],
        "rmse": [(3, 0.5)],
        "sigma": [(3, 0.25)],
    }


def test_the_config_is_there_as_the_run_records_it(tmp_path):
    with make_monitor(tmp_path, step=4):
        pass
    [(step, text)] = read_events(tmp_path, "train")["config"]
    assert step == 4
    lines = text.item().decode().splitlines()
    assert [line.removeprefix("    ") for line in lines] == to_flagfile(CONFIG).splitlines()
    assert all(line.startswith("    ") for line in lines)  # Markdown's code: a flag a line


def test_pictures_are_png_files_of_the_newest_and_events_of_all(tmp_path, monitor):
    monitor.pictures(Level(0), 0)
    monitor.pictures(Level(100), 3)
    monitor.painter.close(failed=False)
    events = read_events(tmp_path, "train")  # they are flushed: TensorBoard sees them while the run goes on
    for name, expected in (("samples", [GREY, GREY + np.uint8(100)]), ("latent_scatter", [COLOURS, COLOURS])):
        assert [step for step, _ in events[name]] == [0, 3]
        for (_, (width, height, png)), picture in zip(events[name], expected):
            assert (int(width), int(height)) == (picture.shape[1], picture.shape[0])
            np.testing.assert_array_equal(tf.io.decode_png(png), picture)
    written = {path.stem: matplotlib.image.imread(path) for path in (tmp_path / "figures").iterdir()}
    assert written.keys() == {"samples", "latent_scatter"}
    np.testing.assert_array_equal((written["latent_scatter"][..., :3] * 255).round(), COLOURS)
    np.testing.assert_array_equal(
        (written["samples"][..., :3] * 255).round(), np.broadcast_to(GREY + np.uint8(100), (4, 5, 3))
    )


@pytest.mark.parametrize(
    ("validation", "line"),
    [
        (VALIDATION, "epoch 2/2: train ELBO -75.12, validation ELBO -70.25 (one z an image), 12,346 images/s\n"),
        (None, "epoch 2/2: train ELBO -75.12, 12,346 images/s\n"),
    ],
    ids=["with validation", "without"],
)
def test_the_line_of_an_epoch(monitor, capsys, validation, line):
    monitor.print_line(6, -75.123, validation, 12345.6)
    assert capsys.readouterr().out == line


class Bar:
    """In the place of tqdm's, which a test's standard error does not show."""

    def __init__(self, **options):
        self.options, self.images, self.texts = options, 0, []

    def set_description(self, text, refresh):
        self.texts.append(text)

    def set_postfix_str(self, text, refresh):
        self.texts.append(text)

    def update(self, images):
        self.images += images

    def close(self):
        self.texts.append("closed")


def test_the_bar_counts_images_and_names_the_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr("tfvae.training.monitor.tqdm.tqdm", Bar)
    with make_monitor(tmp_path, step=2) as monitor:
        bar = monitor.bar
        assert (bar.options["total"], bar.options["initial"]) == (6 * 16, 2 * 16)
        monitor.advance(1, 3, -80.0)
        monitor.advance(2, 5, -79.5)
    assert bar.images == 3 * 16
    assert bar.texts == ["epoch 1/2", "train ELBO -80.00 nats", "epoch 2/2", "train ELBO -79.50 nats", "closed"]
