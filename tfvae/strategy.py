"""Where a run computes: on one device, on all of a machine's, or on many machines', through tf.distribute alone.

The numbers don't depend on it: of R replicas, replica r takes rows r B/R .. (r+1) B/R - 1 of each global batch of B
images and of its noise.
"""

import contextlib
import functools
import json
import os
import select
import signal
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfvae import safety
from tfvae.config import Config, InputError, RunError, WorkerLost


class Placement(NamedTuple):
    """The replicas, and the worker (process) that this is."""

    strategy: Any  # tf.distribute.Strategy
    workers: int = 1
    index: int = 0  # the chief's is 0: it alone writes

    @property
    def chief(self) -> bool:
        return self.index == 0

    def say(self, text: str) -> None:
        """Prints; the chief speaks for all."""
        if self.chief:
            print(text, flush=True)

    def all_gather(self, value: np.ndarray) -> np.ndarray:
        """Every worker's `value`, in their order: [workers, *value.shape]. All of them must call it."""
        if self.workers == 1:
            return value[None]
        slots = np.zeros((self.workers, value.size))  # float64, which holds whatever is sent exactly
        slots[self.index] = value.ravel()
        total = _sum(self.strategy)(slots).numpy()  # of zeros and one value: exact too
        return total.astype(value.dtype).reshape(self.workers, *value.shape)

    def agree(self, run_dir: Path, facts: dict[str, Any]) -> None:
        """Raises InputError unless all workers bring the same facts: they run one command, on disks that they share."""
        for what, fact in facts.items():
            told = self.all_gather(np.array([zlib.crc32(repr(fact).encode())]))
            if (told != told[0]).any():
                raise InputError(
                    f"--run_dir={run_dir}: must be on a disk that all workers share, and their commands and data the "
                    f"same: the {what} differ"
                )

    def describe(self) -> str:
        replicas = self.strategy.num_replicas_in_sync
        on = f" on {self.workers} workers" if self.workers > 1 else ""
        return f", {replicas} replicas{on}" if replicas > 1 else ""

    @property
    def local(self) -> int:
        """This worker's replicas."""
        return self.strategy.num_replicas_in_sync // self.workers

    def per_replica(self, values: list[np.ndarray]) -> Any:
        """One of `values` on each of this worker's devices: an argument of `strategy.run`."""
        import tensorflow as tf

        if self.strategy.num_replicas_in_sync == 1:
            return tf.constant(values[0])
        held = []
        for value, device in zip(values, self.strategy.extended.worker_devices):
            with tf.device(device):
                held.append(tf.constant(value))
        held = iter(held)
        return self.strategy.experimental_distribute_values_from_function(lambda _: next(held))

    @contextlib.contextmanager
    def together(self, safe: Callable[[], str]) -> Iterator[None]:
        """Turns the errors by which TensorFlow says that another worker is gone into WorkerLost."""
        from tensorflow import errors

        gone = (errors.UnavailableError, errors.AbortedError, errors.CancelledError, errors.DeadlineExceededError)
        perhaps = (errors.InternalError, errors.InvalidArgumentError, errors.FailedPreconditionError)
        try:
            yield
        except (*gone, *perhaps) as error:
            if self.workers == 1 or isinstance(error, perhaps) and "ollective" not in str(error):
                raise
            raise WorkerLost(
                f"worker {self.index} of {self.workers}: another one is gone or does not answer; {safe()}"
            ) from error


def one_device() -> Placement:
    """The default of TensorFlow: one device, no strategy."""
    import tensorflow as tf

    return Placement(tf.distribute.get_strategy())


def read_cluster() -> tuple[list[str], int] | None:
    """The workers' addresses in `TF_CONFIG`, the chief's first, and which of them this process is; None without it.

    Raises:
        InputError: it isn't of the form {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker",
            "index": 0}} (a "chief" may stand before the workers).
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        told = json.loads(text)
        cluster, task = told["cluster"], told["task"]
        places = [(kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, ())))]
        addresses = [cluster[kind][i] for kind, i in places]
        if not all(isinstance(address, str) and ":" in address for address in addresses) or set(cluster) - {
            "chief",
            "worker",
        }:
            raise ValueError
        return addresses, places.index((task["type"], int(task["index"])))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        text = " ".join(text.split())
        raise InputError(
            f'TF_CONFIG={text}: must be {{"cluster": {{"worker": ["host:port", ...]}}, "task": {{"type": "worker", '
            '"index": 0}}, the task one of the cluster'
        ) from None


def is_multi_worker(config: Config) -> bool:
    """Whether this process is one of several workers.

    Raises:
        InputError: --strategy=multi_worker and no, or no good, `TF_CONFIG`.
    """
    if config.strategy not in ("auto", "multi_worker"):
        return False
    cluster = read_cluster()
    if cluster is None and config.strategy == "multi_worker":
        raise InputError("--strategy=multi_worker: must have the workers' addresses in TF_CONFIG, which is not set")
    several = cluster is not None and (len(cluster[0]) > 1 or config.strategy == "multi_worker")
    if several and config.logical_cpus > 1:
        raise InputError(f"--logical_cpus={config.logical_cpus}: must be 1 where TF_CONFIG names several workers")
    return several


def place(config: Config) -> Placement:
    """Sets up the replicas that `config` asks for; must come before TensorFlow's first operation.

    Several workers wait here for each other, for ever if one never comes: see `guarded`.

    Raises:
        InputError: the devices aren't there, or don't divide the batch.
        RunError: this worker's address can't be listened at.
    """
    import tensorflow as tf

    if is_multi_worker(config):
        addresses, index = read_cluster()
        try:
            placement = Placement(tf.distribute.MultiWorkerMirroredStrategy(), len(addresses), index)
        except (tf.errors.OpError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"worker {index} of {len(addresses)}, {addresses[index]}: can't start: {reason}") from None
        for number in (signal.SIGINT, signal.SIGTERM):  # TensorFlow has put its own in their place
            signal.signal(number, signal.getsignal(number))
    else:
        if config.logical_cpus > 1:
            _make_logical_cpus(config.logical_cpus)
        cpus = [f"CPU:{i}" for i in range(config.logical_cpus)]
        gpus = [f"GPU:{i}" for i in range(len(tf.config.get_visible_devices("GPU")))]
        devices = cpus if config.logical_cpus > 1 else gpus or cpus
        mirrored = config.strategy == "mirrored" or config.strategy == "auto" and len(devices) > 1
        placement = Placement(tf.distribute.MirroredStrategy(devices) if mirrored else one_device().strategy)
    replicas = placement.strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise InputError(f"--batch_size={config.batch_size}: must be a multiple of the {replicas} replicas")
    return placement


def _make_logical_cpus(number: int) -> None:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) == number:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)
    except RuntimeError:
        raise InputError(f"--logical_cpus={number}: must be set before TensorFlow's first operation") from None


@functools.cache
def _sum(strategy: Any) -> Callable[..., Any]:
    """A compiled sum over workers: the first replica of each brings its value."""
    import tensorflow as tf

    local = len(strategy.extended.worker_devices)

    def in_replica(value: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        first = tf.equal(context.replica_id_in_sync_group % local, 0)
        return context.all_reduce("SUM", tf.where(first, value, tf.zeros_like(value)))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None], tf.float64)])
    def total(value: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(strategy.run(in_replica, args=(value,)))[0]

    return total


def guarded(config: Config) -> Callable[[], None]:
    """Forks, before TensorFlow is imported: the child returns and works, this process watches over it and ends as it.

    TensorFlow waits for workers that never come, and aborts when the chief is gone, in C++, where no Python signal
    handler or thread can run. The child calls what this returns when all workers have met.
    """
    heard, met = os.pipe()
    child = os.fork()
    if not child:
        os.close(heard)
        safety.die_with_parent(signal.SIGKILL)
        return lambda: os.close(met)
    os.close(met)
    started: list[bool] = []

    def pass_on(number: int, _: object) -> None:
        os.kill(child, number if started else signal.SIGKILL)
        if not started:  # nothing has been done yet
            sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    addresses, index = read_cluster()
    name = f"worker {index} of {len(addresses)}"
    if not select.select([heard], [], [], config.start_timeout)[0]:
        os.kill(child, signal.SIGKILL)
        raise WorkerLost(
            f"{name}: not all of {', '.join(addresses)} appeared in --start_timeout={config.start_timeout:g} s"
        )
    started.append(True)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGABRT:
        raise WorkerLost(f"{name}: TensorFlow has given up, as it does when the chief is gone; start all workers again")
    sys.exit(code if code >= 0 else 128 - code)
