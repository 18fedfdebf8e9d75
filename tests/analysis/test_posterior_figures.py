"""The aggregate posterior beside the prior: what is drawn, read from Matplotlib's figure."""

import matplotlib
import numpy as np
import pytest
import scipy.stats

from tfvae.analysis import latents, posterior_figures
from tfvae.core.distributions import DiagonalNormal, NormalMixture

PRIOR = NormalMixture(
    np.log(np.array([0.25, 0.75], np.float32)),
    np.array([[-1.0, 0.0, 2.0], [1.0, 0.5, 0.0]], np.float32),
    np.log(np.array([[0.5, 1.0, 0.1], [1.0, 2.0, 1.0]], np.float32)),
)


@pytest.fixture
def drawn(monkeypatch):
    """The Matplotlib figures that were drawn."""
    canvases = []
    rasterized = posterior_figures.rasterized
    monkeypatch.setattr(posterior_figures, "rasterized", lambda canvas: canvases.append(canvas) or rasterized(canvas))
    return canvases


def test_the_dots_are_the_draws_and_the_lines_the_priors_densities(drawn):
    z = np.random.default_rng(0).normal(size=(3_000, 3)).astype("f")
    picture = posterior_figures.aggregate_posterior(z, np.array([2, 0, 1]), PRIOR, "a title")
    assert picture.shape == (480, 900, 3)
    plane, *marginals = drawn[0].figure.axes
    assert (plane.get_xlabel(), plane.get_ylabel()) == ("z[2]", "z[0]")
    np.testing.assert_array_equal(plane.collections[0].get_offsets(), z[:, [2, 0]])
    assert [axes.get_ylabel() for axes in marginals] == ["z[2]", "z[0]", "z[1]"]
    for axes, latent in zip(marginals, (2, 0, 1)):
        points, density = axes.lines[0].get_data()
        stddevs = np.exp(np.asarray(PRIOR.log_variance) / 2)
        expected = sum(
            weight * scipy.stats.norm(PRIOR.mean[c][latent], stddevs[c][latent]).pdf(points)
            for c, weight in enumerate((0.25, 0.75))
        )
        np.testing.assert_allclose(density, expected, rtol=1e-5, atol=1e-9)
        steps = axes.patches[0].get_data()
        np.testing.assert_allclose((steps.values * np.diff(steps.edges)).sum(), 1, rtol=1e-6)


def test_contours_of_a_standard_prior_are_circles_of_one_two_and_three_deviations(drawn):
    prior = DiagonalNormal(np.zeros(2, np.float32), np.zeros(2, np.float32))
    mixture = NormalMixture(np.zeros(1, np.float32), prior.mean[None], prior.log_variance[None])
    posterior_figures.aggregate_posterior(np.zeros((10, 2), np.float32), np.array([0, 1]), mixture, "a title")
    contours = drawn[0].figure.axes[0].collections[-1]
    radii = [np.linalg.norm(path.vertices, axis=1) for path in contours.get_paths()]
    for radius, deviations in zip(radii, (3, 2, 1), strict=True):
        np.testing.assert_allclose(radius, deviations, rtol=0.02)


def test_a_single_latent_and_many_are_drawn(drawn, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "figure.constrained_layout.use", True)  # of which it must not warn
    for count in (1, 512):
        z = np.random.default_rng(0).normal(size=(50, count)).astype("f")
        prior = NormalMixture(*(np.zeros(shape, np.float32) for shape in ((1,), (1, count), (1, count))))
        picture = posterior_figures.aggregate_posterior(z, np.arange(count), prior, "a title")
        assert picture.shape == (480, 900, 3) and picture.std() > 0
    assert [len(canvas.figure.axes) for canvas in drawn] == [1, 5]
    assert drawn[0].figure.axes[0].get_position().height > 0.6  # the only histogram has the whole height


class Shifted:
    """A model whose q(z|x) is N(x, 4)."""

    def __init__(self):
        self.prior = self

    def as_mixture(self):
        return NormalMixture(*(np.zeros(shape, np.float32) for shape in ((1,), (1, 2), (1, 2))))

    def encode(self, x):
        mean = x[:, 0, 0]
        return DiagonalNormal(mean, np.log(4.0).astype("f") + 0 * mean)


def test_draws_are_of_each_images_own_posterior():
    x = np.random.default_rng(1).uniform(size=(4_000, 1, 1, 2)).astype("f")
    draws = latents.posterior_draws(Shifted(), x, seed=3)
    np.testing.assert_array_equal(draws.mean, x[:, 0, 0])
    errors = (draws.z - draws.mean) / 2
    assert scipy.stats.kstest(errors.ravel(), "norm").pvalue > 1e-3
    np.testing.assert_array_equal(draws.z, latents.posterior_draws(Shifted(), x, seed=3).z)
    assert not np.array_equal(draws.z, latents.posterior_draws(Shifted(), x, seed=4).z)
