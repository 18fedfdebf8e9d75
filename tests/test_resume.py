"""A run that is stopped, killed or made longer ends with the weights of an unbroken one, bit for bit.

The kill test by itself, with what happens as it goes: python tests/test_resume.py DIRECTORY
"""

import contextlib
import fcntl
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfvae.train
from tfvae import Config, InputError, RunError
from tfvae.runtime import files as safety
from tfvae.serving import saved_model
from tfvae.training import checkpoints

EPOCH = 11  # steps: 1,437 training images in batches of 128
SMALL = {"dataset": "digits", "hidden_units": (16,), "eval_samples": 5, "epochs": 4}


def train(folder: Path, **settings: Any) -> dict[str, Any]:
    config = Config(**{**SMALL, **settings}, run_dir=str(folder / "run"), export_dir=str(folder / "export"))
    return tfvae.train.train(config)


def final_state(folder: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Every tensor of the newest checkpoint."""
    newest = folder / "run" / "checkpoints" / str(checkpoints.steps(folder / "run")[-1])
    reader = tf.train.load_checkpoint(str(newest / "ckpt"))
    tensors = {key: np.asarray(reader.get_tensor(key)) for key in reader.get_variable_to_shape_map()}
    return {k: (str(v.dtype), list(v.shape), v.tobytes()) for k, v in tensors.items() if "OBJECT_GRAPH" not in k}


def versions(folder: Path) -> list[str]:
    """What a server would find in the export directory; each must be whole."""
    base = folder / "export" / "run"
    found = sorted(p.name for p in base.iterdir() if not p.name.startswith("."))
    for name in found:
        loaded = tf.saved_model.load(str(base / name))
        images = loaded.signatures["serving_default"](z=tf.zeros([3, 2]))["image"].numpy()
        assert images.shape == (3, 8, 8, 1) and np.isfinite(images).all()
    return found


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train(folder)


def test_all_variables_and_nothing_else_is_saved(unbroken: tuple[Path, dict[str, Any]]) -> None:
    state = final_state(unbroken[0])
    weights = 2 * 5  # kernel and bias of two hidden layers, mean, log-variance, pixels
    assert len(state) == weights + 2 * weights + 2 + 1  # slots, the optimizer's iteration and step size, the step
    assert sum(value == np.int64(4 * EPOCH).tobytes() for _, _, value in state.values()) >= 1


def test_raised_epochs_end_as_a_straight_run(tmp_path: Path, unbroken: tuple[Path, dict[str, Any]]) -> None:
    first = train(tmp_path, epochs=2, checkpoint_every=1e6)
    assert checkpoints.steps(tmp_path / "run") == [2 * EPOCH] and first["train"]["steps"] == 2 * EPOCH
    second = train(tmp_path)
    assert final_state(tmp_path) == final_state(unbroken[0])
    assert second["test"] == unbroken[1]["test"]
    np.testing.assert_allclose(second["train"]["elbo"], unbroken[1]["train"]["elbo"], rtol=1e-6)
    assert versions(tmp_path) == ["1", "2"] and second["export"].endswith("/2")


@pytest.mark.slow
def test_length_of_chunks_changes_nothing(
    tmp_path: Path, unbroken: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfvae.train, "_CHUNK_SECONDS", 1e-9)
    results = train(tmp_path, checkpoint_every=0.0)
    assert final_state(tmp_path) == final_state(unbroken[0])
    assert results["test"] == unbroken[1]["test"]
    assert checkpoints.steps(tmp_path / "run") == [2 * EPOCH, 3 * EPOCH, 4 * EPOCH]


def test_finished_run_prints_its_result_and_writes_nothing(
    unbroken: tuple[Path, dict[str, Any]], capfd: pytest.CaptureFixture
) -> None:
    folder, results = unbroken
    before = tree(folder)
    assert train(folder) == results == json.loads((folder / "run" / "results.json").read_text())
    assert tree(folder) == before
    printed = capfd.readouterr().out
    assert "is finished" in printed and f"{results['test']['elbo']:.2f}" in printed and "next:" in printed


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"latent_dim": 3}, ["--latent_dim=3 (there: 2)"]),
        ({"epochs": 3}, ["--epochs=3 (there: 4)"]),
        ({"seed": 1, "batch_size": 64}, ["--seed=1 (there: 0)", "--batch_size=64 (there: 128)"]),
        ({"epochs": 9, "lr_schedule": "cosine"}, ["--epochs=9 (there: 4)", "--lr_schedule=cosine (there: constant)"]),
    ],
)
def test_other_settings_are_refused(
    unbroken: tuple[Path, dict[str, Any]], settings: dict[str, Any], named: list[str]
) -> None:
    before = tree(unbroken[0])
    with pytest.raises(InputError) as error:
        train(unbroken[0], **settings)
    assert all(text in str(error.value) for text in named)
    assert tree(unbroken[0]) == before


def test_paths_and_intervals_may_differ(unbroken: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    config = Config(**SMALL, run_dir=str(unbroken[0] / "run"), export_dir=str(tmp_path), checkpoint_every=0.5)
    assert tfvae.train.train(config) == unbroken[1]
    assert not list(tmp_path.iterdir())


def test_changed_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    np.save(path, images)
    settings = {"dataset": str(path), "hidden_units": (), "batch_size": 16}
    train(tmp_path, **settings, epochs=1)
    moved = path.rename(tmp_path / "moved.npy")
    train(tmp_path, **{**settings, "dataset": str(moved)}, epochs=2)  # the same images elsewhere are welcome
    images[7, 1, 2] ^= 1
    np.save(path, images)
    for epochs in (2, 3):  # of a finished run as well
        before = tree(tmp_path / "run")
        with pytest.raises(InputError, match="changed"):
            train(tmp_path, **settings, epochs=epochs)
        assert {k: v for k, v in tree(tmp_path / "run").items() if not k.endswith(".lock")} == {
            k: v for k, v in before.items() if not k.endswith(".lock")
        }


def test_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"step \d+: the loss is not finite.* no checkpoint in"):
        train(tmp_path, optimizer="sgd", learning_rate=1e30)
    assert not checkpoints.steps(tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists() and not (tmp_path / "export").exists()


def test_loss_that_stops_being_finite_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    settings = {"optimizer": "sgd", "lr_schedule": "2:1e35", "checkpoint_every": 0.0}
    for _ in range(2):  # and going on stops at the same step
        with pytest.raises(RunError) as error:
            train(tmp_path, **settings)
        bad = int(
            re.match(r"step (\d+): the loss is not finite.* the checkpoint of step 22 is safe", str(error.value))[1]
        )
        assert 2 * EPOCH < bad < 4 * EPOCH
        assert checkpoints.steps(tmp_path / "run") == [EPOCH, 2 * EPOCH]
        assert tfvae.load(tmp_path / "run").step == 2 * EPOCH


@pytest.mark.slow
def test_run_stopped_after_its_last_step_goes_on(
    tmp_path: Path, unbroken: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(unbroken[0] / "run", tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    # before the export, when it is written but not in place, and when it is but the results aren't written
    real = safety.write_atomically
    stages = {
        "export_decoder": (saved_model, stop),
        "move_into_place": (saved_model, stop),
        "write_atomically": (safety, lambda path, text: (stop if path.suffix == ".json" else real)(path, text)),
    }
    for name, (module, replacement) in stages.items():
        with monkeypatch.context() as patch:
            patch.setattr(module, name, replacement)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path)
        assert not (tmp_path / "run" / "results.json").exists()
    assert versions(tmp_path) == ["1"]
    assert train(tmp_path)["test"] == unbroken[1]["test"]
    assert final_state(tmp_path) == final_state(unbroken[0])
    assert versions(tmp_path) == ["1", "2"]


def test_run_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process"):
            train(tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["run", ".lock"]


def test_a_signal_whose_handler_returns_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's caller may have a handler that only takes a note: the run must not count as finished."""
    noted: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda n, _: noted.append(n))
    real = checkpoints.save

    def save(*args: Any) -> None:
        real(*args)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(checkpoints, "save", save)
    try:
        with contextlib.suppress(RunError, KeyboardInterrupt):
            train(tmp_path, epochs=2, checkpoint_every=0.0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert noted and checkpoints.steps(tmp_path / "run") == [EPOCH]
    assert not (tmp_path / "run" / "results.json").exists() and not (tmp_path / "export").exists()


# real processes


@contextlib.contextmanager
def started(folder: Path, *flags: str) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "tfvae.train", "--dataset=digits", *flags]
    command += [f"--run_dir={folder / 'run'}", f"--export_dir={folder / 'export'}"]
    root = Path(__file__).resolve().parents[1]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, cwd=root) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen, pattern: str) -> re.Match:
    """Reads the process's lines up to one that matches."""
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"exit status {process.wait()} without a line {pattern!r}: {process.stderr.read()}")


@pytest.mark.slow
def test_signals_save_and_leave(tmp_path: Path) -> None:
    epochs = 150
    flags = (f"--epochs={epochs}", "--hidden_units=16", "--eval_samples=5", "--checkpoint_every=1000")
    broken, straight = tmp_path / "broken", tmp_path / "straight"
    at = 0
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with started(broken, *flags) as process:
            begun = wait_for(process, r"goes on from step ([\d,]+) of" if at else r"starts from step 0 of ([\d,]+)")[1]
            assert int(begun.replace(",", "")) == (at or epochs * EPOCH)
            wait_for(process, "^epoch ")
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(InputError, match="another process trains there"):
                train(broken, epochs=epochs)
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            stopped = int(wait_for(process, r"stopped at step ([\d,]+); the checkpoint")[1].replace(",", ""))
            assert (process.wait(), process.stderr.read()) == (status, "")
        assert checkpoints.steps(broken / "run")[-1] == stopped and at < stopped < epochs * EPOCH
        at = stopped
    train(broken, epochs=epochs)
    train(straight, epochs=epochs)
    assert final_state(broken) == final_state(straight)
    assert versions(broken) == ["1"]


@pytest.mark.slow
def test_a_signal_in_the_evaluation_keeps_its_finished_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6_000, 8, 8), dtype=np.uint8)  # of which 600 are the test set
    np.save(tmp_path / "images.npy", images)
    flags = (
        f"--dataset={tmp_path / 'images.npy'}",
        "--epochs=1",
        "--validation_examples=0",
        "--batch_size=100",
        "--eval_samples=30000",
    )
    broken, straight = tmp_path / "broken", tmp_path / "straight"
    block = broken / "run" / "evaluation" / "54-30000" / "0.npz"
    with started(broken, *flags) as process:
        while not block.exists() and process.poll() is None:
            time.sleep(0.01)
        written = block.stat().st_mtime_ns
        process.send_signal(signal.SIGTERM)
        assert "the checkpoint of step 54 is safe" in wait_for(process, "^stopped in the evaluation; .*").group()
        assert (process.wait(), process.stderr.read()) == (143, "")
    with started(broken, *flags) as process:
        wait_for(process, "goes on from step 54 of 54")
        assert block.stat().st_mtime_ns == written
        wait_for(process, "^next:")
    assert not (broken / "run" / "evaluation").exists()
    with started(straight, *flags) as process:
        wait_for(process, "^next:")
    test = [json.loads((folder / "run" / "results.json").read_text())["test"] for folder in (broken, straight)]
    assert test[0] == test[1]


def kill_test(folder: Path, seed: int = 0) -> list[int]:
    """Kills a run of more than a minute at ten random moments from its first step to the end of its export, a process
    restarted each time, and compares with an unbroken run; returns the steps resumed from.

    Eight moments are drawn over the unbroken run's training, and reckoned from the step that a process resumed from;
    one over its evaluation, reckoned from the end of training; one over its export, from its beginning.
    """
    epochs = 2000
    flags = (f"--epochs={epochs}", "--hidden_units=512,256", "--eval_samples=10000", "--checkpoint_every=2")
    last_epoch, straight, broken = f"^epoch {epochs:,}/", folder / "straight", folder / "broken"

    def wait_for_file(folder: Path, pattern: str) -> None:
        while not list(folder.glob(pattern)):
            time.sleep(0.001)

    with started(straight, *flags) as process:
        times = []
        for wait in (
            lambda: wait_for(process, "starts from"),
            lambda: wait_for_file(straight, "run/checkpoints/*"),
            lambda: wait_for(process, last_epoch),
            lambda: wait_for_file(straight, "export/run/.*.tmp"),
            lambda: wait_for_file(straight, "export/run/1"),
        ):
            wait()
            times.append(time.monotonic())
        wait_for(process, "^next:")
    first, trained, evaluated, exported = (t - times[0] for t in times[1:])
    total = epochs * EPOCH
    notes = json.loads((straight / "run" / "checkpoints" / str(total) / "variables.json").read_text())["notes"]
    print(
        f"unbroken, from its first line on: first checkpoint {first:.1f} s, trained {trained:.1f} s "
        f"({notes['seconds']:.1f} s inside compiled steps), evaluated {evaluated:.1f} s, exported {exported:.1f} s",
        flush=True,
    )
    draw = random.Random(seed)
    moments = [("training", moment) for moment in sorted(draw.uniform(first, trained) for _ in range(8))]
    moments += [("evaluation", draw.uniform(trained, evaluated)), ("export", draw.uniform(evaluated, exported))]
    resumed = []
    for i, (phase, moment) in enumerate(moments):
        with started(broken, *flags) as process:
            line = wait_for(process, r"goes on from step ([\d,]+) of|starts from")
            step = int((line[1] or "0").replace(",", ""))
            if phase == "training":
                delay = max(0.0, moment - step / total * trained)
            else:
                if step < total:
                    wait_for(process, last_epoch)
                if phase == "export":
                    known = set(broken.glob("export/run/.*.tmp"))
                    while set(broken.glob("export/run/.*.tmp")) <= known:
                        time.sleep(0.001)
                delay = moment - (trained if phase == "evaluation" else evaluated)
            time.sleep(delay)
            assert process.poll() is None, f"kill {i + 1} came after the end"
            process.kill()
            assert process.wait() == -signal.SIGKILL
        if i:
            resumed.append(step)
        left = [p.relative_to(broken) for p in (*broken.glob("run/checkpoints/*"), *broken.glob("export/run/*"))]
        print(
            f"kill {i + 1:2d}, {phase}, drawn at {moment:.2f} s: {'resumed from' if i else 'started at'} step "
            f"{step:,}, killed {delay:.2f} s into it; left: {', '.join(sorted(map(str, left)))}",
            flush=True,
        )
    with started(broken, *flags) as process:
        line = wait_for(process, r"goes on from step ([\d,]+) of|is finished")  # when the last kill was a moment late
        resumed += [int(line[1].replace(",", ""))] if line[1] else []
        wait_for(process, "^next:")
        assert (process.communicate()[1], process.returncode) == ("", 0)
    same = final_state(broken) == final_state(straight)
    test = [json.loads((f / "run" / "results.json").read_text())["test"] for f in (straight, broken)]
    print(
        f"after the last restart, from step {resumed[-1]:,}: {len(final_state(broken))} tensors of step {total:,} "
        f"{'are bit-identical' if same else 'DIFFER'}; test figures {'equal' if test[0] == test[1] else 'DIFFER'}; "
        f"{sum(s > 0 for s in resumed)} of {len(resumed)} restarts resumed from a step above 0; "
        f"exported versions, all whole: {versions(broken)}",
        flush=True,
    )
    assert same and test[0] == test[1]
    return resumed


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    assert sum(step > 0 for step in kill_test(tmp_path)) >= 5


if __name__ == "__main__":
    kill_test(Path(sys.argv[1]))
