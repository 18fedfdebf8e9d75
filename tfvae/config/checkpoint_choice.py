"""Which checkpoint of a run a command takes: the flag --checkpoint, and Python's argument of that name."""

from typing import Any

from tfvae.config.fields import Kind, field, whole

AUTO, LAST, BEST = "auto", "last", "best"
Choice = int | str  # the step of a checkpoint, or one of these words

_STEP = whole(0)


def _read(text: str) -> Choice:
    return text if text in (AUTO, LAST, BEST) else _STEP.read(text)


def _is_choice(value: Any) -> bool:
    if isinstance(value, str):
        return value in (AUTO, LAST, BEST)
    return _STEP.valid(value)


CHOICE = Kind(
    "auto, last, best or the step of a checkpoint",
    _read,
    _is_choice,
    _STEP.from_python,
    allowed_in_python="'auto', 'last', 'best' or the step of a checkpoint",
)

FLAG = {
    "checkpoint": field(
        AUTO, CHOICE, "which weights: last, best (of a run with --keep_best), a step; auto: the best where it is kept"
    )
}
