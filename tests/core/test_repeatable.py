"""Sums in the order in which they are written, where XLA does not compile them."""

import numpy as np
import pytest

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402
from tensorflow.python.eager import context  # noqa: E402

from tfvae.config import Config  # noqa: E402
from tfvae.core.repeatable import sums_in_order  # noqa: E402
from tfvae.training.state import create_state  # noqa: E402
from tfvae.training.step import TrainProgram  # noqa: E402

SLOW = pytest.mark.slow


def joined_additions(function, *arguments):
    """How many inputs each AddN has in the graphs that TensorFlow makes of a function when it is called."""
    context.enable_graph_collection()
    try:
        function(*arguments)
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_graph_collection()
    nodes = [node for of_function in graphs for node in of_function.post_optimization_graph.node]
    nodes += [
        node
        for of_function in graphs
        for inner in of_function.post_optimization_graph.library.function
        for node in inner.node_def
    ]
    return [node.attr["N"].i for node in nodes if node.op == "AddN"]


@tf.function(autograph=False)
def three_terms(x):
    return tf.exp(x) + tf.sin(x) + tf.cos(x)


def test_additions_are_not_joined():
    x = tf.random.stateless_normal([64, 2], [1, 2])
    assert 3 in joined_additions(three_terms, x)  # what TensorFlow does by itself
    with sums_in_order():
        assert joined_additions(three_terms, x) == []


def test_the_users_option_is_back_afterwards():
    options = tf.config.optimizer.get_experimental_options
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    with sums_in_order():
        pass
    assert options()["arithmetic_optimization"] is False
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    with pytest.raises(KeyError), sums_in_order():
        assert options()["arithmetic_optimization"] is False
        raise KeyError
    assert options()["arithmetic_optimization"] is True


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"posterior": "full", "prior": "normal"}, marks=SLOW),
        pytest.param({"posterior": "laplace", "prior": "mixture", "objective": "iwae", "num_samples": 2}, marks=SLOW),
        pytest.param({"likelihood": "gaussian", "sigma": "of_z", "objective": "dreg", "num_samples": 2}, marks=SLOW),
    ],
    ids=str,
)
def test_convolutions_repeat_bit_for_bit(settings):
    """With 55,000 images, whose gather takes so long that the order of what follows it changes from step to step."""
    images = np.random.default_rng(0).integers(0, 256, (55_000, 28, 28, 1), np.uint8)
    config = Config(network="conv", filters=(4, 4), hidden_units=(16,), epochs=1, **settings).as_usual()
    state = create_state(config, (28, 28, 1), len(images))
    program = TrainProgram(state, config, images)
    variables = state.variables().values()
    start = [variable.numpy() for variable in variables]
    ends = set()
    for _ in range(3):
        for variable, value in zip(variables, start):
            variable.assign(value)
        program.run(0, 40)
        ends.add(b"".join(variable.numpy().tobytes() for variable in variables))
    assert len(ends) == 1
