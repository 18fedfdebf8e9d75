"""What mkdocs calls while it builds the site: `mkdocs.yml` names this file.

- Pages link to files of the repository that are no pages, as `../flags/mnist_2d.flags`. The site has copies of these,
  so that a link works on a forge and in the site alike, wherever either of them is.
- Notebooks have equations in TeX. They become MathML, which browsers draw themselves: no script, no network.
- The settings of the API's page are read off `Config`, which needs no TensorFlow.
"""

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parent.parent
_COPIES = "files"  # where the site has what lies outside docs/
_LINK = re.compile(r"\]\(((?:\.\./|results/)[^)#\s]+)")
_HTML_LINK = re.compile(r'href="(\.\./[^"#]+)[^"]*"')
_NO_TEXT = re.compile(r"(<(pre|code|script|style|svg)\b.*?</\2>)", re.DOTALL)  # in which a dollar is a dollar
_TEX = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
_SETTINGS = "<!-- settings -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files that pages link to and that are no pages."""
    docs = Path(config.docs_dir)
    pages = [*docs.glob("*.md"), *docs.glob("*.ipynb")]
    for path in sorted({path for page in pages for path in _linked_files(docs, page.read_text())}):
        files.append(File.generated(config, _copy(path), content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to such files into links to their copies, and writes the settings where a page asks for them."""
    docs = Path(config.docs_dir)
    for link in set(_LINK.findall(markdown)):
        path = (docs / link).resolve()
        if path.is_file():
            markdown = markdown.replace(f"]({link}", f"]({_copy(path)}")
    return markdown.replace(_SETTINGS, _settings()) if _SETTINGS in markdown else markdown


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Of a notebook, which has no Markdown for mkdocs: the same links, and its equations."""
    if not page.file.src_uri.endswith(".ipynb"):
        return content
    docs = Path(config.docs_dir)
    content = _HTML_LINK.sub(lambda match: f'href="{_copy((docs / match[1]).resolve())}"', content)
    parts = _NO_TEXT.split(content)  # text, what is none, the name of its element, text, ...
    texts = [_TEX.sub(_mathml, text) for text in parts[::3]]
    others = [*parts[1::3], ""]
    return "".join(text + other for text, other in zip(texts, others))


def _linked_files(docs: Path, text: str) -> list[Path]:
    paths = [(docs / link).resolve() for link in _LINK.findall(text)]
    return [path for path in paths if path.is_file()]


def _copy(path: Path) -> str:
    """Where the site has this file."""
    return f"{_COPIES}/{path.relative_to(_ROOT)}"


def _mathml(match: re.Match) -> str:
    """An equation, on a line of its own where its TeX is between two dollars."""
    display = "inline" if match[1] is None else "block"
    return convert(html.unescape(match[1] or match[2]), display=display)


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
