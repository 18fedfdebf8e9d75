"""TensorFlow Serving's REST contract as requests and their answers, for tfvae.serve and for the real server.

`python tests/serving/serving_contract.py DIR` writes the models that they are about, DIR/vae/7 and
DIR/vae-encoder/7: with weights by which every answer is exact. TF_SERVING_REST=http://127.0.0.1:8501 names a server
of these two.
"""

import http.client
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PREDICT, ENCODE = "/v1/models/vae:predict", "/v1/models/vae-encoder:predict"
A, B = [[[1.0], [2.0]], [[1.0], [3.0]]], [[[0.5], [-1.0]], [[0.0], [-2.5]]]  # the images of z = [1, 2], [0.5, -1]
AVAILABLE = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "
LARGE = "Cannot convert JSON value: {} to float without loss of precision."


class Starts(str):
    """An error that starts so: the rest is a library's own words."""


class Case(NamedTuple):
    name: str
    path: str
    body: Any  # None: a GET; bytes: as they are; else: as JSON
    status: int
    answer: Any  # the JSON; a text: the error; None: any


def sampled(*seeds: int) -> list[dict[str, Any]]:
    return [{"image": [[[s], [s]], [[0.5 * s], [2.0 * s]]], "z": [s, s]} for s in map(float, seeds)]


def info(name: str, dtype: str, *shape: int) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}


CASES = [
    Case("rows", PREDICT, {"instances": [[1, 2], [0.5, -1]]}, 200, {"predictions": [A, B]}),
    Case("rows by name", PREDICT, {"instances": [{"z": [1, 2]}, {"z": [0.5, -1]}]}, 200, {"predictions": [A, B]}),
    Case("columns", PREDICT, {"inputs": [[1, 2], [0.5, -1]]}, 200, {"outputs": [A, B]}),
    Case("columns by name", PREDICT, {"inputs": {"z": [[1, 2]]}}, 200, {"outputs": [A]}),
    Case("one row", PREDICT, {"instances": [[1.0, 2.0]]}, 200, {"predictions": [A]}),
    Case("a version", "/v1/models/vae/versions/7:predict", {"instances": [[1, 2]]}, 200, {"predictions": [A]}),
    Case("upper case", "/V1/Models/vae:Predict", {"instances": [[1, 2]]}, 200, None),
    Case("a query", PREDICT + "?a=b", {"instances": [[1, 2]]}, 200, {"predictions": [A]}),
    Case("a signature", PREDICT, {"signature_name": "decode", "instances": [[1, 2]]}, 200, {"predictions": [A]}),
    Case("an empty one", PREDICT, {"signature_name": "", "instances": [[1, 2]]}, 200, {"predictions": [A]}),
    Case("other keys", PREDICT, {"instances": [[1, 2]], "other": 1}, 200, {"predictions": [A]}),
    Case("other columns", PREDICT, {"inputs": {"z": [[1, 2]], "y": 3}}, 200, {"outputs": [A]}),
    Case("exponents", PREDICT, b'{"instances": [[1e0, 0.2E1]]}', 200, {"predictions": [A]}),
    Case("the largest float", PREDICT, {"instances": [[3.0e38, 0]]}, 200, None),
    Case("the largest whole number", PREDICT, {"instances": [[16777215, 0]]}, 200, None),
    Case("an escaped name", "/v1/models/%76ae:predict", {"instances": [[1, 2]]}, 200, {"predictions": [A]}),
    Case("samples", PREDICT, {"signature_name": "sample", "instances": [3, 4]}, 200, {"predictions": sampled(3, 4)}),
    Case("samples by columns", PREDICT, {"signature_name": "sample", "inputs": {"seed": [2]}}, 200,
         {"outputs": {k: [v] for k, v in sampled(2)[0].items()}}),
    Case("no samples", PREDICT, {"signature_name": "sample", "inputs": []}, 200, {"outputs": {"image": [], "z": []}}),
    Case("encoder", ENCODE, {"instances": [A]}, 200,
         {"predictions": [{"log_variance": [0.0, 1.0], "mean": [1.0, 2.0]}]}),
    Case("encoder by columns", ENCODE, {"inputs": {"x": [A]}}, 200,
         {"outputs": {"log_variance": [[0.0, 1.0]], "mean": [[1.0, 2.0]]}}),
    # what is not JSON, or no request
    Case("nothing", PREDICT, b"", 400, "JSON Parse error: The document is empty"),
    Case("no JSON", PREDICT, b"{instances", 400, Starts("JSON Parse error: ")),
    Case("half of it", PREDICT, b'{"instances": [[1, 2', 400, Starts("JSON Parse error: ")),
    Case("more than it", PREDICT, b'{"instances": [[1, 2]]} x', 400, Starts("JSON Parse error: ")),
    Case("a list", PREDICT, [], 400, "JSON Value: [] Is not object"),
    Case("a number", PREDICT, 7, 400, "JSON Value: 7 Is not object"),
    Case("nothing in it", PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
    Case("both", PREDICT, {"inputs": 1, "instances": 2}, 400,
         Starts('JSON Value: {\n    "inputs": 1,\n    "instances": 2\n} '
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")),
    Case("no list", PREDICT, {"instances": 5}, 400,
         'JSON Value: {\n    "instances": 5\n} ' "Excepting 'instances' to be an list/array"),
    Case("no rows", PREDICT, {"instances": []}, 400,
         'JSON Value: {\n    "instances": []\n} ' "No values in 'instances' array"),
    Case("no signature", PREDICT, {"signature_name": "x", "instances": [1]}, 400,
         'Serving signature name: "x" not found in signature def'),
    Case("a bad signature", PREDICT, {"signature_name": 3}, 400,
         'JSON Value: {\n    "signature_name": 3\n} '
         "not formatted correctly. 'signature_name' key must be a string value."),
    # values of the wrong type or shape
    Case("text", PREDICT, {"instances": [["a", 2]]}, 400,
         ELEMENT.format(0) + 'JSON Value: "a" Type: String is not of expected type: float'),
    Case("truth", PREDICT, {"instances": [[1, 2], [True, 2]]}, 400,
         ELEMENT.format(1) + "JSON Value: true Type: True is not of expected type: float"),
    Case("null", PREDICT, {"inputs": [[None, 2]]}, 400, "JSON Value: null Type: Null is not of expected type: float"),
    Case("too large", PREDICT, {"inputs": [[1e39, 2]]}, 400, LARGE.format("1e+39")),
    Case("too exact", PREDICT, {"inputs": [[16777216, 2]]}, 400, LARGE.format(16777216)),
    Case("a fraction for a seed", PREDICT, {"signature_name": "sample", "inputs": [1.5]}, 400,
         "JSON Value: 1.5 Type: Number is not of expected type: int32"),
    Case("1.0 for a seed", PREDICT, {"signature_name": "sample", "instances": [1.0]}, 400,
         ELEMENT.format(0) + "JSON Value: 1.0 Type: Number is not of expected type: int32"),
    Case("too large a seed", PREDICT, {"signature_name": "sample", "inputs": [2147483648]}, 400,
         "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
    Case("rows that differ", PREDICT, {"instances": [[1, 2], [1]]}, 400,
         ELEMENT.format(1) + "Expecting tensor size: 2 but got: 1"),
    Case("rows of other shapes", PREDICT, {"instances": [[1, 2], [[1], [2]]]}, 400,
         ELEMENT.format(1) + "Expecting shape [2] but got: [2,1]"),
    Case("columns that differ", PREDICT, {"inputs": [[1, 2], [1]]}, 400,
         "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    Case("a list too deep", PREDICT, {"inputs": [[1, [2]]]}, 400,
         "Encountered list at unexpected level: 2 expected < 2"),
    Case("a value too high", PREDICT, {"inputs": [[1, 2], 3]}, 400,
         "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    Case("another name", PREDICT, {"instances": [{"y": [1, 2]}]}, 400,
         ELEMENT.format("0 key: y") + "JSON object: does not have named input: y"),
    Case("no name", PREDICT, {"instances": [{}]}, 400,
         "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: z"),
    Case("no column", PREDICT, {"inputs": {"y": [[1, 2]]}}, 400, "Missing named input: z in 'inputs' object."),
    Case("a list after an object", PREDICT, {"instances": [{"z": [1, 2]}, [1, 2]]}, 400,
         "Expecting object but got list at item 1 of input list"),
    Case("an object after a list", PREDICT, {"instances": [[1, 2], {"z": [1, 2]}]}, 400,
         "Expecting value/list but got object at item 1 of input list"),
    Case("too wide", PREDICT, {"instances": [[1, 2, 3]]}, 400,
         Starts("Matrix size-incompatible: In[0]: [1,3], In[1]: [2,4]\n\t [[{{")),
    Case("too narrow", PREDICT, {"inputs": [[1]]}, 400,
         Starts("Matrix size-incompatible: In[0]: [1,1], In[1]: [2,4]\n\t [[{{")),
    Case("too flat", PREDICT, {"inputs": [1, 2]}, 400, Starts("In[0] ")),
    # models, versions, paths
    Case("no such model", "/v1/models/x:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(x)"),
    Case("no such version", "/v1/models/vae/versions/9:predict", {"instances": [1]}, 404,
         "Servable not found for request: Specific(vae, 9)"),
    Case("JSON before the model", "/v1/models/x:predict", b"x", 400, Starts("JSON Parse error: ")),
    Case("no such label", "/v1/models/vae/labels/x:predict", {"instances": [1]}, 400,
         Starts("Unrecognized servable version label: x")),
    Case("no method", "/v1/models/vae", {"instances": [1]}, 400, "Malformed request: POST /v1/models/vae"),
    Case("no such method", "/v1/models/vae:x", {}, 400, "Malformed request: POST /v1/models/vae:x"),
    Case("a word for a version", "/v1/models/vae/versions/x:predict", {}, 400,
         "Malformed request: POST /v1/models/vae/versions/x:predict"),
    Case("GET of a method", PREDICT, None, 400, "Malformed request: GET /v1/models/vae:predict"),
    Case("too high a version", f"/v1/models/vae/versions/{2**63}", None, 400, None),
    Case("classify", "/v1/models/vae:classify", {"examples": [{"z": 1.0}]}, 400, None),
    Case("regress", "/v1/models/vae:regress", {"examples": [{"z": 1.0}]}, 400, None),
    # status and metadata
    Case("status", "/v1/models/vae", None, 200, {"model_version_status": [AVAILABLE]}),
    Case("status of a version", "/v1/models/vae/versions/7", None, 200, {"model_version_status": [AVAILABLE]}),
    Case("status of the encoder", "/v1/models/vae-encoder", None, 200, {"model_version_status": [AVAILABLE]}),
    Case("status of all", "/v1/models", None, 400, "Missing model name in request."),
    Case("status of no model", "/v1/models/x", None, 404, "Could not find any versions of model x"),
    Case("status of no version", "/v1/models/vae/versions/9", None, 404, "Could not find version 9 of model vae"),
    Case("metadata of no model", "/v1/models/x/metadata", None, 404, "Servable not found for request: Latest(x)"),
    Case("metadata of no version", "/v1/models/vae/versions/9/metadata", None, 404,
         "Servable not found for request: Specific(vae, 9)"),
]  # fmt: skip

METADATA = {
    "inputs": {"seed": info("sample_seed:0", "DT_INT32", -1)},
    "outputs": {
        "image": info("StatefulPartitionedCall_1:0", "DT_FLOAT", -1, 2, 2, 1),
        "z": info("StatefulPartitionedCall_1:1", "DT_FLOAT", -1, 2),
    },
    "method_name": "tensorflow/serving/predict",
}


def request(url: str, path: str, body: Any = None, method: str = "", timeout: float = 30) -> tuple[int, Any]:
    """The status and the JSON of the answer (its bytes if it is none) of a server at `url`."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method or ("GET" if body is None else "POST"), path, data)
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text


def check(url: str, case: Case) -> None:
    status, answer = request(url, case.path, case.body)
    assert status == case.status, (status, answer)
    if isinstance(case.answer, Starts):
        assert answer["error"].startswith(case.answer), answer
        assert list(answer) == ["error"]
    elif case.answer is not None:
        assert answer == ({"error": case.answer} if isinstance(case.answer, str) else case.answer)


def check_metadata(url: str) -> None:
    status, metadata = request(url, "/v1/models/vae/versions/7/metadata")
    assert (status, request(url, "/v1/models/vae/metadata")) == (200, (status, metadata))
    assert metadata["model_spec"] == {"name": "vae", "signature_name": "", "version": "7"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "decode", "sample"} <= set(signatures)
    sample = signatures["sample"]
    sample.pop("defaults", None)  # newer servers have this too
    for tensors in (sample["outputs"], METADATA["outputs"]):
        tensors["image"]["name"] = tensors["z"]["name"] = "of the graph"
    assert sample == METADATA


def write(base: Path, version: int = 7, scale: float = 1.0, encoder: bool = True) -> None:
    """Writes `base`/`version`, and the same of `base`-encoder: images are `scale` times a matrix product of z."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(scale * tf.constant([[1.0, 0.0, 0.5, -1.0], [0.0, 1.0, 0.25, 2.0]]))

    def image(z: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.matmul(z, module.weights), [-1, 2, 2, 1])

    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"image": image(tf.debugging.check_numerics(z, "z must be finite"))}

    def sample(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        z = tf.tile(tf.cast(seed, tf.float32)[:, None], [1, 2])
        return {"image": tf.stack([z, z * [0.5, 2.0]], axis=1)[..., None], "z": z}

    def encode(x: tf.Tensor) -> dict[str, tf.Tensor]:
        mean = tf.reshape(x, [-1, 4])[:, :2]
        return {"mean": mean, "log_variance": mean - 1.0}

    def save(folder: Path, signatures: dict[str, Any]) -> None:
        functions = {k: tf.function(f, input_signature=[spec]) for k, (f, spec) in signatures.items()}
        aside = folder.with_name(f".{folder.name}.tmp")
        tf.saved_model.save(module, str(aside), signatures=functions)
        aside.rename(folder)

    z, seed = tf.TensorSpec([None, 2], tf.float32, name="z"), tf.TensorSpec([None], tf.int32, name="seed")
    base.mkdir(parents=True, exist_ok=True)
    save(base / str(version), {"serving_default": (decode, z), "decode": (decode, z), "sample": (sample, seed)})
    if encoder:
        x = tf.TensorSpec([None, 2, 2, 1], tf.float32, name="x")
        base.with_name(f"{base.name}-encoder").mkdir(exist_ok=True)
        save(base.with_name(f"{base.name}-encoder") / str(version), {"serving_default": (encode, x)})


if __name__ == "__main__":
    write(Path(sys.argv[1]) / "vae")
