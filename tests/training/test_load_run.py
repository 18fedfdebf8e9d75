"""`tfvae.load`: the trained VAE of a run directory; also of one that an older version made."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import IMAGES, OPTIONS, assert_same_values, make_program
from saved_states import DAMAGES, IMAGE, make_state, notes, save_states

import tfvae
from tfvae.config import Config
from tfvae.config.flagfile import to_flagfile
from tfvae.errors import InputError
from tfvae.runtime.files import write_atomically
from tfvae.training.checkpoints import restore, save


@pytest.mark.parametrize(
    "settings", [{"hidden_units": (7, 5)}, {"network": "conv", "filters": (2, 3), "likelihood": "gaussian"}], ids=str
)
def test_load_gives_the_trained_vae(tmp_path: Path, settings: dict[str, Any]) -> None:
    state = make_state(1, latent_dim=3, **settings)
    config = Config(
        **{"hidden_units": (5,), "dataset": "digits", "latent_dim": 3, "run_dir": str(tmp_path), **settings}
    )
    config = config.as_usual()  # as a run records it
    write_atomically(tmp_path / "config.flags", to_flagfile(config))
    save(tmp_path, state.variables(), 30, notes(30))
    x = np.random.default_rng(0).random((4, *IMAGE), np.float32)
    vae, loaded, step, _ = tfvae.load(tmp_path)
    assert (loaded, step) == (config, 30)
    np.testing.assert_array_equal(vae(x), state.vae(x))
    np.testing.assert_array_equal(vae.encode(x).mean, state.vae.encode(x).mean)

    save(tmp_path, make_state(2, latent_dim=3, **settings).variables(), 40, notes(40))
    DAMAGES["data zeroed"](tmp_path / "checkpoints" / "40")
    vae, _, step, _ = tfvae.load(str(tmp_path))
    assert step == 30
    np.testing.assert_array_equal(vae(x), state.vae(x))


def test_load_refuses_what_is_no_trained_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be the directory of a run"):
        tfvae.load(tmp_path / "nowhere")
    write_atomically(tmp_path / "config.flags", to_flagfile(Config(dataset="digits", latent_dim=3, hidden_units=(5,))))
    with pytest.raises(InputError, match="that has a checkpoint"):
        tfvae.load(tmp_path)
    save_states(tmp_path, 10)
    with pytest.raises(InputError, match="encoder/head/mean_kernel has the shape"):
        tfvae.load(tmp_path)


# Runs of older versions, which named the encoder's outputs as layers of their own.

OLD_NAMES = (  # of a run on the digits, --hidden_units=8; its optimizer was Adam
    "vae/encoder/hidden_0/kernel",
    "vae/encoder/hidden_0/bias",
    "vae/encoder/mean/kernel",
    "vae/encoder/mean/bias",
    "vae/encoder/log_variance/kernel",
    "vae/encoder/log_variance/bias",
    "vae/decoder/hidden_0/kernel",
    "vae/decoder/hidden_0/bias",
    "vae/decoder/pixels/kernel",
    "vae/decoder/pixels/bias",
    "optimizer/iteration",
    "optimizer/learning_rate",
    "optimizer/vae_encoder_hidden_0_kernel_momentum",
    "optimizer/vae_encoder_hidden_0_kernel_velocity",
    "optimizer/vae_encoder_hidden_0_bias_momentum",
    "optimizer/vae_encoder_hidden_0_bias_velocity",
    "optimizer/vae_encoder_mean_kernel_momentum",
    "optimizer/vae_encoder_mean_kernel_velocity",
    "optimizer/vae_encoder_mean_bias_momentum",
    "optimizer/vae_encoder_mean_bias_velocity",
    "optimizer/vae_encoder_log_variance_kernel_momentum",
    "optimizer/vae_encoder_log_variance_kernel_velocity",
    "optimizer/vae_encoder_log_variance_bias_momentum",
    "optimizer/vae_encoder_log_variance_bias_velocity",
    "optimizer/vae_decoder_hidden_0_kernel_momentum",
    "optimizer/vae_decoder_hidden_0_kernel_velocity",
    "optimizer/vae_decoder_hidden_0_bias_momentum",
    "optimizer/vae_decoder_hidden_0_bias_velocity",
    "optimizer/vae_decoder_pixels_kernel_momentum",
    "optimizer/vae_decoder_pixels_kernel_velocity",
    "optimizer/vae_decoder_pixels_bias_momentum",
    "optimizer/vae_decoder_pixels_bias_velocity",
    "step",
)
OLD_NAMES_OF_FULL = (  # what --posterior=full added to them
    "vae/encoder/below/kernel",
    "vae/encoder/below/bias",
    "optimizer/vae_encoder_below_kernel_momentum",
    "optimizer/vae_encoder_below_kernel_velocity",
    "optimizer/vae_encoder_below_bias_momentum",
    "optimizer/vae_encoder_below_bias_velocity",
)


def name_as_before(folder: Path) -> set[str]:
    """Gives a checkpoint's variables their old names; returns them."""
    content = json.loads((folder / "variables.json").read_text())
    del content["crc32"]
    for part in ("mean", "log_variance", "below"):
        for weight in ("kernel", "bias"):
            content["variables"] = {
                name.replace(f"encoder/head/{part}_{weight}", f"encoder/{part}/{weight}").replace(
                    f"encoder_head_{part}_{weight}", f"encoder_{part}_{weight}"
                ): shape
                for name, shape in content["variables"].items()
            }
    crc32 = zlib.crc32(json.dumps(content).encode())
    (folder / "variables.json").write_text(json.dumps({**content, "crc32": crc32}))
    return set(content["variables"])


@pytest.mark.parametrize(
    ("posterior", "names"),
    [
        pytest.param("diagonal", OLD_NAMES, marks=pytest.mark.slow),
        ("full", OLD_NAMES + OLD_NAMES_OF_FULL),
    ],
    ids=["diagonal", "full"],
)
def test_a_checkpoint_under_old_names_is_restored_bit_for_bit_and_goes_on(tmp_path, posterior, names, without_xla):
    options = {**OPTIONS, "posterior": posterior}
    saved, saved_program = make_program(**options)
    saved_program.run(0, 2)
    save(tmp_path, saved.variables(), 2, {"image_shape": IMAGES.shape[1:], "step": 2, "fingerprint": "0"})
    assert name_as_before(tmp_path / "checkpoints" / "2") == set(names)
    write_atomically(tmp_path / "config.flags", to_flagfile(Config(dataset="digits", **options)))

    state, program = make_program(**options)
    assert restore(tmp_path, lambda _: state.variables())["step"] == 2
    assert_same_values(state, saved)
    for ours, theirs in zip(tfvae.load(tmp_path).vae.variables, saved.vae.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)

    for goes_on in (program, saved_program):
        goes_on.run(2, 2)
    assert_same_values(state, saved)
    save(tmp_path, state.variables(), 4, {"image_shape": IMAGES.shape[1:], "step": 4, "fingerprint": "0"})
    written = json.loads((tmp_path / "checkpoints" / "4" / "variables.json").read_text())["variables"]
    assert set(written) == set(state.variables())  # the next checkpoint has today's names
