"""What each epoch came to, a row each in `<run>/history.csv`: a run that goes on writes on."""

import csv
import io
from pathlib import Path
from typing import Any

from tfvae.runtime import files

FILE_NAME = "history.csv"
_TERMS = ("elbo", "log_likelihood", "kl")  # in nats an image: means over the epoch's steps, as the weights moved
_OF_VALIDATION = (*_TERMS, "elbo_standard_error")  # the last: of the ELBO as a mean over the validation images
COLUMNS = ("epoch", "step", *_TERMS, *(f"val_{name}" for name in _OF_VALIDATION))


class History:
    """The rows up to `step`, where a run is; those of later epochs will be made again, and are taken away."""

    def __init__(self, run_dir: Path, step: int) -> None:
        self.path = run_dir / FILE_NAME
        content = io.StringIO()
        writer = csv.DictWriter(content, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in _rows(self.path) if int(row["step"]) <= step)
        files.write_atomically(self.path, content.getvalue())

    def append(self, epoch: int, step: int, means: dict[str, float], validation: dict[str, Any] | None) -> None:
        """Adds the epoch that ends at `step`: the terms of the ELBO in training, and on the validation images."""
        row: dict[str, float | int | None] = {"epoch": epoch, "step": step}
        for term in _TERMS:
            row[term] = means[term]
        if validation:
            for name in _OF_VALIDATION:
                row[f"val_{name}"] = validation[name]
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)


def _rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a file; a killed process may have left a part of one."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return list(csv.DictReader(whole))


def read(run_dir: Path) -> dict[str, list[float | int | None]]:
    """Each column of a run's history over its epochs; None where there was no validation. Nothing of older runs."""
    rows = _rows(run_dir / FILE_NAME)
    if not rows:
        return {}
    # a run that was begun before a column was there lacks it
    return {column: [_number(column, row.get(column, "")) for row in rows] for column in COLUMNS}


def _number(column: str, text: str) -> float | int | None:
    if not text:
        return None
    return int(text) if column in ("epoch", "step") else float(text)
