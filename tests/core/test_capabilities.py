"""Every class and loss of the core is held against its row in `tfvae/config/capabilities.py`."""

import itertools
from typing import NamedTuple

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfvae.config import Config, capabilities
from tfvae.config.rules import has_closed_kl
from tfvae.core.distributions import DiagonalNormal
from tfvae.core.likelihoods import make_family
from tfvae.core.making import make_vae
from tfvae.core.networks import NETWORKS
from tfvae.core.objectives import training_loss
from tfvae.core.posteriors import POSTERIORS
from tfvae.core.priors import PRIORS
from tfvae.core.residual import GroupNorm, ResidualBlock
from tfvae.errors import InputError

LATENTS, BATCH = 2, 3
SHAPE = (3, 2, 1)
X = np.random.default_rng(0).uniform(size=(BATCH, *SHAPE)).astype("f")


def epsilon_of(samples, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(samples, BATCH, LATENTS)), tf.float32)


def posterior_of(name):
    """A posterior [BATCH, LATENTS] of the family, of the head's random outputs."""
    rng = np.random.default_rng(1)
    sizes = POSTERIORS[name].head_sizes(LATENTS).values()
    return POSTERIORS[name].from_head(*(tf.constant(rng.normal(size=(BATCH, n)), tf.float32) for n in sizes))


def prior_of(name):
    """A prior of the family, of random values of what it learns; a mixture of as many components as BATCH."""
    rng = np.random.default_rng(2)
    family = PRIORS[name](LATENTS, BATCH)
    values = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in family.variables(seed=0)]
    return family.from_variables(*values)


def test_there_is_a_row_for_each_class_and_a_class_for_each_row():
    assert list(capabilities.POSTERIORS) == list(POSTERIORS)
    assert list(capabilities.PRIORS) == list(PRIORS)
    assert list(capabilities.NETWORKS) == list(NETWORKS)
    for name in capabilities.LIKELIHOODS:
        assert make_family(name, 0.1, 0.01)
    with pytest.raises(ValueError, match=", ".join(capabilities.LIKELIHOODS)):
        make_family("other", 0.1, 0.01)


def monte_carlo_kl(q, prior):
    """KL(q || prior) and its standard error, each [BATCH]."""
    epsilon = tf.constant(np.random.default_rng(7).normal(size=(40_000, BATCH, LATENTS)), tf.float32)
    z, log_q = q.sample_and_log_prob(epsilon)
    ratio = (log_q - prior.log_prob(z)).numpy().astype(np.float64)
    return ratio.mean(axis=0), ratio.std(axis=0) / len(ratio) ** 0.5


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_kl_is_closed_to_the_priors_of_the_row_alone(posterior, prior):
    """`closed_kl_to`: there it is the sampled one; elsewhere there is none, or what comes out is not the KL."""
    q, p = posterior_of(posterior), prior_of(prior)
    row = capabilities.POSTERIORS[posterior]
    assert hasattr(q, "kl") == bool(row.closed_kl_to)
    assert has_closed_kl(posterior, prior) == (prior in row.closed_kl_to)
    if not row.closed_kl_to:
        return
    expected, error = monte_carlo_kl(q, p)
    assert (error < 0.2).all()
    is_the_kl = (np.abs(q.kl(p) - expected) < 4 * error).all()
    assert is_the_kl == (prior in row.closed_kl_to)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_kl_is_a_sum_over_latents_where_the_row_says_so(posterior):
    q, row = posterior_of(posterior), capabilities.POSTERIORS[posterior]
    assert hasattr(q, "kl_per_latent") == row.kl_per_latent
    for prior in row.closed_kl_to if row.kl_per_latent else ():
        per_latent = q.kl_per_latent(prior_of(prior))
        assert per_latent.shape == (BATCH, LATENTS)
        np.testing.assert_allclose(tf.reduce_sum(per_latent, axis=-1), q.kl(prior_of(prior)), rtol=1e-6)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_log_prob_of_any_z_is_a_density(posterior):
    """`log_prob_of_any_z`: on a grid, which holds no sample, it integrates to 1, and its mean and variance are q's.

    The grid is fine where q's mass is and reaches to 1,000: a posterior may have heavy tails.
    """
    q = posterior_of(posterior)
    assert capabilities.POSTERIORS[posterior].log_prob_of_any_z == hasattr(q, "log_prob")
    steps, width = np.linspace(-7.6, 7.6, 1_201, retstep=True)
    line, widths = np.sinh(steps), np.cosh(steps) * width
    z = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    areas = np.outer(widths, widths)
    for i in range(BATCH):
        one = type(q)(*(parameter[i] for parameter in q))
        density = np.exp(one.log_prob(tf.constant(z, tf.float32)).numpy().astype(np.float64)) * areas
        np.testing.assert_allclose(density.sum(), 1, rtol=0.01)  # the Laplace density has a kink
        mean = (density[..., None] * z).sum((0, 1))
        np.testing.assert_allclose(mean, one.mean, atol=0.01)
        variance = (density[..., None] * (z - mean) ** 2).sum((0, 1))
        np.testing.assert_allclose(variance, np.exp(one.marginal_log_variance()), rtol=0.01)


@pytest.mark.parametrize("prior", PRIORS)
def test_a_prior_is_learned_where_the_row_says_so(prior):
    assert bool(PRIORS[prior](LATENTS, 4).variables(seed=0)) == capabilities.PRIORS[prior].learned
    vae = make_vae(Config(prior=prior, hidden_units=()), SHAPE)
    assert any(v.path.startswith("vae/prior") for v in vae.trainable_variables) == capabilities.PRIORS[prior].learned


@pytest.mark.parametrize("prior", PRIORS)
def test_a_prior_has_components_where_the_row_says_so(prior):
    shapes = [[v.shape for v in PRIORS[prior](LATENTS, components).variables(seed=0)] for components in (3, 4)]
    assert (shapes[0] != shapes[1]) == capabilities.PRIORS[prior].has_components


KERAS_IN_EXPLORER = (keras.layers.Dense, keras.layers.Reshape, keras.layers.Conv2DTranspose)
IN_EXPLORER = (*KERAS_IN_EXPLORER, GroupNorm, ResidualBlock)  # what its page can compute


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_has_filters_and_is_in_the_explorer_where_the_row_says_so(network):
    row = capabilities.NETWORKS[network]
    few, many = (make_vae(Config(network=network, hidden_units=(4,), filters=(3, n)), SHAPE) for n in (3, 4))
    assert few.convolutional == row.has_filters
    assert (few.encoder.count_params() != many.encoder.count_params()) == row.has_filters
    assert (few.decoder.count_params() != many.decoder.count_params()) == row.has_filters
    assert all(isinstance(layer, IN_EXPLORER) for layer in few.decoder.trunk) == row.in_explorer
    deep = make_vae(Config(network=network, hidden_units=(4,), filters=(3, 3), residual_blocks=3), SHAPE)
    assert (few.encoder.count_params() != deep.encoder.count_params()) == row.has_blocks
    assert (few.decoder.count_params() != deep.decoder.count_params()) == row.has_blocks
    wide = make_vae(Config(network=network, hidden_units=(5,), filters=(3, 3)), SHAPE)
    assert (few.decoder.count_params() == wide.decoder.count_params()) == row.has_filters  # it has no --hidden_units
    assert few.encoder.count_params() != wide.encoder.count_params()


def density_of(likelihood, sigma=0.3, sigma_floor=0.01):
    """A p(x|z) over [BATCH, H, W, C], of random outputs of the decoder."""
    family = make_family(likelihood, sigma, sigma_floor)
    shape = (BATCH, *SHAPE[:2], family.parameters_per_pixel(SHAPE[2]))
    outputs = tf.constant(np.random.default_rng(3).normal(size=shape), tf.float32)
    learned = [v.initializer(v.shape) for v in family.variables(SHAPE)]
    return family.from_parameters(outputs, *learned)


@pytest.mark.parametrize("likelihood", capabilities.LIKELIHOODS)
def test_the_log_prob_of_elements_sums_to_that_of_the_image(likelihood):
    density = density_of(likelihood)
    has_elements = capabilities.LIKELIHOODS[likelihood].element_log_prob
    assert hasattr(density, "element_log_prob") == hasattr(density, "fitted_to") == has_elements
    if not has_elements:
        return
    x = tf.constant(np.rint(X * 255) / 255, tf.float32)
    elements = density.element_log_prob(x)
    assert elements.shape == x.shape
    np.testing.assert_allclose(tf.reduce_sum(elements, axis=(1, 2, 3)), density.log_prob(x), rtol=1e-5)


LINE, UNIT = np.linspace(-8, 8, 8_001), (np.arange(4_000) + 0.5) / 4_000
SUPPORTS = {  # values, and the width that each stands for
    capabilities.BITS: (np.array([0.0, 1.0]), 1.0),
    capabilities.LEVELS: (np.arange(256) / 255, 1.0),
    capabilities.UNIT: (UNIT, 1 / 4_000),
    capabilities.REALS: (LINE, LINE[1] - LINE[0]),
}


@pytest.mark.parametrize("likelihood", capabilities.LIKELIHOODS)
def test_a_likelihood_sums_or_integrates_to_1_over_the_support_of_its_row(likelihood):
    """Of one pixel of one value, so that one of several channels is asked too which has no `element_log_prob`."""
    values, width = SUPPORTS[capabilities.LIKELIHOODS[likelihood].support]
    family = make_family(likelihood, 0.3, 0.01)
    outputs = np.random.default_rng(3).normal(size=(5, 1, 1, 1, family.parameters_per_pixel(1)))
    learned = [v.initializer(v.shape) for v in family.variables((1, 1, 1))]
    density = family.from_parameters(tf.constant(outputs, tf.float32), *learned)  # [5, 1, 1, 1, 1]
    x = tf.constant(values.reshape(-1, 1, 1, 1), tf.float32)
    mass = np.exp(density.log_prob(x).numpy().astype(np.float64)).sum(axis=1) * width
    np.testing.assert_allclose(mass, np.ones(5), rtol=1e-4)


@pytest.mark.parametrize("likelihood", capabilities.LIKELIHOODS)
def test_a_likelihood_depends_on_sigma_and_its_floor_where_the_row_says_so(likelihood):
    expected = capabilities.LIKELIHOODS[likelihood].has_sigma
    for pair in (
        [density_of(likelihood, sigma=0.3), density_of(likelihood, sigma=0.4)],
        [density_of(likelihood, "learned", 0.01), density_of(likelihood, "learned", 0.5)],
    ):
        first, second = (density.log_prob(tf.constant(X)).numpy() for density in pair)
        assert (first != second).any() == expected


@pytest.fixture(scope="module")
def vae():
    """A tiny VAE, whose weights are not those of the start: there the KL is nearly 0."""
    made = make_vae(Config(latent_dim=LATENTS, hidden_units=(4,)), SHAPE)
    rng = np.random.default_rng(4)
    for variable in made.trainable_variables:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return made


def objective_of(name):
    return Config(objective=name, num_samples=2 if capabilities.OBJECTIVES[name].draws_z else 1)


@pytest.mark.parametrize("objective", capabilities.OBJECTIVES)
def test_the_loss_responds_to_beta_where_the_objective_has_a_kl(vae, objective):
    config = objective_of(objective)
    losses = [training_loss(config, vae, tf.constant(X), epsilon_of(2), beta)[0].numpy() for beta in (1.0, 2.0)]
    assert (losses[0] != losses[1]).all() == capabilities.OBJECTIVES[objective].has_kl
    assert (losses[0] != losses[1]).any() == capabilities.OBJECTIVES[objective].has_kl


@pytest.mark.parametrize("objective", capabilities.OBJECTIVES)
def test_the_loss_depends_on_epsilon_where_the_objective_draws_z(vae, objective):
    config = objective_of(objective)
    losses = [training_loss(config, vae, tf.constant(X), epsilon_of(2, seed), 1.0)[0].numpy() for seed in (0, 1)]
    assert (losses[0] != losses[1]).all() == capabilities.OBJECTIVES[objective].draws_z
    assert (losses[0] != losses[1]).any() == capabilities.OBJECTIVES[objective].draws_z


@pytest.mark.parametrize("estimator", ["reparameterized", "score_function"])
@pytest.mark.parametrize("objective", capabilities.OBJECTIVES)
def test_an_objective_has_the_estimators_of_its_row_alone(objective, estimator):
    if estimator in capabilities.OBJECTIVES[objective].estimators:
        assert Config(objective=objective, estimator=estimator).estimator == estimator
    else:
        with pytest.raises(InputError, match="^estimator="):
            Config(objective=objective, estimator=estimator)


class Flow(NamedTuple):
    """A normal posterior that knows, as a flow may, the density of its own samples alone."""

    mean: tf.Tensor
    stddev: tf.Tensor

    def sample(self, epsilon):
        return self.mean + self.stddev * epsilon

    def sample_and_log_prob(self, epsilon):
        log_prob = tf.constant(scipy.stats.norm.logpdf(epsilon), tf.float32) - tf.math.log(self.stddev)
        return self.sample(epsilon), tf.reduce_sum(log_prob, axis=-1)


class WithPosterior:
    """A VAE with another posterior than its encoder's."""

    convolutional = False

    def __init__(self, vae, posterior):
        self.prior, self.sampling, self.decode = vae.prior, vae.sampling, vae.decode
        self.encode = lambda x: posterior


LOSSES = [(name, estimator) for name, row in capabilities.OBJECTIVES.items() for estimator in row.estimators]


@pytest.mark.parametrize("objective, estimator", LOSSES)
def test_a_posterior_without_log_prob_of_any_z_serves_the_objectives_that_don_t_need_it(vae, objective, estimator):
    row = capabilities.OBJECTIVES[objective]
    q = DiagonalNormal(*(tf.constant(a, tf.float32) for a in np.random.default_rng(5).normal(size=(2, BATCH, LATENTS))))
    kl = "monte_carlo" if row.has_kl else "auto"
    config = Config(objective=objective, estimator=estimator, kl=kl, num_samples=2 if row.draws_z else 1)
    flow = WithPosterior(vae, Flow(q.mean, tf.exp(q.log_variance / 2)))
    if row.needs_log_prob_of_any_z or estimator == "score_function":
        with pytest.raises(AttributeError, match="log_prob"):
            training_loss(config, flow, tf.constant(X), epsilon_of(2), 1.0)
        return
    loss, terms = training_loss(config, flow, tf.constant(X), epsilon_of(2), 1.0)
    plain, plain_terms = training_loss(config, WithPosterior(vae, q), tf.constant(X), epsilon_of(2), 1.0)
    for a, b in zip((loss, *terms), (plain, *plain_terms), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


GRID = {
    "objective": capabilities.OBJECTIVES,
    "estimator": ("reparameterized", "score_function"),
    "baseline": ("none", "leave_one_out"),
    "kl": ("auto", "analytic", "monte_carlo"),
    "free_bits": (0.0, 0.5),
    "num_samples": (1, 2),
}


def allowed_configs(**fixed):
    """Every combination of GRID with these settings that `Config` allows."""
    allowed = []
    for values in itertools.product(*GRID.values()):
        try:
            allowed.append(Config(latent_dim=LATENTS, hidden_units=(3,), **fixed, **dict(zip(GRID, values))))
        except InputError:
            continue
    return allowed


WITHOUT_SIGMA = [(name, 0.1) for name, row in capabilities.LIKELIHOODS.items() if not row.has_sigma]
LIKELIHOODS = [*WITHOUT_SIGMA, *(("gaussian", sigma) for sigma in (0.1, "learned", "optimal", "per_pixel", "of_z"))]


def test_the_grid_of_allowed_combinations_has_every_posterior_prior_and_objective():
    for posterior, prior in itertools.product(POSTERIORS, PRIORS):
        objectives = {config.objective for config in allowed_configs(posterior=posterior, prior=prior)}
        learned = capabilities.PRIORS[prior].learned
        assert objectives == set(capabilities.OBJECTIVES) - ({"autoencoder"} if learned else set())


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize(
    "likelihoods",
    [  # of the first and the last the decoder gives one and two values for each pixel's value
        pytest.param([LIKELIHOODS[0], LIKELIHOODS[-1]], id="binary and of z", marks=pytest.mark.slow),
        pytest.param(LIKELIHOODS[1:-1], id="the others", marks=pytest.mark.nightly),
    ],
)
def test_every_allowed_combination_has_a_finite_loss_and_gradient(likelihoods, posterior, prior):
    for likelihood, sigma in likelihoods:
        configs = allowed_configs(posterior=posterior, prior=prior, likelihood=likelihood, sigma=sigma)
        vae = make_vae(configs[0], SHAPE)
        for config in configs:
            assert_finite(config, vae)


def assert_finite(config, vae, y=None):
    """The loss and each gradient are finite, and that of the first variable, of a label its picture, is not 0."""
    variables = [v.value for v in sorted(vae.trainable_variables, key=lambda v: "picture" not in v.path)]
    with tf.GradientTape() as tape:
        loss, terms = training_loss(config, vae.given(y), tf.constant(X), epsilon_of(config.num_samples), 0.5)
        total = tf.reduce_mean(loss)
    gradients = tape.gradient(total, variables, unconnected_gradients="zero")
    assert loss.shape == terms.elbo.shape == (BATCH,), config
    assert all(np.isfinite(value).all() for value in (loss, *terms, *gradients)), config
    assert np.abs(gradients[0]).max() > 0, config
