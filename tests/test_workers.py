"""Several workers, real processes of one machine: the same numbers as one, and none left behind when one goes."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfvae.training import checkpoints, strategy

FLAGS = ["--dataset=digits", "--hidden_units=64", "--epochs=200", "--eval_samples=20", "--checkpoint_every=0.5"]
LEAVE_SECONDS = 15  # after another worker is gone


def wait_for_checkpoint(run_dir, goes_on):
    end = time.monotonic() + 60
    while not checkpoints.steps(run_dir):
        assert time.monotonic() < end and goes_on()
        time.sleep(0.02)


class Job:
    """Workers that run one command in one run directory."""

    def __init__(self, folder, *flags, workers=2, only=None):
        self.run_dir = folder / "run"
        self.folder = folder
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
        addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
        for s in sockets:
            s.close()
        command = [sys.executable, "-m", "tfvae.train", *FLAGS, f"--run_dir={self.run_dir}"]
        command += [f"--export_dir={folder / 'exports'}", *flags]
        self.processes = []
        for index in range(workers) if only is None else only:
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            with open(folder / f"worker{index}.txt", "w") as output:
                environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
                self.processes.append(
                    subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
                )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def wait(self, seconds=120):
        end = time.monotonic() + seconds
        return [process.wait(max(0.1, end - time.monotonic())) for process in self.processes]

    def wait_for_checkpoint(self):
        wait_for_checkpoint(self.run_dir, lambda: all(p.poll() is None for p in self.processes))

    def strike(self, index, number):
        """Sends a worker a signal at a moment drawn from the second after the first checkpoint."""
        self.wait_for_checkpoint()
        time.sleep(random.uniform(0, 1))
        self.processes[index].send_signal(number)

    def output(self, index):
        return (self.folder / f"worker{index}.txt").read_text()


def saved(run_dir):
    """The step of the newest checkpoint, and its variables by name."""
    step = checkpoints.steps(run_dir)[-1]
    folder = run_dir / "checkpoints" / str(step)
    names = json.loads((folder / "variables.json").read_text())["variables"]
    reader = tf.train.load_checkpoint(str(folder / "ckpt"))
    return step, {n: reader.get_tensor(f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE") for i, n in enumerate(names)}


def results(run_dir):
    return json.loads((run_dir / "results.json").read_text())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    with Job(tmp_path_factory.mktemp("unbroken")) as job:
        assert job.wait() == [0, 0], job.output(0) + job.output(1)
        return job


def assert_same_run(job, unbroken):
    step, variables = saved(job.run_dir)
    expected_step, expected = saved(unbroken.run_dir)
    assert step == expected_step and variables.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(variables[name], value, err_msg=name)
    assert results(job.run_dir)["test"] == results(unbroken.run_dir)["test"]


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one(tmp_path):
    folders = tmp_path / "two", tmp_path / "one"
    for folder in folders:
        folder.mkdir()
    with Job(folders[0], "--epochs=3") as two, Job(folders[1], "--epochs=3", workers=1) as one:
        assert two.wait() + one.wait() == [0, 0, 0], two.output(0) + two.output(1) + one.output(0)
    (step, variables), (expected_step, expected) = saved(two.run_dir), saved(one.run_dir)
    assert step == expected_step == 33
    largest = max(np.abs(v).max() for name, v in expected.items() if name.startswith("vae/"))
    for name, value in expected.items():
        np.testing.assert_allclose(variables[name], value, atol=1e-5 * largest, err_msg=name)
    for name, value in results(one.run_dir)["test"].items():
        assert results(two.run_dir)["test"][name] == pytest.approx(value, rel=1e-5), name
    assert "2 replicas on 2 workers" in two.output(0)
    assert two.output(1) == ""  # the chief speaks for all


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1], ids=["chief", "worker"])
def test_the_others_leave_when_one_is_killed_and_the_restarted_job_ends_bit_identically(lost, unbroken, tmp_path):
    with Job(tmp_path) as job:
        job.strike(lost, signal.SIGKILL)
        start = time.monotonic()
        assert job.processes[1 - lost].wait(60) == 75
        assert time.monotonic() - start < LEAVE_SECONDS
        last = job.output(1 - lost).strip().splitlines()[-1]
        assert last.startswith(f"tfvae.train: worker {1 - lost} of 2: another one is gone"), last
        assert "the same command goes on from there" in last
        assert "Traceback" not in job.output(1 - lost)
    with Job(tmp_path) as job:
        assert job.wait() == [0, 0]
        assert "goes on from step" in job.output(0)
    assert_same_run(job, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1], ids=["chief", "worker"])
def test_the_others_leave_when_one_is_frozen(lost, tmp_path):
    with Job(tmp_path) as job:
        job.wait_for_checkpoint()
        for child in children(job.processes[lost].pid):
            os.kill(child, signal.SIGSTOP)
        start = time.monotonic()
        assert job.processes[1 - lost].wait(60) == 75
        assert time.monotonic() - start < LEAVE_SECONDS


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("present", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["chief", "worker"])
def test_a_worker_that_never_starts_is_missed_in_time(present, tmp_path):
    with Job(tmp_path, "--start_timeout=8", only=[present]) as job:
        start = time.monotonic()
        assert job.wait(40) == [75]
        assert time.monotonic() - start < 8 + LEAVE_SECONDS
        [line] = job.output(present).splitlines()
        assert line.startswith(f"tfvae.train: worker {present} of 2: not all of 127.0.0.1:")
        assert "--start_timeout=8" in line
    assert not job.run_dir.exists()


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1], ids=["chief", "worker"])
def test_a_sigterm_to_one_saves_and_ends_all_and_the_job_goes_on_bit_identically(told, unbroken, tmp_path):
    with Job(tmp_path) as job:
        job.strike(told, signal.SIGTERM)
        assert job.wait(60) == [143, 143], job.output(0) + job.output(1)
        step, variables = saved(job.run_dir)
        assert f"stopped at step {step:,}" in job.output(0)
        assert variables["step"] == step
    with Job(tmp_path) as job:
        assert job.wait() == [0, 0]
        assert f"goes on from step {step:,}" in job.output(0)
    assert_same_run(job, unbroken)


def test_a_sigterm_while_the_others_are_awaited_ends_at_once(tmp_path):
    with Job(tmp_path, only=[0]) as job:
        time.sleep(3)
        job.processes[0].terminate()
        assert job.wait(10) == [143]


@pytest.fixture
def launched(tmp_path):
    """`tfvae.launch` of two workers, and the job's folder."""
    command = [sys.executable, "-m", "tfvae.launch", "--workers=2", "--", *FLAGS, f"--run_dir={tmp_path / 'run'}"]
    with open(tmp_path / "output.txt", "w") as output:
        process = subprocess.Popen(
            [*command, f"--export_dir={tmp_path / 'exports'}"], stdout=output, stderr=subprocess.STDOUT
        )
    yield process, tmp_path
    process.kill()
    process.wait()


@pytest.mark.slow
def test_the_launcher_starts_all_anew_when_one_is_lost(launched, unbroken):
    process, folder = launched
    wait_for_checkpoint(folder / "run", lambda: process.poll() is None)
    os.kill(random.choice(children(process.pid)), signal.SIGKILL)
    assert process.wait(120) == 0, (folder / "output.txt").read_text()
    output = (folder / "output.txt").read_text()
    assert "a worker was lost (exit statuses worker 0: " in output and "goes on from step" in output
    job = Job(folder, only=[])
    assert_same_run(job, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_launcher_passes_signals_on(number, launched):
    process, folder = launched
    wait_for_checkpoint(folder / "run", lambda: process.poll() is None)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    output = (folder / "output.txt").read_text()
    assert f"stopped at step {saved(folder / 'run')[0]:,}" in output and "Traceback" not in output


@pytest.mark.slow
def test_no_worker_outlives_its_launcher(launched):
    process, folder = launched
    wait_for_checkpoint(folder / "run", lambda: process.poll() is None)
    workers = children(process.pid)
    everyone = workers + [child for worker in workers for child in children(worker)]
    assert len(everyone) == 4
    process.kill()
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in everyone):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_the_launcher_does_not_repeat_a_refusal_or_a_failure(tmp_path):
    command = [sys.executable, "-m", "tfvae.launch", "--", *FLAGS, f"--run_dir={tmp_path / 'run'}"]
    for flags, status in (["--dataset=/nowhere.npy"], 2), (["--learning_rate=1e30", "--optimizer=sgd"], 1):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=100, cwd=tmp_path)
        assert done.returncode == status, done.stderr
        assert "start again" not in done.stdout and "Traceback" not in done.stderr


def test_the_kubernetes_manifest_sets_a_tf_config_that_is_read(monkeypatch):
    manifest = (Path(__file__).parents[1] / "docs" / "kubernetes.yaml").read_text()
    script = textwrap.dedent(manifest.partition("- |\n")[2].partition("          resources:")[0])
    assert "exec python -m tfvae.train" in script
    script = script.replace("exec python -m tfvae.train", 'printf %s "$TF_CONFIG" #')
    environment = {**os.environ, "WORKERS": "4", "JOB_COMPLETION_INDEX": "2"}
    told = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    monkeypatch.setenv("TF_CONFIG", told)
    assert strategy.read_cluster() == ([f"tfvae-{i}.tfvae:2222" for i in range(4)], 2)
