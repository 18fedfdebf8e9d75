"""The norms of a step, which the compiled program computes, beside the weights before and after it."""

import numpy as np
import pytest
from runs import make_program

from tfvae.training.norms import StepNorms


def norm(arrays):
    return np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays))


def weights_of(state):
    return [variable.numpy() for variable in state.vae.trainable_variables]


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("adam", {"lr_schedule": "1:0.1", "learning_rate": 0.01, "adam_epsilon": 1e-4}),
        ("sgd", {"lr_schedule": "cosine", "learning_rate": 0.01, "epochs": 3}),
        ("rmsprop", {"learning_rate": 0.01}),
        ("adagrad", {"learning_rate": 0.01, "network": "conv", "filters": (2,)}),
    ],
)
def test_the_update_is_what_the_weights_have_moved_by(optimizer, options):
    state, program = make_program(optimizer=optimizer, **options)
    assert program.last_norms is None
    program.run(0, 2)  # the next step, 2, is an epoch's last one: a rate of the next epoch is none of its
    before = weights_of(state)
    program.run(2, 1)
    after = weights_of(state)
    norms = program.last_norms
    np.testing.assert_allclose(norms.update, norm(a - b for a, b in zip(after, before)), rtol=2e-4)
    np.testing.assert_allclose(norms.weights, norm(after), rtol=1e-5)
    np.testing.assert_allclose(norms.update_ratio, norms.update / norm(after), rtol=1e-5)


def test_the_gradient_is_that_of_the_last_step_however_many_a_call_makes():
    options = {"optimizer": "sgd", "learning_rate": 0.5, "clip_norm": 1e-3}
    state, program = make_program(**options)
    program.run(0, 4)
    before = weights_of(state)
    program.run(4, 1)
    gradient = norm((b - a) / 0.5 for a, b in zip(weights_of(state), before))
    np.testing.assert_allclose(program.last_norms.gradient, 1e-3, rtol=1e-4)  # after it was clipped
    np.testing.assert_allclose(gradient, 1e-3, rtol=1e-2)
    _, at_once = make_program(**options)
    at_once.run(0, 5)
    np.testing.assert_allclose(at_once.last_norms, program.last_norms, rtol=1e-6)
    at_once.run(5, 0)
    np.testing.assert_allclose(at_once.last_norms, program.last_norms, rtol=1e-6)


def test_weights_that_are_all_zero_have_an_infinite_ratio():
    assert StepNorms(1.0, 0.5, 0.0).update_ratio == float("inf")
