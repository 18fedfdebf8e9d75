"""The networks: shapes, parameter counts, initial weights, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.distributions import GaussianPixels
from tfvae.core.models import VAE, Sampling, make_vae

SHAPES = [(8, 8, 1), (28, 20, 1), (9, 7, 3), (5, 4, 2)]
NETWORKS = [
    {"network": "mlp", "hidden_units": (16, 8)},
    {"network": "conv", "hidden_units": (6,)},
    {"hidden_units": ()},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", NETWORKS, ids=["mlp", "conv", "linear"])
def test_shapes(shape, options):
    vae = make_vae(Config(latent_dim=3, **options), shape)
    x = np.random.default_rng(0).uniform(size=(5, *shape)).astype("f")
    q = vae.encode(x)
    assert q.mean.shape == q.log_variance.shape == (5, 3)
    assert vae.sampling(q, tf.zeros([4, 5, 3])).shape == (4, 5, 3)
    for leading in [(), (5,), (2, 5)]:
        assert vae.decode(tf.zeros([*leading, 3])).mean.shape == (*leading, *shape)
    reconstruction = vae(x)
    np.testing.assert_allclose(reconstruction, vae.decode(q.mean).mean)
    assert len(vae.trainable_variables) == len({v.path for v in vae.trainable_variables})


@pytest.mark.parametrize("options", NETWORKS, ids=["mlp", "conv", "linear"])
def test_leading_axes_of_z_are_only_axes(options):
    vae = make_vae(Config(latent_dim=3, **options), (9, 7, 1))
    z = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("f")
    one_by_one = np.stack([[vae.decode(row[None]).mean[0] for row in block] for block in z])
    np.testing.assert_allclose(vae.decode(z).mean, one_by_one, atol=1e-6)


def test_parameter_counts():
    def count(part):
        return sum(int(np.prod(v.shape)) for v in part.trainable_variables)

    vae = make_vae(Config(latent_dim=2, hidden_units=(512,)), (28, 28, 1))
    assert count(vae.encoder) == 784 * 512 + 512 + 2 * (512 * 2 + 2)
    assert count(vae.decoder) == 2 * 512 + 512 + 512 * 784 + 784
    conv = make_vae(Config(network="conv", hidden_units=(16,), latent_dim=2), (28, 28, 1))
    # the figures that keras.io's example prints: 69,076 and 65,089
    assert (count(conv.encoder), count(conv.decoder)) == (69_076, 65_089)


def test_weights_are_a_function_of_the_seed_and_no_two_layers_share_them():
    first, again, other = (make_vae(Config(hidden_units=(64, 64), seed=s), (8, 8, 1)) for s in (0, 0, 1))
    for a, b in zip(first.trainable_variables, again.trainable_variables):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    kernels = [v.numpy() for vae in (first, other) for v in vae.trainable_variables if v.shape == (64, 64)]
    assert len(kernels) == 8  # two seeds, encoder 64x64 twice (8x8 pixels), decoder twice
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(kernels) for b in kernels[:i])
    limit = np.sqrt(6 / (64 + 64))  # Glorot & Bengio 2010, eq. 16
    assert max(np.abs(k).max() for k in kernels) <= limit
    np.testing.assert_allclose(np.std(kernels), limit / np.sqrt(3), rtol=0.05)


def test_the_posterior_starts_with_deviation_1():
    vae = make_vae(Config(), (8, 8, 1))
    assert not vae.encode(np.ones((2, 8, 8, 1), "f")).log_variance.numpy().any()


def test_the_posterior_is_finite_for_any_weights():
    vae = make_vae(Config(hidden_units=()), (2, 2, 1))
    vae.encoder.log_variance.kernel.assign(tf.fill([4, 2], 1e6))
    q = vae.encode(np.ones((1, 2, 2, 1), "f"))
    assert np.isfinite(vae.sampling(q, tf.ones([1, 1, 2]))).all() and np.isfinite(q.kl(vae.prior)).all()


def test_gaussian_likelihood_has_the_given_deviation_and_no_bounds_on_its_mean():
    vae = make_vae(Config(likelihood="gaussian", sigma=0.25), (4, 4, 1))
    p = vae.decode(tf.fill([1, 2], 50.0))
    assert isinstance(p, GaussianPixels)
    np.testing.assert_allclose(np.exp(p.log_variance), 0.25**2, rtol=1e-6)
    assert np.abs(p.mean).max() > 1


@pytest.mark.parametrize("options", NETWORKS, ids=["mlp", "conv", "linear"])
def test_the_keras_file_keeps_every_option_and_weight(options, tmp_path):
    vae = make_vae(Config(latent_dim=3, likelihood="gaussian", sigma=0.2, seed=5, **options), (9, 7, 1))
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert isinstance(loaded, VAE) and isinstance(loaded.sampling, Sampling)
    assert loaded.decoder.sigma == 0.2 and loaded.encoder.hidden_units == vae.encoder.hidden_units
    x = np.random.default_rng(0).uniform(size=(2, 9, 7, 1)).astype("f")
    np.testing.assert_array_equal(loaded(x), vae(x))
