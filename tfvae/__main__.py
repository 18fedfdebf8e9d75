"""`tfvae COMMAND [flags]`, the same as `python -m tfvae.COMMAND [flags]`."""

import importlib
import sys

COMMANDS = {
    "train": "trains, evaluates, exports; run again, goes on from the last checkpoint",
    "launch": "the same by several processes of this machine",
    "grid": "trains all combinations of settings, one after the other",
    "compare": "runs beside each other: a table, a picture",
    "evaluate": "test ELBO, log p(x), active units, baselines",
    "apply": "latents, scores, reconstructions, samples of any data, into a file",
    "explore": "samples, interpolation, traversal, imputation, features, fine-tuning",
    "export": "the decoder and the encoder as SavedModels; the latent explorer; ONNX",
    "serve": "serves an export over TensorFlow Serving's REST API",
}


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:10}{description}" for name, description in COMMANDS.items()]
    return "\n".join(["usage: tfvae COMMAND [flags]; tfvae COMMAND --help lists the flags", "", *lines])


def main() -> None:
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("--help", "-h", "help"):
        print(usage())
        return
    if name not in COMMANDS:
        print(f"tfvae: {name or 'no command'}: must be one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    importlib.import_module(f"tfvae.{name}").run(sys.argv[2:])


if __name__ == "__main__":
    main()
