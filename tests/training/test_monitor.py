"""What a run shows while it trains: real TensorBoard files read back, pictures, and lines on the terminal."""

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
import tqdm
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trainers import Clock

from tfvae.config import Config
from tfvae.config.flagfile import to_flagfile
from tfvae.runtime import progress
from tfvae.training import forecast, notes
from tfvae.training.monitor import BAR, Monitor

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


# The lines, by the test's clock.

LONG = Config(dataset="digits", epochs=40, batch_size=50).as_usual()  # 10 steps an epoch


class ClockOfDay(Clock):
    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = ClockOfDay()
    for module in (forecast, notes, progress):
        monkeypatch.setattr(module, "time", clock)
    return clock


def make_long(folder, config=LONG, step=0, examples="images"):
    return Monitor(folder, config, step, 400, Level, draw_pictures, lambda: False, examples)


def lines(capsys):
    """What was printed since the last call, but for the line on what the whole training takes."""
    return [line for line in capsys.readouterr().out.splitlines() if "will take" not in line]


def test_a_long_first_epoch_is_told_of_every_30_seconds_and_at_its_end(tmp_path, capsys, clock):
    with make_long(tmp_path) as monitor:
        clock.now += 100  # in which the program was compiled
        monitor.begin(0)
        for step in range(1, 10):
            clock.now += 12
            monitor.advance(1, step, -100.0 - step, 5.0)
        assert lines(capsys) == [
            "epoch 1/40, step 3 of 10: train ELBO -103.00, 4 images/s, about 79 minutes left",
            "epoch 1/40, step 6 of 10: train ELBO -106.00, 4 images/s, about 79 minutes left",
            "epoch 1/40, step 9 of 10: train ELBO -109.00, 4 images/s, about 78 minutes left",
        ]
        clock.now += 12
        monitor.advance(1, 10, -110.0, 5.0)
        monitor.validation({**VALIDATION, "elbo": -99.125}, 10)
        monitor.end_epoch(10, -110.0, False)
    assert lines(capsys) == [
        "epoch 1/40: train ELBO -110.00, validation ELBO -99.12 (one z an image), 4 images/s, about 78 minutes left"
    ]


def test_a_validation_is_told_of_once(tmp_path, capsys, clock):
    with make_long(tmp_path) as monitor:
        clock.now += 1
        monitor.advance(10, 10, -90.0, 5.0)
        monitor.end_epoch(10, -90.0, False)
        clock.now += 5
        monitor.advance(20, 30, -80.0, 5.0)
        monitor.validation({**VALIDATION, "elbo": -85.0}, 30)
        monitor.end_epoch(30, -80.0, False)  # there was a line at an epoch before, but none for twice as many
        clock.now += 40
        monitor.advance(4, 34, -79.0, 5.0)
        clock.now += 40
        monitor.advance(4, 38, -79.0, 5.0)
    first, second, third, fourth = lines(capsys)
    assert first.startswith("epoch 1/40: train ELBO -90.00, ")
    assert second.startswith("epoch 3/40: train ELBO -80.00, validation ELBO -85.00 (one z an image), ")
    assert third.startswith("epoch 4/40, step 4 of 10: train ELBO -79.00, ") and "validation" not in third
    assert fourth.startswith("epoch 4/40, step 8 of 10: ")


def test_what_a_plain_autoencoder_is_trained_by_is_called_no_elbo(tmp_path, capsys, clock):
    config = Config(dataset="digits", objective="autoencoder", epochs=40).as_usual()
    with Monitor(tmp_path, config, 0, 400, Level, draw_pictures, lambda: False) as monitor:
        clock.now += 1
        monitor.end_epoch(10, -90.0, False)
    assert lines(capsys)[0].startswith("epoch 1/40: train log p(x|z) -90.00")


def test_a_line_names_the_epoch_of_a_validation_before(tmp_path, capsys, clock):
    with make_long(tmp_path) as monitor:
        clock.now += 1
        monitor.end_epoch(10, -90.0, False)
        monitor.next_epoch = 99  # none is due
        monitor.validation({**VALIDATION, "elbo": -85.0}, 20)
        monitor.end_epoch(20, -80.0, False)
        clock.now += 30
        monitor.advance(3, 23, -79.0, 5.0)
    assert lines(capsys)[1].startswith(
        "epoch 3/40, step 3 of 10: train ELBO -79.00, validation ELBO of epoch 2/40 -85.00 (one z an image), "
    )


def test_rows_are_called_rows(tmp_path, capsys, clock):
    with make_long(tmp_path, examples="rows") as monitor:
        clock.now += 6
        monitor.advance(10, 10, -6.0, 5.0)
        monitor.validation({**VALIDATION, "elbo": -5.0}, 10)
        monitor.end_epoch(10, -6.0, False)
        clock.now += 30
        monitor.advance_validation(7, 20, 20)
    assert lines(capsys) == [
        "epoch 1/40: train ELBO -6.00, validation ELBO -5.00 (one z a row), 83 rows/s, about 4 minutes left",
        "epoch 2/40: validation, 7 of 20 rows",
    ]


def test_a_short_run_has_a_few_lines_and_not_hundreds(tmp_path, capsys, clock):
    config = Config(dataset="digits", epochs=696, batch_size=50).as_usual()  # a validation every 4 epochs
    with Monitor(tmp_path, config, 0, 6960, Level, draw_pictures, lambda: False) as monitor:
        for epoch in range(1, 697):
            clock.now += 10 / 696
            monitor.advance(10, 10 * epoch, -30.0, 5.0)
            monitor.end_epoch(10 * epoch, -30.0, epoch == 696)
    told = [line.partition("/")[0].removeprefix("epoch ") for line in lines(capsys)]
    assert told == ["1", "4", "8", "16", "32", "64", "128", "256", "512", "696"]


def test_a_process_that_goes_on_tells_its_first_epoch_and_the_last_one(tmp_path, capsys, clock):
    with make_long(tmp_path, step=370) as monitor:
        for epoch in (38, 39, 40):
            clock.now += 1
            monitor.advance(10, 10 * epoch, -30.0, 5.0)
            monitor.end_epoch(10 * epoch, -30.0, epoch == 40)
    assert lines(capsys) == [
        "epoch 38/40: train ELBO -30.00, 500 images/s",
        "epoch 40/40: train ELBO -30.00, 500 images/s",
    ]


def test_a_long_validation_is_told_of(tmp_path, capsys, clock):
    with make_long(tmp_path) as monitor:
        clock.now += 1
        monitor.end_epoch(10, -30.0, False)
        for _ in range(4):
            clock.now += 16
            monitor.advance_validation(256, 2000, 20)
        monitor.validation(VALIDATION, 20)
        clock.now += 16
        monitor.advance_validation(256, 2000, 30)
    assert lines(capsys)[1:] == [
        "epoch 2/40: validation, 512 of 2,000 images",
        "epoch 2/40: validation, 1,024 of 2,000 images",
    ]


class Bar:
    """In the place of tqdm's, which a test's standard error does not show."""

    def __init__(self, **options):
        self.options, self.images, self.texts = options, 0, []
        self.disable = False

    def set_description_str(self, text, refresh):
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
        monitor.advance(1, 3, -80.0, 5.0)
        monitor.advance(2, 5, -79.5, 5.0)
    assert bar.images == 3 * 16
    assert bar.texts == ["epoch 1/2 ELBO -80.0 (-75.0-5.0)", "epoch 2/2 ELBO -79.5 (-74.5-5.0)", "closed"]


def test_lines_above_the_bar_leave_to_it_what_it_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tfvae.training.monitor.tqdm.tqdm.__init__", Bar.__init__)
    monkeypatch.setattr("tfvae.training.monitor.tqdm.tqdm.close", Bar.close)
    with make_monitor(tmp_path) as monitor:
        monitor.end_epoch(3, -80.0, False)
    assert capsys.readouterr().out == "epoch 1/2: train ELBO -80.00\n"


def test_the_bar_tells_the_last_validation_and_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr("tfvae.training.monitor.tqdm.tqdm", Bar)
    told = []
    with make_monitor(tmp_path) as monitor:
        for step, elbo in enumerate((-90.0, -70.0, -75.0, -80.0), start=1):
            monitor.validation({"elbo": elbo}, step)
            monitor.advance(1, step, -80.0, 5.0)
            told.append(monitor.bar.texts[-1].partition(") ")[2])
    assert told == ["val -90.0", "val -70.0", "val -75.0 best -70.0", "val -80.0 best -70.0"]


def test_the_bar_fits_into_80_columns(tmp_path):
    with make_monitor(tmp_path) as monitor:
        monitor.last_elbo, monitor.best_elbo = -155.04, -154.96
        prefix = f"epoch 123/500 {monitor._figures(-154.16, 7.1)}"
        monitor.last_elbo, monitor.best_elbo = 3395.4, 3401.6
        of_colour = monitor._figures(3421.7, 16.8)
    meter = tqdm.tqdm.format_meter(
        n=123_000, total=500_000, elapsed=9.0, ncols=80, unit="", unit_scale=True, prefix=prefix, bar_format=BAR
    )
    assert meter == "epoch 123/500 ELBO -154.2 (-147.1-7.1) val -155.0 best -155.0 00:27 left 13.7k/s"
    assert len(meter) == 80
    assert of_colour == "ELBO 3422 (3438-16.8) val 3395 best 3402"
