"""Exports a trained run as SavedModels for TensorFlow Serving: python -m tfvae.export --run_dir=runs/NAME

The decoder goes to `<export_dir>/NAME/<version>/`, the encoder to `<export_dir>/NAME-encoder/<version>/`; both are
called as TensorFlow Serving calls them before they are there. --verify=saved_models/NAME/1 does so again, anywhere.
"""

import sys
from pathlib import Path
from typing import Any

from tfvae.config import checkpoint_choice
from tfvae.config.fields import choice, field, or_auto, text, true_or_false
from tfvae.config.flagfile import recorded_config
from tfvae.errors import InputError
from tfvae.flags import of_config, run_command
from tfvae.trained import export

FLAGS = (
    of_config("run_dir", "export_dir", "export_name", "dataset", "data_dir", "labels")
    | checkpoint_choice.FLAG
    | {
        "export_format": field("saved_model", choice("saved_model", "onnx"), "onnx: the decoder also as decoder.onnx"),
        "explorer": field(
            False, true_or_false(), "also explorer.html: the latent space as one page that needs no network"
        ),
        "verify": field(None, or_auto(text("a directory")), "only call this exported version, and compare its answers"),
    }
)


def verify(version: Path) -> None:
    """Prints how an exported version answers beside the trained model; raises InputError where there is none."""
    from tfvae.serving.verify import check

    if not (version / "saved_model.pb").is_file():
        raise InputError(f"--verify={version}: must be an exported version, such as saved_models/NAME/1")
    print(f"{version}, by the C API of TensorFlow:\n{check(version)}")


def main(given: dict[str, Any]) -> None:
    version = given.pop("verify", None)
    export_format = given.pop("export_format", FLAGS["export_format"].default)
    with_explorer = given.pop("explorer", False)
    checkpoint = given.pop("checkpoint", checkpoint_choice.AUTO)
    if version:
        verify(Path(version))
    else:
        export(recorded_config(given), export_format, with_explorer, checkpoint)


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name."""
    run_command(main, argv, "tfvae.export", __doc__, FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
