"""Calls an exported SavedModel as TensorFlow Serving does: python tfvae/verify.py saved_models/NAME/1

Through the C API in TensorFlow's own shared libraries, without TensorFlow's Python, Keras or tfvae. Compares every
signature's answers with those of the trained model that lie beside it, and replays the warm-up requests.
"""

import ctypes
import importlib.util
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-6
_DTYPES = {np.dtype(np.float32): 1, np.dtype(np.int32): 3}  # TF_FLOAT, TF_INT32
_INVALID_ARGUMENT = 3
_FORBIDDEN = ("Xla", "RandomStandardNormal", "RandomUniform", "TruncatedNormal", "StatefulRandom", "StatefulStandard")


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


class Served:
    """A SavedModel in a session of TensorFlow's C API: `signatures` {name: SignatureDef}, `graph` MetaGraphDef."""

    def __init__(self, folder: Path) -> None:
        root = Path(importlib.util.find_spec("tensorflow").origin).parent
        ctypes.CDLL(str(root / "libtensorflow_framework.so.2"), ctypes.RTLD_GLOBAL)
        self.c = ctypes.CDLL(str(root / "libtensorflow_cc.so.2"), ctypes.RTLD_GLOBAL)
        pointers = "NewStatus NewGraph NewSessionOptions LoadSessionFromSavedModel GraphOperationByName AllocateTensor"
        for name in (*pointers.split(), "TensorData"):
            getattr(self.c, f"TF_{name}").restype = ctypes.c_void_p
        self.c.TF_NewBuffer.restype = ctypes.POINTER(_Buffer)
        self.c.TF_Message.restype, self.c.TF_Dim.restype = ctypes.c_char_p, ctypes.c_int64
        self.status, self.nodes = ctypes.c_void_p(self.c.TF_NewStatus()), ctypes.c_void_p(self.c.TF_NewGraph())
        buffer, tags = self.c.TF_NewBuffer(), (ctypes.c_char_p * 1)(b"serve")
        options = ctypes.c_void_p(self.c.TF_NewSessionOptions())
        self.session = self.c.TF_LoadSessionFromSavedModel(
            options, None, str(folder).encode(), tags, 1, self.nodes, buffer, self.status
        )
        self._check()
        # its protocol buffers, without the rest of the package, which would import Keras
        package = sys.modules.setdefault("tensorflow", types.ModuleType("tensorflow"))
        package.__path__ = [str(root)]
        from tensorflow.core.protobuf import meta_graph_pb2

        data = ctypes.string_at(buffer.contents.data, buffer.contents.length)
        self.graph = meta_graph_pb2.MetaGraphDef.FromString(data)
        self.signatures = {k: v for k, v in self.graph.signature_def.items() if not k.startswith("__")}

    def _check(self) -> None:
        code = self.c.TF_GetCode(self.status)
        if code:
            raise OSError(code, self.c.TF_Message(self.status).decode(errors="replace"))

    def _places(self, infos: list[Any]) -> Any:
        places = (_Output * len(infos))()
        for place, info in zip(places, infos):
            name, _, index = info.name.partition(":")
            place.operation, place.index = self.c.TF_GraphOperationByName(self.nodes, name.encode()), int(index)
        return places

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raises OSError with TensorFlow's error code and message."""
        told = self.signatures[signature]
        tensors = (ctypes.c_void_p * len(inputs))()
        for i, value in enumerate(inputs.values()):
            dims = (ctypes.c_int64 * value.ndim)(*value.shape)
            size = ctypes.c_size_t(value.nbytes)
            tensors[i] = self.c.TF_AllocateTensor(_DTYPES[value.dtype], dims, value.ndim, size)
            place = self.c.TF_TensorData(ctypes.c_void_p(tensors[i]))
            ctypes.memmove(place, np.ascontiguousarray(value).ctypes.data, value.nbytes)
        names = sorted(told.outputs)
        results = (ctypes.c_void_p * len(names))()
        into, out = self._places([told.inputs[k] for k in inputs]), self._places([told.outputs[k] for k in names])
        session = ctypes.c_void_p(self.session)
        arguments = (into, tensors, len(inputs), out, results, len(names), None, 0, None, self.status)
        self.c.TF_SessionRun(session, None, *arguments)
        self._check()
        return {name: self._array(ctypes.c_void_p(result)) for name, result in zip(names, results)}

    def _array(self, tensor: ctypes.c_void_p) -> np.ndarray:
        shape = [self.c.TF_Dim(tensor, i) for i in range(self.c.TF_NumDims(tensor))]
        if self.c.TF_TensorType(tensor) != _DTYPES[np.dtype(np.float32)]:
            raise OSError(0, "an output is not float32")
        flat = np.empty(int(np.prod(shape)), np.float32)
        ctypes.memmove(flat.ctypes.data, self.c.TF_TensorData(tensor), flat.nbytes)
        return flat.reshape(shape)


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
    served = Served(folder)
    expected = np.load(folder / "assets.extra" / "expected.npz")
    nodes = [*served.graph.graph_def.node, *(n for f in served.graph.graph_def.library.function for n in f.node_def)]
    holders = [*nodes, *served.graph.graph_def.library.function]
    switched_on = {name for holder in holders for name, value in holder.attr.items() if value.b}
    for name in {node.op for node in nodes} | switched_on:
        if name.lstrip("_").startswith(_FORBIDDEN):
            raise ValueError(f"it needs {name}")
    lines = []
    for signature, told in sorted(served.signatures.items()):
        inputs = {name: expected[f"{signature}/in/{name}"] for name in told.inputs}
        outputs = served.call(signature, inputs)
        differences = {k: float(np.abs(v - expected[f"{signature}/out/{k}"]).max()) for k, v in outputs.items()}
        if not max(differences.values()) <= TOLERANCE:
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
    from tfvae.config import RunError

    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True)
    if done.returncode:
        reason = " ".join((done.stderr.strip().splitlines() or ["no reason given"])[-1].split())
        raise RunError(f"{folder}: is not served as the model answers: {reason}")
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        print(verify(Path(sys.argv[1])))
    except (ValueError, OSError, KeyError) as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
