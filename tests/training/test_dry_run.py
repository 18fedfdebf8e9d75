"""--dry_run: what it tells is what a run then has, and nothing is written."""

import json
import os
import re

import numpy as np
import pytest
from runs import train

import tfvae
from tfvae import run
from tfvae import train as command
from tfvae.errors import InputError
from tfvae.training import checkpoints

SMALL = {"dataset": "digits", "hidden_units": (16,), "eval_samples": 5, "epochs": 4}


@pytest.fixture
def quick(monkeypatch):
    """No time is spent on measuring more than one call of steps."""
    from tfvae.training import dry_run

    monkeypatch.setattr(dry_run, "_MEASURED_SECONDS", 0.0)


def test_it_tells_what_a_run_then_has(tmp_path, cheap_runs, quick, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {**SMALL, "prior": "mixture", "validate_every": 3}
    run.dry_run(tfvae.Config(**settings, run_dir=str(tmp_path / "run"), export_dir=str(tmp_path / "export")))
    told = capsys.readouterr().out
    assert os.listdir(tmp_path) == []
    results = train(tmp_path, **settings)
    variables = tfvae.load(tmp_path / "run").vae.variables
    total = sum(int(np.prod(variable.shape)) for variable in variables)
    assert re.search(r"in all +([\d,]+)", told)[1] == f"{total:,}"
    listed = [
        int(number.replace(",", "")) for number in re.findall(r"^  (?!in all)\S+ +([\d,]+)  ", told, re.MULTILINE)
    ]
    assert sum(listed) == total
    assert f"steps: {results['train']['steps']}: 4 epochs of 11 steps of 128 images; 2 validations of 180" in told
    assert "digits; 1,437 train, 180 validation, 180 test images of 8x8x1" in told and "ms a step" in told


def test_without_validation_images_it_says_so(tmp_path, cheap_runs, quick, capsys):
    settings = {**SMALL, "validation_examples": 0}
    run.dry_run(tfvae.Config(**settings, run_dir=str(tmp_path / "run"), export_dir=str(tmp_path / "export")))
    assert "of 128 images; no validations\n" in capsys.readouterr().out


def test_of_a_run_that_has_begun_it_tells_what_is_done(tmp_path, cheap_runs, quick, capsys):
    train(tmp_path, **SMALL)
    config = tfvae.Config(**SMALL, run_dir=str(tmp_path / "run"), export_dir=str(tmp_path / "export")).as_usual()
    before = json.loads((tmp_path / "run" / "results.json").read_text())
    capsys.readouterr()
    run.dry_run(config)
    assert "is finished: nothing is left to do" in capsys.readouterr().out
    longer = {**SMALL, "epochs": 9}
    run.dry_run(tfvae.Config(**longer, run_dir=config.run_dir, export_dir=config.export_dir))
    assert "steps: 99: 9 epochs of 11 steps of 128 images; 9 validations of 180; 44 of them are done" in (
        capsys.readouterr().out
    )
    assert checkpoints.steps(tmp_path / "run")[-1] == 44
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == before


def test_it_refuses_what_training_would(tmp_path, quick):
    with pytest.raises(InputError, match="batch_size=2000: must be at most the 1,437 training images"):
        run.dry_run(tfvae.Config(**SMALL, batch_size=2000, run_dir=str(tmp_path / "run")))
    assert os.listdir(tmp_path) == []


def test_several_workers_are_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    with pytest.raises(InputError, match="dry_run=true: must be false where TF_CONFIG names several workers"):
        command.main({"dry_run": True, "dataset": "digits"})
