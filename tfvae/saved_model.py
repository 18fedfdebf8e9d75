"""The decoder as a SavedModel that TensorFlow Serving serves: `<export_dir>/<run>/<version>/`."""

import shutil
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from tfvae.models import VAE
from tfvae.safety import move_into_place

_ABANDONED_SECONDS = 600  # an export takes seconds: one this old was killed


def base_of(export_dir: str, run_dir: str | Path) -> Path:
    """`<export_dir>/<run>`, where the versions of a run's decoder are."""
    return Path(export_dir) / Path(run_dir).resolve().name


def export_decoder(vae: VAE, base: Path) -> Path:
    """Writes the next version below `base` and returns its directory.

    The signature `serving_default` takes `z` float32 [N, L], any N, and gives `image` float32 [N, H, W, C] in [0, 1]:
    the mean of p(x|z), clipped. A z that is not finite is an error: without the check it would become a plausible
    picture, for a fused relu turns NaN into 0.

    It is written aside, flushed and renamed: a server that polls `base` never sees half of one.
    """
    module = tf.Module()
    module.variables_of_decoder = [variable.value for variable in vae.decoder.variables]

    @tf.function(input_signature=[tf.TensorSpec([None, vae.encoder.latent_dim], tf.float32, name="z")], autograph=False)
    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        z = tf.debugging.check_numerics(z, "z must be finite")
        return {"image": tf.clip_by_value(vae.decode(z).mean, 0.0, 1.0)}

    base.mkdir(parents=True, exist_ok=True)
    for leftover in base.glob(".*.tmp"):
        if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=base))
    try:
        tf.saved_model.save(module, str(aside), signatures={"serving_default": decode})
        aside.chmod(0o755)  # a server may be another user
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
