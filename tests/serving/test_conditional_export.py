"""A conditional model as it goes out: `label` beside z, seed and x, for TensorFlow, our server and onnxruntime."""

import contextlib
import json

import numpy as np
import pytest
import tensorflow as tf
from servers import ROOT, served
from serving_contract import request

from tfvae.config import Config
from tfvae.core.columns import Columns
from tfvae.core.making import make_vae
from tfvae.serving import onnx, saved_model, verify
from tfvae.serving.contract import Refused
from tfvae.serving.registry import RestApi, ServedModel

CLASSES = ("ant", "bee", "cat")
Z = np.random.default_rng(0).normal(size=(4, 2)).astype("f")
X = np.random.default_rng(1).uniform(size=(4, 4, 3, 1)).astype("f")
Y = np.array([2, 0, 1, 1], np.int32)
NO_CLASS = r"label must be from 0 to 2, the places of the classes ant, bee, cat, and has numbers from "


@pytest.fixture(scope="module")
def vae():
    vae = make_vae(Config(condition="label", hidden_units=(8,)), (4, 3, 1), classes=CLASSES)
    rng = np.random.default_rng(2)
    for variable in vae.trainable_variables:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return vae


@pytest.fixture(scope="module")
def versions(vae, tmp_path_factory):
    """The directories of the decoder and of the encoder."""
    base = tmp_path_factory.mktemp("conditional") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "Checker", NoChecker)
        return saved_model.export(vae, base, {"step": 7}), base.with_name("run-encoder") / "1"


class NoChecker:
    """In the place of `verify.Checker`, whose process takes seconds: a test verifies these itself."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def check(self, *folders):
        pass


@pytest.fixture(scope="module")
def api(versions):
    models = [ServedModel(version.parent) for version in versions]
    for model in models:
        model.poll()
    return RestApi(models, max_rows=10)


def predict(api, name, request):
    return json.loads(api.predict(name, None, json.dumps(request).encode()))


def test_the_signatures_take_a_label_for_each_row_and_answer_as_the_model(vae, versions):
    decoder, encoder = (tf.saved_model.load(str(version)) for version in versions)
    for model, name, first in (decoder, "decode", "z"), (decoder, "sample", "seed"), (encoder, "encode", "x"):
        inputs = model.signatures[name].structured_input_signature[1]
        assert set(inputs) == {first, "label"}
        assert inputs["label"].dtype == tf.int32 and inputs["label"].shape.as_list() == [None]
    images = decoder.signatures["serving_default"](z=tf.constant(Z), label=tf.constant(Y))["image"]
    np.testing.assert_allclose(images, vae.given(Y).decode(Z).mean, atol=1e-6)
    assert np.abs(images - vae.given(np.zeros_like(Y)).decode(Z).mean)[[0, 2, 3]].max() > 1e-3  # it is not ignored
    encoded, q = encoder.signatures["encode"](x=tf.constant(X), label=tf.constant(Y)), vae.given(Y).encode(X)
    np.testing.assert_allclose(encoded["mean"], q.mean, atol=1e-6)
    np.testing.assert_allclose(encoded["log_variance"], q.log_variance, atol=1e-6)
    drawn = decoder.signatures["sample"](seed=tf.range(4), label=tf.constant(Y))
    np.testing.assert_allclose(drawn["image"], vae.given(Y).decode(drawn["z"].numpy()).mean, atol=1e-6)
    same_z = decoder.signatures["sample"](seed=tf.range(4), label=tf.constant([0, 0, 0, 0]))["z"]
    np.testing.assert_array_equal(same_z, drawn["z"])  # p(z) does not depend on the label


def test_they_verify_and_warm_up_with_labels(versions):
    for version, requests in zip(versions, (9, 6)):
        text = verify.verify(version)
        assert f"{requests} warm-up requests answered" in text and "serving_default(" in text and "label" in text
        for warm_up in verify.warm_up_requests(version / "assets.extra" / "tf_serving_warmup_requests"):
            labels = verify._array_of(warm_up.inputs["label"])
            np.testing.assert_array_equal(labels, np.arange(len(labels)) % 3)


def test_the_names_of_the_classes_are_beside_both_models(versions):
    for path in versions:
        assert json.loads((path / "assets.extra" / "tfvae.json").read_text()) == {"step": 7, "classes": list(CLASSES)}


WRONG = {
    "too large": ([0, 1, 3, 0], NO_CLASS + "0 to 3"),
    "negative": ([0, -1, 2, 0], NO_CLASS + "-1 to 2"),
    "too few": ([0, 1], "label must be one for each row"),
    "one for all": ([1], "label must be one for each row"),
    "one number": (1, r"\[\].*\[\?\]"),
    "a fraction": ([0.5, 1, 1, 1], "int32"),
    "a name": (["ant", "bee", "cat", "cat"], "int32"),
}


@pytest.mark.parametrize(("label", "reason"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(
    ("model", "signature", "first"),
    [
        ("run", "decode", {"z": Z.tolist()}),
        ("run", "sample", {"seed": [1, 2, 3, 4]}),
        ("run-encoder", "encode", {"x": X.tolist()}),
    ],
)
def test_a_label_that_is_no_class_s_is_an_invalid_argument(api, model, signature, first, label, reason):
    with pytest.raises(Refused, match=reason) as refused:
        predict(api, model, {"signature_name": signature, "inputs": {**first, "label": label}})
    assert refused.value.status == 400


def test_rows_and_columns_of_a_request_have_labels(vae, api):
    expected = vae.given(Y).decode(Z).mean
    rows = [{"z": z, "label": label} for z, label in zip(Z.tolist(), Y.tolist())]
    np.testing.assert_allclose(predict(api, "run", {"instances": rows})["predictions"], expected, atol=1e-6)
    columns = {"z": Z.tolist(), "label": Y.tolist()}
    np.testing.assert_allclose(predict(api, "run", {"inputs": columns})["outputs"], expected, atol=1e-6)
    q = predict(api, "run-encoder", {"instances": [{"x": X[0].tolist(), "label": 2}]})["predictions"][0]
    np.testing.assert_allclose(q["mean"], vae.given([2]).encode(X[:1]).mean[0], atol=1e-6)
    for request_, reason in (
        ({"instances": Z.tolist()}, "expecting list of objects"),
        ({"instances": [{"z": Z[0].tolist()}]}, "keys must be equal to: label,z"),
        ({"inputs": {"z": Z.tolist()}}, "Missing named input: label in 'inputs' object"),
    ):
        with pytest.raises(Refused, match=reason):
            predict(api, "run", request_)


def test_the_metadata_name_the_label(api):
    signatures = api.metadata("run", None)["metadata"]["signature_def"]["signature_def"]
    for name, first in ("decode", "z"), ("sample", "seed"), ("serving_default", "z"):
        assert set(signatures[name]["inputs"]) == {first, "label"}
        assert signatures[name]["inputs"]["label"]["dtype"] == "DT_INT32"


KINDS = {
    "vectors": ({"likelihood": "gaussian"}, (1, 1, 2), {"columns": Columns(("a", "b"), (1.0, -3.0), (2.0, 0.5))}),
    "convolutions in a range": ({"network": "conv", "filters": (3, 4)}, (5, 6, 3), {"value_range": (-1.0, 1.0)}),
    "a mixture in bfloat16": ({"prior": "mixture", "posterior": "full", "dtype": "bfloat16"}, (4, 3, 1), {}),
}


@pytest.mark.nightly
@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize(("settings", "shape", "facts"), KINDS.values(), ids=KINDS)
def test_models_of_each_kind_are_exported_with_labels(settings, shape, facts, tmp_path):
    """An export is there only where it was verified."""
    vae = make_vae(Config(condition="label", hidden_units=(8,), **settings), shape, classes=CLASSES, **facts)
    version = saved_model.export(vae, tmp_path / "run")
    decode = tf.saved_model.load(str(version)).signatures["decode"]
    [mean] = decode(z=tf.constant(Z), label=tf.constant(Y)).values()
    expected = vae.decoder.in_user_units(vae.given(Y).decode(Z).mean.numpy())
    np.testing.assert_allclose(mean, expected, atol=1e-2 if "dtype" in settings else 1e-5)


@pytest.mark.nightly
def test_the_server_s_answers_to_labels(vae, versions):
    with served(versions[0].parent) as (url, _):
        rows = [{"z": Z[0].tolist(), "label": 2}]
        status, answer = request(url, "/v1/models/run:predict", {"instances": rows})
        assert status == 200
        np.testing.assert_allclose(answer["predictions"], vae.given([2]).decode(Z[:1]).mean, atol=1e-6)
        rows = [{"seed": 5, "label": 3}]
        status, answer = request(url, "/v1/models/run:predict", {"signature_name": "sample", "instances": rows})
        assert status == 400 and "label must be from 0 to 2" in answer["error"]
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ROOT / "serving")
            import client
        with contextlib.closing(client.Client(url, "run")) as run:
            np.testing.assert_allclose(run.decode(Z.tolist(), Y.tolist()), vae.given(Y).decode(Z).mean, atol=1e-6)
            assert np.shape(run.sample([1, 2], [0, 1])) == (2, 4, 3, 1)
            mean = run.encode(X.tolist(), Y.tolist())["mean"]
            np.testing.assert_allclose(mean, vae.given(Y).encode(X).mean, atol=1e-6)


def test_onnx_takes_labels_and_refuses_those_of_no_class(vae, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    onnx.export_onnx(vae, tmp_path / "decoder.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "decoder.onnx"))
    assert {i.name: i.type for i in session.get_inputs()} == {"z": "tensor(float)", "label": "tensor(int32)"}
    [image] = session.run(["image"], {"z": Z, "label": Y})
    np.testing.assert_allclose(image, vae.given(Y).decode(Z).mean, atol=1e-5)
    for label in -1, 3:
        with pytest.raises(Exception, match="out of data bounds"):
            session.run(["image"], {"z": Z[:1], "label": np.int32([label])})
