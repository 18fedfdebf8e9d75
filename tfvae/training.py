"""The training step, and the one compiled program that runs many of them.

Batch t and its noise are functions of (seed, t): a run that stops and goes on sees the same batches and the same
epsilon, and how many steps a call makes changes nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae import noise, objectives
from tfvae.config import Config, lr_steps
from tfvae.models import VAE, make_vae
from tfvae.noise import Stream


class TrainState(NamedTuple):
    """All that training changes, hence all that a checkpoint holds."""

    vae: VAE
    optimizer: keras.optimizers.Optimizer
    step: tf.Variable  # int64: steps done

    def variables(self) -> dict[str, tf.Variable]:
        """Every variable by a name of its own."""
        named = {v.path: v.value for v in self.vae.variables}
        named |= {v.path: v.value for v in self.optimizer.variables}
        return named | {"step": self.step}


class Progress(NamedTuple):
    """What a loop over steps carries: the sums of the batches' mean terms, in nats."""

    elbo: tf.Tensor
    log_likelihood: tf.Tensor
    kl: tf.Tensor
    bad_step: tf.Tensor  # int32: the first step whose loss or gradient was not finite, or -1


def steps_per_epoch(config: Config, examples: int) -> int:
    """Whole batches in a pass over the images; what remains of an order is left to other epochs' orders."""
    return examples // config.batch_size


def make_learning_rate(config: Config, epoch_steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The step size as a function of the step, as `--lr_schedule` says."""
    rate = config.learning_rate
    if config.lr_schedule == "constant":
        return rate
    if config.lr_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, config.epochs * epoch_steps)
    epochs, factors = zip(*lr_steps(config.lr_schedule))
    # Keras changes after a boundary; ours is the first step of an epoch
    boundaries = [epoch * epoch_steps - 1 for epoch in epochs]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [rate, *(rate * f for f in factors)])


def create_state(config: Config, image_shape: tuple[int, int, int], examples: int) -> TrainState:
    """A new VAE and its optimizer, at step 0."""
    vae = make_vae(config, image_shape)
    optimizer = {
        "adam": keras.optimizers.Adam,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
        "adagrad": keras.optimizers.Adagrad,
    }[config.optimizer](make_learning_rate(config, steps_per_epoch(config, examples)), name="optimizer")
    optimizer.build(vae.trainable_variables)
    return TrainState(vae, optimizer, tf.Variable(0, dtype=tf.int64, trainable=False, name="step"))


def loss_and_terms(
    config: Config, vae: VAE, x: tf.Tensor, epsilon: tf.Tensor, beta: float | tf.Tensor
) -> tuple[tf.Tensor, objectives.Elbo]:
    """What `config` says to minimise, [B] nats, and the ELBO and its terms."""
    if config.objective == "autoencoder":
        return objectives.autoencoder_loss(vae, x)
    if config.objective in ("iwae", "dreg"):
        return objectives.importance_weighted_loss(vae, x, epsilon, config.objective == "dreg")
    kl = "analytic" if config.closed_kl else "monte_carlo"
    if config.estimator == "score_function":
        return objectives.score_function_loss(vae, x, epsilon, kl, beta, config.baseline)
    return objectives.elbo_loss(vae, x, epsilon, kl, beta, config.free_bits)


@tf.function(jit_compile=True)
def epoch_order(seed: tf.Tensor, epoch: tf.Tensor, examples: int) -> tf.Tensor:
    """The order of the images in an epoch: int32 [examples]."""
    return noise.permutation(examples, noise.seed_for(seed, Stream.SHUFFLE, epoch))


def make_run_steps(state: TrainState, config: Config, images: np.ndarray) -> Callable[..., Any]:
    """Compiles training on `images` ([N, H, W, C], uint8 or float32 in [0, 1]), which go to the device.

    Returns:
        run_steps(order, first, count) -> means, bad_step: makes steps first .. first+count-1 of the run, all of one
        epoch, whose `epoch_order` is given. `means` are the ELBO and its terms over these steps, in nats an image;
        `bad_step` is the first whose loss or gradient was not finite, or None. Other counts don't compile again.
    """
    images = tf.constant(images)
    batch_size, per_epoch = config.batch_size, steps_per_epoch(config, len(images))
    latents = (config.num_samples, batch_size, config.latent_dim)
    variables = state.vae.trainable_variables

    def step(order: tf.Tensor, t: tf.Tensor) -> tuple[objectives.Elbo, tf.Tensor]:
        # a slice would start at a compile-time constant under XLA, and compile anew at each call; a gather doesn't
        rows = tf.gather(order, (t % per_epoch) * batch_size + tf.range(batch_size))
        x = tf.image.convert_image_dtype(tf.gather(images, rows), tf.float32)  # [B, H, W, C] in [0, 1]
        if config.binarize == "stochastic":
            x = noise.bernoulli(x, noise.seed_for(config.seed, Stream.BINARIZE, t))
        if config.dequantize:
            x = noise.dequantize(x, noise.seed_for(config.seed, Stream.BINARIZE, t))
        epsilon = noise.normal(latents, noise.seed_for(config.seed, Stream.POSTERIOR, t))
        beta = config.beta
        if config.kl_warmup_epochs:
            beta *= tf.minimum(1.0, tf.cast(t, tf.float32) / (config.kl_warmup_epochs * per_epoch))
        with tf.GradientTape() as tape:
            losses, terms = loss_and_terms(config, state.vae, x, epsilon, beta)
            loss = tf.reduce_sum(losses) / batch_size
        gradients = tape.gradient(loss, variables)
        # the plain autoencoder's variance has none
        gradients = [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables)]
        state.optimizer.apply(gradients, variables)
        checksum = loss + tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])
        return objectives.Elbo(*(tf.reduce_mean(term) for term in terms)), tf.math.is_finite(checksum)

    @tf.function(jit_compile=state.vae.xla, autograph=False)
    def run_steps(order: tf.Tensor, first: tf.Tensor, count: tf.Tensor) -> Progress:
        def body(t: tf.Tensor, sums: Progress) -> tuple[tf.Tensor, Progress]:
            terms, finite = step(order, t)
            bad_step = tf.where((sums.bad_step < 0) & ~finite, t, sums.bad_step)
            return t + 1, Progress(*(a + b for a, b in zip(sums, terms)), bad_step)

        start = Progress(*(tf.zeros([]) for _ in objectives.Elbo._fields), tf.constant(-1))
        _, sums = tf.while_loop(lambda t, _: t < first + count, body, (first, start))
        state.step.assign(tf.cast(first + count, tf.int64))
        return sums

    def run(order: tf.Tensor, first: int, count: int) -> tuple[dict[str, float], int | None]:
        sums = Progress(*(float(value) for value in run_steps(order, tf.constant(first), tf.constant(count))))
        means = {name: getattr(sums, name) / max(count, 1) for name in objectives.Elbo._fields}
        return means, None if sums.bad_step < 0 else int(sums.bad_step)

    return run
