"""Draws docs/architecture.svg: the floors of the package, and which part imports which, read off the code.

python tests/house_picture.py writes it; `test_architecture_page.py` compares what is there with the code of today.
"""

import html
from pathlib import Path
from typing import NamedTuple

from house import commands_of, imports_of, is_ours, modules_of, part_of, reach

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, HEIGHT = 1040, 850


class Box(NamedTuple):
    """A part of the picture, and the lines in it."""

    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]

    @property
    def middle(self):
        return self.x + self.width // 2


COMMANDS, FRONT, RUN = "the commands", "Python's door", "the run"
GROUPS = {  # files at the top that are drawn together
    FRONT: {"tfvae", "front_door"},
    RUN: {"run", "trained", "applied", "scores"},
}
BOXES = {
    COMMANDS: Box(
        270,
        58,
        440,
        70,
        (
            "commands",
            "train · launch · grid · compare · evaluate · apply",
            "explore · export · serve · completion: read flags, call, print",
        ),
    ),
    FRONT: Box(730, 58, 270, 70, ("__init__ · front_door", "Config, fit, load, Run")),
    "flags": Box(60, 170, 180, 70, ("flags", "absl flags made of Config")),
    RUN: Box(
        270,
        170,
        730,
        70,
        (
            "run · trained · applied · scores",
            "put the wings together: from settings to results, and what is done with a run",
        ),
    ),
    "training": Box(380, 310, 300, 70, ("training", "the step, the loop, checkpoints, evaluation")),
    "analysis": Box(700, 310, 300, 70, ("analysis", "latents, imputation, anomalies, pictures")),
    "serving": Box(60, 310, 300, 70, ("serving", "SavedModels, their checks, REST")),
    "data": Box(
        440, 440, 560, 70, ("data", "what comes in: files, folders, tables, TFDS; splits, pixels, fingerprints")
    ),
    "core": Box(
        380,
        570,
        620,
        70,
        ("core", "the maths: likelihoods, posteriors, priors, networks, objectives, noise"),
    ),
    "config": Box(
        380, 670, 620, 70, ("config", "the settings, and what each can do: by this table others are refused")
    ),
    "runtime": Box(60, 570, 300, 170, ("runtime", "files, signals, TensorFlow's start")),
    "errors": Box(60, 770, 940, 50, ("errors: one line and an exit status",)),
}
AROUND = {  # the ways of the arrows from the flags, in the margin
    BOXES["runtime"]: "H 48 V 655 H 52",
    BOXES["config"]: "H 40 V 755 H 365 V 705 H 372",
}
FLOORS = (  # from y to y, and what is written at the right
    (26, 256, "floor 3: may import everything below; no command is imported"),
    (278, 396, "floor 2: may import floors 0 and 1, and not each other"),
    (408, 526, "floor 1"),
    (
        538,
        836,
        "floor 0",
    ),
)


def edges_of(modules):
    """{box: the boxes that it imports}, without those that it reaches through another one."""
    commands = commands_of(modules)
    box_of = {part: COMMANDS for part in commands | {"__main__"}}
    box_of |= {part: box for box, parts in GROUPS.items() for part in parts}
    imported = {box: set() for box in BOXES}
    for name in modules:
        here = box_of.get(part_of(name), part_of(name))
        for target in imports_of(name, modules):
            if is_ours(target.module):
                imported[here].add(box_of.get(part_of(target.module), part_of(target.module)))
        imported[here].discard(here)
    reached = {box: reach(imported, box) for box in imported}
    return {
        box: {target for target in targets if not any(target in reached[other] for other in targets - {target})}
        for box, targets in imported.items()
    }


def arrow(source, target):
    """A path from the lower edge of a box to the upper edge of another one, or around what lies between."""
    if source == BOXES["flags"]:
        return f"M {source.x} {source.y + 35} {AROUND[target]}"
    start = min(max(target.middle, source.x + 30), source.x + source.width - 30)
    end = min(max(source.middle, target.x + 30), target.x + target.width - 30)
    x = start if target.x < start < target.x + target.width else end
    top, bottom = source.y + source.height, target.y - 8
    begin = min(max(x, source.x + 30), source.x + source.width - 30)
    return f"M {begin} {top} C {begin} {(top + bottom) // 2} {x} {(top + bottom) // 2} {x} {bottom}"


def text(x, y, content, kind, anchor="middle"):
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{html.escape(content)}</text>'


STYLE = (
    "text{font-family:Helvetica,Arial,sans-serif;fill:#1f2933}.name{font-size:17px;font-weight:bold}"
    ".says{font-size:13px}.floor{font-size:12px;fill:#52606d;paint-order:stroke;stroke:#e9eff5;stroke-width:5px}.box{fill:#fff;stroke:#334e68;stroke-width:1.5}"
    ".arrow{fill:none;stroke:#627d98;stroke-width:1.8}"
)


def picture(modules):
    """The SVG's text."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        "<title>The floors of tfvae, and what imports what</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="2" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M 0 0 L 10 5 L 0 10 z" fill="#627d98"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for top, bottom, _ in FLOORS:
        lines.append(f'<rect x="30" y="{top}" width="{WIDTH - 50}" height="{bottom - top}" rx="8" fill="#e9eff5"/>')
    for box, targets in edges_of(modules).items():
        for target in sorted(targets):
            path = arrow(BOXES[box], BOXES[target])
            lines.append(f'<path class="arrow" d="{path}" marker-end="url(#head)"/>')
    for top, _, words in FLOORS:
        lines.append(text(WIDTH - 30, top + 18, words, "floor", "end"))
    for box in BOXES.values():
        lines.append(f'<rect class="box" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6"/>')
        first = box.y + box.height // 2 - 10 * (len(box.lines) - 1) + 5
        for i, line in enumerate(box.lines):
            lines.append(text(box.middle, first + 20 * i, line, "says" if i else "name"))
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture(modules_of(ROOT / "tfvae")))
