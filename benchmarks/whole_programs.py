"""Whole programs that train the same VAE, each timed from its process's start to its end, phase by phase.

    python benchmarks/whole_programs.py tfvae FOLDER START FLAG ...
    python benchmarks/whole_programs.py keras_io FOLDER START IMAGES.npy WORK EPOCHS
    python benchmarks/whole_programs.py tutorial FOLDER START IMAGES.npy WORK EPOCHS

`tfvae` is `python -m tfvae.train FLAG ...`; the others do the same work as their examples do it, and leave a picture
and a SavedModel. START is the parent's clock (`time.monotonic`, which is the same in all processes of a machine) when
it started the process. Each writes FOLDER/measured.json. benchmarks/first_minute.py lets them take turns.
"""

import functools
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from examples import Work, keras_vae, to_unit, tutorial_batches, tutorial_step, whole_batches

if TYPE_CHECKING:
    import keras

WORKS = {
    "digits": Work((512,), 2, 128, "relu"),  # tfvae's defaults
    "mnist": Work((512,), 2, 50, "relu"),  # flags/mnist_2d.flags
}
_SIDE = 20  # images along each side of the manifold's picture


class Stopwatch:
    """The seconds of a program's phases, one after the other, and of the functions that were wrapped by `time_calls`.

    A wrapped function that another one calls is taken off the caller's time, so that the parts may be added up.
    """

    def __init__(self, start: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.phase_start = clock, start
        self.phases: dict[str, float] = {}
        self.parts: dict[str, float] = {}
        self._inner_seconds = [0.0]  # of wrapped functions, in each wrapped function that is being called

    def end_phase(self, phase: str) -> None:
        """Ends a phase that began where the one before ended; only the first call for a phase counts."""
        if phase in self.phases:
            return
        now = self.clock()
        self.phases[phase] = now - self.phase_start
        self.phase_start = now

    def split_phase(self, phase: str, part: str) -> None:
        """Makes a part of a phase a phase of its own."""
        seconds = self.parts.pop(part)
        self.phases[part] = seconds
        self.phases[phase] -= seconds

    def time_calls(self, owner: Any, name: str, part_of: Callable[[dict[str, Any]], str]) -> None:
        """Wraps owner.name; `part_of` names the part of a call from its arguments by name.

        Calls in other threads don't count: the program doesn't wait for them.
        """
        function = getattr(owner, name)
        signature = inspect.signature(function)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            part = part_of(signature.bind(*args, **kwargs).arguments)
            return self._call(part, functools.partial(function, *args, **kwargs))

        setattr(owner, name, timed)

    def _call(self, part: str, function: Callable[[], Any]) -> Any:
        self._inner_seconds.append(0.0)
        start = self.clock()
        try:
            return function()
        finally:
            seconds = self.clock() - start
            self.parts[part] = self.parts.get(part, 0.0) + seconds - self._inner_seconds.pop()
            self._inner_seconds[-1] += seconds


class TrainCommand:
    """`tfvae.train`, with the functions wrapped whose calls begin or end a phase, or are a part of one.

    They are wrapped by their names; of their arguments, only the `count` of `TrainProgram.run` is looked at.
    """

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch

    def run(self, flags: list[str], folder: Path) -> dict[str, float]:
        """Runs the command; returns how long it trained, and its train ELBO over the last epoch."""
        from tfvae.runtime.tensorflow import import_tensorflow

        import_tensorflow()
        from tfvae import train
        from tfvae.analysis import pictures  # noqa: F401

        self._wrap()
        self.watch.end_phase("importing")
        train.run([*flags, f"--run_dir={folder / 'run'}", f"--export_dir={folder / 'exports'}"])
        self.watch.end_phase("export")
        self.watch.split_phase("compile", "data")
        self.watch.split_phase("export", "evaluation")
        results = json.loads((folder / "run" / "results.json").read_text())["train"]
        return {name: results[name] for name in ("elbo", "epochs", "steps")}

    def _wrap(self) -> None:
        from tfvae.data import dataset, sources
        from tfvae.training import evaluation, trainer
        from tfvae.training.history import History
        from tfvae.training.monitor import Monitor
        from tfvae.training.step import TrainProgram

        for name in ("resolve", "read_early", "read"):
            self.watch.time_calls(sources, name, lambda _: "data")
        self.watch.time_calls(dataset, "divide", lambda _: "data")
        self.watch.time_calls(TrainProgram, "run", self._part_of_steps)
        self.watch.time_calls(evaluation.Evaluator, "evaluate", self._part_of_evaluation)
        for name in ("pictures", "__exit__"):  # the second waits for those that are not finished
            self.watch.time_calls(Monitor, name, lambda _: "pictures")
        for name in ("scalars", "advance", "validation", "end_epoch"):
            self.watch.time_calls(Monitor, name, lambda _: "summaries")
        self.watch.time_calls(History, "append", lambda _: "summaries")
        self.watch.time_calls(trainer.Trainer, "finish", self._part_of_end)

    def _part_of_steps(self, arguments: dict[str, Any]) -> str:
        if arguments.get("count") == 0:  # which compiles
            return "before training"
        self.watch.end_phase("compile")
        return "steps"

    def _part_of_evaluation(self, arguments: dict[str, Any]) -> str:
        return "evaluation" if "training" in self.watch.phases else "validation"

    def _part_of_end(self, arguments: dict[str, Any]) -> str:
        self.watch.end_phase("training")
        return "after training"


def import_libraries() -> None:
    """Imports what both examples import at their top."""
    import keras  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import tensorflow  # noqa: F401


def run_keras_io(watch: Stopwatch, work: Work, epochs: int, images: Path, folder: Path) -> dict[str, float]:
    """As keras.io/examples/generative/vae: `fit` on NumPy's array; a line an epoch, as in a log."""
    import_libraries()
    import keras

    watch.end_phase("importing")
    x = whole_batches(work, to_unit(np.load(images)))
    watch.end_phase("data")
    vae = keras_vae(work, x.shape[1])
    first_step = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: watch.end_phase("compile"))
    first_step.async_safe = True  # else `fit` would wait for each step's numbers, because of this callback
    history = vae.fit(x, epochs=epochs, batch_size=work.batch_size, verbose=2, callbacks=[first_step])
    watch.end_phase("training")
    save(vae.decoder, folder)
    watch.end_phase("export")
    return {
        "elbo": -history.history["total_loss"][-1],
        "steps": int(vae.optimizer.iterations.numpy()),
        "epochs": epochs,
    }


def run_tutorial(watch: Stopwatch, work: Work, epochs: int, images: Path, folder: Path) -> dict[str, float]:
    """As tensorflow.org/tutorials/generative/cvae: a loop over tf.data; a line an epoch."""
    import_libraries()
    watch.end_phase("importing")
    x = to_unit(np.load(images))
    batches = tutorial_batches(work, x)
    watch.end_phase("data")
    decoder, train_step = tutorial_step(work, x.shape[1])
    steps = 0
    for epoch in range(1, epochs + 1):
        losses = []
        for batch in batches:
            losses.append(train_step(batch))
            watch.end_phase("compile")
        elbo = -float(np.mean(losses))
        steps += len(losses)
        print(f"Epoch: {epoch}, train ELBO: {elbo}")
    watch.end_phase("training")
    save(decoder, folder)
    watch.end_phase("export")
    return {"elbo": elbo, "steps": steps, "epochs": epochs}


def save(decoder: "keras.Model", folder: Path) -> None:
    """The manifold as a picture, decoded in one call, and the decoder as a SavedModel."""
    import matplotlib.pyplot as plt
    import tensorflow as tf

    axis = np.linspace(-2, 2, _SIDE, dtype=np.float32)
    z = np.stack(np.meshgrid(axis, axis[::-1]), axis=-1).reshape(-1, 2)
    means = tf.sigmoid(decoder(z)).numpy()
    width = round(means.shape[1] ** 0.5)
    rows = means.reshape(_SIDE, _SIDE, width, width).transpose(0, 2, 1, 3)
    plt.figure(figsize=(10, 10))
    plt.imshow(rows.reshape(_SIDE * width, _SIDE * width), cmap="Greys_r")
    plt.axis("off")
    plt.savefig(folder / "manifold.png")
    decoder.export(folder / "decoder", verbose=False)


def main() -> None:
    name, place, start, *arguments = sys.argv[1:]
    folder, watch = Path(place), Stopwatch(float(start))
    if name == "tfvae":
        trained = TrainCommand(watch).run(arguments, folder)
    else:
        images, work, epochs = arguments
        program = {"keras_io": run_keras_io, "tutorial": run_tutorial}[name]
        trained = program(watch, WORKS[work], int(epochs), Path(images), folder)
    measured = {"phases": watch.phases, "parts": watch.parts, **trained}
    (folder / "measured.json").write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
