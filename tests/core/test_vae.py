"""The public methods of a VAE, called eagerly: what they take, and what they refuse; `summary`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.making import make_vae
from tfvae.core.posteriors import POSTERIORS
from tfvae.core.vae import VAE
from tfvae.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 5, 1), dtype=np.uint8)
X = (IMAGES / 255).astype(np.float32)
Z = np.random.default_rng(1).normal(size=(4, 7, 2))


@pytest.fixture(scope="module")
def vae():
    return make_vae(Config(hidden_units=(8,), seed=3), (6, 5, 1))


def encoder_mean(vae, images):
    return vae.encoder(images).mean


def decoder_mean(vae, z):
    return vae.decoder(z).mean


def test_bytes_are_converted_by_every_method(vae):
    np.testing.assert_allclose(vae.encode(IMAGES).mean, vae.encode(X).mean, atol=1e-6)
    np.testing.assert_allclose(encoder_mean(vae, tf.constant(IMAGES)), vae.encode(X).mean, atol=1e-6)
    np.testing.assert_allclose(vae(IMAGES), vae(X), atol=1e-6)
    np.testing.assert_allclose(vae(IMAGES[..., 0].tolist()), vae(X), atol=1e-6)


def test_ones_are_white_where_the_model_was_made_so():
    vae = make_vae(Config(hidden_units=(8,)), (6, 5, 1), white=1)
    ones = np.ones((2, 6, 5, 1), np.uint8)
    np.testing.assert_array_equal(vae.encode(ones).mean, vae.encode(ones.astype("f")).mean)
    with pytest.raises(InputError, match="x: must be whole numbers from 0 to 1, as the training images"):
        vae.encode(ones * 255)


def test_z_may_be_an_array_of_any_floats_or_a_list(vae):
    expected = vae.decode(tf.constant(Z, tf.float32)).mean
    for z in (Z, Z.tolist(), tf.constant(Z)):
        np.testing.assert_array_equal(vae.decode(z).mean, expected)
        np.testing.assert_array_equal(decoder_mean(vae, z), expected)


def test_gradients_flow_to_x_and_z(vae):
    """By finite differences of float64 sums, in a direction."""
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(vae(tf.convert_to_tensor(x)))
    gradient = tape.gradient(value, x).numpy()
    direction = np.where(X > 0.5, -1, 1).astype(np.float32)  # which stays in [0, 1]
    step = 1e-2
    change = np.sum(vae(X + step * direction), dtype=np.float64) - np.sum(vae(X), dtype=np.float64)
    np.testing.assert_allclose(np.sum(gradient * direction) * step, change, rtol=0.1)
    z = tf.Variable(Z[0].astype("f"))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(vae.decode(tf.convert_to_tensor(z)).mean)
    assert np.abs(tape.gradient(value, z)).max() > 0


REFUSED = {
    "grey floats": (
        lambda vae: vae.encode(IMAGES * 0.99),
        r"x: must be fractions in \[0, 1\], or whole numbers from 0",
    ),
    "of the model": (lambda vae: vae(IMAGES * np.float32(0.99)), r"x: must be fractions in \[0, 1\]"),
    "of the encoder": (lambda vae: vae.encoder(IMAGES * np.float32(0.99)), r"x: must be fractions in \[0, 1\]"),
    "one image": (lambda vae: vae.encode(IMAGES[0]), r"x: .* is a single one: take x\[None\]"),
    "a shape": (lambda vae: vae(IMAGES[:, :5]), r"x: must be images \[N, 6, 5, 1\], and has the shape \[7, 5, 5, 1\]"),
    "colour": (lambda vae: vae(np.zeros((7, 6, 5, 3))), r"has the shape \[7, 6, 5, 3\]"),
    "rows of values": (lambda vae: vae(X.reshape(7, 30)), r"has the shape \[7, 30\]"),
    "infinite": (lambda vae: vae(X / 0.0), r"x: must be .* the first wrong one, at \[0, 0, 0, 0\], is inf"),
    "None": (lambda vae: vae.encode(None), "x: must be an array, and is a NoneType"),
    "more latents": (
        lambda vae: vae.decode(np.zeros((4, 3))),
        r"z: must be latents \[..., 2\], and has the shape \[4, 3\]",
    ),
    "a scalar": (lambda vae: vae.decode(0.5), r"z: must be latents .* the shape \[\]"),
    "NaN": (lambda vae: vae.decode(Z * np.nan), "z: must be finite numbers"),
    "text": (lambda vae: vae.decoder(np.full((4, 2), "a")), "z: must be numbers, and has the type <U1"),
    "uneven lists": (lambda vae: vae.decoder([[1.0, 2.0], [3.0]]), "z: must be an array, and is a list"),
}


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_other_inputs_are_refused_in_a_line(vae, call, message):
    with pytest.raises(InputError, match=message) as info:
        call(vae)
    assert "\n" not in str(info.value)


def test_in_a_graph_nothing_is_checked(vae):
    """Checks in a graph would cost time at each step, or be dropped by XLA."""
    graph = tf.function(lambda x: vae(x)).get_concrete_function(tf.TensorSpec([None, 6, 5, 1])).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert not kinds & {"Assert", "IsFinite", "Min", "Max"}


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_posterior_draws_z_by_a_seed(posterior):
    vae = make_vae(Config(hidden_units=(8,), posterior=posterior, latent_dim=3), (6, 5, 1))
    images = np.tile(IMAGES[:1], (4_000, 1, 1, 1))
    q = vae.encode(images)
    z = q.sample(seed=1)
    np.testing.assert_array_equal(q.sample(seed=1), z)
    assert z.shape == (4_000, 3) and np.abs(q.sample(seed=2) - z).max() > 0.1
    stddev = np.exp(q.marginal_log_variance()[0] / 2)
    np.testing.assert_allclose(np.mean(z, axis=0), q.mean[0], atol=5 * stddev.max() / 4_000**0.5)
    np.testing.assert_allclose(np.std(z, axis=0), stddev, rtol=0.1)
    with pytest.raises(InputError, match="^seed: must be given where epsilon is not"):
        q.sample()


def test_summary_shows_shapes(vae):
    lines = []
    for model in (vae, vae.encoder, vae.decoder):
        model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    rows = [line for line in text.splitlines() if "\u2502" in line]
    assert len(rows) == 3 + 3 + 2 and not any("?" in row for row in rows)
    assert "(None, 6, 5, 1)" in text and "(None, 2)" in text


def test_a_saved_model_and_its_parts_follow_the_same_rule(tmp_path):
    vae = make_vae(
        Config(hidden_units=(8,), posterior="full", sigma="learned", likelihood="gaussian"), (6, 5, 1), white=1
    )
    for model in (vae, vae.encoder, vae.decoder):
        model.save(tmp_path / f"{model.name}.keras")
    loaded = {name: keras.saving.load_model(tmp_path / f"{name}.keras") for name in ("vae", "encoder", "decoder")}
    ones = (IMAGES > 100).astype(np.uint8)
    np.testing.assert_array_equal(loaded["vae"](ones), vae(ones))
    np.testing.assert_array_equal(loaded["encoder"](ones).mean, vae.encode(ones).mean)
    np.testing.assert_array_equal(loaded["decoder"](Z).mean, vae.decode(Z).mean)
    for model in (loaded["vae"], loaded["encoder"]):
        with pytest.raises(InputError, match="from 0 to 1, as the training images"):
            model(ones * 2)


def test_an_older_saved_config_still_makes_a_vae(vae):
    """Before there were `white` and `objective`."""
    config = vae.get_config()
    del config["objective"]
    del config["encoder"]["config"]["white"]
    again = VAE.from_config(config)
    assert again.input_rule.white == 255 and again.objective == {}


@pytest.mark.parametrize("compile", [lambda f: f, tf.function, lambda f: tf.function(f, autograph=False)])
def test_decode_of_another_number_of_latents_names_both(compile):
    vae = make_vae(Config(hidden_units=(8,), latent_dim=3), (4, 4, 1))
    with pytest.raises(Exception, match=r"z: must be latents \[\.\.\., 3\], and has the shape \[2, 5\]"):
        compile(vae.decode)(tf.zeros([2, 5]))
    unknown = tf.function(vae.decode, input_signature=[tf.TensorSpec([None, None])])
    assert unknown(tf.zeros([2, 3])).mean.shape == (2, 4, 4, 1)
