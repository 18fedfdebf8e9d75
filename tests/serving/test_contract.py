"""The REST contract apart from models: JSON to arrays, arrays to JSON. `serving_contract` has the whole of it."""

import json
import math

import numpy as np
import pytest

from tfvae.serving import contract
from tfvae.serving.contract import Refused

FLOAT, DOUBLE, INT32, INT64, BOOL = 1, 2, 3, 9, 10
NUMPY = {FLOAT: np.float32, DOUBLE: np.float64, INT32: np.int32, INT64: np.int64, BOOL: np.bool_}
INFINITE_AS_FLOAT = [3.4028236e38, -1e39]


def refusal(function, *arguments):
    with pytest.raises(Refused) as caught:
        function(*arguments)
    assert caught.value.status == 400
    return str(caught.value)


def columns(value, dtype):
    return contract.input_arrays({"inputs": value}, {"x": dtype})["x"]


def test_a_request_is_its_json_and_a_signature():
    assert contract.parse_request(b'{"instances": [1]}') == ({"instances": [1]}, "serving_default")
    assert contract.parse_request(b'{"signature_name": ""}')[1] == "serving_default"
    assert contract.parse_request(b'{"signature_name": "decode"}')[1] == "decode"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b"[1, NaN]", "JSON Parse error: "),
        (b"[1]", "JSON Value: [\n    1\n] Is not object"),
        (b'{"signature_name": null}', 'JSON Value: {\n    "signature_name": null\n} not formatted correctly.'),
    ],
)
def test_what_is_no_request_is_refused(body, message):
    assert refusal(contract.parse_request, body).startswith(message)


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 4), (0,), (2, 0)])
def test_values_of_each_type_and_shape_are_the_array_that_numpy_makes_of_them(dtype, shape):
    expected = np.random.default_rng(0).integers(0, 2 if dtype == BOOL else 1000, shape).astype(NUMPY[dtype])
    array = columns(expected.tolist(), dtype)
    assert array.dtype == expected.dtype and array.shape == expected.shape
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *[(FLOAT, value) for value in (2**24 - 1, 1 - 2**24, 0.1, 3.4028234e38, -0.0)],
        *[(DOUBLE, value) for value in (2**53 - 1, 1e308)],
        *[(INT32, value) for value in (2**31 - 1, -(2**31))],
        *[(INT64, value) for value in (2**63 - 1, -(2**63))],
        (BOOL, True),
    ],
)
def test_the_largest_values_of_a_type_are_taken(dtype, value):
    assert columns(value, dtype).item() == NUMPY[dtype](value).item()
    assert columns([value], dtype).shape == (1,)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *[(FLOAT, value) for value in (2**24, -(2**24), *INFINITE_AS_FLOAT, True, None, "1")],
        *[(DOUBLE, value) for value in (2**53, math.inf, False)],
        *[(INT32, value) for value in (2**31, -(2**31) - 1, 1.0, True, "1")],
        *[(INT64, value) for value in (2**63, 0.5)],
        *[(BOOL, value) for value in (1, 0.0, "true", None)],
    ],
)
def test_what_a_type_can_t_hold_is_refused_alone_and_among_others(dtype, value):
    good = True if dtype == BOOL else 1
    names = {FLOAT: "float", DOUBLE: "double", INT32: "int32", INT64: "int64", BOOL: "bool"}
    for content in (value, [value], [[good, good], [good, value]]):
        message = refusal(columns, content, dtype)
        assert "JSON" in message and names[dtype] in message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2], [1]], "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], 2], "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([[1, 2], [3, None]], "JSON Value: null Type: Null is not of expected type: float"),
        ([[1, {}]], "JSON Value: {} Type: Object is not of expected type: float"),
    ],
)
def test_the_first_fault_of_a_value_is_named(value, message):
    assert refusal(columns, value, FLOAT) == message


def test_lists_may_be_32_deep_and_no_deeper():
    value = 1.0
    for _ in range(32):
        value = [value]
    assert columns(value, FLOAT).shape == (1,) * 32
    assert refusal(columns, [value], FLOAT) == "lists are nested more than 32 levels deep"


def test_rows_by_name_are_stacked_whatever_their_order():
    request = {"instances": [{"a": [1, 2], "b": 3}, {"b": 4, "a": [5, 6]}]}
    arrays = contract.input_arrays(request, {"a": FLOAT, "b": INT32})
    np.testing.assert_array_equal(arrays["a"], np.float32([[1, 2], [5, 6]]))
    np.testing.assert_array_equal(arrays["b"], np.int32([3, 4]))
    assert (arrays["a"].dtype, arrays["b"].dtype) == (np.float32, np.int32)


def test_several_inputs_need_their_names():
    dtypes = {"a": FLOAT, "b": FLOAT}
    many = "as multiple input tensors required as per tensorinfo_map"
    message = f"instances is a plain list, but expecting list of objects {many}"
    assert refusal(contract.input_arrays, {"instances": [1, 2]}, dtypes) == message
    message = f"inputs is a plain value/list, but expecting an object {many}"
    assert refusal(contract.input_arrays, {"inputs": [1, 2]}, dtypes) == message
    message = "Missing named input: b in 'inputs' object."
    assert refusal(contract.input_arrays, {"inputs": {"a": 1}}, dtypes) == message
    message = refusal(contract.input_arrays, {"instances": [{"a": 1}]}, dtypes)
    assert message.startswith("Failed to process element: 0 of 'instances' list. JSON object: {")
    assert message.endswith("} keys must be equal to: a,b")


def test_a_fault_in_a_named_row_names_its_element_and_key():
    request = {"instances": [{"a": 1}, {"a": [1, 2]}]}
    message = "Failed to process element: 1 key: a of 'instances' list. Error: INVALID_ARGUMENT: "
    size = "Expecting tensor size: 1 but got: 2"
    assert refusal(contract.input_arrays, request, {"a": FLOAT}) == message + size


def test_a_long_request_is_not_repeated_whole():
    message = refusal(contract.input_arrays, {"a" * 5000: 1, "instances": 1}, {"x": FLOAT})
    assert message.startswith('JSON Value: {\n    "aaa') and "..." in message and len(message) < 1100


OUTPUTS = {
    "grey image": np.arange(8, dtype=np.float32).reshape(2, 2, 2, 1) / 3,
    "colour image": np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3) / 7,
    "vector": np.float32([0.1, 2]),
    "none": np.zeros((0, 4, 1), np.float32),
    "integers": np.int64([[1], [2**62]]),
    "truth": np.array([[True], [False]]),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("by_rows", [True, False])
def test_a_single_output_goes_without_its_name(output, by_rows):
    answer = json.loads(contract.response_body({"image": output}, by_rows))
    [(key, value)] = answer.items()
    assert key == ("predictions" if by_rows else "outputs")
    assert np.shape(value) == output.shape or output.size == 0
    np.testing.assert_array_equal(np.array(value, output.dtype).reshape(output.shape), output)


def test_several_outputs_are_named_row_by_row_or_in_columns():
    outputs = {"image": np.float32([[[0.5]], [[0.25]]]), "z": np.float32([1, 2])}
    rows = [{"image": [[0.5]], "z": 1.0}, {"image": [[0.25]], "z": 2.0}]
    assert json.loads(contract.response_body(outputs, True)) == {"predictions": rows}
    columns = {"image": [[[0.5]], [[0.25]]], "z": [1.0, 2.0]}
    assert json.loads(contract.response_body(outputs, False)) == {"outputs": columns}


def test_a_scalar_has_no_rows():
    scalar = {"loss": np.float32(0.5)}
    assert json.loads(contract.response_body(scalar, False)) == {"outputs": 0.5}
    assert refusal(contract.response_body, scalar, True) == "Tensor name: loss has no shape information "


def test_outputs_of_other_numbers_of_rows_are_refused():
    outputs = {"a": np.zeros(2), "b": np.zeros(3)}
    message = "Tensor name: b has inconsistent batch size: 3 expecting: 2"
    assert refusal(contract.response_body, outputs, True) == message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    outputs = {"a": np.float32([1]), "b": np.float32([1, bad])}
    for by_rows in (True, False):
        assert refusal(contract.response_body, outputs, by_rows) == (
            "an output is not finite, and JSON has no such number"
        )
