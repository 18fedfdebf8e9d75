"""Jobs of several workers, real processes of this machine, and what two of them must have in common."""

import json
import socket
import subprocess

import numpy as np
from runs import PAUSING, named_variables, results, start, wait_until

EPOCHS = 8  # some more than are done at the moments below
FLAGS = ["--dataset=digits", "--hidden_units=64", f"--epochs={EPOCHS}", "--eval_samples=20", "--checkpoint_every=0"]
AFTER_A_CHECKPOINT = "tfvae.training.trainer:Trainer.run_chunk=5"  # the first epoch's steps are one or two chunks
AMID_THE_SAVING = "tfvae.training.checkpoints:move_into_place=2"


class Job:
    """Workers that run one command in one run directory; one of them may pause at a moment (see pausing.py)."""

    def __init__(self, folder, *flags, workers=2, only=None, pausing=None, moment=AFTER_A_CHECKPOINT):
        self.run_dir = folder / "run"
        self.folder = folder
        flags = [*FLAGS, f"--run_dir={self.run_dir}", f"--export_dir={folder / 'exports'}", *flags]
        addresses = free_addresses(workers)
        self.processes = []
        for index in range(workers) if only is None else only:
            cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            command = [str(PAUSING), moment, "--"] if index == pausing else ["-m", "tfvae.train"]
            with open(folder / f"worker{index}.txt", "w") as output:
                self.processes.append(
                    start(
                        [*command, *flags],
                        env={"TF_CONFIG": json.dumps(cluster)},
                        stdin=subprocess.PIPE,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.stdin.close()
            process.wait()

    def wait(self):
        return [process.wait(600) for process in self.processes]

    def is_running(self):
        return all(process.poll() is None for process in self.processes)

    def wait_for_pause(self, index):
        wait_until(lambda: "paused\n" in self.output(index), self.is_running)

    def go_on(self, index):
        self.processes[index].stdin.write("\n")
        self.processes[index].stdin.flush()

    def output(self, index):
        return (self.folder / f"worker{index}.txt").read_text()


def free_addresses(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def assert_same_run(run_dir, unbroken_job):
    step, variables = named_variables(run_dir)
    expected_step, expected = named_variables(unbroken_job.run_dir)
    assert step == expected_step and variables.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(variables[name], value, err_msg=name)
    assert results(run_dir)["test"] == results(unbroken_job.run_dir)["test"]
