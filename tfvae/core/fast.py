"""What is computed in a faster way than the papers write it, each beside its plain formula.

`tests/core/test_fast.py` compares every pair, also the branch that this machine does not take.
"""

import functools
import math

import tensorflow as tf

_LONGEST_PRODUCT = 2**14  # values that a product adds up in turn: of 800,000, float32 loses 0.4 %


def computes_on_gpu() -> bool:
    """Whether this process computes on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def use_xla(convolutional: bool) -> bool:
    """Whether XLA compiles a model: on GPU always; on CPU its gradients of convolutions are 30 times slower."""
    return computes_on_gpu() or not convolutional


def plain_cross_entropy(logits: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """-log p(x) of a Bernoulli variable: max(l, 0) - l x + log(1 + exp(-|l|)), which neither overflows nor cancels."""
    return tf.maximum(logits, 0.0) - logits * x + tf.math.log1p(tf.exp(-tf.abs(logits)))


def cross_entropy(logits: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """`plain_cross_entropy`, where logits have the broadcast shape; x is a constant, to which no gradient flows.

    With u = 1 + e as it is rounded, log(u) e / (u - 1) is as exact as log1p(e), which XLA does not vectorize on CPU.
    Without XLA, TensorFlow's graph optimizer turns log(1 + e) into log1p(e): the result is then off by up to 6e-8 nats.
    """

    @tf.custom_gradient
    def of_logits(logits: tf.Tensor) -> tuple[tf.Tensor, object]:
        e = tf.exp(-tf.abs(logits))
        u = 1.0 + e
        nats = tf.maximum(logits, 0.0) - logits * x + tf.where(u == 1.0, e, tf.math.log(u) * (e / (u - 1.0)))
        return nats, lambda upstream: upstream * (tf.where(logits >= 0, 1.0, e) / u - x)

    return of_logits(logits)


def plain_sum_over_values(values: tf.Tensor) -> tf.Tensor:
    """[..., H, W, C] -> [...]."""
    return tf.reduce_sum(values, axis=(-3, -2, -1))


def sum_by_product(values: tf.Tensor) -> tf.Tensor:
    """`plain_sum_over_values` as a product with a matrix of ones; of a large image, one for each of its rows."""
    size = math.prod(values.shape[-3:])
    if size <= _LONGEST_PRODUCT:
        sums = tf.matmul(tf.reshape(values, [-1, size]), tf.ones([size, 1], values.dtype))
        return tf.reshape(sums, tf.shape(values)[:-3])
    height = values.shape[-3]
    of_rows = tf.matmul(tf.reshape(values, [-1, size // height]), tf.ones([size // height, 1], values.dtype))
    return tf.reduce_sum(tf.reshape(of_rows, tf.concat([tf.shape(values)[:-3], [height]], axis=0)), axis=-1)


@tf.custom_gradient
def sum_over_values(values: tf.Tensor) -> tuple[tf.Tensor, object]:
    """[..., H, W, C] -> [...]; on CPU as a product, because XLA does not vectorize the sum there.

    On GPU it is the plain sum: TF32 products keep ten bits alone.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return tf.broadcast_to(upstream[..., None, None, None], tf.shape(values))

    if computes_on_gpu():
        return plain_sum_over_values(values), gradient
    return sum_by_product(values), gradient


def plain_group_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, groups: int, epsilon: float) -> tf.Tensor:
    """x [B, h, w, C], each group of channels of an image less its mean, over its deviation; times gamma, plus beta."""
    _, height, width, channels = x.shape
    grouped = tf.reshape(x, [-1, height * width, groups, channels // groups])
    mean, variance = tf.nn.moments(grouped, [1, 3], keepdims=True)
    return tf.reshape((grouped - mean) * tf.math.rsqrt(variance + epsilon), tf.shape(x)) * gamma + beta


def group_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, groups: int, epsilon: float) -> tf.Tensor:
    """`plain_group_norm` and its gradient, in fewer passes over the images; gamma and beta are [C].

    Means are first of each channel, [B, C], and then of the groups, so that images are never reshaped or transposed.
    """

    @tf.custom_gradient
    def normalised(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, object]:
        centred = x - _of_groups(tf.reduce_mean(x, axis=(1, 2)), groups)
        variance = _of_groups(tf.reduce_mean(tf.square(centred), axis=(1, 2)), groups)
        factor = tf.math.rsqrt(variance + epsilon)
        value = centred * (factor * gamma) + beta
        return value, lambda upstream: _group_norm_gradient(centred, factor, gamma, groups, upstream)

    return normalised(x, gamma, beta)


def _of_groups(channel_means: tf.Tensor, groups: int) -> tf.Tensor:
    """[B, C] -> [B, 1, 1, C]: for each channel the mean of its group."""
    channels = channel_means.shape[-1]
    means = tf.reduce_mean(tf.reshape(channel_means, [-1, groups, channels // groups]), axis=-1)
    return tf.repeat(means, channels // groups, axis=-1)[:, None, None, :]


def _group_norm_gradient(
    centred: tf.Tensor, factor: tf.Tensor, gamma: tf.Tensor, groups: int, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """In x, gamma and beta, of `centred` x [B, h, w, C] and one over its groups' deviations, `factor` [B, 1, 1, C]."""
    means = tf.reduce_mean(upstream, axis=(1, 2))
    products = tf.reduce_mean(upstream * centred, axis=(1, 2))
    of_x = upstream * (factor * gamma)
    of_x -= centred * (_of_groups(products * gamma, groups) * factor**3) + _of_groups(means * gamma, groups) * factor
    pixels = tf.cast(centred.shape[1] * centred.shape[2], centred.dtype)
    of_gamma = pixels * tf.reduce_sum(products * factor[:, 0, 0], axis=0)
    return of_x, of_gamma, pixels * tf.reduce_sum(means, axis=0)


def plain_normal_quantile(p: tf.Tensor) -> tf.Tensor:
    """The inverse of the standard normal's distribution function."""
    return tf.math.ndtri(p)


_ERFINV_CENTRAL = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
_ERFINV_TAIL = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


def upper_normal_quantile(p: tf.Tensor) -> tf.Tensor:
    """-`plain_normal_quantile` for p in (0, 1/2], by polynomials.

    They are those of Giles 2010, "Approximating the erfinv function", table 5. The relative error is up to 1e-5, and
    4e-4 below p = 2^-27.
    XLA computes many of them at a time, which it can't for Box and Muller's sine and cosine.
    """
    w = -tf.math.log(4.0 * p * (1.0 - p))  # Giles's w = -log(1 - y^2) of y = 1 - 2p
    central = functools.reduce(lambda value, coefficient: value * (w - 2.5) + coefficient, _ERFINV_CENTRAL)
    tail = functools.reduce(lambda value, coefficient: value * (tf.sqrt(w) - 3.0) + coefficient, _ERFINV_TAIL)
    return math.sqrt(2.0) * (1.0 - 2.0 * p) * tf.where(w < 5.0, central, tail)


def plain_outputs(x: tf.Tensor, kernels: list[tf.Tensor], biases: list[tf.Tensor]) -> list[tf.Tensor]:
    """x [B, F] times each kernel [F, n_i], plus its bias: [B, n_i] each."""
    return [tf.matmul(x, kernel) + bias for kernel, bias in zip(kernels, biases)]


def outputs_by_one_product(x: tf.Tensor, kernels: list[tf.Tensor], biases: list[tf.Tensor]) -> list[tf.Tensor]:
    """`plain_outputs` by one product: XLA is slow at products of few columns, and there may be two latents."""
    kernel = tf.concat(kernels, axis=-1)
    bias = tf.concat(biases, axis=-1)
    sizes = [b.shape[0] for b in biases]
    return tf.split(tf.matmul(x, kernel) + bias, sizes, axis=-1)
