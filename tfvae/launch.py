"""Trains with several processes on this machine: python -m tfvae.launch --workers=2 -- --latent_dim=2

Starts `tfvae.train` with the flags after `--` as workers of one job (`TF_CONFIG`), shows the chief's progress, passes
SIGINT and SIGTERM on, and starts all anew when one is lost: they go on from the last checkpoint. A local stand-in for
a cluster's scheduler (docs/scaling.md).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from tfvae.config import Config, InputError, RunError, parse, run
from tfvae.safety import die_with_parent

_LEAVE_SECONDS = 20.0  # in which the others notice that one is lost, by TensorFlow's heartbeats of 10 s
_SAVE_SECONDS = 300.0  # in which all save and leave after a signal
_FINAL = (0, 1, 2)  # done, failed, refused: statuses that another start would only repeat


def launch(workers: int, max_restarts: int, train_flags: list[str]) -> int:
    """Runs the job to its end and returns its exit status: 0, 1, 2, or 128 + a signal that this process was sent.

    Raises:
        RunError: a worker was lost more than `max_restarts` times.
    """
    signals: list[int] = []
    processes: list[subprocess.Popen] = []

    def pass_on(number: int, _: object) -> None:
        signals.append(number)
        for process in processes:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    for restart in range(max_restarts + 1):
        addresses = _free_addresses(workers)
        processes[:] = [_start(addresses, index, train_flags) for index in range(workers)]
        if signals:  # one that came before the processes were there
            pass_on(signals.pop(), None)
        statuses = _wait(processes, signals)
        if signals:
            return 128 + signals[0]
        if final := [status for status in statuses if status in _FINAL]:
            return max(final)
        lost = ", ".join(f"worker {i}: {status}" for i, status in enumerate(statuses))
        if restart < max_restarts:
            pause = min(2**restart, 60)
            print(f"tfvae.launch: a worker was lost (exit statuses {lost}); all start again in {pause} s", flush=True)
            _sleep(pause, signals)
            if signals:
                return 128 + signals[0]
    raise RunError(f"a worker was lost {max_restarts + 1} times (exit statuses {lost}): see --max_restarts")


def _free_addresses(number: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def _start(addresses: list[str], index: int, train_flags: list[str]) -> subprocess.Popen:
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, "-m", "tfvae.train", *train_flags],
        env={**os.environ, "TF_CONFIG": json.dumps(config)},
        start_new_session=True,  # Ctrl-C comes to this process alone, which passes it on
        preexec_fn=die_with_parent,
    )


def _wait(processes: list[subprocess.Popen], signals: list[int]) -> list[int]:
    """The exit statuses, once all have left; who hasn't long after the first did, or after a signal, is killed."""
    deadline = None
    while any(process.poll() is None for process in processes):
        if deadline is None and (signals or any(process.poll() for process in processes)):
            deadline = time.monotonic() + (_SAVE_SECONDS if signals else _LEAVE_SECONDS)
        if deadline is not None and time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    return [process.returncode if process.returncode >= 0 else 128 - process.returncode for process in processes]


def _sleep(seconds: float, signals: list[int]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not signals:
        time.sleep(0.1)


def main(given: dict[str, Any], train_flags: list[str]) -> None:
    config = Config(**parse(train_flags, "tfvae.train"))  # refuses what each worker would refuse
    if config.strategy not in ("auto", "multi_worker") or config.logical_cpus > 1:
        raise InputError("--strategy: must be auto or multi_worker, and --logical_cpus 1: each worker is a process")
    sys.exit(launch(given.get("workers", 2), given.get("max_restarts", 10), train_flags))


if __name__ == "__main__":
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    sys.argv, flags = sys.argv[:cut], sys.argv[cut + 1 :]
    run(lambda given: main(given, flags), "tfvae.launch", __doc__, ("workers", "max_restarts"))
