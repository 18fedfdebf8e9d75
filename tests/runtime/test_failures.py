"""Failures of disks in words: which disk is full, what is gone, TensorFlow's messages without its inner names."""

import errno
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from tfvae.errors import RunError
from tfvae.runtime import failures

OF_TENSORFLOW = (
    "{{function_node __wrapped__SaveV2_dtypes_15_device_/job:localhost/replica:0/task:0/device:CPU:0}} "
    "%s/checkpoints/.209.tmp/ckpt_temp/part-00000-of-00001.data-00000-of-00001.tempstate1742; No space left on device "
    "[Op:SaveV2]"
)


@pytest.fixture
def places(tmp_path):
    found = (tmp_path / "run", tmp_path / "export")
    for place in found:
        place.mkdir()
    return found


@pytest.mark.parametrize("number", [0, 1], ids=["run", "export"])
def test_the_full_disk_that_tensorflow_names_is_named(places, number):
    error = tf.errors.ResourceExhaustedError(None, None, OF_TENSORFLOW % places[number])
    assert failures.explain(error, places) == f"the disk of {places[number]} is full: free some space"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_of_a_full_disk_without_a_name_it_is_the_one_with_the_least_room(places, code, monkeypatch):
    free = {places[0]: 10**9, places[1]: 10**3}
    monkeypatch.setattr(failures.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(0, 0, free[place]))
    assert failures.explain(OSError(code, "it is full"), places).startswith(f"the disk of {places[1]} is full")


def test_a_run_directory_that_was_removed_is_named_whatever_the_error_says(places):
    shutil.rmtree(places[0])
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", f"{places[0]}/figures/reconstructions.png")
    assert failures.explain(error, places).startswith(f"{places[0]} is gone: it was removed")


def test_other_messages_lose_tensorflow_s_inner_names_and_keep_whole_words():
    text = "{{function_node f}} OOM when allocating tensor with shape[1,2] " + "word " * 100 + "[Op:MatMul]\nmore"
    sentence = failures.first_sentence(text)
    assert sentence.startswith("OOM when allocating tensor with shape[1,2] word")
    assert sentence.endswith("word ...") and len(sentence) <= 200


def test_errors_become_a_run_error_that_says_what_is_safe(places):
    with pytest.raises(RunError, match="PermissionDeniedError: not allowed; all is safe$"):
        with failures.told_plainly(places, lambda: "all is safe"):
            raise tf.errors.PermissionDeniedError(None, None, "not allowed")
    with pytest.raises(KeyError):  # a fault of the program is no fault of a disk
        with failures.told_plainly(places, lambda: "all is safe"):
            raise KeyError("x")


@pytest.mark.slow
def test_a_run_on_a_full_disk_says_so_and_how_to_go_on(tmp_path):
    """A real file system of 2 MB, for which one must be root; the run's checkpoints need more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    try:
        settings = ["--dataset=digits", "--epochs=30", "--hidden_units=300,300", "--checkpoint_every=0"]
        settings += [f"--run_dir={disk}/run", f"--export_dir={tmp_path}/export"]
        command = [sys.executable, "-m", "tfvae.train", *settings]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"tfvae.train: the disk of {disk}/run is full: free some space; ")
    assert "in " + str(disk) in last and "the same command" in last
    assert "Op:" not in last and "{{" not in last and "tempstate" not in last
