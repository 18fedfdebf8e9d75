"""A program that trains each case on 1, 2 or 4 logical CPUs: python replicas.py FOLDER CASES

Devices must be made before TensorFlow's first operation, so that a test can't do it. CASES is a key
of `CASES`, or "evaluation": then it only evaluates. What comes out lies in FOLDER, for `test_replicas.py` to compare.
"""

import collections
import contextlib
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from tfvae.config import Config  # noqa: E402
from tfvae.core import fast, objectives  # noqa: E402
from tfvae.errors import InputError  # noqa: E402
from tfvae.training import checkpoints, strategy  # noqa: E402
from tfvae.training.evaluation import Evaluator  # noqa: E402
from tfvae.training.state import create_state  # noqa: E402
from tfvae.training.step import TrainProgram, mean_of_parts  # noqa: E402
from tfvae.training.strategy import Placement  # noqa: E402

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 6, 5, 1), dtype=np.uint8)  # 4 batches of 16, and 6 more
TEST_IMAGES = np.random.default_rng(1).integers(0, 256, (1_000, 6, 5, 1), dtype=np.uint8)
TEST_SIZES = (300, 700, 1_000)  # 2, 3 and 4 blocks of 256, the last one short
OPTIONS = {"hidden_units": (8,), "filters": (4,), "batch_size": 16, "epochs": 99, "num_samples": 2}
CALLS = ((0, 10), (10, 5), (15, 15))  # of TrainProgram.run
SPOILED = 32  # the step at which the last replica's images of NOISY are made NaN
SGD = {"optimizer": "sgd", "learning_rate": 0.01}
GRADIENT = {"optimizer": "sgd", "learning_rate": 1.0}  # one step, which adds the gradient to the weights
LEAVE_ONE_OUT = {"estimator": "score_function", "baseline": "leave_one_out"}
NOISY = "conv, stochastic pixels, sgd"  # without XLA, which couldn't tell the noise
CONDITIONAL = "conditional, sgd"
CLASSES = ("a", "b", "c")
LABELS = np.random.default_rng(2).integers(0, 3, 1_000, dtype=np.int32)  # of IMAGES, and of TEST_IMAGES

CORE = {  # options, and numbers of replicas
    "elbo, sgd": (SGD, (1, 2)),
    "elbo, adam": ({}, (1, 2)),
    "iwae, full, mixture, sgd": (
        {"objective": "iwae", "posterior": "full", "prior": "mixture", "prior_components": 3, **SGD},
        (1, 2),
    ),
    "dreg": ({"objective": "dreg", **GRADIENT}, (1, 2)),
    "leave one out": ({**LEAVE_ONE_OUT, **GRADIENT}, (1, 2)),
    "per pixel, dequantized, clipped, sgd": (
        {
            "likelihood": "gaussian",
            "sigma": "per_pixel",
            "dequantize": True,
            "clip_norm": 1.0,
            "lr_schedule": "5:0.1",
            **SGD,
        },
        (1, 2),
    ),
    NOISY: ({"network": "conv", "binarize": "stochastic", **SGD}, (1, 2, 4)),
}
WITH_XLA = "elbo, sgd"  # as a run has it; not the others of CORE, for time's sake
MOVED = ("elbo, sgd", "elbo, adam")  # their checkpoints go to the other number of replicas

POSTERIORS = ("isotropic", "diagonal", "full", "laplace", "logistic")
OBJECTIVES = {"elbo": {}, "iwae": {"objective": "iwae"}}
ESTIMATORS = {
    "dreg": {"objective": "dreg"},
    "score function": {"estimator": "score_function"},
    "leave one out": LEAVE_ONE_OUT,
}
OTHERS = {
    "autoencoder": {"objective": "autoencoder", "num_samples": 1},  # one for all posteriors: it takes their mean
    "monte carlo": {"kl": "monte_carlo", "posterior": "full"},
    "free bits, a rising kl": {"free_bits": 0.1, "kl_warmup_epochs": 5.0, "beta": 2.0},
    "stochastic pixels, clipped": {"binarize": "stochastic", "clip_norm": 1.0},
    "of z, dequantized": {"likelihood": "gaussian", "sigma": "of_z", "dequantize": True},
    "learned deviation, normal prior": {"likelihood": "gaussian", "sigma": "learned", "prior": "normal"},
    "optimal deviation, stochastic pixels": {"likelihood": "gaussian", "sigma": "optimal", "binarize": "stochastic"},
    "resnet, gaussian": {"network": "resnet", "filters": (8,), "likelihood": "gaussian", "sigma": "learned"},
    "conv, mixture": {"network": "conv", "prior": "mixture", "prior_components": 3},
    "conditional": {"condition": "label"},
}
OBJECTIVES_OF = {f"{k}, {p}": {**o, "posterior": p} for p in POSTERIORS for k, o in OBJECTIVES.items()} | OTHERS
ESTIMATORS_OF = {f"{k}, {p}": {**o, "posterior": p} for p in POSTERIORS for k, o in ESTIMATORS.items()}
GRID = {f"{k}, sgd": ({**o, **SGD}, (1, 2, 4)) for k, o in OBJECTIVES_OF.items()}
GRID |= {f"{k}, adam": (o, (1, 2, 4)) for k, o in OBJECTIVES_OF.items()}
GRID |= {k: ({**o, **GRADIENT}, (1, 2, 4)) for k, o in ESTIMATORS_OF.items()}
ONE_OF_EACH = (
    "optimal deviation, stochastic pixels, adam",
    "iwae, laplace, sgd",
    "autoencoder, adam",
    "free bits, a rising kl, adam",
    "leave one out, full",
    CONDITIONAL,
)
FEWER = {name: (GRID[name][0], (1, 2)) for name in ONE_OF_EACH}
CASES = {
    "quick": {NOISY: CORE[NOISY]},
    "core": {name: case for name, case in CORE.items() if name != NOISY},
    "one_of_each": FEWER,
    "grid": GRID,
}


def is_gradient(options):
    return options.get("learning_rate") == 1.0


# The program.


def place_all():
    """{replicas: a placement}, and a strategy of one replica."""
    tell_apart = mock.patch.object(tf.distribute.MirroredStrategy, "_collective_key_base", 1_000)
    with tell_apart:  # TensorFlow's reductions would mix the strategies of one process up
        four = strategy.place(Config(logical_cpus=4))
    two = Placement(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    return {1: strategy.place(Config()), 2: two, 4: four}, strategy.place(Config(strategy="mirrored"))


class Recorder:
    """In the place of `objectives.training_loss`: notes each replica's images and noise of each step.

    `steps` is {replica: [(x, epsilon), ...]}. At step SPOILED the last replica's images become NaN.
    """

    def __init__(self, replicas):
        self.replicas, self.steps = replicas, collections.defaultdict(list)
        self.training_loss = objectives.training_loss

    def __call__(self, config, vae, x, epsilon, beta):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        recorded_x = tf.ensure_shape(tf.numpy_function(self.record, [replica, x, epsilon], tf.float32), x.shape)
        return self.training_loss(config, vae, recorded_x, epsilon, beta)

    def record(self, replica, x, epsilon):
        steps = self.steps[int(replica)]
        steps.append((x, epsilon))
        is_spoiled = replica == self.replicas - 1 and len(steps) == SPOILED + 1
        return x * np.float32("nan") if is_spoiled else x


def weights(state, moment):
    return {f"{moment} {v.path}": v.numpy() for v in state.vae.variables}


def move_from_the_start(state):
    """Changes the weights, for at the start many posteriors are the same."""
    generator = np.random.default_rng(0)
    for v in state.vae.trainable_variables:
        v.assign(v + generator.normal(0, 0.3, v.shape).astype(np.float32))


def train(case, options, placement, folder):
    """Trains, evaluates and saves; returns the numbers, and what can train on."""
    config = Config(**{**OPTIONS, **options})
    with placement.strategy.scope():
        classes = CLASSES if config.condition == "label" else ()
        state = create_state(config, IMAGES.shape[1:], len(IMAGES), classes=classes)
    if is_gradient(options):
        move_from_the_start(state)
    program = TrainProgram(state, config, IMAGES, placement, LABELS[: len(IMAGES)] if classes else None)
    numbers = weights(state, 0)
    for first, count in ((0, 1),) if is_gradient(options) else CALLS:
        means, bad_step = program.run(first, count)
        assert bad_step is None
        numbers |= {f"means {first}": list(mean_of_parts(means).values())} | weights(state, first + count)
        if case in MOVED and first + count == 10:
            folder.mkdir()
            checkpoints.save(folder, state.variables(), 10, {})
    if case in (NOISY, CONDITIONAL):
        numbers |= evaluate(state, config, placement)
    return numbers, state, program


def evaluate(state, config, placement):
    evaluator = Evaluator(state.vae, config.latent_dim, config.seed, placement=placement)
    numbers = {}
    for size in TEST_SIZES:
        counts = []
        y = LABELS[:size] if state.vae.classes else None
        per_image = evaluator.evaluate(TEST_IMAGES[:size], 3, counts.append, y=y)
        numbers |= {f"test {size} {name}": column for name, column in per_image._asdict().items()}
        numbers |= {f"elbo {size}": per_image.summary()["elbo"], f"counts {size}": counts}
    return numbers


def evaluate_under_xla(folder):
    """Evaluates the same weights on each number of replicas; no training, whose compilation takes longer."""
    placements, _ = place_all()
    config = Config(**OPTIONS)
    for replicas, placement in placements.items():
        with placement.strategy.scope():
            state = create_state(config, IMAGES.shape[1:], len(IMAGES))
        move_from_the_start(state)
        np.savez(folder / f"under XLA-{replicas}.npz", **evaluate(state, config, placement))


def train_on_each(case, options, replica_numbers, placements, folder):
    """Trains a case on each number of replicas; writes the numbers and returns {replicas: (state, program)}."""
    trained = {}
    for replicas in replica_numbers:
        recorder = Recorder(replicas)
        patch = mock.patch.object(objectives, "training_loss", recorder) if case == NOISY else contextlib.nullcontext()
        with patch:
            numbers, *trained[replicas] = train(case, options, placements[replicas], folder / f"{case}-{replicas}")
            if case == NOISY:
                numbers["bad_step"] = np.array(trained[replicas][1].run(30, 5)[1], float)
                for i, name in enumerate(("x", "epsilon")):
                    of_replicas = [recorder.steps[replica][:30] for replica in range(replicas)]
                    numbers[name] = [[step[i] for step in steps] for steps in of_replicas]
        np.savez(folder / f"{case}-{replicas}.npz", **numbers)
    return trained


def write_facts(folder, placements, mirrored):
    """What `strategy.place` made of the devices that there are."""
    of = {"1": placements[1], "4": placements[4], "mirrored": mirrored}
    facts = {k: [type(p.strategy).__name__, p.strategy.num_replicas_in_sync, p.describe()] for k, p in of.items()}
    try:
        strategy.place(Config(logical_cpus=4, batch_size=18))
    except InputError as error:
        facts["refused"] = str(error)
    (folder / "facts.json").write_text(json.dumps(facts))


def main(folder, cases, without_xla):
    placements, mirrored = place_all()
    write_facts(folder, placements, mirrored)
    use_xla = fast.use_xla
    for case, (options, replica_numbers) in cases.items():
        compiles = use_xla if case == WITH_XLA or not without_xla else lambda convolutional: False
        with mock.patch.object(fast, "use_xla", compiles):
            trained = train_on_each(case, options, replica_numbers, placements, folder)
            if case == WITH_XLA:
                numbers, *_ = train(None, options, mirrored, folder)
                np.savez(folder / f"{case}-mirrored.npz", **numbers)
        if case in MOVED:
            for source, target in (replica_numbers, replica_numbers[::-1]):
                state, program = trained[target]
                checkpoints.restore(folder / f"{case}-{source}", lambda _, state=state: state.variables())
                program.run(10, 5)
                np.savez(folder / f"{case}-from {source}.npz", step=state.step.numpy(), **weights(state, 15))


if __name__ == "__main__":
    without_xla = sys.argv[2] in ("quick", "core")
    if without_xla:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # for time's sake
    if sys.argv[2] == "evaluation":
        evaluate_under_xla(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), CASES[sys.argv[2]], without_xla)
