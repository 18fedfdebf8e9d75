"""README and the pages of docs/: each is in the site's navigation, and each link leads to something that is there."""

import re
from pathlib import Path

import pytest

from tfvae.config.commands import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]+)?\)")


def headings(page):
    """The anchors of a page's headings, as a forge and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page):
    """The links of a page to files of the repository: (path, anchor)."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return [(path, anchor) for path, anchor in LINK.findall(text) if "://" not in path]


def test_every_page_is_in_the_navigation():
    named = re.findall(r"(\w+\.(?:md|ipynb))$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [path.name for path in DOCS.iterdir() if path.suffix in (".md", ".ipynb")]
    assert sorted(named) == sorted(pages)


def test_the_first_page_lists_every_command_and_leads_to_every_page_but_those_for_developers():
    page = DOCS / "index.md"
    assert [name for name in COMMANDS if f"| `tfvae {name}` |" not in page.read_text()] == []
    linked = {path for path, _ in links(page)}
    pages = {path.name for path in DOCS.iterdir() if path.suffix in (".md", ".ipynb")}
    assert pages - linked <= {"index.md", "testing.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for path, anchor in links(page):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {path}"
        if anchor and target.suffix == ".md":
            assert anchor in headings(target), f"{page.name}: {path}{anchor}"
