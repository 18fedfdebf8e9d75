"""A run's settings and test figures for TensorBoard's HParams tab, where the runs below one `--logdir` are compared.

They are one file of events, which is written whole at the run's end. A run that ends again, after a kill or with more
epochs, writes the same file anew: TensorBoard, which shows all events that it finds, never shows a run twice.
"""

import io
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from tfvae.config import Config
from tfvae.config.fields import to_text
from tfvae.config.run_name import run_name
from tfvae.runtime import files

FOLDER = "test"  # beside `train` and `validation`, whose curves are no figures of a finished run
FILE_NAME = "events.out.tfevents.results"  # TensorBoard reads files that have `tfevents` in their names
_FIGURES = ("elbo", "log_px", "log_likelihood", "kl", "active_units", "squared_error", "bits_per_dimension")


def write(run_dir: Path, config: Config, results: dict[str, Any]) -> None:
    """Writes `config`'s settings and the test figures of `results` to `<run>/tensorboard/test`.

    The figures are `test/elbo`, `test/kl` and so on: no other tag of a run has these names. What is no number (a
    figure that a model has not) is left out.
    """
    folder = run_dir / "tensorboard" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    step, now = results["train"]["steps"], time.time()
    summaries = [hparams_pb(_values(config), trial_id=f"{run_name(config)}-{results['fingerprint']}")]
    for name in _FIGURES:
        figure = results["test"].get(name)
        if figure is not None:
            summaries.append(scalar_pb(f"test/{name}", float(figure)))
    summaries.append(session_end_pb(api_pb2.STATUS_SUCCESS))
    content = io.BytesIO()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for summary in summaries:
        compatible = Summary.FromString(summary.SerializeToString())
        writer.write(Event(wall_time=now, step=step, summary=compatible).SerializeToString())
    files.write_atomically(folder / FILE_NAME, content.getvalue())


def _values(config: Config) -> dict[str, bool | int | float | str]:
    """The settings that change numbers, as HParams takes them: what is no number or switch is text."""
    values = {}
    for name, value in config.settings().items():
        values[name] = value if isinstance(value, bool | int | float) else to_text(value)
    return values
