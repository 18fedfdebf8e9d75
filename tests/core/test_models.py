"""The models: shapes, parameter counts, initial weights, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.likelihoods import Gaussian
from tfvae.core.making import make_vae
from tfvae.core.models import Decoder, Encoder
from tfvae.core.sampling import Sampling
from tfvae.core.vae import VAE

SHAPES = [(8, 8, 1), (28, 20, 1), (9, 7, 3), (5, 4, 2)]
NETWORKS = {
    "mlp": {"network": "mlp", "hidden_units": (16, 8)},
    "conv": {"network": "conv", "hidden_units": (6,)},
    "resnet": {"network": "resnet", "hidden_units": (6,), "filters": (4, 8), "residual_blocks": 1},
    "linear": {"hidden_units": ()},
}
networks = pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)


@pytest.mark.parametrize("shape", SHAPES)
@networks
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


@networks
def test_leading_axes_of_z_are_only_axes(options):
    vae = make_vae(Config(latent_dim=3, **options), (9, 7, 1))
    z = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("f")
    one_by_one = np.stack([[vae.decode(row[None]).mean[0] for row in block] for block in z])
    np.testing.assert_allclose(vae.decode(z).mean, one_by_one, atol=1e-6)


@networks
def test_a_batch_of_unknown_size_keeps_the_known_axes(options):
    vae = make_vae(Config(latent_dim=3, **options), (9, 7, 3))
    outputs = tf.function(lambda z: vae.decode(z).mean).get_concrete_function(tf.TensorSpec([5, None, 3]))
    assert outputs.structured_outputs.shape.as_list() == [5, None, 9, 7, 3]


def test_sampling_is_the_posterior_s_own():
    vae = make_vae(Config(hidden_units=()), (4, 4, 1))
    q = vae.encode(np.random.default_rng(0).uniform(size=(5, 4, 4, 1)).astype("f"))
    epsilon = tf.constant(np.random.default_rng(1).normal(size=(3, 5, 2)), tf.float32)
    z, log_q = vae.sampling(q, epsilon, with_log_prob=True)
    np.testing.assert_array_equal(z, q.mean + tf.exp(q.log_variance / 2) * epsilon)
    np.testing.assert_array_equal(z, vae.sampling(q, epsilon))
    np.testing.assert_array_equal(log_q, q.log_prob(z))


def count(part):
    return sum(int(np.prod(v.shape)) for v in part.trainable_variables)


def test_parameter_counts():
    vae = make_vae(Config(latent_dim=2, hidden_units=(512,)), (28, 28, 1))
    assert count(vae.encoder) == 784 * 512 + 512 + 2 * (512 * 2 + 2)
    assert count(vae.decoder) == 2 * 512 + 512 + 512 * 784 + 784
    conv = make_vae(Config(network="conv", hidden_units=(16,), latent_dim=2), (28, 28, 1))
    # the figures that keras.io's example prints: 69,076 and 65,089
    assert (count(conv.encoder), count(conv.decoder)) == (69_076, 65_089)


def stage(i):
    """The names of a resnet's stage with one block."""
    layers = ("norm_0", "convolution_0", "norm_1", "convolution_1")
    return [f"convolution_{i}", *(f"block_{i}_0/{layer}" for layer in layers)]


NAMES = {  # of the encoder's trunk, of the decoder
    "mlp": (["hidden_0", "hidden_1"], ["hidden_0", "hidden_1", "pixels"]),
    "conv": (["convolution_0", "convolution_1", "hidden_0"], ["hidden_0", "convolution_0", "convolution_1", "pixels"]),
    "resnet": (
        [*stage(0), *stage(1), "hidden_0"],
        ["hidden_0", *stage(0), *stage(1), "pixels"],
    ),
    "linear": ([], ["pixels"]),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_variables_have_names_that_no_other_model_of_the_process_changes(network):
    """Checkpoints and the optimizer's slots are by these names."""
    config = Config(latent_dim=3, posterior="full", prior="mixture", likelihood="gaussian", sigma="learned")
    config = Config(**{**config.settings(), **NETWORKS[network]})
    trunk, decoder = NAMES[network]
    weights = [f"encoder/{layer}" for layer in trunk] + [f"decoder/{layer}" for layer in decoder]
    parts = {w: ("gamma", "beta") if "norm" in w else ("kernel", "bias") for w in weights}
    expected = {f"vae/{weight}/{part}" for weight in weights for part in parts[weight]}
    heads = [f"{name}_{part}" for name in ("mean", "log_variance", "below") for part in ("kernel", "bias")]
    expected |= {f"vae/encoder/head/{head}" for head in heads} | {"vae/decoder/log_variance"}
    expected |= {"vae/prior_mean", "vae/prior_log_variance", "vae/prior_logits"}
    for _ in range(2):
        assert {v.path for v in make_vae(config, (8, 8, 1)).trainable_variables} == expected


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


def test_the_posterior_starts_with_stddev_1():
    vae = make_vae(Config(), (8, 8, 1))
    assert not vae.encode(np.ones((2, 8, 8, 1), "f")).log_variance.numpy().any()


def test_the_posterior_is_finite_for_any_weights():
    vae = make_vae(Config(hidden_units=()), (2, 2, 1))
    [kernel] = [v for v in vae.encoder.head.kernels if v.name == "log_variance_kernel"]
    kernel.assign(tf.fill([4, 2], 1e6))
    q = vae.encode(np.ones((1, 2, 2, 1), "f"))
    assert (q.log_variance.numpy() == 10).all()
    assert np.isfinite(vae.sampling(q, tf.ones([1, 1, 2]))).all() and np.isfinite(q.kl(vae.prior)).all()


def test_gaussian_likelihood_has_the_given_stddev_and_no_bounds_on_its_mean():
    vae = make_vae(Config(likelihood="gaussian", sigma=0.25), (4, 4, 1))
    p = vae.decode(tf.fill([1, 2], 50.0))
    assert isinstance(p, Gaussian)
    np.testing.assert_allclose(np.exp(p.log_variance), 0.25**2, rtol=1e-6)
    assert np.abs(p.mean).max() > 1


@networks
def test_a_vae_knows_whether_it_has_convolutions(options):
    assert make_vae(Config(**options), (8, 8, 1)).convolutional is (
        "filters" in options or options.get("network") == "conv"
    )


@networks
def test_bfloat16_products_leave_weights_and_densities_in_float32(options):
    vae = make_vae(Config(latent_dim=3, dtype="bfloat16", **options), (9, 7, 1))
    exact = make_vae(Config(latent_dim=3, **options), (9, 7, 1))
    assert {v.dtype for v in vae.variables} == {"float32"}
    x = np.random.default_rng(0).uniform(size=(2, 9, 7, 1)).astype("f")
    q = vae.encode(x)
    z = np.random.default_rng(1).normal(size=(4, 2, 3)).astype("f")
    logits, exact_logits = vae.decode(z).logits, exact.decode(z).logits
    assert {q.mean.dtype, q.log_variance.dtype, logits.dtype} == {tf.float32}
    np.testing.assert_allclose(q.mean, exact.encode(x).mean, atol=0.05)
    np.testing.assert_allclose(logits, exact_logits, atol=0.05)
    assert (logits != exact_logits).numpy().any()


@networks
def test_the_keras_file_keeps_every_option_and_weight(options, tmp_path):
    vae = make_vae(Config(latent_dim=3, likelihood="gaussian", sigma=0.2, seed=5, **options), (9, 7, 1))
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert isinstance(loaded, VAE) and isinstance(loaded.sampling, Sampling)
    assert loaded.decoder.sigma == 0.2 and loaded.encoder.hidden_units == vae.encoder.hidden_units
    x = np.random.default_rng(0).uniform(size=(2, 9, 7, 1)).astype("f")
    np.testing.assert_array_equal(loaded(x), vae(x))


UNUSUAL = Config(
    latent_dim=3,
    network="conv",
    hidden_units=(6,),
    filters=(4, 5),
    activation="tanh",
    dtype="bfloat16",
    posterior="full",
    prior="mixture",
    prior_components=4,
    likelihood="gaussian",
    sigma="per_pixel",
    sigma_floor=0.05,
    seed=5,
)


def moved(model):
    """The model, its weights no longer those that its seed gives."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * rng.normal(size=variable.shape))
    return model


def saved_and_loaded(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def assert_same(loaded, model):
    assert type(loaded) is type(model)
    assert loaded.get_config() == model.get_config()
    for ours, theirs in zip(loaded.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_vae_of_unusual_options_is_the_same_when_it_is_loaded(tmp_path):
    vae = moved(make_vae(UNUSUAL, (9, 7, 1)))
    loaded = saved_and_loaded(vae, tmp_path)
    assert_same(loaded, vae)
    assert (loaded.prior_name, loaded.components) == ("mixture", 4)
    x = np.random.default_rng(0).uniform(size=(2, 9, 7, 1)).astype("f")
    q, loaded_q = vae.encode(x), loaded.encode(x)
    p, loaded_p = vae.decode(q.mean), loaded.decode(q.mean)
    for a, b in zip((*loaded_q, *loaded_p, *loaded.prior), (*q, *p, *vae.prior), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_encoder_and_a_decoder_of_unusual_options_are_the_same_when_they_are_loaded(tmp_path):
    vae = moved(make_vae(UNUSUAL, (9, 7, 1)))
    x = np.random.default_rng(0).uniform(size=(2, 9, 7, 1)).astype("f")
    z = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("f")
    for part, argument in ((vae.encoder, x), (vae.decoder, z)):
        loaded = saved_and_loaded(part, tmp_path)
        assert_same(loaded, part)
        for a, b in zip(loaded(argument), part(argument), strict=True):
            np.testing.assert_array_equal(a, b)
    settings = {"image_shape": (9, 7, 1), "filters": (4, 5), "activation": "tanh", "layer_dtype": "bfloat16", "seed": 5}
    for part in (vae.encoder, vae.decoder):
        assert {name: part.get_config()[name] for name in settings} == settings
    assert isinstance(vae.encoder, Encoder) and vae.encoder.get_config()["posterior"] == "full"
    assert isinstance(vae.decoder, Decoder) and vae.decoder.get_config()["sigma_floor"] == 0.05
