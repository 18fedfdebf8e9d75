"""How large a step is: the norms of its gradient, of its update and of the weights, over all that is trained.

The update is computed by the optimizer's own formula from its state after the step, so that the weights before the step
need not be kept: XLA would copy them at every step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


class StepNorms(NamedTuple):
    """Euclidean norms of one step, over all weights."""

    gradient: float  # of the loss, summed over the replicas, after --clip_norm
    update: float  # what the step changed the weights by
    weights: float  # after the step

    @property
    def update_ratio(self) -> float:
        """The update's norm over the weights'; infinite where all weights are 0."""
        return self.update / self.weights if self.weights else float("inf")


Tensors = list[tf.Tensor]


def _adam(optimizer: Any, gradients: Tensors, learning_rate: tf.Tensor) -> Tensors:
    """Kingma & Ba 2015, algorithm 1, in Keras's order: the bias corrections are one factor."""
    steps = tf.cast(optimizer.iterations.value, tf.float32)
    rate = learning_rate * tf.sqrt(1 - optimizer.beta_2**steps) / (1 - optimizer.beta_1**steps)
    moments = zip(_read(optimizer._momentums), _read(optimizer._velocities))
    return [rate * mean / (tf.sqrt(square) + optimizer.epsilon) for mean, square in moments]


def _sgd(optimizer: Any, gradients: Tensors, learning_rate: tf.Tensor) -> Tensors:
    return [learning_rate * gradient for gradient in gradients]


def _rmsprop(optimizer: Any, gradients: Tensors, learning_rate: tf.Tensor) -> Tensors:
    squares = _read(optimizer._velocities)
    return [learning_rate * g / tf.sqrt(square + optimizer.epsilon) for g, square in zip(gradients, squares)]


def _adagrad(optimizer: Any, gradients: Tensors, learning_rate: tf.Tensor) -> Tensors:
    sums = _read(optimizer._accumulators)
    return [learning_rate * g / tf.sqrt(total + optimizer.epsilon) for g, total in zip(gradients, sums)]


_UPDATES: dict[str, Callable[[Any, Tensors, tf.Tensor], Tensors]] = {  # by the names of --optimizer
    "adam": _adam,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
}


def _read(variables: Any) -> Tensors:
    return [tf.convert_to_tensor(variable) for variable in variables]


def norms_after(
    optimizer_name: str, optimizer: Any, gradients: Tensors, learning_rate: tf.Tensor, variables: Any
) -> tf.Tensor:
    """`StepNorms` of the step that `optimizer` has just made by these gradients, at this learning rate: [3]."""
    updates = _UPDATES[optimizer_name](optimizer, gradients, learning_rate)
    return tf.stack([tf.linalg.global_norm(tensors) for tensors in (gradients, updates, _read(variables))])
