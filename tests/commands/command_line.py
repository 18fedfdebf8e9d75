"""Runs a command as a user would, in this process, and looks at what it says and leaves."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIGITS = "--dataset=digits"
LONG = "a" * 300  # longer than a file's name may be


def tree(folder):
    """Everything below a folder: names, contents, and when it was changed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, None if path.is_dir() else path.read_bytes())
        for path in folder.rglob("*")
    }


def run(monkeypatch, capsys, command, args):
    """Runs a command in this process, as `python -m` would; returns its exit status and what it wrote on stderr."""
    monkeypatch.setattr(sys, "argv", [f"tfvae.{command}", *args])
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "tfvae" / f"{command}.py"), run_name="__main__")
    return caught.value.code, capsys.readouterr().err


def assert_one_clear_line(error, command, part):
    lines = error.splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith(f"tfvae.{command}: ")
    assert part in lines[0]
    for mess in ("Traceback", "ERROR", "Error(", ": ('--"):
        assert mess not in lines[0]
