"""Where the benchmarks write: a part of a page of docs/, between `<!-- PART -->` and `<!-- end -->`."""

import importlib.util
import os
from importlib.metadata import version
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def write(page: str, part: str, text: str, shown: bool = True) -> None:
    """Puts `text` in its place in docs/PAGE.md, and prints it if `shown`."""
    path = DOCS / f"{page}.md"
    before, _, rest = path.read_text().partition(f"<!-- {part} -->\n")
    path.write_text(f"{before}<!-- {part} -->\n{text}\n<!-- end -->{rest.partition('<!-- end -->')[2]}")
    if shown:
        print(text)


def processor() -> str:
    """The processor, and how many cores of it this process may use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return f"{(n := len(os.sched_getaffinity(0)))} core{'s' * (n > 1)} ({cpu})"


def machine() -> str:
    """The processor, and the versions of what is timed."""
    packages = [p for p in ("tensorflow", "keras", "torch", "jax") if importlib.util.find_spec(p)]
    return f"{processor()}, " + ", ".join(f"{p} {version(p)}" for p in packages)
