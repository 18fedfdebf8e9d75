"""A conditional VAE at labels: its log p(x|y) against a closed form, its shapes, what it refuses, saving."""

import keras
import models
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import test_capabilities
from models import COVARIANCE, OFFSET, POSTERIOR_VARIANCE, SIGMA, D, L, W, noise_of

from tfvae.config import Config
from tfvae.core import cost, objectives
from tfvae.core.columns import Columns
from tfvae.core.given import Given
from tfvae.core.making import make_vae
from tfvae.core.networks import NETWORKS
from tfvae.core.posteriors import POSTERIORS
from tfvae.core.priors import PRIORS
from tfvae.errors import InputError

CLASSES = ("ant", "bee", "cat")
SHAPE = (6, 5, 1)
X = np.random.default_rng(0).uniform(size=(4, *SHAPE)).astype("f")
Y = np.array([2, 0, 0, 1], np.int32)
Z = np.random.default_rng(1).normal(size=(3, 4, 2)).astype("f")
networks = pytest.mark.parametrize("network", NETWORKS)


def conditional(shape=SHAPE, classes=CLASSES, **settings):
    """A conditional VAE whose weights are not those of the start."""
    config = Config(condition="label", **{"hidden_units": (8,), "filters": (3, 4), **settings})
    vae = make_vae(config, shape, classes=classes)
    rng = np.random.default_rng(2)
    for variable in vae.trainable_variables:
        variable.assign(variable + 0.2 * rng.normal(size=variable.shape))
    return vae


@pytest.fixture(scope="module")
def vae():
    return conditional()


# A linear-Gaussian model of three classes: x | z, y ~ N(W z + OFFSET + SHIFTS[y], SIGMA^2 I).
SHIFTS = np.random.default_rng(3).normal(size=(3, D))
LABELS = np.array([0, 1, 2, 2, 1, 0], np.int32)
OF_CLASSES = (models.X + SHIFTS[LABELS]).reshape(-1, D, 1, 1).astype("f")
LOG_PX = np.array([scipy.stats.multivariate_normal(OFFSET + SHIFTS[y], COVARIANCE).logpdf(x) for x, y in
                   zip(OF_CLASSES.reshape(-1, D).astype(float), LABELS)])  # fmt: skip


def exact_linear_gaussian():
    """The package's own linear networks with the weights of that model, and of its exact q(z|x, y) = p(z|x, y)."""
    vae = make_vae(
        Config(condition="label", hidden_units=(), likelihood="gaussian", sigma=SIGMA), (D, 1, 1), classes=CLASSES
    )
    weights = {variable.path.removeprefix("vae/"): variable for variable in vae.variables}
    weights["decoder/pixels/kernel"].assign(np.concatenate([W.T, SHIFTS]))
    weights["decoder/pixels/bias"].assign(OFFSET)
    to_mean = W / SIGMA**2 * POSTERIOR_VARIANCE  # [D, L], of x less its mean at z = 0
    weights["encoder/label/picture/kernel"].assign(SHIFTS)
    weights["encoder/head/mean_kernel"].assign(np.stack([to_mean, -to_mean], axis=1).reshape(2 * D, L))
    weights["encoder/head/mean_bias"].assign(-OFFSET @ to_mean)
    weights["encoder/head/log_variance_bias"].assign(np.log(POSTERIOR_VARIANCE))
    weights["encoder/head/log_variance_kernel"].assign(np.zeros((2 * D, L)))
    return vae


@tf.function  # in which x may be any number
def bound(vae, y, epsilon):
    return objectives.importance_weighted_bound(vae.given(y), tf.constant(OF_CLASSES), epsilon)


@tf.function
def elbo(vae, y, epsilon, kl):
    return objectives.elbo(vae.given(y), tf.constant(OF_CLASSES), epsilon, kl).elbo


@pytest.mark.parametrize("samples", [1, 7])
def test_at_the_exact_posterior_the_bounds_are_log_px_given_y(samples):
    vae, epsilon = exact_linear_gaussian(), noise_of(samples, len(LABELS), L)
    np.testing.assert_allclose(bound(vae, LABELS, epsilon), LOG_PX, rtol=1e-4)
    np.testing.assert_allclose(elbo(vae, LABELS, epsilon, "monte_carlo"), LOG_PX, rtol=1e-4)


def test_the_elbo_is_below_log_px_given_y_by_the_kl_of_the_wrong_posterior():
    vae = exact_linear_gaussian()
    [bias] = [v for v in vae.variables if v.path.endswith("mean_bias")]
    bias.assign(bias + 0.5)
    gap = LOG_PX - elbo(vae, LABELS, noise_of(100_000, len(LABELS), L), "analytic")
    np.testing.assert_allclose(gap, np.full(6, np.sum(0.5**2 / POSTERIOR_VARIANCE / 2)), atol=0.05)


def test_another_label_has_another_log_px():
    other = bound(exact_linear_gaussian(), (LABELS + 1) % 3, noise_of(5, len(LABELS), L))
    assert ((LOG_PX - other).numpy() > 1).all()


@networks
def test_a_label_serves_each_leading_axis_of_z(network):
    vae = conditional(network=network)
    together = vae.given(Y).decode(Z).mean
    assert together.shape == (3, 4, *SHAPE)
    for k, i in np.ndindex(3, 4):
        one = vae.given(Y[i]).decode(Z[k, i]).mean
        np.testing.assert_allclose(together[k, i], one, atol=1e-6)
    for i in range(4):
        alone = vae.given(Y[i : i + 1]).encode(X[i : i + 1])
        np.testing.assert_allclose(vae.given(Y).encode(X).mean[i], alone.mean[0], atol=1e-5)
    np.testing.assert_allclose(vae(X, Y), vae.given(Y).decode(vae.given(Y).encode(X).mean).mean, atol=1e-6)


@networks
def test_x_and_z_depend_on_the_label(network):
    vae = conditional(network=network)
    of_classes = [(vae.given(y).encode(X).mean.numpy(), vae.given(y).decode(Z).mean.numpy()) for y in range(3)]
    for q, p in of_classes[1:]:
        assert np.abs(q - of_classes[0][0]).max() > 1e-3 and np.abs(p - of_classes[0][1]).max() > 1e-3


def test_of_one_class_it_is_a_model_without_a_condition():
    """The one label's row and picture add a constant to the first layers' sums: that of their biases."""
    vae = conditional(classes=("one",))
    plain = make_vae(Config(hidden_units=(8,)), SHAPE)
    of_vae, of_plain = ({v.path: v for v in model.variables} for model in (vae, plain))
    picture = of_vae["vae/encoder/label/picture/kernel"].numpy().ravel()
    for path, variable in of_plain.items():
        variable.assign(_without_condition(path, of_vae, picture))
    for a, b in zip(vae.given(0).encode(X), plain.encode(X), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(vae.given(0).decode(Z).mean, plain.decode(Z).mean, atol=1e-6)


def _without_condition(path, weights, picture):
    value = weights[path].numpy()
    if path == "vae/encoder/hidden_0/kernel":
        return value[0::2]  # of x; the label's are every other
    if path == "vae/encoder/hidden_0/bias":
        return value + picture @ weights["vae/encoder/hidden_0/kernel"].numpy()[1::2]
    if path == "vae/decoder/hidden_0/kernel":
        return value[:2]
    if path == "vae/decoder/hidden_0/bias":
        return value + weights["vae/decoder/hidden_0/kernel"].numpy()[2]
    return value


@networks
def test_it_is_the_same_when_it_is_loaded(network, tmp_path):
    vae = conditional(network=network)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert loaded.get_config() == vae.get_config() and loaded.classes == CLASSES
    np.testing.assert_array_equal(loaded(X, Y), vae(X, Y))
    assert "classes" not in make_vae(Config(), SHAPE).encoder.get_config()


@pytest.mark.parametrize("missing", [False, True])
def test_vectors_take_the_label_as_columns(missing):
    columns = Columns(("a", "b"), (0.0, 0.0), (1.0, 1.0), missing)
    config = Config(condition="label", hidden_units=(8,), likelihood="gaussian")
    vae = make_vae(config, (1, 1, 2), columns=columns, classes=CLASSES)
    [kernel] = [v for v in vae.variables if v.path.endswith("encoder/hidden_0/kernel")]
    assert kernel.shape == ((4 if missing else 2) + 3, 8)
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("f")
    means = [vae.given(y).encode(x).mean.numpy() for y in range(3)]
    assert min(np.abs(means[0] - means[1]).max(), np.abs(means[1] - means[2]).max()) > 1e-4


@networks
def test_its_cost_counts_the_label(network):
    vae = conditional(network=network)
    assert cost.of_encoder(vae.encoder).weights == vae.encoder.count_params()
    assert cost.of_decoder(vae.decoder).weights == vae.decoder.count_params()


def test_a_graph_takes_batches_of_any_size():
    vae = conditional(network="conv")
    graph = tf.function(lambda x, y: vae.given(y).decode(vae.given(y).encode(x).mean).mean)
    specs = (tf.TensorSpec([None, *SHAPE]), tf.TensorSpec([None], tf.int32))
    outputs = graph.get_concrete_function(*specs).structured_outputs
    assert outputs.shape.as_list() == [None, *SHAPE]
    np.testing.assert_allclose(graph(X, Y), vae(X, Y), atol=1e-5)


def test_a_model_without_a_condition_is_itself():
    vae = make_vae(Config(hidden_units=(8,)), SHAPE)
    assert vae.given(None) is vae and vae.classes == ()
    assert isinstance(conditional().given(Y), Given)


PLACES = "y: must be whole numbers from 0 to 2, the places of the 3 classes ant, bee, cat, and has "
REFUSED = {
    "encode": (lambda vae: vae.encode(X), "y: must be given: the model is conditional, of the 3 classes ant, bee, cat"),
    "decode": (lambda vae: vae.decode(Z), "y: must be given: the model is conditional"),
    "call": (lambda vae: vae(X), "y: must be given: the model is conditional"),
    "in a graph": (lambda vae: tf.function(vae.decode, autograph=False)(tf.constant(Z)), "y: must be given"),
    "predict": (lambda vae: vae.predict(X, verbose=0), "y: must be given"),
    "compile": (lambda vae: vae.compile(), "compile: must not be called on a conditional VAE"),
    "given None": (lambda vae: vae.given(None).encode(X), "y: must be given"),
    "too large": (lambda vae: vae.given([0, 1, 2, 3]).encode(X), PLACES + "some from 0 to 3"),
    "negative": (lambda vae: vae.given(-1).decode(Z), PLACES + "some from -1 to -1"),
    "fractions": (lambda vae: vae.given([0.0] * 4).decode(Z), PLACES + "float64"),
    "names": (lambda vae: vae.given("ant").decode(Z), PLACES + "<U3"),
    "too few": (lambda vae: vae.given([0, 1]).encode(X), r"y: must be a label for each example, \[4\], or one for all"),
    "too many": (lambda vae: vae.given(np.zeros((2, 3, 4), int)).decode(Z), r"and has the shape \[2, 3, 4\]"),
    "none": (lambda vae: make_vae(Config(), SHAPE).encoder(X, Y), "y: must not be given: the model is not conditional"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_other_labels_are_refused_in_a_line(vae, call, message):
    with pytest.raises(InputError, match=message) as info:
        call(vae)
    assert "\n" not in str(info.value)


@pytest.mark.nightly
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize(("name", "sigma"), [test_capabilities.LIKELIHOODS[0], test_capabilities.LIKELIHOODS[-1]])
def test_every_allowed_combination_with_a_condition_has_a_finite_loss_and_gradient(name, sigma, posterior, prior):
    configs = test_capabilities.allowed_configs(
        condition="label", posterior=posterior, prior=prior, likelihood=name, sigma=sigma
    )
    vae = make_vae(configs[0], test_capabilities.SHAPE, classes=("a", "b"))
    for config in configs:
        test_capabilities.assert_finite(config, vae, y=tf.constant([0, 1, 1]))
