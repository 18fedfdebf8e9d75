"""The deviation of a Gaussian likelihood: where it starts, what a step sets it to, and the pass that ends a run."""

import json

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import tensorflow as tf
from runs import IMAGES, make_program
from trainers import EPOCH, make_dataset, make_trainer

from tfvae.config import Config
from tfvae.config.flagfile import FILE_NAME, to_flagfile
from tfvae.core import noise, objectives
from tfvae.core.making import make_vae
from tfvae.core.noise import Stream
from tfvae.data import moments
from tfvae.data.splits import Split
from tfvae.training import checkpoints
from tfvae.training.state import create_state
from tfvae.training.step import TrainProgram
from tfvae.training.strategy import one_device
from tfvae.training.trainer import Trainer
from tfvae.training.variance import VariancePass

GAUSSIAN = {"likelihood": "gaussian", "network": "conv", "filters": (2,)}
OPTIMAL = {**GAUSSIAN, "sigma": "optimal"}


def learned_stddev(trainer):
    return trainer.state.vae.decoder.learned_stddev()


# Where it starts, and how fast it moves.


@pytest.mark.parametrize("sigma", ["learned", "per_pixel", "of_z", "optimal"])
def test_a_new_run_starts_from_the_training_images_own_deviation(sigma, tmp_path):
    made = make_trainer(tmp_path, **{**GAUSSIAN, "sigma": sigma})
    variance = (made.dataset.train.images / 255.0).std() ** 2
    decoder = made.state.vae.decoder
    decoder.output_layer.kernel.assign(tf.zeros_like(decoder.output_layer.kernel))  # of_z: the offset alone is left
    floor = 0.0 if sigma == "optimal" else 0.01**2
    log_variance = made.state.vae.decode(tf.zeros([1, 2])).log_variance
    np.testing.assert_allclose(np.exp(log_variance), variance + floor, rtol=1e-4)


def test_under_adam_a_log_variance_moves_by_two_hundredths_in_a_step(without_xla):
    state, program = make_program(likelihood="gaussian", sigma="learned", start_stddev=0.5)
    before = float(state.vae.decode(tf.zeros([1, 2])).log_variance)
    program.run(0, 1)
    after = float(state.vae.decode(tf.zeros([1, 2])).log_variance)
    np.testing.assert_allclose(abs(after - before), 0.02, rtol=0.01)


@pytest.mark.nightly
def test_a_run_that_was_made_before_goes_on_from_where_it_is(tmp_path):
    """Its log-variance is a variable of its own, and moves as it did."""
    old = make_trainer(tmp_path, **{**GAUSSIAN, "sigma": "learned"})
    old.state = create_state(old.config, (6, 5, 1), 50)
    old.program = TrainProgram(old.state, old.config, old.dataset.train.images)
    old.program.run(0, 5)
    notes = old.notes._replace(step=5)._asdict()
    del notes["start_stddev"], notes["variance_is_final"]
    checkpoints.save(old.run_dir, old.state.variables(), 5, notes)
    again = make_trainer(tmp_path, **{**GAUSSIAN, "sigma": "learned"})
    again.restore()
    assert again.notes.start_stddev is None and "vae/decoder/log_variance" in again.state.variables()
    (old.run_dir / FILE_NAME).write_text(to_flagfile(old.config))
    assert checkpoints.load_run(old.run_dir).vae.decoder.learned_stddev() == learned_stddev(old)
    old.program.run(5, 3)
    again.program.run(5, 3)
    assert learned_stddev(again) == learned_stddev(old)


# What a step sets.


def test_a_step_sets_the_optimal_deviation_of_its_batch_before_the_gradient():
    """The step's gradient is that of the objective with sigma at its maximum as a function of the weights."""
    options = {"likelihood": "gaussian", "sigma": "optimal", "optimizer": "sgd", "learning_rate": 1.0, "num_samples": 3}
    state, program = make_program(**options)
    before = [v.numpy() for v in state.vae.trainable_variables]
    vae, config = state.vae, program.train_step.config
    rows = program.feed.rows_at(0, 1)
    all_rows = tf.range(config.batch_size)
    x, _ = program.train_step.batch(rows.stored, rows.order, tf.constant(0), tf.constant(0), all_rows)
    epsilon = program.train_step.epsilon(tf.constant(0), all_rows)
    with tf.GradientTape() as tape:
        q = vae.encode(x)
        mean = vae.decode(vae.sampling(q, epsilon)).mean
        mean_squared_error = tf.reduce_mean(tf.square(mean - x))
        log_likelihood = -0.5 * 30 * (tf.math.log(2 * np.pi * mean_squared_error) + 1)
        loss = tf.reduce_mean(q.kl(vae.prior)) - log_likelihood
    gradients = tape.gradient(loss, vae.trainable_variables)
    means, _ = program.run(0, 1)
    for variable, value, gradient in zip(vae.trainable_variables, before, gradients):
        np.testing.assert_allclose(value - variable.numpy(), gradient, rtol=1e-3, atol=1e-4, err_msg=variable.path)
    np.testing.assert_allclose(means[0].terms["elbo"], -loss, rtol=1e-5)
    best = scipy.optimize.minimize_scalar(
        lambda log_sigma: -scipy.stats.norm(mean.numpy(), np.exp(log_sigma)).logpdf(x).mean(), (-5, 0)
    ).x
    np.testing.assert_allclose(np.log(vae.decoder.learned_stddev()), best, atol=1e-4)


def test_the_optimal_deviation_does_not_fall_below_its_floor(without_xla):
    images = np.zeros((50, 6, 5, 1), np.uint8)
    state, program = make_program(images, likelihood="gaussian", sigma="optimal", sigma_floor=0.3, learning_rate=0.1)
    program.run(0, 30)
    np.testing.assert_allclose(state.vae.decoder.learned_stddev(), 0.3, rtol=1e-6)


def test_an_error_that_is_not_finite_sets_nothing():
    decoder = make_vae(Config(**OPTIMAL), (6, 5, 1), start_stddev=0.4).decoder
    decoder.set_variance(tf.constant(np.nan))
    np.testing.assert_allclose(decoder.learned_stddev(), 0.4, rtol=1e-6)


# The pass over all training images.


@pytest.mark.parametrize("drawn", [{}, {"binarize": "stochastic"}])
def test_the_pass_takes_the_mean_over_all_images_the_last_block_short(drawn):
    config = Config(**OPTIMAL, **drawn, batch_size=16, num_samples=2)
    vae = make_vae(config, (6, 5, 1), start_stddev=0.4)
    errors = []
    for block in range(4):  # 16, 16, 16 and 2 images
        x = tf.constant(IMAGES[block * 16 : block * 16 + 16] / np.float32(255))
        seed = noise.seed_for(config.seed, Stream.VARIANCE, block)
        epsilon = noise.normal((2, 16, 2), seed)[:, : len(x)]
        if drawn:
            uniform = noise.step_uniform((16, 6, 5, 1), noise.fold_in(seed, 1))[: len(x)]
            x = tf.cast(uniform < x, tf.float32)
        mean = vae.decode(vae.encode(x).sample(epsilon)).mean.numpy()
        errors.extend(np.square(mean - x.numpy()).mean(axis=(0, 2, 3, 4)))
    variance_pass = VariancePass(config, vae, Split(IMAGES, None), one_device())
    np.testing.assert_allclose(variance_pass.mean_squared_error(lambda: False), np.mean(errors), rtol=1e-5)


def test_it_ends_a_run_and_is_recorded(tmp_path, capsys):
    made = make_trainer(tmp_path, **OPTIMAL)
    results = made.train()
    assert made.notes.variance_is_final and not made.owes_final_variance()
    expected = VariancePass(made.config, made.state.vae, made.dataset.train, one_device())
    stddev = expected.mean_squared_error(lambda: False) ** 0.5
    np.testing.assert_allclose(learned_stddev(made), stddev, rtol=1e-6)
    assert f"sigma {stddev:.4f}: the root mean squared error of all training images" in capsys.readouterr().out
    np.testing.assert_allclose(results["test"]["sigma"], stddev, rtol=1e-6)
    np.testing.assert_allclose(results["test"]["rmse"], results["test"]["squared_error"] ** 0.5)
    newest = made.run_dir / "checkpoints" / str(3 * EPOCH)
    assert json.loads((newest / "variables.json").read_text())["notes"]["variance_is_final"]


@pytest.mark.slow
def test_a_pass_that_a_signal_stops_is_made_at_the_next_start(tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = make_trainer(whole, **OPTIMAL)
    expected.train()
    stopped = make_trainer(tmp_path, **OPTIMAL)
    monkeypatch.setattr(Trainer, "_hear_signals", lambda self: self.step == self.total_steps)
    monkeypatch.setattr(Trainer, "finish", lambda self: {})
    stopped.train()
    assert stopped.step == stopped.saved_step == 3 * EPOCH and not stopped.notes.variance_is_final
    monkeypatch.undo()
    again = make_trainer(tmp_path, **OPTIMAL)
    again.train()
    assert again.notes.variance_is_final and learned_stddev(again) == learned_stddev(expected)


@pytest.mark.slow
def test_a_finished_run_whose_epochs_are_raised_is_that_of_a_longer_one(tmp_path):
    folders = [tmp_path / name for name in ("raised", "longer")]
    for folder in folders:
        folder.mkdir()
    make_trainer(folders[0], **OPTIMAL).train()
    raised = make_trainer(folders[0], **OPTIMAL, epochs=5)
    longer = make_trainer(folders[1], **OPTIMAL, epochs=5)
    assert raised.train()["test"] == longer.train()["test"]
    assert raised.notes.variance_is_final and learned_stddev(raised) == learned_stddev(longer)


def test_sigma_is_in_the_start_line_beside_where_it_starts(tmp_path, capsys):
    made = make_trainer(tmp_path, **OPTIMAL)
    made.announce()
    stddev = moments.stddev(make_dataset().train.images)
    assert (
        f"gaussian likelihood, sigma optimal (from {stddev:.3f}, the training images' own deviation), seed 5"
        in capsys.readouterr().out
    )


def test_the_mean_squared_error_is_that_of_the_samples_not_of_the_mean():
    vae = make_vae(Config(**OPTIMAL), (6, 5, 1), start_stddev=0.4)
    x = tf.constant(IMAGES[:4] / np.float32(255))
    epsilon = tf.constant(np.random.default_rng(1).normal(size=(5, 4, 2)).astype(np.float32))
    by_hand = [np.square(vae.decode(vae.encode(x).sample(e)).mean - x).mean(axis=(1, 2, 3)) for e in epsilon]
    np.testing.assert_allclose(objectives.mean_squared_error(vae, x, epsilon), np.mean(by_hand, axis=0), rtol=1e-5)
