"""The pictures: each pixel at its place."""

import matplotlib
import numpy as np
import pytest
import scipy.stats

from tfvae.analysis import figures


def test_tile_puts_each_image_at_its_place():
    images = np.arange(5 * 50 * 40, dtype=np.uint32).astype(np.uint8).reshape(5, 50, 40, 1)
    picture = figures.tile(images, columns=3)
    assert picture.shape == (2 * 51 + 1, 3 * 41 + 1, 1) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[52:102, 42:82], images[4])
    assert (picture[52:102, 83:123] == 255).all()  # the sixth place is empty


def test_tile_enlarges_small_images_and_keeps_colour():
    images = np.zeros((1, 8, 4, 3), np.float32)
    images[0, 7, 3] = 0.5, 1.0, 2.0
    picture = figures.tile(images, columns=1)
    assert picture.shape == (82, 42, 3)
    np.testing.assert_array_equal(picture[71:81, 31:41], np.broadcast_to([128, 255, 255], (10, 10, 3)))
    assert not picture[1:71, 1:31].any()


@pytest.mark.parametrize(("channels", "shown"), [(2, 1), (4, 3), (5, 1)])
def test_channels_that_are_left_away_are_named_below_the_grid(channels, shown):
    images = np.random.default_rng(0).integers(0, 256, (30, 40, 40, channels), dtype=np.uint8)
    picture = figures.tile(images, columns=10)
    grid = figures.tile(images[..., :shown], columns=10)
    height, width, _ = grid.shape
    assert picture.shape == (height + 20, width, shown)
    np.testing.assert_array_equal(picture[:height], grid)
    ink = (picture[height:] < 128).any(axis=-1)
    assert 200 < ink.sum() < 2_000 and not ink[:, :3].any() and not ink[:, -3:].any()  # text, and none of it cut off
    narrow = figures.tile(images[:1], columns=1)
    np.testing.assert_array_equal((narrow[42:] < 128).any(axis=-1).sum(), ink.sum())
    np.testing.assert_array_equal(narrow[:42, :42], figures.tile(images[:1, ..., :shown], columns=1))


def test_reconstructions_stand_below_their_images():
    images, reconstructed = np.zeros((4, 40, 40, 1), np.uint8), np.full((4, 40, 40, 1), 0.5, np.float32)
    picture = figures.reconstructions(images, reconstructed, columns=2)
    assert picture.shape == (2 * 84 + 3, 2 * 43 + 3, 1)
    assert not picture[3:43, 3:43].any() and (picture[44:84, 3:43] == 128).all()


def test_manifold_latents_are_prior_quantiles_from_the_upper_left():
    z = figures.manifold_latents(side=5)
    assert z.shape == (25, 2) and z.dtype == np.float32
    quantiles = scipy.stats.norm.cdf(z)
    np.testing.assert_allclose(quantiles[0], [0.1, 0.9], atol=1e-6)
    np.testing.assert_allclose(quantiles[1], [0.3, 0.9], atol=1e-6)
    np.testing.assert_allclose(quantiles[-1], [0.9, 0.1], atol=1e-6)


def test_latent_scatter_is_the_same_where_matplotlib_lays_out_by_itself(monkeypatch):
    mean = np.random.default_rng(0).normal(size=(60, 2))
    usual = figures.latent_scatter(mean, np.arange(60) % 3, "three classes")
    monkeypatch.setitem(matplotlib.rcParams, "figure.constrained_layout.use", True)
    np.testing.assert_array_equal(figures.latent_scatter(mean, np.arange(60) % 3, "three classes"), usual)


def test_latent_scatter_colours_by_label():
    mean = np.random.default_rng(0).normal(size=(60, 3)).astype("f")
    coloured = figures.latent_scatter(mean, np.arange(60) % 3, "three classes")
    plain = figures.latent_scatter(mean, None, "no labels")
    assert coloured.shape == plain.shape == (600, 660, 3) and coloured.dtype == np.uint8

    def has_green(picture):
        red, green, blue = picture.astype(int).transpose(2, 0, 1)
        return ((green > red + 40) & (green > blue + 40)).any()

    assert has_green(coloured) and not has_green(plain)


@pytest.fixture
def drawn(monkeypatch):
    """The Matplotlib figures that were drawn."""
    canvases = []
    rasterized = figures.rasterized
    monkeypatch.setattr(figures, "rasterized", lambda canvas: canvases.append(canvas) or rasterized(canvas))
    return canvases


NAMES = ("ape", "$bee", "_eel$ of $ x", "a name\nthat is much longer than there is room for", "not there")


def test_the_legend_shows_the_names_of_the_labels_beside_the_dots(drawn):
    mean = np.random.default_rng(0).normal(size=(60, 2)).astype("f")
    picture = figures.latent_scatter(mean, np.arange(60) % 4, "a title", NAMES)
    (canvas,) = drawn
    (legend,), (axes,) = canvas.figure.legends, canvas.figure.axes
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["ape", "$bee", "_eel$ of $ x", "a name that is much lon…"]
    assert picture.shape == (600, 660, 3)
    space = legend.get_window_extent()
    assert axes.get_window_extent().x1 <= space.x0 + 1 and space.x1 <= 660
    assert axes.get_window_extent().width > 300
    # each name is there: what is right of its mark has ink
    for text in legend.get_texts():
        box = text.get_window_extent()
        ink = picture[600 - int(box.y1) : 600 - int(box.y0), int(box.x0) : int(box.x1)]
        assert (ink < 128).all(axis=-1).sum() > 20


def test_without_names_the_legend_has_the_numbers(drawn):
    mean = np.random.default_rng(0).normal(size=(60, 2)).astype("f")
    figures.latent_scatter(mean, np.arange(60) % 3 + 5, "a title")
    assert [text.get_text() for text in drawn[0].figure.legends[0].get_texts()] == ["5", "6", "7"]
    np.testing.assert_allclose(drawn[0].figure.axes[0].get_position(original=True).bounds, (0.125, 0.09, 0.755, 0.83))


def extent(picture):
    """(height, width) in pixels of what the dots cover."""
    dots = (np.ptp(picture.astype(int), axis=-1) > 40)[:, :580]  # coloured, and not in the legend
    rows, columns = np.flatnonzero(dots.any(axis=1)), np.flatnonzero(dots.any(axis=0))
    return np.ptp(rows), np.ptp(columns)


@pytest.mark.parametrize("scale", [(1, 1e-4), (1e-3, 2), (1e-5, 1e-5)])
def test_a_latent_that_has_nearly_collapsed_is_no_line(scale):
    mean = (np.random.default_rng(0).normal(size=(60, 2)) * scale + 0.03).astype("f")
    height, width = extent(figures.latent_scatter(mean, None, "a title"))
    assert min(height, width) > 300


def test_a_length_is_the_same_along_both_axes_where_no_latent_has_collapsed():
    mean = (np.random.default_rng(0).normal(size=(60, 2)) * (1, 0.2)).astype("f")
    height, width = extent(figures.latent_scatter(mean, None, "a title"))
    assert abs(height / width - np.ptp(mean[:, 1]) / np.ptp(mean[:, 0])) < 0.02


def test_accuracies_are_bars_of_their_heights():
    picture = figures.accuracies({"a": {"x": 1.0, "y": 0.25}, "b": {"x": 0.5, "y": 0.75}}, "a title")
    assert picture.shape == (400, 660, 3) and picture.dtype == np.uint8
    for color, heights in (("#1f77b4", [1.0, 0.5]), ("#ff7f0e", [0.25, 0.75])):
        shown = (picture == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1)[:340]  # the legend is below
        columns = shown.sum(axis=0)
        edges = np.flatnonzero(np.diff(np.r_[0, columns > 0, 0]))
        bars = [columns[first:last].max() for first, last in edges.reshape(-1, 2)]
        np.testing.assert_allclose(np.divide(bars, max(bars)), np.divide(heights, max(heights)), atol=0.02)
