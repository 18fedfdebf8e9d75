"""A VAE under Keras's own `compile` and `fit`: beside our loop, with callbacks, saved and loaded."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.making import make_vae
from tfvae.errors import InputError
from tfvae.training.feeds import epoch_order
from tfvae.training.state import create_state
from tfvae.training.step import TrainProgram, mean_of_parts

IMAGES = np.random.default_rng(0).integers(0, 256, (250, 6, 5, 1), dtype=np.uint8)
DENSE = {"dataset": "digits", "hidden_units": (8,), "batch_size": 25, "epochs": 10, "seed": 4}
SETTINGS = {**DENSE, "network": "conv", "filters": (4,)}  # for which nobody waits until XLA has compiled them
STEPS = 100
TERMS = ("loss", "elbo", "log_likelihood", "kl")


def ordered_images(config):
    """The images in the order in which our loop takes them, batch by batch."""
    return IMAGES[np.concatenate([epoch_order(config.seed, epoch, len(IMAGES)) for epoch in range(config.epochs)])]


def new(**settings):
    config = Config(**{**SETTINGS, **settings})
    return config, make_vae(config, (6, 5, 1))


def fitted(images, epochs=1, callbacks=None, validation=None, **settings):
    _, vae = new()
    vae.compile("adam", **settings)
    history = vae.fit(
        images, batch_size=25, epochs=epochs, verbose=0, callbacks=callbacks, validation_data=validation, shuffle=False
    )
    return vae, history.history


ALIKE = {
    "conv": {"network": "conv", "binarize": "stochastic"},
    "importance-weighted, stochastic pixels": {"objective": "iwae", "num_samples": 5, "binarize": "stochastic"},
    "elbo": {},
    "gaussian": {"likelihood": "gaussian", "sigma": "learned", "dequantize": True, "posterior": "full"},
    "optimal deviation": {"likelihood": "gaussian", "sigma": "optimal", "num_samples": 2, "binarize": "stochastic"},
    "sampled kl": {"kl": "monte_carlo", "beta": 0.5, "prior": "mixture", "binarize": "threshold"},
    "leave one out": {"estimator": "score_function", "num_samples": 3, "baseline": "leave_one_out"},
}
TIERS = {  # nightly: other settings on the same path
    "importance-weighted, stochastic pixels": pytest.mark.slow,
    "elbo": pytest.mark.slow,
    "gaussian": pytest.mark.nightly,
    "optimal deviation": pytest.mark.slow,
    "sampled kl": pytest.mark.nightly,
    "leave one out": pytest.mark.nightly,
}


@pytest.mark.parametrize(
    "settings", [pytest.param(settings, id=name, marks=TIERS.get(name, ())) for name, settings in ALIKE.items()]
)
def test_fit_makes_the_steps_of_our_loop(settings, tmp_path):
    """100 steps of whole batches in the same order; halfway the model is saved, loaded, and goes on."""
    config, vae = new(**{"network": "mlp", **settings})
    images = IMAGES
    if config.binarize == "threshold":  # our loop's images are so already
        images = np.where(IMAGES > 127, np.uint8(255), np.uint8(0))
    state = create_state(config, (6, 5, 1), len(IMAGES))
    means = mean_of_parts(TrainProgram(state, config, images).run(0, STEPS)[0])
    first, second = np.split(ordered_images(config), 2)
    vae.compile("adam")
    logs = vae.fit(first, batch_size=25, shuffle=False, verbose=0).history
    vae.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert loaded.optimizer.iterations.numpy() == STEPS // 2
    later_logs = loaded.fit(second, batch_size=25, shuffle=False, verbose=0).history
    for ours, theirs in zip(loaded.variables, state.vae.variables):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=ours.path)
    for name, mean in means.items():
        np.testing.assert_allclose((logs[name][0] + later_logs[name][0]) / 2, mean, rtol=1e-4)


def test_logs_are_means_over_images_and_a_short_batch_counts():
    _, vae = new()
    vae.compile("adam")
    # batches of 200 and 50: of NumPy's noise, densities written out
    logs = vae.evaluate(IMAGES, batch_size=200, verbose=0, return_dict=True)
    assert list(sorted(logs)) == sorted(TERMS)
    x = IMAGES / 255
    q = vae.encode(IMAGES)
    epsilon = np.random.default_rng(0).normal(size=(400, 250, 2))
    logits = vae.decode(q.mean.numpy() + np.exp(q.log_variance / 2) * epsilon).logits.numpy().astype(np.float64)
    log_likelihood = np.sum(logits * x - np.logaddexp(0, logits), axis=(2, 3, 4))
    kl = np.sum(np.square(q.mean) + np.exp(q.log_variance) - 1 - q.log_variance, axis=-1) / 2
    np.testing.assert_allclose(logs["kl"], kl.mean(), rtol=1e-4)
    error = log_likelihood.std(axis=0).mean() / 250**0.5
    assert abs(logs["log_likelihood"] - log_likelihood.mean()) < 5 * error
    np.testing.assert_allclose(logs["elbo"], logs["log_likelihood"] - logs["kl"], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], -logs["elbo"], rtol=1e-6)


@pytest.mark.slow
def test_a_run_repeats_and_so_does_an_evaluation():
    first, history = fitted(IMAGES[:100], epochs=2, validation=(IMAGES[100:150],))
    second, again = fitted(IMAGES[:100], epochs=2, validation=IMAGES[100:150])
    assert history == again
    assert history.keys() == {*TERMS, *(f"val_{name}" for name in TERMS)}
    for ours, theirs in zip(first.variables, second.variables):
        np.testing.assert_array_equal(ours, theirs)
    logs = [first.evaluate(IMAGES[100:150], batch_size=25, verbose=0, return_dict=True) for _ in range(2)]
    assert logs[0] == logs[1]
    assert logs[0]["elbo"] == history["val_elbo"][-1]  # validation's noise is that of any evaluation


@pytest.mark.parametrize(
    ("monitor", "mode"), [pytest.param("val_loss", "auto", marks=pytest.mark.slow), ("val_elbo", "max")]
)
def test_callbacks_stop_and_save_the_best(monitor, mode, tmp_path):
    """The step size grows, so that the objective has a best epoch."""
    path = tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: [1e-3, 1e-3, 10.0, 10.0, 10.0, 10.0][epoch]),
        keras.callbacks.EarlyStopping(monitor=monitor, mode=mode, patience=2),
        keras.callbacks.ModelCheckpoint(path, monitor=monitor, mode=mode, save_best_only=True),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
    ]
    validation = IMAGES[200:]
    _, history = fitted(IMAGES[:200], epochs=6, callbacks=callbacks, validation=(validation,))
    elbos = history["val_elbo"]
    best = int(np.argmax(elbos))
    assert len(elbos) == best + 3 < 6
    loaded = keras.saving.load_model(path)
    np.testing.assert_allclose(
        loaded.evaluate(validation, batch_size=25, verbose=0, return_dict=True)["elbo"], elbos[best], rtol=1e-6
    )
    events = list((tmp_path / "logs" / "validation").glob("events*"))
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(events[0])) for value in event.summary.value}
    assert {"epoch_elbo", "epoch_kl", "epoch_loss"} <= tags


@pytest.mark.slow
def test_images_of_any_form_train_alike():
    ones = (IMAGES[:50] > 127).astype(np.uint8)
    variables = []
    for images in (
        ones * np.uint8(255),
        ones.astype(np.float64),
        ones * 255.0,
        (ones * 255).tolist(),
        tf.constant(ones * 255),
    ):
        variables.append(fitted(images, run_eagerly=True)[0].variables)
    variables.append(
        fitted(tf.data.Dataset.from_tensor_slices(ones * np.uint8(255)).batch(25), run_eagerly=True)[0].variables
    )
    config = Config(**SETTINGS)
    vae = make_vae(config, (6, 5, 1), white=1)
    vae.compile("adam", run_eagerly=True)
    vae.fit(ones, batch_size=25, verbose=0, shuffle=False, validation_data=ones)
    variables.append(vae.variables)
    for others in variables[1:]:
        for ours, theirs in zip(variables[0], others):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_predict_is_the_reconstruction():
    _, vae = new()
    predicted = vae.predict(IMAGES, batch_size=100, verbose=0)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, vae(IMAGES), atol=1e-6)


def test_a_vae_has_its_configs_objective_and_compile_changes_it():
    config, vae = new(objective="iwae", num_samples=5)
    vae.compile("sgd")
    assert (vae.training_config.objective, vae.training_config.num_samples) == ("iwae", 5)
    vae.compile("sgd", num_samples=7)
    again = type(vae).from_config(vae.get_config())
    assert again.objective["objective"] == "iwae" and again.objective["num_samples"] == 7
    assert again.get_config() == vae.get_config()


REFUSED = {
    "loss": (lambda vae: vae.compile("adam", "mse"), r"^loss: must not be given: .* compile\(optimizer, objective="),
    "metrics": (lambda vae: vae.compile("adam", metrics=["mae"]), "^metrics: must not be given"),
    "jit": (lambda vae: vae.compile("adam", jit_compile=True), "^jit_compile: must not be given"),
    "an objective": (lambda vae: vae.compile("adam", objective="vae"), "objective='vae': must be one of 'elbo'"),
    "settings that don't go together": (
        lambda vae: vae.compile(objective="iwae", beta=2.0),
        "beta=2.0: must not",
    ),
    "y": (lambda vae: vae.fit(IMAGES, IMAGES), r"^y: must not be given: .* vae\.fit\(x\)"),
    "weights": (lambda vae: vae.fit(IMAGES, sample_weight=np.ones(250)), "^sample_weight: must not be given"),
    "y in evaluate": (lambda vae: vae.evaluate(IMAGES, IMAGES), "^y: must not be given"),
    "validation pairs": (lambda vae: vae.fit(IMAGES, validation_data=(IMAGES, IMAGES)), "^validation_data: must be"),
    "other validation": (
        lambda vae: vae.fit(IMAGES, validation_data=IMAGES[:, :3]),
        "^validation_data: must be images",
    ),
    "grey floats": (lambda vae: vae.fit(IMAGES * 1.5), r"^x: must be fractions in .* at \[\d+, \d, \d, 0\], is "),
    "predict": (lambda vae: vae.predict(IMAGES[0]), r"^x: .* is a single one: take x\[None\]"),
    "pairs": (
        lambda vae: vae.fit(tf.data.Dataset.from_tensor_slices((IMAGES, IMAGES)).batch(5)),
        "^x: must be a tf.data.Dataset of batches of images .* alone, and has",
    ),
    "no batches": (
        lambda vae: vae.fit(tf.data.Dataset.from_tensor_slices(IMAGES)),
        r"^x: must be a tf.data.Dataset of batches .* of the shape \(6, 5, 1\)",
    ),
    "a generator": (lambda vae: vae.fit(iter(IMAGES)), "^x: must be an array, and is a"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_vae_is_refused_in_a_line(call, message):
    _, vae = new()
    vae.compile("adam")
    before = vae.get_config()
    with pytest.raises(InputError, match=message) as info:
        call(vae)
    assert "\n" not in str(info.value)
    assert vae.get_config() == before
    assert vae.optimizer.iterations.numpy() == 0


def batches(images):
    return tf.data.Dataset.from_tensor_slices(images).batch(25)


WRONG_BATCHES = {
    "whole floats": (IMAGES.astype(np.float32), "a batch of float32 from 0 to 25[45]$"),
    "NaN": (np.full(IMAGES.shape, np.nan), "a batch of float64 from nan to nan$"),
    "above 255": (IMAGES.astype(int) + 1, "a batch of int64 from 1 to 256$"),
    "below 0": (IMAGES.astype(np.int8), "a batch of int8 from -128 to 127$"),
}


@pytest.mark.parametrize(("images", "message"), WRONG_BATCHES.values(), ids=WRONG_BATCHES)
def test_a_wrong_batch_of_a_dataset_is_refused_in_a_line(images, message):
    _, vae = new()
    vae.compile("adam", run_eagerly=True)
    calls = {
        "x": [
            lambda: vae.fit(batches(images), shuffle=False, verbose=0),
            lambda: vae.evaluate(batches(images), verbose=0),
        ],
        "validation_data": [lambda: vae.fit(IMAGES, validation_data=batches(images), batch_size=250, verbose=0)],
    }
    for name, called in calls.items():
        for call in called:
            with pytest.raises(InputError, match=f"^{name}: must be fractions in .* {message}") as info:
                call()
            assert "\n" not in str(info.value)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float64])
def test_batches_of_zeros_and_ones_of_any_type_are_taken(dtype):
    vae = make_vae(Config(**SETTINGS), (6, 5, 1), white=1)
    ones = (IMAGES > 127).astype(dtype)
    np.testing.assert_array_equal(vae.predict(batches(ones), verbose=0), vae.predict(ones, batch_size=25, verbose=0))


def test_an_optimizer_that_keras_refuses_leaves_the_objective():
    _, vae = new()
    vae.compile("adam")
    before, training_config = vae.get_config(), vae.training_config
    with pytest.raises(ValueError, match="optimizer"):
        vae.compile("no optimizer", objective="iwae", num_samples=5)
    assert vae.get_config() == before
    assert vae.training_config == training_config


def test_a_strategy_is_refused_and_named_the_way():
    _, vae = new()
    with (
        tf.distribute.MirroredStrategy(["CPU:0"]).scope(),
        pytest.raises(InputError, match=r"^strategy: must be none here: tfvae\.fit\("),
    ):
        vae.compile("adam")


def test_variables_of_a_vae_are_the_same_compiled_or_not():
    """A checkpoint has them all, by name."""
    _, vae = new()
    before = [v.path for v in vae.variables]
    vae.compile("adam")
    assert [v.path for v in vae.variables] == before
