"""The explorer's page: what it computes, in node, against Keras; what is in it, and what is not."""

import base64
import hashlib
import json
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from explorer_pages import DECODERS, SHAPE, Parsed, model_of, page_of, random_vae

from tfvae.analysis import explorer
from tfvae.config import Config
from tfvae.data.splits import Dataset, Split

IN_NODE = """
const [script, model, code] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const parts = new Function(script + "; return {makeDecoder, makePrior}")();
const result = new Function("decode", "prior", code)(parts.makeDecoder(model), parts.makePrior(model));
console.log(JSON.stringify(result));
"""


def in_node(page, code):
    """What `code` returns, in which `decode` and `prior` are those of the page's own script."""
    if not shutil.which("node"):
        pytest.skip("needs node")
    given = json.dumps([Parsed(page).text["script"][1], model_of(page), code])
    done = subprocess.run(["node", "-e", IN_NODE], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


NIGHTLY = ("deep conv", "conv, mixture", "learned sigma", "conv, sigma of z")  # of parts that other decoders have, too


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=[pytest.mark.nightly] * (name in NIGHTLY))
        for name, options in DECODERS.items()
    ],
)
def test_javascript_decodes_as_keras_does(options):
    vae = random_vae(**options)
    z = np.random.default_rng(2).normal(size=(20, vae.decoder.latent_dim)).astype("f")
    expected = np.clip(vae.decode(z).mean, 0, 1)
    images = in_node(page_of(vae, **options), f"return {z.tolist()}.map(z => Array.from(decode(z)))")
    assert expected.std() > 0.02
    np.testing.assert_allclose(np.reshape(images, expected.shape), expected, atol=1e-5)


CLASSES = ("ant", "bee", "eel")


@pytest.mark.parametrize("name", ["relu", "conv", "resnet", "one latent"])
def test_javascript_decodes_each_class_of_a_conditional_model_as_keras_does(name):
    options = DECODERS[name]
    vae = random_vae(classes=CLASSES, **options)
    z = np.random.default_rng(2).normal(size=(6, vae.decoder.latent_dim)).astype("f")
    y = np.arange(6, dtype=np.int32) % 3
    expected = np.clip(vae.given(y).decode(z).mean, 0, 1)
    assert np.abs(expected - vae.given((y + 1) % 3).decode(z).mean).max() > 0.1
    code = f"return {z.tolist()}.map((z, i) => Array.from(decode(z, i % 3)))"
    images = in_node(page_of(vae, condition="label", **options), code)
    np.testing.assert_allclose(np.reshape(images, expected.shape), expected, atol=1e-5)


ASKED = """
const script = JSON.parse(require("fs").readFileSync(0, "utf8")), bodies = [];
globalThis.fetch = async (address, {body}) => {
  bodies.push(JSON.parse(body));
  return {ok: true, json: async () => ({predictions: bodies.at(-1).instances.map(row => [[[row.label]]])})};
};
const make = new Function(script + "; return makeServedDecoder")();
const decode = make({range: [0, 1], classes: CLASSES}, "/", () => {});
const answers = () => [0, 1].map(y => [...decode([0.5], y) || []]);
answers();
setTimeout(() => console.log(JSON.stringify([bodies, answers()])), 50);
"""


@pytest.mark.parametrize("classes", [("ant", "bee"), ()])
def test_a_page_that_a_server_decodes_for_asks_for_the_class(classes):
    if not shutil.which("node"):
        pytest.skip("needs node")
    template = Path(explorer.__file__).with_suffix(".html").read_text()
    code = ASKED.replace("CLASSES", json.dumps(classes))
    script = json.dumps(Parsed(template).text["script"][1])
    done = subprocess.run(["node", "-e", code], input=script, capture_output=True, text=True, timeout=60)
    [asked], images = json.loads(done.stdout)
    if classes:
        assert asked == {"instances": [{"z": [0.5], "label": 0}, {"z": [0.5], "label": 1}]} and images == [[0], [1]]
    else:
        assert asked == {"instances": [[0.5]]}


def test_a_conditional_model_s_test_images_have_their_classes():
    vae = random_vae(classes=CLASSES)
    model = model_of(page_of(vae, condition="label", size=6))
    assert model["classes"] == list(CLASSES)
    assert model["y"] == [0, 1, 2, 0, 1, 2] and [CLASSES[y] for y in model["y"]] == model["labels"]
    images = np.frombuffer(base64.b64decode(model["images"]), np.uint8).reshape(6, *SHAPE)
    means = np.frombuffer(base64.b64decode(model["means"]), "<f4").reshape(6, -1)
    np.testing.assert_allclose(means, vae.given(np.int32(model["y"])).encode(images).mean, atol=1e-6)
    other = model_of(page_of(random_vae()))
    assert other["classes"] == [] and other["y"] is None


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
    asks_nobody = page.replace("fetch(address, ", "", 1)  # of a served page, which the policy of this one forbids
    assert not re.search(r"https?:|file:|wss?:|url\(|@import|\bimport\(|\bfetch\(|XMLHttpRequest", asks_nobody)
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


@pytest.mark.parametrize(
    ("channels", "shown"), [(1, ""), (3, ""), (4, "pictures show channels 1 to 3 of 4, as colour")]
)
def test_the_page_says_which_channels_it_shows(channels, shown):
    assert model_of(page_of(random_vae((2, 2, channels), hidden_units=(2,))))["shown"] == shown


def test_labels_with_names_are_shown_by_them():
    vae = random_vae()
    images = np.zeros((4, *vae.decoder.image_shape), np.uint8)
    split = Split(images, np.array([1, 0, 2, 1]), ("ape", "bee", "eel"))
    page = explorer.page(vae, Config(dataset="digits").as_usual(), Dataset(split, split, split), "a title")
    assert model_of(page)["labels"] == ["bee", "ape", "eel", "bee"]


def test_images_of_floats_without_labels():
    vae = random_vae()
    images = np.random.default_rng(0).uniform(size=(6, *SHAPE)).astype("f")
    split = Split(images, None)
    model = model_of(explorer.page(vae, Config(dataset="digits").as_usual(), Dataset(split, split, split), "a title"))
    assert model["labels"] is None
    shown = np.frombuffer(base64.b64decode(model["images"]), np.uint8).reshape(images.shape)
    np.testing.assert_array_equal(shown, np.rint(images * 255))
    means = np.frombuffer(base64.b64decode(model["means"]), "<f4").reshape(6, -1)
    np.testing.assert_allclose(means, vae.encode(images).mean, atol=1e-6)
