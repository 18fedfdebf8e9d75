"""A SavedModel in a session of TensorFlow's C++ library, through its C API: what TensorFlow Serving itself runs.

This needs TensorFlow's shared libraries and its protocol buffers. It imports neither TensorFlow's Python nor Keras,
which take 6 s and 300 MB.
"""

import ctypes
import functools
import hashlib  # noqa: F401  Python's OpenSSL must be there first: it crashes where TensorFlow's libraries came before it
import importlib.util
import os
import sys
import types
import weakref
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, TensorInfo

DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 10: np.bool_}  # by TensorFlow's DataType

_POINTER, _INT, _SIZE, _INT64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_int64
_FUNCTIONS = {  # {name without its prefix "TF_": (result, *arguments)}
    "NewStatus": (_POINTER,),
    "DeleteStatus": (None, _POINTER),
    "GetCode": (_INT, _POINTER),
    "Message": (ctypes.c_char_p, _POINTER),
    "NewGraph": (_POINTER,),
    "DeleteGraph": (None, _POINTER),
    "GraphOperationByName": (_POINTER, _POINTER, ctypes.c_char_p),
    "NewSessionOptions": (_POINTER,),
    "DeleteSessionOptions": (None, _POINTER),
    "SetConfig": (None, _POINTER, ctypes.c_char_p, _SIZE, _POINTER),
    "NewBuffer": (_POINTER,),
    "DeleteBuffer": (None, _POINTER),
    "LoadSessionFromSavedModel": (
        _POINTER,
        _POINTER,  # session options
        _POINTER,  # run options
        ctypes.c_char_p,  # directory
        _POINTER,  # tags
        _INT,  # their number
        _POINTER,  # graph
        _POINTER,  # buffer of the MetaGraphDef
        _POINTER,  # status
    ),
    "DeleteSession": (None, _POINTER, _POINTER),
    "AllocateTensor": (_POINTER, _INT, _POINTER, _INT, _SIZE),
    "DeleteTensor": (None, _POINTER),
    "TensorData": (_POINTER, _POINTER),
    "NumDims": (_INT, _POINTER),
    "TensorByteSize": (_SIZE, _POINTER),
    "TensorType": (_INT, _POINTER),
    "Dim": (_INT64, _POINTER, _INT),
    "SessionRun": (
        None,
        _POINTER,  # session
        _POINTER,  # run options
        _POINTER,  # places of the inputs
        _POINTER,  # their tensors
        _INT,  # their number
        _POINTER,  # places of the outputs
        _POINTER,  # their tensors
        _INT,  # their number
        _POINTER,  # target operations
        _INT,  # their number
        _POINTER,  # run metadata
        _POINTER,  # status
    ),
}
_LONG_FUNCTIONS = ("LoadSessionFromSavedModel", "SessionRun", "DeleteSession")  # other threads of Python run meanwhile


class _Output(ctypes.Structure):
    """TF_Output: an output of an operation."""

    _fields_ = [("operation", _POINTER), ("index", _INT)]


class _Buffer(ctypes.Structure):
    """TF_Buffer: bytes of TensorFlow's."""

    _fields_ = [("data", _POINTER), ("length", _SIZE), ("deallocator", _POINTER)]


class _Endpoints(NamedTuple):
    """Where a signature's inputs and outputs are in the graph: `*_places` are C arrays of TF_Output."""

    input_names: list[str]
    input_dtypes: list[int]
    input_places: ctypes.Array
    output_names: list[str]
    output_places: ctypes.Array


class Session:
    """A loaded version of a model.

    `signatures` is {name: SignatureDef}; `all_signatures` also has TensorFlow's own, `__saved_model_init_op`.
    Threads may call it at the same time: each call computes in its own thread alone. The session is freed with the last
    reference to it.

    Raises:
        OSError: TensorFlow can't load it; with TensorFlow's error code and message.
        ValueError: a signature has a type, or a tensor, that is not served.
    """

    def __init__(self, folder: Path) -> None:
        self._c = load_tensorflow()
        graph = self._c.NewGraph()
        meta_graph = self._load(folder, graph)
        self.graph_def = meta_graph.graph_def
        self.all_signatures = dict(meta_graph.signature_def)
        self.signatures = {k: v for k, v in self.all_signatures.items() if not k.startswith("__")}
        self._endpoints: dict[str, _Endpoints] = {}
        for name, signature in self.signatures.items():
            infos = [*signature.inputs.values(), *signature.outputs.values()]
            if any(info.dtype not in DTYPES for info in infos):
                raise ValueError(f"{name} has a type that is not served")
            input_names, output_names = sorted(signature.inputs), sorted(signature.outputs)
            self._endpoints[name] = _Endpoints(
                input_names,
                [signature.inputs[k].dtype for k in input_names],
                self._find(graph, input_names, signature.inputs),
                output_names,
                self._find(graph, output_names, signature.outputs),
            )

    def _load(self, folder: Path, graph: int) -> "MetaGraphDef":
        """Starts the session; returns what the SavedModel says of itself."""
        from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

        c = self._c
        status, options, buffer = c.NewStatus(), c.NewSessionOptions(), c.NewBuffer()
        try:
            # Thread pools would cost a small model four fifths of its speed.
            config = config_pb2.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1)
            serialized = config.SerializeToString()
            c.SetConfig(options, serialized, len(serialized), status)
            tags = (ctypes.c_char_p * 1)(b"serve")
            self._session = c.LoadSessionFromSavedModel(options, None, bytes(folder), tags, 1, graph, buffer, status)
            self._raise_error(status)
            weakref.finalize(self, _free, c, self._session, graph).atexit = False
            content = _Buffer.from_address(buffer)
            return meta_graph_pb2.MetaGraphDef.FromString(ctypes.string_at(content.data, content.length))
        finally:
            c.DeleteStatus(status)
            c.DeleteSessionOptions(options)
            c.DeleteBuffer(buffer)

    def _find(self, graph: int, names: list[str], infos: Mapping[str, "TensorInfo"]) -> ctypes.Array:
        """The places of these tensors in the graph."""
        places = (_Output * len(names))()
        for place, name in zip(places, names):
            operation, _, index = infos[name].name.partition(":")
            place.operation = self._c.GraphOperationByName(graph, operation.encode())
            place.index = int(index)
            if not place.operation:
                raise ValueError(f"{name} is no dense tensor")
        return places

    def _raise_error(self, status: int) -> None:
        code = self._c.GetCode(status)
        if code:
            raise OSError(code, self._c.Message(status).decode(errors="replace"))

    def call(self, signature: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature for its inputs, both {name: array}.

        Raises:
            OSError: with TensorFlow's error code and message.
        """
        c, endpoints = self._c, self._endpoints[signature]
        input_count, output_count = len(endpoints.input_names), len(endpoints.output_names)
        inputs, outputs = (_POINTER * input_count)(), (_POINTER * output_count)()
        status = c.NewStatus()
        try:
            for i, name in enumerate(endpoints.input_names):
                inputs[i] = self._tensor_of(arrays[name], endpoints.input_dtypes[i])
            arguments = (endpoints.input_places, inputs, input_count, endpoints.output_places, outputs, output_count)
            c.SessionRun(self._session, None, *arguments, None, 0, None, status)
            self._raise_error(status)
            return {name: self._array_of(tensor) for name, tensor in zip(endpoints.output_names, outputs)}
        finally:
            c.DeleteStatus(status)
            for tensor in chain(inputs, outputs):
                if tensor:
                    c.DeleteTensor(tensor)

    def _tensor_of(self, array: np.ndarray, dtype: int) -> int:
        c = self._c
        value: np.ndarray = np.ascontiguousarray(array, DTYPES[dtype]).reshape(
            np.shape(array)
        )  # which makes a scalar [1]
        tensor = c.AllocateTensor(dtype, (_INT64 * value.ndim)(*value.shape), value.ndim, value.nbytes)
        ctypes.memmove(c.TensorData(tensor), value.ctypes.data, value.nbytes)
        return tensor

    def _array_of(self, tensor: int) -> np.ndarray:
        c = self._c
        array: np.ndarray = np.empty([c.Dim(tensor, i) for i in range(c.NumDims(tensor))], DTYPES[c.TensorType(tensor)])
        ctypes.memmove(array.ctypes.data, c.TensorData(tensor), c.TensorByteSize(tensor))
        return array


def _free(c: types.SimpleNamespace, session: int, graph: int) -> None:
    status = c.NewStatus()
    c.DeleteSession(session, status)
    c.DeleteGraph(graph)
    c.DeleteStatus(status)


def load_tensorflow() -> types.SimpleNamespace:
    """TensorFlow's C functions; the first call takes most of a second."""
    return _library(_make_protocol_buffers_importable())


def _make_protocol_buffers_importable() -> Path:
    """Makes `tensorflow.core` importable without running TensorFlow's own Python; returns TensorFlow's directory.

    Where TensorFlow is imported already, nothing changes.
    """
    if "tensorflow" not in sys.modules:
        spec = importlib.util.find_spec("tensorflow")
        if spec is None:
            raise ModuleNotFoundError("No module named 'tensorflow'")
        package = types.ModuleType("tensorflow")
        package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations or ())
        sys.modules["tensorflow"] = package
    spec = sys.modules["tensorflow"].__spec__
    if spec is None or spec.origin is None:
        raise ImportError("tensorflow: must have a directory, and has none")
    return Path(spec.origin).parent


@functools.cache
def _library(tensorflow_dir: Path) -> types.SimpleNamespace:
    """The functions of the C API, without their prefix; loads TensorFlow's libraries."""
    path = str(tensorflow_dir / "libtensorflow_cc.so.2")
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0":
        os.dup2(nowhere, 2)  # no log level hides the lines that it writes at its start
    try:
        ctypes.CDLL(str(tensorflow_dir / "libtensorflow_framework.so.2"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
    without_gil, with_gil = ctypes.CDLL(path), ctypes.PyDLL(path)
    functions = types.SimpleNamespace()
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(without_gil if name in _LONG_FUNCTIONS else with_gil, f"TF_{name}")
        function.restype, function.argtypes = result, arguments
        setattr(functions, name, function)
    return functions
