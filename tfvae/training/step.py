"""The training step, and the one compiled program that runs many of them.

Batch t and its noise are functions of (seed, t): a run that stops and goes on, or is spread over other replicas, sees
the same batches and the same epsilon, and how many steps a call makes changes nothing.

Shapes: a global batch of B images is shared by R replicas; x [B / R, H, W, C]; epsilon [K, B / R, L].
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core import dropout, fast, noise, objectives
from tfvae.core.inputs import to_unit
from tfvae.core.noise import Stream
from tfvae.core.repeatable import sums_in_order
from tfvae.data.disk import DiskImages
from tfvae.training.feeds import Stored, make_feed
from tfvae.training.norms import StepNorms, norms_after
from tfvae.training.running_sums import EpochSums, RunningSums
from tfvae.training.state import TrainState, steps_per_epoch
from tfvae.training.strategy import Placement, one_device


class TrainStep:
    """One step: a replica's batch and noise, the gradient of its share of the loss, and the optimizer's update."""

    def __init__(self, state: TrainState, config: Config, examples: int, replicas: int) -> None:
        self.state, self.config, self.replicas = state, config, replicas
        self.epoch_steps = steps_per_epoch(config, examples)
        self.per_replica_batch_size = config.batch_size // replicas
        self.variables = state.vae.trainable_variables
        # XLA compiles the whole loop for one device; for more, what each does before and after a reduction
        if replicas > 1 and fast.use_xla(state.vae.convolutional):
            self.compiled_gradients = tf.function(self.gradients, jit_compile=True, autograph=False)
            self.compiled_update = tf.function(self.update_copy, jit_compile=True, autograph=False)
        else:
            self.compiled_gradients = self.gradients
            self.compiled_update = self.update_copy
        self.sets_variance = state.vae.decoder.family.sets_variance
        self.compiled_squared_error = self.squared_error
        if self.sets_variance and replicas > 1 and fast.use_xla(state.vae.convolutional):
            self.compiled_squared_error = tf.function(self.squared_error, jit_compile=True, autograph=False)

    def run_in_replica(
        self,
        stored: Stored,
        order: tf.Tensor,
        start: tf.Tensor,
        t: tf.Tensor,
        is_last: tf.Tensor,
        sums: RunningSums,
    ) -> RunningSums:
        """Makes step t in a replica's context: updates the variables, and returns the sums with this step's terms.

        The norms are measured where it `is_last`, of its loop.
        """
        replica = tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)
        if self.sets_variance:
            self.set_variance(self.compiled_squared_error(stored, order, start, t, replica))
        gradients, terms, finite = self.compiled_gradients(stored, order, start, t, replica)
        optimizer = self.state.optimizer
        learning_rate = tf.convert_to_tensor(optimizer.learning_rate)  # of this step: a schedule's changes with it
        applied = self.update(gradients)
        # of the last step alone: of every one they would cost a pass over all weights
        measure = functools.partial(
            norms_after, self.config.optimizer, optimizer, applied, learning_rate, self.variables
        )
        norms = tf.cond(is_last, measure, lambda: sums.norms)
        return sums.plus(terms, finite, t, norms)

    def batch(
        self, stored: Stored, order: tf.Tensor, start: tf.Tensor, t: tf.Tensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """x [B / R, H, W, C] in [0, 1]: the images of these rows of batch t, binarized or dequantized anew; y [B / R].

        y are the labels of a conditional run, and None of another.
        """
        # not a slice: XLA would need its start as a constant, and compile again for each call
        places = tf.gather(order, (t - start) * self.config.batch_size + rows)
        x = to_unit(tf.gather(stored.images, places))
        seed = noise.seed_for(self.config.seed, Stream.BINARIZE, t)
        draw = functools.partial(self._uniform, rows)
        x = noise.drawn_pixels(x, self.config.binarize, self.config.dequantize, seed, draw)
        return x, None if stored.y is None else tf.gather(stored.y, places)

    def _uniform(self, rows: tf.Tensor, shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """Uniform noise of `shape`, [B / R, ...]: these rows of the global batch's."""
        uniform = noise.step_uniform((self.config.batch_size, *shape[1:]), seed)
        return uniform if self.replicas == 1 else tf.gather(uniform, rows)

    def epsilon(self, t: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Standard normal [K, B / R, L]: these rows of the global batch's, so that R changes nothing."""
        shape = (self.config.num_samples, self.config.batch_size, self.config.latent_dim)
        epsilon = noise.normal(shape, noise.seed_for(self.config.seed, Stream.POSTERIOR, t))
        return epsilon if self.replicas == 1 else tf.gather(epsilon, rows, axis=1)

    def beta(self, t: tf.Tensor) -> float | tf.Tensor:
        """The weight of the KL at step t: it rises over --kl_warmup_epochs."""
        if not self.config.kl_warmup_epochs:
            return self.config.beta
        warmup_steps = self.config.kl_warmup_epochs * self.epoch_steps
        return self.config.beta * tf.minimum(1.0, tf.cast(t, tf.float32) / warmup_steps)

    def rows(self, replica: tf.Tensor) -> tf.Tensor:
        """A replica's rows of the global batch: int32 [B / R]."""
        return replica * self.per_replica_batch_size + tf.range(self.per_replica_batch_size)

    def squared_error(
        self, stored: Stored, order: tf.Tensor, start: tf.Tensor, t: tf.Tensor, replica: tf.Tensor
    ) -> tf.Tensor:
        """A replica's share of the global batch's mean squared error a value, at the z of step t."""
        rows = self.rows(replica)
        x, y = self.batch(stored, order, start, t, rows)
        with dropout.in_step(self.config.seed, t, rows, self.config.batch_size):
            squared_errors = objectives.mean_squared_error(self.state.vae.given(y), x, self.epsilon(t, rows))
        return tf.reduce_sum(squared_errors) / self.config.batch_size

    def set_variance(self, share: tf.Tensor) -> None:
        """Sets --sigma=optimal by the replicas' shares of the batch's error, before the gradient, which needs no term
        for it: at a maximum in sigma the objective has no slope there (the envelope theorem).
        """
        if self.replicas > 1:
            share = tf.distribute.get_replica_context().all_reduce("SUM", share)
        self.state.vae.decoder.set_variance(share)

    def gradients(
        self, stored: Stored, order: tf.Tensor, start: tf.Tensor, t: tf.Tensor, replica: tf.Tensor
    ) -> tuple[list[tf.Tensor], objectives.Elbo, tf.Tensor]:
        """A replica's shares of the global mean loss's gradient and of the mean terms; whether they are finite."""
        batch_size = self.config.batch_size
        rows = self.rows(replica)
        x, y = self.batch(stored, order, start, t, rows)
        epsilon = self.epsilon(t, rows)
        beta = self.beta(t)
        with dropout.in_step(self.config.seed, t, rows, batch_size), tf.GradientTape() as tape:
            losses, terms = objectives.training_loss(self.config, self.state.vae.given(y), x, epsilon, beta)
            loss = tf.reduce_sum(losses) / batch_size
        # of the plain autoencoder, the posterior's variance has no gradient
        gradients = tape.gradient(loss, self.variables, unconnected_gradients="zero")
        # what is not finite anywhere reaches the gradient of some bias; to sum all kernels' would cost more
        checksum = loss + tf.add_n([tf.reduce_sum(g) for g in gradients if len(g.shape) < 2])
        finite = tf.math.is_finite(checksum)
        # a bad step changes nothing; and each update waits for all gradients, so that XLA need not copy the weights
        gradients = [tf.where(finite, g, 0.0) for g in gradients]
        mean_terms = objectives.Elbo(*(tf.reduce_sum(term) / batch_size for term in terms))
        return gradients, mean_terms, finite

    def update(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Adds up the replicas' gradients and applies the sum, which it returns; --clip_norm is of the sum."""
        context = tf.distribute.get_replica_context()
        if self.replicas > 1:
            gradients = context.all_reduce("SUM", gradients)
        if self.config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.clip_norm)
        if self.replicas > 1:
            context.merge_call(self._update_copies, args=(gradients,))
        else:
            self.state.optimizer.apply(gradients, self.variables)
        return gradients

    def _update_copies(self, strategy: tf.distribute.Strategy, gradients: list[tf.Tensor]) -> None:
        """Updates every replica's copy of the variables, outside the replicas' contexts."""
        # `update` runs a function for each copy of one variable; any would do: within it all are that replica's copies
        iterations = self.state.optimizer.iterations.value
        strategy.extended.update(iterations, self.compiled_update, args=tuple(gradients), group=False)

    def update_copy(self, iterations: tf.Variable, *gradients: tf.Tensor) -> None:
        """`optimizer.apply` to one replica's copy of the variables, by gradients that are summed already.

        Keras's own updates each variable by operations that XLA can't fuse: its reduction is between them.
        """
        optimizer = self.state.optimizer
        learning_rate = optimizer.learning_rate
        for gradient, variable in zip(gradients, self.variables):
            optimizer.update_step(gradient, variable.value, learning_rate)
        for variable in self.variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable.value))
        iterations.assign_add(1)


class EpochMeans(NamedTuple):
    """The means over some steps of an epoch of the ELBO and its terms, by name, in nats an image."""

    steps: int
    terms: dict[str, float]


def mean_of_parts(parts: list[EpochMeans]) -> dict[str, float]:
    """The means over all steps of these parts."""
    steps = sum(part.steps for part in parts)
    return {name: sum(part.terms[name] * part.steps for part in parts) / steps for name in objectives.Elbo._fields}


class _CallSums(NamedTuple):
    """The sums of one call's loop: of each of this worker's replicas, from epoch `first_epoch` on."""

    first_epoch: int
    replicas: list[EpochSums]

    def of_epochs(self, epochs: range) -> np.ndarray:
        """The sums of the terms in these epochs: [epochs, 3], 0 where the call has no step of them."""
        of_replicas = np.array([of_replica.terms.numpy() for of_replica in self.replicas], np.float64)
        sums = of_replicas.sum(axis=0).T  # [E, 3]
        chosen = np.zeros((len(epochs), sums.shape[1]))
        for row, epoch in enumerate(epochs):
            place = epoch - self.first_epoch
            if 0 <= place < len(sums):
                chosen[row] = sums[place]
        return chosen

    def first_bad(self) -> float:
        """The first step that was not finite; infinity where all were."""
        bad_steps = [int(of_replica.bad_step) for of_replica in self.replicas]
        return min((step for step in bad_steps if step >= 0), default=np.inf)


class TrainProgram:
    """Training, compiled, on images [N, H, W, C] (uint8, or float32 in [0, 1]), by the replicas of `placement`.

    Without a `placement` it is one replica. y [N] are the labels of a conditional run.
    """

    def __init__(
        self,
        state: TrainState,
        config: Config,
        images: np.ndarray | DiskImages,
        placement: Placement | None = None,
        y: np.ndarray | None = None,
    ) -> None:
        self.state = state
        self.placement = placement or one_device()
        self.strategy = self.placement.strategy
        self.feed = make_feed(config, images, self.placement, y)
        replicas = self.strategy.num_replicas_in_sync
        self.train_step = TrainStep(state, config, len(images), replicas)
        self.epoch_steps = self.train_step.epoch_steps
        jit_compile = replicas == 1 and fast.use_xla(state.vae.convolutional)
        self._compiled_steps = tf.function(self._steps, jit_compile=jit_compile, autograph=False)
        self.last_norms: StepNorms | None = None  # of the last step that was made

    @sums_in_order()
    def run(self, first: int, count: int) -> tuple[list[EpochMeans], int | None]:
        """Makes steps first .. first+count-1 of the run; other counts don't compile again, 0 compiles and makes none.

        Returns:
            The means of each epoch that has some of the steps, over these; and the first step whose loss or gradient
            was not finite, or None.

        Raises:
            RunError: images that are read from disk can't be.
        """
        done, last = first, first + count
        calls: list[_CallSums] = []
        while not calls or done < last:
            rows = self.feed.rows_at(done, last - done)
            part = min(last, rows.stop) - done
            sums = self._compiled_steps(
                rows.stored, rows.order, tf.constant(rows.start), tf.constant(done), tf.constant(part)
            )
            calls.append(_CallSums(rows.start // self.epoch_steps, sums))
            done += part
        if count:
            self.last_norms = StepNorms(*map(float, sums[0].norms.numpy()))
        return self._over_workers(calls, first, count)

    def _steps(
        self, stored: Stored, order: tf.Tensor, start: tf.Tensor, first: tf.Tensor, count: tf.Tensor
    ) -> list[EpochSums]:
        """The loop over epochs, in the graph: the sums of each of this worker's replicas."""
        last = first + count

        def epoch(t: tf.Tensor, sums: EpochSums) -> tuple[tf.Tensor, EpochSums]:
            epoch_end = (t // self.epoch_steps + 1) * self.epoch_steps
            place = t // self.epoch_steps - start // self.epoch_steps
            t, of_epoch = self._steps_of_epoch(stored, order, start, t, tf.minimum(epoch_end, last))
            return t, self.strategy.run(EpochSums.plus, args=(sums, of_epoch, place))

        zero = self.strategy.run(EpochSums.zero, args=(self.feed.epochs_at_once,))
        _, sums = tf.while_loop(lambda t, _: t < last, epoch, (first, zero))
        self.state.step.assign(tf.cast(last, tf.int64))
        return self.strategy.experimental_local_results(sums)

    def _steps_of_epoch(
        self, stored: Stored, order: tf.Tensor, start: tf.Tensor, first: tf.Tensor, last: tf.Tensor
    ) -> tuple[tf.Tensor, RunningSums]:
        """The loop over an epoch's steps first .. last-1, in the graph: last, and each replica's sums."""

        def step(t: tf.Tensor, sums: RunningSums) -> tuple[tf.Tensor, RunningSums]:
            arguments = (stored, order, start, t, t + 1 == last, sums)
            return t + 1, self.strategy.run(self.train_step.run_in_replica, args=arguments)

        zero = self.strategy.run(RunningSums.zero)
        return tf.while_loop(lambda t, _: t < last, step, (first, zero))

    def _over_workers(self, calls: list[_CallSums], first: int, count: int) -> tuple[list[EpochMeans], int | None]:
        """What `run` returns, of all workers' replicas."""
        if not count:
            return [], None
        epochs = range(first // self.epoch_steps, (first + count - 1) // self.epoch_steps + 1)
        own = np.sum([call.of_epochs(epochs) for call in calls], axis=0)
        own_first_bad = min(call.first_bad() for call in calls)
        of_workers = self.placement.all_gather(np.array([*own.ravel(), own_first_bad]))
        totals = of_workers[:, :-1].sum(axis=0).reshape(own.shape)
        means = []
        for epoch, total in zip(epochs, totals):
            begin = max(first, epoch * self.epoch_steps)
            end = min(first + count, (epoch + 1) * self.epoch_steps)
            steps = end - begin
            means.append(EpochMeans(steps, dict(zip(objectives.Elbo._fields, total / steps))))
        first_bad = of_workers[:, -1].min()
        return means, int(first_bad) if np.isfinite(first_bad) else None
