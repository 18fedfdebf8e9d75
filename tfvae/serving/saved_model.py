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
from tfvae.core.vae import VAE
from tfvae.runtime.files import move_into_place, whole_number
from tfvae.serving import verify
from tfvae.serving.ownership import described_settings
from tfvae.serving.signatures import DecoderFunctions, EncoderFunctions, Signature

_ABANDONED_SECONDS = 600  # an export takes seconds: one this old was killed
_WARM_UP_ROWS = (1, 8, 64)  # rows of the requests by which a server warms up
_EXAMPLE_ROWS = 3  # of the inputs whose answers are kept for `verify`


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
    Both take `label` int32 [N] too, where the model is conditional; one of no class is an error.
    """
    functions = DecoderFunctions(vae)
    z, seed = (
        tf.TensorSpec([None, vae.encoder.latent_dim], tf.float32, name="z"),
        tf.TensorSpec([None], tf.int32, "seed"),
    )
    columns, classes = vae.decoder.columns, len(vae.classes)
    decode = Signature(functions.decode, z, x_columns=columns, classes=classes)
    sample = Signature(functions.sample, seed, x_columns=columns, classes=classes)
    needed = [v for v in vae.variables if not v.path.startswith("vae/encoder/")]
    signatures = {"serving_default": decode, "decode": decode, "sample": sample}
    return Model(directory, needed, signatures, verify.TOLERANCES[vae.decoder.layer_dtype])


def encoder_model(vae: VAE, directory: Path) -> Model:
    """The encoder.

    `serving_default` = `encode`: `x` float32 [N, H, W, C] in [0, 1], or vectors [N, D] in their own units -> `mean` and
    `log_variance` [N, L] of q(z|x), of each latent by itself. An x of another shape or range is an error; NaN is a
    missing value in vectors of which some may be missing, and else an error too. `label` is as `decoder_model` has it.
    """
    x = tf.TensorSpec([None, *vae.encoder.example_shape], tf.float32, name="x")
    encode = Signature(
        EncoderFunctions(vae).encode, x, vae.encoder.columns, vae.encoder.value_range, classes=len(vae.classes)
    )
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
    if vae.classes:
        description = {**(description or {}), "classes": vae.classes}
    return export_models([encoder, decoder_model(vae, directory)], description, before_publishing)[1]


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
        compiled[name] = tf.function(signature.function, input_signature=signature.inputs, autograph=False)
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
                for input_name, value in signature.examples(rows).items():
                    request.inputs[input_name].CopyFrom(tf.make_tensor_proto(value))
                writer.write(log.SerializeToString())


def _write_expected(path: Path, signatures: dict[str, Signature], tolerance: float) -> None:
    """What the model itself answers, function by function outside any graph, for `verify` here and on any machine."""
    expected: dict[str, Any] = {"tolerance": np.array(tolerance)}
    examples = {name: signature.examples(_EXAMPLE_ROWS) for name, signature in signatures.items()}
    for name, signature in signatures.items():
        expected |= {f"{name}/in/{input_name}": value for input_name, value in examples[name].items()}
        if signature.takes_nan:
            expected[f"{name}/takes_nan"] = np.array(True)
        if signature.x_columns:
            expected[f"{name}/scale/x"] = np.array(signature.x_columns.scale)
    for name, signature in signatures.items():
        for output, value in signature.function(*map(tf.constant, examples[name].values())).items():
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
