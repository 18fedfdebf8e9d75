"""The training step, and the one compiled program that runs many of them.

Batch t and its noise are functions of (seed, t): a run that stops and goes on, or is spread over other replicas, sees
the same batches and the same epsilon, and how many steps a call makes changes nothing.
"""

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae import noise, objectives
from tfvae.config import Config, InputError, RunError, lr_steps
from tfvae.data import Stored
from tfvae.models import VAE, make_vae
from tfvae.noise import Stream
from tfvae.strategy import Placement, one_device

_BUFFER_BYTES = 2**25  # of images that are streamed, at a time


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
        "adam": functools.partial(keras.optimizers.Adam, epsilon=config.adam_epsilon),
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


def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """The order of the images in an epoch: int32 [examples]."""
    return noise.permutation(examples, noise.seed_for(seed, Stream.SHUFFLE, epoch))


def make_run_steps(
    state: TrainState, config: Config, images: np.ndarray | Stored, placement: Placement | None = None
) -> Callable[[int, int], tuple[dict[str, float], int | None]]:
    """Compiles training on `images` ([N, H, W, C], uint8 or float32 in [0, 1]), by `placement`'s replicas (None: one).

    Returns:
        run_steps(first, count) -> means, bad_step: makes steps first .. first+count-1 of the run. `means` are the ELBO
        and its terms over these steps, in nats an image; `bad_step` is the first whose loss or gradient was not
        finite, or None. Other counts don't compile again.
    """
    placement = placement or one_device()
    strategy, replicas = placement.strategy, placement.strategy.num_replicas_in_sync
    batch_size, per_epoch = config.batch_size, steps_per_epoch(config, len(images))
    share, one = batch_size // replicas, replicas == 1  # images a step and replica
    variables = state.vae.trainable_variables
    find = (_stream if isinstance(images, Stored) else _hold)(config, images, placement)

    def gradient(
        images: tf.Tensor, order: tf.Tensor, start: tf.Tensor, t: tf.Tensor, replica: tf.Tensor
    ) -> tuple[list[tf.Tensor], objectives.Elbo, tf.Tensor]:
        """A replica's share of the gradient of the global batch's loss, of its mean terms; whether they are finite."""
        own = replica * share + tf.range(share)

        def own_uniform(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
            whole = noise.step_uniform((batch_size, *shape[1:]), seed)
            return whole if one else tf.gather(whole, own)

        # a slice would start at a compile-time constant under XLA, and compile anew at each call; a gather doesn't
        rows = tf.gather(order, (t - start) * batch_size + own)
        x = tf.image.convert_image_dtype(tf.gather(images, rows), tf.float32)  # [B, H, W, C] in [0, 1]
        if config.binarize == "stochastic":
            x = noise.bernoulli(x, noise.seed_for(config.seed, Stream.BINARIZE, t), own_uniform)
        if config.dequantize:
            x = noise.dequantize(x, noise.seed_for(config.seed, Stream.BINARIZE, t), own_uniform)
        # the whole batch's noise, so that how many replicas share it changes nothing
        latents = (config.num_samples, batch_size, config.latent_dim)
        epsilon = noise.normal(latents, noise.seed_for(config.seed, Stream.POSTERIOR, t))
        epsilon = epsilon if one else tf.gather(epsilon, own, axis=1)
        beta = config.beta
        if config.kl_warmup_epochs:
            beta *= tf.minimum(1.0, tf.cast(t, tf.float32) / (config.kl_warmup_epochs * per_epoch))
        with tf.GradientTape() as tape:
            losses, terms = loss_and_terms(config, state.vae, x, epsilon, beta)
            loss = tf.reduce_sum(losses) / batch_size
        gradients = tape.gradient(loss, variables)
        # the plain autoencoder's variance has none
        gradients = [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables)]
        # the biases' gradients are sums of all that flows back
        checksum = loss + tf.add_n([tf.reduce_sum(g) for g in gradients if len(g.shape) < 2])
        terms = objectives.Elbo(*(tf.reduce_sum(term) / batch_size for term in terms))
        finite = tf.math.is_finite(checksum)
        # as no update may come before the last use of any weight, XLA updates them in place; else it copies each
        gradients = [tf.where(finite, g, 0.0) for g in gradients]
        return gradients, terms, finite

    # XLA compiles the whole loop for one device; for more, what each does between reductions
    compiled = gradient if one or not state.vae.xla else tf.function(gradient, jit_compile=True, autograph=False)

    def step(images: tf.Tensor, order: tf.Tensor, start: tf.Tensor, t: tf.Tensor, sums: Progress) -> Progress:
        context = tf.distribute.get_replica_context()
        gradients, terms, finite = compiled(
            images, order, start, t, tf.convert_to_tensor(context.replica_id_in_sync_group)
        )
        if config.clip_norm:  # of the whole gradient, not of a replica's
            gradients = gradients if one else context.all_reduce("SUM", gradients)
            gradients, _ = tf.clip_by_global_norm(gradients, config.clip_norm)
            gradients = [g / replicas for g in gradients]  # for the optimizer adds up the replicas'
        state.optimizer.apply(gradients, variables)
        bad_step = tf.where((sums.bad_step < 0) & ~finite, t, sums.bad_step)
        return Progress(*(a + b for a, b in zip(sums, terms)), bad_step)

    @tf.function(jit_compile=one and state.vae.xla, autograph=False)
    def run_steps(
        images: tf.Tensor, order: tf.Tensor, start: tf.Tensor, first: tf.Tensor, count: tf.Tensor
    ) -> list[Progress]:
        def body(t: tf.Tensor, sums: Progress) -> tuple[tf.Tensor, Progress]:
            return t + 1, strategy.run(step, args=(images, order, start, t, sums))

        zero = strategy.run(lambda: Progress(*(tf.zeros([]) for _ in objectives.Elbo._fields), tf.constant(-1)))
        _, sums = tf.while_loop(lambda t, _: t < first + count, body, (first, zero))
        state.step.assign(tf.cast(first + count, tf.int64))
        return strategy.experimental_local_results(sums)

    def run(first: int, count: int) -> tuple[dict[str, float], int | None]:
        done, last, progress = first, first + count, []
        while not progress or done < last:
            rows = find(done)
            part = min(last, rows.stop) - done
            arguments = (tf.constant(value) for value in (rows.start, done, part))
            progress += [[float(v) for v in sums] for sums in run_steps(rows.images, rows.order, *arguments)]
            done += part
        *sums, bad_step = np.array(progress).T  # of this worker's replicas
        told = placement.all_gather(np.array([*map(sum, sums), np.where(bad_step < 0, np.inf, bad_step).min()]))
        means = {name: told[:, i].sum() / max(count, 1) for i, name in enumerate(objectives.Elbo._fields)}
        return means, int(told[:, -1].min()) if np.isfinite(told[:, -1]).any() else None

    return run


class _Rows(NamedTuple):
    """Where a step finds its images: the i-th of step t is `images[order[(t - start) * batch_size + i]]`."""

    images: tf.Tensor  # on each device
    order: tf.Tensor
    start: int  # it serves steps start .. stop-1
    stop: int


def _hold(config: Config, images: np.ndarray, placement: Placement) -> Callable[[int], _Rows]:
    """All images on the device(s): the rows of a step are found through its epoch's order."""
    held, per_epoch = placement.per_replica([images] * placement.local), steps_per_epoch(config, len(images))

    @functools.lru_cache(maxsize=1)
    def of_epoch(epoch: int) -> _Rows:
        order = epoch_order(config.seed, epoch, len(images))
        return _Rows(held, tf.constant(order), epoch * per_epoch, (epoch + 1) * per_epoch)

    return lambda step: of_epoch(step // per_epoch)


def _stream(config: Config, images: Stored, placement: Placement) -> Callable[[int], _Rows]:
    """Images on disk, in the same order: this worker's rows of some steps at a time, the next ones read meanwhile."""
    batch_size, per_epoch = config.batch_size, steps_per_epoch(config, len(images))
    share = batch_size // placement.workers
    first_own = placement.index * share
    steps = max(1, min(per_epoch, _BUFFER_BYTES // (share * images.nbytes // len(images))))
    row = np.arange(steps * batch_size)  # the rows of other workers are not there, nor asked for
    order = tf.constant(row // batch_size * share + row % batch_size - first_own, tf.int32)

    @functools.lru_cache(maxsize=1)
    def of_epoch(epoch: int) -> np.ndarray:
        return epoch_order(config.seed, epoch, len(images))

    wrong, ahead = [], []  # what is wrong with an image; the buffers to come

    def buffers(step: int) -> Iterator[tuple[int, int, np.ndarray]]:
        while True:
            epoch, begin = divmod(step, per_epoch)
            count = min(steps, per_epoch - begin)
            batches = of_epoch(epoch)[begin * batch_size : (begin + count) * batch_size].reshape(count, batch_size)
            buffer = np.zeros((steps * share, *images.shape[1:]), images.dtype)
            try:
                buffer[: count * share] = images.read(batches[:, first_own : first_own + share].ravel())
            except (InputError, OSError) as error:  # tf.data would make a traceback's text of it
                wrong.append(str(error))
                return
            yield step, step + count, buffer
            step += count

    number = tf.TensorSpec([], tf.int32)
    form = (number, number, tf.TensorSpec((steps * share, *images.shape[1:]), images.dtype))
    rows = _Rows(tf.zeros([]), order, 0, 0)

    def find(step: int) -> _Rows:
        nonlocal rows
        if not rows.start <= step < rows.stop:
            if step != rows.stop or not ahead:
                data = tf.data.Dataset.from_generator(lambda: buffers(step), output_signature=form)
                ahead[:] = [iter(data.prefetch(2))]
            start, stop, buffer = next(ahead[0], (0, 0, None))
            if buffer is None:
                raise RunError(wrong[0])
            rows = _Rows(placement.per_replica([buffer] * placement.local), order, int(start), int(stop))
        return rows

    weakref.finalize(find, ahead.clear)  # the interpreter's end and a thread that reads would wait for each other
    return find
