"""Where `tfvae.apply` may not write: over files of the run, and over what it reads."""

import pytest

from tfvae.config.application import Request
from tfvae.config.config import Config
from tfvae.errors import InputError


def refusal(output, config, **request):
    with pytest.raises(InputError) as caught:
        Request(str(output), **{"overwrite": True, **request}).check(config)
    message = caught.value.for_command_line
    assert message.startswith(f"--output={output}: ")
    return message


@pytest.fixture
def config(tmp_path):
    (tmp_path / "photos").mkdir()
    return Config(dataset=str(tmp_path / "photos"), run_dir=str(tmp_path / "run"))


@pytest.mark.parametrize(
    "output", ["history.csv", "results/", "network/", "checkpoints/", "checkpoints/5/x.npz", "tensorboard/"]
)
def test_a_file_of_the_run_stays_its_own(config, tmp_path, output):
    what = "samples" if output.endswith("/") else "latents"
    message = refusal(f"{tmp_path}/run/{output}", config, what=what)
    # beside a directory `<output>.json` is written
    name = {"results/": "results.json", "network/": "network.json"}.get(output, output.split("/")[0])
    assert message.endswith(f"must not be among the run's own files, as {tmp_path}/run/{name} is")


def test_the_run_s_directory_itself_is_no_output(config, tmp_path):
    assert "must not be the run's own directory" in refusal(f"{tmp_path}/run/", config, what="samples")


def test_beside_them_is_room(config, tmp_path):
    Request(f"{tmp_path}/run/latents.npz").check(config)
    Request(f"{tmp_path}/run/samples/", what="samples").check(config)


def test_a_file_is_not_written_over_while_it_is_read(tmp_path):
    config = Config(dataset=str(tmp_path / "x.npz"), run_dir=str(tmp_path / "run"))
    (tmp_path / "link.npz").symlink_to(tmp_path / "x.npz")
    for name in ("x.npz", "link.npz"):
        assert "must be another file than --dataset=" in refusal(tmp_path / name, config)


def test_a_folder_of_images_gets_no_others(config, tmp_path):
    for output in (f"{tmp_path}/photos/", f"{tmp_path}/photos/rebuilt/", f"{tmp_path}/photos/grid.png"):
        message = refusal(output, config, what="reconstructions")
        assert "must not be in the folder of --dataset=" in message and "images would then be others" in message
    Request(f"{tmp_path}/photos/latents.npz").check(config)


def test_an_output_has_a_name(config):
    assert "must have a name" in refusal("/", config, what="samples")


def test_a_name_is_read_as_paths_are(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert Request("..").path == tmp_path
    assert Request("~nobody-here/x.npz").path == tmp_path / "below" / "~nobody-here" / "x.npz"
