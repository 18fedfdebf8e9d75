"""What TensorBoard's HParams tab shows of runs, by TensorBoard's own backend."""

import dataclasses

import pytest
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups
from trainers import make_trainer

from tfvae.config import Config
from tfvae.config.run_name import run_name
from tfvae.training import hparams

RESULTS = {
    "test": {"elbo": -24.5, "log_px": -24.0, "kl": 5.25, "active_units": 2, "squared_error": None},
    "train": {"steps": 220},
    "fingerprint": "bd806510",
}


def config(**settings):
    return Config(**{"dataset": "digits", "epochs": 2, **settings}).as_usual()


def session_groups(folder):
    """The rows of the tab's table, as TensorBoard with this `--logdir` answers them."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    backend = backend_context.Context(base_plugin.TBContext(logdir=str(folder), data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100)
    request.allowed_statuses.append(api_pb2.STATUS_SUCCESS)
    handler = list_session_groups.Handler(context.RequestContext(), backend, "", request)
    return list(handler.run().session_groups)


def metrics(group):
    return {(value.name.group, value.name.tag): value.value for value in group.metric_values}


def test_a_run_is_a_row_of_its_settings_and_its_test_figures(tmp_path):
    own = config(latent_dim=5, hidden_units=(32, 16), dequantize=True, likelihood="gaussian", sigma="learned")
    hparams.write(tmp_path / "run", own, RESULTS)
    [group] = session_groups(tmp_path)
    assert group.name == f"{run_name(own)}-bd806510"
    assert set(group.hparams) == set(own.settings())
    assert group.hparams["latent_dim"].number_value == 5
    assert group.hparams["learning_rate"].number_value == pytest.approx(1e-3)
    assert group.hparams["hidden_units"].string_value == "32,16"
    assert group.hparams["sigma"].string_value == "learned"
    assert group.hparams["filters"].string_value == "auto"
    assert group.hparams["dequantize"].bool_value is True
    assert metrics(group) == {
        ("", "test/elbo"): -24.5,
        ("", "test/log_px"): -24.0,
        ("", "test/kl"): 5.25,
        ("", "test/active_units"): 2,
    }
    assert [session.status for session in group.sessions] == [api_pb2.STATUS_SUCCESS]


def test_runs_of_a_grid_are_rows_each(tmp_path):
    for latent_dim in (2, 5):
        for seed in (0, 1):
            name = f"latent_dim={latent_dim},seed={seed}"
            hparams.write(tmp_path / name, config(latent_dim=latent_dim, seed=seed), RESULTS)
    groups = session_groups(tmp_path)
    pairs = [(group.hparams["latent_dim"].number_value, group.hparams["seed"].number_value) for group in groups]
    assert sorted(pairs) == [(2, 0), (2, 1), (5, 0), (5, 1)]
    assert all(len(group.sessions) == 1 for group in groups)


def test_a_run_that_ends_again_is_one_row_with_its_last_figures(tmp_path):
    hparams.write(tmp_path / "run", config(), RESULTS)
    hparams.write(tmp_path / "run", config(), RESULTS)
    longer = {**RESULTS, "test": {"elbo": -23.0}, "train": {"steps": 440}}
    hparams.write(tmp_path / "run", config(epochs=4), longer)
    [group] = session_groups(tmp_path)
    assert group.hparams["epochs"].number_value == 4
    assert metrics(group) == {("", "test/elbo"): -23.0}
    [metric] = group.metric_values
    assert metric.training_step == 440


@pytest.mark.slow
@pytest.mark.usefixtures("without_xla")
def test_a_real_run_is_one_row_also_where_its_end_comes_twice(tmp_path):
    trainer = make_trainer(tmp_path, epochs=1)
    results = trainer.train()
    (tmp_path / "run" / "results.json").unlink()  # as a kill before it was written leaves the run
    trainer.finish()
    [group] = session_groups(tmp_path)
    assert metrics(group)[("", "test/elbo")] == pytest.approx(results["test"]["elbo"])
    assert {tag for _, tag in metrics(group)} <= {f"test/{name}" for name in results["test"]}


def test_a_repeated_run_in_another_place_is_the_same_trial(tmp_path):
    for name in ("a", "b"):
        hparams.write(tmp_path / name, dataclasses.replace(config(), run_dir=name), RESULTS)
    [group] = session_groups(tmp_path)
    assert len(group.sessions) == 2
