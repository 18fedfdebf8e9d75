"""How long the rest of a training will take, told once by its first seconds."""

import time
from datetime import datetime, timedelta

from tfvae.config import Config

_FIRST_SECONDS = 5.0  # by which the rest is told
_WORTH_TELLING = 30.0  # seconds that remain


def duration(seconds: float) -> str:
    """A time of half a minute or more in words: "about 45 seconds", "about 12 minutes", "about 2.5 hours"."""
    minute, hour, day = 60, 3600, 86400
    if seconds < 1.5 * minute:
        return f"about {5 * round(seconds / 5)} seconds"
    if seconds < 1.5 * hour:
        return f"about {round(seconds / minute)} minutes"
    number, unit = (seconds / hour, "hours") if seconds < 2 * day else (seconds / day, "days")
    return f"about {number:.1f} {unit}".replace(".0 ", " ")


class Forecast:
    """Times the steps of this process by the clock, with all that happens between them, and tells once what remains.

    It begins when the program is compiled, and again after the first validation, which compiles one of its own.
    """

    def __init__(self, config: Config, step: int, steps: int) -> None:
        self.batch_size, self.epochs, self.steps = config.batch_size, config.epoch_count, steps
        self.epoch_steps = steps // config.epoch_count
        self.is_told = self.had_validation = False
        self.begin(step)

    def begin(self, step: int) -> None:
        """Forgets what was before `step`."""
        self.first_step, self.began = step, time.perf_counter()

    def after_validation(self, step: int) -> None:
        """Begins again, if this validation was the first."""
        if not self.had_validation:
            self.begin(step)
        self.had_validation = True

    def read(self, step: int) -> str | None:
        """The line on what remains after `step`, when it is time for it and it is worth a line."""
        seconds = time.perf_counter() - self.began
        if self.is_told or seconds < _FIRST_SECONDS or step == self.first_step:
            return None
        self.is_told = True
        a_step = seconds / (step - self.first_step)
        remains = a_step * (self.steps - step)
        if remains <= _WORTH_TELLING:
            return None
        now = datetime.fromtimestamp(time.time())
        end = now + timedelta(seconds=remains)
        until = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%Y-%m-%d %H:%M}"
        epoch = min(step // self.epoch_steps + 1, self.epochs)
        epochs = f"epochs {epoch:,} to {self.epochs:,}" if epoch < self.epochs else f"epoch {epoch:,}"
        return (
            f"training will take {duration(remains)} more, until {until} ({epochs}, "
            f"{self.batch_size / a_step:,.0f} images/s); a run of fewer --epochs takes less"
        )
