"""One, two and four replicas find the same numbers, from shares of the same batches and the same noise.

Devices must be made before TensorFlow's first operation, so this file is also a program: `python tests/test_strategy.py
FOLDER core` trains each case on 1, 2 or 4 logical CPUs, and the tests compare what it leaves in FOLDER.
"""

import collections
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from tfvae import config

config.import_tensorflow()

import tensorflow as tf  # noqa: E402

from tfvae.core import models, noise  # noqa: E402
from tfvae.training import checkpoints, evaluation, step as training, strategy  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.errors import InputError, WorkerLost  # noqa: E402
from tfvae.core.noise import Stream  # noqa: E402
from tfvae.training.strategy import Placement  # noqa: E402

ROOT = Path(__file__).parents[1]
IMAGES = np.random.default_rng(0).integers(0, 256, (70, 6, 5, 1), dtype=np.uint8)  # 4 batches of 16, and 6 more
TEST_IMAGES = np.random.default_rng(1).integers(0, 256, (1_000, 6, 5, 1), dtype=np.uint8)
TEST_SIZES = (300, 700, 1_000)  # 2, 3 and 4 blocks of 256, the last one short
OPTIONS = {"hidden_units": (8,), "filters": (4,), "batch_size": 16, "epochs": 99, "num_samples": 2}
CALLS = ((0, 10), (10, 5), (15, 15))  # of run_steps
SPOILED = 32  # the step at which the last replica's images of NOISY are made NaN
SGD = {"optimizer": "sgd", "learning_rate": 0.01}
GRADIENT = {"optimizer": "sgd", "learning_rate": 1.0}  # one step, which adds the gradient to the weights
LEAVE_ONE_OUT = {"estimator": "score_function", "baseline": "leave_one_out"}
NOISY = "conv, stochastic pixels, sgd"  # without XLA, which couldn't tell the noise

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
        {"likelihood": "gaussian", "sigma": "per_pixel", "dequantize": True, "clip_norm": 1.0, **SGD},
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
    "conv, mixture": {"network": "conv", "prior": "mixture", "prior_components": 3},
}
OBJECTIVES_OF = {f"{k}, {p}": {**o, "posterior": p} for p in POSTERIORS for k, o in OBJECTIVES.items()} | OTHERS
ESTIMATORS_OF = {f"{k}, {p}": {**o, "posterior": p} for p in POSTERIORS for k, o in ESTIMATORS.items()}
GRID = {f"{k}, sgd": ({**o, **SGD}, (1, 2, 4)) for k, o in OBJECTIVES_OF.items()}
GRID |= {f"{k}, adam": (o, (1, 2, 4)) for k, o in OBJECTIVES_OF.items()}
GRID |= {k: ({**o, **GRADIENT}, (1, 2, 4)) for k, o in ESTIMATORS_OF.items()}
EVALUATED = (NOISY, "elbo, diagonal, sgd")


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


@contextlib.contextmanager
def recorded(replicas):
    """Collects each replica's images and noise of each step: {replica: [(x, epsilon), ...]}."""
    seen, loss_and_terms = collections.defaultdict(list), training.loss_and_terms

    def see(replica, x, epsilon):
        steps = seen[int(replica)]
        steps.append((x, epsilon))
        return x * np.float32("nan") if replica == replicas - 1 and len(steps) == SPOILED + 1 else x

    def recording(config, vae, x, epsilon, beta):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seen_x = tf.ensure_shape(tf.numpy_function(see, [replica, x, epsilon], tf.float32), x.shape)
        return loss_and_terms(config, vae, seen_x, epsilon, beta)

    with mock.patch.object(training, "loss_and_terms", recording):
        yield seen


def train(case, options, placement, folder):
    """Trains, evaluates and saves; returns what came out, and what can train on."""
    options = Config(**{**OPTIONS, **options})
    with placement.strategy.scope():
        state = training.create_state(options, IMAGES.shape[1:], len(IMAGES))
    if options.learning_rate == 1:  # away from the start, where many posteriors are the same
        generator = np.random.default_rng(0)
        for v in state.vae.trainable_variables:
            v.assign(v + generator.normal(0, 0.3, v.shape).astype(np.float32))
    run_steps = training.make_run_steps(state, options, IMAGES, placement)
    told = weights(state, 0)
    for first, count in ((0, 1),) if options.learning_rate == 1 else CALLS:
        means, bad_step = run_steps(first, count)
        assert bad_step is None
        told |= {f"means {first}": list(means.values())} | weights(state, first + count)
        if case in MOVED and first + count == 10:
            checkpoints.save(folder, state.variables(), 10, {})
    if case in EVALUATED:
        evaluate = evaluation.make_evaluate(state.vae, options.latent_dim, options.seed, placement=placement)
        for size in TEST_SIZES:
            seen = []
            per_image = evaluate(TEST_IMAGES[:size], 3, seen.append)
            told |= {f"test {size} {name}": column for name, column in per_image._asdict().items()}
            told |= {f"elbo {size}": per_image.summary()["elbo"], f"seen {size}": seen}
    return told, state, run_steps


def weights(state, moment):
    return {f"{moment} {v.path}": v.numpy() for v in state.vae.trainable_variables}


def main(folder, cases, without_xla):
    placements, mirrored = place_all()
    facts = {"1": placements[1], "4": placements[4], "mirrored": mirrored}
    facts = {k: [type(p.strategy).__name__, p.strategy.num_replicas_in_sync, p.describe()] for k, p in facts.items()}
    try:
        strategy.place(Config(logical_cpus=4, batch_size=18))
    except InputError as error:
        facts["refused"] = str(error)
    (folder / "facts.json").write_text(json.dumps(facts))
    for case, (options, numbers) in cases.items():
        xla = False if without_xla and case != WITH_XLA else models.VAE.xla
        with mock.patch.object(models.VAE, "xla", xla):
            trained = {}
            for replicas in numbers:
                with recorded(replicas) if case == NOISY else contextlib.nullcontext() as seen:
                    told, *trained[replicas] = train(case, options, placements[replicas], folder / f"{case}-{replicas}")
                if seen:
                    told["bad_step"] = np.array(trained[replicas][1](30, 5)[1], float)
                    for i, name in enumerate(("x", "epsilon")):
                        told[name] = [[step[i] for step in seen[replica][:30]] for replica in range(replicas)]
                np.savez(folder / f"{case}-{replicas}.npz", **told)
            if case == WITH_XLA:
                told, *_ = train(None, options, mirrored, folder)
                np.savez(folder / f"{case}-mirrored.npz", **told)
        if case in MOVED:
            for source, target in (numbers, numbers[::-1]):
                state, run_steps = trained[target]
                checkpoints.restore(folder / f"{case}-{source}", lambda _, state=state: state.variables())
                run_steps(10, 5)
                np.savez(folder / f"{case}-from {source}.npz", step=state.step.numpy(), **weights(state, 15))


# The tests.


def results(folder, which):
    """A function from the name of a file to what the program left in it."""
    command = [sys.executable, str(Path(__file__)), str(folder), which]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3_600)
    assert done.returncode == 0, done.stderr
    return lambda name: dict(np.load(folder / f"{name}.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("core")


@pytest.fixture(scope="module")
def core(folder):
    return results(folder, "core")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return results(tmp_path_factory.mktemp("grid"), "grid")


def part(told, prefix):
    return {name.removeprefix(f"{prefix} "): value for name, value in told.items() if name.startswith(f"{prefix} ")}


def assert_close(ours, theirs, tolerance):
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=tolerance, err_msg=name)


def largest(values):
    return max(np.abs(value).max() for value in values.values())


def minus(ours, theirs):
    return {name: ours[name] - value for name, value in theirs.items()}


def assert_same_weights(options, ours, theirs):
    """To 1e-6 with SGD, to 1e-5 of the largest with Adam, which divides by a gradient that may be small."""
    assert_close(ours, theirs, 1e-6 if "optimizer" in options else 1e-5 * largest(theirs))


def assert_same_training(of, case, options, replicas):
    one, many = of(f"{case}-1"), of(f"{case}-{replicas}")
    start = part(one, 0)
    assert_close(part(many, 0), start, 0)
    if is_gradient(options):
        gradient = minus(part(one, 1), start)
        assert largest(gradient) > 0.1
        assert_close(minus(part(many, 1), start), gradient, 1e-6 * largest(gradient))
    else:
        assert largest(minus(part(one, 30), start)) > 0.01
        assert_same_weights(options, part(many, 30), part(one, 30))
    for first, means in part(one, "means").items():
        np.testing.assert_allclose(many[f"means {first}"], means, rtol=1e-5, err_msg=first)


def assert_same_evaluation(of, case, replicas):
    one, many = of(f"{case}-1"), of(f"{case}-{replicas}")
    for size in TEST_SIZES:
        columns = part(one, f"test {size}")
        assert set(columns) == set(evaluation.PerImage._fields)
        for name, column in columns.items():
            assert len(column) == size
            # a variance is what float32 leaves of squared weights, each of a logarithm of 20 nats
            atol = 1e-5 if name == "log_px_variance" else 1e-6
            np.testing.assert_allclose(many[f"test {size} {name}"], column, rtol=1e-5, atol=atol, err_msg=name)
        np.testing.assert_allclose(many[f"elbo {size}"], one[f"elbo {size}"], rtol=1e-5)
        elbo = np.mean(columns["log_likelihood"] - columns["kl"])
        np.testing.assert_allclose(many[f"elbo {size}"], elbo, rtol=1e-5)
        turns = -(-size // (256 * replicas))
        assert len(many[f"seen {size}"]) == turns and many[f"seen {size}"].sum() == size


@pytest.mark.parametrize("case, replicas", [(case, n) for case, (_, numbers) in CORE.items() for n in numbers[1:]])
def test_replicas_train_alike(core, case, replicas):
    assert_same_training(core, case, CORE[case][0], replicas)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("case", GRID)
def test_replicas_train_alike_with_every_objective_posterior_and_optimizer(grid, case, replicas):
    assert_same_training(grid, case, GRID[case][0], replicas)


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_evaluate_alike_also_where_they_do_not_divide_the_blocks(core, replicas):
    assert_same_evaluation(core, NOISY, replicas)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_evaluate_alike_under_xla(grid, replicas):
    assert_same_evaluation(grid, EVALUATED[1], replicas)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_each_replica_has_its_own_rows_of_the_batch_and_of_its_noise(core, replicas):
    told = core(f"{NOISY}-{replicas}")
    assert told["epsilon"].shape == (replicas, 30, 2, 16 // replicas, 2)
    for t in (0, 1, 29):
        epsilon = noise.normal((2, 16, 2), noise.seed_for(0, Stream.POSTERIOR, t))
        np.testing.assert_array_equal(np.concatenate(told["epsilon"][:, t], axis=1), epsilon)
        order = training.epoch_order(0, t // 4, len(IMAGES))
        grey = tf.image.convert_image_dtype(IMAGES[order[t % 4 * 16 :][:16]], tf.float32)
        x = noise.bernoulli(grey, noise.seed_for(0, Stream.BINARIZE, t), noise.step_uniform)
        np.testing.assert_array_equal(np.concatenate(told["x"][:, t]), x)
    assert len(np.unique(told["epsilon"].reshape(-1, 2), axis=0)) == 30 * 2 * 16


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_a_loss_that_is_not_finite_on_one_replica_alone_is_named_by_its_step(core, replicas):
    assert core(f"{NOISY}-{replicas}")["bad_step"] == SPOILED


@pytest.mark.parametrize("source, target", [(1, 2), (2, 1)])
@pytest.mark.parametrize("case", MOVED)
def test_a_checkpoint_goes_on_with_another_number_of_replicas(core, case, source, target):
    moved, unbroken = core(f"{case}-from {source}"), core(f"{case}-{source}")
    assert moved.pop("step") == 15
    assert_same_weights(CORE[case][0], part(moved, 15), part(unbroken, 15))
    tolerance = 1e-5 * largest(part(unbroken, 15))
    assert largest(minus(part(unbroken, 15), part(unbroken, 10))) > 100 * tolerance


def test_a_strategy_of_one_replica_is_one_device_bit_for_bit(core):
    one, mirrored = core(f"{WITH_XLA}-1"), core(f"{WITH_XLA}-mirrored")
    assert set(one) == set(mirrored)
    for name, value in one.items():
        np.testing.assert_array_equal(mirrored[name], value, err_msg=name)


def test_it_is_placed_on_the_devices_there_are(core, folder):
    assert json.loads((folder / "facts.json").read_text()) == {
        "1": ["_DefaultDistributionStrategy", 1, ""],
        "4": ["MirroredStrategy", 4, ", 4 replicas"],
        "mirrored": ["MirroredStrategy", 1, ""],
        "refused": "--batch_size=18: must be a multiple of the 4 replicas",
    }


def test_devices_can_not_be_made_when_tensorflow_has_begun():
    tf.zeros([]).numpy()
    with pytest.raises(InputError, match="--logical_cpus=5: must be set before"):
        strategy.place(Config(logical_cpus=5))


def cluster(task, index, **tasks):
    return json.dumps({"cluster": tasks, "task": {"type": task, "index": index}})


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, None),
        ("  ", None),
        (cluster("worker", 1, worker=["a:1", "b:2"]), (["a:1", "b:2"], 1)),
        (cluster("worker", "0", worker=["a:1", "b:2"]), (["a:1", "b:2"], 0)),
        (cluster("worker", 0, worker=["a:1"], chief=["c:3"]), (["c:3", "a:1"], 1)),
        (cluster("chief", 0, worker=["a:1", "b:2"], chief=["c:3"]), (["c:3", "a:1", "b:2"], 0)),
    ],
)
def test_the_workers_addresses_are_read_the_chief_s_first(monkeypatch, text, expected):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    assert strategy.read_cluster() == expected


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "3",
        "[]",
        "{}",
        cluster("worker", 2, worker=["a:1", "b:2"]),
        cluster("worker", -1, worker=["a:1", "b:2"]),
        cluster("worker", "first", worker=["a:1", "b:2"]),
        cluster("worker", None, worker=["a:1", "b:2"]),
        cluster("chief", 0, worker=["a:1", "b:2"]),
        cluster("ps", 0, worker=["a:1"], ps=["b:2"]),
        cluster("worker", 0, worker=["a:1"], ps=["b:2"]),
        cluster("worker", 0, worker=["a", "b"]),
        cluster("worker", 0, worker=[1, 2]),
        cluster("worker", 0, worker="a:1"),
        cluster("worker", 0, worker=None),
        json.dumps({"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": "worker"}),
    ],
)
def test_another_tf_config_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match="TF_CONFIG=(?s:.*): must be "):
        strategy.read_cluster()
    with pytest.raises(InputError, match="TF_CONFIG"):
        strategy.is_multi_worker(Config())
    assert not strategy.is_multi_worker(Config(strategy="one_device"))  # which doesn't ask


def test_a_worker_is_one_of_several_or_was_asked_to_be(monkeypatch):
    for workers, expected in ((["a:1"], False), (["a:1", "b:2"], True)):
        monkeypatch.setenv("TF_CONFIG", cluster("worker", 0, worker=workers))
        assert strategy.is_multi_worker(Config()) == expected
        assert strategy.is_multi_worker(Config(strategy="multi_worker"))
        assert not strategy.is_multi_worker(Config(strategy="mirrored"))
    monkeypatch.delenv("TF_CONFIG")
    assert not strategy.is_multi_worker(Config())
    with pytest.raises(InputError, match="--strategy=multi_worker: must have the workers' addresses in TF_CONFIG"):
        strategy.is_multi_worker(Config(strategy="multi_worker"))


@pytest.mark.parametrize(
    "error, lost",
    [
        (tf.errors.UnavailableError(None, None, "Connection reset by peer"), True),
        (tf.errors.InternalError(None, None, "Collective ops is aborted by: a worker has restarted"), True),
        (tf.errors.InternalError(None, None, "no such kernel"), False),
        (ValueError("Collective"), False),
    ],
)
def test_a_lost_worker_is_told_from_other_errors(error, lost):
    for workers in (1, 2):
        with pytest.raises(WorkerLost if lost and workers == 2 else type(error)) as caught:
            with Placement(None, workers, 1).together(lambda: "all is safe"):
                raise error
    if lost:
        assert str(caught.value) == "worker 1 of 2: another one is gone or does not answer; all is safe"


if __name__ == "__main__":
    core = sys.argv[2] == "core"
    if core:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # for time's sake
    main(Path(sys.argv[1]), CORE if core else GRID, without_xla=core)
