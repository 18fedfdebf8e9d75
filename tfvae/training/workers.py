"""Processes that train together: a worker and its guardian, and a launcher of several workers on this machine."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from tfvae.config import Config
from tfvae.errors import RunError, WorkerLost
from tfvae.runtime.signals import die_with_parent
from tfvae.training.strategy import own_cluster

_LEAVE_SECONDS = 20.0  # in which the others notice that one is lost, by TensorFlow's heartbeats of 10 s
_SAVE_SECONDS = 300.0  # in which all save and leave after a signal
_FINAL = (0, 1, 2)  # done, failed, refused: statuses that another start would only repeat
# A signal that comes just before a call that blocks is heard after it: no call of a guardian blocks longer than this.
_LOOK_SECONDS = 0.1
_LONGEST_PAUSE = 60.0  # seconds before all workers start again


def fork_guarded(config: Config) -> Callable[[], None]:
    """Forks, before TensorFlow is imported: the child returns and works, this process guards it and ends as it does.

    TensorFlow waits for workers that never come, and aborts when the chief is gone, in C++, where no Python signal
    handler or thread can run. The child calls what this returns when all workers have met.
    """
    reading_end, writing_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading_end)
        die_with_parent(signal.SIGKILL)
        return lambda: os.close(writing_end)
    os.close(writing_end)
    _Guardian(child).guard(reading_end, config.start_timeout)


class _Guardian:
    """Watches over a worker's process: its start, the signals that are meant for it, and its end."""

    def __init__(self, child: int) -> None:
        self.child, self.started = child, False
        addresses, index = own_cluster()
        self.addresses, self.name = addresses, f"worker {index} of {len(addresses)}"

    def guard(self, met: int, start_timeout: float) -> NoReturn:
        """Waits until all workers have met, when `met` is closed, then for the child; leaves with its status.

        Raises:
            WorkerLost: not all workers appeared in time, or the chief is gone.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        if not self._have_met(met, start_timeout):
            os.kill(self.child, signal.SIGKILL)
            raise WorkerLost(
                f"{self.name}: not all of {', '.join(self.addresses)} appeared in --start_timeout={start_timeout:g} s"
            )
        self.started = True
        code = self._wait()
        if code == -signal.SIGABRT:
            raise WorkerLost(
                f"{self.name}: TensorFlow has given up, as it does when the chief is gone; start all workers again"
            )
        sys.exit(code if code >= 0 else 128 - code)

    def _have_met(self, met: int, start_timeout: float) -> bool:
        """Whether `met` is closed in time."""
        deadline = time.monotonic() + start_timeout
        readable: list[int] = []
        while not readable and time.monotonic() < deadline:
            readable, _, _ = select.select([met], [], [], _LOOK_SECONDS)
        return bool(readable)

    def _wait(self) -> int:
        """The child's exit code, once it has left; a negative one is that of a signal."""
        child = 0
        while not child:
            child, status = os.waitpid(self.child, os.WNOHANG)
            if not child:
                time.sleep(_LOOK_SECONDS)
        return os.waitstatus_to_exitcode(status)

    def _pass_on(self, number: int, _: object) -> None:
        if self.started:
            os.kill(self.child, number)
            return
        os.kill(self.child, signal.SIGKILL)  # nothing has been done yet
        sys.exit(128 + number)


class Launcher:
    """A job of several workers on this machine, which is started again when one is lost."""

    def __init__(self, workers: int, max_restarts: int, train_flags: list[str]) -> None:
        self.workers, self.max_restarts, self.train_flags = workers, max_restarts, train_flags
        self.processes: list[subprocess.Popen] = []
        self.signals: list[int] = []  # that this process was sent

    def run(self) -> int:
        """Runs the job to its end and returns its exit status: 0, 1, 2, or 128 + a signal that this process was sent.

        Raises:
            RunError: a worker was lost more than `max_restarts` times.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        for restart in range(self.max_restarts + 1):
            self._start()
            statuses = self._wait()
            if self.signals:
                return 128 + self.signals[0]
            final = [status for status in statuses if status in _FINAL]
            if final:
                return max(final)
            lost = ", ".join(f"worker {i}: {status}" for i, status in enumerate(statuses))
            if restart < self.max_restarts:
                self._pause(min(2**restart, _LONGEST_PAUSE), lost)
            if self.signals:
                return 128 + self.signals[0]
        raise RunError(f"a worker was lost {restart + 1} times (exit statuses {lost}): see --max_restarts")

    def _pass_on(self, number: int, _: object) -> None:
        self.signals.append(number)
        for process in self.processes:
            process.send_signal(number)

    def _start(self) -> None:
        addresses = _free_addresses(self.workers)
        self.processes = [_start_worker(addresses, index, self.train_flags) for index in range(self.workers)]
        for number in self.signals:  # that came before the processes were there
            for process in self.processes:
                process.send_signal(number)

    def _wait(self) -> list[int]:
        """The exit statuses, once all have left; one that stays long after a failure or a signal is killed."""
        deadline = None
        while any(process.poll() is None for process in self.processes):
            if deadline is None and self.signals:
                deadline = time.monotonic() + _SAVE_SECONDS
            elif deadline is None and any(process.poll() for process in self.processes):
                deadline = time.monotonic() + _LEAVE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                for process in self.processes:
                    process.kill()
            time.sleep(0.1)
        codes = [process.returncode for process in self.processes]
        return [code if code >= 0 else 128 - code for code in codes]

    def _pause(self, seconds: float, lost: str) -> None:
        print(f"tfvae.launch: a worker was lost (exit statuses {lost}); all start again in {seconds:g} s", flush=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.signals:
            time.sleep(0.1)


def _free_addresses(number: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def _start_worker(addresses: list[str], index: int, train_flags: list[str]) -> subprocess.Popen:
    tf_config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, "-m", "tfvae.train", *train_flags],
        env={**os.environ, "TF_CONFIG": json.dumps(tf_config)},
        start_new_session=True,  # Ctrl-C comes to this process alone, which passes it on
        preexec_fn=die_with_parent,
    )
