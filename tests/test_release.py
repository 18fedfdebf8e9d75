"""A release has its entry in the changelog, the lock file every dependency, and the containers what they copy."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHANGELOG = """# Changelog

## [Unreleased]

- Later.

## [1.10.0] - 2026-02-03

### Added

- A thing.

## [1.1.0] - 2026-01-02

## [1.0.0] - soon

- No date.
"""


@pytest.fixture
def release_notes(tmp_path):
    path = tmp_path / "CHANGELOG.md"
    path.write_text(CHANGELOG)
    command = [sys.executable, str(ROOT / ".ci/release_notes")]
    return lambda version: subprocess.run([*command, version, path], capture_output=True, text=True, timeout=60)


def test_the_notes_of_a_release_are_its_entry(release_notes):
    done = release_notes("1.10.0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "### Added\n\n- A thing.\n", "")


@pytest.mark.parametrize("version", ["1.1.0", "1.0.0", "2.0.0", "1.10", "Unreleased", "1.1.0] - 2026-01-02|[1"])
def test_a_version_without_an_entry_with_a_date_and_text_is_refused(release_notes, version):
    done = release_notes(version)
    assert (done.returncode, done.stdout) == (1, "") and f"'## [{version}] - YYYY-MM-DD' with text" in done.stderr


def test_the_changelog_says_what_is_not_released_yet():
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()


def test_each_dependency_is_in_the_lock_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"].copy()
    for name in ("serve", "onnx", "tables", "docs", "dev"):
        wanted += extras[name]
    names = {re.match(r"[\w-]+", line)[0] for line in wanted} - {"tfvae"}
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements-dev.lock").read_text(), re.M))
    assert len(names) > 20 and names <= locked, names - locked


def test_what_the_containers_copy_is_in_their_context():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in ignored:
        if line.startswith("!"):
            assert (ROOT / line[1:]).exists(), line
    needed = {"tfvae", "pyproject.toml", "README.md", "LICENSE", "requirements-dev.lock"}
    assert needed == {line[1:] for line in ignored if line.startswith("!")}
