"""What the tests of the trainer share: a small one, a clock that goes when it is told, a monitor that remembers."""

import dataclasses
import json

import numpy as np
import runs  # noqa: F401  # which imports TensorFlow quietly

from tfvae.config import Config
from tfvae.data.splits import Dataset, Split
from tfvae.training.norms import StepNorms
from tfvae.training.step import EpochMeans
from tfvae.training.strategy import one_device
from tfvae.training.trainer import Trainer

CONFIG = Config(  # 12 steps an epoch; of convolutions, for which nobody waits until XLA has compiled them
    dataset="digits", network="conv", filters=(2,), hidden_units=(4,), batch_size=4, epochs=3, eval_samples=3, seed=5
).as_usual()
EPOCH = 12


def make_dataset(seed=0, validation=20):
    images = np.random.default_rng(seed).integers(0, 256, (50 + validation + 30, 6, 5, 1), dtype=np.uint8)
    parts = np.split(images, [50, 50 + validation])
    return Dataset(*(Split(part, None) for part in parts))


def draw_pictures(vae):
    """One picture of one pixel: it says which weights it is of."""
    mean = vae.given(0 if vae.classes else None).decode(np.ones([1, 2], np.float32)).mean.numpy().mean()
    yield "samples", np.full((1, 1, 1), round(mean * 1e4) % 256, np.uint8)


class Export:
    """Counts its calls; leaves a file in the directory that it returns."""

    def __init__(self, folder):
        self.folder, self.calls = folder, []

    def __call__(self, vae, step, results):
        self.calls.append((vae, step, json.loads(json.dumps(results))))
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder


def make_trainer(folder, dataset=None, placement=None, profile_steps=None, **settings):
    config = dataclasses.replace(CONFIG, **settings)
    (folder / "run").mkdir(exist_ok=True)
    placement = placement or one_device()
    export = Export(folder / "export" / "1")
    dataset = dataset or make_dataset()
    return Trainer(config, dataset, folder / "run", placement, draw_pictures, export, profile_steps=profile_steps)


class Clock:
    """In the place of the module `time`: it goes on when it is told."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def monotonic(self):
        return self.now


class TimedProgram:
    """In the place of a trainer's program: each call takes `seconds` by the clock."""

    def __init__(self, program, clock, seconds):
        self.program, self.clock, self.seconds = program, clock, seconds

    def run(self, first, count):
        self.clock.now += self.seconds
        return self.program.run(first, count)

    @property
    def last_norms(self):
        return self.program.last_norms


class NoSteps:
    """In the place of a trainer's program: the means of steps that it does not make."""

    def __init__(self, epoch_steps):
        self.epoch_steps = epoch_steps
        self.last_norms = StepNorms(gradient=1.0, update=0.01, weights=2.0)

    def run(self, first, count):
        epochs = [step // self.epoch_steps for step in range(first, first + count)]
        terms = {"elbo": -80.0, "log_likelihood": -70.0, "kl": 10.0}
        return [EpochMeans(epochs.count(epoch), terms) for epoch in sorted(set(epochs))], None


def values_of(vae):
    return {variable.path: variable.numpy() for variable in vae.variables}


class RecordingMonitor:
    """In the place of `Monitor`: a list of what it was told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, args, options))

    def of(self, name):
        return [args for called, args, _ in self.calls if called == name]
