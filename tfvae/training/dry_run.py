"""What a training would do, told without doing it: the network, its memory, the steps and the time that they take."""

import math
import time

import tensorflow as tf

from tfvae.config import Config
from tfvae.core.own_network import Trunks
from tfvae.core.vae import VAE
from tfvae.data.provenance import examples
from tfvae.data.splits import Dataset
from tfvae.runtime.progress import duration
from tfvae.training import checkpoints, memory
from tfvae.training.block_plan import first_steps, plan_blocks
from tfvae.training.evaluation import Evaluator
from tfvae.training.state import TrainState, create_state, steps_per_epoch
from tfvae.training.step import TrainProgram
from tfvae.training.strategy import Placement

_MEASURED_SECONDS = 2.0  # of steps, about
_MEGABYTE = 1e6
_WORTH_TELLING = 30.0  # seconds


class DryRun:
    """A training of which a few steps are made, on weights that are thrown away; nothing is written."""

    def __init__(self, config: Config, dataset: Dataset, placement: Placement, trunks: Trunks | None = None) -> None:
        self.config, self.dataset, self.placement, self.trunks = config, dataset, placement, trunks
        self.word = examples(dataset.columns)
        self.epoch_steps = steps_per_epoch(config, len(dataset.train.images))
        self.total_steps = config.epoch_count * self.epoch_steps
        self.done_steps = checkpoints.read_notes(config.directory).get("step", 0)
        with placement.strategy.scope():
            shape, white = dataset.image_shape, dataset.white
            facts = (white, None, *dataset.of_model, trunks)
            self.state: TrainState = create_state(config, shape, len(dataset.train.images), *facts)

    def lines(self) -> list[str]:
        """All that is told, a line each."""
        return [*layers(self.state.vae), self.memory(), self.steps(), self.time()]

    def memory(self) -> str:
        """What the network takes, as far as it can be known, and the training images."""
        needs = memory.needs_of(self.config, self.dataset, self.placement.local_replicas, self.trunks)
        images = self.dataset.train.images.nbytes
        return (
            f"memory: {needs.total_bytes / _MEGABYTE:,.0f} MB for weights, gradients, the optimizer and a batch, "
            f"{images / _MEGABYTE:,.0f} MB for the training {self.word}, beside what TensorFlow itself takes"
        )

    def steps(self) -> str:
        """How many steps and validations there are."""
        config = self.config
        validations = math.ceil(config.epoch_count / config.epochs_a_validation)
        held_out = len(self.dataset.validation.images)
        text = (
            f"steps: {self.total_steps:,}: {config.epoch_count:,} epochs of {self.epoch_steps:,} steps of "
            f"{config.batch_size:,} {self.word}; "
            + (f"{validations:,} validations of {held_out:,}" if held_out else "no validations")
        )
        return f"{text}; {self.done_steps:,} of them are done" if self.done_steps else text

    def time(self) -> str:
        """How long the rest takes on this machine as it is now, by some steps and a block of the evaluation."""
        a_step = self._seconds_of_a_step()
        training = a_step * (self.total_steps - self.done_steps)
        evaluation = self._seconds_of_evaluation()
        return (
            f"time: {_in_words(training)} of training ({1e3 * a_step:.2f} ms a step, measured just now; validations "
            f"and pictures come on top), {_in_words(evaluation)} of evaluation "
            f"({len(self.dataset.test.images):,} test {self.word}, {self.config.eval_samples:,} samples of z)"
        )

    def _seconds_of_a_step(self) -> float:
        program = TrainProgram(self.state, self.config, self.dataset.train.images, self.placement, self.dataset.train.y)
        count = first_steps(self.config, self.state.vae)
        program.run(0, count)  # compiles
        made, seconds, began = 0, 0.0, time.perf_counter()
        while made == 0 or seconds < _MEASURED_SECONDS:
            program.run(count + made, count)
            made += count
            seconds = time.perf_counter() - began
        return seconds / made

    def _seconds_of_evaluation(self) -> float:
        config, test = self.config, self.dataset.test
        plan = plan_blocks(self.state.vae, config.eval_memory_gb)
        evaluator = Evaluator(self.state.vae, config.latent_dim, config.seed, config.closed_kl, self.placement, plan)
        block = test.rows(slice(plan.block_size(len(test.images))))
        samples = min(config.eval_samples, plan.samples_in_call)
        evaluator.evaluate(block.array, samples, y=block.y)  # compiles
        began = time.perf_counter()
        evaluator.evaluate(block.array, samples, y=block.y)
        of_block = (time.perf_counter() - began) * config.eval_samples / samples
        return of_block * math.ceil(len(test.images) / len(block.images)) / self.placement.strategy.num_replicas_in_sync


def layers(vae: VAE) -> list[str]:
    """The layers that have weights, a line each, and how many weights there are in all."""
    of_layers: dict[str, list[tf.Variable]] = {}
    for variable in vae.variables:
        layer, _, _ = variable.path.removeprefix("vae/").rpartition("/")
        of_layers.setdefault(layer or "prior", []).append(variable)
    lines = ["network:"]
    for layer, variables in of_layers.items():
        weights = sum(math.prod(variable.shape) for variable in variables)
        shapes = ", ".join("x".join(map(str, variable.shape)) or "1" for variable in variables)
        lines.append(f"  {layer:24}{weights:12,}  {shapes}")
    total = sum(math.prod(variable.shape) for variable in vae.variables)
    return [*lines, f"  {'in all':24}{total:12,}"]


def _in_words(seconds: float) -> str:
    return duration(seconds) if seconds >= _WORTH_TELLING else "less than half a minute"
