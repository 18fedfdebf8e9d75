"""The explorer of a network of the user's own: a server decodes for the page, and the file alone says that it can't."""

import json
import shutil
import subprocess

import keras
import numpy as np
import pytest
from explorer_pages import Parsed, model_of, page_of
from keras import layers

from tfvae.config import Config
from tfvae.config.rules import check_explorer
from tfvae.core import own_network
from tfvae.core.making import make_vae

SHAPE = (4, 3, 1)
IN_NODE = """
const [script, model, answers, address] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const {makeServedDecoder} = new Function(script + "; return {makeServedDecoder}")();
const asked = [], told = [];
globalThis.fetch = async (url, {method, body}) => {
  const rows = JSON.parse(body).instances;
  asked.push([url, method, rows]);
  const answer = answers[asked.length - 1];
  if (answer.error) return {ok: false, json: async () => answer};
  return {ok: true, json: async () => ({predictions: rows.map(z => answer[z[0]])})};
};
const decode = makeServedDecoder(model, address, reason => told.push(reason));
const at = () => [0, 1, 2].map(z => decode([z, 0]) && [...decode([z, 0])]);
const seen = [at()];
setTimeout(() => { seen.push(at()); setTimeout(() => {
  seen.push(at());
  console.log(JSON.stringify({asked, told, seen}));
}, 20); }, 20);
"""


@pytest.fixture(scope="module")
def page():
    pair = (keras.Sequential([layers.Flatten(), layers.Dense(4)]), layers.Dense(4, "tanh"))
    trunks = own_network.as_trunks("layers", pair)
    return page_of(make_vae(Config(network="layers", latent_dim=2), SHAPE, trunks=trunks), network="layers")


def in_node(page, answers, address="/v1/models/vae:predict", value_range=(0, 1)):
    """What `makeServedDecoder` of the page asks, tells and has, before and after answers."""
    if not shutil.which("node"):
        pytest.skip("needs node")
    given = json.dumps([Parsed(page).text["script"][1], {**model_of(page), "range": value_range}, answers, address])
    done = subprocess.run(["node", "-e", IN_NODE], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_has_no_weights_and_may_ask_its_own_server_alone(page):
    check_explorer(Config(network="layers"))
    model = model_of(page)
    assert model["layers"] is None and model["range"] == [0, 1]
    parsed = Parsed(page)
    assert {"name": "served", "content": ""} in parsed.all("meta")
    [policy] = [tag["content"] for tag in parsed.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and policy.endswith("; connect-src 'self'")
    assert "This file can't draw by itself" in page


def test_it_asks_once_for_what_it_needs_and_has_it_when_the_answer_is_there(page):
    images = np.random.default_rng(0).uniform(size=(3, *SHAPE)).round(3)
    found = in_node(page, [images.tolist()])
    [(url, method, rows)] = found["asked"]
    assert (url, method) == ("/v1/models/vae:predict", "POST")
    assert sorted(rows) == [[0, 0], [1, 0], [2, 0]]  # one request, each place once
    assert found["told"] == [""]
    assert found["seen"][0] == [None] * 3
    np.testing.assert_allclose(found["seen"][1], images.reshape(3, -1), atol=1e-6)


def test_images_in_a_range_of_their_own_come_back_to_0_to_1(page):
    images = np.linspace(-1.2, 1.2, 36).reshape(3, *SHAPE)  # the first and the last are clipped
    found = in_node(page, [images.tolist()], value_range=(-1, 1))
    expected = np.clip((images.reshape(3, -1) + 1) / 2, 0, 1)
    np.testing.assert_allclose(found["seen"][1], expected, atol=1e-6)


def test_a_refusal_is_told_and_the_places_are_asked_for_again(page):
    images = np.full((3, *SHAPE), 0.5)
    found = in_node(page, [{"error": "too many"}, images.tolist()])
    assert found["told"] == ["too many", ""]
    assert found["seen"][:2] == [[None] * 3] * 2 and found["seen"][2] == [[0.5] * 12] * 3


def test_the_file_alone_asks_nobody(page):
    assert in_node(page, [], address="") == {"asked": [], "told": [], "seen": [[None] * 3] * 3}
