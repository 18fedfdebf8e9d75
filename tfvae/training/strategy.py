"""Where a run computes: on one device, on all of a machine's, or on many machines', through tf.distribute alone.

The numbers don't depend on it: of R replicas, replica r takes rows r B/R .. (r+1) B/R - 1 of each global batch of B
images and of its noise.
"""

import contextlib
import functools
import json
import operator
import os
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfvae.config import Config
from tfvae.errors import InputError, RunError, WorkerLost
from tfvae.runtime import verbosity

if TYPE_CHECKING:
    import tensorflow as tf

_LARGE_BYTES = 2**25
_ALIGNMENT = 64  # bytes


class Placement(NamedTuple):
    """The replicas, and the worker (process) that this is."""

    strategy: Any  # tf.distribute.Strategy
    workers: int = 1
    index: int = 0  # type: ignore[assignment]  # the chief's is 0: it alone writes; a tuple's own `index` is not used

    @property
    def chief(self) -> bool:
        return self.index == 0

    def say(self, text: str) -> None:
        """Prints; the chief speaks for all."""
        if self.chief:
            print(text, flush=True)

    def log(self, text: str) -> None:
        """Says how far the work is, where that is wanted (`runtime.verbosity`); the chief speaks for all."""
        if self.chief:
            verbosity.log(text)

    def all_gather(self, value: np.ndarray) -> np.ndarray:
        """Every worker's `value`, in their order: [workers, *value.shape]. All of them must call it."""
        if self.workers == 1:
            return value[None]
        slots = np.zeros((self.workers, value.size))  # float64 is exact for whole numbers and float32
        slots[self.index] = value.ravel()
        total = _sum(self.strategy)(slots).numpy()  # one worker's value, and zeros
        return total.astype(value.dtype).reshape(self.workers, *value.shape)

    def agree(self, run_dir: Path, facts: dict[str, Any]) -> None:
        """Raises InputError unless all workers bring the same facts: they run one command, on disks that they share."""
        for name, fact in facts.items():
            checksums = self.all_gather(np.array([zlib.crc32(repr(fact).encode())]))
            if (checksums != checksums[0]).any():
                raise InputError(
                    f"--run_dir={run_dir}: must be on a disk that all workers share, and their commands and data the "
                    f"same: the {name} differ"
                )

    def describe(self) -> str:
        """The replicas in words, after a comma; nothing where there is one."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return ""
        if self.workers == 1:
            return f", {replicas} replicas"
        return f", {replicas} replicas on {self.workers} workers"

    @property
    def local_replicas(self) -> int:
        """How many replicas this worker has."""
        return self.strategy.num_replicas_in_sync // self.workers

    def per_replica(self, values: Sequence[np.ndarray | int]) -> Any:
        """One of `values` on each of this worker's devices: an argument of `strategy.run`."""
        import tensorflow as tf

        if self.strategy.num_replicas_in_sync == 1:
            return _as_tensor(values[0])
        tensors = []
        for value, device in zip(values, self.strategy.extended.worker_devices):
            with tf.device(device):  # to which the identity brings what was made in the host's memory
                tensors.append(tf.identity(_as_tensor(value)))
        one_after_the_other = iter(tensors)
        return self.strategy.experimental_distribute_values_from_function(lambda _: next(one_after_the_other))

    @contextlib.contextmanager
    def together(self, safe: Callable[[], str]) -> Iterator[None]:
        """Turns the errors by which TensorFlow says that another worker is gone into WorkerLost.

        `safe()` says what is safe on disk.
        """
        from tensorflow import errors

        always = (errors.UnavailableError, errors.AbortedError, errors.CancelledError, errors.DeadlineExceededError)
        of_collectives = (errors.InternalError, errors.InvalidArgumentError, errors.FailedPreconditionError)
        try:
            yield
        except (*always, *of_collectives) as error:
            is_lost = isinstance(error, always) or "ollective" in str(error)  # Collective, or collective
            if self.workers == 1 or not is_lost:
                raise
            raise WorkerLost(
                f"worker {self.index} of {self.workers}: another one is gone or does not answer; {safe()}"
            ) from error


def _as_tensor(value: np.ndarray | int) -> Any:
    """A tensor with a copy of `value`.

    tf.constant makes a second copy of a large array on its way, and of a data set that is a gigabyte. On CPU the one
    copy is made here, at an address that TensorFlow takes as it is.
    """
    import tensorflow as tf

    from tfvae.core.fast import computes_on_gpu

    if not isinstance(value, np.ndarray) or value.nbytes < _LARGE_BYTES or computes_on_gpu():
        return tf.constant(value)
    memory = np.empty(value.nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + value.nbytes].view(value.dtype).reshape(value.shape)
    copy[...] = value
    return tf.experimental.dlpack.from_dlpack(copy.__dlpack__())


def one_device() -> Placement:
    """The default of TensorFlow: one device, no strategy."""
    import tensorflow as tf

    return Placement(tf.distribute.get_strategy())


def read_cluster() -> tuple[list[str], int] | None:
    """The workers' addresses in `TF_CONFIG`, the chief's first, and which of them this process is; None without any.

    Schedulers set an empty one, `{}` or `{"cluster": {}}`, for a job of one machine.

    Raises:
        InputError: it isn't of the form {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker",
            "index": 0}} (a "chief" may stand before the workers).
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        content = json.loads(text)
        if _names_nothing(content):
            return None
        return _parse_cluster(content)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        text = " ".join(text.split())
        raise InputError(
            f'TF_CONFIG={text}: must be {{"cluster": {{"worker": ["host:port", ...]}}, "task": {{"type": "worker", '
            '"index": 0}}, the task one of the cluster'
        ) from None


def _names_nothing(content: dict[str, Any]) -> bool:
    """Whether there is neither a cluster nor a task; a misspelled key is something."""
    return not (content.get("cluster") or content.get("task") or content.keys() - {"cluster", "task", "environment"})


def own_cluster() -> tuple[list[str], int]:
    """`read_cluster` of a worker, which has one; raises RunError where it has none."""
    cluster = read_cluster()
    if cluster is None:
        raise RunError("TF_CONFIG: must name the workers, and has none")
    return cluster


def _parse_cluster(content: dict[str, Any]) -> tuple[list[str], int]:
    """`read_cluster` of parsed JSON; raises anything where it is not of the form."""
    cluster, task = content["cluster"], content["task"]
    if set(cluster) - {"chief", "worker"}:
        raise ValueError
    tasks, addresses = [], []
    for kind in ("chief", "worker"):
        for index in range(len(cluster.get(kind, ()))):
            tasks.append((kind, index))
            addresses.append(cluster[kind][index])
    if not all(isinstance(address, str) and ":" in address for address in addresses):
        raise ValueError
    return addresses, tasks.index((task["type"], int(task["index"])))


def is_multi_worker(config: Config) -> bool:
    """Whether this process is one of several workers.

    Raises:
        InputError: --strategy=multi_worker and no, or no good, `TF_CONFIG`.
    """
    if config.strategy not in ("auto", "multi_worker"):
        return False
    cluster = read_cluster()
    if cluster is None and config.strategy == "multi_worker":
        raise InputError("--strategy=multi_worker: must have the workers' addresses in TF_CONFIG, which has none")
    if cluster is None:
        return False
    addresses, _ = cluster
    several = len(addresses) > 1 or config.strategy == "multi_worker"
    if several and config.logical_cpus > 1:
        raise InputError(f"--logical_cpus={config.logical_cpus}: must be 1 where TF_CONFIG names several workers")
    return several


def place(config: Config) -> Placement:
    """Sets up the replicas that `config` asks for; must come before TensorFlow's first operation.

    Several workers wait here for each other, for ever if one never comes: see `workers.fork_guarded`.

    Raises:
        InputError: the devices aren't there, or don't divide the batch.
        RunError: this worker's address can't be listened at.
    """
    placement = _join_workers() if is_multi_worker(config) else _place_here(config)
    replicas = placement.strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise InputError(f"--batch_size={config.batch_size}: must be a multiple of the {replicas} replicas")
    return placement


def _join_workers() -> Placement:
    import tensorflow as tf

    addresses, index = own_cluster()
    try:
        placement = Placement(tf.distribute.MultiWorkerMirroredStrategy(), len(addresses), index)
    except (tf.errors.OpError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"worker {index} of {len(addresses)}, {addresses[index]}: can't start: {reason}") from None
    for number in (signal.SIGINT, signal.SIGTERM):  # TensorFlow has put its own handlers in their place
        signal.signal(number, signal.getsignal(number))
    return placement


def _place_here(config: Config) -> Placement:
    """On this machine: the logical CPUs that are asked for, else all GPUs, else the CPU."""
    import tensorflow as tf

    devices = [f"GPU:{i}" for i in range(len(tf.config.get_visible_devices("GPU")))]
    reduction = None  # TensorFlow's choice: NCCL between GPUs
    if config.logical_cpus > 1:
        _make_logical_cpus(config.logical_cpus)
        devices = [f"CPU:{i}" for i in range(config.logical_cpus)]
        # they share one memory, through which TensorFlow's ring would copy each gradient several times
        reduction = tf.distribute.ReductionToOneDevice(accumulation_fn=_sum_in_order)
    elif not devices:
        devices = ["CPU:0"]
    if config.strategy == "mirrored" or (config.strategy == "auto" and len(devices) > 1):
        return Placement(tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction))
    return one_device()


def _make_logical_cpus(number: int) -> None:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) == number:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)
    except RuntimeError:
        raise InputError(f"--logical_cpus={number}: must be set before TensorFlow's first operation") from None


def _sum_in_order(values: "list[tf.Tensor]") -> "tf.Tensor":
    """The sum of the replicas' values: TensorFlow's own order of three and more depends on its threads."""
    return functools.reduce(operator.add, values)


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
