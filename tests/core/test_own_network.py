"""A network of the user's own: made anew of its config, the same each time, and refused by name where it can't be."""

import random

import keras
import numpy as np
import own_layers
import pytest
from keras import layers

import tfvae
from tfvae.config import Config
from tfvae.core import own_checks, own_modules, own_network
from tfvae.core.keras_globals import as_in_new_process
from tfvae.core.making import make_vae
from tfvae.errors import InputError

SHAPE = (6, 5, 1)
X = np.random.default_rng(0).uniform(size=(3, *SHAPE)).astype("f")


def config_of(name, **settings):
    return Config(**{"network": f"own_layers:{name}", "latent_dim": 2, **settings}).as_usual()


def trunks_of(config):
    pair = own_network.call_function(config.network, SHAPE, config.latent_dim, config)
    trunks = own_network.as_trunks(config.network, pair)
    own_checks.check_network(config.network, trunks, pair, (None, *SHAPE), config.latent_dim, SHAPE)
    return trunks


def made_by(config):
    """The trunks, unchecked."""
    return own_network.as_trunks(
        config.network, own_network.call_function(config.network, SHAPE, config.latent_dim, config)
    )


@pytest.fixture(scope="module")
def vae():
    config = config_of("networks")
    return make_vae(config, SHAPE, trunks=made_by(config))


def weights_of(vae):
    return {v.path: v.numpy() for v in vae.variables}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        np.testing.assert_array_equal(value, theirs[path], err_msg=path)


@pytest.mark.parametrize("name", [pytest.param("networks", marks=pytest.mark.nightly), "dense"])
def test_weights_are_a_function_of_the_seed_and_of_the_config_alone(name):
    config = config_of(name, seed=3)
    trunks = trunks_of(config)
    first = weights_of(make_vae(config, SHAPE, trunks=trunks))
    for _ in range(7):
        layers.Dense(2)  # Keras counts them
    random.seed(11)
    keras.utils.set_random_seed(12)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert made_by(config) == trunks
        state = random.getstate()
        assert_same(weights_of(make_vae(config, SHAPE, trunks=trunks)), first)
        assert random.getstate() == state and layers.Dense(2).name not in ("dense", "dense_1")
    finally:
        keras.config.set_dtype_policy(policy)
    other = weights_of(make_vae(config_of(name, seed=4), SHAPE, trunks=trunks))
    kernels = [path for path in first if "/network/" in path and path.endswith("kernel")]
    assert kernels and all((first[path] != other[path]).any() for path in kernels)


def test_encoder_and_decoder_of_one_class_have_other_weights():
    trunks = own_network.as_trunks("layers", (keras.Sequential([layers.Flatten(), layers.Dense(4)]), layers.Dense(4)))
    vae = make_vae(Config(network="layers", latent_dim=30), SHAPE, trunks=trunks)
    of_encoder, of_decoder = (part.trunk[0].get_weights()[0] for part in (vae.encoder, vae.decoder))
    assert of_encoder.shape == of_decoder.shape and (of_encoder != of_decoder).all()


def test_the_json_of_layers_does_not_depend_on_what_was_made_before_or_on_calls():
    pairs = []
    for _ in range(2):
        inner = keras.Sequential([layers.Dense(3), own_layers.Block(3)])
        pairs.append((keras.Sequential([layers.Flatten(), layers.Dense(5, name="mine"), inner]), layers.Dense(4)))
    called = own_network.as_trunks("layers", pairs[0])
    pairs[0][0](X)
    assert own_network.as_trunks("layers", pairs[0]) == own_network.as_trunks("layers", pairs[1]) == called
    assert '"mine"' in called.encoder
    another = (pairs[0][0], layers.Dense(5))
    assert own_network.as_trunks("layers", another).fingerprint != called.fingerprint


def test_the_trunk_computes_what_the_users_layer_does(vae):
    encoder, _ = own_layers.networks(SHAPE, 2, Config())
    encoder.set_weights(vae.encoder.trunk[0].get_weights())
    features = encoder(X)
    np.testing.assert_allclose(vae.encoder.trunk[1](vae.encoder.trunk[0](X)), features, rtol=1e-6)
    kernel, bias = (w.numpy() for w in vae.encoder.head.weights[:2])
    np.testing.assert_allclose(vae.encoder(X).mean, features @ kernel + bias, rtol=1e-4, atol=1e-5)
    assert vae(X).shape == X.shape  # the decoder's images are 6 x 6


@pytest.mark.nightly
def test_recurrent_layers_without_dropout_are_taken():
    pair = (keras.Sequential([layers.Reshape((6, 5)), layers.GRU(3)]), layers.Dense(3))
    own_checks.check_network("layers", own_network.as_trunks("layers", pair), pair, (None, *SHAPE), 2, SHAPE)


def test_a_saved_vae_is_the_same(tmp_path, vae):
    vae.save(tmp_path / "vae.keras")
    loaded = tfvae.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded(X), vae(X))
    for ours, theirs in zip(loaded.get_weights(), vae.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("case", own_layers.REFUSED)
def test_what_can_not_be_trained_is_refused_by_name(case):
    make, message = own_layers.REFUSED[case]
    with as_in_new_process(0):
        pair = make()
    with pytest.raises(InputError, match=message) as raised:
        trunks = own_network.as_trunks("layers", pair)
        own_checks.check_network("layers", trunks, pair, (None, *SHAPE), 2, SHAPE)
    assert raised.value.for_command_line.startswith("--network=layers: ")
    assert "\n" not in str(raised.value)


def test_a_function_that_fails_or_is_not_there_is_told_with_its_place(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"raised ArithmeticError: a mistake \(.*own_layers.py, line \d+\)$"):
        own_network.call_function("own_layers:failing", SHAPE, 2, config_of("failing"))
    with pytest.raises(InputError, match="and own_layers has no networsk: did you mean networks"):
        own_network.call_function("own_layers:networsk", SHAPE, 2, config_of("networks"))
    (tmp_path / "broken_nets").mkdir()
    (tmp_path / "broken_nets" / "__init__.py").write_text("raise SystemError('the package was imported')\n")
    (tmp_path / "broken_nets" / "inner.py").write_text("import no_such_library\n")
    (tmp_path / "broken_file.py").write_text("\n\nimport no_such_library\n")
    (tmp_path / "ending_file.py").write_text("import sys\nsys.exit('a script')\n")
    monkeypatch.chdir(tmp_path)
    own_modules.require_module("--network", "broken_nets.inner")  # looks, and imports nothing
    for missing in ("broken_nets.other", "no_such_module", "broken_file.inner"):
        with pytest.raises(InputError, match=f"there is no {missing} in {tmp_path}"):
            own_modules.require_module("--network", missing)
    with pytest.raises(InputError, match=r"broken_file.py can't: ModuleNotFoundError.*broken_file.py, line 3\)$"):
        own_modules.import_module("--network", "broken_file")
    with pytest.raises(InputError, match=r"ending_file.py can't: SystemExit: a script \(.*ending_file.py, line 2\)$"):
        own_modules.import_module("--network", "ending_file")


def test_classes_of_a_notebook_are_known_in_its_process_alone(monkeypatch):
    monkeypatch.setattr(own_layers.Block, "__module__", "__main__")
    trunks = own_network.as_trunks("layers", (layers.Flatten(), own_layers.Block(3)))
    assert trunks.modules == []
    make_vae(Config(network="layers", latent_dim=3), SHAPE, trunks=trunks)
    monkeypatch.setattr(keras.saving, "get_registered_object", lambda name: None)  # as in another process
    with pytest.raises(InputError, match="Block: must be in a module .* defined in a notebook or a script, __main__"):
        make_vae(Config(network="layers", latent_dim=3), SHAPE, trunks=trunks)
