"""The launcher: all workers start again when one is lost, and none outlives it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from jobs import AFTER_A_CHECKPOINT, FLAGS, assert_same_run
from runs import PAUSING, children, named_variables, start, wait_until

from tfvae import launch as launch_command
from tfvae.errors import RunError
from tfvae.runtime import verbosity
from tfvae.training import checkpoints, workers
from tfvae.training.workers import Launcher

ENDLESS = "--epochs=100000"  # longer than anybody waits

# The launcher by itself, with workers that don't import TensorFlow.


@pytest.fixture
def handlers():
    """The launcher's handlers of signals must not outlive a test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Workers:
    """In the place of `_start_worker`: each start of the job runs these programs, one a worker."""

    def __init__(self, *jobs):
        self.jobs, self.started = list(jobs), []

    def __call__(self, addresses, index, train_flags):
        if index == 0:
            self.started.append((addresses, train_flags))
        return subprocess.Popen(
            [sys.executable, "-c", f"import os, sys, time\n{self.jobs[len(self.started) - 1][index]}"]
        )


LOST, DONE, FAILED = "sys.exit(75)", "sys.exit(0)", "sys.exit(1)"
WAITS = "time.sleep(3_600)"


@pytest.fixture
def launch(handlers, monkeypatch):
    """Runs jobs of two workers; returns how the launcher ended, or raises as it does."""

    def run(*jobs, max_restarts=10):
        programs = Workers(*jobs)
        monkeypatch.setattr(workers, "_start_worker", programs)
        status = Launcher(2, max_restarts, ["--latent_dim=3"]).run()
        assert len(programs.started) == len(jobs)
        return status

    monkeypatch.setattr(workers, "_LONGEST_PAUSE", 0.0)
    return run


@pytest.mark.parametrize(
    ("programs", "status"),
    [((DONE, DONE), 0), ((FAILED, LOST), 1), ((LOST, "sys.exit(2)"), 2), ((DONE, LOST), 0)],
)
def test_an_end_that_another_start_would_repeat_is_the_launcher_s(launch, programs, status):
    assert launch(programs) == status


def test_a_lost_worker_is_told_and_all_start_again(launch, capsys):
    assert launch((LOST, LOST), ("os.kill(os.getpid(), 9)", LOST), (DONE, DONE)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"tfvae.launch: a worker was lost (exit statuses worker 0: {status}, worker 1: 75); all start again in 0 s"
        for status in (75, 137)
    ]


def test_it_starts_again_only_so_often(launch):
    with pytest.raises(RunError, match=r"a worker was lost 3 times \(exit statuses worker 0: 75, worker 1: 75\)"):
        launch((LOST, LOST), (LOST, LOST), (LOST, LOST), max_restarts=2)


def test_workers_get_the_flags_and_an_address_each_of_their_own(handlers, monkeypatch):
    programs = Workers((DONE, DONE))
    monkeypatch.setattr(workers, "_start_worker", programs)
    Launcher(2, 0, ["--latent_dim=3"]).run()
    [(addresses, train_flags)] = programs.started
    assert train_flags == ["--latent_dim=3"]
    assert len(set(addresses)) == 2 and all(address.startswith("127.0.0.1:") for address in addresses)


@pytest.mark.parametrize(
    ("own", "of_workers", "handed_on"),
    [([], [], ["--verbosity=normal"]), (["--verbosity=quiet"], ["--seed=3"], ["--verbosity=quiet", "--seed=3"])],
)
def test_workers_say_as_much_as_the_launcher(handlers, monkeypatch, own, of_workers, handed_on):
    programs = Workers((DONE, DONE))
    monkeypatch.setattr(workers, "_start_worker", programs)
    try:
        with pytest.raises(SystemExit) as caught:
            launch_command.run([*own, "--", *of_workers])
    finally:
        verbosity.choose("normal")
    assert caught.value.code == 0 and programs.started[0][1] == handed_on


def test_a_trace_is_the_workers(handlers, monkeypatch):
    programs = Workers((DONE, DONE))
    monkeypatch.setattr(workers, "_start_worker", programs)
    with pytest.raises(SystemExit):
        launch_command.run(["--", "--profile_steps=3,5"])
    assert programs.started[0][1][1:] == ["--profile_steps=3,5"]


def test_a_worker_that_stays_when_the_other_is_lost_is_killed(launch, monkeypatch):
    monkeypatch.setattr(workers, "_LEAVE_SECONDS", 0.2)
    assert launch((LOST, WAITS), (DONE, DONE)) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_ends_the_launcher(launch, number):
    """The worker sends it to its parent when it can hear it itself."""
    ends = "import signal; signal.signal({0}, lambda n, _: sys.exit(128 + n)); {1}; time.sleep(3_600)"
    sends = f"os.kill(os.getppid(), {int(number)})"
    other_is_ready = "time.sleep(0)"
    assert launch((ends.format(int(number), sends), ends.format(int(number), other_is_ready))) == 128 + number


def test_a_signal_in_the_pause_ends_it(handlers, monkeypatch):
    launcher = Launcher(2, 10, [])
    launcher.signals.append(signal.SIGTERM)
    start_of_pause = time.monotonic()
    launcher._pause(3_600.0, "worker 0: 75")
    assert time.monotonic() - start_of_pause < 600


# Real jobs.


def started(folder, *flags, moment=None):
    """`tfvae.launch` of two workers; the second one's first process pauses at `moment`, if one is given."""
    command = ["-m", "tfvae.launch"] if moment is None else ["-c", PAUSING_LAUNCH, str(PAUSING), moment]
    command += [
        "--workers=2",
        "--",
        *FLAGS,
        f"--run_dir={folder / 'run'}",
        f"--export_dir={folder / 'exports'}",
        *flags,
    ]
    with open(folder / "output.txt", "w") as output:
        return start(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)


PAUSING_LAUNCH = """
import subprocess, sys
from tfvae import launch
popen, starts = subprocess.Popen, []
def start(command, **options):
    starts.append(command)
    if len(starts) == 2:
        command = [command[0], sys.argv[1], sys.argv[2], "--", *command[3:]]
    return popen(command, **options)
subprocess.Popen = start
launch.run(sys.argv[3:])
"""


@pytest.fixture
def launched(tmp_path):
    """Launches with these flags, and ends what is left of it."""
    processes = []

    def launch(*flags, **options):
        processes.append(started(tmp_path, *flags, **options))
        return processes[-1]

    yield launch
    for process in processes:
        process.kill()
        process.stdin.close()
        process.wait()


def output_of(folder):
    return (folder / "output.txt").read_text()


def wait_for_checkpoint(folder, process):
    wait_until(lambda: checkpoints.steps(folder / "run"), lambda: process.poll() is None)


@pytest.mark.slow
def test_the_launcher_starts_all_anew_when_one_is_lost(launched, unbroken_job, tmp_path):
    process = launched(moment=AFTER_A_CHECKPOINT)
    wait_until(lambda: "paused\n" in output_of(tmp_path), lambda: process.poll() is None)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    assert process.wait(600) == 0, output_of(tmp_path)
    output = output_of(tmp_path)
    assert "a worker was lost (exit statuses worker 0: " in output and "goes on from step" in output
    assert_same_run(tmp_path / "run", unbroken_job)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.nightly),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_the_launcher_passes_signals_on(number, launched, tmp_path):
    process = launched(ENDLESS)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(number)
    assert process.wait(600) == 128 + number
    output = output_of(tmp_path)
    assert f"stopped at step {named_variables(tmp_path / 'run')[0]:,}" in output and "Traceback" not in output


@pytest.mark.slow
def test_no_worker_outlives_its_launcher(launched, tmp_path):
    process = launched(ENDLESS)
    wait_for_checkpoint(tmp_path, process)
    guardians = children(process.pid)
    everyone = guardians + [child for guardian in guardians for child in children(guardian)]
    assert len(everyone) == 4
    process.kill()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in everyone))


@pytest.mark.slow
def test_the_launcher_does_not_repeat_a_refusal_or_a_failure(tmp_path):
    command = ["-m", "tfvae.launch", "--", *FLAGS, f"--run_dir={tmp_path / 'run'}"]
    for flags, status in (["--dataset=/nowhere.npy"], 2), (["--learning_rate=1e30", "--optimizer=sgd"], 1):
        process = start([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
        output, errors = process.communicate(timeout=600)
        assert process.returncode == status, errors
        assert "start again" not in output and "Traceback" not in errors
