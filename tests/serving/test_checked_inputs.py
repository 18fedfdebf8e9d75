"""What an exported model refuses, whatever calls it: inputs of another shape, and images that are not in [0, 1]."""

import json

import numpy as np
import pytest
import tensorflow as tf
from servers import served
from serving_contract import request

from tfvae.serving.contract import Refused
from tfvae.serving.registry import RestApi, ServedModel
from tfvae.serving.session import Session

IMAGES = np.random.default_rng(0).uniform(0, 1, (2, 6, 5, 2)).astype("f")
RANGE = r"x must be fractions in \[0, 1\], and has numbers from "
BAD_IMAGES = {
    "0 to 255": (np.float32([0, 255, 3, 7] * 30).reshape(2, 6, 5, 2), RANGE + r"0 to 255\]"),
    "0 and 2": (2 * np.round(IMAGES), RANGE + r"0 to 2\]"),
    "-1 to 1": (2 * np.round(IMAGES) - 1, RANGE + r"-1 to 1\]"),
    "one pixel of many": (np.where(IMAGES == IMAGES.max(), np.float32(1.5), IMAGES), RANGE + r"[0-9.]* to 1.5\]"),
    "NaN": (np.full_like(IMAGES, np.nan), "x must be finite"),
    "no channel axis": (IMAGES[..., 0], r"\[2,6,5\].* expected shape \[\?,6,5,2\]"),
    "flat": (IMAGES.reshape(2, 60), r"\[2,60\].* expected shape \[\?,6,5,2\]"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), r"\[2,2,6,5\].* expected shape \[\?,6,5,2\]"),
    "another width": (IMAGES[:, :, :4], r"\[2,6,4,2\].* expected shape \[\?,6,5,2\]"),
    "a single one": (IMAGES[0], r"\[6,5,2\].* expected shape \[\?,6,5,2\]"),
}
BAD_LATENTS = {
    "too narrow": (np.zeros((4, 2)), r"\[4,2\].* expected shape \[\?,3\]"),
    "too wide": (np.zeros((4, 6)), r"\[4,6\].* expected shape \[\?,3\]"),
    "flat": (np.zeros(3), r"\[3\].* expected shape \[\?,3\]"),
    "samples of rows": (np.zeros((2, 2, 3)), r"\[2,2,3\].* expected shape \[\?,3\]"),
    "infinite": (np.full((1, 3), np.inf), "z must be finite"),
}
SEEDS = {"a column": (np.zeros((3, 1)), r"\[3,1\].* expected shape \[\?\]"), "a number": (np.int32(3), r"\[\].*\[\?\]")}
CASES = {
    **{f"encode {name}": ("encoder", "encode", "x", *case) for name, case in BAD_IMAGES.items()},
    **{f"decode {name}": ("decoder", "decode", "z", *case) for name, case in BAD_LATENTS.items()},
    **{f"sample {name}": ("decoder", "sample", "seed", *case) for name, case in SEEDS.items()},
}


@pytest.fixture(scope="module")
def loaded(exported):
    """{"encoder" or "decoder": (by TensorFlow's Python, by the C API, by our REST API)}"""
    models = [ServedModel(exported.decoder.parent), ServedModel(exported.encoder.parent)]
    for model in models:
        model.poll()
    api = RestApi(models, max_rows=10)
    folders = {"decoder": exported.decoder, "encoder": exported.encoder}
    return {name: (tf.saved_model.load(str(path)), Session(path), api) for name, path in folders.items()}


@pytest.mark.parametrize(("model", "signature", "name", "value", "reason"), CASES.values(), ids=CASES)
def test_a_wrong_input_is_an_invalid_argument(loaded, exported, model, signature, name, value, reason):
    by_python, session, api = loaded[model]
    dtype = tf.int32 if name == "seed" else tf.float32
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        by_python.signatures[signature](**{name: tf.constant(value, dtype)})
    with pytest.raises(OSError, match=reason) as caught:
        session.call(signature, {name: np.asarray(value, dtype.as_numpy_dtype)})
    assert caught.value.errno == 3  # INVALID_ARGUMENT
    if not np.isfinite(value).all():
        return  # no JSON
    served_name = getattr(exported, model).parent.name
    body = json.dumps({"signature_name": signature, "inputs": value.astype(dtype.as_numpy_dtype).tolist()})
    with pytest.raises(Refused, match=reason) as refused:
        api.predict(served_name, None, body.encode())
    assert refused.value.status == 400


def test_images_at_the_ends_of_the_range_and_none_at_all_are_taken(loaded, exported):
    by_python, session, _ = loaded["encoder"]
    for x in (np.zeros_like(IMAGES), np.ones_like(IMAGES), np.uint8([255] * 60).reshape(1, 6, 5, 2), IMAGES[:0]):
        x = x * np.float32(1 / 255) if x.dtype == np.uint8 else x
        expected = exported.vae.encode(x).mean if len(x) else np.zeros((0, 3))
        np.testing.assert_allclose(session.call("encode", {"x": x})["mean"], expected, atol=1e-6)
        np.testing.assert_allclose(by_python.signatures["encode"](x=tf.constant(x))["mean"], expected, atol=1e-6)


def test_our_server_s_answer(exported):
    with served(exported.decoder.parent) as (url, _):
        path = "/v1/models/run-encoder:predict"
        status, answer = request(url, path, {"instances": (IMAGES * 255).round().tolist()})
        assert status == 400 and "x must be fractions in [0, 1], and has numbers from " in answer["error"]
        assert request(url, path, {"instances": IMAGES.tolist()})[0] == 200
