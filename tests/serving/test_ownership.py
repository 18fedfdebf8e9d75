"""An export directory is one run's: another's is refused before anything is written, the run's own never."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tfvae
from tfvae.config import Config
from tfvae.errors import InputError
from tfvae.serving import ownership

CONFIG = Config(dataset="digits", epochs=5, run_dir="expA/run1", hidden_units=(8,))
OTHERS = {
    "a setting": ({"latent_dim": 3}, "its run has --latent_dim=2 (here: 3)"),
    "layers": ({"hidden_units": (8, 4)}, "its run has --hidden_units=8 (here: 8,4)"),
    "the seed": ({"seed": 1}, "its run has --seed=0 (here: 1)"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def publish(folder, kinds=("run1", "run1-encoder"), version=1, facts=None):
    """Something that looks like an export: `facts` are what a version itself records."""
    for name in kinds:
        version_folder = folder / "saved_models" / name / str(version)
        (version_folder / "assets.extra").mkdir(parents=True)
        (version_folder / "saved_model.pb").touch()
        if facts is not None:
            (version_folder / "assets.extra" / "tfvae.json").write_text(json.dumps(facts))


def claim_and_publish(folder, config=CONFIG, fingerprint="a"):
    for name in ownership.names(config).values():
        (folder / "saved_models" / name).mkdir(parents=True)
    ownership.claim(config, fingerprint)
    publish(folder, ownership.names(config).values())


def refusal(**changes):
    with pytest.raises(InputError) as caught:
        ownership.require_own(dataclasses.replace(CONFIG, **changes), "a")
    start = "--export_dir=saved_models: must have no other run's models in run1, and "
    end = "; --export_name=NAME exports these under another name"
    message = caught.value.for_command_line
    assert message.startswith(start) and message.endswith(end), message
    return message.removeprefix(start).removesuffix(end)


@pytest.mark.parametrize(("changes", "reason"), OTHERS.values(), ids=OTHERS)
def test_another_run_of_the_same_name_is_refused_and_another_name_is_free(folder, changes, reason):
    claim_and_publish(folder)
    assert refusal(run_dir="expB/run1", **changes) == reason
    ownership.require_own(dataclasses.replace(CONFIG, run_dir="expB/run1", export_name="mine", **changes), "a")
    ownership.require_own(dataclasses.replace(CONFIG, run_dir="expB/run2", **changes), "a")


def test_other_images_are_another_run(folder):
    claim_and_publish(folder, fingerprint="b")
    assert refusal() == "its run is of other images"


def test_a_run_that_goes_on_or_has_moved_keeps_its_directory(folder):
    claim_and_publish(folder)
    for changes in ({"epochs": 9}, {"run_dir": "/elsewhere/run1"}, {"dataset": "/new/digits.npy"}, {"logical_cpus": 2}):
        config = dataclasses.replace(CONFIG, **changes)
        ownership.require_own(config, "a")
        ownership.claim(config, "a")


def test_a_directory_without_a_version_is_anybody_s(folder):
    claim_and_publish(folder)
    for version in folder.glob("saved_models/*/1"):
        (version / "saved_model.pb").unlink()
    other = dataclasses.replace(CONFIG, seed=1)
    ownership.claim(other, "b")
    record = json.loads((folder / "saved_models/run1-encoder" / ownership.FILE_NAME).read_text())
    assert (record["kind"], record["fingerprint"], record["settings"]["seed"]) == ("encoder", "b", 1)
    assert "dataset" not in record["settings"] and "epochs" not in record["settings"]


def test_the_encoder_s_directory_is_no_decoder_s(folder):
    claim_and_publish(folder)
    with pytest.raises(InputError, match="models in run1-encoder, and its versions are encoders of another one"):
        ownership.require_own(dataclasses.replace(CONFIG, run_dir="run1-encoder"), "a")


@pytest.mark.parametrize("content", ["", "[]", '{"settings": 3}', None])
def test_a_directory_of_which_nothing_is_known_is_refused(folder, content):
    publish(folder)
    if content is not None:
        (folder / "saved_models/run1" / ownership.FILE_NAME).write_text(content)
    assert refusal() == "nothing that can be read tells whose its versions are"


def test_a_directory_of_an_earlier_version_is_the_run_s_whose_settings_its_newest_model_has(folder):
    facts = {"settings": ownership.described_settings(CONFIG), "step": 3}
    publish(folder, facts={"settings": {"seed": 7}})
    publish(folder, version=10, facts=facts)
    ownership.claim(dataclasses.replace(CONFIG, epochs=7), "a")
    assert (folder / "saved_models/run1" / ownership.FILE_NAME).exists()


@pytest.mark.parametrize(
    ("there", "here", "reason"),
    [
        ("digits", "mnist", "its run has --dataset=digits (here: mnist)"),
        ("digits", "/data/digits.npy", "its run has --dataset=digits (here: /data/digits.npy)"),
        ("/data/a.npy", "/data/b.npy", None),  # it may be the same file, moved
        ("arrays", "/data/b.npy", None),
    ],
)
def test_of_an_earlier_version_the_data_set_s_name_is_compared(folder, there, here, reason):
    publish(folder, facts={"settings": ownership.described_settings(dataclasses.replace(CONFIG, dataset=there))})
    if reason:
        assert refusal(dataset=here) == reason
    else:
        ownership.require_own(dataclasses.replace(CONFIG, dataset=here), "a")


def test_training_is_refused_at_the_start(folder):
    claim_and_publish(folder)
    before = sorted(folder.rglob("*"))
    images = np.random.default_rng(0).integers(0, 256, (200, 4, 4), dtype=np.uint8)
    with pytest.raises(InputError, match=r"^export_dir=saved_models: must have no other run's models in run1, and "):
        tfvae.fit(Config(run_dir="expB/run1", hidden_units=(8,), epochs=1), images)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_for_real(folder):
    def command(name, *flags):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        line = [sys.executable, "-m", f"tfvae.{name}", *flags]
        return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=120)

    small = ("--dataset=digits", "--epochs=1", "--hidden_units=4", "--eval_samples=1")
    assert command("train", *small, "--run_dir=expA/run1").returncode == 0
    refused = command("train", *small, "--run_dir=expB/run1", "--seed=1")
    assert refused.returncode == 2 and not (folder / "expB").exists()
    assert "and its run has --seed=0 (here: 1); --export_name=NAME exports" in refused.stderr.splitlines()[-1]
    assert command("train", *small, "--run_dir=expB/run1", "--seed=1", "--export_name=b").returncode == 0
    for run_dir, name in ("expA/run1", "run1"), ("expB/run1", "b"):
        exported = command("export", f"--run_dir={run_dir}")
        assert exported.stdout.startswith(f"saved_models/{name}/2: the decoder of step "), exported.stderr
    assert command("export", "--run_dir=expB/run1", "--export_name=auto").returncode == 2
    assert sorted(p.name for p in (folder / "saved_models/run1").iterdir()) == ["1", "2", "run.json"]
