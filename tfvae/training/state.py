"""What training changes: the VAE's variables, the optimizer's, and the step."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tfvae.config import Config
from tfvae.config.schedule import read_steps
from tfvae.core.columns import Columns
from tfvae.core.keras_globals import Float32Schedule, float32_by_default
from tfvae.core.making import make_vae
from tfvae.core.own_network import Trunks
from tfvae.core.vae import VAE


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


def steps_per_epoch(config: Config, examples: int) -> int:
    """Whole batches in a pass over the images: the last images of an epoch's order, too few for one, are left out."""
    return examples // config.batch_size


def make_learning_rate(config: Config, epoch_steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The step size as a function of the step, as `--lr_schedule` says."""
    rate = config.learning_rate
    if config.lr_schedule == "constant":
        return rate
    if config.lr_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, config.epoch_count * epoch_steps)
    boundaries, rates = [], [rate]
    for epoch, factor in read_steps(config.lr_schedule):
        boundaries.append(epoch * epoch_steps - 1)  # Keras changes after a boundary; ours is an epoch's first step
        rates.append(rate * factor)
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)


@float32_by_default()
def make_optimizer(config: Config, epoch_steps: int) -> keras.optimizers.Optimizer:
    """The optimizer that `config` names."""
    learning_rate = make_learning_rate(config, epoch_steps)
    if isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        learning_rate = Float32Schedule(learning_rate)
    if config.optimizer == "adam":
        return keras.optimizers.Adam(learning_rate, epsilon=config.adam_epsilon, name="optimizer")
    classes = {
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
        "adagrad": keras.optimizers.Adagrad,
    }
    return classes[config.optimizer](learning_rate, name="optimizer")


def create_state(
    config: Config,
    image_shape: tuple[int, int, int],
    examples: int,
    white: int = 255,
    start_stddev: float | None = None,
    columns: Columns | None = None,
    value_range: tuple[float, float] | None = None,
    classes: tuple[str, ...] = (),
    trunks: Trunks | None = None,
) -> TrainState:
    """A new VAE and its optimizer, at step 0; the arguments after `examples` are those of `make_vae`."""
    vae = make_vae(config, image_shape, white, start_stddev, columns, value_range, classes, trunks)
    optimizer = make_optimizer(config, steps_per_epoch(config, examples))
    with float32_by_default():
        optimizer.build(vae.trainable_variables)
    return TrainState(vae, optimizer, tf.Variable(0, dtype=tf.int64, trainable=False, name="step"))
