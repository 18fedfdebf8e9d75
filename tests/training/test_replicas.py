"""One, two and four replicas find the same numbers, from shares of the same batches and the same noise.

The numbers come from `replicas.py`, a program of its own.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from replicas import (
    CONDITIONAL,
    CORE,
    GRID,
    IMAGES,
    MOVED,
    NOISY,
    ONE_OF_EACH,
    SPOILED,
    TEST_SIZES,
    WITH_XLA,
    is_gradient,
)
from runs import start

from tfvae.core import noise
from tfvae.core.noise import Stream
from tfvae.training.evaluation import PerImage
from tfvae.training.feeds import epoch_order


def results(folder, cases):
    """A function from the name of a file to what the program left in it."""
    program = Path(__file__).parent / "replicas.py"
    assert start([str(program), str(folder), cases]).wait(3_600) == 0
    return lambda name: dict(np.load(folder / f"{name}.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quick")


@pytest.fixture(scope="module")
def quick(folder):
    return results(folder, "quick")


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    return results(tmp_path_factory.mktemp("core"), "core")


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory):
    return results(tmp_path_factory.mktemp("one_of_each"), "one_of_each")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    return results(tmp_path_factory.mktemp("evaluated"), "evaluation")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return results(tmp_path_factory.mktemp("grid"), "grid")


def part(numbers, prefix):
    start = f"{prefix} "
    return {name.removeprefix(start): value for name, value in numbers.items() if name.startswith(start)}


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
        assert set(columns) == set(PerImage._fields)
        for name, column in columns.items():
            assert len(column) == size
            # a variance is what float32 leaves of squared weights, each of a logarithm of 20 nats
            atol = 1e-5 if name == "log_px_variance" else 1e-6
            np.testing.assert_allclose(many[f"test {size} {name}"], column, rtol=1e-5, atol=atol, err_msg=name)
        np.testing.assert_allclose(many[f"elbo {size}"], one[f"elbo {size}"], rtol=1e-5)
        elbo = np.mean(columns["log_likelihood"] - columns["kl"])
        np.testing.assert_allclose(many[f"elbo {size}"], elbo, rtol=1e-5)
        turns = -(-size // (256 * replicas))
        assert len(many[f"counts {size}"]) == turns and many[f"counts {size}"].sum() == size


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_train_alike(quick, replicas):
    assert_same_training(quick, NOISY, CORE[NOISY][0], replicas)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CORE if case != NOISY])
def test_replicas_train_alike_with_the_main_objectives(core, case):
    assert_same_training(core, case, CORE[case][0], 2)


@pytest.mark.nightly
@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_replicas_train_alike_with_other_objectives_and_posteriors(one_of_each, case):
    assert_same_training(one_of_each, case, GRID[case][0], 2)


@pytest.mark.nightly
@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("case", GRID)
def test_replicas_train_alike_with_every_objective_posterior_and_optimizer(grid, case, replicas):
    assert_same_training(grid, case, GRID[case][0], replicas)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_evaluate_alike_also_where_they_do_not_divide_the_blocks(quick, replicas):
    assert_same_evaluation(quick, NOISY, replicas)


@pytest.mark.nightly
def test_replicas_evaluate_alike_given_the_label(one_of_each):
    assert_same_evaluation(one_of_each, CONDITIONAL, 2)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_evaluate_alike_under_xla(evaluated, replicas):
    assert_same_evaluation(evaluated, "under XLA", replicas)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_each_replica_has_its_own_rows_of_the_batch_and_of_its_noise(quick, replicas):
    numbers = quick(f"{NOISY}-{replicas}")
    assert numbers["epsilon"].shape == (replicas, 30, 2, 16 // replicas, 2)
    for t in (0, 1, 29):
        epsilon = noise.normal((2, 16, 2), noise.seed_for(0, Stream.POSTERIOR, t))
        np.testing.assert_array_equal(np.concatenate(numbers["epsilon"][:, t], axis=1), epsilon)
        order = epoch_order(0, t // 4, len(IMAGES))
        grey = tf.image.convert_image_dtype(IMAGES[order[t % 4 * 16 :][:16]], tf.float32)
        x = noise.bernoulli(grey, noise.seed_for(0, Stream.BINARIZE, t), noise.step_uniform)
        np.testing.assert_array_equal(np.concatenate(numbers["x"][:, t]), x)
    assert len(np.unique(numbers["epsilon"].reshape(-1, 2), axis=0)) == 30 * 2 * 16


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_a_loss_that_is_not_finite_on_one_replica_alone_is_named_by_its_step(quick, replicas):
    assert quick(f"{NOISY}-{replicas}")["bad_step"] == SPOILED


@pytest.mark.slow
@pytest.mark.parametrize("source, target", [(1, 2), (2, 1)])
@pytest.mark.parametrize("case", MOVED)
def test_a_checkpoint_goes_on_with_another_number_of_replicas(core, case, source, target):
    moved, unbroken = core(f"{case}-from {source}"), core(f"{case}-{source}")
    assert moved.pop("step") == 15
    assert_same_weights(CORE[case][0], part(moved, 15), part(unbroken, 15))
    tolerance = 1e-5 * largest(part(unbroken, 15))
    assert largest(minus(part(unbroken, 15), part(unbroken, 10))) > 100 * tolerance


@pytest.mark.slow
def test_a_strategy_of_one_replica_is_one_device_bit_for_bit(core):
    one, mirrored = core(f"{WITH_XLA}-1"), core(f"{WITH_XLA}-mirrored")
    assert set(one) == set(mirrored)
    for name, value in one.items():
        np.testing.assert_array_equal(mirrored[name], value, err_msg=name)


@pytest.mark.slow
def test_it_is_placed_on_the_devices_there_are(quick, folder):
    assert json.loads((folder / "facts.json").read_text()) == {
        "1": ["_DefaultDistributionStrategy", 1, ""],
        "4": ["MirroredStrategy", 4, ", 4 replicas"],
        "mirrored": ["MirroredStrategy", 1, ""],
        "refused": "batch_size=18: must be a multiple of the 4 replicas",
    }
