"""The commands and the code of README.md and docs/*.md, read from their text.

What a page shows in a fence of `sh` or `python` runs; what it shows in one of `console`, `text`, `json`, `diff` and so
on does not. A command in the running text or in a table, in backquotes, runs where it is complete; one with `…`, `[`,
`|` or a word such as FILE that stands for another is a shape, of which the flags alone are checked.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
RUNS = ("sh", "python")  # the languages of fences that run
SHOWN = ("console", "text", "json", "diff", "yaml", "toml", "bibtex", "mermaid", "")
_STANDS_FOR_OTHERS = re.compile(r"…|\.\.\.|[\[\]<>{}|]|\b(?:FILE|DIR|RUN|RUN_DIR|OTHER|COMMAND|MASK|VALUE|N|K|X)\b")
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)


class Piece(NamedTuple):
    """A command of a shell, or a block of Python."""

    page: str  # relative to the checkout
    line: int
    language: str  # of its fence, `sh` or `python`; `inline` of what stands in backquotes
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_complete(self) -> bool:
        return self.language != "inline" or not _STANDS_FOR_OTHERS.search(self.text)


class UnknownFence(ValueError):
    """A fence whose language the tests do not know: neither run nor only shown."""


def pages() -> list[str]:
    """README.md and the pages of docs/, relative to the checkout."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def pieces(page: str, text: str | None = None) -> list[Piece]:
    """The commands and the code of a page, in its order; of `sh` one piece a command. Raises UnknownFence."""
    lines = (text if text is not None else (ROOT / page).read_text()).splitlines()
    found: list[Piece] = []
    prose: list[str] = []  # the page without its fences, which keeps its lines' numbers
    fence, start = None, 0
    for number, line in enumerate(lines, 1):
        if fence is None and (opened := re.match(r"\s*```\s*(\S*)", line)):
            fence, start = opened[1].lower(), number
            if fence not in RUNS + SHOWN:
                raise UnknownFence(f"{page}:{number}: ```{fence} must be one of {', '.join(RUNS + SHOWN)}")
            prose.append("")
        elif fence is not None and line.strip() == "```":
            found += _of_fence(page, start, fence, lines[start : number - 1])
            fence = None
            prose.append("")
        else:
            prose.append("" if fence is not None else line)
    return sorted(found + _inline(page, prose), key=lambda piece: piece.line)


def _of_fence(page: str, start: int, language: str, lines: list[str]) -> list[Piece]:
    if language == "python":
        return [Piece(page, start + 1, language, "\n".join(lines) + "\n")]
    if language == "sh":
        return [Piece(page, start + at, "sh", text) for at, text in _commands(lines)]
    return []


def _commands(lines: list[str]) -> list[tuple[int, str]]:
    """(line from 1 on, command) of a shell's lines: those that end in a backslash are joined, `a && b` are two."""
    found, joined, first = [], "", 0
    for number, line in enumerate(lines, 1):
        first = first if joined else number
        joined += line.strip()
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        found += [(first, command) for part in joined.split("&&") if (command := _without_comment(part))]
        joined = ""
    return found


def _without_comment(command: str) -> str:
    return re.sub(r"(^|\s)#.*", "", command).strip()


def _inline(page: str, prose: list[str]) -> list[Piece]:
    """What stands in backquotes and is a command of this package, or a flag or several."""
    whole = "\n".join(prose)
    found = []
    for span in _INLINE.finditer(whole):
        text = " ".join(span[2].replace("\\|", "|").split())
        if re.match(r"((\.venv/bin/)?python3? -m (tfvae|benchmarks)\b|tfvae [a-z]|eval |--\w)", text):
            found.append(Piece(page, whole.count("\n", 0, span.start()) + 1, "inline", text))
    return found


class Command(NamedTuple):
    """A command of a shell in its words: the variables that it sets, and a program with its arguments."""

    variables: dict[str, str]
    words: list[str]

    @property
    def tfvae(self) -> tuple[str, list[str]] | None:
        """(command of tfvae, its arguments): of `python -m tfvae.train …` and of `tfvae train …`; None of others."""
        words = self.words
        if words[:1] == ["tfvae"] and len(words) > 1 and not words[1].startswith("-"):
            return words[1], words[2:]
        if is_python(words) and words[1:2] == ["-m"] and words[2].startswith("tfvae."):
            return words[2].removeprefix("tfvae."), words[3:]
        return None


def is_python(words: list[str]) -> bool:
    return words[:1] in (["python"], ["python3"], [".venv/bin/python"])


def parse(text: str) -> Command:
    """Raises ValueError: its quotes do not match."""
    words = shlex.split(text)
    if words[-1:] == ["&"]:
        words = words[:-1]
    variables = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return Command(variables, words)
