"""A run that is stopped or made longer ends with the weights of an unbroken one, bit for bit; in this process."""

import contextlib
import fcntl
import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from runs import EPOCH_STEPS, SMALL, final_state, train, tree

import tfvae
import tfvae.run
import tfvae.trained
from tfvae.config import Config
from tfvae.errors import InputError, RunError
from tfvae.runtime import files
from tfvae.training import checkpoints, trainer

pytestmark = pytest.mark.usefixtures("cheap_runs")


def versions(folder):
    """What lies in the export directory."""
    return sorted(p.name for p in (folder / "export" / "run").iterdir())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, cheap_runs):
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train(folder)


def test_all_variables_and_nothing_else_is_saved(unbroken):
    state = final_state(unbroken[0])
    weights = 2 * 5  # kernel and bias of two hidden layers, mean, log-variance, pixels
    assert len(state) == weights + 2 * weights + 2 + 1  # slots, the optimizer's iteration and step size, the step
    assert sum(value == np.int64(4 * EPOCH_STEPS).tobytes() for _, _, value in state.values()) >= 1


def test_raised_epochs_end_as_a_straight_run(tmp_path, unbroken):
    first = train(tmp_path, epochs=2, checkpoint_every=1e6)
    assert checkpoints.steps(tmp_path / "run") == [2 * EPOCH_STEPS] and first["train"]["steps"] == 2 * EPOCH_STEPS
    second = train(tmp_path)
    assert final_state(tmp_path) == final_state(unbroken[0])
    assert second["test"] == unbroken[1]["test"]
    np.testing.assert_allclose(second["train"]["elbo"], unbroken[1]["train"]["elbo"], rtol=1e-6)
    assert versions(tmp_path) == ["1", "2"] and second["export"].endswith("/2")
    answers = [Path(results["export"]) / "answers.npy" for results in (second, unbroken[1])]
    np.testing.assert_array_equal(*(np.load(path) for path in answers))


def test_length_of_chunks_changes_nothing(tmp_path, unbroken, monkeypatch):
    monkeypatch.setattr(trainer, "_CHUNK_SECONDS", 1e-9)
    results = train(tmp_path, checkpoint_every=0.0)
    assert final_state(tmp_path) == final_state(unbroken[0])
    assert results["test"] == unbroken[1]["test"]
    assert checkpoints.steps(tmp_path / "run") == [2 * EPOCH_STEPS, 3 * EPOCH_STEPS, 4 * EPOCH_STEPS]


def test_finished_run_prints_its_result_and_writes_nothing(unbroken, capfd):
    folder, results = unbroken
    before = tree(folder)
    assert train(folder) == results == json.loads((folder / "run" / "results.json").read_text())
    assert tree(folder) == before
    printed = capfd.readouterr().out
    assert "is finished" in printed and f"{results['test']['elbo']:.2f}" in printed and "next:" in printed


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"latent_dim": 3}, ["latent_dim=3 (there: 2)"]),
        ({"epochs": 3}, ["epochs=3 (there: 4)"]),
        ({"seed": 1, "batch_size": 64}, ["seed=1 (there: 0)", "batch_size=64 (there: 128)"]),
        ({"epochs": 9, "lr_schedule": "cosine"}, ["epochs=9 (there: 4)", "lr_schedule='cosine' (there: 'constant')"]),
    ],
)
def test_other_settings_are_refused(unbroken, settings, named):
    before = tree(unbroken[0])
    with pytest.raises(InputError) as error:
        train(unbroken[0], **settings)
    assert all(text in str(error.value) for text in named)
    assert tree(unbroken[0]) == before


def test_paths_and_intervals_may_differ(unbroken, tmp_path):
    config = Config(**SMALL, run_dir=str(unbroken[0] / "run"), export_dir=str(tmp_path), checkpoint_every=0.5)
    assert tfvae.run.train(config) == unbroken[1]
    assert not list(tmp_path.iterdir())


def without_locks(folder):
    return {path: content for path, content in tree(folder).items() if not path.endswith(".lock")}


def test_changed_images_are_refused(tmp_path):
    path = tmp_path / "images.npy"
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    np.save(path, images)
    settings = {"dataset": str(path), "hidden_units": (), "batch_size": 16}
    train(tmp_path, **settings, epochs=1)
    moved = path.rename(tmp_path / "moved.npy")
    train(tmp_path, **{**settings, "dataset": str(moved)}, epochs=2)  # the same images elsewhere are welcome
    images[7, 1, 2] ^= 1
    np.save(path, images)
    for epochs in (2, 3):  # of a finished run as well
        before = without_locks(tmp_path / "run")
        with pytest.raises(InputError, match="changed"):
            train(tmp_path, **settings, epochs=epochs)
        assert without_locks(tmp_path / "run") == before


def test_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(RunError, match=r"step \d+: the loss is not finite.* no checkpoint in"):
        train(tmp_path, optimizer="sgd", learning_rate=1e30)
    assert not checkpoints.steps(tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists() and not (tmp_path / "export").exists()


def test_loss_that_stops_being_finite_leaves_the_last_good_checkpoint(tmp_path):
    settings = {"optimizer": "sgd", "lr_schedule": "2:1e35", "checkpoint_every": 0.0}
    for _ in range(2):  # and going on stops at the same step
        with pytest.raises(RunError) as error:
            train(tmp_path, **settings)
        message = r"step (\d+): the loss is not finite.* the checkpoint of step 22 is safe"
        bad = int(re.match(message, str(error.value))[1])
        assert 2 * EPOCH_STEPS < bad < 4 * EPOCH_STEPS
        assert checkpoints.steps(tmp_path / "run") == [EPOCH_STEPS, 2 * EPOCH_STEPS]
        assert tfvae.load(tmp_path / "run").step == 2 * EPOCH_STEPS


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_run_stopped_after_its_last_step_goes_on(tmp_path, unbroken, monkeypatch):
    """Before the export, and when it is there but the results are not written."""
    shutil.copytree(unbroken[0] / "run", tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    write = files.write_atomically
    stages = {
        "export_models": (tfvae.run, interrupt),
        "write_atomically": (files, lambda path, text: (interrupt if path.suffix == ".json" else write)(path, text)),
    }
    for name, (module, replacement) in stages.items():
        with monkeypatch.context() as patch:
            patch.setattr(module, name, replacement)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path)
        assert not (tmp_path / "run" / "results.json").exists()
    assert versions(tmp_path) == ["1"]
    assert train(tmp_path)["test"] == unbroken[1]["test"]
    assert final_state(tmp_path) == final_state(unbroken[0])
    assert versions(tmp_path) == ["1", "2"]


def test_run_directory_in_use_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process"):
            train(tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["run", ".lock"]


def test_a_disk_that_is_full_is_named_with_what_is_safe(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "move_into_place", full)
    with pytest.raises(RunError) as error:
        train(tmp_path, checkpoint_every=0.0)
    assert str(error.value) == (
        f"the disk of {tmp_path / 'run'} is full: free some space; no checkpoint in {tmp_path / 'run'} yet: the same "
        "command starts anew"
    )


def test_a_signal_whose_handler_returns_ends_no_run(tmp_path, monkeypatch):
    """A library's caller may have a handler that only takes a note: the run must not count as finished."""
    noted = []
    before = signal.signal(signal.SIGTERM, lambda n, _: noted.append(n))
    save = checkpoints.save

    def save_and_signal(*args):
        save(*args)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(checkpoints, "save", save_and_signal)
    try:
        with contextlib.suppress(RunError, KeyboardInterrupt):
            train(tmp_path, epochs=2, checkpoint_every=0.0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert noted and checkpoints.steps(tmp_path / "run") == [EPOCH_STEPS]
    assert not (tmp_path / "run" / "results.json").exists() and not (tmp_path / "export").exists()


# Images on disk.


@pytest.mark.slow
def test_a_run_says_that_it_reads_from_disk_and_has_the_weights_of_images_in_memory(tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (65, 6, 5), dtype=np.uint8))
    settings = {
        "dataset": str(tmp_path / "images.npy"),
        **{"network": "conv", "filters": (4,), "hidden_units": (8,), "latent_dim": 3},
        **{"batch_size": 8, "epochs": 3, "validation_examples": 5},
    }
    for name, memory_gb in (("disk", 0.0), ("memory", None)):
        (tmp_path / name).mkdir()
        train(tmp_path / name, **settings, memory_gb=memory_gb)
        says_so = "; training images are read from disk" in capsys.readouterr().out.splitlines()[0]
        assert says_so == (name == "disk")
    assert final_state(tmp_path / "disk") == final_state(tmp_path / "memory")


@pytest.mark.nightly
def test_a_run_may_go_on_and_be_evaluated_with_other_memory(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (65, 6, 5), dtype=np.uint8))
    settings = {"dataset": str(tmp_path / "images.npy"), "network": "conv", "filters": (4,), "batch_size": 8}
    unbroken = train(tmp_path / "unbroken", **settings, epochs=3)
    for epochs, memory_gb in ((1, None), (2, 0.0), (3, None)):
        broken = train(tmp_path / "broken", **settings, epochs=epochs, memory_gb=memory_gb)
    assert {**broken, "train": 0, "export": 0} == {**unbroken, "train": 0, "export": 0}
    assert final_state(tmp_path / "broken") == final_state(tmp_path / "unbroken")
    config = Config(**{**SMALL, **settings}, run_dir=str(tmp_path / "broken" / "run"), memory_gb=0.0).as_usual()
    assert tfvae.trained.evaluate(config)["test"] == unbroken["test"]
