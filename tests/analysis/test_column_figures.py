"""The pictures of vectors: what is written and drawn in them, read off Matplotlib's own objects."""

import numpy as np
import pytest
from sklearn.metrics import r2_score

from tfvae.analysis import column_figures

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)) * [1, 30, 0.01] + [0, -200, 5]
GUESS = X + RNG.normal(size=(50, 3)) * [0.1, 20, 0.001]
NAMES = ("radius", "area", "smoothness")


@pytest.fixture
def figure_of(monkeypatch):
    """Draws a picture and gives its Matplotlib figure."""
    rasterized, figures = column_figures.rasterized, []

    def keep(canvas):
        figures.append(canvas.figure)
        return rasterized(canvas)

    monkeypatch.setattr(column_figures, "rasterized", keep)

    def draw(function, *arguments):
        picture = function(*arguments)
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3
        assert (picture < 128).any()  # something is drawn
        return figures[-1]

    return draw


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_reconstructions_have_names_and_the_share_of_variance_explained(figure_of):
    holes = RNG.random(X.shape) < 0.2
    figure = figure_of(column_figures.reconstructions, np.where(holes, np.nan, X), GUESS, NAMES)
    shares = [r2_score(X[~hole, i], GUESS[~hole, i]) for i, hole in enumerate(holes.T)]
    assert titles(figure) == [f"{name}: {share:.0%}" for name, share in zip(NAMES, shares)]
    for i, axes in enumerate(figure.axes):
        points = axes.collections[0].get_offsets()
        np.testing.assert_allclose(points, np.stack([X[~holes[:, i], i], GUESS[~holes[:, i], i]], axis=1))


def test_a_column_without_a_share_has_its_name_alone(figure_of):
    x = np.stack([np.full(50, np.nan), np.ones(50)], axis=1)
    assert titles(figure_of(column_figures.reconstructions, x, np.ones((50, 2)), ("none", "one"))) == ["none", "one"]


def test_a_picture_of_many_columns_says_how_many_it_shows(figure_of):
    names = tuple(f"c{i}" for i in range(1_234))
    x = RNG.normal(size=(9, 1_234))
    for function, *rest in (column_figures.reconstructions, x, names), (column_figures.histograms, names, "means"):
        figure = figure_of(function, x, *rest)
        assert titles(figure)[11].startswith("c11") and len(figure.axes) == 12
        assert figure.get_suptitle().endswith("; 12 of 1,234 columns")
    figure = figure_of(column_figures.deviations, np.ones(1_234), np.ones(1_234), names)
    assert figure.axes[0].get_title().endswith("; 40 of 1,234 columns")


def test_histograms_count_each_value(figure_of):
    figure = figure_of(column_figures.histograms, X, NAMES, "means")
    assert titles(figure) == list(NAMES) and figure.get_suptitle() == "means"
    for values, axes in zip(X.T, figure.axes):
        assert sum(bar.get_height() for bar in axes.patches) == 50
        assert axes.patches[0].get_x() == pytest.approx(values.min())


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_values_that_hardly_differ_are_drawn(figure_of, steps):
    """A model whose latents say nothing decodes to float32 numbers that differ in the last bits, or not at all."""
    values = np.full((50, 1), 880, np.float32)
    values[0] += steps * np.spacing(values[0])
    figure = figure_of(column_figures.histograms, values, ("area",), "means")
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 50


def test_deviations_are_shares_of_the_columns_own_beside_their_values(figure_of):
    [axes] = figure_of(column_figures.deviations, np.array([0.5, 3.0, 0.02]), np.array([1.0, 30.0, 0.01]), NAMES).axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.1, 2.0]
    assert [text.get_text() for text in axes.texts] == ["0.50 (0.5)", "0.10 (3)", "2.00 (0.02)"]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(NAMES)


def test_any_name_of_a_column_is_drawn_as_it_is(figure_of):
    """Matplotlib takes what is between two dollars for a formula, and fails where it is none."""
    names = ("$\\bad{$", "$ per m and $", "a\nline and a word that is long")
    shown = ["\\$\\bad{\\$", "\\$ per m and \\$", "a line and a word that …"]  # Matplotlib draws \$ as a dollar
    assert titles(figure_of(column_figures.histograms, X, names, "means")) == shown
    drawn = titles(figure_of(column_figures.reconstructions, X, X, names))
    assert drawn == [f"{name}: 100%" for name in shown]
    [axes] = figure_of(column_figures.deviations, np.ones(3), np.ones(3), names).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == shown
