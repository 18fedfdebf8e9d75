"""What TensorBoard's files cost a run: python benchmarks/summaries.py, on an idle machine.

Trains README's run on the digits (or what its flags name) in this process, with a clock around all that writes
scalars, histograms and pictures and around what is computed for them alone; writes its part of docs/tensorboard.md.

The share of the processor's time is by the threads' own clocks, which other processes do not move. The share of the
training's time is what the training waits for: the pictures are drawn by a thread beside it.
"""

import datetime
import functools
import sys
import tempfile
import time
from collections import defaultdict
from typing import Any

from page import machine, write

from tfvae.flags import of_config, run_command
from tfvae.runtime.tensorflow import import_tensorflow


class Watch:
    """Seconds by name: of the thread that makes a call, and by the wall's clock."""

    def __init__(self) -> None:
        self.processor: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)

    def time_calls(self, owner: type, method: str, name: str) -> None:
        """Counts what every call of this method takes."""
        plain = getattr(owner, method)

        @functools.wraps(plain)
        def timed(*args: Any, **options: Any) -> Any:
            own, wall = time.thread_time(), time.perf_counter()
            try:
                return plain(*args, **options)
            finally:
                self.processor[name] += time.thread_time() - own
                self.wall[name] += time.perf_counter() - wall

        setattr(owner, method, timed)


def table(watch: Watch, whole_wall: float, whole_processor: float) -> str:
    """Each part's seconds, and their shares of the command's."""
    titles = {
        "scalars": "scalars",
        "latents": "KL of each latent: computed, and its histogram and row",
        "waiting": "waiting for pictures",
        "drawing": "pictures, drawn beside the training",
        "projector": "projector",
    }
    lines = [
        "|  | processor, s | of the process's | the run waits, s | of the run |",
        "| --- | --- | --- | --- | --- |",
    ]
    total_processor = total_wall = 0.0
    for name, title in titles.items():
        processor, wall = watch.processor[name], watch.wall[name]
        if name == "drawing":
            wall = 0.0
        total_processor, total_wall = total_processor + processor, total_wall + wall
        lines.append(
            f"| {title} | {processor:.2f} | {processor / whole_processor:.1%} | {wall:.2f} | {wall / whole_wall:.1%} |"
        )
    lines.append(
        f"| **all** | {total_processor:.2f} | {total_processor / whole_processor:.1%} | {total_wall:.2f} | "
        f"{total_wall / whole_wall:.1%} |"
    )
    return "\n".join(lines)


def main(given: dict[str, Any]) -> None:
    """Trains, and writes the part."""
    import_tensorflow()
    from tfvae.config import Config
    from tfvae.run import train
    from tfvae.training import projector
    from tfvae.training.latent_watch import LatentWatch
    from tfvae.training.monitor import Monitor
    from tfvae.training.painter import Painter

    watch = Watch()
    watch.time_calls(Monitor, "scalars", "scalars")
    watch.time_calls(LatentWatch, "measure", "latents")
    watch.time_calls(Monitor, "_histogram", "latents")
    watch.time_calls(Monitor, "pictures", "waiting")
    watch.time_calls(Painter, "close", "waiting")
    watch.time_calls(Painter, "_paint", "drawing")
    watch.time_calls(projector, "write", "projector")
    with tempfile.TemporaryDirectory() as folder:
        flags = {"dataset": "digits", "latent_dim": 2, **given, "run_dir": f"{folder}/run", "export_dir": folder}
        config = Config(**flags)
        began = time.perf_counter()
        results = train(config)
        whole = time.perf_counter() - began
    written = table(watch, whole, time.process_time())
    of = f"{results['of']['dataset']}, {results['train']['epochs']:,} epochs, latent_dim {config.latent_dim}"
    today = datetime.date.today().isoformat()
    write("tensorboard", "cost", f"{of}, {whole:.0f} s in all, {today}; {machine()}\n\n{written}")


if __name__ == "__main__":
    run_command(main, sys.argv[1:], "summaries", __doc__, of_config("dataset", "data_dir", "latent_dim", "epochs"))
