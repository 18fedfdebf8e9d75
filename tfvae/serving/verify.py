"""Calls an exported SavedModel as TensorFlow Serving does: python tfvae/serving/verify.py saved_models/NAME/1

It goes through the C API in TensorFlow's own shared libraries, without TensorFlow's Python, Keras or tfvae. It compares
every signature's answers with those of the trained model, which lie beside it, and replays the warm-up requests.
"""

import importlib.util
import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if __package__:
    from tfvae.serving.session import DTYPES, Session, load_tensorflow
else:  # as a program, which knows nothing of tfvae
    from session import DTYPES, Session, load_tensorflow  # type: ignore[no-redef]

if TYPE_CHECKING:
    from tensorflow.core.framework.tensor_pb2 import TensorProto
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

# Of `sizes`, by the type of the layers' products: an encoder's means and log-variances are sums. Where XLA or a graph
# fuses operations, bfloat16 is rounded, to 8 bits, at other places.
TOLERANCES = {"float32": 1e-6, "bfloat16": 2**-6}
_INVALID_ARGUMENT = 3
_FROM_STDIN = "-"  # in the place of a version: a JSON list of versions comes by standard input
_VERIFIED = "\0"  # ends what is printed of each of them
_FORBIDDEN = ("Xla", "RandomStandardNormal", "RandomUniform", "TruncatedNormal", "StatefulRandom", "StatefulStandard")


def verify(folder: Path) -> str:
    """Verifies an exported version; returns what was compared, a line a signature.

    Raises:
        ValueError: it needs what a server may not have, or answers otherwise than the trained model.
        OSError: TensorFlow can't load or call it.
        KeyError: the trained model's answers are not those of its signatures.
    """
    session = Session(folder)
    _require_no_forbidden_operation(session)
    with np.load(folder / "assets.extra" / "expected.npz") as file:
        expected = dict(file)
    lines = [_verify_signature(session, signature, expected) for signature in sorted(session.signatures)]
    if importlib.util.find_spec("tensorflow_serving") is None:
        return "\n".join([*lines, "warm-up requests not tried: no tensorflow-serving-api here"])
    requests = warm_up_requests(folder / "assets.extra" / "tf_serving_warmup_requests")
    for request in requests:
        arrays = {name: _array_of(tensor) for name, tensor in request.inputs.items()}
        session.call(request.model_spec.signature_name, arrays)
    return "\n".join([*lines, f"{len(requests)} warm-up requests answered"])


def _require_no_forbidden_operation(session: Session) -> None:
    """Refuses XLA, which a server may not have, and randomness with a state, with which a row has no seed of its own.

    XLA is also asked for by an attribute that is true.
    """
    functions = session.graph_def.library.function
    nodes = [*session.graph_def.node, *(node for function in functions for node in function.node_def)]
    names = {node.op for node in nodes}
    for holder in (*nodes, *functions):
        names |= {name for name, value in holder.attr.items() if value.b}
    for name in names:
        if name.lstrip("_").startswith(_FORBIDDEN):
            raise ValueError(f"it needs {name}")


def _verify_signature(session: Session, signature: str, expected: Mapping[str, np.ndarray]) -> str:
    """Compares a signature's answers with the expected ones, {"<signature>/in/<name>" or "…/out/<name>": array}."""
    inputs = {name: expected[f"{signature}/in/{name}"] for name in session.signatures[signature].inputs}
    outputs = session.call(signature, inputs)
    tolerance = float(expected.get("tolerance", TOLERANCES["float32"]))  # older exports have none
    differences, is_same = {}, True
    for name, output in outputs.items():
        answer = expected[f"{signature}/out/{name}"]
        difference = np.abs(output - answer)
        differences[name] = float(difference.max())
        allowed = tolerance * sizes(answer, expected.get(f"{signature}/scale/{name}"))
        is_same = is_same and bool(np.all(difference <= allowed))  # NaN is no small difference
    if not is_same:
        raise ValueError(f"{signature} differs from the model: {differences}")
    if f"{signature}/takes_nan" not in expected:
        _require_nan_refused(session, signature, inputs)
    if any(output.dtype != np.float32 for output in outputs.values()):
        raise ValueError(f"{signature} has an output that is not float32")
    within = ", ".join(f"{name} within {difference:.1e}" for name, difference in differences.items())
    return f"{signature}({', '.join(inputs)}): {within}"


def sizes(answer: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """What a difference is compared with: the largest answer, or 1 where that is less.

    Of vectors [N, D] it is the largest of each column, or its `scale` [D] where that is more: the columns have units of
    their own, and what is little in one of them may be all of another.
    """
    if scale is None:
        return np.maximum(1, np.abs(answer).max())
    return np.maximum(scale, np.abs(answer).max(axis=0))


def _require_nan_refused(session: Session, signature: str, inputs: dict[str, np.ndarray]) -> None:
    """A signature that takes floats must have an error for NaN, not a plausible picture."""
    nans = {name: np.full_like(value, np.nan) for name, value in inputs.items() if value.dtype == np.float32}
    if not nans:
        return
    try:
        session.call(signature, {**inputs, **nans})
    except OSError as error:
        if error.errno != _INVALID_ARGUMENT:
            raise
    else:
        raise ValueError(f"{signature} takes NaN for an input")


def warm_up_requests(path: Path) -> list["PredictRequest"]:
    """The PredictRequests in a file of TFRecords: length (8 bytes), its checksum (4), the record, its checksum (4)."""
    from tensorflow_serving.apis import prediction_log_pb2

    data, requests = path.read_bytes(), []
    while data:
        [length] = struct.unpack("<Q", data[:8])
        requests.append(prediction_log_pb2.PredictionLog.FromString(data[12 : 12 + length]).predict_log.request)
        data = data[16 + length :]
    return requests


def _array_of(tensor: "TensorProto") -> np.ndarray:
    """The array of a TensorProto, which holds several values as bytes, and a single one as a number."""
    dtype = DTYPES[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    return np.array(tensor.float_val or tensor.int_val, dtype).reshape(shape)


class Checker:
    """`verify` in a process of its own, which has neither Keras nor tfvae.

    The process starts at once: it loads TensorFlow while the models are still being written. Used by `with`, which ends
    it.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, _FROM_STDIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def check(self, *folders: Path) -> str:
        """What was compared of these versions, a line a signature; once for a checker.

        Raises:
            RunError: one of them is not what it should be; with the reason.
        """
        from tfvae.errors import RunError

        output, errors = self.process.communicate(json.dumps([str(folder) for folder in folders]))
        if self.process.returncode:
            lines = errors.strip().splitlines() or ["no reason given"]
            reason = " ".join(lines[-1].split())
            verified = output.count(_VERIFIED)  # the versions before the one that failed
            raise RunError(f"{folders[min(verified, len(folders) - 1)]}: is not served as the model answers: {reason}")
        return output.replace(_VERIFIED, "").strip()

    def __enter__(self) -> "Checker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def check(folder: Path) -> str:
    """`Checker.check` of one version."""
    with Checker() as checker:
        return checker.check(folder)


def main(argument: str) -> None:
    """Prints what was compared; leaves with status 1 where a model is not what it should be."""
    try:
        if argument == _FROM_STDIN:
            load_tensorflow()
            for folder in json.loads(sys.stdin.read()):
                print(f"{verify(Path(folder))}{_VERIFIED}", flush=True)
        else:
            print(verify(Path(argument)))
        loaded = {"keras", "tfvae"} & {name.partition(".")[0] for name in sys.modules}
        if loaded:
            raise ValueError(f"{loaded.pop()} was imported on the way")
    except (ValueError, OSError, KeyError) as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
