"""Whose an exported model's directory is: one run's, of which `run.json` beside its versions tells.

A server takes the highest number for the newest version of one model. Two runs in one directory would be one model to
it, so another run's directory is refused. A run is told by its settings, apart from those that may change when it goes
on, and by the fingerprint of its images: not by its place, for it may be moved.
"""

import json
from pathlib import Path
from typing import Any

from tfvae.config import Config
from tfvae.config.data_names import is_file_name
from tfvae.config.fields import to_text
from tfvae.config.flagfile import may_move
from tfvae.errors import InputError
from tfvae.runtime.files import numbered_directories, write_atomically

FILE_NAME = "run.json"
_NOT_COMPARED = ("dataset", "epochs")  # the images may have moved, which their fingerprint tells; a run may go on


def names(config: Config) -> dict[str, str]:
    """{"decoder" or "encoder": the directory's name in `export_dir`}; the decoder's is that of the run."""
    name = config.export_name or config.directory.resolve().name
    return {"decoder": name, "encoder": f"{name}-encoder"}


def described_settings(config: Config) -> dict[str, Any]:
    """A run's settings as JSON has them, without this machine's paths."""
    dataset = Path(config.dataset).name if is_file_name(config.dataset) else config.dataset
    return json.loads(json.dumps({**config.settings(), "dataset": dataset}))


def require_own(config: Config, fingerprint: str) -> None:
    """Refuses directories that have another run's versions; `fingerprint` is of this run's images.

    One without versions is anybody's. One without `run.json` was made by an earlier tfvae: it is the run's own where
    its newest version records the same settings and the same name of a data set.

    Raises:
        InputError: names the difference, and the way out.
    """
    for kind, name in names(config).items():
        directory = Path(config.export_dir, name)
        difference = _difference(directory, kind, config, fingerprint)
        if difference:
            raise InputError(
                f"--export_dir={config.export_dir}: must have no other run's models in {name}, and {difference}; "
                f"--export_name=NAME exports these under another name"
            )


def claim(config: Config, fingerprint: str) -> None:
    """Makes the directories, which are there, this run's; raises InputError where they are another's."""
    require_own(config, fingerprint)
    settings = described_settings(config)
    for name in _NOT_COMPARED:
        settings.pop(name)
    for kind, name in names(config).items():
        content = {"kind": kind, "fingerprint": fingerprint, "settings": settings}
        path = Path(config.export_dir, name, FILE_NAME)
        write_atomically(path, json.dumps(content, indent=1) + "\n")
        path.chmod(0o644)  # a server may be another user


def _difference(directory: Path, kind: str, config: Config, fingerprint: str) -> str:
    """In what the run whose versions are in a directory is another one; "" where it is not, or there are none."""
    versions = [path for path in numbered_directories(directory).values() if (path / "saved_model.pb").is_file()]
    if not versions:
        return ""
    own_file = directory / FILE_NAME
    recorded = _read(own_file if own_file.exists() else versions[-1] / "assets.extra" / "tfvae.json")
    settings = recorded.get("settings")
    if not isinstance(settings, dict):
        return "nothing that can be read tells whose its versions are"
    if recorded.get("kind", kind) != kind:
        return f"its versions are {recorded['kind']}s of another one"
    for name, value in described_settings(config).items():
        if name in settings and name not in _NOT_COMPARED and settings[name] != value:
            there, here = to_text(_as_setting(settings[name])), to_text(_as_setting(value))
            return f"its run has --{name}={there} (here: {here})"
    if "fingerprint" in recorded:
        return "" if recorded["fingerprint"] == fingerprint else "its run is of other images"
    there, here = str(settings.get("dataset")), config.dataset
    if described_settings(config)["dataset"] == there or (may_move(there) and may_move(here)):
        return ""
    return f"its run has --dataset={there} (here: {here})"


def _read(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none, or it is damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _as_setting(value: Any) -> Any:
    """A value of JSON as `Config` has it: lists are tuples there."""
    return tuple(value) if isinstance(value, list) else value
