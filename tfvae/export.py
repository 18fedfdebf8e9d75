"""Exports a trained run as SavedModels for TensorFlow Serving: python -m tfvae.export --run_dir=runs/NAME

The decoder goes to `<export_dir>/NAME/<version>/`, the encoder to `<export_dir>/NAME-encoder/<version>/`; both are
called as TensorFlow Serving calls them before they are there. --verify=saved_models/NAME/1 does so again, anywhere.
"""

import json
from pathlib import Path
from typing import Any

from tfvae.config import COMMAND_FIELDS, Config, InputError, import_tensorflow, of_run, require_writable, run


def export(config: Config, export_format: str = "saved_model", with_explorer: bool = False) -> Path:
    """Writes the next version of the run in `config.run_dir` and returns its directory.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had.
        RunError: the exported model doesn't answer as the trained one does; it is not there.
    """
    import_tensorflow()
    from tfvae import checkpoints, data, explorer, safety, saved_model

    require_writable("export_dir", config.export_dir)
    run_dir = Path(config.run_dir)
    trained, base = checkpoints.load_run(run_dir), saved_model.base_of(config.export_dir, run_dir)
    results = run_dir / "results.json"
    results = json.loads(results.read_text()) if results.is_file() else {}
    exported = saved_model.export(trained.vae, base, saved_model.about(config, trained.step, results))
    print(f"{exported}: the decoder of step {trained.step:,}; the encoder: {base}-encoder", flush=True)
    if export_format == "onnx":
        saved_model.export_onnx(trained.vae, base / "decoder.onnx")
        print(f"{base / 'decoder.onnx'}: the decoder as ONNX, the same in onnxruntime")
    if with_explorer:
        title = f"{run_dir.resolve().name}, step {trained.step:,}"
        page = explorer.page(trained.vae, config, data.load_of(config, trained.fingerprint), title)
        for folder in (run_dir, base):
            safety.write_atomically(folder / "explorer.html", page)
            print(f"{folder / 'explorer.html'}: open it in a browser")
    return exported


def main(given: dict[str, Any]) -> None:
    options = {name: given.pop(name, COMMAND_FIELDS[name].default) for name in ("export_format", "explorer", "verify")}
    if version := options["verify"]:
        from tfvae import verify

        if not (Path(version) / "saved_model.pb").is_file():
            raise InputError(f"--verify={version}: must be an exported version, such as saved_models/NAME/1")
        print(f"{version}, by the C API of TensorFlow:\n{verify.check(Path(version))}")
        return
    export(of_run(given), options["export_format"], options["explorer"])


if __name__ == "__main__":
    names = ("run_dir", "export_dir", "data_dir", "export_format", "explorer", "verify")
    run(main, "tfvae.export", __doc__, names)
