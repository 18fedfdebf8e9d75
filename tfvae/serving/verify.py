"""Calls an exported SavedModel as TensorFlow Serving does: python tfvae/verify.py saved_models/NAME/1

Through the C API in TensorFlow's own shared libraries, without TensorFlow's Python, Keras or tfvae. Compares every
signature's answers with those of the trained model that lie beside it, and replays the warm-up requests.
"""

import importlib.util
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

if __package__:
    from tfvae.serving.session import Session
else:  # as a program, which knows nothing of tfvae
    from session import Session

TOLERANCE = 1e-6  # of the largest answer, where that is above 1: an encoder's means and log-variances are sums
_INVALID_ARGUMENT = 3
_FORBIDDEN = ("Xla", "RandomStandardNormal", "RandomUniform", "TruncatedNormal", "StatefulRandom", "StatefulStandard")


def warm_up_requests(path: Path) -> list[Any]:
    """The PredictRequests in a file of TFRecords: length (8 bytes), its checksum (4), the record, its checksum (4)."""
    from tensorflow_serving.apis import prediction_log_pb2

    data, requests = path.read_bytes(), []
    while data:
        [length] = struct.unpack("<Q", data[:8])
        requests.append(prediction_log_pb2.PredictionLog.FromString(data[12 : 12 + length]).predict_log.request)
        data = data[16 + length :]
    return requests


def verify(folder: Path) -> str:
    """Raises ValueError or OSError where the SavedModel is not what it should be; returns what was compared."""
    served = Session(folder)
    expected = np.load(folder / "assets.extra" / "expected.npz")
    nodes = [*served.graph_def.node, *(n for f in served.graph_def.library.function for n in f.node_def)]
    holders = [*nodes, *served.graph_def.library.function]
    switched_on = {name for holder in holders for name, value in holder.attr.items() if value.b}
    for name in {node.op for node in nodes} | switched_on:
        if name.lstrip("_").startswith(_FORBIDDEN):
            raise ValueError(f"it needs {name}")
    lines = []
    for signature, told in sorted(served.signatures.items()):
        inputs = {name: expected[f"{signature}/in/{name}"] for name in told.inputs}
        outputs = served.call(signature, inputs)
        wanted = {name: expected[f"{signature}/out/{name}"] for name in outputs}
        differences = {k: float(np.abs(v - wanted[k]).max()) for k, v in outputs.items()}
        if not all(differences[k] <= TOLERANCE * max(1, np.abs(wanted[k]).max()) for k in outputs):
            raise ValueError(f"{signature} differs from the model: {differences}")
        bad = {k: np.full_like(v, np.nan) for k, v in inputs.items() if v.dtype == np.float32}
        if bad:
            try:
                served.call(signature, bad)
                raise ValueError(f"{signature} takes NaN for an input")
            except OSError as error:
                if error.errno != _INVALID_ARGUMENT:
                    raise
        text = ", ".join(f"{name} within {difference:.1e}" for name, difference in differences.items())
        if any(value.dtype != np.float32 for value in outputs.values()):
            raise ValueError(f"{signature} has an output that is not float32")
        lines.append(f"{signature}({', '.join(inputs)}): {text}")
    if importlib.util.find_spec("tensorflow_serving") is None:
        return "\n".join([*lines, "warm-up requests not tried: no tensorflow-serving-api here"])
    requests = warm_up_requests(folder / "assets.extra" / "tf_serving_warmup_requests")
    for request in requests:
        rows = {k: tuple(d.size for d in v.tensor_shape.dim) for k, v in request.inputs.items()}
        values = {k: np.frombuffer(v.tensor_content, np.float32 if v.dtype == 1 else np.int32) if v.tensor_content
                  else np.array(v.float_val or v.int_val, np.float32 if v.dtype == 1 else np.int32)
                  for k, v in request.inputs.items()}  # fmt: skip
        served.call(request.model_spec.signature_name, {k: v.reshape(rows[k]) for k, v in values.items()})
    return "\n".join([*lines, f"{len(requests)} warm-up requests answered"])


def check(folder: Path) -> str:
    """`verify` in a process of its own, which has neither Keras nor tfvae; raises RunError with its reason."""
    from tfvae.errors import RunError

    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True)
    if done.returncode:
        reason = " ".join((done.stderr.strip().splitlines() or ["no reason given"])[-1].split())
        raise RunError(f"{folder}: is not served as the model answers: {reason}")
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        print(verify(Path(sys.argv[1])))
        if loaded := {"keras", "tfvae"} & {name.partition(".")[0] for name in sys.modules}:
            raise ValueError(f"{loaded.pop()} was imported on the way")
    except (ValueError, OSError, KeyError) as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
