"""The user's own modules, which have the functions that `--network` names and the classes of layers.

They are looked for as `python -m` looks: first in the working directory.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
import types
from pathlib import Path

from tfvae.errors import InputError

_NOT_THE_USERS = ("keras", "tensorflow", "tfvae", "importlib")  # packages whose lines are no place of a user's mistake
_OF_KERAS = "Exception encountered when calling"  # how its first line begins, where the second has the reason
# how later lines begin, where Keras could make no layer of a config: one for each layer around it, the reason last
_REASON_OF_KERAS = re.compile("(?:Exception encountered|Error encountered during deserialization): ")


def find_file(module: str) -> str | None:
    """The file of a module, which is not imported; None where there is no such module, "" where it has no file."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None) or ""
    _look_in_the_working_directory()
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    for name in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # not `find_spec` of the whole name, which imports the packages above
        spec = importlib.machinery.PathFinder.find_spec(f"{spec.name}.{name}", spec.submodule_search_locations)
    return None if spec is None else spec.origin or ""


def require_module(argument: str, module: str) -> None:
    """Refuses a module that is not there, without importing it; raises InputError, which names the `argument`."""
    if find_file(module) is None:
        raise InputError(
            f"{argument}: must be in a module that can be imported, and there is no {module} in {os.getcwd()} or among "
            "Python's packages"
        )


def import_module(argument: str, module: str) -> types.ModuleType:
    """The module, imported.

    Raises:
        InputError: it is not there, or can't be imported: the message names the `argument`, the file and the reason.
    """
    require_module(argument, module)
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module's own code runs: a script may end the process
        raise InputError(
            f"{argument}: must be in a module that can be imported, and {find_file(module) or module} can't: "
            f"{reason(error)}"
        ) from error


def reason(error: Exception | SystemExit) -> str:
    """What went wrong in the user's code, in a line, and where: ValueError: ... (nets.py, line 12)."""
    lines = [line for line in re.sub("\x1b\\[[0-9]*m", "", str(error)).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith(_OF_KERAS):
        del lines[0]
    reasons = [_REASON_OF_KERAS.sub("", line) for line in lines if _REASON_OF_KERAS.match(line)]
    line = [*lines[:1], *reasons][-1] if lines else ""
    text = f"{type(error).__name__}: {line.strip()}"
    if isinstance(error, SyntaxError):  # whose text has the place
        return text
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith("<") and not _is_of_a_library(frame.filename):
            return f"{text} ({frame.filename}, line {frame.lineno})"
    return text


def _is_of_a_library(file_name: str) -> bool:
    folders = [Path(sys.modules[name].__file__ or "").parent for name in _NOT_THE_USERS if name in sys.modules]
    return any(folder in Path(file_name).parents for folder in folders)


def _look_in_the_working_directory() -> None:
    """Which `python -m` does by itself, and the `tfvae` script does not."""
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
