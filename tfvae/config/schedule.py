"""How the learning rate changes over the epochs: the words and numbers of --lr_schedule."""

import math
from typing import Any

from tfvae.config.fields import Kind, plain_text


def learning_rate_schedule() -> Kind:
    """`constant`, `cosine`, or the epochs and factors that `read_steps` reads."""
    return Kind(
        "constant, cosine, or EPOCH:FACTOR,... with growing epochs",
        str,
        _is_schedule,
        plain_text,
        allowed_in_python="'constant', 'cosine', or 'EPOCH:FACTOR,...' with growing epochs",
    )


def read_steps(schedule: str) -> list[tuple[int, float]]:
    """Reads `EPOCH:FACTOR,...` into [(epoch, factor)]; raises ValueError unless the epochs grow from 1 on."""
    steps = []
    last_epoch = 0
    for part in schedule.split(","):
        epoch, factor = part.split(":")
        steps.append((int(epoch), float(factor)))
        if int(epoch) <= last_epoch or not 0 < float(factor) < math.inf:
            raise ValueError(schedule)
        last_epoch = int(epoch)
    return steps


def _is_schedule(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    if value in ("constant", "cosine"):
        return True
    try:
        return bool(read_steps(value))
    except ValueError:
        return False
