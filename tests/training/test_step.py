"""The compiled program: how its step learns, and that it does not matter how it is called."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from runs import IMAGES, OPTIONS, assert_same_values, make_program, run_program, start

from tfvae.config import Config
from tfvae.core import fast, noise
from tfvae.core.noise import Stream
from tfvae.core.objectives import Elbo
from tfvae.training import feeds, step
from tfvae.training.feeds import Stored, epoch_order
from tfvae.training.running_sums import EpochSums, RunningSums
from tfvae.training.state import create_state
from tfvae.training.step import EpochMeans, TrainProgram, mean_of_parts


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"network": "conv", "filters": (4,)},
        pytest.param({"binarize": "stochastic"}, marks=pytest.mark.slow),
        pytest.param({"num_samples": 3}, marks=pytest.mark.slow),
    ],
    ids=["mlp", "conv", "stochastic", "3 samples"],
)
def test_other_chunks_give_the_same_weights_bit_for_bit(options):
    straight, _ = run_program([(0, 11)], **options)  # over epochs of 3 steps
    chunked, _ = run_program([(0, 1), (1, 2), (3, 0), (3, 2), (5, 2), (7, 4)], **options)
    assert_same_values(straight, chunked)
    assert straight.step == chunked.step == 11


@pytest.mark.parametrize("binarize", ["none", "stochastic"])
def test_a_step_is_plain_gradient_descent_on_minus_the_elbo(binarize):
    options = {"optimizer": "sgd", "learning_rate": 0.01, "beta": 2.0, "binarize": binarize}
    state, [([(_, means)], bad_step)] = run_program([(0, 1)], **options)
    fresh = create_state(Config(**OPTIONS), IMAGES.shape[1:], len(IMAGES)).vae
    order = epoch_order(0, 0, len(IMAGES))
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


@functools.cache
def step_of(**options):
    """What one step of gradient descent adds to each weight, of the first step of a run; without XLA."""
    fresh = create_state(Config(**OPTIONS), IMAGES.shape[1:], len(IMAGES)).vae
    state, _ = run_program([(0, 1)], **{"optimizer": "sgd", "learning_rate": 1.0, **options})
    return [a.numpy() - b.numpy() for a, b in zip(state.vae.trainable_variables, fresh.trainable_variables)]


def test_a_gradient_above_clip_norm_is_scaled_down_to_it(without_xla):
    plain = step_of()
    norm = np.sqrt(sum(np.square(change).sum() for change in plain))
    clipped = step_of(clip_norm=float(norm) / 5)
    np.testing.assert_allclose(np.sqrt(sum(np.square(change).sum() for change in clipped)), norm / 5, rtol=1e-5)
    for a, b in zip(clipped, plain):
        np.testing.assert_allclose(a, b / 5, atol=1e-6 * norm)


def test_adams_first_step_is_the_gradient_over_its_size_and_epsilon(without_xla):
    """Kingma & Ba 2015, algorithm 1 in the order of its section 2: epsilon is beside the uncorrected root."""
    for change, minus_gradient in zip(step_of(optimizer="adam", learning_rate=0.01, adam_epsilon=1e-3), step_of()):
        root = 0.001**0.5  # of 1 - beta_2
        expected = 0.01 * root * minus_gradient / (root * np.abs(minus_gradient) + 1e-3)
        np.testing.assert_allclose(change, expected, atol=1e-6)


def test_a_loss_that_is_not_finite_is_named_by_its_first_step(without_xla):
    _, results = run_program([(0, 3)], optimizer="sgd", learning_rate=1e30)
    assert results[0][1] in (1, 2)


@pytest.mark.parametrize(
    "most_epochs", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(64, marks=pytest.mark.slow)]
)
def test_the_means_are_over_each_epoch_s_steps_of_a_call(without_xla, monkeypatch, most_epochs):
    _, singles = run_program([(t, 1) for t in range(11)])
    of_steps = [means.terms for [means], _ in singles]
    monkeypatch.setattr(feeds, "_MOST_EPOCHS", most_epochs)  # of one loop; a call makes as many as it needs
    _, results = run_program([(0, 2), (2, 6), (8, 0), (8, 3)])  # epochs end at steps 3, 6, 9
    assert [[means.steps for means in parts] for parts, _ in results] == [[2], [1, 3, 2], [], [1, 2]]
    first = 0
    for parts, bad_step in results:
        assert bad_step is None
        for steps, terms in parts:
            for name in Elbo._fields:
                expected = np.mean([of_step[name] for of_step in of_steps[first : first + steps]])
                np.testing.assert_allclose(terms[name], expected, rtol=1e-6)
            first += steps


def test_means_of_parts_are_weighted_by_their_steps():
    parts = [EpochMeans(3, {"elbo": -80.0, "log_likelihood": -70.0, "kl": 10.0})]
    parts.append(EpochMeans(1, {"elbo": -60.0, "log_likelihood": -54.0, "kl": 6.0}))
    assert mean_of_parts(parts) == {"elbo": -75.0, "log_likelihood": -66.0, "kl": 9.0}


def test_bfloat16_products_leave_the_weights_and_the_loss_float32_and_the_elbo_about_the_same(without_xla):
    images = np.random.default_rng(0).integers(0, 2, (512, 6, 5, 1), dtype=np.uint8) * np.uint8(255)
    elbos = {}
    for dtype in ("float32", "bfloat16"):
        state, results = run_program([(0, 60)], images=images, dtype=dtype, hidden_units=(64, 64), epochs=2)
        elbos[dtype] = mean_of_parts(results[0][0])["elbo"]
        assert {v.dtype for v in state.vae.trainable_variables} == {"float32"}
        assert state.vae.decode(tf.zeros([1, 2])).log_prob(images[:1] / np.float32(255)).dtype == tf.float32
    layer = next(layer for layer in state.vae.encoder.trunk if layer.name == "hidden_0")
    assert layer.compute_dtype == "bfloat16" and layer(images[:1].reshape(1, -1)).dtype == tf.bfloat16
    assert elbos["bfloat16"] != elbos["float32"]
    np.testing.assert_allclose(elbos["bfloat16"], elbos["float32"], rtol=2e-3)


def test_two_models_in_one_process_don_t_meet(without_xla):
    first, _ = run_program([(0, 2)])
    second, _ = run_program([(0, 2)], latent_dim=3)
    again, _ = run_program([(0, 2)])
    assert second.vae.encoder.latent_dim == 3
    assert_same_values(first, again)


# The parts of a step.


def make_step(images=IMAGES, **options):
    _, program = make_program(images, **options)
    return program.train_step


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("t", "start"), [(0, 0), (4, 3), (5, 3)])
def test_a_batch_is_rows_of_the_images_in_their_epoch_s_order(dtype, t, start):
    """`order` serves steps from `start` on, so that step t's images begin at (t - start) * 16 in it."""
    images = IMAGES if dtype == np.uint8 else (IMAGES / 255).astype(np.float32)
    order = np.random.default_rng(1).permutation(len(images)).astype(np.int32)
    rows = [0, 3, 15]
    place = (tf.constant(start), tf.constant(t), tf.constant(rows))
    x, y = make_step(images).batch(Stored(images, None), order, *place)
    assert y is None
    expected = IMAGES[order[(t - start) * 16 :][rows]] / np.float32(255)
    assert x.dtype == tf.float32 and x.shape == (3, 6, 5, 1)
    np.testing.assert_allclose(x, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "option", [{"binarize": "stochastic"}, {"dequantize": True, "likelihood": "gaussian"}], ids=str
)
def test_a_batch_s_noise_is_of_the_global_batch_and_of_the_step(option):
    order = np.arange(len(IMAGES), dtype=np.int32)
    made = make_step(**option)
    everyone = tf.range(16)
    stored = Stored(IMAGES, None)
    x = [made.batch(stored, order, tf.constant(0), tf.constant(t), everyone)[0].numpy() for t in (0, 0, 1)]
    np.testing.assert_array_equal(x[0], x[1])
    u = noise.step_uniform((16, 6, 5, 1), noise.seed_for(tf.constant(0), Stream.BINARIZE, tf.constant(0))).numpy()
    if "binarize" in option:
        expected = u < IMAGES[:16] / 255
    else:
        expected = (IMAGES[:16] + u) / 256
    np.testing.assert_allclose(x[0], expected, atol=1e-6)
    another_step = made.batch(stored, order, tf.constant(1), tf.constant(1), everyone)[0].numpy()  # the same images
    assert (another_step != x[0]).mean() > 0.2


def test_epsilon_is_standard_normal_and_of_its_step():
    made = make_step(num_samples=40, objective="iwae")
    everyone = tf.range(16)
    drawn = [made.epsilon(tf.constant(t), everyone).numpy() for t in (0, 1, 1)]
    assert drawn[0].shape == (40, 16, 2)
    np.testing.assert_array_equal(drawn[1], drawn[2])
    assert (drawn[0] != drawn[1]).all()
    pooled = np.concatenate(drawn[:2]).ravel()  # 2,560 draws: five standard errors
    np.testing.assert_allclose([pooled.mean(), pooled.std()], [0, 1], atol=5 / np.sqrt(len(pooled)))


def test_a_replica_s_noise_is_its_rows_of_the_global_batch_s():
    state, program = make_program(num_samples=2, binarize="stochastic")
    rows = tf.constant([12, 13, 14, 15])
    share = step.TrainStep(state, Config(**OPTIONS, num_samples=2, binarize="stochastic"), len(IMAGES), replicas=4)
    t, everyone = tf.constant(5), tf.range(16)
    np.testing.assert_array_equal(share.epsilon(t, rows), program.train_step.epsilon(t, everyone).numpy()[:, 12:])
    order, start_of_order = np.arange(50, dtype=np.int32), tf.constant(4)
    stored = Stored(IMAGES, None)
    whole, _ = program.train_step.batch(stored, order, start_of_order, t, everyone)
    np.testing.assert_array_equal(share.batch(stored, order, start_of_order, t, rows)[0], whole[12:])


def test_beta_rises_in_a_straight_line_over_the_warm_up():
    made = make_step(beta=2.0, kl_warmup_epochs=2.5)  # of 3 steps
    betas = [float(made.beta(tf.constant(t))) for t in range(12)]
    np.testing.assert_allclose(betas, 2 * np.minimum(1, np.arange(12) / 7.5), rtol=1e-6)
    assert make_step(beta=3.0).beta(tf.constant(0)) == 3.0


@pytest.mark.parametrize("clip_norm", [2.0, 1e3])
def test_update_clips_a_larger_global_norm_and_no_other_and_adds_one_step_to_the_optimizer(clip_norm):
    state, program = make_program(optimizer="sgd", learning_rate=1.0, clip_norm=clip_norm)
    generator = np.random.default_rng(3)
    gradients = [generator.normal(size=v.shape).astype(np.float32) for v in state.vae.trainable_variables]
    norm = np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in gradients))
    assert 2 < norm < 1e3
    scale = min(1, clip_norm / norm)
    before = [v.numpy() for v in state.vae.trainable_variables]
    program.train_step.update([tf.constant(g) for g in gradients])
    for old, gradient, variable in zip(before, gradients, state.vae.trainable_variables):
        np.testing.assert_allclose(variable, old - gradient * scale, atol=1e-6)
    assert state.optimizer.iterations == 1


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adagrad"])
def test_a_replica_updates_its_copy_as_keras_does(optimizer):
    options = {"optimizer": optimizer, "learning_rate": 0.5, "lr_schedule": "1:0.1"}  # from step 3 on
    (ours, program), (theirs, _) = make_program(**options), make_program(**options)
    generator = np.random.default_rng(4)
    for state in (ours, theirs):
        state.vae.trainable_variables[0].constraint = keras.constraints.NonNeg()
    for _ in range(4):
        gradients = [tf.constant(generator.normal(size=v.shape), tf.float32) for v in ours.vae.trainable_variables]
        program.train_step.update_copy(ours.optimizer.iterations.value, *gradients)
        theirs.optimizer.apply(gradients, theirs.vae.trainable_variables)
    assert_same_values(ours, theirs)
    assert ours.optimizer.iterations == 4
    constrained = ours.vae.trainable_variables[0].numpy()
    assert constrained.min() == 0 and constrained.max() > 0


def test_the_sums_remember_the_first_bad_step_and_go_on():
    sums = RunningSums.zero()
    for t, finite in enumerate([True, False, True, False]):
        norms = tf.constant([t, 0.0, 0.0])
        sums = sums.plus(Elbo(-3.0 * t, -2.0 * t, 1.0 * t), tf.constant(finite), tf.constant(t), norms)
    assert [float(value) for value in sums[:-1]] == [-18, -12, 6, 1]
    assert sums.norms[0] == 3


def test_the_sums_of_epochs_have_their_places_and_remember_the_first_bad_step():
    sums = EpochSums.zero(epochs=3)
    for place, bad_step in ((0, -1), (2, 8), (1, 5)):
        terms = [tf.constant(term * (place + 1)) for term in (-3.0, -2.0, 1.0)]
        of_epoch = RunningSums(*terms, tf.constant(bad_step), tf.fill([3], float(place)))
        sums = sums.plus(of_epoch, tf.constant(place))
    np.testing.assert_array_equal(sums.terms, [[-3, -6, -9], [-2, -4, -6], [1, 2, 3]])
    assert sums.bad_step == 8
    assert sums.norms[0] == 1  # of the last epoch that was added


# What is compiled.


@pytest.mark.parametrize(
    ("network", "on_gpu", "jit"),
    [("mlp", False, True), ("conv", False, False), ("conv", True, True), ("mlp", True, True)],
)
def test_the_device_decides_whether_xla_compiles_the_program(network, on_gpu, jit, monkeypatch):
    monkeypatch.setattr(fast, "computes_on_gpu", lambda: on_gpu)
    asked, real = [], tf.function

    def function(*args, **options):
        asked.append(options.get("jit_compile", False))
        return real(*args, **options)

    monkeypatch.setattr(tf, "function", function)
    config = Config(**OPTIONS, network=network, filters=(4,))
    state = create_state(config, IMAGES.shape[1:], len(IMAGES))
    asked.clear()
    TrainProgram(state, config, IMAGES)
    assert asked == [jit]
    asked.clear()
    step.TrainStep(state, config, len(IMAGES), replicas=2)  # each replica's gradient and its update are programs then
    assert asked == [True, True] * jit


COMPILES = """
from tfvae.runtime.tensorflow import import_tensorflow
import_tensorflow()
import numpy as np
from tfvae.config import Config
from tfvae.training.evaluation import Evaluator
from tfvae.training.state import create_state
from tfvae.training.step import TrainProgram
images = np.zeros((50, 6, 5, 1), np.uint8)
config = Config(hidden_units=(8,), batch_size=8, epochs=9, binarize="stochastic", num_samples=2)
state = create_state(config, images.shape[1:], len(images))
program = TrainProgram(state, config, images)
for first, count in ((0, 0), (0, 1), (1, 3), (4, 13)):
    program.run(first, count)
evaluator = Evaluator(state.vae, 2, 0)
for samples in (1, 7, 5):
    evaluator.evaluate(images, samples)
"""


@pytest.mark.slow
def test_neither_other_steps_nor_other_samples_compile_anew(tmp_path):
    """A slice that starts at a step, for one, would compile at each call, and tf.function would count one trace."""
    dump = {"XLA_FLAGS": f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text", "TFVAE_CACHE": "", "TF_XLA_FLAGS": ""}
    assert start(["-c", COMPILES], env=dump).wait(300) == 0
    modules = [p.name for p in tmp_path.glob("*before_optimizations.txt")]
    for program in ("_steps", "_block"):
        assert sum(f"{program}_" in name for name in modules) == 1, modules
