"""The trained model as SavedModels that TensorFlow Serving serves: `<export_dir>/<run>/<version>/`, and its encoder.

A version is written aside, called through TensorFlow's C API as a server would, flushed to disk and renamed: a server
that polls the directory never sees half of one, or one that doesn't work.

Shapes: N rows, L latents, images H W C.
"""

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core import noise
from tfvae.core.columns import Columns
from tfvae.core.noise import Stream
from tfvae.core.vae import VAE
from tfvae.runtime.files import move_into_place, whole_number
from tfvae.serving import verify
from tfvae.serving.ownership import described_settings

_ABANDONED_SECONDS = 600  # an export takes seconds: one this old was killed
_WARM_UP_ROWS = (1, 8, 64)  # rows of the requests by which a server warms up
_EXAMPLE_ROWS = 3  # of the inputs whose answers are kept for `verify`


class Signature(NamedTuple):
    """A function that is served: of one tensor, to {name: tensor}.

    `columns` are those of an input of vectors, `x_columns` those of an output `x`.
    """

    function: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    input: tf.TensorSpec
    columns: Columns | None = None
    value_range: tuple[float, float] | None = None
    x_columns: Columns | None = None

    def example(self, rows: int) -> np.ndarray:
        """An input of so many rows, always the same; of vectors such as the training part has."""
        example = example_input(self.input, rows)
        if self.value_range:
            low, high = self.value_range
            return (low + (high - low) * example).astype(np.float32)
        if self.columns is None:
            return example
        example = np.array(self.columns.offset) + np.array(self.columns.scale) * example
        if self.takes_nan:
            example[0, 0] = np.nan
        return example.astype(np.float32)

    @property
    def takes_nan(self) -> bool:
        """Whether NaN in the input stands for a missing value."""
        return self.columns is not None and self.columns.missing


def describe(config: Config, step: int, results: dict[str, Any]) -> dict[str, Any]:
    """What is kept beside a model: its settings, step and test figures, without this machine's paths."""
    settings = described_settings(config)
    figures: dict[str, Any] = {key: results[key] for key in ("of", "test", "versions") if key in results}
    if "of" in figures:
        figures["of"] = {**figures["of"], "dataset": settings["dataset"]}
        figures["of"].pop("initial_weights", None)  # a directory of this machine; the settings have their checksum
    return {"settings": settings, "step": step, **figures}


class Model(NamedTuple):
    """What is exported: below `directory`, with these variables alone; by `tolerance` its answers may differ."""

    directory: Path
    variables: list[Any]
    signatures: dict[str, Signature]
    tolerance: float


def decoder_model(vae: VAE, directory: Path) -> Model:
    """The decoder; any number of rows N:

    `serving_default` = `decode`: `z` float32 [N, L] -> `image` float32 [N, H, W, C] in [0, 1], the mean of p(x|z),
    clipped; of vectors -> `x` float32 [N, D], in their own units. A z that is not finite is an error: a fused relu
    would turn NaN into 0, a plausible picture.
    `sample`: `seed` int32 [N] -> the same, and `z` [N, L] drawn from the prior; a row depends on its own seed alone.
    """
    functions = _DecoderFunctions(vae)
    z, seed = (
        tf.TensorSpec([None, vae.encoder.latent_dim], tf.float32, name="z"),
        tf.TensorSpec([None], tf.int32, "seed"),
    )
    decode = Signature(functions.decode, z, x_columns=vae.decoder.columns)
    sample = Signature(functions.sample, seed, x_columns=vae.decoder.columns)
    needed = [v for v in vae.variables if not v.path.startswith("vae/encoder/")]
    signatures = {"serving_default": decode, "decode": decode, "sample": sample}
    return Model(directory, needed, signatures, verify.TOLERANCES[vae.decoder.layer_dtype])


def encoder_model(vae: VAE, directory: Path) -> Model:
    """The encoder.

    `serving_default` = `encode`: `x` float32 [N, H, W, C] in [0, 1], or vectors [N, D] in their own units -> `mean` and
    `log_variance` [N, L] of q(z|x), of each latent by itself. An x of another shape or range is an error; NaN is a
    missing value in vectors of which some may be missing, and else an error too.
    """
    x = tf.TensorSpec([None, *vae.encoder.example_shape], tf.float32, name="x")
    encode = Signature(_EncoderFunctions(vae).encode, x, vae.encoder.columns, vae.encoder.value_range)
    signatures = {"serving_default": encode, "encode": encode}
    return Model(directory, vae.encoder.variables, signatures, verify.TOLERANCES[vae.encoder.layer_dtype])


def export(
    vae: VAE,
    directory: Path,
    description: dict[str, Any] | None = None,
    before_publishing: Callable[[], None] = lambda: None,
) -> Path:
    """Writes the encoder to `<directory>-encoder` and the decoder to `directory`; returns the decoder's new version.

    `description` is kept beside them as JSON. `before_publishing` is called when both are verified, and may raise.

    Raises:
        RunError: an exported model doesn't answer as `vae` does; neither is there.
    """
    encoder = encoder_model(vae, directory.with_name(f"{directory.name}-encoder"))
    if vae.decoder.columns:
        description = {**(description or {}), "columns": vae.decoder.columns.to_json()}
    if vae.decoder.value_range:
        description = {**(description or {}), "value_range": vae.decoder.value_range}
    return export_models([encoder, decoder_model(vae, directory)], description, before_publishing)[1]


def decoded(vae: VAE, z: tf.Tensor) -> dict[str, tf.Tensor]:
    """The mean of p(x|z) for z [N, L]: `image` [N, H, W, C], clipped to [0, 1], or of vectors `x` [N, D]."""
    mean = vae.decode(z).mean
    if vae.decoder.columns:
        return {"x": vae.decoder.in_user_units(mean)}
    return {"image": vae.decoder.in_user_units(tf.clip_by_value(mean, 0.0, 1.0))}


def example_input(spec: tf.TensorSpec, rows: int) -> np.ndarray:
    """An input of so many rows, always the same: seeds that count up, or numbers in [0, 1)."""
    if spec.dtype == tf.int32:
        return np.arange(rows, dtype=np.int32)
    return np.random.default_rng(rows).uniform(0, 1, (rows, *spec.shape[1:])).astype(np.float32)


class _DecoderFunctions:
    """What is served of a decoder and the prior."""

    def __init__(self, vae: VAE) -> None:
        self.vae, self.latent_dim = vae, vae.encoder.latent_dim

    def decode(self, z: tf.Tensor) -> dict[str, tf.Tensor]:
        z = tf.ensure_shape(z, [None, self.latent_dim])  # servers feed what they get: the graph must check it
        return decoded(self.vae, tf.debugging.check_numerics(z, "z must be finite"))

    def sample(self, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.ensure_shape(seed, [None])
        z = tf.map_fn(self._draw, seed, fn_output_signature=tf.TensorSpec([self.latent_dim], tf.float32))
        return {**decoded(self.vae, z), "z": z}

    def _draw(self, seed: tf.Tensor) -> tf.Tensor:
        """z [L] from the prior: without XLA, which servers need not have, and without a state."""
        seeds = noise.seed_for(seed, Stream.PRIOR)
        epsilon = tf.random.stateless_normal([self.latent_dim], seeds, alg="philox")
        return self.vae.sample_prior(epsilon, noise.uniform((), noise.fold_in(seeds, 1)))


class _EncoderFunctions:
    """What is served of an encoder."""

    def __init__(self, vae: VAE) -> None:
        self.vae = vae

    def encode(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        encoder = self.vae.encoder
        if encoder.columns:
            x = tf.reshape(_checked_vectors(x, encoder.columns), [-1, *encoder.image_shape])
        else:
            low, high = encoder.value_range or (0.0, 1.0)
            x = _checked_images(x, encoder.image_shape, low, high)
            if encoder.value_range:
                x = (x - low) / (high - low)
        posterior = self.vae.encode(x)
        return {"mean": posterior.mean, "log_variance": posterior.marginal_log_variance()}


def _checked_images(x: tf.Tensor, image_shape: tuple[int, ...], low: float, high: float) -> tf.Tensor:
    """`x`, in a graph that fails with InvalidArgumentError where it is not [N, H, W, C] of numbers in [low, high].

    Servers feed what they get: whole numbers from 0 to 255 would give latents, and wrong ones.
    """
    x = tf.ensure_shape(x, [None, *image_shape])
    x = tf.debugging.check_numerics(x, "x must be finite")
    lowest = tf.strings.as_string(tf.reduce_min(x), shortest=True)
    highest = tf.strings.as_string(tf.reduce_max(x), shortest=True)
    expected = "fractions in [0, 1]" if (low, high) == (0, 1) else f"numbers from {low:g} to {high:g}"
    message = tf.strings.join([f"x must be {expected}, and has numbers from ", lowest, " to ", highest])
    is_within = tf.reduce_all((x >= low) & (x <= high))
    with tf.control_dependencies([tf.debugging.Assert(is_within, [message])]):
        return tf.identity(x)


def _checked_vectors(x: tf.Tensor, columns: Columns) -> tf.Tensor:
    """`x`, in a graph that fails with InvalidArgumentError where it is not [N, D] of finite numbers.

    NaN may stand for a missing value, where the columns say so.
    """
    x = tf.ensure_shape(x, [None, len(columns.names)])
    numbers = tf.where(tf.math.is_nan(x), tf.zeros_like(x), x) if columns.missing else x
    with tf.control_dependencies([tf.debugging.check_numerics(numbers, "x must be finite")]):
        return tf.identity(x)


def export_models(
    models: list[Model],
    description: dict[str, Any] | None = None,
    before_publishing: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Writes the next version of each, with one number for all, and returns these.

    `before_publishing` is called when all are verified.

    Raises:
        RunError: one of them doesn't answer as the trained model does; none is there.
    """
    with verify.Checker() as checker, contextlib.ExitStack() as stack:
        folders = [stack.enter_context(_folder_aside(model.directory)) for model in models]
        for model, folder in zip(models, folders):
            _write(model, folder, description)
        checker.check(*folders)
        before_publishing()
        return _publish(folders, [model.directory for model in models])


@contextlib.contextmanager
def _folder_aside(directory: Path) -> Iterator[Path]:
    """A new folder in `directory`; it is removed at the end, unless it has been moved."""
    directory.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(directory)
    aside = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=directory))
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(model: Model, folder: Path, description: dict[str, Any] | None) -> None:
    """Writes a whole version."""
    _save(folder, model.variables, model.signatures)
    extra = folder / "assets.extra"
    extra.mkdir()
    (extra / "tfvae.json").write_text(json.dumps(description or {}, indent=1) + "\n")
    _write_warm_up(extra / "tf_serving_warmup_requests", model.directory.name, model.signatures)
    _write_expected(extra / "expected.npz", model.signatures, model.tolerance)
    folder.chmod(0o755)  # a server may be another user


def _remove_abandoned(directory: Path) -> None:
    """Removes what exports that were killed have left."""
    for leftover in directory.glob(".*.tmp"):
        if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)


def _save(folder: Path, variables: list[Any], signatures: dict[str, Signature]) -> None:
    module = tf.Module()
    module.held = [variable.value for variable in variables]
    compiled = {}
    for name, signature in signatures.items():
        compiled[name] = tf.function(signature.function, input_signature=[signature.input], autograph=False)
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # else it names the folder aside, which is moved, in a notebook's output
    try:
        tf.saved_model.save(module, str(folder), signatures=compiled)
    finally:
        logger.setLevel(level)


def _write_warm_up(path: Path, model: str, signatures: dict[str, Signature]) -> None:
    """The requests that TensorFlow Serving replays before it takes others: the first call of a graph is slow."""
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in signatures.items():
            for rows in _WARM_UP_ROWS:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = model, name
                value = tf.make_tensor_proto(signature.example(rows))
                request.inputs[signature.input.name].CopyFrom(value)
                writer.write(log.SerializeToString())


def _write_expected(path: Path, signatures: dict[str, Signature], tolerance: float) -> None:
    """What the model itself answers, function by function outside any graph, for `verify` here and on any machine."""
    expected: dict[str, Any] = {"tolerance": np.array(tolerance)}
    examples = {name: signature.example(_EXAMPLE_ROWS) for name, signature in signatures.items()}
    for name, signature in signatures.items():
        expected[f"{name}/in/{signature.input.name}"] = examples[name]
        if signature.takes_nan:
            expected[f"{name}/takes_nan"] = np.array(True)
        if signature.x_columns:
            expected[f"{name}/scale/x"] = np.array(signature.x_columns.scale)
    for name, signature in signatures.items():
        for output, value in signature.function(tf.constant(examples[name])).items():
            expected[f"{name}/out/{output}"] = value.numpy()
    np.savez(path, **expected)


def _publish(folders: list[Path], directories: list[Path]) -> list[Path]:
    """Moves whole versions to the next number, the same for all, below their directories; all or none."""
    while True:
        number = 1 + max(map(_highest_number, directories))
        versions = [directory / str(number) for directory in directories]
        moved = 0
        try:
            for folder, version in zip(folders, versions):
                move_into_place(folder, version)
                moved += 1
            return versions
        except BaseException as error:  # a signal too
            for folder, version in zip(folders[:moved], versions):
                os.rename(version, folder)
            is_taken = isinstance(error, OSError) and versions[moved].exists()  # by another export, meanwhile
            if not is_taken:
                raise


def _highest_number(directory: Path) -> int:
    """The highest number that anything in a directory has for its name, a file too; 0 where nothing has.

    After a kill between two moves, an encoder has a number that no decoder has: the next pair's is above both.
    """
    numbers = [whole_number(path.name) for path in directory.iterdir()]
    return max((number for number in numbers if number is not None), default=0)
