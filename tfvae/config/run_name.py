"""The short name of a run that is given none: the directory below `runs/`."""

import re
import zlib
from pathlib import Path

from tfvae.config.config import FIELDS, Config
from tfvae.config.data_names import is_file_name
from tfvae.config.fields import to_text
from tfvae.config.network_name import is_own
from tfvae.config.rules import has_filters
from tfvae.config.usual import USUAL


def run_name(config: Config) -> str:
    """A short name for the run, different for other settings (`dataset` resolved): digits-512-2-212c6024."""
    dataset = Path(config.dataset).stem if is_file_name(config.dataset) else config.dataset
    sizes: tuple[str | int, ...] = config.hidden_units
    if config.network is not None and (has_filters(config.network) or is_own(config.network)):
        sizes = tuple(config.network.split(":"))
    settings = config.settings()
    settings |= {name: usual for name, usual in USUAL.items() if settings[name] is None}
    defaults = {name: described.default for name, described in FIELDS.items()} | USUAL
    changed = [(name, to_text(value)) for name, value in settings.items() if value != defaults[name]]
    parts = (dataset, *sizes, config.latent_dim, f"{zlib.crc32(repr(changed).encode()):08x}")
    return "-".join(re.sub("[^A-Za-z0-9.]+", "_", str(part)) for part in parts)
