"""The chunks of an output that is not finished: what goes on with them, and what is refused."""

import shutil

import numpy as np
import pytest

from tfvae.analysis.unfinished import UnfinishedOutput, folder_of, require_free
from tfvae.errors import InputError, RunError

SETTINGS = {"what": "scores", "seed": "0"}


@pytest.fixture
def output(tmp_path):
    folder_of(tmp_path / "x.npz").mkdir()
    return tmp_path / "x.npz"


def started(output, overwrite=False, **settings):
    unfinished = UnfinishedOutput(output, SETTINGS | settings)
    unfinished.start(overwrite)
    return unfinished


def refusal(function, *arguments):
    with pytest.raises(InputError) as caught:
        function(*arguments)
    return caught.value.for_command_line


def test_chunks_come_back(output):
    columns = {"elbo": np.arange(3.0), "mean": np.ones((3, 2), np.float32)}
    started(output).write(7, columns)
    again = started(output)
    assert again.numbers() == {7}
    for name, values in again.read(7).items():
        np.testing.assert_array_equal(values, columns[name])
    assert list(again.read(7, "elbo")) == ["elbo"]
    again.forget()
    assert not folder_of(output).exists()


def test_other_settings_are_named(output):
    started(output).write(0, {"elbo": np.zeros(3)})
    with pytest.raises(InputError) as caught:
        started(output, seed="1", eval_samples="5")
    message = caught.value.for_command_line
    assert "other settings: --seed=1 (there: 0), --eval_samples=5 (there: unset)" in message
    assert started(output).numbers() == {0}
    assert started(output, overwrite=True, seed="1").numbers() == set()
    assert "--seed=0 (there: 1)" in refusal(started, output)


def test_a_damaged_chunk_is_named(output):
    unfinished = started(output)
    unfinished.write(3, {"elbo": np.zeros(3)})
    (folder_of(output) / "3.npz").write_bytes(b"PK")
    with pytest.raises(RunError, match="x.npz.parts/3.npz: must be whole"):
        unfinished.read(3)


def test_an_output_that_is_there_is_refused_unless_it_is_unfinished_or_may_go(tmp_path):
    output = tmp_path / "x.npz"
    require_free(output, overwrite=False)
    output.write_text("there")
    assert "x.npz: must be new, and is there: --overwrite" in refusal(require_free, output, False)
    require_free(output, overwrite=True)
    folder_of(output).mkdir()
    started(output, overwrite=True)
    require_free(output, overwrite=False)


def test_the_file_that_says_what_an_output_is_of_is_not_written_over_either(tmp_path):
    (tmp_path / "out.json").write_text("a user's")
    assert "out.json, which says what it is of, is there: --overwrite" in refusal(require_free, tmp_path / "out", False)
    require_free(tmp_path / "out", overwrite=True)


def test_what_another_process_has_finished_since_is_not_written_over(output):
    output.write_text("the other's")  # it removed its manifest, with the chunks
    assert "must be new, and is there" in refusal(started, output)
    assert not folder_of(output).exists()
    folder_of(output).mkdir()
    (folder_of(output) / "thesis.tex").write_text("a user's")
    assert "other files are there" in refusal(started, output)
    assert (folder_of(output) / "thesis.tex").exists()


def test_a_kill_while_chunks_are_removed_leaves_what_the_same_command_goes_on_with(output, monkeypatch):
    unfinished = started(output)
    unfinished.write(0, {"elbo": np.zeros(3)})
    output.write_text("there")

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            unfinished.forget()
    assert {path.name for path in folder_of(output).iterdir()} == {"manifest.json"}
    require_free(output, overwrite=False)
    assert started(output).numbers() == set()


def test_an_empty_directory_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    require_free(tmp_path / "out", overwrite=False)
    (tmp_path / "out" / "a.txt").write_text("a user's")
    assert "must be new" in refusal(require_free, tmp_path / "out", False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_in_the_place_of_the_chunks_stay(output, overwrite):
    require_free(output, overwrite)  # of a process that was killed before it wrote anything
    (folder_of(output) / "thesis.tex").write_text("a user's")
    assert "other files are there" in refusal(require_free, output, overwrite)
