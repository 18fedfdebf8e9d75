"""Group normalisation against NumPy and Keras, a residual block against SciPy, and the network's gradient and files."""

import keras
import numpy as np
import pytest
import scipy.signal
import scipy.special
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.making import make_vae
from tfvae.core.objectives import elbo
from tfvae.core.residual import GroupNorm, ResidualBlock, group_count

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4, 8), loc=0.5, scale=2.0).astype("f")
TINY = {"network": "resnet", "filters": (4, 8), "hidden_units": (5,), "residual_blocks": 1}


def normalised(x, gamma, beta, groups):
    """Wu & He 2018, eq. 1-7 in float64; x [B, h, w, C]."""
    grouped = x.astype(np.float64).reshape(len(x), -1, groups, x.shape[-1] // groups)
    mean, variance = grouped.mean(axis=(1, 3), keepdims=True), grouped.var(axis=(1, 3), keepdims=True)
    return ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * gamma + beta


def silu(x):
    return x * scipy.special.expit(x)


def randomised(layer, shape):
    """The layer, built, with random weights."""
    layer.build(shape)
    layer.set_weights([RNG.normal(size=w.shape).astype("f") for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (3, 1), (4, 1), (8, 2), (12, 3), (32, 8), (64, 8), (100, 5), (256, 8)]
)
def test_the_groups_divide_the_channels_and_have_four_at_least(channels, groups):
    assert group_count(channels) == groups


@pytest.mark.parametrize("activation", ["linear", "silu"])
def test_group_norm_is_numpys_and_keras(activation):
    layer = randomised(GroupNorm(activation), (None, 5, 4, 8))
    gamma, beta = layer.get_weights()
    expected = normalised(X, gamma, beta, 2)
    np.testing.assert_allclose(layer(X), silu(expected) if activation == "silu" else expected, rtol=1e-5, atol=1e-5)
    theirs = keras.layers.GroupNormalization(2, epsilon=1e-5)
    theirs.build(X.shape)
    theirs.set_weights([gamma, beta])
    np.testing.assert_allclose(theirs(X), expected, rtol=1e-5, atol=1e-5)


def test_group_norm_of_bfloat16_has_its_statistics_in_float32():
    """At a mean of 100 bfloat16 has steps of a half: a variance in it would be off by half of itself."""
    layer = randomised(GroupNorm(dtype="mixed_bfloat16"), (None, 5, 4, 8))
    assert {w.dtype for w in layer.weights} == {"float32"}
    x = tf.cast(X + 100, tf.bfloat16)
    result = layer(x)
    assert result.dtype == tf.bfloat16
    expected = normalised(tf.cast(x, tf.float32).numpy(), *layer.get_weights(), 2)
    np.testing.assert_allclose(tf.cast(result, tf.float32), expected, rtol=1e-2, atol=1e-2)


def test_an_image_does_not_depend_on_the_others_of_its_batch():
    layer = randomised(GroupNorm(), (None, 5, 4, 8))
    np.testing.assert_allclose(layer(X)[1:2], layer(X[1:2]), rtol=1e-6)
    assert layer(X[:0]).shape == (0, 5, 4, 8)


def convolved(image, kernel, bias):
    """A 3x3 convolution ('same') of an image [h, w, C]."""
    outputs = range(kernel.shape[-1])
    maps = [
        sum(scipy.signal.correlate2d(image[..., i], kernel[..., i, o], mode="same") for i in range(image.shape[-1]))
        for o in outputs
    ]
    return np.stack(maps, axis=-1) + bias


def test_a_block_is_x_and_twice_norm_silu_and_convolution():
    block = randomised(ResidualBlock(8), (None, 5, 4, 8))
    weights = [layer.get_weights() for layer in block.trunk]
    features = X
    for norm, (kernel, bias) in (weights[:2], weights[2:]):
        active = silu(normalised(features, *norm, 2))
        features = np.stack([convolved(image, kernel, bias) for image in active])
    np.testing.assert_allclose(block(X), X + features, rtol=1e-4, atol=1e-4)


def test_a_new_block_is_x_and_its_config_makes_it_again():
    initializer = keras.initializers.GlorotUniform(3)
    block = ResidualBlock(8, name="block", kernel_initializer=initializer, dtype="float32")
    block.build((None, 5, 4, 8))
    np.testing.assert_array_equal(block(X), X)
    [first] = [w for w in block.weights if w.path == "block/convolution_0/kernel"]
    np.testing.assert_array_equal(first, initializer((3, 3, 8, 8)))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
    for a, b in zip(block.weights, again.weights, strict=True):
        assert a.path == b.path
        np.testing.assert_array_equal(a, b)


def made():
    """A tiny VAE, whose weights are not those of the start: there a block's inner layers have no gradient."""
    vae = make_vae(Config(**TINY), (7, 6, 1))
    rng = np.random.default_rng(1)
    for variable in vae.trainable_variables:
        variable.assign(variable + 0.2 * rng.normal(size=variable.shape))
    return vae


def test_the_gradient_of_the_elbo_is_that_of_finite_differences():
    vae, x = made(), tf.constant(RNG.uniform(size=(3, 7, 6, 1)), tf.float32)
    epsilon = tf.constant(RNG.normal(size=(1, 3, 2)), tf.float32)
    variables = vae.trainable_variables
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(elbo(vae, x, epsilon).elbo)
    gradients = tape.gradient(value, [v.value for v in variables])
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)
    here = [v.numpy() for v in variables]
    for part in ("block_1_0", "norm_0", ""):  # along a direction of these weights in which it rises
        parts = [RNG.uniform(0.5, 1.5, v.shape) * (part in v.path) for v in variables]
        directions = [of_part * gradient.numpy() for of_part, gradient in zip(parts, gradients)]
        scale = np.sqrt(sum(np.sum(d**2) for d in directions))
        directions = [(d / scale).astype("f") for d in directions]
        values = []
        for step in (0.002, -0.002):
            for variable, start, direction in zip(variables, here, directions):
                variable.assign(start + step * direction)
            values.append(np.sum(elbo(vae, x, epsilon).elbo.numpy().astype(np.float64)))
        expected = sum(np.sum(g.numpy() * d) for g, d in zip(gradients, directions))
        assert abs(expected) > 0.05
        assert (values[0] - values[1]) / 0.004 == pytest.approx(expected, rel=0.01), part


def test_a_saved_model_is_the_same(tmp_path):
    vae, x = made(), RNG.uniform(size=(3, 7, 6, 1)).astype("f")
    vae.save(tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    assert again.encoder.residual_blocks == 1
    np.testing.assert_array_equal(again(x), vae(x))
