"""What mkdocs calls while it builds the site: `mkdocs.yml` names this file.

Pages link to files of the repository that are no pages, as `../flags/mnist_2d.flags`. The site has copies of these, so
that a link works on a forge and in the site alike, wherever either of them is. The settings of the API's page are read
off `Config`, which needs no TensorFlow.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parent.parent
_COPIES = "files"  # where the site has what lies outside docs/
_LINK = re.compile(r"\]\(((?:\.\./|results/)[^)#\s]+)")
_SETTINGS = "<!-- settings -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files that pages link to and that are no pages."""
    docs = Path(config.docs_dir)
    for path in sorted({path for page in docs.glob("*.md") for path in _linked_files(docs, page.read_text())}):
        uri = f"{_COPIES}/{path.relative_to(_ROOT)}"
        files.append(File.generated(config, uri, content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to such files into links to their copies, and writes the settings where a page asks for them."""
    docs = Path(config.docs_dir)
    for link in set(_LINK.findall(markdown)):
        path = (docs / link).resolve()
        if path.is_file():
            markdown = markdown.replace(f"]({link}", f"]({_COPIES}/{path.relative_to(_ROOT)}")
    return markdown.replace(_SETTINGS, _settings()) if _SETTINGS in markdown else markdown


def _linked_files(docs: Path, markdown: str) -> list[Path]:
    paths = [(docs / link).resolve() for link in _LINK.findall(markdown)]
    return [path for path in paths if path.is_file()]


def _settings() -> str:
    """A table of each subject's settings, as `tfvae.train --help` groups them."""
    from tfvae.config.config import FIELDS
    from tfvae.config.help_page import SUBJECTS

    lines: list[str] = []
    for subject, names in SUBJECTS.items():
        lines += [
            "",
            f"### {subject.capitalize()}",
            "",
            "| setting | default | what it is | allowed |",
            "| --- | --- | --- | --- |",
        ]
        lines += [_row(name, FIELDS[name]) for name in names]
    return "\n".join(lines)


def _row(name: str, field: Any) -> str:
    kind = field.metadata["kind"]
    cells = (f"`{name}`", f"`{field.default!r}`", field.metadata["help"], kind.words_in_python())
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
