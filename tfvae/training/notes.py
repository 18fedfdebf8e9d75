"""What a run knows of itself beside its variables: how far it is, how well it does, how fast it is."""

import time
from typing import Any, NamedTuple

from tfvae.core.objectives import Elbo
from tfvae.data.splits import Dataset
from tfvae.training.initial import InitialWeights
from tfvae.training.step import EpochMeans, mean_of_parts


class Notes(NamedTuple):
    """What a checkpoint says of its run beside the variables.

    `elbo` and its terms are means over this epoch's steps so far, in nats an image.
    """

    image_shape: tuple[int, int, int]
    fingerprint: str  # of the images
    step: int = 0
    seconds: float = 0.0  # in compiled steps
    clock_seconds: float = 0.0  # of training in all, by the clock
    elbo: float = 0.0
    log_likelihood: float = 0.0
    kl: float = 0.0
    white: int = 255  # the whole number that is x = 1: `core.inputs.InputRule`
    start_stddev: float | None = None  # where a learned sigma started; None is 0.5, in older runs
    end_is_due: bool = False  # of the epoch that ends here: a signal came in its validation
    columns: dict[str, Any] | None = None  # of vectors: `core.columns.Columns`
    value_range: tuple[float, float] | None = None  # that is x in [0, 1]: `core.inputs.InputRule`
    best_step: int | None = None  # of the best validation, where --keep_best or --patience asks for it
    best_elbo: float | None = None  # of that validation, in nats
    stopped_early: bool = False  # by --patience
    variance_is_final: bool = False  # whether --sigma=optimal is set to that of all training images
    classes: tuple[str, ...] = ()  # of a conditional run: `data.classes`
    initial_weights: str | None = None  # that the run started from, in words, where they were another run's

    @classmethod
    def of(cls, dataset: Dataset, start_stddev: float | None, initial: InitialWeights | None = None) -> "Notes":
        """Before the first step on these images, which may start from another run's weights."""
        columns = dataset.columns.to_json() if dataset.columns else None
        return cls(
            dataset.image_shape,
            dataset.fingerprint(),
            white=dataset.white,
            start_stddev=start_stddev,
            columns=columns,
            value_range=dataset.value_range,
            classes=dataset.classes,
            initial_weights=initial.describe() if initial is not None else None,
        )

    def taken_up(self, saved: dict[str, Any]) -> "Notes":
        """Those of a checkpoint, of which these are the beginning; JSON has lists for what are tuples here."""
        older = {"clock_seconds": saved["seconds"]}  # checkpoints that know no other time
        return self._replace(**{**older, **saved, "image_shape": self.image_shape, "classes": self.classes})

    def terms(self) -> dict[str, float]:
        """The ELBO and its terms by name."""
        return {name: getattr(self, name) for name in Elbo._fields}

    def after(self, means: EpochMeans, epoch_steps: int) -> "Notes":
        """After some more steps of one epoch."""
        before = self.step % epoch_steps
        terms = mean_of_parts([EpochMeans(before, self.terms()), means])
        return self._replace(
            step=self.step + means.steps,
            elbo=terms["elbo"],
            log_likelihood=terms["log_likelihood"],
            kl=terms["kl"],
            variance_is_final=False,
        )


class Speedometer:
    """Images a second, by the clock, from one reading to the next."""

    def __init__(self, step: int, batch_size: int) -> None:
        self.step, self.batch_size, self.read_at = step, batch_size, time.perf_counter()

    def read(self, step: int) -> float:
        """The speed up to `step`."""
        now = time.perf_counter()
        images = (step - self.step) * self.batch_size
        speed = images / (now - self.read_at)
        self.step, self.read_at = step, now
        return speed
