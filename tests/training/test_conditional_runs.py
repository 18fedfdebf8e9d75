"""Runs of --condition=label: each image comes with its own label, from memory and disk; what a run says of it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from runs import OPTIONS, assert_same_values, values
from trainers import CONFIG, make_trainer

from tfvae.analysis.pictures import draw_pictures
from tfvae.config import Config
from tfvae.core.objectives import importance_weighted_bound
from tfvae.data.classes import with_classes
from tfvae.data.disk import open_images
from tfvae.data.splits import Dataset, Split
from tfvae.errors import InputError
from tfvae.training import checkpoints, feeds, report
from tfvae.training.evaluation import Evaluator
from tfvae.training.feeds import epoch_order
from tfvae.training.state import create_state
from tfvae.training.step import TrainProgram
from tfvae.training.strategy import one_device

LABELS = np.random.default_rng(3).integers(0, 3, 50)
IMAGES = np.random.default_rng(0).integers(0, 60, (50, 6, 5, 1), dtype=np.uint8)
IMAGES[:, 0, 0, 0] = LABELS * 100  # a pixel tells the label
NAMES = ("ant", "bee", "cat")
CONDITIONAL = {"condition": "label"}


def make_dataset(labels=LABELS, names=NAMES):
    parts = [Split(IMAGES[rows], labels[rows], names) for rows in (slice(50), slice(20), slice(20, 50))]
    return with_classes(Config(**CONDITIONAL), Dataset(*parts))


def make_program(images=IMAGES, **options):
    config = Config(**{**OPTIONS, **CONDITIONAL, **options}).as_usual()
    state = create_state(config, (6, 5, 1), 50, classes=NAMES)
    return state, TrainProgram(state, config, images, None, LABELS.astype(np.int32))


def on_disk(folder):
    np.save(folder / "images.npy", IMAGES)
    return open_images(folder / "images.npy")


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_each_image_of_a_batch_comes_with_its_label(tmp_path, monkeypatch, place):
    monkeypatch.setattr(feeds, "_BUFFER_BYTES", 2 * 16 * 30)  # two steps: an epoch has three
    _, program = make_program(IMAGES if place == "memory" else on_disk(tmp_path), network="conv", filters=(2,))
    for t in (0, 1, 2, 3, 7):
        rows = program.feed.rows_at(t, 1)
        x, y = program.train_step.batch(
            rows.stored, rows.order, tf.constant(rows.start), tf.constant(t), tf.range(4, 16)
        )
        order = epoch_order(0, t // 3, 50)[t % 3 * 16 :][4:16]
        np.testing.assert_array_equal(y, LABELS[order])
        np.testing.assert_allclose(x[:, 0, 0, 0], np.asarray(y) * 100 / 255, rtol=1e-6)


@pytest.mark.nightly
def test_how_it_is_called_and_where_the_images_are_changes_no_bit(tmp_path):
    options = {"network": "conv", "filters": (2,), "binarize": "stochastic"}
    (whole, program), (parts, other) = make_program(**options), make_program(on_disk(tmp_path), **options)
    program.run(0, 8)
    for first, count in ((0, 3), (3, 1), (4, 4)):
        other.run(first, count)
    assert_same_values(whole, parts)


@pytest.mark.nightly
def test_it_learns_from_the_label():
    """Pixels that are the label alone are not explained by z, which the KL makes costly."""
    state, program = make_program(
        batch_size=50, learning_rate=0.02, likelihood="gaussian", sigma=0.3, hidden_units=(16,)
    )
    program.run(0, 400)
    pixel = [float(state.vae.given(y).decode(np.zeros([1, 2])).mean[0, 0, 0, 0]) for y in range(3)]
    np.testing.assert_allclose(pixel, np.array([0, 100, 200]) / 255, atol=0.1)


@pytest.mark.nightly
def test_evaluation_is_of_each_images_own_label():
    state, program = make_program(network="conv", filters=(2,))
    program.run(0, 30)
    y = LABELS.astype(np.int32)
    per_image = Evaluator(state.vae, 2, 0).evaluate(IMAGES, 4, y=y)
    for i in (0, 7):  # the noise is that of the image's place
        alone = Evaluator(state.vae, 2, 0).evaluate(IMAGES[: i + 1], 4, y=np.where(np.arange(i + 1) < i, 0, y[: i + 1]))
        np.testing.assert_allclose(alone.log_px[i], per_image.log_px[i], rtol=1e-5)
    epsilon = tf.constant(np.random.default_rng(0).normal(size=(20_000, 1, 2)), tf.float32)
    exact = importance_weighted_bound(state.vae.given(y[:1]), tf.constant(IMAGES[:1] / np.float32(255)), epsilon)
    many = Evaluator(state.vae, 2, 0).evaluate(IMAGES[:1], 5_000, y=y[:1])
    np.testing.assert_allclose(many.log_px, exact, atol=0.02)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    made = make_trainer(folder, make_dataset(), keep_best=True, patience=20, **CONDITIONAL)
    return folder, made, made.train()


@pytest.mark.nightly
def test_a_run_says_what_it_is_given(finished, capsys):
    folder, made, results = finished
    assert results["of"]["condition"] == "label"
    table = report.table(results)
    assert "  log p(x|y) " in table and "importance samples, given the label y" in table and "log p(x) " not in table
    assert "mean over 3 samples of z, given the label y" in table and "KL(q(z|x, y) || p(z))" in table
    lines = report.announcement(made.config, made.dataset, made.notes, "36 steps")
    assert lines[0].endswith("ELBO in nats an image, given the label")
    plain = {**results, "of": {k: v for k, v in results["of"].items() if k != "condition"}}
    assert "  log p(x) " in report.table(plain) and "label" not in report.table(plain)


@pytest.mark.nightly
def test_a_checkpoint_knows_the_classes_and_is_taken_up(finished):
    folder, made, _ = finished
    vae = checkpoints.load_run(folder / "run", "last").vae
    assert vae.classes == NAMES
    again = make_trainer(folder, make_dataset(), keep_best=True, patience=20, **CONDITIONAL)
    again.restore()
    assert again.notes.step == 36 and again.notes.classes == NAMES
    assert_same_values(again.state, made.state)


@pytest.mark.slow
def test_a_run_that_goes_on_is_the_unbroken_one(finished, tmp_path):
    _, made, _ = finished
    first = make_trainer(tmp_path, make_dataset(), keep_best=True, patience=20, **CONDITIONAL)
    for _ in range(2):
        first.chunk = 7
        first.run_chunk()
    first.save()
    second = make_trainer(tmp_path, make_dataset(), keep_best=True, patience=20, **CONDITIONAL)
    second.train()
    ours, theirs = values(second.state), values(made.state)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "dataset",
    [make_dataset(LABELS[::-1]), make_dataset(names=("ant", "bee", "dog"))],
    ids=["other labels", "other names"],
)
def test_a_run_does_not_go_on_with_other_labels(finished, dataset):
    folder, _, _ = finished
    with pytest.raises(InputError, match="are others, or in another order, or have other labels: "):
        make_trainer(folder, dataset, keep_best=True, patience=20, **CONDITIONAL).restore()


@pytest.mark.nightly
def test_pictures_have_a_row_for_each_class(finished):
    _, made, _ = finished
    pictures = dict(draw_pictures(made.state.vae, make_dataset(), made.config))
    assert set(pictures) == {"reconstructions", "samples", "latent_scatter", "traversal", "aggregate_posterior"}
    height, width, _ = pictures["samples"].shape
    assert height < width  # three rows of ten images


@pytest.mark.nightly
def test_sigma_optimal_is_set_given_the_label(tmp_path):
    options = {"likelihood": "gaussian", "sigma": "optimal", **CONDITIONAL}
    made = make_trainer(tmp_path, make_dataset(), **options)
    results = made.train()
    error = np.sqrt(results["test"]["squared_error"])
    assert 0.5 * error < results["test"]["sigma"] < 2 * error


@pytest.mark.nightly
def test_one_label_more_needs_other_weights(finished, tmp_path):
    from tfvae.training import initial

    folder, _, _ = finished
    config = dataclasses.replace(CONFIG, init_from=str(folder / "run"), run_dir=str(tmp_path), **CONDITIONAL)
    _, weights = initial.read(config)
    weights.require_architecture(config, make_dataset())
    with pytest.raises(InputError, match="must have the classes of .*, ant, bee, cat, and has ant, bee, dog"):
        weights.require_architecture(config, make_dataset(names=("ant", "bee", "dog")))
    plain = dataclasses.replace(config, condition="none")
    with pytest.raises(InputError, match="^condition='none': must be 'label', as of the run of init_from"):
        initial.read(plain)


def test_more_places_than_one_device_hold_labels():
    stored = feeds.HeldImages(Config(**OPTIONS), IMAGES, one_device(), LABELS).stored
    np.testing.assert_array_equal(stored.y, LABELS)
    assert feeds.HeldImages(Config(**OPTIONS), IMAGES, one_device()).stored.y is None
