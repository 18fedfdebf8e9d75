"""Each latent's KL through a training: its rows, through restarts, and the picture that is drawn of them."""

import matplotlib
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
from test_monitor import read_events
from trainers import CONFIG, EPOCH, make_dataset, make_trainer

from tfvae.config import Config
from tfvae.core.distributions import NormalMixture
from tfvae.core.inputs import to_unit
from tfvae.training import latent_watch
from tfvae.training.latent_watch import LatentWatch, normal_with_moments, rows_interval
from tfvae.training.run_pictures import RatePath, draw, kl_per_latent


def kl_by_quadrature(mean, log_variance):
    """KL(N(mean, exp(log_variance)) || N(0, 1))."""
    q, p = scipy.stats.norm(mean, np.exp(log_variance / 2)), scipy.stats.norm()
    reach = (mean - 12 * q.std(), mean + 12 * q.std())
    return scipy.integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), *reach)[0]


def test_a_row_is_the_mean_over_the_images_of_each_latents_kl(tmp_path):
    split = make_dataset(validation=7).validation
    images = split.array
    vae = make_trainer(tmp_path).state.vae
    for variable in vae.trainable_variables:  # else each log-variance is 0
        variable.assign(np.random.default_rng(2).normal(0, 0.5, variable.shape))
    watch = LatentWatch(tmp_path, CONFIG, vae, split, block_size=3, step=0)  # the last block is short
    measured = watch.measure(1, EPOCH)
    q = vae.encode(to_unit(images))
    expected = [
        np.mean([kl_by_quadrature(*pair) for pair in zip(mean, log_variance)])
        for mean, log_variance in zip(q.mean.numpy().T, q.log_variance.numpy().T)
    ]
    np.testing.assert_allclose(measured, expected, rtol=1e-4)
    [row] = latent_watch.read(tmp_path, EPOCH).kl
    np.testing.assert_allclose(row, expected, rtol=1e-4)


def test_a_mixture_has_the_moments_of_its_draws():
    generator = np.random.default_rng(0)
    logits, means, log_variances = (generator.normal(size=shape).astype("f") for shape in ((3,), (3, 2), (3, 2)))
    normal = normal_with_moments(NormalMixture(*map(tf.constant, (logits, means, log_variances))))
    weights = np.exp(logits) / np.exp(logits).sum()
    component = generator.choice(3, 400_000, p=weights / weights.sum())
    draws = means[component] + np.exp(log_variances[component] / 2) * generator.normal(size=(400_000, 2))
    np.testing.assert_allclose(normal.mean, draws.mean(0), atol=0.02)
    np.testing.assert_allclose(np.exp(normal.log_variance), draws.var(0), rtol=0.02)


def test_a_run_has_a_row_for_each_validation_and_goes_on_with_them(tmp_path):
    make_trainer(tmp_path).train()
    run_dir = tmp_path / "run"
    first = latent_watch.read(run_dir, 3 * EPOCH)
    assert list(first.epochs) == [1, 2, 3] and first.kl.shape == (3, 2)
    with open(run_dir / latent_watch.FILE_NAME, "a") as file:
        file.write(
            "4,48,0.5,0.5\n5,6"
        )  # of a process that was killed after its last checkpoint, in the middle of a row
    made = make_trainer(tmp_path, epochs=5)
    made.train()
    rows = latent_watch.read(run_dir, 5 * EPOCH)
    assert list(rows.epochs) == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(rows.kl[:3], first.kl)
    assert list(latent_watch.read(run_dir, 2 * EPOCH).epochs) == [1, 2]
    events = read_events(run_dir, "validation")["latents/kl"]
    assert [step for step, _ in events] == [EPOCH * epoch for epoch in (1, 2, 3, 4, 5)]
    for (_, buckets), kl in zip(events, rows.kl):  # [buckets, 3]: left, right, count
        assert buckets[:, 2].sum() == 2
        np.testing.assert_allclose((buckets[0, 0], buckets[-1, 1]), (kl.min(), kl.max()), rtol=1e-4)
    q = made.state.vae.encode(to_unit(make_dataset().validation.array))  # the last row is of the last weights
    np.testing.assert_allclose(rows.kl[-1], q.kl_per_latent(made.state.vae.prior).numpy().mean(0), rtol=1e-3)
    names = [name for name, _ in draw(run_dir, True, 5 * EPOCH)]
    assert names == ["rate_distortion", "kl_per_latent"] and not list(draw(run_dir, False, 5 * EPOCH))


def test_a_run_without_validation_images_has_no_rows(tmp_path):
    made = make_trainer(tmp_path, make_dataset(validation=0), epochs=1)
    made.train()
    assert latent_watch.read(tmp_path / "run", EPOCH) is None
    assert not list(draw(tmp_path / "run", True, EPOCH))


@pytest.mark.parametrize(
    ("epochs", "validate_every", "interval"), [(3, None, 1), (200, 1, 1), (696, None, 4), (1_000, 1, 5), (900, 2, 6)]
)
def test_there_are_at_most_200_rows(epochs, validate_every, interval):
    config = Config(dataset="digits", epochs=epochs, validate_every=validate_every)
    assert rows_interval(config) == interval
    assert interval % config.epochs_a_validation == 0 and epochs / interval <= 200


def test_many_latents_have_the_first_512_columns(tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "figure.constrained_layout.use", True)  # of which it must not warn
    vae = make_trainer(tmp_path, latent_dim=600).state.vae
    config = Config(dataset="digits", latent_dim=600, epochs=3)
    watch = LatentWatch(tmp_path, config, vae, make_dataset().validation, 256, 0)
    assert watch.measure(1, EPOCH).shape == (512,)
    picture = kl_per_latent(latent_watch.read(tmp_path, EPOCH))
    assert picture.shape == (480, 660, 3) and picture.std() > 0


def test_the_heat_map_has_the_latent_with_the_largest_last_kl_on_top():
    kl = np.array([[3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 3.0]])  # three validations, three latents
    picture = kl_per_latent(latent_watch.KlHistory(np.array([1, 2, 3]), kl)).astype(int).sum(axis=-1)
    # the middles of the cells of the axes at (0.11, 0.11, 0.74, 0.8) of 660 x 480
    rows = [round(480 * (0.09 + 0.8 * (i + 0.5) / 3)) for i in range(3)]
    columns = [round(660 * (0.11 + 0.74 * (i + 0.5) / 3)) for i in range(3)]
    bright = np.array([[picture[row, column] > 500 for column in columns] for row in rows])
    np.testing.assert_array_equal(bright, [[False, False, True], [True, True, False], [False, False, False]])


def test_the_path_is_that_of_the_validations(tmp_path):
    make_trainer(tmp_path).train()
    path = RatePath.read(tmp_path / "run", 2 * EPOCH)
    from tfvae.training import history

    columns = history.read(tmp_path / "run")
    assert list(path.epochs) == [1, 2]
    np.testing.assert_allclose(path.rate, columns["val_kl"][:2])
    np.testing.assert_allclose(-path.distortion - path.rate, columns["val_elbo"][:2], rtol=1e-6)
