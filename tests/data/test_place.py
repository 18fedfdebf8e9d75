"""Where a run's images are: what is recorded when they have moved, and what is said of those that are gone."""

import dataclasses

import numpy as np
import pytest

from tfvae.config import Config
from tfvae.config.flagfile import read_config, to_flagfile
from tfvae.data import place, sources
from tfvae.errors import InputError

GREY = np.random.default_rng(0).integers(0, 256, (40, 5, 7), dtype=np.uint8)


@pytest.fixture
def config(tmp_path):
    """Of a run that was made of a file, which is not here."""
    config = Config(
        dataset="/server/x.npy", data_dir="/server/tfds", batch_size=8, validation_examples=4, run_dir=tmp_path / "run"
    )
    config.directory.mkdir()
    (config.directory / "config.flags").write_text(to_flagfile(config))
    return config


def test_a_new_place_is_recorded_and_nothing_else(config):
    moved = dataclasses.replace(config, dataset="/laptop/y.npz", data_dir="/laptop/tfds", eval_samples=3, seed=9)
    assert place.is_new(moved) and not place.is_new(config)
    place.record(moved)
    assert read_config(config.run_dir) == dataclasses.replace(config, dataset=moved.dataset, data_dir=moved.data_dir)
    assert not place.is_new(moved)


def test_it_is_absolute(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved = place.absolute(dataclasses.replace(config, dataset="./y.npy", data_dir="sets"))
    assert (moved.dataset, moved.data_dir) == (str(tmp_path / "y.npy"), str(tmp_path / "sets"))
    named = place.absolute(Config(dataset="mnist"))
    assert (named.dataset, named.data_dir) == ("mnist", None)


@pytest.mark.parametrize(("old", "new"), [("digits", "/laptop/digits.npy"), ("/server/x.npy", "digits")])
def test_a_set_of_a_name_keeps_it(config, old, new):
    """Else the command that has made the run would be refused: it names another set."""
    recorded = dataclasses.replace(config, dataset=old)
    (config.directory / "config.flags").write_text(to_flagfile(recorded))
    place.record(dataclasses.replace(recorded, dataset=new))
    assert read_config(config.run_dir) == recorded


def test_arrays_are_at_no_place(config):
    handed_in = dataclasses.replace(config, dataset="arrays")
    assert not place.is_new(handed_in)
    place.record(handed_in)
    assert read_config(config.run_dir) == config


def test_a_file_that_is_gone_is_asked_for_by_its_flag(config):
    for read in (place.read_early, place.read):
        with pytest.raises(InputError) as caught:
            read(config)
        assert caught.value.for_command_line == (
            f"--dataset=/server/x.npy: must be the images of {config.run_dir}, and there is no such file: name the "
            "images' new place by --dataset"
        )
        assert "hand in the images" in str(caught.value)
    with pytest.raises(InputError, match="/laptop/none.npy: must be a readable"):  # it is what the user has typed
        place.read_early(dataclasses.replace(config, dataset="/laptop/none.npy"))


def test_a_set_that_is_not_here_is_asked_for_without_another_as_a_way_out(config, tmp_path, monkeypatch):
    monkeypatch.setattr(sources.tfds, "why_unreachable", lambda url: "no network: unplugged")
    of_mnist = dataclasses.replace(config, dataset="mnist", data_dir=str(tmp_path))
    (config.directory / "config.flags").write_text(to_flagfile(of_mnist))
    with pytest.raises(
        InputError, match=r"can't be downloaded .*; name the directory that has it by data_dir"
    ) as caught:
        place.read(of_mnist)
    assert "digits" not in str(caught.value)


@pytest.mark.parametrize("count", [10, 11])
def test_too_few_images_are_others_and_no_fault_of_a_recorded_setting(config, tmp_path, count):
    np.save(tmp_path / "few.npy", GREY[:count])
    with pytest.raises(InputError, match=r"few.npy: must be the images that .*run was made with, and these can't be: "):
        place.read_early(dataclasses.replace(config, dataset=str(tmp_path / "few.npy")))
