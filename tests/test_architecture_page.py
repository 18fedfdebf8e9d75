"""docs/architecture.md is of the package as it is: every module has its place, and the picture its arrows."""

import re
from pathlib import Path

import pytest
from house import WINGS, commands_of, modules_of
from house_picture import BOXES, COMMANDS, PICTURE, ROOT, edges_of, picture

PAGE = (ROOT / "docs" / "architecture.md").read_text()
MODULES = modules_of(ROOT / "tfvae")


def section(heading):
    """The text below a heading of the third level."""
    return PAGE.partition(f"\n### {heading}")[2].partition("\n##")[0]


def modules_in(folder):
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("wing", sorted(WINGS))
def test_every_module_of_a_wing_is_named_in_its_list(wing):
    named = set(re.findall(r"`(\w+)`", section(f"{wing}: ")))
    missing = modules_in(ROOT / "tfvae" / wing) - named
    assert not missing, f"docs/architecture.md, {wing}: say what these are for: {', '.join(sorted(missing))}"


def test_every_module_at_the_top_is_named_there():
    missing = modules_in(ROOT / "tfvae") - set(re.findall(r"`(\w+)`", section("At the top")))
    assert not missing, f"docs/architecture.md, At the top: say what these are for: {', '.join(sorted(missing))}"


def test_every_function_that_a_stop_names_is_in_its_file():
    """`training/step.py: TrainStep.batch`, in the page, is a class or a function of that file."""
    stops = re.findall(r"`([\w/]+\.py): ([\w.]+)`", PAGE)
    assert len(stops) > 15
    files = {str(path.relative_to(ROOT / "tfvae")): path.read_text() for path in (ROOT / "tfvae").rglob("*.py")}
    for path, name in stops:
        [text] = [text for file, text in files.items() if file == path or Path(file).name == path]
        for part in name.split("."):
            assert re.search(rf"^\s*(def|class) {part}\b", text, re.MULTILINE), f"{path}: {name}"


def test_the_picture_is_of_the_code_of_today():
    assert PICTURE.read_text() == picture(MODULES), "python tests/house_picture.py draws it anew"
    named = " · ".join(BOXES[COMMANDS].lines[1:])
    assert set(re.findall(r"\w+", named.partition(":")[0])) == commands_of(MODULES)


def test_an_import_that_others_imply_has_no_arrow():
    edges = edges_of(MODULES)
    assert edges["training"] == {"data"} and "core" in edges["data"] and edges["errors"] == set()
