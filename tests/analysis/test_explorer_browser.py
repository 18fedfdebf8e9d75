"""The explorer's page in Chromium: what it draws against Keras, what its controls do, and what does not leave it."""

import base64
import http.server
import json
import shutil
import threading

import numpy as np
import pytest
from chromium import Browser
from explorer_pages import DECODERS, SHAPE, model_of, page_of, random_vae

from tfvae.analysis import figures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    programs = filter(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    program = next(programs, None)
    if program is None:
        pytest.skip("needs Chromium")
    browser = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of a random VAE from disk; returns it, the images of the page and their means of q(z|x)."""

    def open_page(shape=SHAPE, width=1200, theme="light", policy=True, classes=(), **options):
        vae = random_vae(shape, classes, **options)
        page = page_of(vae, **options)
        path = tmp_path / "explorer.html"
        path.write_text(page if policy else page.replace("Content-Security-Policy", "none"))
        browser.open(path, width, theme=theme)
        browser.run("tfvae.moveTo(0.5, 0.5)")
        model = model_of(page)
        images = np.frombuffer(base64.b64decode(model["images"]), np.uint8).reshape(-1, *shape)
        return vae, images, np.frombuffer(base64.b64decode(model["means"]), "<f4").reshape(len(images), -1)

    return open_page


@pytest.mark.parametrize("name", ["relu", "many latents", "conv", "sigma of z"])
def test_chromium_agrees_with_keras(name, browser, opened):
    vae, images, means = opened(**DECODERS[name])
    z = np.random.default_rng(3).normal(size=(5, vae.decoder.latent_dim)).astype("f")
    decoded = browser.run(f"{z.tolist()}.map(z => Array.from(tfvae.decode(z)))")
    expected = np.clip(vae.decode(z).mean, 0, 1)
    np.testing.assert_allclose(np.reshape(decoded, expected.shape), expected, atol=1e-5)

    browser.run("tfvae.moveTo(0.3, 0.8)")
    browser.settle()
    z = browser.run("Array.from(tfvae.state.z)")
    here = np.clip(vae.decode(np.array([z], "f")).mean[0], 0, 1) * 255
    np.testing.assert_allclose(browser.pixels("document.getElementById('decoded')"), here, atol=0.51)
    index = browser.run("tfvae.state.index")
    np.testing.assert_array_equal(browser.pixels("document.getElementById('original')"), images[index])
    rebuilt = np.clip(vae.decode(means[index : index + 1]).mean[0], 0, 1)
    np.testing.assert_allclose(browser.pixels("document.getElementById('reconstruction')"), rebuilt * 255, atol=0.51)
    error = np.mean((rebuilt - images[index] / 255) ** 2)
    assert f"squared error {error:.4f}" in browser.run("document.getElementById('which').textContent")
    assert not browser.complaints()
    assert {
        e["params"]["request"]["url"][:8] for e in browser.events if e["method"] == "Network.requestWillBeSent"
    } == {"file:///"}


def test_the_manifold_is_that_of_the_run_s_pictures(browser, opened):
    vae, *_ = opened()
    expected = figures.tile(np.clip(vae.decode(figures.manifold_latents(20)).mean, 0, 1), 20, gap=0)
    pixels = browser.pixels("tfvae.manifold")
    scale = expected.shape[0] // pixels.shape[0]
    assert np.abs(pixels - expected[::scale, ::scale].astype(int)).max() <= 1
    assert pixels.std() > 10


@pytest.mark.parametrize("scale", ["prior", "even"])
def test_a_place_on_the_map_decodes_to_what_is_drawn_there(scale, browser, opened):
    vae, *_ = opened(latent_dim=3)
    browser.choose("#scale", scale)
    browser.wait("tfvae.drawn('manifold')")
    manifold, (height, width, _) = browser.pixels("tfvae.manifold"), SHAPE
    for column, row in ((3, 4), (19, 0), (10, 17)):
        browser.run(f"tfvae.moveTo({(column + 0.5) / 20}, {1 - (row + 0.5) / 20})")
        z = np.array([browser.run("Array.from(tfvae.state.z)")], "f")
        cell = manifold[row * height : (row + 1) * height, column * width : (column + 1) * width]
        np.testing.assert_allclose(cell, vae.decode(z).mean[0] * 255, atol=0.51)


def test_nothing_leaves_the_page_and_nothing_else_runs_in_it(browser, opened):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        fetch = f"fetch('{url}').then(() => 'answered', () => 'refused')"
        opened(policy=False)
        assert browser.run(fetch) == "answered" and asked == ["/"]
        opened()
        assert browser.run(fetch) == "refused"
        browser.run(f"new Promise(done => {{ const i = new Image(); i.onerror = i.onload = done; i.src = '{url}i'; }})")
        browser.run(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = true'}))"
        )
        assert not browser.run("Boolean(window.ran)")
        assert asked == ["/"]
        server.shutdown()
    told = json.dumps(browser.complaints())  # so the tests that see no complaint would see one
    assert all(f"{rule}-src" in told for rule in ("default", "img", "script")), told


def test_mouse(browser, opened):
    opened(latent_dim=3)
    start = browser.run("Array.from(tfvae.state.z)")
    browser.mouse("mouseMoved", 0.8, 0.3)
    looked = browser.run("Array.from(tfvae.state.z)")
    plane = browser.run("[tfvae.state.right, tfvae.state.up]")
    assert looked[plane[0]] > start[plane[0]] and looked[plane[1]] > start[plane[1]]
    (other,) = {0, 1, 2} - set(plane)
    assert looked[other] == start[other]
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert browser.run("Array.from(tfvae.state.z)") == start

    for u, v in ((0.3, 0.3), (0.7, 0.6)):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            browser.mouse(kind, u, v)
    a, b = browser.run("tfvae.state.ends.map(end => Array.from(end))")
    assert a != b and browser.run("tfvae.state.playing")
    browser.wait("tfvae.state.share > 0.05")
    browser.run("document.getElementById('play').click()")
    assert not browser.run("tfvae.state.playing")
    share, z = browser.run("[tfvae.state.share, Array.from(tfvae.state.z)]")
    np.testing.assert_allclose(z, np.array(a) * (1 - share) + np.array(b) * share, atol=1e-5)
    assert not browser.complaints()


def test_keyboard(browser, opened):
    opened()
    for _ in range(10):
        browser.key("Tab")
        if browser.run("document.activeElement.id") == "map":
            break
    assert browser.run("document.activeElement.id") == "map"
    z = browser.run("Array.from(tfvae.state.z)")
    browser.key("ArrowRight")
    browser.key("ArrowDown")
    moved = browser.run("Array.from(tfvae.state.z)")
    assert moved[0] > z[0] and moved[1] < z[1]
    browser.key("Enter")
    browser.key("ArrowRight")
    browser.key("Enter")
    assert browser.run("tfvae.state.ends.length") == 2 and browser.run("tfvae.state.playing")
    browser.key("Escape")
    assert browser.run("tfvae.state.ends.length") == 0 and not browser.run("tfvae.state.playing")


def test_touch_on_a_phone(browser, opened):
    opened(width=390)
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.run("getComputedStyle(document.getElementById('map')).touchAction") == "none"  # a drag is no scroll
    z = browser.run("Array.from(tfvae.state.z)")
    for (u, v), length in (((0.8, 0.3), 1), ((0.3, 0.8), 2)):
        x, y = browser.at(u, v)
        browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        assert browser.run("tfvae.state.ends.length") == length
    assert browser.run("Array.from(tfvae.state.ends[0])") != z
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_sliders_latents_and_labels(browser, opened):
    opened(latent_dim=5)
    manifold = browser.pixels("tfvae.manifold")
    right, up = browser.run("[tfvae.state.right, tfvae.state.up]")
    other = min({*range(5)} - {right, up})
    browser.choose(f"#sliders label:nth-child({other + 1}) input", 2)
    assert browser.run(f"tfvae.state.z[{other}]") == 2
    browser.wait("tfvae.drawn('manifold')")
    assert (browser.pixels("tfvae.manifold") != manifold).any()

    browser.choose("#right", up)
    assert browser.run("[tfvae.state.right, tfvae.state.up]") == [up, right]
    browser.choose("#up", other)
    assert browser.run("[tfvae.state.right, tfvae.state.up]") == [up, other]
    browser.run("document.getElementById('reset').click()")
    np.testing.assert_allclose(browser.run("Array.from(tfvae.state.z)"), 0, atol=1e-5)
    browser.run("document.getElementById('random').click()")
    assert np.abs(browser.run("Array.from(tfvae.state.z)")).min() > 1e-6

    browser.run("document.querySelector('#legend button').click(); tfvae.moveTo(0.5, 0.5)")
    for u in np.linspace(0.1, 0.9, 5):  # of the two labels one is hidden, so the other is nearest everywhere
        browser.run(f"tfvae.moveTo({u}, {1 - u})")
        browser.settle()
        assert "label b" in browser.run("document.getElementById('which').textContent")
    assert not browser.complaints()


def test_a_class_is_chosen_by_the_keyboard_and_decoded(browser, opened):
    names = ("ant", "bee", "eel")
    vae, images, means = opened(classes=names, condition="label")
    assert browser.run("Array.from(document.getElementById('label').options, o => o.text)") == list(names)
    browser.wait("tfvae.drawn('manifold')")
    manifold = browser.pixels("tfvae.manifold")
    browser.run("document.getElementById('label').focus()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="e", text="e")  # the first letter, as in any list
    assert browser.run("tfvae.state.y") == 2
    browser.wait("tfvae.drawn('manifold')")
    assert np.abs(browser.pixels("tfvae.manifold") - manifold).max() > 10
    browser.settle()
    z = np.array([browser.run("Array.from(tfvae.state.z)")], "f")
    here = np.clip(vae.given([2]).decode(z).mean[0], 0, 1) * 255
    np.testing.assert_allclose(browser.pixels("document.getElementById('decoded')"), here, atol=0.51)
    index = browser.run("tfvae.state.index")
    rebuilt = np.clip(vae.given([index % 3]).decode(means[index : index + 1]).mean[0], 0, 1)
    np.testing.assert_allclose(browser.pixels("document.getElementById('reconstruction')"), rebuilt * 255, atol=0.51)
    assert browser.run("document.getElementById('where').textContent").endswith(", class eel")
    browser.run("document.getElementById('there').click()")
    assert browser.run("tfvae.state.y") == index % 3 == int(browser.run("document.getElementById('label').value"))
    opened()
    assert browser.run("document.getElementById('class').hidden")
    assert not browser.complaints()


def test_light_and_dark(browser, opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    opened(theme="dark")
    dark = browser.run(colour)
    opened(theme="light")
    light = browser.run(colour)
    assert dark != light
    browser.run("document.getElementById('theme').click()")
    assert browser.run(colour) == dark


@pytest.mark.parametrize("options", [{"latent_dim": 1}, {"latent_dim": 60}, {"shape": (6, 5, 2)}], ids=str)
def test_unusual_models_open(options, browser, opened):
    opened(**options)
    browser.run(
        "tfvae.moveTo(0.7, 0.2); document.getElementById('there').click(); document.getElementById('next').click()"
    )
    browser.settle()
    assert not browser.complaints()
