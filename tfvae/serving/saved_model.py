"""The trained model as SavedModels that TensorFlow Serving serves: `<export_dir>/<run>/<version>/`, and its encoder.

A version is written aside, called through TensorFlow's C API as a server would, flushed to disk and renamed: a server
that polls the directory never sees half of one, or one that doesn't work.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core import noise
from tfvae.serving import verify
from tfvae.config import Config
from tfvae.config.config import is_file_name
from tfvae.errors import InputError, RunError
from tfvae.core.distributions import FullNormal
from tfvae.core.models import VAE
from tfvae.core.noise import Stream
from tfvae.runtime.files import move_into_place

_ABANDONED_SECONDS = 600  # an export takes seconds: one this old was killed
_WARM_ROWS = (1, 8, 64)  # rows of the requests by which a server warms up


def base_of(export_dir: str, run_dir: str | Path) -> Path:
    """`<export_dir>/<run>`, where the versions of a run's decoder are."""
    return Path(export_dir) / Path(run_dir).resolve().name


def export(vae: VAE, base: Path, about: dict[str, Any] | None = None) -> Path:
    """Writes the encoder to `<base>-encoder` and the decoder to `base`; returns the decoder's new directory."""
    export_encoder(vae, base.with_name(f"{base.name}-encoder"), about)
    return export_decoder(vae, base, about)


def export_decoder(vae: VAE, base: Path, about: dict[str, Any] | None = None) -> Path:
    """Writes the decoder's next version below `base` and returns its directory; any number of rows N:

    `serving_default` = `decode`: `z` float32 [N, L] -> `image` float32 [N, H, W, C] in [0, 1], the mean of p(x|z),
    clipped. A z that is not finite is an error: a fused relu would turn NaN into 0, a plausible picture.
    `sample`: `seed` int32 [N] -> `image`, and `z` [N, L] drawn from the prior; a row depends on its own seed alone.

    `about` is kept beside it as JSON.
    """
    latents = vae.encoder.latent_dim

    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        z = tf.ensure_shape(z, [None, latents])  # TensorFlow Serving leaves that to the graph
        return {"image": _image(vae, tf.debugging.check_numerics(z, "z must be finite"))}

    def sample(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        z = tf.map_fn(lambda s: _draw(vae, s), seed, fn_output_signature=tf.TensorSpec([latents], tf.float32))
        return {"image": _image(vae, z), "z": z}

    z, seed = tf.TensorSpec([None, latents], tf.float32, name="z"), tf.TensorSpec([None], tf.int32, name="seed")
    signatures = {"serving_default": (decode, z), "decode": (decode, z), "sample": (sample, seed)}
    held = [v for v in vae.variables if not v.path.startswith("vae/encoder/")]  # small: what they need alone
    return _write(base, held, signatures, about)


def export_encoder(vae: VAE, base: Path, about: dict[str, Any] | None = None) -> Path:
    """Writes the encoder's next version below `base` and returns its directory.

    `serving_default` = `encode`: `x` float32 [N, H, W, C] in [0, 1] -> `mean` and `log_variance` [N, L] of q(z|x), of
    each latent by itself.
    """

    def encode(x: tf.Tensor) -> dict[str, tf.Tensor]:
        q = vae.encode(tf.debugging.check_numerics(x, "x must be finite"))
        log_variance = q.log_variance
        if isinstance(q, FullNormal):  # whose log_variance is given the latents before
            log_variance = tf.math.log(tf.reduce_sum(tf.square(q.cholesky()), axis=-1))
        return {"mean": q.mean, "log_variance": log_variance}

    x = tf.TensorSpec([None, *vae.encoder.image_shape], tf.float32, name="x")
    return _write(base, vae.encoder.variables, {"serving_default": (encode, x), "encode": (encode, x)}, about)


def export_onnx(vae: VAE, path: Path) -> None:
    """Writes `decode` as ONNX to `path`, after onnxruntime has agreed with the model to 1e-5.

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
    function = tf.function(lambda z: {"image": _image(vae, z)}, input_signature=signature, autograph=False)
    model, _ = tf2onnx.convert.from_function(function, signature, opset=17)
    z = _example(signature[0], 3)
    [image] = onnxruntime.InferenceSession(model.SerializeToString()).run(["image"], {"z": z})
    difference = float(np.abs(image - _image(vae, z)).max())
    if not difference <= 1e-5:
        raise RunError(f"{path}: onnxruntime differs from the model by {difference:.2g}; nothing is written")
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(model.SerializeToString())
    aside.replace(path)


def about(config: Config, step: int, results: dict[str, Any]) -> dict[str, Any]:
    """What is kept beside a model: its settings, step and test figures, without this machine's paths."""
    name = Path(config.dataset).name if is_file_name(config.dataset) else config.dataset
    told = {k: results[k] for k in ("of", "test", "versions") if k in results}
    if "of" in told:
        told["of"] = {**told["of"], "dataset": name}
    return {"settings": {**config.settings(), "dataset": name}, "step": step, **told}


def _image(vae: VAE, z: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(vae.decode(z).mean, 0.0, 1.0)


def _draw(vae: VAE, seed: tf.Tensor) -> tf.Tensor:
    """z [L] from the prior: without XLA, which servers need not have, and without a state."""
    seeds = noise.seed_for(seed, Stream.PRIOR)
    epsilon = tf.random.stateless_normal([vae.encoder.latent_dim], seeds, alg="philox")
    return vae.sample_prior(epsilon, noise.uniform((), noise.fold_in(seeds, 1)))


def _example(spec: tf.TensorSpec, rows: int) -> np.ndarray:
    if spec.dtype == tf.int32:
        return np.arange(rows, dtype=np.int32)
    return np.random.default_rng(rows).uniform(0, 1, (rows, *spec.shape[1:])).astype(np.float32)


def _write(
    base: Path,
    variables: list[Any],
    signatures: dict[str, tuple[Callable[..., dict[str, tf.Tensor]], tf.TensorSpec]],
    about: dict[str, Any] | None,
) -> Path:
    module = tf.Module()
    module.held = [variable.value for variable in variables]
    compiled = {}
    for name, (function, spec) in signatures.items():
        compiled[name] = tf.function(function, input_signature=[spec], autograph=False)
    base.mkdir(parents=True, exist_ok=True)
    for leftover in base.glob(".*.tmp"):
        if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=base))
    try:
        tf.saved_model.save(module, str(aside), signatures=compiled)
        extra = aside / "assets.extra"
        extra.mkdir()
        (extra / "tfvae.json").write_text(json.dumps(about or {}, indent=1) + "\n")
        _write_warm_up(extra / "tf_serving_warmup_requests", base.name, signatures)
        # what the model itself answers, function by function outside any graph: for `verify`, here and on any machine
        examples = {name: (spec.name, _example(spec, 3)) for name, (_, spec) in signatures.items()}
        answers = {f"{name}/in/{argument}": value for name, (argument, value) in examples.items()}
        for name, (function, _) in signatures.items():
            answers |= {f"{name}/out/{k}": v.numpy() for k, v in function(tf.constant(examples[name][1])).items()}
        np.savez(extra / "expected.npz", **answers)
        aside.chmod(0o755)  # a server may be another user
        verify.check(aside)
        while True:
            version = base / str(1 + max((int(p.name) for p in base.iterdir() if p.name.isdigit()), default=0))
            try:
                move_into_place(aside, version)
                return version
            except OSError:  # another export took this version meanwhile
                if not version.exists():
                    raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_warm_up(path: Path, name: str, signatures: dict[str, Any]) -> None:
    """The requests that TensorFlow Serving replays before it takes others: the first call of a graph is slow."""
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, (_, spec) in signatures.items():
            for rows in _WARM_ROWS:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = name, signature
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(_example(spec, rows)))
                writer.write(log.SerializeToString())
