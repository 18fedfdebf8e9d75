"""Several workers, real processes of one machine: the same numbers as one, and none left behind when one goes."""

import contextlib
import json
import os
import signal
import subprocess
import textwrap

import numpy as np
import pytest
from jobs import AFTER_A_CHECKPOINT, AMID_THE_SAVING, EPOCHS, Job, assert_same_run
from runs import EPOCH_STEPS, ROOT, children, named_variables, results, start, wait_until

from tfvae.training import strategy, workers

LEAVE_SECONDS = workers._LEAVE_SECONDS  # in which the others leave when one is gone: the launcher kills them then


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one(tmp_path):
    folders = tmp_path / "two", tmp_path / "one"
    for folder in folders:
        folder.mkdir()
    with Job(folders[0], "--epochs=3") as two, Job(folders[1], "--epochs=3", workers=1) as one:
        assert two.wait() + one.wait() == [0, 0, 0], two.output(0) + two.output(1) + one.output(0)
    (step, variables), (expected_step, expected) = named_variables(two.run_dir), named_variables(one.run_dir)
    assert step == expected_step == 33
    largest = max(np.abs(v).max() for name, v in expected.items() if name.startswith("vae/"))
    for name, value in expected.items():
        np.testing.assert_allclose(variables[name], value, atol=1e-5 * largest, err_msg=name)
    for name, value in results(one.run_dir)["test"].items():
        assert results(two.run_dir)["test"][name] == pytest.approx(value, rel=1e-5), name
    assert "2 replicas on 2 workers" in two.output(0)
    assert two.output(1) == ""  # the chief speaks for all


def kill_one(folder, lost, moment, unbroken_job):
    with Job(folder, pausing=lost, moment=moment) as job:
        job.wait_for_pause(lost)
        job.processes[lost].kill()
        assert job.processes[1 - lost].wait(LEAVE_SECONDS) == 75
        last = job.output(1 - lost).strip().splitlines()[-1]
        assert last.startswith(f"tfvae.train: worker {1 - lost} of 2: another one is gone"), last
        assert "the same command goes on from there" in last
        assert "Traceback" not in job.output(1 - lost)
    with Job(folder) as job:
        assert job.wait() == [0, 0]
        assert "goes on from step" in job.output(0)
    assert_same_run(job.run_dir, unbroken_job)


@pytest.mark.slow
def test_the_others_leave_when_one_is_killed_and_the_restarted_job_ends_bit_identically(unbroken_job, tmp_path):
    kill_one(tmp_path, 1, AFTER_A_CHECKPOINT, unbroken_job)


@pytest.mark.nightly
@pytest.mark.parametrize("moment", [AFTER_A_CHECKPOINT, AMID_THE_SAVING], ids=["a chunk", "the saving"])
def test_a_chief_that_is_killed_is_missed_and_the_restarted_job_ends_bit_identically(moment, unbroken_job, tmp_path):
    kill_one(tmp_path, 0, moment, unbroken_job)


@pytest.mark.parametrize(
    "lost",
    [pytest.param(0, id="chief", marks=pytest.mark.slow), pytest.param(1, id="worker", marks=pytest.mark.nightly)],
)
def test_the_others_leave_when_one_is_frozen(lost, tmp_path):
    with Job(tmp_path, pausing=lost) as job:
        job.wait_for_pause(lost)
        for child in children(job.processes[lost].pid):
            os.kill(child, signal.SIGSTOP)
        assert job.processes[1 - lost].wait(LEAVE_SECONDS) == 75


@pytest.mark.parametrize(
    "present",
    [pytest.param(0, id="chief", marks=pytest.mark.slow), pytest.param(1, id="worker", marks=pytest.mark.nightly)],
)
def test_a_worker_that_never_starts_is_missed(present, tmp_path):
    with Job(tmp_path, "--start_timeout=8", only=[present]) as job:
        assert job.wait() == [75]
        [line] = job.output(present).splitlines()
        assert line.startswith(f"tfvae.train: worker {present} of 2: not all of 127.0.0.1:")
        assert "--start_timeout=8" in line
    assert not job.run_dir.exists()


@pytest.mark.parametrize(
    "index",
    [pytest.param(0, id="chief", marks=pytest.mark.nightly), pytest.param(1, id="worker", marks=pytest.mark.slow)],
)
def test_a_sigterm_to_one_saves_and_ends_all_and_the_job_goes_on_bit_identically(index, unbroken_job, tmp_path):
    with Job(tmp_path, pausing=index) as job:
        job.wait_for_pause(index)
        job.processes[index].send_signal(signal.SIGTERM)
        wait_until(lambda: "signal 15\n" in job.output(index), job.is_running)
        job.go_on(index)
        assert job.wait() == [143, 143], job.output(0) + job.output(1)
        step, variables = named_variables(job.run_dir)
        assert f"stopped at step {step:,}" in job.output(0)
        assert variables["step"] == step < EPOCHS * EPOCH_STEPS
    with Job(tmp_path) as job:
        assert job.wait() == [0, 0]
        assert f"goes on from step {step:,}" in job.output(0)
    assert_same_run(job.run_dir, unbroken_job)


@pytest.mark.nightly
def test_a_sigterm_while_the_others_are_awaited_ends_at_once(tmp_path):
    with Job(tmp_path, only=[0]) as job:
        wait_until(lambda: children(job.processes[0].pid), job.is_running)  # it is guarded from now on
        job.processes[0].terminate()
        assert job.wait() == [143]


def test_the_kubernetes_manifest_sets_a_tf_config_that_is_read(monkeypatch):
    manifest = (ROOT / "docs" / "kubernetes.yaml").read_text()
    script = textwrap.dedent(manifest.partition("- |\n")[2].partition("          resources:")[0])
    assert "exec python -m tfvae.train" in script
    script = script.replace("exec python -m tfvae.train", 'printf %s "$TF_CONFIG" #')
    environment = {**os.environ, "WORKERS": "4", "JOB_COMPLETION_INDEX": "2"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    monkeypatch.setenv("TF_CONFIG", done.stdout)
    assert strategy.read_cluster() == ([f"tfvae-{i}.tfvae:2222" for i in range(4)], 2)


# The guardian by itself: processes that don't import TensorFlow.

GUARDED = """
import os, sys, time
from tfvae.config import Config
from tfvae.errors import RunError
from tfvae.training import workers
wait = workers._Guardian.{method}
def tell_and_wait(*arguments):
    os.write(1, b"guards\\n")  # in one piece, for the child writes there too
    return wait(*arguments)
workers._Guardian.{method} = tell_and_wait
try:
    all_have_met = workers.fork_guarded(Config(start_timeout=float(sys.argv[1])))
except RunError as error:
    print(error, flush=True)
    sys.exit(error.status)
{what_the_child_does}
"""
ADDRESSES = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@contextlib.contextmanager
def guarded(what_the_child_does, start_timeout=300.0, method="_wait"):
    """A guardian and its child; the guardian tells when it begins with one of its methods."""
    script = GUARDED.format(what_the_child_does=what_the_child_does, method=method)
    environment = {"TF_CONFIG": json.dumps(ADDRESSES)}
    with start(["-c", script, str(start_timeout)], env=environment, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()  # its child ends with it


@pytest.mark.parametrize("status", [0, 1, 2, 75])
def test_a_guardian_ends_as_its_child_does(status):
    with guarded(f"all_have_met(); sys.exit({status})") as process:
        assert process.wait(300) == status


def test_a_guardian_s_child_that_is_killed_counts_as_by_a_shell():
    with guarded("all_have_met(); os.kill(os.getpid(), 9)") as process:
        assert process.wait(300) == 128 + signal.SIGKILL


def test_a_guardian_tells_of_tensorflow_s_giving_up():
    with guarded("all_have_met(); os.abort()") as process:
        assert process.wait(300) == 75
        assert process.stdout.read() == (
            "guards\nworker 1 of 2: TensorFlow has given up, as it does when the chief is gone; start all workers "
            "again\n"
        )


def test_a_guardian_does_not_wait_for_ever_and_leaves_no_child():
    with guarded("print('child', flush=True); time.sleep(3_600)", start_timeout=0.5) as process:
        assert process.wait(300) == 75
        lines = process.stdout.read().splitlines()  # to its end: the child, which has it too, is gone
        assert lines[-1] == "worker 1 of 2: not all of a:1, b:2 appeared in --start_timeout=0.5 s"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_all_have_met_ends_the_guardian_and_its_child(number):
    child_code = "os.write(1, b'waits\\n'); time.sleep(3_600)"
    with guarded(child_code, method="_have_met") as process:  # by then it has handlers of its own
        assert {process.stdout.readline() for _ in range(2)} == {"waits\n", "guards\n"}
        [child] = children(process.pid)
        process.send_signal(number)
        assert process.wait(300) == 128 + number
        assert process.stdout.read() == ""
        wait_until(lambda: not os.path.exists(f"/proc/{child}"))


def test_a_signal_after_all_have_met_is_passed_on_to_the_child():
    child_code = (
        "import signal; signal.signal(signal.SIGTERM, lambda n, _: sys.exit(7)); all_have_met()\n"
        "os.write(1, b'works\\n')\n"
        "while True: time.sleep(0.01)"
    )
    with guarded(child_code) as process:
        assert {process.stdout.readline() for _ in range(2)} == {"works\n", "guards\n"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 7
