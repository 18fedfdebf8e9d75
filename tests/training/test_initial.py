"""A run that starts from another run's weights, in this process: `--init_from`, `--init_part`, `--init_checksum`."""

import dataclasses
import shutil

import models
import numpy as np
import pytest
from runs import SMALL, final_state, results, train, tree
from trainers import CONFIG, draw_pictures, make_dataset, values_of

import tfvae
from tfvae.config import Config
from tfvae.config.flagfile import FILE_NAME, read_config, to_flagfile
from tfvae.config.run_name import run_name
from tfvae.core.columns import Columns
from tfvae.core.making import make_vae
from tfvae.data import dataset as data
from tfvae.data.splits import Dataset, Split
from tfvae.errors import InputError
from tfvae.training import checkpoints, initial
from tfvae.training.notes import Notes
from tfvae.training.state import create_state
from tfvae.training.strategy import one_device
from tfvae.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("cheap_runs")

DATASET = make_dataset()
DARKER = dataclasses.replace(DATASET, train=Split(DATASET.train.images // 4, None))
SIGMA = {"likelihood": "gaussian", "sigma": "learned"}
SIGMA_OF_SOURCE = 0.2
PREFIXES = {"all": "vae/", "encoder": "vae/encoder/", "decoder": "vae/decoder/"}


def save_run(folder, seed=0, images=DATASET, values=None, start_stddev=SIGMA_OF_SOURCE, **settings):
    """A run directory with one checkpoint, of these values, or of random ones; returns the VAE."""
    config = dataclasses.replace(CONFIG, **settings)
    start_stddev = start_stddev if config.learns_sigma else None
    count = len(images.train.images)
    state = create_state(config, images.image_shape, count, images.white, start_stddev, *images.of_model)
    generator = np.random.default_rng(seed)
    for variable in state.vae.variables:
        given = (values or {}).get(variable.path)
        random = generator.normal(0, 0.3, variable.shape)
        variable.assign(random if given is None else np.reshape(given, variable.shape))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_text(to_flagfile(config))
    notes = Notes.of(images, start_stddev)._replace(step=7)
    checkpoints.save(folder, state.variables(), 7, notes._asdict())
    return state.vae


def start_from(source, folder, dataset=DATASET, **settings):
    """The trainer of a run in `<folder>/run` that starts from this one, before its first step."""
    config = dataclasses.replace(CONFIG, init_from=str(source), run_dir=str(folder / "run"), **settings)
    initial.check_early(config)
    config, weights = initial.read(config)
    weights.require_architecture(config, dataset)
    return Trainer(config, dataset, folder / "run", one_device(), draw_pictures, lambda *_: folder, weights)


@pytest.mark.parametrize("part", PREFIXES)
@pytest.mark.parametrize("settings", [{"prior": "mixture", "posterior": "full"}, SIGMA], ids=str)
def test_the_part_is_the_source_s_and_all_else_is_the_seed_s(tmp_path, part, settings):
    there = values_of(save_run(tmp_path / "a", **settings))
    trainer = start_from(tmp_path / "a", tmp_path, init_part=part, optimizer="sgd", batch_size=5, **settings)
    here = values_of(trainer.state.vae)
    of_seed = values_of(make_vae(trainer.config, DATASET.image_shape, start_stddev=trainer.notes.start_stddev))
    assert here.keys() == there.keys() == of_seed.keys()
    for name, value in here.items():
        if not name.endswith("log_variance_change"):  # which counts in another pace
            expected = there if name.startswith(PREFIXES[part]) else of_seed
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert trainer.step == 0 and int(trainer.state.step) == 0
    assert [v.numpy() for v in trainer.state.optimizer.variables][0] == 0  # its iteration


@pytest.mark.parametrize("sigma", ["learned", "per_pixel", "of_z", "optimal"])
@pytest.mark.parametrize("start_stddev", [SIGMA_OF_SOURCE, None], ids=["", "older run"])
def test_a_deviation_is_the_source_s_at_another_learning_rate_and_on_darker_images(tmp_path, sigma, start_stddev):
    settings = {"likelihood": "gaussian", "sigma": sigma}
    vae = save_run(tmp_path / "a", start_stddev=start_stddev, **settings)
    z = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    for learning_rate in (1e-3, 1e-4, 0.1):
        trainer = start_from(tmp_path / "a", tmp_path, DARKER, learning_rate=learning_rate, **settings)
        here, there = (of.decode(z).log_variance.numpy() for of in (trainer.state.vae, vae))
        np.testing.assert_allclose(here, there, rtol=1e-6)
    alone = start_from(tmp_path / "a", tmp_path, DARKER, init_part="encoder", **settings)
    stddev = DARKER.train.images.std() / 255
    np.testing.assert_allclose(alone.notes.start_stddev, stddev, rtol=1e-3)


def test_a_linear_model_s_figure_is_the_exact_one(tmp_path):
    """The source has the exact posterior of a linear-Gaussian model, and a step moves nothing: the ELBO is log p(x)."""
    x = np.tile(models.X, (20, 1)) + np.random.default_rng(0).normal(size=(120, models.D))
    linear = {"network": "mlp", "hidden_units": (), "likelihood": "gaussian", "sigma": models.SIGMA}
    to_mean = models.W / models.SIGMA**2 * models.POSTERIOR_VARIANCE
    values = {
        "vae/encoder/head/mean_kernel": to_mean,
        "vae/encoder/head/mean_bias": -models.OFFSET @ to_mean,
        "vae/encoder/head/log_variance_kernel": np.zeros((models.D, 2)),
        "vae/encoder/head/log_variance_bias": np.log(models.POSTERIOR_VARIANCE),
        "vae/decoder/pixels/kernel": models.W.T,
        "vae/decoder/pixels/bias": models.OFFSET,
    }
    rows = Split(x.astype(np.float32)[:, None, None, :], None)
    names = tuple(str(number) for number in range(models.D))
    columns = Columns(names, (0.0,) * models.D, (1.0,) * models.D)
    save_run(tmp_path / "a", images=Dataset(rows, rows, rows, columns=columns), values=values, scale="none", **linear)
    config = Config(
        **linear, scale="none", init_from=tmp_path / "a", run_dir=tmp_path / "b", export_dir=tmp_path / "export",
        epochs=1, batch_size=16, learning_rate=1e-12, eval_samples=5, kl="monte_carlo",
    )  # fmt: skip
    test = x[:30]
    exact = models.scipy.stats.multivariate_normal(models.OFFSET, models.COVARIANCE).logpdf(test).mean()
    run = tfvae.fit(config, x, test=test)
    np.testing.assert_allclose(run.results["test"]["elbo"], exact, rtol=1e-5)
    np.testing.assert_allclose(run.results["test"]["log_px"], exact, rtol=1e-5)


# What is refused, before anything is written.


def table(names, scale=1.0):
    columns = Columns(names, (0.0,) * len(names), (scale,) * len(names))
    rows = Split(np.random.default_rng(0).normal(size=(60, 1, 1, len(names))).astype(np.float32), None)
    return Dataset(rows, rows, rows, columns=columns)


def test_other_images_are_refused_by_the_weight_that_does_not_fit(tmp_path):
    save_run(tmp_path / "a")
    wider = Split(np.zeros((50, 6, 9, 1), np.uint8), None)
    with pytest.raises(InputError) as error:
        start_from(tmp_path / "a", tmp_path, Dataset(wider, wider, wider))
    message = error.value.for_command_line
    assert message.startswith(
        "--dataset=digits: must have images of the shape [6, 5, 1], as those of the run of --init"
    )
    assert "has [6, 9, 1]: vae/encoder/hidden_0/kernel has the shape [18, 4] there, [30, 4] here" in message
    assert not (tmp_path / "run").exists()
    save_run(tmp_path / "narrow", images=Dataset(*[Split(np.zeros((50, 6, 6, 1), np.uint8), None)] * 3))
    start_from(tmp_path / "narrow", tmp_path)  # convolutions halve 6 and 5 columns to 3


TABLE = {"network": "mlp", "hidden_units": (), "scale": "standardize", **SIGMA}


def test_weights_work_in_the_network_s_units_whatever_the_scales_of_a_table_are(tmp_path):
    save_run(tmp_path / "a", images=table(("x", "y"), scale=3.0), **TABLE)
    trainer = start_from(tmp_path / "a", tmp_path, table(("x", "y"), scale=5.0), **TABLE)
    assert trainer.state.vae.encoder.columns.scale == (5.0, 5.0)
    features = np.ones((1, 1, 1, 2), np.float32)
    source = checkpoints.load_run(tmp_path / "a").vae
    np.testing.assert_array_equal(
        source.encode(features[0, 0] * 3).mean, trainer.state.vae.encode(features[0, 0] * 5).mean
    )


@pytest.mark.parametrize(
    ("dataset", "settings", "words"),
    [
        (table(("y", "x")), {}, "in their order: number 0 (from 0) is x there, y here"),
        (table(("x", "y", "z")), {}, "in their order: number 2 (from 0) is no column there, z here"),
        (DATASET, {"scale": "none"}, "--dataset=digits: must have vectors, as the run of --init_from="),
        (table(("x", "y")), {"scale": "unit"}, "--scale=unit: must be standardize, as of the run of --init_from="),
    ],
)
def test_another_table_is_refused(tmp_path, dataset, settings, words):
    save_run(tmp_path / "a", images=table(("x", "y")), **TABLE)
    with pytest.raises(InputError) as error:
        start_from(tmp_path / "a", tmp_path, dataset, **{**TABLE, **settings})
    assert words in error.value.for_command_line and "\n" not in str(error.value)


def test_another_architecture_is_refused_in_the_words_of_the_command_line_and_of_python(tmp_path):
    save_run(tmp_path / "a")
    with pytest.raises(InputError) as error:
        start_from(tmp_path / "a", tmp_path, hidden_units=(4, 3))
    source = tmp_path / "a"
    assert error.value.for_command_line == (
        f"--hidden_units=4,3: must be 4, as of the run of --init_from={source}: the weights are made for it; "
        f"--flagfile={source}/config.flags takes all settings from there"
    )
    assert str(error.value) == (
        f"hidden_units=(4, 3): must be (4,), as of the run of init_from={source}: the weights are made for it; "
        f"tfvae.load('{source}').config has all its settings"
    )
    with pytest.raises(InputError, match="the encoder's weights are made for it"):
        start_from(tmp_path / "a", tmp_path, hidden_units=(4, 3), init_part="encoder")
    start_from(tmp_path / "a", tmp_path, hidden_units=(4, 3), init_part="decoder")  # that of convolutions has none
    start_from(tmp_path / "a", tmp_path, posterior="full", init_part="decoder")
    start_from(tmp_path / "a", tmp_path, likelihood="gaussian", sigma=0.3, init_part="encoder")


def test_what_is_no_run_with_a_checkpoint_that_can_be_read_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="init_from=.*nowhere: must be the directory of a run, and has no config.flags"
    ):
        start_from(tmp_path / "nowhere", tmp_path)
    save_run(tmp_path / "a")
    (tmp_path / "a" / "checkpoints" / "7" / "variables.json").write_text("{")
    with pytest.raises(InputError, match="init_from=.*: must have a checkpoint that can be read: none of the"):
        start_from(tmp_path / "a", tmp_path)
    shutil.rmtree(tmp_path / "a" / "checkpoints")
    with pytest.raises(InputError, match="init_from=.*: must be the directory of a run that has a checkpoint"):
        start_from(tmp_path / "a", tmp_path)


def test_a_run_is_named_by_the_weights_too(tmp_path):
    names = set()
    for source in ("a", "b"):
        save_run(tmp_path / source, seed=ord(source))
        for part in PREFIXES:
            config = dataclasses.replace(CONFIG, init_from=str(tmp_path / source), init_part=part)
            names.add(run_name(initial.read(config)[0]))
    shutil.copytree(tmp_path / "b", tmp_path / "moved")
    names.add(run_name(initial.read(dataclasses.replace(CONFIG, init_from=str(tmp_path / "moved")))[0]))
    names.add(run_name(CONFIG))
    assert len(names) == 2 * 3 + 1


# Whole runs on the digits.

SETTINGS = {"epochs": 3, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def digits():
    return data.load(Config(**SMALL).as_usual())


@pytest.fixture
def source(tmp_path, digits):
    """The directory of a run on the digits, for one test to do with as it likes."""
    return save_digits_run(tmp_path / "source", digits, 0)


def save_digits_run(folder, digits, seed):
    save_run(folder, seed, digits, network="mlp", **SMALL)
    return folder


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, cheap_runs, digits):
    """The folder of a run that nothing stops, and its results."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train(folder, init_from=save_digits_run(folder / "source", digits, 0), **SETTINGS)


def assert_same_end(folder, unbroken):
    assert final_state(folder) == final_state(unbroken[0])
    assert results(folder / "run")["test"] == unbroken[1]["test"]


def end_before_the_first_checkpoint(folder, monkeypatch, **settings):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_chunk", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(folder, **settings)
    assert not checkpoints.steps(folder / "run")


def test_results_say_from_which_weights_a_run_started(unbroken):
    folder, of_training = unbroken
    recorded = read_config(folder / "run")
    words = f"the weights of {folder / 'source'}, step 7, trained on digits (checksum {recorded.init_checksum})"
    assert of_training["of"]["initial_weights"] == words
    assert recorded.init_from == str(folder / "source") and recorded.init_part == "all"
    evaluated = tfvae.load(folder / "run").evaluate()
    assert evaluated["of"]["initial_weights"] == words and evaluated["test"] == of_training["test"]


@pytest.mark.nightly
def test_the_source_may_move_but_not_be_exchanged(tmp_path, source, digits, unbroken):
    train(tmp_path, init_from=source, **{**SETTINGS, "epochs": 2})
    other = save_digits_run(tmp_path / "other", digits, 1)
    before = tree(tmp_path / "run")
    with pytest.raises(InputError) as error:
        train(tmp_path, init_from=other, **SETTINGS)
    checksum = read_config(tmp_path / "run").init_checksum
    there = f"must have the weights of --init_checksum={checksum}, and those of its step 7 have the checksum "
    way = f"; {tmp_path / 'run'} was started from these: name the directory that has them, or another --run_dir"
    assert there in error.value.for_command_line and error.value.for_command_line.endswith(way)
    with pytest.raises(InputError, match="init_part='encoder' .there: 'all'."):
        train(tmp_path, init_from=source, init_part="encoder", **SETTINGS)
    assert tree(tmp_path / "run") == before
    moved = source.rename(tmp_path / "moved")
    train(tmp_path, init_from=moved, **SETTINGS)
    assert read_config(tmp_path / "run").init_from == str(moved)
    assert_same_end(tmp_path, unbroken)


def test_the_source_is_needed_until_the_first_checkpoint(tmp_path, source, unbroken, monkeypatch, capfd):
    end_before_the_first_checkpoint(tmp_path, monkeypatch, init_from=source, **{**SETTINGS, "epochs": 2})
    moved = source.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="init_from=.*source: must be the directory of a run"):
        train(tmp_path, **SETTINGS)
    train(tmp_path, init_from=moved, **{**SETTINGS, "epochs": 2})
    assert f"{tmp_path / 'run'}: starts from the weights of {moved}, step 7, trained on" in capfd.readouterr().out
    shutil.rmtree(moved)
    train(tmp_path, **SETTINGS)  # it need not be told again either
    assert_same_end(tmp_path, unbroken)


def test_a_source_that_went_on_is_refused_by_a_run_without_a_checkpoint(tmp_path, source, digits, monkeypatch):
    end_before_the_first_checkpoint(tmp_path, monkeypatch, init_from=source, **SETTINGS)
    save_digits_run(source, digits, 1)
    for again in ({}, {"init_from": source}):
        with pytest.raises(InputError, match="those of its step 7 have the checksum"):
            train(tmp_path, **SETTINGS, **again)


def test_a_run_that_was_started_without_it_refuses_it(tmp_path, source):
    config = Config(**SMALL, run_dir=tmp_path / "run", export_dir=tmp_path / "export").as_usual()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE_NAME).write_text(to_flagfile(config))
    before = tree(tmp_path / "run")
    with pytest.raises(InputError, match="init_from=.*: must be given with another run_dir: .* was started without it"):
        train(tmp_path, init_from=source)
    assert tree(tmp_path / "run") == before


def test_a_repetition_refuses_weights_of_another_checksum(tmp_path, source):
    with pytest.raises(InputError, match="the weights of init_checksum=0123abcd, .* init_checksum=auto takes these"):
        train(tmp_path, init_from=source, init_checksum="0123abcd")
    assert not (tmp_path / "run").exists()
