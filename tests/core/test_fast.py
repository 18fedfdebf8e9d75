"""Each fast form against its plain formula and against SciPy, values and gradients, eager and under XLA."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfvae.core import fast

RNG = np.random.default_rng(0)
LOGITS = np.float32(
    [0.0, 1e-30, -1e-30, 1e-4, 0.3, -0.3, 1.0, -5.0, 8.0, -16.0, 17.5, 30.0, -88.0, 90.0, 104.0, 1e4, -1e4]
)
GREY = np.float32([0.0, 1e-3, 0.25, 0.5, 0.9, 1.0])
WAYS = {"eager": lambda f: f, "graph": tf.function, "xla": lambda f: tf.function(f, jit_compile=True)}


def value_and_gradients(function, arguments, upstream):
    """function(*arguments), and the gradients of its sum weighted by `upstream` in each argument; as NumPy's."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
    gradients = tape.gradient(value, arguments, output_gradients=upstream, unconnected_gradients="zero")
    return value, gradients


def both(way, function, arguments, upstream):
    """`value_and_gradients` in this way, as NumPy arrays."""
    compiled = WAYS[way](lambda *inputs: value_and_gradients(function, list(inputs[:-1]), inputs[-1]))
    value, gradients = compiled(*arguments, upstream)
    return value.numpy(), [gradient.numpy() for gradient in gradients]


def cross_entropy_in_float64(logits, x):
    """x log(1 + exp(-l)) + (1 - x) log(1 + exp(l))."""
    logits, x = logits.astype(np.float64), x.astype(np.float64)
    return x * np.logaddexp(0, -logits) + (1 - x) * np.logaddexp(0, logits)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", [fast.cross_entropy, fast.plain_cross_entropy])
def test_cross_entropy_is_exact_at_logits_to_1e4_and_any_grey_value(form, way):
    logits, x = np.repeat(LOGITS, len(GREY)), np.tile(GREY, len(LOGITS))
    upstream = RNG.normal(size=logits.shape).astype(np.float32)
    value, gradients = both(way, form, [tf.constant(logits), tf.constant(x)], tf.constant(upstream))
    # TensorFlow's own graphs compute log1p(e) for log(1 + e), and then e / (u - 1) is an error of 6e-8 nats or less
    atol = 6e-8 if way == "graph" else 1e-30
    np.testing.assert_allclose(value, cross_entropy_in_float64(logits, x), rtol=1e-6, atol=atol)
    if form is fast.plain_cross_entropy:
        smooth = logits != 0  # where max and abs have no derivative, only the fast form gives the formula's
    else:
        smooth = np.full(logits.shape, True)
        assert not gradients[1].any()  # none flows to x
    slope = scipy.special.expit(logits.astype(np.float64)) - x
    allowed = np.abs(upstream) * (1e-5 * np.abs(slope) + 1e-7)  # the slope's error, and what is upstream multiplies it
    assert (np.abs(gradients[0] - upstream * slope) <= allowed)[smooth].all()


def test_cross_entropy_of_far_logits_on_the_right_side_does_not_underflow_to_0_too_early():
    """log1p(exp(-|l|)) is exp(-|l|) to float32's precision from |l| = 17 on, down to the smallest number."""
    logits = np.float32([17, 20, 40, 80, 87])
    value = fast.cross_entropy(tf.constant(logits), tf.ones([5])).numpy()
    np.testing.assert_allclose(value, np.exp(-logits.astype(np.float64)), rtol=1e-5)


def test_cross_entropy_broadcasts():
    logits, x = RNG.normal(size=(5, 4, 3, 2, 1)).astype("f"), RNG.uniform(size=(4, 3, 2, 1)).astype("f")
    upstream = tf.ones([5, 4, 3, 2, 1])
    value, gradients = both("eager", fast.cross_entropy, [tf.constant(logits), tf.constant(x)], upstream)
    np.testing.assert_allclose(value, cross_entropy_in_float64(logits, x), rtol=1e-5)
    np.testing.assert_allclose(gradients[0], scipy.special.expit(logits) - x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("shape", [(4, 3, 2), (5, 4, 3, 1), (2, 5, 7, 6, 3)])
def test_sum_over_values_is_the_plain_sum_on_cpu_and_gpu(monkeypatch, shape, gpu, way):
    monkeypatch.setattr(fast, "computes_on_gpu", lambda: gpu)
    values, upstream = RNG.normal(size=shape).astype("f"), RNG.normal(size=shape[:-3]).astype("f")
    value, gradients = both(way, fast.sum_over_values, [tf.constant(values)], tf.constant(upstream))
    plain, plain_gradients = both(way, fast.plain_sum_over_values, [tf.constant(values)], tf.constant(upstream))
    assert value.shape == shape[:-3]
    np.testing.assert_allclose(value, values.sum((-3, -2, -1), dtype=np.float64), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(value, plain, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(gradients[0], plain_gradients[0])
    np.testing.assert_array_equal(gradients[0], np.broadcast_to(upstream[..., None, None, None], shape))


@pytest.mark.parametrize("gpu", [False, True])
def test_sum_over_values_is_a_product_on_cpu_alone(monkeypatch, gpu):
    monkeypatch.setattr(fast, "computes_on_gpu", lambda: gpu)
    graph = tf.function(fast.sum_over_values).get_concrete_function(tf.TensorSpec([None, 4, 3, 1])).graph
    operations = {operation.type for operation in graph.get_operations()}
    assert ("MatMul" in operations, "Sum" in operations) == (not gpu, gpu)


def test_sums_over_the_values_of_large_images_do_not_lose_digits():
    """One product over all of them would be 0.4 % off: each value is small beside the sum so far."""
    values = RNG.uniform(49, 51, size=(2, 512, 512, 3)).astype("f")
    exact = values.sum((-3, -2, -1), dtype=np.float64)
    np.testing.assert_allclose(fast.sum_over_values(tf.constant(values)), exact, rtol=1e-5)


def test_sum_by_product_is_exact_for_whole_numbers():
    """On CPU a product is of full float32 precision: sums below 2^24 have no rounding."""
    values = RNG.integers(-1_000, 1_000, size=(3, 28, 28, 3)).astype("f")
    np.testing.assert_array_equal(fast.sum_by_product(tf.constant(values)), values.sum((-3, -2, -1), dtype=np.int64))


@pytest.mark.parametrize("way", WAYS)
def test_upper_normal_quantile_is_minus_scipys_and_the_plain_one(way):
    tail = 2.0 ** -np.arange(1, 34)  # from the middle to the smallest p that `noise.normal` has
    p = np.concatenate([tail, np.linspace(1e-6, 0.5, 10_001), RNG.uniform(size=10_000) / 2]).astype(np.float32)
    z = WAYS[way](fast.upper_normal_quantile)(tf.constant(p)).numpy()
    plain = -fast.plain_normal_quantile(tf.constant(p, tf.float64)).numpy()
    np.testing.assert_allclose(plain, -scipy.stats.norm.ppf(p.astype(np.float64)), rtol=1e-12, atol=1e-12)
    fitted = p >= 2.0**-27  # where the polynomials were fitted; beyond, one draw in 10^8, they are worse
    np.testing.assert_allclose(z[fitted], plain[fitted], rtol=1e-5, atol=2e-7)
    np.testing.assert_allclose(z[~fitted], plain[~fitted], rtol=5e-4)
    assert z[0] == 0 and z.max() > 6.2 and fitted.sum() > 20_000


@pytest.mark.parametrize("way", WAYS)
def test_outputs_by_one_product_are_the_plain_outputs(way):
    sizes, x = (2, 1, 5), RNG.normal(size=(6, 7))
    kernels, biases = [RNG.normal(size=(7, n)) for n in sizes], [RNG.normal(size=n) for n in sizes]
    upstream = [tf.constant(RNG.normal(size=(6, n)), tf.float32) for n in sizes]
    arguments = [tf.constant(a, tf.float32) for a in (x, *kernels, *biases)]

    def results(form):
        def run(*inputs):
            return value_and_joint_gradients(form, list(inputs), upstream)

        return WAYS[way](run)(*arguments)

    outputs, gradients = results(fast.outputs_by_one_product)
    plain, plain_gradients = results(fast.plain_outputs)
    for output, same, kernel, bias in zip(outputs, plain, kernels, biases, strict=True):
        np.testing.assert_allclose(output, x @ kernel + bias, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(output, same, rtol=1e-4, atol=1e-5)
    for gradient, same in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(gradient, same, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[1], x.T @ upstream[0].numpy(), rtol=1e-4, atol=1e-5)


def value_and_joint_gradients(form, arguments, upstream):
    """The three outputs of a form, and the gradients in x, the kernels and the biases."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        outputs = form(arguments[0], arguments[1:4], arguments[4:])
    return outputs, tape.gradient(outputs, arguments, output_gradients=upstream)


@pytest.mark.parametrize(
    "gpu, convolutional, expected",
    [(False, False, True), (False, True, False), (True, False, True), (True, True, True)],
)
def test_xla_compiles_all_but_convolutions_on_cpu(monkeypatch, gpu, convolutional, expected):
    monkeypatch.setattr(fast, "computes_on_gpu", lambda: gpu)
    assert fast.use_xla(convolutional) is expected


@pytest.mark.parametrize("devices", [[], ["GPU:0"]])
def test_computing_on_gpu_is_having_one(monkeypatch, devices):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: devices if kind == "GPU" else ["CPU:0"])
    assert fast.computes_on_gpu() is bool(devices)


@pytest.mark.parametrize(
    ("way", "channels", "groups"), [("eager", 8, 2), ("graph", 8, 2), ("xla", 8, 2), ("eager", 6, 6), ("eager", 3, 1)]
)
def test_group_norm_and_its_gradient_are_the_plain_ones(way, channels, groups):
    x = tf.constant(RNG.normal(size=(3, 5, 4, channels), loc=3.0), tf.float32)
    gamma, beta, upstream = (tf.constant(RNG.normal(size=size), tf.float32) for size in (channels, channels, x.shape))
    forms = [lambda *a, f=f: f(*a, groups, 1e-5) for f in (fast.group_norm, fast.plain_group_norm)]
    (value, gradients), (plain, plain_gradients) = (both(way, form, [x, gamma, beta], upstream) for form in forms)
    np.testing.assert_allclose(value, plain, rtol=1e-5, atol=1e-5)
    for ours, expected in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=2e-5)
