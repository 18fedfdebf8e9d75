"""What a layer costs whose formula nobody wrote down: read off the operations of its graph, for one input."""

import math
from typing import NamedTuple

import keras
import tensorflow as tf

_NO_OUTPUTS = {"Const", "Placeholder", "Identity", "Reshape", "Squeeze", "ExpandDims", "ReadVariableOp", "NoOp"}
_OF_A_STATE = ("Random", "Multinomial", "StatefulUniform", "StatefulStandardNormal")  # beginnings of operations' names


class Tracing(NamedTuple):
    """A layer's graph, of a batch of one."""

    outputs: int  # numbers that its operations put out, all together
    multiply_adds: int
    random_operation: str | None  # the name of one that keeps a state of its own, if there is one
    variables: tuple[tf.Variable, ...]  # that it reads


def trace(layer: keras.Layer, input_shape: tuple[int | None, ...]) -> Tracing:
    """Of a built layer, for one input of this shape [B, ...]; nothing is computed."""
    spec = tf.TensorSpec([1, *input_shape[1:]], tf.float32)
    graph = tf.function(layer, autograph=False).get_concrete_function(spec).graph
    outputs, products, random_operation = 0, 0, None
    for operation in graph.get_operations():
        if operation.type.startswith(_OF_A_STATE):
            random_operation = operation.type
        if operation.type in _NO_OUTPUTS:
            continue
        outputs += sum(_numbers(output) for output in operation.outputs if output.dtype.is_floating)
        products += _multiply_adds(operation)
    return Tracing(outputs, products, random_operation, tuple(graph.variables))


def _multiply_adds(operation: tf.Operation) -> int:
    """Of a product of matrices or a convolution; 0 of what is neither."""
    inputs = operation.inputs
    if operation.type in ("MatMul", "BatchMatMulV2", "BatchMatMul"):
        is_transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return _numbers(operation.outputs[0]) * _length(inputs[0], -2 if is_transposed else -1)
    if operation.type == "Einsum":
        letters = operation.get_attr("equation").decode().partition("->")[0].split(",")
        lengths = {letter: _length(x, i) for x, word in zip(inputs, letters) for i, letter in enumerate(word)}
        return math.prod(lengths.values())
    if operation.type in ("Conv2D", "Conv3D"):
        return _numbers(operation.outputs[0]) * _numbers(inputs[1]) // _length(inputs[1], -1)
    if operation.type in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):  # a transposed convolution
        return _numbers(inputs[2]) * _numbers(inputs[1]) // _length(inputs[1], -1)
    if operation.type == "DepthwiseConv2dNative":
        return _numbers(operation.outputs[0]) * _length(inputs[1], 0) * _length(inputs[1], 1)
    return 0


def _numbers(tensor: tf.Tensor) -> int:
    """Of an array of its shape; an axis of unknown length counts as 1."""
    if tensor.shape.rank is None:
        return 1
    return math.prod(length or 1 for length in tensor.shape)


def _length(tensor: tf.Tensor, axis: int) -> int:
    return tensor.shape[axis] or 1
