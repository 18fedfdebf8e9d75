"""TensorFlow Serving's REST contract for :predict: JSON to arrays, arrays to JSON, and what it says of the rest.

Written after its sources (json_tensor.cc); where it finds nothing wrong, values are taken at the speed of numpy.
"""

import json
from itertools import chain
from typing import Any

import numpy as np
import orjson

from tfvae.serving.session import DTYPES

_NAMES = {1: "float", 2: "double", 3: "int32", 9: "int64", 10: "bool"}  # by TensorFlow's DataType
_TYPES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
_DEEPEST = 32
_SHOWN = 1000  # characters of a request that a message repeats


class Refused(Exception):
    """What the client is told: an HTTP status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse(body: bytes) -> tuple[dict[str, Any], str]:
    """A request's JSON and the name of the signature that it asks for; raises Refused."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        why = f"{error.msg} at offset: {error.pos}" if body else "The document is empty"
        raise Refused(400, f"JSON Parse error: {why}") from None
    if type(asked) is not dict:
        raise Refused(400, f"JSON Value: {_shown(asked)} Is not object")
    signature = asked.get("signature_name", "")
    if type(signature) is not str:
        why = "not formatted correctly. 'signature_name' key must be a string value."
        raise Refused(400, f"JSON Value: {_shown(asked)} {why}")
    return asked, signature or "serving_default"


def arrays(asked: dict[str, Any], dtypes: dict[str, int]) -> dict[str, np.ndarray]:
    """The inputs of a signature, {name: DataType}, in the row format (`instances`) or by columns; raises Refused."""
    many = "as multiple input tensors required as per tensorinfo_map"
    if "instances" in asked:
        instances = asked["instances"]
        if "inputs" in asked:
            why = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            raise Refused(400, f"JSON Value: {_shown(asked)} {why}")
        if type(instances) is not list:
            raise Refused(400, f"JSON Value: {_shown(asked)} Excepting 'instances' to be an list/array")
        if not instances:
            raise Refused(400, f"JSON Value: {_shown(asked)} No values in 'instances' array")
        if type(instances[0]) is not dict and len(dtypes) > 1:
            raise Refused(400, f"instances is a plain list, but expecting list of objects {many}")
        return _rows(instances, dtypes)
    if "inputs" not in asked:
        raise Refused(400, "Missing 'inputs' or 'instances' key")
    columns = asked["inputs"]
    if type(columns) is not dict:
        if len(dtypes) > 1:
            raise Refused(400, f"inputs is a plain value/list, but expecting an object {many}")
        columns = dict.fromkeys(dtypes, columns)
    for name in dtypes:
        if name not in columns:
            raise Refused(400, f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(columns[name], dtype) for name, dtype in dtypes.items()}


def answer(outputs: dict[str, np.ndarray], by_rows: bool) -> bytes:
    """The JSON of a signature's outputs, of which a single one goes without its name; raises Refused."""
    if not all(np.isfinite(value).all() for value in outputs.values()):
        raise Refused(400, "an output is not finite, and JSON has no such number")
    if by_rows:
        sizes = {name: value.shape[:1] for name, value in outputs.items()}
        for name, size in sizes.items():
            if not size:
                raise Refused(400, f"Tensor name: {name} has no shape information ")
        [first, *_] = sizes.values()
        for name, size in sizes.items():
            if size != first:
                why = f"has inconsistent batch size: {size[0]} expecting: {first[0]}"
                raise Refused(400, f"Tensor name: {name} {why}")
    key = b"predictions" if by_rows else b"outputs"
    if len(outputs) == 1:
        return b"".join((b'{"', key, b'":', *_json(*outputs.values()), b"}"))
    if by_rows:
        told: Any = [dict(zip(outputs, map(_fragment, row))) for row in zip(*outputs.values())]
    else:
        told = {name: _fragment(value) for name, value in outputs.items()}
    return orjson.dumps({key.decode(): told})


def _json(array: np.ndarray) -> tuple[bytes, ...]:
    """An array's JSON; lists of one number each, as in grey images, are written as numbers, then made lists: faster."""
    if array.ndim < 2 or array.shape[-1] > 1 or not array.size:
        return (orjson.dumps(array if array.ndim else array.item(), option=orjson.OPT_SERIALIZE_NUMPY),)
    text = orjson.dumps(array.reshape(array.shape[:-1]), option=orjson.OPT_SERIALIZE_NUMPY)
    return b"[", text.replace(b",", b"],["), b"]"


def _fragment(array: np.ndarray) -> orjson.Fragment:
    return orjson.Fragment(b"".join(_json(array)))


def _shown(value: Any) -> str:
    text = ""
    for part in json.JSONEncoder(indent=4, ensure_ascii=False).iterencode(value):
        text += part
        if len(text) > _SHOWN:
            return f"{text[:_SHOWN]}..."
    return text


def _shape(value: Any) -> list[int]:
    """The lengths of a value's first lists."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
        if len(shape) > _DEEPEST:
            raise Refused(400, f"lists are nested more than {_DEEPEST} levels deep")
    return shape


def _array(value: Any, dtype: int) -> np.ndarray:
    if (array := _quick(value, dtype)) is None:
        raise Refused(400, _why_not(value, dtype, _shape(value), 0))
    return array


def _quick(value: Any, dtype: int) -> np.ndarray | None:
    """The array that a JSON value is, or None: it is ragged, or not of the type."""
    items, shape = [value], _shape(value)
    for size in shape:
        if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
            return None
        items = list(chain.from_iterable(items))
    types = set(map(type, items))
    if dtype in (1, 2) and types <= {int, float}:
        limits, numbers = np.finfo(DTYPES[dtype]), np.array(items, np.float64)
        whole = [abs(item) for item in items if type(item) is int] if int in types else [0]
        if max(whole) >= 2 ** (limits.nmant + 1) or (np.abs(numbers) > limits.max).any():
            return None
    elif dtype in (3, 9) and types <= {int}:
        limits = np.iinfo(DTYPES[dtype])
        if items and not limits.min <= min(items) <= max(items) <= limits.max:
            return None
    elif dtype != 10 or not types <= {bool}:
        return None
    return np.array(items, DTYPES[dtype]).reshape(shape)


def _why_not(value: Any, dtype: int, shape: list[int], level: int) -> str:
    """What is wrong with a value of which the first lists have the lengths `shape`; nothing: an empty text."""
    if type(value) is list:
        if level >= len(shape):
            return f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        if len(value) != shape[level]:
            there = f"{len(value)} at level: {level} expected size: {shape[level]}"
            return f"Encountered list at unexpected size: {there}"
        return next((why for item in value if (why := _why_not(item, dtype, shape, level + 1))), "")
    if level != len(shape):
        there = f"incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
        return f"JSON Value: {_shown(value)} found at {there}"
    if _quick(value, dtype) is not None:
        return ""
    if dtype in (1, 2) and type(value) in (int, float):
        return f"Cannot convert JSON value: {_shown(value)} to {_NAMES[dtype]} without loss of precision."
    kind = str(value) if type(value) is bool else _TYPES[type(value)]
    return f"JSON Value: {_shown(value)} Type: {kind} is not of expected type: {_NAMES[dtype]}"


def _rows(instances: list[Any], dtypes: dict[str, int]) -> dict[str, np.ndarray]:
    named = type(instances[0]) is dict
    if not named and (array := _quick(instances, *dtypes.values())) is not None:
        return dict.fromkeys(dtypes, array)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in dtypes}
    for i, item in enumerate(instances):
        if named != (type(item) is dict):
            what = "object but got list" if named else "value/list but got object"
            raise Refused(400, f"Expecting {what} at item {i} of input list")
        failed = f"Failed to process element: {i}{{}} of 'instances' list."
        for name, value in item.items() if named else [(*dtypes, item)]:
            try:
                if name not in dtypes:
                    raise Refused(400, f"JSON object: does not have named input: {name}")
                columns[name].append(_array(value, dtypes[name]))
                _require_alike(columns[name][0], columns[name][-1])
            except Refused as error:
                key = f" key: {name}" if named else ""
                raise Refused(400, f"{failed.format(key)} Error: INVALID_ARGUMENT: {error}") from None
        if named and item.keys() != dtypes.keys():
            keys = f"JSON object: {_shown(item)} keys must be equal to: {','.join(sorted(dtypes))}"
            raise Refused(400, f"{failed.format('')} {keys}")
    return {name: np.stack(values) for name, values in columns.items()}


def _require_alike(first: np.ndarray, other: np.ndarray) -> None:
    if first.size != other.size:
        raise Refused(400, f"Expecting tensor size: {first.size} but got: {other.size}")
    if first.shape != other.shape:
        shapes = [f"[{','.join(map(str, array.shape))}]" for array in (first, other)]
        raise Refused(400, f"Expecting shape {shapes[0]} but got: {shapes[1]}")
