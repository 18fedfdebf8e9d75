"""Networks that a user might write, good ones and ones that are refused, and a module to be named by `--network`."""

import keras
import numpy as np
from keras import layers

import tfvae


@keras.saving.register_keras_serializable("tests")
class Block(layers.Layer):
    """x + f(x), of layers that have no names; it has no `build`."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.first, self.second = layers.Dense(size, "tanh"), layers.Dense(size, kernel_initializer="he_normal")

    def call(self, x):
        return x + self.second(self.first(x))

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("tests")
class Forgetful(keras.Model):
    """A subclass of keras.Model without a `get_config` says its default arguments."""

    def __init__(self, size=3, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.layer = layers.Dense(size, activation)

    def call(self, x):
        return self.layer(x)


@keras.saving.register_keras_serializable("tests")
class WithoutName(keras.Model):
    """Its config has the name and the dtype that Keras gives, which it does not take."""

    def __init__(self):
        super().__init__()
        self.layer = layers.Dense(3)

    def call(self, x):
        return self.layer(x)


@keras.saving.register_keras_serializable("tests")
class Mistaken(layers.Layer):
    def call(self, x):
        return x @ x  # which fits a batch of one size alone


class Unregistered(layers.Layer):
    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable("tests")
class Noisy(layers.Layer):
    def call(self, x):
        return x + keras.random.normal((1, 1))


@keras.saving.register_keras_serializable("tests")
class TwoAlike(layers.Layer):
    def build(self, input_shape):
        self.one, self.other = (self.add_weight(shape=(2,), name="same") for _ in range(2))

    def call(self, x):
        return x * self.one + self.other


def networks(image_shape, latent_dim, config):
    """A convolution and attention; the decoder ends in images that are larger than the pixels'."""
    x = keras.Input(image_shape)
    places = layers.Reshape((-1, 4))(layers.Conv2D(4, 3, strides=2, activation=config.activation)(x))
    places = layers.MultiHeadAttention(2, 3)(places, places)
    z = keras.Input((latent_dim,))
    size = 4 * -(-image_shape[0] // 2) * -(-image_shape[1] // 2)
    features = layers.Reshape((-(-image_shape[0] // 2), -(-image_shape[1] // 2), 4))(layers.Dense(size)(z))
    encoder = keras.Model(x, layers.Flatten()(Block(4)(tfvae.Dropout(0.2)(places))))
    return encoder, keras.Model(z, layers.UpSampling2D()(tfvae.Dropout(0.2)(features)))


def dense(image_shape, latent_dim, config):
    """Dense layers, some of which XLA compiles."""
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(8, config.activation), tfvae.Dropout(0.5)])
    return encoder, keras.Sequential([layers.Dense(8, "tanh"), tfvae.Dropout(0.5), Block(8)])


def failing(image_shape, latent_dim, config):
    raise ArithmeticError("a mistake\nof two lines")


def sharing():
    """Both end in one layer."""
    last = layers.Dense(3, name="last")
    return keras.Sequential([FLAT(), layers.Dense(2), last]), keras.Sequential([last])


FLAT = layers.Flatten
REFUSED = {  # a pair of layers, and what is said
    "batch normalization": (
        lambda: (keras.Sequential([FLAT(), layers.BatchNormalization()]), layers.Dense(3)),
        r"its encoder must have no weights .* batch_normalization \(BatchNormalization\) has moving_mean, moving_var",
    ),
    "frozen": (
        lambda: (FLAT(), layers.Dense(3, trainable=False)),
        r"its decoder must have no weights that training does not learn, .* dense \(Dense\) has kernel, bias",
    ),
    "Keras's dropout": (
        lambda: (FLAT(), keras.Sequential([layers.Dense(3), layers.Dropout(0.5)])),
        r"its decoder must draw no random numbers .* dropout \(Dropout\) does: tfvae.Dropout draws",
    ),
    "dropout of a recurrent layer": (
        lambda: (keras.Sequential([layers.Reshape((6, 5)), layers.LSTM(3, dropout=0.1)]), layers.Dense(3)),
        r"its encoder must draw no random numbers .* lstm_cell \(LSTMCell\) does",
    ),
    "noise of Keras's global state": (lambda: (FLAT(), Noisy()), "its decoder must use no variable but the weights"),
    "three axes": (
        lambda: (layers.Reshape((-1, 1)), layers.Dense(3)),
        r"its encoder must give features \[B, F\] or \[B, h, w, F\], and gives \[B, 30, 1\]$",
    ),
    "too small": (
        lambda: (FLAT(), keras.Sequential([layers.Dense(4), layers.Reshape((2, 2, 1))])),
        r"its decoder must give \[B, F\], or \[B, h, w, F\] with h >= 6 and w >= 5, and gives \[B, 2, 2, 1\]$",
    ),
    "another input": (lambda: (FLAT(), layers.Conv2D(2, 3)), r"its decoder must take \[B, 2\], and raises ValueError"),
    "another batch": (
        lambda: (FLAT(), Mistaken()),
        r"its decoder must take \[B, 2\], and raises \w+: .*own_layers.py, line \d+\)$",
    ),
    "two outputs": (
        lambda: (FLAT(), keras.Model(z := keras.Input((2,)), [z, z])),
        "its decoder must give one array of features, and gives a list",
    ),
    "whole numbers": (
        lambda: (FLAT(), keras.Sequential([layers.Discretization(bin_boundaries=[0.5])])),
        "its decoder must give numbers of floating point, and gives int",
    ),
    "two weights of a name": (lambda: (FLAT(), TwoAlike()), "its decoder must give each weight a name of its own"),
    "half weights": (
        lambda: (FLAT(), layers.Dense(3, dtype="float16")),
        r"its decoder must have weights of float32, .* dense \(Dense\) has kernel of float16",
    ),
    "no registration": (lambda: (FLAT(), Unregistered()), "its decoder: Unregistered: must be registered"),
    "NumPy's function": (lambda: (layers.Lambda(np.abs), layers.Dense(3)), "its encoder"),
    "a lambda": (
        lambda: (layers.Lambda(lambda x: x * x), layers.Dense(3)),
        "its encoder must have a config that can be kept as JSON: TypeError: a lambda has none: write a function, and",
    ),
    "a lambda as activation": (
        lambda: (FLAT(), keras.Sequential([layers.Dense(3, lambda x: x * x)])),
        "its decoder must have a config that can be kept as JSON: TypeError: a lambda has none: write a function, and",
    ),
    "no name": (
        lambda: (FLAT(), WithoutName()),
        r"its decoder must be made of its config again, and raises TypeError: .*unexpected keyword argument",
    ),
    "a layer of both": (sharing, "its encoder and its decoder must share no weights, .* and both have .*last/kernel$"),
    "forgotten sizes": (lambda: (FLAT(), Forgetful(5)), "its decoder must be the same .* get_config of Forgetful"),
    "forgotten activations": (
        lambda: (FLAT(), Forgetful(3, "tanh")),
        "its decoder must be the same .* get_config of Forgetful",
    ),
    "one layer": (lambda: FLAT(), "must be an encoder and a decoder, .* and is Flatten"),
    "three": (lambda: (FLAT(), FLAT(), 3), "must be an encoder and a decoder, .* and is Flatten, Flatten, int"),
}
