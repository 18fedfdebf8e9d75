"""The notebooks in docs/: they run as they are, what they show is what they compute, and their links lead somewhere."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("notebooks", Path(__file__).parents[1] / "benchmarks" / "notebooks.py")
notebooks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(notebooks)
DOCS, NAMES, read, digest = notebooks.DOCS, notebooks.NAMES, notebooks.read, notebooks.digest

MOST_BYTES = 1_500_000
_NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
# Of a training, lines that come by the clock, or tell speeds.
_BY_THE_CLOCK = re.compile(r"^(epoch \d|training will take)")


@pytest.fixture(params=NAMES)
def notebook(request):
    return read(request.param)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(cell, kind):
    return [output for output in cell.outputs if output.output_type == kind]


def pictures(cell):
    shown = outputs(cell, "display_data") + outputs(cell, "execute_result")
    return [name for output in shown for name in output.data if name.startswith("image/")]


def printed(cell):
    """What a cell prints, line by line, but for what depends on the clock."""
    text = "".join(output.text for output in outputs(cell, "stream"))
    return [line for line in text.splitlines() if line.strip() and not _BY_THE_CLOCK.match(line)]


@pytest.mark.parametrize("name", NAMES)
def test_they_are_small_and_know_nothing_of_the_machine(name):
    text = (DOCS / f"{name}.ipynb").read_text()
    assert len(text.encode()) < MOST_BYTES
    assert not re.findall(r"/(?:work|tmp|home|root|Users)/[\w.-]+", text)
    metadata = json.loads(text)["metadata"]
    assert set(metadata) == {"kernelspec", "language_info", "executed"}
    assert metadata["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert metadata["language_info"] == {"name": "python"}


def test_their_outputs_are_of_their_cells(notebook):
    """A cell that was changed must be executed anew, by `python -m benchmarks.notebooks`."""
    assert notebook.metadata.executed == digest(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not outputs(cell, "error")
        assert [output.name for output in outputs(cell, "stream") if output.name != "stdout"] == []
        assert cell.metadata == {}


def test_a_changed_cell_is_noticed(notebook):
    before = digest(notebook)
    code_cells(notebook)[-1].source += "\n"
    assert digest(notebook) != before


def test_the_first_cell_installs_what_is_missing(notebook):
    first = code_cells(notebook)[0].source
    assert re.search(r'find_spec\("tfvae"\) is None.*\n    %pip install -q "?tfvae', first)
    assert any("%tensorboard" in cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_their_links_lead_to_files_and_to_functions_that_are_there(notebook):
    links = [link for cell in notebook.cells for link in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", cell.source)]
    assert links
    for text, target in links:
        if target.startswith("https://"):
            continue
        assert (DOCS / target).is_file(), target
        named = re.fullmatch(r"`([\w.]+)`", text)
        if named:
            assert named[1] in definitions(DOCS / target), f"{text} in {target}"


def definitions(path):
    """The names of a module's functions and classes, and `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


OFFLINE = """
import socket

_connect = socket.socket.connect


def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"{address}: this test has no network")
    return _connect(self, address)


socket.socket.connect = connect
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_they_run_and_show_what_is_kept(name, tmp_path, monkeypatch):
    """In an empty directory, with an empty home, without a network and without data of TFDS."""
    (tmp_path / "offline").mkdir()
    (tmp_path / "offline/sitecustomize.py").write_text(OFFLINE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'offline'}:{DOCS.parent}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFVAE_CACHE", "")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    for folder in ("home", "work"):
        (tmp_path / folder).mkdir()
    kept, now = read(name), notebooks.executed(read(name), tmp_path / "work")
    for kept_cell, cell in zip(code_cells(kept), code_cells(now), strict=True):
        assert pictures(cell) == pictures(kept_cell)
        assert [output.text for output in outputs(cell, "stream") if output.name != "stdout"] == []  # no warnings
        lines, kept_lines = printed(cell), printed(kept_cell)
        assert [re.sub(_NUMBER, "#", line) for line in lines] == [re.sub(_NUMBER, "#", line) for line in kept_lines]
        for line, kept_line in zip(lines, kept_lines):
            # other processors round otherwise, and a training makes more of it
            assert numbers(line) == pytest.approx(numbers(kept_line), rel=0.1, abs=0.1), (line, kept_line)


def numbers(line):
    return [float(number.replace(",", "")) for number in re.findall(_NUMBER, line)]
