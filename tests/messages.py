"""The messages of the package, read from its source: what docs/errors.md must have a line for."""

import ast
import re
from typing import NamedTuple

ERRORS = ("WorkerLost", "Refused", "DamagedImage", "UnfitImage", "_refusal")  # beside what ends in Error
HEALTH = "tfvae.training.health"  # all long texts there are warnings
ASKS = re.compile(r"\bmust (not )?(be|have|stay|take|keep|fit|end|hold|name|differ)\b")
REASONS = ("reason", "refused", "why", "missing")  # names of what a message is put together from
NOT_PRINTED_SO = ("field", "search", "compile")  # calls whose texts are help and patterns


class Message(NamedTuple):
    """A message's constant parts, in their order, and where it stands in the source."""

    parts: tuple[str, ...]
    place: str

    @property
    def letters(self):
        """How many small letters are constant: of placeholders alone nothing can be looked for."""
        return small_letters("".join(self.parts))

    def is_in(self, line):
        """Whether the line of a page is this message, with any words for its placeholders."""
        pattern = ".*?".join(re.escape(part) for part in self.parts)
        return re.search(pattern, line) is not None


def small_letters(text):
    return len(re.findall(r"[a-z]", text))


def messages_of(name, module):
    """Every message of a module: what errors and reasons are made of, what says that something must be, warnings."""
    tree = ast.parse(module.source)
    prose = {id(text) for text in docstrings(tree)} | {id(text) for text in texts_in(calls(tree, is_no_message))}
    in_errors = {id(text) for text in texts_in([*calls(tree, is_error), *reasons(tree)])}
    in_other_texts = {id(part) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for part in text.values}
    messages = []
    for node in ast.walk(tree):
        if not is_text(node) or id(node) in prose | in_other_texts:
            continue
        message = Message(constants(node), f"{name}:{node.lineno}")
        text = " ".join(message.parts)
        is_said = ASKS.search(text) or text.startswith("advice: ") or (id(node) in in_errors and " " in text.strip())
        is_warning = name == HEALTH and isinstance(node, ast.JoinedStr) and len(text) > 40
        if is_said or is_warning:
            messages.append(message)
    return messages


def constants(node):
    """The constant parts of a text, what a format fills in taken out."""
    values = node.values if isinstance(node, ast.JoinedStr) else [node]
    parts = [part for value in values if isinstance(value, ast.Constant) for part in value.value.split("{}")]
    return tuple(part.strip() for part in parts if part.strip())


def is_text(node):
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def is_error(called):
    return called.endswith("Error") or called in ERRORS


def is_no_message(called):
    return called in NOT_PRINTED_SO


def calls(tree, is_meant):
    """The calls of what `is_meant` says of its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if is_meant(called):
                yield node


def reasons(tree):
    """What is assigned to a name of `REASONS`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in REASONS:
            yield node.value


def texts_in(nodes):
    return [text for node in nodes for text in ast.walk(node) if is_text(text)]


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
