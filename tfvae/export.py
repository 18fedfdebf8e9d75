"""Exports the decoder of a trained run as a SavedModel: python -m tfvae.export --run_dir=runs/NAME"""

from pathlib import Path
from typing import Any

from tfvae.config import import_tensorflow, of_run, require_writable, run


def export(run_dir: str, export_dir: str) -> Path:
    """Writes `<export_dir>/<run>/<next version>` and returns it.

    Raises:
        InputError: it is no run directory, or has no checkpoint.
    """
    import_tensorflow()
    from tfvae import checkpoints, saved_model

    require_writable("export_dir", export_dir)
    trained = checkpoints.load_run(run_dir)
    exported = saved_model.export_decoder(trained.vae, saved_model.base_of(export_dir, run_dir))
    print(f"{exported}: the decoder of step {trained.step:,}", flush=True)
    return exported


def main(given: dict[str, Any]) -> None:
    config = of_run(given)
    export(config.run_dir, config.export_dir)


if __name__ == "__main__":
    run(main, "tfvae.export", __doc__, ("run_dir", "export_dir"))
