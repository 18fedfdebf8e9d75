"""What `tfvae completion` prints, in a real bash."""

import subprocess

import pytest

from tfvae import completion
from tfvae.config.config import FIELDS

pytestmark = pytest.mark.usefixtures("same_signal_handlers")


def completed(*words):
    """What bash offers for the last of the words, which are those of COMP_WORDS: bash cuts at `=`, zsh does not."""
    line = " ".join(f"'{word}'" for word in words)
    asked = f'{completion.script()}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _tfvae; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("tfvae", "tr"), ["train"]),
        (("tfvae", "e"), ["evaluate", "explore", "export"]),
        (("tfvae", "train", "--lat"), ["--latent_dim="]),
        (("tfvae", "train", "--dry"), ["--dry_run"]),
        (("tfvae", "train", "--network", "="), ["mlp", "conv", "resnet"]),
        (("tfvae", "train", "--network", "=", "c"), ["conv"]),
        (("tfvae", "train", "--network=c"), ["--network=conv"]),
        (("tfvae", "apply", "--what=imp"), ["--what=impute"]),
        (("tfvae", "serve", "--ma"), ["--max_body_mb=", "--max_rows=", "--max_concurrency="]),
        (("tfvae", "evaluate", "--verb"), ["--verbosity="]),
    ],
)
def test_what_bash_offers(words, offered):
    assert completed(*words) == offered


def test_every_setting_is_offered():
    assert {f"--{name}" for name in FIELDS} <= {word.rstrip("=") for word in completed("tfvae", "train", "--")}


def test_files_are_offered_where_a_value_is_no_name(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert completed("tfvae", "train", "--dataset", "=", "ph") == ["photos"]


@pytest.mark.parametrize(("arguments", "said"), [([], "no shell"), (["fish"], "fish"), (["bash", "zsh"], "bash zsh")])
def test_what_is_no_shell_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        completion.run(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"tfvae.completion: {said}: must be bash or zsh: tfvae completion bash\n"
