"""The decoder as an ONNX file, for runtimes that are not TensorFlow's."""

import functools
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfvae.core.vae import VAE
from tfvae.errors import InputError, RunError
from tfvae.serving.signatures import LABEL, decoded, example_input, example_labels
from tfvae.serving.verify import sizes

_OPSET = 17
_TOLERANCE = 1e-5
_EXAMPLE_ROWS = 3


def export_onnx(vae: VAE, path: Path) -> None:
    """Writes `decode` as ONNX to `path`, z float32 [N, L] -> image float32 [N, H, W, C] in [0, 1], or x [N, D].

    That of a conditional model takes `label` int32 [N] too, and fails where one is of no class. It is written after
    onnxruntime has agreed with the model to 1e-5.

    Raises:
        InputError: tf2onnx or onnxruntime is missing.
        RunError: they don't agree; nothing is written.
    """
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise InputError(f"--export_format=onnx: must have {error.name}: pip install 'tfvae[onnx]'") from None
    signature = [tf.TensorSpec([None, vae.encoder.latent_dim], tf.float32, name="z")]
    examples = {"z": example_input(signature[0], _EXAMPLE_ROWS)}
    function = functools.partial(decoded, vae)
    if vae.classes:
        signature.append(LABEL)
        examples[LABEL.name] = example_labels(_EXAMPLE_ROWS, len(vae.classes))
        function = functools.partial(_decoded_with_class, vae)
    compiled = tf.function(function, input_signature=signature, autograph=False)
    model, _ = tf2onnx.convert.from_function(compiled, signature, opset=_OPSET)
    content = model.SerializeToString()
    [(name, expected)] = decoded(vae, *examples.values()).items()
    [output] = onnxruntime.InferenceSession(content).run([name], examples)
    difference = np.abs(output - expected.numpy())
    scale = np.array(vae.decoder.columns.scale) if vae.decoder.columns else None
    if not np.all(difference <= _TOLERANCE * sizes(expected.numpy(), scale)):  # NaN is no small difference
        raise RunError(f"{path}: onnxruntime differs from the model by {difference.max():.2g}; nothing is written")
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(content)
    aside.replace(path)


def _decoded_with_class(vae: VAE, z: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
    """`decoded`, in a graph that fails in onnxruntime where a label is of no class.

    ONNX has no assertion. But its Gather refuses a place beyond the end; one below 0 it would count from there.
    """
    classes = len(vae.classes)
    place = tf.where(label < 0, classes, label)
    return decoded(vae, z, tf.gather(tf.range(classes), place))
