"""How long the rest of a training will take: told once by its first seconds, and known at any time after."""

import time
from datetime import datetime, timedelta

from tfvae.config import Config
from tfvae.runtime.progress import duration

_FIRST_SECONDS = 5.0  # of steps, by which the rest is known
_WORTH_TELLING = 30.0  # seconds that remain


class Forecast:
    """Times the steps of this process by the clock, with all that happens between them, and tells what remains.

    It begins when the program is compiled, and again after the first validation, which compiles one of its own.
    `examples` is what a step takes, images or rows.
    """

    def __init__(self, config: Config, step: int, steps: int, examples: str = "images") -> None:
        self.batch_size, self.epochs, self.steps = config.batch_size, config.epoch_count, steps
        self.examples = examples
        self.epoch_steps = steps // config.epoch_count
        self.way_to_less = "a run of fewer --epochs takes less"
        if config.patience is not None:
            self.way_to_less = "--patience may end it earlier"
        self.is_told = self.had_validation = False
        self.step_seconds: float | None = None  # that a step takes, once it is known
        self.begin(step)

    def begin(self, step: int) -> None:
        """Times from now on; until there are more steps than `step`, what is known of those before holds."""
        self.first_step, self.began = step, time.perf_counter()

    def after_validation(self, step: int) -> None:
        """Begins again, if this validation was the first."""
        if not self.had_validation:
            self.begin(step)
        self.had_validation = True

    def remaining_seconds(self, step: int) -> float | None:
        """What the steps after `step` will take; None before the first seconds, which tell little."""
        seconds = time.perf_counter() - self.began
        if step > self.first_step and seconds >= _FIRST_SECONDS:
            self.step_seconds = seconds / (step - self.first_step)
        return None if self.step_seconds is None else self.step_seconds * (self.steps - step)

    def read(self, step: int) -> str | None:
        """The line on what remains after `step`, once, when it is known and worth a line."""
        remains = self.remaining_seconds(step)
        if self.is_told or remains is None or self.step_seconds is None:
            return None
        self.is_told = True
        if remains <= _WORTH_TELLING:
            return None
        now = datetime.fromtimestamp(time.time())
        end = now + timedelta(seconds=remains)
        until = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%Y-%m-%d %H:%M}"
        epoch = min(step // self.epoch_steps + 1, self.epochs)
        epochs = f"epochs {epoch:,} to {self.epochs:,}" if epoch < self.epochs else f"epoch {epoch:,}"
        return (
            f"training will take {duration(remains)} more, until {until} ({epochs}, "
            f"{self.batch_size / self.step_seconds:,.0f} {self.examples}/s); {self.way_to_less}"
        )
