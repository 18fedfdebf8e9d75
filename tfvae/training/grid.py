"""A grid of runs: all combinations of some settings, one after the other, each in a process of its own.

A second training in one process would keep the memory of the first. A process that is killed takes its run alone with
it, and what a finished run has written is what the next start of the grid passes over.
"""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tfvae.config import Config
from tfvae.config.data_names import is_file_name
from tfvae.config.flagfile import FILE_NAME, check_resumable
from tfvae.config.variations import Combination
from tfvae.data import place
from tfvae.errors import InputError
from tfvae.runtime import verbosity
from tfvae.runtime.files import is_locked, require_writable
from tfvae.runtime.progress import duration
from tfvae.runtime.signals import die_with_parent
from tfvae.training import initial, records, strategy
from tfvae.training.comparison import FIGURES

_SAVE_SECONDS = 300.0  # in which a run saves and leaves after a signal
_LOOK_SECONDS = 0.1  # a signal that comes just before a call that blocks is heard after it


class GridRun(NamedTuple):
    """One run of a grid."""

    combination: Combination
    directory: Path
    flags: list[str]  # for tfvae.train

    @property
    def log(self) -> Path:
        """What its process prints."""
        return self.directory.with_name(f"{self.directory.name}.log")

    @property
    def config(self) -> Config:
        """Its settings, with the checksum of the weights that it has started from, where it has begun."""
        config = place.absolute(dataclasses.replace(self.combination.config, run_dir=str(self.directory)))
        return initial.with_recorded(config)

    def record(self) -> records.RunRecord | None:
        """What it has written; None before its first step."""
        if not (self.directory / FILE_NAME).is_file():
            return None
        return records.read(self.directory)

    def is_finished(self) -> bool:
        """Whether all its epochs are done and evaluated: those that are asked for, which may have been raised."""
        record = self.record()
        if record is None or record.results is None:
            return False
        config = self.combination.config
        return config.epochs is None or records.is_trained(record.results, config)

    def require_own_directory(self) -> None:
        """Refuses the directory of a run with other settings; raises InputError."""
        record = self.record()
        if record is None:
            return
        try:
            check_resumable(self.config, record.config)
        except InputError as error:
            reason = error.for_command_line.partition(": ")[2]
            raise InputError(f"--grid_dir={self.directory.parent}: {self.directory.name} {reason}") from None

    def require_initial_weights(self) -> None:
        """Refuses a run of --init_from that this one can't start from, as far as settings tell; raises InputError."""
        initial.check_early(self.config)


def check_places(config: Config) -> None:
    """Refuses what a run would refuse by itself, but after those before it have been trained; raises InputError."""
    if strategy.is_multi_worker(config):
        raise InputError(f"--strategy={config.strategy}: must be of this machine, and TF_CONFIG names several workers")
    if is_file_name(config.dataset) and not os.path.exists(config.dataset):
        raise InputError(f"--dataset={config.dataset}: must be a readable file or folder, and there is none")
    require_writable("export_dir", config.export_dir)


def plan(all_of: list[Combination], grid_dir: Path, train_flags: list[str]) -> list[GridRun]:
    """The runs of a grid. Its name is in those of their exports, lest they meet another grid's in one directory."""
    runs = []
    for combination in all_of:
        directory = grid_dir / combination.name
        export_name = f"{grid_dir.absolute().name}-{combination.name}"
        places = [f"--run_dir={directory}", f"--export_name={export_name}"]
        runs.append(GridRun(combination, directory, [*train_flags, *combination.flags, *places]))
    return runs


class Grid:
    """Runs that are made one after the other; signals to this process are passed on to the one that trains."""

    def __init__(self, runs: list[GridRun]) -> None:
        self.runs = runs
        self.process: subprocess.Popen | None = None  # that trains
        self.signals: list[int] = []  # that this process was sent
        self.failures: dict[str, str] = {}  # {a run's name: why}
        self.seconds: list[float] = []  # that runs took which this process has made

    def run(self) -> int:
        """Makes all runs that are not finished; returns 0, 1 if one failed, or 128 + a signal that came."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        finished = [run.is_finished() for run in self.runs]
        waiting = [run for run, is_finished in zip(self.runs, finished) if not is_finished]
        _log(f"{len(self.runs):,} runs, {sum(finished):,} of them finished")
        for made, run in enumerate(waiting):
            self._make(run, sum(finished) + made + 1, len(waiting) - made - 1)
            if self.signals:
                done = sum(run.is_finished() for run in self.runs)
                _say(f"stopped, {done:,} of {len(self.runs):,} runs are finished; the same command goes on from there")
                return 128 + self.signals[0]
        return 1 if self.failures else 0

    def _make(self, run: GridRun, number: int, remaining: int) -> None:
        """Trains, and says what came of it."""
        self._wait_for_another_process(run)
        if self.signals:
            return
        record = run.record()
        begins = f"goes on from epoch {record.epochs_done:,}" if record else "begins"
        title = f"run {number:,} of {len(self.runs):,}, {run.directory.name}"
        _log(f"{title}: {begins}; it prints to {run.log}")
        start = time.monotonic()
        status = self._train(run)
        if self.signals:
            return
        self.seconds.append(time.monotonic() - start)
        if status == 0 and run.is_finished():
            words = f"{_headline(run)}, in {self.seconds[-1]:,.0f} s"
        else:
            reason = f"exit status {status}: {_last_line(run.log)}"
            self.failures[run.directory.name] = reason
            words = f"failed, {reason}"
        _log(f"{title}: {words}{self._what_remains(remaining)}")

    def _what_remains(self, remaining: int) -> str:
        if not remaining:
            return ""
        seconds = remaining * sum(self.seconds) / len(self.seconds)
        time_left = duration(seconds) if seconds >= 30 else "less than half a minute"
        return f"; {remaining:,} more, {time_left}"

    def _wait_for_another_process(self, run: GridRun) -> None:
        """Waits for one that still saves this run: that of a grid which was killed gets a signal, and leaves."""
        if is_locked(run.directory):
            _log(f"{run.directory.name}: another process is still there, and is waited for")
        deadline = time.monotonic() + _SAVE_SECONDS
        while is_locked(run.directory) and time.monotonic() < deadline and not self.signals:
            time.sleep(_LOOK_SECONDS)

    def _train(self, run: GridRun) -> int:
        """The exit status of a process that trains; one that stays long after a signal is killed."""
        with open(run.log, "a") as log:
            self.process = _start_training(run.flags, log.fileno())
        for number in self.signals:  # that came before the process was there
            self.process.send_signal(number)
        deadline = None
        while self.process.poll() is None:
            if deadline is None and self.signals:
                deadline = time.monotonic() + _SAVE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                self.process.kill()
            time.sleep(_LOOK_SECONDS)
        code = self.process.returncode
        self.process = None
        return code if code >= 0 else 128 - code

    def _pass_on(self, number: int, _: object) -> None:
        self.signals.append(number)
        if self.process:
            self.process.send_signal(number)


def _start_training(flags: list[str], output: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tfvae.train", *flags],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C comes to the grid alone, which passes it on
        preexec_fn=die_with_parent,
    )


def _headline(run: GridRun) -> str:
    """The first figure of a finished run, with what it is of."""
    record = run.record()
    assert record is not None and record.results is not None
    values = {figure: figure.of_run(record) for figure in FIGURES}
    figure, value = next((figure, value) for figure, value in values.items() if value)
    error = "" if value.standard_error is None else f" ± {value.standard_error:{figure.form}}"
    of = record.results["of"]
    return f"{of['split']} {figure.label} {value.value:{figure.form}}{error} {of['units']}"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def next_commands(grid_dir: Path) -> str:
    """What to type after a grid."""
    quoted = shlex.quote(str(grid_dir))
    return f"next:\n  python -m tfvae.compare {quoted} --output=grid.png\n  tensorboard --logdir={quoted}"


def _say(text: str) -> None:
    print(f"tfvae.grid: {text}", flush=True)


def _log(text: str) -> None:
    verbosity.log(f"tfvae.grid: {text}")
