"""Every command and every block of Python of README.md and docs/*.md runs, from the text itself, in the page's order.

To be quick, `train`, `launch` and `grid` get `--epochs=1 --eval_samples=5` at their end (25 epochs with
`--profile_steps`), and `evaluate`, `explore` and `apply` of scores and missing values `--eval_samples=5`; a free port
takes the place of 8501. Nothing else is changed. What is not run has its reason in `running.NOT_RUN`;
`pytest -s -k nothing_is_left_out` lists it.
"""

import os
import re
import subprocess
import tomllib
import traceback

import pytest
from documents import ROOT, Piece, UnknownFence, pages, parse, pieces
from running import Page, UnknownCommand, extras, flags_of, quick, way
from workshop import Workshop, make_store

from tfvae.config.commands import COMMANDS

PAGES = pages()
SLOW = ("README.md",)  # these pages are run in the slow tier, whose minutes are few, the others nightly
ALL = [piece for page in PAGES for piece in pieces(page)]
FOREIGN_FLAGS = {"ntasks-per-node", "signal", "requeue", "name"}  # that pages name: of SLURM; `--name` stands for any
ASSUMED_NAMES = {  # of a page's Python, which the reader has from elsewhere
    "docs/anomalies.md": """
import tfvae
from sklearn.datasets import load_digits
run = tfvae.load("runs/digits")
images, labels = load_digits().images / 16, load_digits().target == 9
""",
}
CHECKS = {  # of the names that a page's Python has made
    "README.md": """
assert run.encode(images).mean.shape == (1797, 2) and run.vae.name == "vae"
""",
    "docs/python.md": """
assert latents.mean.shape == (1797, 2) and scores.log_px_monte_carlo_error.shape == (1797,)
assert p.log_prob(q.sample(seed=0)[0, 0] * 0 + images[:8, ..., None] / 255).shape == (8,)
assert vae.optimizer.iterations > 0
""",
}
ALL_FLAGS = FOREIGN_FLAGS.union(*map(flags_of, COMMANDS))


def in_its_tier(page):
    return pytest.param(page, marks=pytest.mark.slow if page in SLOW else pytest.mark.nightly)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    make_store(folder)
    return folder


@pytest.mark.parametrize("page", [in_its_tier(page) for page in PAGES if pieces(page)])
@pytest.mark.filterwarnings("default")
def test_the_page_runs(page, store, tmp_path, monkeypatch, same_signal_handlers):
    monkeypatch.setenv("TFDS_DATA_DIR", str(store / "tfds"))
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(store / "tfds"))  # as read at the import
    monkeypatch.delenv("TF_CONFIG", raising=False)
    workshop = Workshop(tmp_path / "work", store)
    monkeypatch.chdir(workshop.folder)
    running = Page(workshop)
    assumed = ASSUMED_NAMES.get(page, "")
    workshop.provide(assumed, made=None)
    exec(assumed, running.names)
    failed = []
    try:
        for piece in pieces(page):
            print(f"{piece.place}: {piece.text}", flush=True)
            try:
                running.run(piece)
            except Exception:
                traceback.print_exc()
                failed.append(f"{piece.place}: {piece.text}")
        exec(CHECKS.get(page, ""), running.names)
    finally:
        running.close()
    assert not failed, "\n".join(failed)


def test_nothing_is_left_out():
    """Each piece has a way to be run, or a reason why it is not."""
    for piece in ALL:
        how, reason = way(piece)
        assert bool(how) != bool(reason)
        if reason:
            print(f"{piece.place}: {piece.text}\n    not run: {reason}")


@pytest.mark.parametrize("page", PAGES)
def test_the_flags_that_the_page_names_are_there(page):
    """Of each command its own, complete or not; of flags that stand alone some command's."""
    for piece in pieces(page):
        named = re.findall(r"(?<![\w-])--(\w[\w-]*)", piece.text)
        command = re.search(r"(?:-m tfvae\.|^tfvae )([a-z]+)", piece.text)
        if command and piece.language != "python":
            known = flags_of(command[1]) | (flags_of("train") if command[1] in ("launch", "grid") else set())
        elif piece.language == "inline" and piece.text.startswith("--"):
            known = ALL_FLAGS
        else:
            continue
        unknown = [name for name in named if name not in known and name.removeprefix("no") not in known]
        assert not unknown, f"{piece.place}: {piece.text}: no such flag: {', '.join(unknown)}"


def test_the_files_of_programs_that_are_not_run_are_there():
    for piece in ALL:
        for name in re.findall(r"python3? -m benchmarks\.(\w+)", piece.text):
            assert (ROOT / "benchmarks" / f"{name}.py").is_file(), f"{piece.place}: {piece.text}"
        for path in re.findall(r"\b(?:benchmarks|tests|serving)/[\w/]+\.\w+", piece.text):
            assert (ROOT / path).is_file(), f"{piece.place}: {piece.text}"


def test_the_extras_that_pip_is_told_to_install_are_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [Piece(page, 0, "text", (ROOT / page).read_text()) for page in PAGES]
    named = list(extras(iter(texts)))
    assert {name for _, name in named} >= {"dev"}
    for piece, name in named:
        assert name in project["optional-dependencies"], f"{piece.page}: {name}"


@pytest.mark.nightly
def test_the_two_commands_at_the_top_work_in_a_clean_clone(tmp_path):
    """README's `## Run it` and `## Test it`, with an empty home and nothing of this environment."""
    checkout = tmp_path / "tfvae"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    kept |= {name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
    environment = {**kept, "HOME": str(tmp_path / "home"), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    text = (checkout / "README.md").read_text()
    for heading in ("## Run it", "## Test it"):
        command = re.search(rf"^{heading}\n.*?^(python3 -m venv .*?)$", text, flags=re.DOTALL | re.MULTILINE)[1]
        done = subprocess.run(
            ["bash", "-c", command], cwd=checkout, env=environment, capture_output=True, text=True, timeout=3600
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    [run_dir] = (checkout / "runs").iterdir()
    assert (run_dir / "results.json").is_file() and list((run_dir / "figures").glob("*.png"))


def test_pieces_are_found_in_the_order_of_the_page():
    text = """# A page

Type `python -m tfvae.evaluate --run_dir=runs/NAME [--baselines]`, or
`python -m tfvae.train
--latent_dim=2`.

```sh
# a comment
cd x && python -m tfvae.train --dataset=./photos \\
  --epochs=3  # more
tensorboard --logdir=runs &
```

```console
$ python -m tfvae.nothing
```

| `--beta=4` | `beta` |

```python
x = 1

y = 2
```
"""
    found = pieces("p.md", text)
    assert [(piece.line, piece.language, piece.text) for piece in found] == [
        (3, "inline", "python -m tfvae.evaluate --run_dir=runs/NAME [--baselines]"),
        (4, "inline", "python -m tfvae.train --latent_dim=2"),
        (9, "sh", "cd x"),
        (9, "sh", "python -m tfvae.train --dataset=./photos --epochs=3"),
        (11, "sh", "tensorboard --logdir=runs &"),
        (18, "inline", "--beta=4"),
        (21, "python", "x = 1\n\ny = 2\n"),
    ]
    assert [piece.is_complete for piece in found] == [False] + [True] * 6


def test_what_the_tests_do_not_know_is_an_error():
    with pytest.raises(UnknownFence, match="p.md:1: ```fortran"):
        pieces("p.md", "```fortran\n```\n")
    with pytest.raises(UnknownCommand, match="p.md:2: frobnicate --all"):
        way(*pieces("p.md", "```sh\nfrobnicate --all\n```\n"))
    with pytest.raises(UnknownCommand, match="tfvae.trian"):
        flags_of("trian")


def test_what_is_added_makes_a_command_quick_and_nothing_else():
    assert quick("train", ["--latent_dim=2"]) == ["--latent_dim=2", "--epochs=1", "--eval_samples=5"]
    assert quick("train", ["--help"]) == ["--help"]
    assert quick("train", ["--profile_steps=200,210"])[1:] == ["--epochs=25", "--eval_samples=5"]
    assert quick("launch", ["--workers=2"]) == ["--workers=2", "--", "--epochs=1", "--eval_samples=5"]
    assert quick("apply", ["--what=scores"]) == ["--what=scores", "--eval_samples=5"]
    assert quick("apply", ["--what=latents"]) == ["--what=latents"]
    assert parse("A=1 tfvae train --x='a b' &") == ({"A": "1"}, ["tfvae", "train", "--x=a b"])
