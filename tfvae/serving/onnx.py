"""The decoder as an ONNX file, for runtimes that are not TensorFlow's."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfvae.core.vae import VAE
from tfvae.errors import InputError, RunError
from tfvae.serving.saved_model import decoded, example_input
from tfvae.serving.verify import sizes

_OPSET = 17
_TOLERANCE = 1e-5


def export_onnx(vae: VAE, path: Path) -> None:
    """Writes `decode` as ONNX to `path`, z float32 [N, L] -> image float32 [N, H, W, C] in [0, 1], or x [N, D].

    It is written after onnxruntime has agreed with the model to 1e-5.

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
    function = tf.function(lambda z: decoded(vae, z), input_signature=signature, autograph=False)
    model, _ = tf2onnx.convert.from_function(function, signature, opset=_OPSET)
    content = model.SerializeToString()
    z = example_input(signature[0], 3)
    [(name, expected)] = decoded(vae, z).items()
    [output] = onnxruntime.InferenceSession(content).run([name], {"z": z})
    difference = np.abs(output - expected.numpy())
    scale = np.array(vae.decoder.columns.scale) if vae.decoder.columns else None
    if not np.all(difference <= _TOLERANCE * sizes(expected.numpy(), scale)):  # NaN is no small difference
        raise RunError(f"{path}: onnxruntime differs from the model by {difference.max():.2g}; nothing is written")
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(content)
    aside.replace(path)
