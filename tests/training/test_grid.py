"""A grid of runs: what is started and what is passed over, failures, signals, and a real one that is killed."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
import runs
from made_runs import make_run, make_unfinished_run

from tfvae.config import Config
from tfvae.config.variations import combinations, read_variation
from tfvae.errors import InputError
from tfvae.runtime.files import locked
from tfvae.training import grid, records

pytestmark = pytest.mark.usefixtures("same_signal_handlers")

GIVEN = {"dataset": "digits", "epochs": 10}
DONE = "print('done')"
FAILS = "print('step 3: the loss is not finite\\n'); sys.exit(1)"
IS_STOPPED = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(3_600)
"""


class Trainings:
    """In the place of `_start_training`: each call runs the next program; one that is DONE leaves a finished run."""

    def __init__(self, *programs):
        self.programs, self.flags = list(programs), []

    def __call__(self, flags, output):
        self.flags.append(flags)
        given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
        program = self.programs.pop(0)
        if program == DONE:
            run_dir = runs.Path(given["run_dir"])
            with contextlib.suppress(FileNotFoundError):
                run_dir.rename(run_dir.with_suffix(".before"))
            settings = {name: int(given[name]) for name in ("latent_dim", "seed") if name in given}
            make_run(run_dir, **GIVEN, **settings)
        command = [sys.executable, "-c", f"import os, signal, sys, time\n{program}"]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


@pytest.fixture
def make_grid(tmp_path, monkeypatch):
    """A grid of four runs whose processes are these programs, and what it starts."""

    def make(*programs):
        trainings = Trainings(*programs)
        monkeypatch.setattr(grid, "_start_training", trainings)
        return grid.Grid(planned(tmp_path)), trainings

    return make


def planned(tmp_path, **given):
    variations = [read_variation("latent_dim=2;5"), read_variation("seed=0;1")]
    (tmp_path / "sizes").mkdir(exist_ok=True)
    return grid.plan(combinations(variations, {**GIVEN, **given}), tmp_path / "sizes", ["--dataset=digits"])


def test_each_combination_is_trained_in_its_own_place(tmp_path, make_grid, capsys):
    own_grid, trainings = make_grid(DONE, DONE, DONE, DONE)
    assert own_grid.run() == 0
    assert trainings.flags[2] == [
        "--dataset=digits",
        "--latent_dim=5",
        "--seed=0",
        f"--run_dir={tmp_path}/sizes/latent_dim=5,seed=0",
        "--export_name=sizes-latent_dim=5,seed=0",
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tfvae.grid: 4 runs, 0 of them finished"
    assert lines[1].startswith("tfvae.grid: run 1 of 4, latent_dim=2,seed=0: begins; it prints to ")
    assert "run 1 of 4, latent_dim=2,seed=0: test ELBO -24.00 ± 0.25 nats per image, in " in lines[2]
    assert lines[2].endswith(" s; 3 more, less than half a minute")
    assert lines[8].endswith(" s") and len(lines) == 9
    assert (tmp_path / "sizes" / "latent_dim=5,seed=1.log").read_text() == "done\n"


def test_finished_runs_are_passed_over_and_a_begun_one_goes_on(tmp_path, make_grid, capsys):
    own_grid, trainings = make_grid(DONE, DONE, DONE)
    make_run(tmp_path / "sizes" / "latent_dim=2,seed=1", seed=1)
    make_unfinished_run(tmp_path / "sizes" / "latent_dim=5,seed=0", 3, latent_dim=5)
    assert own_grid.run() == 0
    assert [flags[1:3] for flags in trainings.flags] == [
        ["--latent_dim=2", "--seed=0"],
        ["--latent_dim=5", "--seed=0"],
        ["--latent_dim=5", "--seed=1"],
    ]
    out = capsys.readouterr().out
    assert "4 runs, 1 of them finished\n" in out
    assert "run 3 of 4, latent_dim=5,seed=0: goes on from epoch 3; it prints to" in out


def test_a_failure_is_told_and_the_others_go_on(make_grid, capsys):
    own_grid, trainings = make_grid(DONE, FAILS, "os.kill(os.getpid(), 9)", DONE)
    assert own_grid.run() == 1
    assert own_grid.failures == {
        "latent_dim=2,seed=1": "exit status 1: step 3: the loss is not finite",
        "latent_dim=5,seed=0": "exit status 137: it printed nothing",
    }
    out = capsys.readouterr().out
    assert "run 2 of 4, latent_dim=2,seed=1: failed, exit status 1: step 3: the loss is not finite; 2 more" in out
    again, trainings = make_grid(DONE, DONE)
    assert again.run() == 0
    assert [flags[1:3] for flags in trainings.flags] == [["--latent_dim=2", "--seed=1"], ["--latent_dim=5", "--seed=0"]]


def test_a_process_that_leaves_no_results_has_failed(make_grid):
    own_grid, _ = make_grid(DONE, "pass", DONE, DONE)
    assert own_grid.run() == 1
    assert own_grid.failures == {"latent_dim=2,seed=1": "exit status 0: it printed nothing"}


def test_a_signal_is_passed_on_and_no_other_run_begins(make_grid, capsys):
    own_grid, trainings = make_grid(DONE, IS_STOPPED)
    assert own_grid.run() == 128 + signal.SIGTERM
    assert len(trainings.flags) == 2 and own_grid.failures == {}
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "tfvae.grid: stopped, 1 of 4 runs are finished; the same command goes on from there"


def test_a_process_that_still_saves_a_run_is_waited_for(tmp_path, make_grid, monkeypatch, capsys):
    own_grid, trainings = make_grid(DONE, DONE, DONE, DONE)
    with contextlib.ExitStack() as other_process:
        other_process.enter_context(locked(tmp_path / "sizes" / "latent_dim=2,seed=0"))
        real_sleep = grid.time.sleep

        def leave_and_sleep(seconds):
            assert other_process is not None
            assert trainings.flags == [] or own_grid.process is not None
            other_process.close()
            real_sleep(seconds)

        monkeypatch.setattr(grid.time, "sleep", leave_and_sleep)
        assert own_grid.run() == 0
    assert "latent_dim=2,seed=0: another process is still there, and is waited for\n" in capsys.readouterr().out


def test_runs_of_other_settings_in_the_same_directory_are_refused(tmp_path):
    make_run(tmp_path / "sizes" / "latent_dim=5,seed=0", latent_dim=5, batch_size=64)
    own, other = planned(tmp_path)[2], planned(tmp_path, batch_size=64)[2]
    other.require_own_directory()
    with pytest.raises(InputError) as caught:
        own.require_own_directory()
    assert caught.value.for_command_line.startswith(
        f"--grid_dir={tmp_path}/sizes: latent_dim=5,seed=0 was made with other settings: --batch_size=128 (there: 64);"
    )


def test_a_run_that_started_from_another_one_s_weights_goes_on(tmp_path):
    """Its `config.flags` have the checksum of the weights, which a grid's flags have not."""
    source = make_run(tmp_path / "source")
    own = planned(tmp_path, init_from=str(source))[0]
    make_unfinished_run(own.directory, 3, init_from=str(source), init_checksum="0123abcd")
    own.require_own_directory()
    stranger = planned(tmp_path, init_from=str(source), init_checksum="ffffffff")[0]
    with pytest.raises(InputError, match="init_checksum=ffffffff .there: 0123abcd."):
        stranger.require_own_directory()


def test_weights_that_do_not_fit_are_refused_before_the_first_run(tmp_path):
    source = make_run(tmp_path / "source", latent_dim=2)
    (source / "checkpoints" / "110").mkdir(parents=True)
    fits, _, other, _ = planned(tmp_path, init_from=str(source))
    fits.require_initial_weights()
    with pytest.raises(InputError, match="latent_dim=5: must be 2, as of the run of init_from="):
        other.require_initial_weights()
    nowhere = planned(tmp_path, init_from=str(tmp_path / "none"))[0]
    with pytest.raises(InputError, match="init_from=.*none: must be the directory of a run"):
        nowhere.require_initial_weights()


def test_a_run_is_not_finished_when_more_epochs_are_asked_for(tmp_path):
    make_run(tmp_path / "sizes" / "latent_dim=2,seed=0", epochs=10)
    for epochs, is_finished in ((10, True), (None, True), (20, False)):
        own = planned(tmp_path, epochs=epochs)[0]
        own.require_own_directory()
        assert own.is_finished() is is_finished


def test_the_next_commands_can_be_pasted_into_a_shell():
    words = [shlex.split(line) for line in grid.next_commands(runs.Path("runs/a grid")).splitlines()[1:]]
    assert words[0] == ["python", "-m", "tfvae.compare", "runs/a grid", "--output=grid.png"]
    assert words[1] == ["tensorboard", "--logdir=runs/a grid"]


def test_several_workers_are_refused(monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(InputError, match="must be of this machine, and TF_CONFIG names several workers"):
        grid.check_places(Config())


# A real one.


@pytest.mark.slow
def test_a_grid_that_is_killed_goes_on_to_the_same_numbers(tmp_path):
    flags = ["--dataset=digits", "--hidden_units=16", "--epochs=150", "--eval_samples=5", "--checkpoint_every=0"]
    command = ["-m", "tfvae.grid", "--vary=seed=3;4", f"--grid_dir={tmp_path}/grid", "--", *flags]
    command.append(f"--export_dir={tmp_path}/exports")
    first, second = (tmp_path / "grid" / f"seed={seed}" for seed in (3, 4))
    process = runs.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    runs.wait_until(lambda: runs.checkpoints.steps(second), lambda: process.poll() is None)
    [training] = runs.children(process.pid)
    process.kill()
    process.communicate()
    runs.wait_until(lambda: not os.path.exists(f"/proc/{training}"))  # it was told, and saves before it leaves
    assert "the same command goes on from there" in (tmp_path / "grid" / "seed=4.log").read_text()
    results_of_first = (first / "results.json").stat().st_mtime_ns
    assert 0 < records.read(second).epochs_done < 150

    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(runs.ROOT)}
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "tfvae.grid: 2 runs, 1 of them finished"
    assert "run 2 of 2, seed=4: goes on from epoch " in lines[1]
    assert any(line.startswith("means over seeds") for line in lines)
    assert (first / "results.json").stat().st_mtime_ns == results_of_first
    unbroken = runs.train(tmp_path / "unbroken", epochs=150, seed=4)
    assert runs.results(second)["test"] == unbroken["test"]
    for name, value in runs.named_variables(tmp_path / "unbroken" / "run")[1].items():
        np.testing.assert_array_equal(runs.named_variables(second)[1][name], value, err_msg=name)
    assert {path.name for path in (tmp_path / "exports").iterdir()} == {
        f"grid-seed={seed}{kind}" for seed in (3, 4) for kind in ("", "-encoder")
    }
