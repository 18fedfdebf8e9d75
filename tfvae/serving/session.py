"""A SavedModel in a session of TensorFlow's C++ library, by its C API: what TensorFlow Serving runs, without Python's.

Needs TensorFlow's shared libraries and its protocol buffers, and imports neither TensorFlow nor Keras (6 s, 300 MB).
"""

import ctypes
import functools
import importlib.util
import os
import sys
import types
import weakref
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 10: np.bool_}  # by TensorFlow's DataType

_P, _I, _N, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_int64
_FUNCTIONS = {  # {name: (result, arguments)}
    "NewStatus": (_P,), "DeleteStatus": (None, _P), "GetCode": (_I, _P), "Message": (ctypes.c_char_p, _P),
    "NewGraph": (_P,), "DeleteGraph": (None, _P), "GraphOperationByName": (_P, _P, ctypes.c_char_p),
    "NewSessionOptions": (_P,), "DeleteSessionOptions": (None, _P), "SetConfig": (None, _P, ctypes.c_char_p, _N, _P),
    "NewBuffer": (_P,), "DeleteBuffer": (None, _P), "DeleteSession": (None, _P, _P),
    "AllocateTensor": (_P, _I, _P, _I, _N), "DeleteTensor": (None, _P), "TensorData": (_P, _P), "NumDims": (_I, _P),
    "TensorByteSize": (_N, _P), "TensorType": (_I, _P), "Dim": (_L, _P, _I),
    "LoadSessionFromSavedModel": (_P, _P, _P, ctypes.c_char_p, _P, _I, _P, _P, _P),
    "SessionRun": (None, _P, _P, _P, _P, _I, _P, _P, _I, _P, _I, _P, _P),
}  # fmt: skip
_LONG = ("LoadSessionFromSavedModel", "SessionRun", "DeleteSession")  # during which other threads of Python run


class _Output(ctypes.Structure):
    _fields_ = [("operation", _P), ("index", _I)]


class _Buffer(ctypes.Structure):
    _fields_ = [("data", _P), ("length", _N), ("deallocator", _P)]


class Session:
    """A loaded version: `signatures` {name: SignatureDef}, with `__saved_model_init_op` in `all_signatures`.

    Threads may call it at once: each call computes in its own thread alone. It ends with the last reference to it.
    """

    def __init__(self, folder: Path) -> None:
        root = _protocol_buffers()
        from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

        c = self._c = _library(root)
        status, graph, options, buffer = c.NewStatus(), c.NewGraph(), c.NewSessionOptions(), c.NewBuffer()
        try:  # pools of threads would cost a small model four fifths of its speed
            config = config_pb2.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1)
            config = config.SerializeToString()
            c.SetConfig(options, config, len(config), status)
            tags = (ctypes.c_char_p * 1)(b"serve")
            self._session = c.LoadSessionFromSavedModel(options, None, bytes(folder), tags, 1, graph, buffer, status)
            self._check(status)
            weakref.finalize(self, _end, c, self._session, graph).atexit = False
            told = _Buffer.from_address(buffer)
            meta = meta_graph_pb2.MetaGraphDef.FromString(ctypes.string_at(told.data, told.length))
        finally:
            c.DeleteStatus(status), c.DeleteSessionOptions(options), c.DeleteBuffer(buffer)
        self.graph_def, self.all_signatures = meta.graph_def, dict(meta.signature_def)
        self.signatures = {k: v for k, v in self.all_signatures.items() if not k.startswith("__")}
        self._places: dict[str, Any] = {}
        for name, told in self.signatures.items():
            inputs, outputs = sorted(told.inputs), sorted(told.outputs)
            if not {info.dtype for info in (*told.inputs.values(), *told.outputs.values())} <= set(DTYPES):
                raise ValueError(f"{name} has a type that is not served")
            into, out = self._find(graph, inputs, told.inputs), self._find(graph, outputs, told.outputs)
            self._places[name] = inputs, [told.inputs[k].dtype for k in inputs], into, outputs, out

    def _find(self, graph: int, names: list[str], infos: Any) -> Any:
        places = (_Output * len(names))()
        for place, name in zip(places, names):
            operation, _, index = infos[name].name.partition(":")
            place.operation, place.index = self._c.GraphOperationByName(graph, operation.encode()), int(index)
            if not place.operation:
                raise ValueError(f"{name} is no dense tensor")
        return places

    def _check(self, status: int) -> None:
        if code := self._c.GetCode(status):
            raise OSError(code, self._c.Message(status).decode(errors="replace"))

    def call(self, signature: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature; raises OSError with TensorFlow's error code and message."""
        c, (inputs, dtypes, into, outputs, out) = self._c, self._places[signature]
        given, results = (_P * len(inputs))(), (_P * len(outputs))()
        status = c.NewStatus()
        try:
            for i, (name, dtype) in enumerate(zip(inputs, dtypes)):
                value = np.ascontiguousarray(arrays[name], DTYPES[dtype]).reshape(np.shape(arrays[name]))
                given[i] = c.AllocateTensor(dtype, (_L * value.ndim)(*value.shape), value.ndim, value.nbytes)
                ctypes.memmove(c.TensorData(given[i]), value.ctypes.data, value.nbytes)
            arguments = (None, into, given, len(inputs), out, results, len(outputs), None, 0, None, status)
            c.SessionRun(self._session, *arguments)
            self._check(status)
            return {name: self._value(result) for name, result in zip(outputs, results)}
        finally:
            c.DeleteStatus(status)
            for tensor in chain(given, results):
                if tensor:
                    c.DeleteTensor(tensor)

    def _value(self, tensor: int) -> np.ndarray:
        c = self._c
        value = np.empty([c.Dim(tensor, i) for i in range(c.NumDims(tensor))], DTYPES[c.TensorType(tensor)])
        ctypes.memmove(value.ctypes.data, c.TensorData(tensor), c.TensorByteSize(tensor))
        return value


def _end(c: types.SimpleNamespace, session: int, graph: int) -> None:
    status = c.NewStatus()
    c.DeleteSession(session, status), c.DeleteGraph(graph), c.DeleteStatus(status)


def _protocol_buffers() -> Path:
    """Makes `tensorflow.core` importable without TensorFlow's Python, unless that is there already; its directory."""
    if "tensorflow" not in sys.modules:
        spec = importlib.util.find_spec("tensorflow")
        sys.modules["tensorflow"] = package = types.ModuleType("tensorflow")
        package.__spec__, package.__path__ = spec, spec.submodule_search_locations
    return Path(sys.modules["tensorflow"].__spec__.origin).parent


@functools.cache
def _library(root: Path) -> types.SimpleNamespace:
    name, terminal, nowhere = str(root / "libtensorflow_cc.so.2"), os.dup(2), os.open(os.devnull, os.O_WRONLY)
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0":
        os.dup2(nowhere, 2)  # its start-up lines, which no log level hides
    try:
        ctypes.CDLL(str(root / "libtensorflow_framework.so.2"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
    finally:
        os.dup2(terminal, 2), os.close(terminal), os.close(nowhere)
    freeing, holding = ctypes.CDLL(name), ctypes.PyDLL(name)
    functions = types.SimpleNamespace()
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(freeing if name in _LONG else holding, f"TF_{name}")
        function.restype, function.argtypes = result, arguments
        setattr(functions, name, function)
    return functions
