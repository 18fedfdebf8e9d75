"""README's figures are those of the pages that it links to, and its first screen has what a newcomer needs."""

import re

from documents import ROOT

README = (ROOT / "README.md").read_text()


def rows(heading):
    """The cells of the table below a heading of README, without its head."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in table[2:]]


def test_the_figures_beside_the_published_ones_are_those_of_the_results():
    page = (ROOT / "docs" / "results.md").read_text()
    found = rows("How good")
    assert len(found) >= 6
    for _, _, published, ours in found:
        figure = re.match(r"\d+\.\d+ ± \d+\.\d+", ours)[0]
        [line] = [line for line in page.splitlines() if line.startswith("|") and f" {figure}" in line.split("|")[5]]
        assert published in line.split("|")[3]
        assert ("outside" in ours) == ("outside" in line)


def test_the_ratios_of_speed_are_those_that_were_measured():
    page = (ROOT / "docs" / "performance.md").read_text()
    found = rows("How fast")
    assert len(found) == 4
    contenders = (
        "Keras `fit`, custom `train_step`",
        "TensorFlow tutorial's loop",
        "PyTorch",
        "JAX, an epoch in a `lax.scan`",
    )
    for network, *ratios in found:
        section = page.split(f"**{network}")[1].split("\n**")[0]
        for contender, ratio in zip(contenders, ratios):
            measured = re.search(rf"^\| {re.escape(contender)} \| [\d,]+ \| ([\d.]+) ", section, flags=re.MULTILINE)
            assert (measured[1] if measured else "") == ratio, (network, contender)


def test_the_first_screen_has_both_commands_and_the_picture():
    first = "\n".join(README.splitlines()[:30])
    assert "## Run it" in first and "## Test it" in first and "docs/manifold.webp" in first
    assert len(README.splitlines()) < 230
    assert (ROOT / "docs" / "manifold.webp").stat().st_size < 1.5e6
