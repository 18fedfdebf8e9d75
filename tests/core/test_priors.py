"""The families of p(z): what they learn, where they start, and the density that they are."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.making import make_vae
from tfvae.core.priors import PRIORS

LATENTS, COMPONENTS = 3, 4
Z = np.random.default_rng(0).normal(size=(7, LATENTS))
SHAPES = {
    "standard": {},
    "normal": {"prior_mean": (1, LATENTS), "prior_log_variance": (1, LATENTS)},
    "mixture": {
        "prior_mean": (COMPONENTS, LATENTS),
        "prior_log_variance": (COMPONENTS, LATENTS),
        "prior_logits": (COMPONENTS,),
    },
}


def values_of(name):
    """Values for all that the family learns, one log-variance out of its range."""
    rng = np.random.default_rng(3)
    values = {variable: rng.normal(size=shape).astype(np.float32) for variable, shape in SHAPES[name].items()}
    if "prior_log_variance" in values:
        values["prior_log_variance"][0, 0] = -50
    return values


@pytest.mark.parametrize("name", SHAPES)
def test_the_variables_have_these_names_and_shapes(name):
    variables = PRIORS[name](LATENTS, COMPONENTS).variables(seed=0)
    assert {v.name: v.shape for v in variables} == SHAPES[name]


@pytest.mark.parametrize("name", SHAPES)
def test_the_density_is_scipys(name):
    values = values_of(name)
    prior = PRIORS[name](LATENTS, COMPONENTS).from_variables(*(tf.constant(v) for v in values.values()))
    mean = values.get("prior_mean", np.zeros((1, LATENTS)))
    log_variance = np.clip(values.get("prior_log_variance", np.zeros((1, LATENTS))), -20, 10)
    log_weights = scipy.special.log_softmax(values.get("prior_logits", np.zeros(1)))
    components = scipy.stats.norm(mean, np.exp(log_variance / 2)).logpdf(Z[:, None]).sum(axis=-1)
    expected = scipy.special.logsumexp(log_weights + components, axis=-1)
    np.testing.assert_allclose(prior.log_prob(tf.constant(Z, tf.float32)), expected, rtol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_sampling_is_that_of_a_component_by_the_uniform_number(name):
    values = values_of(name)
    prior = PRIORS[name](LATENTS, COMPONENTS).from_variables(*(tf.constant(v) for v in values.values()))
    weights = scipy.special.softmax(values.get("prior_logits", np.zeros(1)))
    uniform = np.random.default_rng(4).uniform(size=(5, 2)).astype(np.float32)
    epsilon = np.random.default_rng(5).normal(size=(5, 2, LATENTS)).astype(np.float32)
    component = np.searchsorted(np.cumsum(weights)[:-1], uniform, side="right")
    mean = values.get("prior_mean", np.zeros((1, LATENTS)))[component]
    log_variance = np.clip(values.get("prior_log_variance", np.zeros((1, LATENTS))), -20, 10)[component]
    z = prior.sample(tf.constant(epsilon), tf.constant(uniform))
    np.testing.assert_allclose(z, mean + np.exp(log_variance / 2) * epsilon, rtol=1e-5, atol=1e-6)


def started(name, components, seed=0, latents=LATENTS):
    """The prior of a new VAE."""
    config = Config(latent_dim=latents, prior=name, prior_components=components, seed=seed, hidden_units=())
    return make_vae(config, (2, 2, 1))


@pytest.mark.parametrize("name, components", [("standard", 10), ("normal", 10), ("mixture", 1)])
def test_a_prior_of_one_normal_starts_as_the_standard_normal(name, components):
    prior = started(name, components).prior
    expected = scipy.stats.norm.logpdf(Z).sum(axis=-1)
    np.testing.assert_allclose(prior.log_prob(tf.constant(Z, tf.float32)), expected, rtol=1e-6)


def test_a_mixtures_means_start_as_standard_normal_draws_by_the_seed_with_equal_weights():
    first, again, other = (started("mixture", 500, seed, latents=20).prior for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.mean, again.mean)
    assert np.abs(first.mean - other.mean).max() > 1
    assert scipy.stats.kstest(first.mean.numpy().ravel(), "norm").pvalue > 1e-3
    assert not first.log_variance.numpy().any() and not first.logits.numpy().any()


@pytest.mark.parametrize("name", SHAPES)
def test_the_vae_learns_the_priors_variables_and_its_gradients_reach_them(name):
    vae = started(name, COMPONENTS)
    learned = {v.name: v for v in vae.trainable_variables if v.path.startswith("vae/prior")}
    assert {variable: tuple(v.shape) for variable, v in learned.items()} == SHAPES[name]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(vae.prior.log_prob(tf.constant(Z, tf.float32)))
    gradients = tape.gradient(total, [v.value for v in learned.values()])
    assert all(np.abs(gradient).max() > 1e-3 for gradient in gradients)
