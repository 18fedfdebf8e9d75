"""What the loops of the compiled program carry from step to step, and from epoch to epoch."""

from typing import NamedTuple

import tensorflow as tf

from tfvae.core import objectives


class RunningSums(NamedTuple):
    """What the loop over an epoch's steps carries: the sums of the batches' mean terms, in nats."""

    elbo: tf.Tensor
    log_likelihood: tf.Tensor
    kl: tf.Tensor
    bad_step: tf.Tensor  # int32: the first step whose loss or gradient was not finite, or -1
    norms: tf.Tensor  # [3]: `StepNorms` of the loop's last step, 0 before it

    @classmethod
    def zero(cls) -> "RunningSums":
        """Before the first step."""
        return cls(tf.zeros([]), tf.zeros([]), tf.zeros([]), tf.constant(-1), tf.zeros([3]))

    def plus(self, terms: objectives.Elbo, finite: tf.Tensor, step: tf.Tensor, norms: tf.Tensor) -> "RunningSums":
        """After a step with these mean terms."""
        bad_step = tf.where((self.bad_step < 0) & ~finite, step, self.bad_step)
        return RunningSums(
            self.elbo + terms.elbo, self.log_likelihood + terms.log_likelihood, self.kl + terms.kl, bad_step, norms
        )


class EpochSums(NamedTuple):
    """What the loop over E epochs carries."""

    terms: tf.Tensor  # [3, E] nats: each epoch's sums, in the order of `Elbo`
    bad_step: tf.Tensor  # as that of `RunningSums`
    norms: tf.Tensor  # as that of `RunningSums`: of the last epoch's last step

    @classmethod
    def zero(cls, epochs: int) -> "EpochSums":
        """Before the first epoch."""
        return cls(tf.zeros([len(objectives.Elbo._fields), epochs]), tf.constant(-1), tf.zeros([3]))

    def plus(self, sums: RunningSums, place: tf.Tensor) -> "EpochSums":
        """After the epoch at this place, which came to these sums."""
        is_here = tf.range(self.terms.shape[1]) == place
        column = tf.stack([sums.elbo, sums.log_likelihood, sums.kl])[:, None]
        bad_step = tf.where(self.bad_step < 0, sums.bad_step, self.bad_step)
        return EpochSums(tf.where(is_here, column, self.terms), bad_step, sums.norms)
