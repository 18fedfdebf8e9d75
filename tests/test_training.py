"""The step: its gradient and loss against an eager one, and the compiled loop's independence of how it is called."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.core import noise
from tfvae.training import step as training
from tfvae.config import Config
from tfvae.core.noise import Stream

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 1), dtype=np.uint8)
OPTIONS = {"hidden_units": (8,), "batch_size": 16, "epochs": 4}


def trained(calls, images=IMAGES, **options):
    """The state after calls of `run_steps` with these (first, count), and what the calls returned."""
    config = Config(**{**OPTIONS, **options})
    state = training.create_state(config, images.shape[1:], len(images))
    run_steps = training.make_run_steps(state, config, images)
    return state, [run_steps(first, count) for first, count in calls]


def weights(state):
    return {name: variable.numpy() for name, variable in state.variables().items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network": "conv", "filters": (4,)},
        pytest.param({"binarize": "stochastic"}, marks=pytest.mark.slow),
        pytest.param({"num_samples": 3}, marks=pytest.mark.slow),
    ],
    ids=["mlp", "conv", "stochastic", "3 samples"],
)
def test_other_chunks_give_the_same_weights_bit_for_bit(options):
    straight, _ = trained([(0, 7)], **options)  # over epochs of 3 steps
    chunked, _ = trained([(0, 1), (1, 2), (3, 0), (3, 2), (5, 2)], **options)
    for name, value in weights(straight).items():
        np.testing.assert_array_equal(value, weights(chunked)[name], err_msg=name)
    assert straight.step == chunked.step == 7


@pytest.mark.parametrize("binarize", ["none", "stochastic"])
def test_a_step_is_plain_gradient_descent_on_minus_the_elbo(binarize):
    state, [(means, bad_step)] = trained([(0, 1)], optimizer="sgd", learning_rate=0.01, beta=2.0, binarize=binarize)
    config = Config(**OPTIONS)
    fresh = training.create_state(config, IMAGES.shape[1:], len(IMAGES)).vae
    order = training.epoch_order(0, 0, len(IMAGES))
    x = tf.constant(IMAGES[order[:16]] / np.float32(255))
    if binarize == "stochastic":
        x = noise.bernoulli(x, noise.seed_for(tf.constant(0), Stream.BINARIZE, tf.constant(0)), noise.step_uniform)
        assert set(np.unique(x)) == {0, 1}
    epsilon = noise.normal((1, 16, 2), noise.seed_for(tf.constant(0), Stream.POSTERIOR, tf.constant(0)))
    with tf.GradientTape() as tape:
        q = fresh.encode(x)
        logits = fresh.decode(q.mean + tf.exp(q.log_variance / 2) * epsilon[0]).logits
        cross_entropy = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(x, logits), axis=(1, 2, 3))
        kl = -0.5 * tf.reduce_sum(1 + q.log_variance - q.mean**2 - tf.exp(q.log_variance), axis=-1)
        loss = tf.reduce_mean(cross_entropy + 2.0 * kl)
    for before, gradient, after in zip(
        fresh.trainable_variables, tape.gradient(loss, fresh.trainable_variables), state.vae.trainable_variables
    ):
        np.testing.assert_allclose(after.numpy(), before.numpy() - 0.01 * gradient, atol=1e-6)
    assert bad_step is None
    np.testing.assert_allclose(means["elbo"], -tf.reduce_mean(cross_entropy + kl), rtol=1e-5)
    np.testing.assert_allclose(means["kl"], tf.reduce_mean(kl), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(means["elbo"], means["log_likelihood"] - means["kl"], rtol=1e-5)


def step_of(**options):
    """What one step of gradient descent adds to each weight, of the first step of a run."""
    config = {"optimizer": "sgd", "learning_rate": 1.0, **options}
    fresh = training.create_state(Config(**OPTIONS), IMAGES.shape[1:], len(IMAGES)).vae
    state, _ = trained([(0, 1)], **config)
    return [a.numpy() - b.numpy() for a, b in zip(state.vae.trainable_variables, fresh.trainable_variables)]


def test_a_gradient_above_clip_norm_is_scaled_down_to_it_and_one_below_is_not():
    plain = step_of()
    norm = np.sqrt(sum(np.square(change).sum() for change in plain))
    clipped = step_of(clip_norm=float(norm) / 5)
    np.testing.assert_allclose(np.sqrt(sum(np.square(change).sum() for change in clipped)), norm / 5, rtol=1e-5)
    for a, b in zip(clipped, plain):
        np.testing.assert_allclose(a, b / 5, atol=1e-6 * norm)
    for a, b in zip(step_of(clip_norm=2 * float(norm)), plain):
        np.testing.assert_allclose(a, b, atol=1e-6 * norm)


def test_adams_first_step_is_the_gradient_over_its_size_and_epsilon():
    """Kingma & Ba 2015, algorithm 1 in the order of its section 2: epsilon is beside the uncorrected root."""
    for change, minus_gradient in zip(step_of(optimizer="adam", learning_rate=0.01, adam_epsilon=1e-3), step_of()):
        root = 0.001**0.5  # of 1 - beta_2
        expected = 0.01 * root * minus_gradient / (root * np.abs(minus_gradient) + 1e-3)
        np.testing.assert_allclose(change, expected, atol=1e-6)


def test_an_epoch_visits_each_image_at_most_once_and_epochs_differ():
    orders = [training.epoch_order(0, e, 50) for e in range(3)]
    assert all((np.sort(o) == np.arange(50)).all() for o in orders)
    assert len({tuple(o) for o in orders}) == 3


def test_a_loss_that_is_not_finite_is_named_by_its_first_step():
    _, results = trained([(0, 3)], optimizer="sgd", learning_rate=1e30)
    assert results[0][1] in (1, 2)
    _, results = trained([(0, 3)])
    assert results[0][1] is None


COMPILES = """
from tfvae import config
config.import_tensorflow()
import numpy as np
from tfvae.training import evaluation, step as training
images = np.zeros((50, 6, 5, 1), np.uint8)
settings = config.Config(hidden_units=(8,), batch_size=8, epochs=9, binarize="stochastic", num_samples=2)
state = training.create_state(settings, images.shape[1:], len(images))
run_steps = training.make_run_steps(state, settings, images)
for first, count in ((0, 0), (0, 1), (1, 3), (4, 13)):
    run_steps(first, count)
evaluate = evaluation.make_evaluate(state.vae, 2, 0)
for samples in (1, 7, 5):
    evaluate(images, samples)
"""


def test_neither_other_steps_nor_other_samples_compile_anew(tmp_path):
    """A slice that starts at a step, for one, would compile at each call, and tf.function would count one trace."""
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text",
        "TFVAE_CACHE": "",
        "TF_XLA_FLAGS": "",
    }
    subprocess.run([sys.executable, "-c", COMPILES], check=True, env=environment, timeout=300)
    modules = [p.name for p in tmp_path.glob("*before_optimizations.txt")]
    for program in ("run_steps", "run_block"):
        assert sum(program in name for name in modules) == 1, modules


def test_bfloat16_products_leave_the_weights_and_the_loss_float32_and_the_elbo_about_the_same():
    images = np.random.default_rng(0).integers(0, 2, (512, 6, 5, 1), dtype=np.uint8) * np.uint8(255)
    elbos = {}
    for dtype in ("float32", "bfloat16"):
        state, results = trained([(0, 60)], images=images, dtype=dtype, hidden_units=(64, 64), epochs=2)
        elbos[dtype] = results[0][0]["elbo"]
        assert {v.dtype for v in state.vae.trainable_variables} == {"float32"}
        assert state.vae.decode(tf.zeros([1, 2])).log_prob(images[:1] / np.float32(255)).dtype == tf.float32
    hidden = state.vae.encoder.hidden[0]
    assert hidden.compute_dtype == "bfloat16" and hidden(images[:1].reshape(1, -1)).dtype == tf.bfloat16
    assert elbos["bfloat16"] != elbos["float32"]
    np.testing.assert_allclose(elbos["bfloat16"], elbos["float32"], rtol=2e-3)


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("constant", [0.5] * 12),
        ("1:0.5,3:0.1", [0.5] * 3 + [0.25] * 6 + [0.05] * 3),
        ("cosine", [0.25 * (1 + np.cos(np.pi * t / 12)) for t in range(12)]),
    ],
)
def test_learning_rate_schedules(schedule, expected):
    rate = training.make_learning_rate(Config(**OPTIONS, lr_schedule=schedule, learning_rate=0.5), epoch_steps=3)
    rates = [float(rate(t)) if callable(rate) else rate for t in range(12)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adagrad"])
def test_every_optimizer_raises_the_elbo_and_keeps_its_state_among_the_variables(optimizer):
    state, results = trained([(0, 3)] + [(3, 3)] * 40, optimizer=optimizer, learning_rate=0.003)
    assert results[-1][0]["elbo"] > results[0][0]["elbo"] + 0.1
    names = set(state.variables())
    assert isinstance(state.optimizer, keras.optimizers.Optimizer)
    assert len(names) == len(state.vae.variables) + len(state.optimizer.variables) + 1


def test_two_models_in_one_process_don_t_meet():
    first, _ = trained([(0, 2)])
    second, _ = trained([(0, 2)], latent_dim=3)
    again, _ = trained([(0, 2)])
    assert second.vae.encoder.latent_dim == 3
    for name, value in weights(first).items():
        np.testing.assert_array_equal(value, weights(again)[name])
