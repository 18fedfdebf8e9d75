"""TensorFlow Serving's REST contract for :predict: JSON to arrays, arrays to JSON, and the words of its refusals.

Its order of checks and its messages are those of TensorFlow Serving's sources (util/json_tensor.cc). A value with
nothing wrong in it is converted as a whole, at the speed of NumPy; only then is the fault looked for value by value.

A DataType is TensorFlow's number of a type: see `session.DTYPES`.
"""

import json
from itertools import chain
from typing import Any

import numpy as np
import orjson

from tfvae.serving.session import DTYPES

_DTYPE_NAMES = {1: "float", 2: "double", 3: "int32", 9: "int64", 10: "bool"}
_FLOATS, _INTEGERS, _BOOL = (1, 2), (3, 9), 10
_JSON_TYPES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
_SEVERAL_INPUTS = "as multiple input tensors required as per tensorinfo_map"
_MAX_DEPTH = 32  # of nested lists
_MAX_QUOTED = 1000  # characters of a request that a message repeats


class Refused(Exception):
    """A request that gets an error for an answer: an HTTP status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse_request(body: bytes) -> tuple[dict[str, Any], str]:
    """A request's JSON, and the name of the signature that it calls.

    Raises:
        Refused: it is no JSON object, or the name is no text.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = f"{error.msg} at offset: {error.pos}" if body else "The document is empty"
        raise Refused(400, f"JSON Parse error: {reason}") from None
    if type(request) is not dict:
        raise Refused(400, f"JSON Value: {_quote(request)} Is not object")
    signature = request.get("signature_name", "")
    if type(signature) is not str:
        reason = "not formatted correctly. 'signature_name' key must be a string value."
        raise Refused(400, f"JSON Value: {_quote(request)} {reason}")
    return request, signature or "serving_default"


def input_arrays(request: dict[str, Any], dtypes: dict[str, int]) -> dict[str, np.ndarray]:
    """The inputs of a signature, {name: array}, in the row format (`instances`) or in columns (`inputs`).

    `dtypes` are the signature's: {name: DataType}.

    Raises:
        Refused: the request has other names, types or shapes.
    """
    if "instances" in request:
        return _inputs_by_rows(request, dtypes)
    if "inputs" in request:
        return _inputs_by_columns(request["inputs"], dtypes)
    raise Refused(400, "Missing 'inputs' or 'instances' key")


def response_body(outputs: dict[str, np.ndarray], by_rows: bool) -> bytes:
    """The JSON of a signature's outputs; a single output goes without its name.

    Raises:
        Refused: an output is not finite, or has no rows where they are to be given row by row.
    """
    if not all(np.isfinite(value).all() for value in outputs.values()):
        raise Refused(400, "an output is not finite, and JSON has no such number")
    if by_rows:
        _require_same_rows(outputs)
    key = b"predictions" if by_rows else b"outputs"
    if len(outputs) == 1:
        [only] = outputs.values()
        return b"".join((b'{"', key, b'":', *_json_parts(only), b"}"))
    if by_rows:
        rows = zip(*outputs.values())
        content: Any = [dict(zip(outputs, map(_fragment, row))) for row in rows]
    else:
        content = {name: _fragment(value) for name, value in outputs.items()}
    return orjson.dumps({key.decode(): content})


# The answer.


def _require_same_rows(outputs: dict[str, np.ndarray]) -> None:
    for name, value in outputs.items():
        if value.ndim == 0:
            raise Refused(400, f"Tensor name: {name} has no shape information ")
    rows = {name: len(value) for name, value in outputs.items()}
    expected = list(rows.values())[0]
    for name, count in rows.items():
        if count != expected:
            raise Refused(400, f"Tensor name: {name} has inconsistent batch size: {count} expecting: {expected}")


def _json_parts(array: np.ndarray) -> tuple[bytes, ...]:
    """An array's JSON, to be joined.

    Lists of one number each, as in grey images, are written as numbers and made lists afterwards, which is faster.
    """
    if array.ndim == 0:
        return (orjson.dumps(array.item(), option=orjson.OPT_SERIALIZE_NUMPY),)
    if array.ndim == 1 or array.shape[-1] > 1 or not array.size:
        return (orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY),)
    text = orjson.dumps(array.reshape(array.shape[:-1]), option=orjson.OPT_SERIALIZE_NUMPY)
    return b"[", text.replace(b",", b"],["), b"]"


def _fragment(array: np.ndarray) -> orjson.Fragment:
    return orjson.Fragment(b"".join(_json_parts(array)))


# The request.


def _inputs_by_rows(request: dict[str, Any], dtypes: dict[str, int]) -> dict[str, np.ndarray]:
    instances = request["instances"]
    if "inputs" in request:
        reason = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise Refused(400, f"JSON Value: {_quote(request)} {reason}")
    if type(instances) is not list:
        raise Refused(400, f"JSON Value: {_quote(request)} Excepting 'instances' to be an list/array")
    if not instances:
        raise Refused(400, f"JSON Value: {_quote(request)} No values in 'instances' array")
    if type(instances[0]) is dict:
        return _named_rows(instances, dtypes)
    if len(dtypes) > 1:
        raise Refused(400, f"instances is a plain list, but expecting list of objects {_SEVERAL_INPUTS}")
    return _plain_rows(instances, dtypes)


def _plain_rows(instances: list[Any], dtypes: dict[str, int]) -> dict[str, np.ndarray]:
    """Rows that are the values of the only input."""
    [(name, dtype)] = dtypes.items()
    array = _convert(instances, dtype)
    if array is not None:
        return {name: array}
    column: list[np.ndarray] = []
    for i, value in enumerate(instances):
        if type(value) is dict:
            raise Refused(400, f"Expecting value/list but got object at item {i} of input list")
        _append(column, value, dtype, f"element: {i} of 'instances' list.")
    return {name: np.stack(column)}


def _named_rows(instances: list[Any], dtypes: dict[str, int]) -> dict[str, np.ndarray]:
    """Rows that are objects, {name: value}."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in dtypes}
    for i, row in enumerate(instances):
        if type(row) is not dict:
            raise Refused(400, f"Expecting object but got list at item {i} of input list")
        for name, value in row.items():
            place = f"element: {i} key: {name} of 'instances' list."
            if name not in dtypes:
                raise _in_element(place, f"JSON object: does not have named input: {name}")
            _append(columns[name], value, dtypes[name], place)
        if row.keys() != dtypes.keys():
            keys = f"JSON object: {_quote(row)} keys must be equal to: {','.join(sorted(dtypes))}"
            raise Refused(400, f"Failed to process element: {i} of 'instances' list. {keys}")
    return {name: np.stack(column) for name, column in columns.items()}


def _append(column: list[np.ndarray], value: Any, dtype: int, place: str) -> None:
    """Adds a row to a column, whose first row says how large all must be."""
    try:
        array = _array(value, dtype)
        column.append(array)
        _require_same_shape(column[0], array)
    except Refused as error:
        raise _in_element(place, str(error)) from None


def _in_element(place: str, reason: str) -> Refused:
    return Refused(400, f"Failed to process {place} Error: INVALID_ARGUMENT: {reason}")


def _require_same_shape(first: np.ndarray, other: np.ndarray) -> None:
    if first.size != other.size:
        raise Refused(400, f"Expecting tensor size: {first.size} but got: {other.size}")
    if first.shape != other.shape:
        shapes = [f"[{','.join(map(str, array.shape))}]" for array in (first, other)]
        raise Refused(400, f"Expecting shape {shapes[0]} but got: {shapes[1]}")


def _inputs_by_columns(columns: Any, dtypes: dict[str, int]) -> dict[str, np.ndarray]:
    if type(columns) is not dict:
        if len(dtypes) > 1:
            raise Refused(400, f"inputs is a plain value/list, but expecting an object {_SEVERAL_INPUTS}")
        columns = dict.fromkeys(dtypes, columns)
    for name in dtypes:
        if name not in columns:
            raise Refused(400, f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(columns[name], dtype) for name, dtype in dtypes.items()}


# A value.


def _array(value: Any, dtype: int) -> np.ndarray:
    """The array that a JSON value is; raises Refused with what is wrong with it."""
    array = _convert(value, dtype)
    if array is None:
        raise Refused(400, _fault(value, dtype, _shape(value), level=0))
    return array


def _convert(value: Any, dtype: int) -> np.ndarray | None:
    """The array that a JSON value is; None where it is ragged, or not of the type."""
    shape = _shape(value)
    items = [value]
    for size in shape:
        if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
            return None
        items = list(chain.from_iterable(items))
    if not _fits(items, dtype):
        return None
    return np.array(items, DTYPES[dtype]).reshape(shape)


def _fits(items: list[Any], dtype: int) -> bool:
    """Whether all of these can be of that type without loss: no fraction for an integer, no number out of range."""
    types = set(map(type, items))
    if dtype in _FLOATS and types <= {int, float}:
        limits = np.finfo(DTYPES[dtype])
        if int in types:
            largest = max(abs(item) for item in items if type(item) is int)
            if largest >= 2 ** (limits.nmant + 1):
                return False
        return not (np.abs(np.array(items, np.float64)) > limits.max).any()
    if dtype in _INTEGERS and types <= {int}:
        whole_limits = np.iinfo(DTYPES[dtype])
        return not items or whole_limits.min <= min(items) <= max(items) <= whole_limits.max
    return dtype == _BOOL and types <= {bool}


def _shape(value: Any) -> list[int]:
    """The lengths of a value's first lists."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
        if len(shape) > _MAX_DEPTH:
            raise Refused(400, f"lists are nested more than {_MAX_DEPTH} levels deep")
    return shape


def _fault(value: Any, dtype: int, shape: list[int], level: int) -> str:
    """What is wrong with a value at this level of lists, whose first lists have the lengths `shape`; "": nothing."""
    if type(value) is list:
        if level >= len(shape):
            return f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        if len(value) != shape[level]:
            size = f"{len(value)} at level: {level} expected size: {shape[level]}"
            return f"Encountered list at unexpected size: {size}"
        for item in value:
            fault = _fault(item, dtype, shape, level + 1)
            if fault:
                return fault
        return ""
    if level != len(shape):
        place = f"incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
        return f"JSON Value: {_quote(value)} found at {place}"
    if _convert(value, dtype) is not None:
        return ""
    if dtype in _FLOATS and type(value) in (int, float):
        return f"Cannot convert JSON value: {_quote(value)} to {_DTYPE_NAMES[dtype]} without loss of precision."
    json_type = str(value) if type(value) is bool else _JSON_TYPES[type(value)]
    return f"JSON Value: {_quote(value)} Type: {json_type} is not of expected type: {_DTYPE_NAMES[dtype]}"


def _quote(value: Any) -> str:
    """A value's JSON, cut off where it is long."""
    text = ""
    for part in json.JSONEncoder(indent=4, ensure_ascii=False).iterencode(value):
        text += part
        if len(text) > _MAX_QUOTED:
            return f"{text[:_MAX_QUOTED]}..."
    return text
