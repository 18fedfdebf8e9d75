"""The explorer's page: what it computes, in node and in Chromium, against Keras; and what it does not do."""

import base64
import contextlib
import fcntl
import hashlib
import html.parser
import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfvae.analysis import explorer, figures
from tfvae.config import Config
from tfvae.data.dataset import Dataset, Split
from tfvae.core.models import make_vae

SHAPE = (7, 5, 3)  # odd: a convolutional decoder computes 8 x 8 and cuts
DECODERS = {
    **{name: {"activation": name} for name in ("relu", "tanh", "elu", "gelu", "softplus")},
    "linear": {"hidden_units": ()},
    "one latent": {"latent_dim": 1},
    "many latents": {"latent_dim": 50, "hidden_units": (16, 8)},
    "conv": {"network": "conv", "filters": (4, 6)},
    "deep conv": {"network": "conv", "filters": (2, 3, 4), "activation": "gelu"},
    "gaussian": {"likelihood": "gaussian"},
    "learned sigma": {"likelihood": "gaussian", "sigma": "learned"},
    "sigma of z": {"likelihood": "gaussian", "sigma": "of_z"},
    "conv, sigma of z": {"likelihood": "gaussian", "sigma": "of_z", "network": "conv", "filters": (4,)},
}
IN_NODE = """
const [script, model, code] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const parts = new Function(script + "; return {makeDecoder, makePrior}")();
const result = new Function("decode", "prior", code)(parts.makeDecoder(model), parts.makePrior(model));
console.log(JSON.stringify(result));
"""
VOID = ("meta", "link", "input")  # elements without an end tag


def random_vae(shape=SHAPE, **options):
    """A VAE whose every weight, biases too, is away from 0, so that each counts."""
    vae = make_vae(Config(**{"hidden_units": (16,), **options}), shape)
    rng = np.random.default_rng(0)
    for variable in vae.trainable_variables:
        fan_in = np.prod(variable.shape[:-1]) if len(variable.shape) == 2 else 9
        variable.assign(rng.normal(size=variable.shape, scale=fan_in**-0.5))
    return vae


def page_of(vae, labels=("a", "b"), size=12, title="a title", **options):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (size, *vae.decoder.image_shape), dtype=np.uint8)
    split = Split(images, np.resize(np.array(labels), size) if labels else None)
    config = Config(**{"dataset": "digits", "latent_dim": vae.decoder.latent_dim, **options})
    return explorer.page(vae, config, Dataset(split, split.rows(slice(0)), split), title)


class Parsed(html.parser.HTMLParser):
    """The elements of a page: it fails where their tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.text = [], [], {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style", "title"):
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def model_of(page):
    return json.loads(Parsed(page).text["script"][0])


def in_node(page, code):
    """What `code` returns, in which `decode` and `prior` are those of the page's own script."""
    if not shutil.which("node"):
        pytest.skip("needs node")
    given = json.dumps([Parsed(page).text["script"][1], model_of(page), code])
    done = subprocess.run(["node", "-e", IN_NODE], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("options", DECODERS.values(), ids=DECODERS)
def test_javascript_decodes_as_keras_does(options):
    vae = random_vae(**options)
    z = np.random.default_rng(2).normal(size=(20, vae.decoder.latent_dim)).astype("f")
    expected = np.clip(vae.decode(z).mean, 0, 1)
    images = in_node(page_of(vae, **options), f"return {z.tolist()}.map(z => Array.from(decode(z)))")
    assert expected.std() > 0.02
    np.testing.assert_allclose(np.reshape(images, expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("prior", ["standard", "normal", "mixture"])
def test_prior(prior):
    options = {"prior": prior, "prior_components": 3, "latent_dim": 2}
    vae, latent = random_vae(**options), 1
    page = page_of(vae, **options)
    mean = np.reshape(vae.prior.mean, (-1, 2))[:, latent]
    deviation = np.exp(np.reshape(vae.prior.log_variance, (-1, 2))[:, latent] / 2)
    weights = tf.nn.softmax(vae.prior.logits).numpy() if prior == "mixture" else [1]
    parts = [statistics.NormalDist(m, s) for m, s in zip(mean.astype(float), deviation.astype(float))]

    probabilities = [0.001, 0.3, 0.5, 0.9]
    quantiles = in_node(page, f"return {probabilities}.map(p => prior.quantile({latent}, p))")
    for p, z in zip(probabilities, quantiles):
        assert sum(w * part.cdf(z) for w, part in zip(weights, parts)) == pytest.approx(p, abs=1e-5)
    back = in_node(page, f"return {quantiles}.map(z => prior.probability({latent}, z))")
    np.testing.assert_allclose(back, probabilities, atol=1e-6)

    draws = in_node(page, f"return Array.from({{length: 20000}}, () => prior.draw()[{latent}])")
    drawn = statistics.NormalDist(np.mean(draws), np.std(draws))
    expected = np.dot(weights, mean)
    variance = np.dot(weights, deviation**2 + (mean - expected) ** 2)
    assert drawn.mean == pytest.approx(expected, abs=6 * float(variance / 20_000) ** 0.5)
    assert drawn.variance == pytest.approx(variance, rel=0.1)


def test_an_autoencoder_has_the_normal_of_its_codes():
    vae = random_vae()
    model = model_of(page_of(vae, objective="autoencoder"))
    codes = np.frombuffer(base64.b64decode(model["means"]), "<f4").reshape(-1, 2)
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(model["prior"]["mean"]), "<f4"), codes.mean(0), rtol=1e-5)
    assert model_of(page_of(vae))["prior"]["mean"] != model["prior"]["mean"]


def test_html_is_well_formed_and_names_nothing_outside():
    page = page_of(random_vae())
    parsed = Parsed(page)
    identifiers = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'\$\("(\w+)"\)', page)) <= set(identifiers)
    assert not re.search(r"https?:|file:|wss?:|url\(|@import|\bimport\(|\bfetch\(|XMLHttpRequest", page)
    for tag, attributes in parsed.elements:
        assert not {"src", "srcset", "action", "style"} & attributes.keys(), tag
        assert attributes.get("href", "data:,") == "data:,"
        assert not [name for name in attributes if name.startswith("on")]
    for button in parsed.all("button"):
        assert button["type"] == "button"


def test_the_policy_allows_the_script_and_the_style_of_the_page_alone():
    parsed = Parsed(page_of(random_vae()))
    (policy,) = (meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for rule, text in (("script-src", parsed.text["script"][1]), ("style-src", parsed.text["style"][0])):
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert rules.keys() == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert rules["img-src"] == "data:"


def test_names_from_outside_stay_text():
    hostile = "</script></title><script>alert('&amp;{{model}}')</script>"
    page = page_of(random_vae(), labels=("a", hostile), title=hostile)
    parsed = Parsed(page)
    assert len(parsed.all("script")) == 2 and len(parsed.text["script"]) == 2
    assert parsed.text["title"] == [hostile]
    assert set(model_of(page)["labels"]) == {"a", hostile}


def test_no_path_of_this_machine(tmp_path):
    places = {"data_dir": str(tmp_path), "run_dir": str(tmp_path / "r"), "export_dir": str(tmp_path / "e")}
    page = page_of(random_vae(), dataset=str(tmp_path / "mine.npz"), **places)
    assert tmp_path.name not in page and str(Path.home()) + "/" not in page
    model = model_of(page)
    assert model["facts"]["dataset"] == model["settings"]["dataset"] == "mine.npz"


@pytest.mark.parametrize(
    "shape, size, count", [((2, 2, 1), 700, 500), ((80, 80, 3), 120, 104), ((150, 150, 3), 60, 50)]
)
def test_test_images_are_bounded_and_from_all_over(shape, size, count):
    page = page_of(random_vae(shape, hidden_units=(2,)), labels=[str(i) for i in range(size)], size=size)
    labels = [int(label) for label in model_of(page)["labels"]]
    assert len(labels) == len(set(labels)) == count and labels[0] == 0 and labels[-1] == size - 1


def test_images_of_floats_without_labels():
    vae = random_vae()
    images = np.random.default_rng(0).uniform(size=(6, *SHAPE)).astype("f")
    split = Split(images, None)
    model = model_of(explorer.page(vae, Config(dataset="digits"), Dataset(split, split, split), "a title"))
    assert model["labels"] is None
    shown = np.frombuffer(base64.b64decode(model["images"]), np.uint8).reshape(images.shape)
    np.testing.assert_array_equal(shown, np.rint(images * 255))
    means = np.frombuffer(base64.b64decode(model["means"]), "<f4").reshape(6, -1)
    np.testing.assert_allclose(means, vae.encode(images).mean, atol=1e-6)


class Browser:
    """A headless Chromium that resolves no name, spoken to by the DevTools protocol over two pipes."""

    def __init__(self, program, folder):
        ends = [*os.pipe(), *os.pipe()]
        read, write = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (ends[0], ends[3]))

        def at_three_and_four():  # where Chromium looks for them
            os.dup2(read, 3)
            os.dup2(write, 4)

        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--proxy-server=127.0.0.1:9",
        ]
        flags += [
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--disable-background-networking",
            f"--user-data-dir={folder}",
        ]
        self.process = subprocess.Popen(
            [program, *flags], preexec_fn=at_three_and_four, pass_fds=(3, 4), stderr=subprocess.DEVNULL
        )
        for fd in (read, write, ends[0], ends[3]):
            os.close(fd)
        self.replies, self.requests = os.fdopen(ends[2], "rb"), os.fdopen(ends[1], "wb")
        self.count, self.events, self.session = 0, [], {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.count += 1
        self.requests.write(
            json.dumps({"id": self.count, "method": method, "params": params, **self.session}).encode() + b"\0"
        )
        self.requests.flush()
        while True:
            message = bytearray()
            while (byte := self.replies.read(1)) != b"\0":
                assert byte, "Chromium has ended"
                message += byte
            reply = json.loads(message)
            if reply.get("id") == self.count:
                assert "error" not in reply, reply
                return reply["result"]
            self.events.append(reply)

    def run(self, expression):
        """Its value, awaited."""
        reply = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def wait(self, expression):
        end = time.monotonic() + 30
        while not self.run(expression):
            assert time.monotonic() < end, f"{expression}: {self.complaints()}"
            time.sleep(0.02)

    def open(self, path, width=1200, height=800, theme="light"):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        self.wait("Boolean(window.tfvae && tfvae.drawn('manifold'))")

    def complaints(self):
        names = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.events if event["method"] in names]

    def pixels(self, canvas):
        """[H, W, 3] of a canvas, given as a JavaScript expression."""
        copied = f"""(canvas => {{  // to one that is meant to be read: else Chromium warns
            const copy = document.createElement("canvas");
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const pen = copy.getContext("2d", {{willReadFrequently: true}});
            pen.drawImage(canvas, 0, 0);
            return [copy.width, copy.height, Array.from(pen.getImageData(0, 0, copy.width, copy.height).data)];
        }})({canvas})"""
        width, height, data = self.run(copied)
        return np.reshape(data, (height, width, 4))[..., :3]

    def mouse(self, kind, u, v):
        """On the map, at these shares of its width and height."""
        x, y = self.at(u, v)
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="none" if kind == "mouseMoved" else "left",
            clickCount=1,
        )

    def at(self, u, v):
        self.run("document.getElementById('map').scrollIntoView({block: 'center'})")
        box = self.run(
            "(({x, y, width, height}) => [x, y, width, height])(document.getElementById('map').getBoundingClientRect())"
        )
        return box[0] + u * box[2], box[1] + v * box[3]

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def choose(self, control, value):
        """In a list or with a slider."""
        control = f"document.querySelector({json.dumps(control)})"
        events = "for (const name of ['input', 'change']) c.dispatchEvent(new Event(name))"
        self.run(f"(c => {{ c.value = {json.dumps(value)}; {events}; }})({control})")

    def settle(self):
        """Until what has changed is drawn."""
        self.run(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
        )

    def close(self):
        self.process.kill()
        self.process.wait()
        for file in (self.replies, self.requests):
            with contextlib.suppress(OSError):
                file.close()


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

    def open_page(shape=SHAPE, width=1200, theme="light", policy=True, **options):
        vae = random_vae(shape, **options)
        page = page_of(vae, **options)
        path = tmp_path / "explorer.html"
        path.write_text(page if policy else page.replace("Content-Security-Policy", "none"))
        browser.open(path, width, theme=theme)
        browser.run("tfvae.moveTo(0.5, 0.5)")
        model = model_of(page)
        images = np.frombuffer(base64.b64decode(model["images"]), np.uint8).reshape(-1, *shape)
        return vae, images, np.frombuffer(base64.b64decode(model["means"]), "<f4").reshape(len(images), -1)

    return open_page


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_manifold_is_that_of_the_run_s_pictures(browser, opened):
    vae, *_ = opened()
    expected = figures.tile(np.clip(vae.decode(figures.manifold_latents(20)).mean, 0, 1), 20, gap=0)
    pixels = browser.pixels("tfvae.manifold")
    scale = expected.shape[0] // pixels.shape[0]
    assert np.abs(pixels - expected[::scale, ::scale].astype(int)).max() <= 1
    assert pixels.std() > 10


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_light_and_dark(browser, opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    opened(theme="dark")
    dark = browser.run(colour)
    opened(theme="light")
    light = browser.run(colour)
    assert dark != light
    browser.run("document.getElementById('theme').click()")
    assert browser.run(colour) == dark


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"latent_dim": 1}, {"latent_dim": 60}, {"shape": (6, 5, 2)}], ids=str)
def test_unusual_models_open(options, browser, opened):
    opened(**options)
    browser.run(
        "tfvae.moveTo(0.7, 0.2); document.getElementById('there').click(); document.getElementById('next').click()"
    )
    browser.settle()
    assert not browser.complaints()
