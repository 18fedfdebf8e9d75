"""Real processes that are stopped or killed: the same command goes on, and ends with an unbroken run's weights.

The ten kills by themselves, with what happens as it goes: python tests/training/test_stopped_processes.py DIRECTORY
"""

import contextlib
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import runs
import tensorflow as tf
from runs import EPOCH_STEPS, PAUSING, final_state, wait_until

from tfvae.errors import InputError
from tfvae.runtime.files import numbered_directories
from tfvae.training import checkpoints

FLAGS = ("--dataset=digits", "--epochs=4", "--hidden_units=16", "--eval_samples=5")
CHUNK = ("tfvae.training.trainer:Trainer.run_chunk", 2)  # a moment: after the first 10 steps that a process makes
BLOCK = "tfvae.training.evaluation:Evaluator._combine"  # called once for each block of images that is computed


@contextlib.contextmanager
def started(folder, *flags, moments=()):
    """A run in `<folder>/run`; it pauses at these moments, until its standard input says a line."""
    command = ["-m", "tfvae.train"]
    if moments:
        command = [str(PAUSING), *(f"{function}={number}" for function, number in moments), "--"]
    command += [*flags, f"--run_dir={folder / 'run'}", f"--export_dir={folder / 'export'}"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with runs.start(command, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process, pattern):
    """Reads the process's lines up to one that matches."""
    for line in process.stdout:
        match = re.search(pattern, line)
        if match:
            return match
    raise AssertionError(f"exit status {process.wait()} without a line {pattern!r}: {process.stderr.read()}")


def number_of(text):
    return int(text.replace(",", ""))


def go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()


def finish(folder, *flags):
    """Runs the command to its end; returns the step that it started from."""
    with started(folder, *flags) as process:
        line = wait_for(process, r"(?:goes on|starts) from step ([\d,]+) of|is finished")
        wait_for(process, "^next:")
        assert (process.communicate()[1], process.returncode) == ("", 0)
    return number_of(line[1]) if line[1] else None


def versions(folder):
    """What a server would find in the export directory; each must be whole."""
    base = folder / "export" / "run"
    names = sorted(path.name for path in numbered_directories(base).values())
    for name in names:
        loaded = tf.saved_model.load(str(base / name))
        images = loaded.signatures["serving_default"](z=tf.zeros([3, 2]))["image"].numpy()
        assert images.shape == (3, 8, 8, 1) and np.isfinite(images).all()
    return names


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run that nothing stops."""
    folder = tmp_path_factory.mktemp("straight")
    finish(folder, *FLAGS)
    return folder


def assert_same_end(folder, straight):
    assert final_state(folder) == final_state(straight)
    assert runs.results(folder / "run")["test"] == runs.results(straight / "run")["test"]


@pytest.mark.slow
def test_signals_save_and_leave(tmp_path, straight):
    flags = (*FLAGS, "--checkpoint_every=1000")
    stopped = 0
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with started(tmp_path, *flags, moments=[CHUNK]) as process:
            begins = "goes on" if stopped else "starts"
            assert number_of(wait_for(process, rf"{begins} from step ([\d,]+) of 44 steps")[1]) == stopped
            wait_for(process, "^paused")
            with pytest.raises(InputError, match="another process trains there"):
                runs.train(tmp_path, checkpoint_every=1_000.0)  # runs.SMALL is what FLAGS say
            process.send_signal(number)
            wait_for(process, f"^signal {int(number)}$")
            go_on(process)
            end = number_of(wait_for(process, r"stopped at step ([\d,]+); the checkpoint")[1])
            assert (process.wait(), process.stderr.read()) == (status, "")
        assert checkpoints.steps(tmp_path / "run")[-1] == end and stopped < end < 4 * EPOCH_STEPS
        stopped = end
    assert finish(tmp_path, *flags) == stopped
    assert_same_end(tmp_path, straight)
    assert versions(tmp_path) == ["1"]


@pytest.mark.slow
def test_a_signal_in_the_evaluation_keeps_its_finished_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6_000, 8, 8), dtype=np.uint8)  # of which 600 are the test set
    np.save(tmp_path / "images.npy", images)
    flags = (f"--dataset={tmp_path / 'images.npy'}", "--epochs=1", "--validation_examples=0", "--batch_size=100")
    broken, straight = tmp_path / "broken", tmp_path / "straight"
    with started(broken, *flags, moments=[(BLOCK, 1), (BLOCK, 2)]) as process:
        wait_for(process, "^paused")
        time.sleep(1.1)  # blocks that take a second are kept
        go_on(process)
        wait_for(process, "^paused")  # in the second block
        process.send_signal(signal.SIGTERM)
        assert "the checkpoint of step 54 is safe" in wait_for(process, "^stopped in the evaluation; .*").group()
        assert (process.wait(), process.stderr.read()) == (143, "")
    assert [path.name for path in (broken / "run" / "evaluation" / "54-200").iterdir()] == ["0.npz"]
    with started(broken, *flags, moments=[(BLOCK, 3)]) as process:
        wait_for(process, "goes on from step 54 of 54")
        assert wait_for(process, "^next:|^paused").group() == "next:"  # of three blocks it computes two
    assert not (broken / "run" / "evaluation").exists()
    finish(straight, *flags)
    test = [runs.results(folder / "run")["test"] for folder in (broken, straight)]
    assert test[0] == test[1]


MOMENTS = {
    "training": ("tfvae.training.trainer:Trainer.run_chunk", 4, None),  # of as many steps as the machine was fast
    "a checkpoint, before it is in place": ("tfvae.training.checkpoints:move_into_place", 3, 2 * EPOCH_STEPS),
    "evaluation": ("tfvae.training.evaluation:evaluate_run", 1, 4 * EPOCH_STEPS),
    "export": ("tfvae.serving.saved_model:move_into_place", 1, 4 * EPOCH_STEPS),
}


@pytest.mark.parametrize(
    "moment", [pytest.param(m, marks=pytest.mark.nightly if m == "export" else pytest.mark.slow) for m in MOMENTS]
)
def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path, straight, moment):
    function, number, expected = MOMENTS[moment]
    flags = (*FLAGS, "--checkpoint_every=0")
    with started(tmp_path, *flags, moments=[(function, number)]) as process:
        wait_for(process, "^paused")
        process.kill()
        assert process.wait() == -signal.SIGKILL
    expected = expected or checkpoints.steps(tmp_path / "run")[-1]
    assert EPOCH_STEPS <= expected <= 4 * EPOCH_STEPS
    assert finish(tmp_path, *flags) == expected
    assert_same_end(tmp_path, straight)
    assert versions(tmp_path) == ["1"]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


class TenKills:
    """Kills a run of more than a minute at ten random moments from its first step to the end of its export.

    Eight moments are drawn over the unbroken run's training, and reckoned from the step that a process resumed from;
    one over its evaluation, reckoned from the end of training; one over its export, from its beginning. A moment that
    comes after the end, on a machine that has become faster, is told and counts for nothing.
    """

    epochs = 2_000
    total = epochs * EPOCH_STEPS
    flags = (
        *("--dataset=digits", f"--epochs={epochs}", "--hidden_units=512,256"),
        *("--eval_samples=10000", "--checkpoint_every=2"),
    )
    last_epoch = f"^epoch {epochs:,}/"

    def __init__(self, folder, seed=0):
        self.straight, self.broken = folder / "straight", folder / "broken"
        self.draw = random.Random(seed)
        self.resumed = []  # the steps that processes went on from

    def run(self):
        """Returns the steps resumed from."""
        first, trained, evaluated, exported = self.time_unbroken()
        moments = [("training", moment) for moment in sorted(self.draw.uniform(first, trained) for _ in range(8))]
        moments.append(("evaluation", self.draw.uniform(trained, evaluated)))
        moments.append(("export", self.draw.uniform(evaluated, exported)))
        for number, (phase, moment) in enumerate(moments, 1):
            self.kill(number, phase, moment, trained, evaluated)
        self.resumed.append(finish(self.broken, *self.flags) or self.total)
        self.compare()
        return self.resumed

    def time_unbroken(self):
        """When an unbroken run has a checkpoint, is trained, evaluated and exported: seconds from its first line on."""
        with started(self.straight, *self.flags) as process:
            wait_for(process, "starts from")
            start, times = time.monotonic(), []
            self.wait_for_file(process, "run/checkpoints/*", self.straight)
            times.append(time.monotonic() - start)
            wait_for(process, self.last_epoch)
            times.append(time.monotonic() - start)
            for pattern in ("export/run/.*.tmp", "export/run/1"):
                self.wait_for_file(process, pattern, self.straight)
                times.append(time.monotonic() - start)
            wait_for(process, "^next:")
        names = ("first checkpoint", "trained", "evaluated", "exported")
        said = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in zip(names, times))
        print(f"unbroken, from its first line on: {said}", flush=True)
        return times

    def wait_for_file(self, process, pattern, folder):
        wait_until(lambda: list(folder.glob(pattern)), lambda: process.poll() is None, seconds=3_600)

    def kill(self, number, phase, moment, trained, evaluated):
        with started(self.broken, *self.flags) as process:
            line = wait_for(process, r"(?:goes on|starts) from step ([\d,]+) of|is finished")
            step = number_of(line[1]) if line[1] else self.total
            delay = max(0.0, moment - step / self.total * trained)
            if phase != "training":
                if step < self.total:
                    wait_for(process, self.last_epoch)
                delay = moment - (trained if phase == "evaluation" else evaluated)
            if phase == "export":
                before = set(self.broken.glob("export/run/.*.tmp"))
                new = self.broken / "export" / "run"
                wait_until(lambda: set(new.glob(".*.tmp")) - before, lambda: process.poll() is None, seconds=3_600)
            time.sleep(delay)
            is_late = process.poll() is not None
            process.kill()
            process.wait()
        if number > 1:
            self.resumed.append(step)
        left = [p.relative_to(self.broken) for p in self.broken.glob("run/checkpoints/*")]
        print(
            f"kill {number:2d}, {phase}, drawn at {moment:.2f} s: from step {step:,}, "
            f"{'after its end' if is_late else f'killed {delay:.2f} s into it'}; left: {', '.join(map(str, left))}",
            flush=True,
        )

    def compare(self):
        assert_same_end(self.broken, self.straight)
        above = sum(step > 0 for step in self.resumed)
        print(
            f"after the last restart, from step {self.resumed[-1]:,}: {len(final_state(self.broken))} tensors of step "
            f"{self.total:,} are bit-identical, test figures equal; {above} of {len(self.resumed)} restarts resumed "
            f"from a step above 0; exported versions, all whole: {versions(self.broken)}",
            flush=True,
        )


@pytest.mark.nightly
def test_ten_kills(tmp_path):
    assert sum(step > 0 for step in TenKills(tmp_path).run()) >= 5


if __name__ == "__main__":
    TenKills(Path(sys.argv[1])).run()
