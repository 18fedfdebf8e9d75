"""Keras's and TensorFlow's global settings are no part of a model: the same numbers, whatever a user has set."""

import contextlib
import functools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.config import Config
from tfvae.core import fast, noise
from tfvae.core.making import make_vae
from tfvae.errors import InputError
from tfvae.training.state import create_state
from tfvae.training.step import TrainProgram

SHAPE = (6, 5, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, *SHAPE), dtype=np.uint8)
X = IMAGES[:7] / np.float32(255)
CONFIGS = {
    "mlp": Config(hidden_units=(8,), batch_size=16, epochs=2, lr_schedule="cosine"),
    "conv": Config(network="conv", filters=(2, 3), batch_size=16, epochs=2, prior="mixture"),
    "bfloat16": Config(hidden_units=(8,), dtype="bfloat16", batch_size=16, epochs=2, lr_schedule="1:0.3"),
}
SETTINGS = {
    "channels_first": (keras.config.set_image_data_format, "channels_first"),
    "float16": (keras.config.set_floatx, "float16"),
    "float64": (keras.config.set_floatx, "float64"),
    "mixed_float16": (keras.config.set_dtype_policy, "mixed_float16"),
}


@pytest.fixture(scope="module", autouse=True)
def without_xla():
    """Nobody waits until it has compiled what is computed three times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "use_xla", lambda convolutional: False)
        yield


@contextlib.contextmanager
def setting(name):
    """One of SETTINGS, and what was there before again after it."""
    before = keras.config.image_data_format(), keras.config.floatx(), keras.config.dtype_policy()
    change, value = SETTINGS[name]
    change(value)
    try:
        yield
    finally:
        keras.config.set_image_data_format(before[0])
        keras.config.set_floatx(before[1])
        keras.config.set_dtype_policy(before[2])


def numbers(config):
    """What a new VAE says of X, and its variables after some steps of training."""
    vae = make_vae(config, SHAPE)
    q = vae.encode(X)
    state = create_state(config, SHAPE, len(IMAGES))
    said = {"mean": q.mean, "log_variance": q.log_variance, "image": vae(X), "log_p": vae.decode(q.mean).log_prob(X)}
    TrainProgram(state, config, IMAGES).run(0, 3)
    return {name: np.asarray(value) for name, value in (said | state.variables()).items()}


def assert_same(ours, theirs, **tolerance):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        np.testing.assert_allclose(ours[name], value, err_msg=name, **tolerance)


@pytest.fixture(scope="module")
def by_default():
    """`numbers` under no setting, of each model that is asked for."""
    return functools.cache(lambda model: numbers(CONFIGS[model]))


IN_THE_DEFAULT_TIER = {("channels_first", "conv"), ("float16", "conv"), ("mixed_float16", "conv"), ("float64", "conv")}
CASES = [
    pytest.param(name, model, marks=() if (name, model) in IN_THE_DEFAULT_TIER else pytest.mark.slow)
    for model in CONFIGS
    for name in SETTINGS
]


@pytest.mark.parametrize(("name", "model"), CASES)
def test_a_user_s_settings_of_keras_change_nothing(name, model, by_default):
    with setting(name):
        assert_same(numbers(CONFIGS[model]), by_default(model), rtol=0)
        assert SETTINGS[name][1] in (
            keras.config.image_data_format(),
            keras.config.floatx(),
            keras.config.dtype_policy().name,
        )  # fmt: skip  it is still the user's


def test_a_dense_encoder_reads_colour_pixels_in_their_stored_order():
    """The first layer by NumPy: its kernel's rows are the pixels, row by row and the channels last."""
    with setting("channels_first"):
        vae = make_vae(Config(hidden_units=(8,)), SHAPE)
        flatten, hidden = vae.encoder.trunk
        kernel, bias = (np.asarray(weight) for weight in hidden.weights)
        features = hidden(flatten(tf.constant(X)))
    np.testing.assert_allclose(features, np.maximum(X.reshape(len(X), -1) @ kernel + bias, 0), atol=1e-6)


PROGRAM = """
import numpy as np, sys
from tfvae.runtime.tensorflow import import_tensorflow
import_tensorflow()
from tfvae.config import Config
from tfvae.core.making import make_vae
images = np.load("x.npy")
np.save("reconstructions.npy", make_vae(Config(hidden_units=(8,)), images.shape[1:])(images))
"""


@pytest.mark.slow
def test_for_real_with_a_keras_json(tmp_path):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "keras.json").write_text('{"image_data_format": "channels_first", "floatx": "float64"}')
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "KERAS_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, check=True, timeout=120)
    ours = make_vae(Config(hidden_units=(8,)), SHAPE)(X)
    np.testing.assert_allclose(np.load(tmp_path / "reconstructions.npy"), ours, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float16", "float64"])
def test_keras_s_fit_computes_in_float32(name):
    def logs():
        vae = make_vae(CONFIGS["conv"], SHAPE)
        vae.compile("adam")
        x = IMAGES[:32] / np.float32(255)
        history = vae.fit(x, batch_size=16, shuffle=False, verbose=0).history
        return {**history, "evaluation": vae.evaluate(x, batch_size=16, verbose=0)}

    expected = logs()
    with setting(name):
        assert logs() == expected


@pytest.fixture
def by_default_of_conv(by_default):
    return by_default("conv")


@pytest.fixture
def functions_run_eagerly():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_eager_functions_draw_the_same_noise():
    seed = noise.seed_for(0, noise.Stream.POSTERIOR)
    jitted = [np.asarray(draw((50, 3), seed)) for draw in (noise.normal, noise.step_uniform)]
    tf.config.run_functions_eagerly(True)
    eager = [np.asarray(draw((50, 3), seed)) for draw in (noise.normal, noise.step_uniform)]
    tf.config.run_functions_eagerly(False)
    np.testing.assert_array_equal(jitted, eager)


def test_eager_functions_train_to_the_same_weights(by_default_of_conv, functions_run_eagerly):
    assert_same(numbers(CONFIGS["conv"]), by_default_of_conv, rtol=1e-4, atol=2e-5)


def test_within_an_eager_function_x_and_z_are_any_numbers(functions_run_eagerly):
    vae = make_vae(CONFIGS["mlp"], SHAPE)
    assert np.isfinite(vae.encode(tf.constant(-X)).mean).all()  # as imputation does with draws of gaussian pixels
    with pytest.raises(InputError, match="must be fractions in"):
        vae.encode(-X)  # an array: it comes from outside
