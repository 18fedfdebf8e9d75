"""A run keeps a network of the user's own: its file, what is told of changed code, and steps that go on to the bit."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from runs import IMAGES, assert_same_values

from tfvae.config import Config
from tfvae.core import own_network
from tfvae.core.making import make_vae
from tfvae.errors import InputError
from tfvae.training import checkpoints, network_file
from tfvae.training.feeds import epoch_order
from tfvae.training.state import create_state
from tfvae.training.step import TrainProgram, mean_of_parts

NETS = """import keras
from keras import layers
import tfvae

@keras.saving.register_keras_serializable("tests of files")
class Twice(layers.Layer):
    def call(self, x):
        return 2 * x

def networks(image_shape, latent_dim, config):
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(8, config.activation), tfvae.Dropout(0.3)])
    return encoder, keras.Sequential([layers.Dense(config.hidden_units[0], "tanh"), tfvae.Dropout(0.3), Twice()])
"""
DATASET = SimpleNamespace(image_shape=IMAGES.shape[1:], columns=None, classes=())


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Of a run in an empty directory, whose network is in a file there."""
    Path(tmp_path / "file_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "file_nets", raising=False)
    (tmp_path / "run").mkdir()
    return Config(
        dataset="digits", network="file_nets:networks", hidden_units=(8,), batch_size=16, num_samples=2, run_dir="run"
    ).as_usual()


def quiet(text):
    raise AssertionError(text)


def kept(config):
    """The trunks of a new run, and its file."""
    network_file.check_early(config, None)
    trunks = network_file.network_of(config, DATASET, None, quiet)
    network_file.write_once(config.directory, config, trunks)
    return trunks


def program_of(config, trunks):
    state = create_state(config, IMAGES.shape[1:], len(IMAGES), trunks=trunks)
    return state, TrainProgram(state, config, IMAGES)


@pytest.mark.slow
def test_steps_with_dropout_go_on_to_the_bit_from_what_is_kept(config, without_xla):
    trunks = kept(config)
    state, program = program_of(config, trunks)
    program.run(0, 3)
    checkpoints.save(config.directory, state.variables(), 3, {"image_shape": IMAGES.shape[1:]})
    again, program_again = program_of(config, network_file.network_of(config, DATASET, None, quiet))
    checkpoints.restore(config.directory, lambda _: again.variables())
    assert_same_values(again, state)
    assert program_again.run(3, 3) == program.run(3, 3)
    assert_same_values(again, state)
    x = IMAGES[:4]
    np.testing.assert_array_equal(state.vae(x), state.vae(x))  # evaluation drops nothing out
    assert (state.vae(x).numpy() == again.vae(x).numpy()).all()


@pytest.mark.nightly
def test_masks_change_from_step_to_step(config, without_xla):
    config = Config(**{**vars(config), "learning_rate": 1e-12, "objective": "autoencoder", "num_samples": 1})
    _, program = program_of(config, kept(config))
    program.train_step.batch = lambda images, order, start, t, rows: (np.float32(IMAGES[:16] / 255), None)  # the same
    elbos = [program.run(t, 1)[0][0].terms["elbo"] for t in (0, 1, 0)]
    assert elbos[0] == elbos[2] != elbos[1]  # no other noise is drawn


@pytest.mark.nightly
@pytest.mark.parametrize("settings", [{}, {"likelihood": "gaussian", "sigma": "optimal", "optimizer": "adam"}])
def test_keras_fit_makes_the_same_steps_and_drops_out_the_same(config, settings, without_xla):
    config = Config(**{**vars(config), **settings})
    trunks = kept(config)
    state, program = program_of(config, trunks)
    means = mean_of_parts(program.run(0, 9)[0])  # 3 epochs of 3 batches of 16, of 50 images
    order = np.concatenate([epoch_order(config.seed, epoch, len(IMAGES))[:48] for epoch in range(3)])
    vae = make_vae(config, IMAGES.shape[1:], trunks=trunks)
    vae.compile("adam", num_samples=2)
    logs = vae.fit(IMAGES[order], batch_size=16, shuffle=False, verbose=0).history
    for ours, theirs in zip(vae.variables, state.vae.variables):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=ours.path)
    for name, mean in means.items():
        np.testing.assert_allclose(logs[name][0], mean, rtol=1e-4)


def test_the_file_names_the_code_and_a_change_of_it_is_told(config):
    trunks = kept(config)
    content = json.loads((config.directory / "network.json").read_text())
    source = content["sources"]["file_nets"]
    assert content["network"] == "file_nets:networks" and source["file"] == str(Path("file_nets.py").resolve())
    assert trunks.modules == ["file_nets"]
    Path("file_nets.py").write_text(NETS + "# another line\n")
    said = []
    assert network_file.network_of(config, DATASET, None, said.append) == trunks
    assert said == [
        f"run/network.json: {source['file']} has changed since: the layers are those of then, their code is that of now"
    ]
    network_file.write_once(config.directory, config, trunks)  # the checksum stays that of the start
    assert json.loads((config.directory / "network.json").read_text()) == content


def test_a_class_of_a_notebook_is_told_before_the_training(config):
    twice = {"__module__": "__main__", "call": lambda self, x: 2 * x}
    twice = keras.saving.register_keras_serializable("tests of notebooks")(type("Twice", (keras.layers.Layer,), twice))
    config = Config(**{**vars(config), "network": "layers"})
    flat, dense = keras.layers.Flatten(), keras.layers.Dense(3)
    said = []
    network_file.network_of(config, DATASET, (keras.Sequential([flat, twice()]), dense), said.append)
    [line] = said
    assert line.startswith("Twice: defined in a notebook or a script, where the commands can't find it: none of")


def test_a_module_that_is_gone_is_named_with_where_it_was(config, monkeypatch):
    kept(config)
    source = str(Path("file_nets.py").resolve())
    Path("file_nets.py").unlink()
    monkeypatch.delitem(sys.modules, "file_nets")
    network_file.check_early(config, None)  # it has layers of its own
    with pytest.raises(InputError, match=f"^run/network.json: the layers of file_nets, which was {source}: must be in"):
        network_file.read(config.directory, quiet)
    with pytest.raises(InputError, match="^network=file_nets:networks: must be in a module .* no file_nets in"):
        network_file.check_early(Config(network=config.network), None)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"encoder": {}, "decoder": {}, "sources": 3}'])
def test_a_damaged_file_is_refused(config, text):
    (config.directory / "network.json").write_text(text)
    with pytest.raises(InputError, match="^run/network.json: must be the network of a run, as it was written"):
        network_file.read(config.directory, quiet)


def test_layers_must_be_handed_in_once_and_be_the_same_again(config):
    layers = own_network.call_function(config.network, IMAGES.shape[1:], 2, config)
    config = Config(**{**vars(config), "network": "layers"})
    with pytest.raises(InputError, match=r"^network=layers: must be handed in from Python, tfvae.fit"):
        network_file.check_early(config, None)
    trunks = network_file.network_of(config, DATASET, layers, quiet)
    network_file.write_once(config.directory, config, trunks)
    network_file.check_early(config, None)
    assert network_file.network_of(config, DATASET, None, quiet) == trunks
    assert network_file.network_of(config, DATASET, layers, quiet) == trunks  # which were called meanwhile
    with pytest.raises(InputError, match="^encoder, decoder: must be those that run was made with"):
        network_file.network_of(config, DATASET, layers[::-1], quiet)
