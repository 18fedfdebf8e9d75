"""Where a run computes: the devices, the cluster in TF_CONFIG, and what workers tell each other."""

import json
import zlib

import numpy as np
import pytest

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from tfvae.config import Config  # noqa: E402
from tfvae.errors import InputError, WorkerLost  # noqa: E402
from tfvae.training import strategy  # noqa: E402
from tfvae.training.strategy import Placement, one_device  # noqa: E402


def test_devices_can_not_be_made_when_tensorflow_has_begun():
    tf.zeros([]).numpy()
    with pytest.raises(InputError, match="^logical_cpus=5: must be set before"):
        strategy.place(Config(logical_cpus=5))


def cluster(task, index, **tasks):
    return json.dumps({"cluster": tasks, "task": {"type": task, "index": index}})


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, None),
        ("  ", None),
        ("{}", None),
        (' {"cluster": {}} ', None),
        ('{"cluster": {}, "task": {}, "environment": "cloud"}', None),
        (cluster("worker", 1, worker=["a:1", "b:2"]), (["a:1", "b:2"], 1)),
        (cluster("worker", "0", worker=["a:1", "b:2"]), (["a:1", "b:2"], 0)),
        (cluster("worker", 0, worker=["a:1"], chief=["c:3"]), (["c:3", "a:1"], 1)),
        (cluster("chief", 0, worker=["a:1", "b:2"], chief=["c:3"]), (["c:3", "a:1", "b:2"], 0)),
    ],
)
def test_the_workers_addresses_are_read_the_chief_s_first(monkeypatch, text, expected):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    assert strategy.read_cluster() == expected


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "3",
        "[]",
        '{"clutser": {}}',
        '{"cluster": [], "task": {"type": "worker", "index": 0}}',
        cluster("worker", 2, worker=["a:1", "b:2"]),
        cluster("worker", -1, worker=["a:1", "b:2"]),
        cluster("worker", "first", worker=["a:1", "b:2"]),
        cluster("worker", None, worker=["a:1", "b:2"]),
        cluster("chief", 0, worker=["a:1", "b:2"]),
        cluster("ps", 0, worker=["a:1"], ps=["b:2"]),
        cluster("worker", 0, worker=["a:1"], ps=["b:2"]),
        cluster("worker", 0, worker=["a", "b"]),
        cluster("worker", 0, worker=[1, 2]),
        cluster("worker", 0, worker="a:1"),
        cluster("worker", 0, worker=None),
        json.dumps({"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": "worker"}),
    ],
)
def test_another_tf_config_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match="TF_CONFIG=(?s:.*): must be "):
        strategy.read_cluster()
    with pytest.raises(InputError, match="TF_CONFIG"):
        strategy.is_multi_worker(Config())
    assert not strategy.is_multi_worker(Config(strategy="one_device"))  # which doesn't ask


def test_a_worker_is_one_of_several_or_was_asked_to_be(monkeypatch):
    for workers, expected in ((["a:1"], False), (["a:1", "b:2"], True)):
        monkeypatch.setenv("TF_CONFIG", cluster("worker", 0, worker=workers))
        assert strategy.is_multi_worker(Config()) == expected
        assert strategy.is_multi_worker(Config(strategy="multi_worker"))
        assert not strategy.is_multi_worker(Config(strategy="mirrored"))
    for empty in ("", "{}"):
        monkeypatch.setenv("TF_CONFIG", empty)
        assert not strategy.is_multi_worker(Config())
        with pytest.raises(InputError, match="^strategy=multi_worker: must have the workers' addresses in TF_CONFIG"):
            strategy.is_multi_worker(Config(strategy="multi_worker"))


@pytest.mark.parametrize(
    "error, lost",
    [
        (tf.errors.UnavailableError(None, None, "Connection reset by peer"), True),
        (tf.errors.InternalError(None, None, "Collective ops is aborted by: a worker has restarted"), True),
        (tf.errors.InternalError(None, None, "no such kernel"), False),
        (ValueError("Collective"), False),
    ],
)
def test_a_lost_worker_is_told_from_other_errors(error, lost):
    for workers in (1, 2):
        with pytest.raises(WorkerLost if lost and workers == 2 else type(error)) as caught:
            with Placement(None, workers, 1).together(lambda: "all is safe"):
                raise error
    if lost:
        assert str(caught.value) == "worker 1 of 2: another one is gone or does not answer; all is safe"


def test_of_one_worker_there_is_no_other_to_agree_with(tmp_path):
    placement = one_device()
    assert placement.chief and placement.local_replicas == 1 and placement.describe() == ""
    np.testing.assert_array_equal(placement.all_gather(np.array([3, 5])), [[3, 5]])
    placement.agree(tmp_path, {"step": 3})
    assert not list(tmp_path.iterdir())


class TwoWorkers(Placement):
    """The first of two workers; the other one sends `theirs`."""

    theirs = None

    def all_gather(self, value):
        return np.stack([value, self.theirs])


def test_workers_that_bring_other_facts_are_refused(tmp_path, monkeypatch):
    placement = TwoWorkers(None, 2, 0)
    for theirs, named in ((b"7", "step"), (b"3", None)):
        monkeypatch.setattr(TwoWorkers, "theirs", np.array([zlib.crc32(theirs)]))
        if named is None:
            placement.agree(tmp_path, {"step": 3})
            continue
        with pytest.raises(InputError) as caught:
            placement.agree(tmp_path, {"step": 3})
        assert str(caught.value) == (
            f"run_dir={tmp_path}: must be on a disk that all workers share, and their commands and data the same: "
            f"the {named} differ"
        )


@pytest.mark.parametrize(("index", "printed"), [(0, "3 steps\n"), (1, "")])
def test_the_chief_speaks_for_all(index, printed, capsys):
    Placement(None, 2, index).say("3 steps")
    assert capsys.readouterr().out == printed
