"""The runs that benchmarks compare: each is trained in a folder of the benchmark, and trained once."""

from pathlib import Path
from typing import Any

from tfvae import run
from tfvae.config import Config
from tfvae.config.fields import to_text


def train(folder: Path, name: str, dataset: str, epochs: int, **settings: Any) -> Config:
    """The settings of a run in `folder`, which goes on where it is not finished."""
    config = Config(
        dataset=dataset,
        epochs=epochs,
        run_dir=str(folder / f"{Path(dataset).stem}-{epochs}-{name}"),
        export_dir=str(folder / "exports"),
        **settings,
    )
    run.train(config)
    return config


def in_words(settings: dict[str, Any]) -> str:
    """Settings as flags say them, one after the other."""
    return ", ".join(f"{name}={to_text(value)}" for name, value in settings.items())
