"""An output that is computed chunk by chunk, and goes on with the chunks that it has after it was killed.

OUTPUT.parts/manifest.json   the settings that the chunks are of; written first
OUTPUT.parts/<number>.npz    the columns of a finished chunk
"""

import io
import json
import shutil
from pathlib import Path

import numpy as np

from tfvae.config.application import description_of
from tfvae.errors import InputError, RunError
from tfvae.runtime.files import numbered_files, write_atomically

_MANIFEST = "manifest.json"


def folder_of(output: Path) -> Path:
    """Where the chunks of an output are until it is finished."""
    return output.with_name(f"{output.name}.parts")


def require_free(output: Path, overwrite: bool) -> None:
    """Refuses an output, or its JSON file, that is there, unless it is unfinished or may be written over.

    Raises:
        InputError: it is there, or other files are where its chunks go.
    """
    folder = folder_of(output)
    if (folder / _MANIFEST).is_file():
        return
    if any(not path.name.startswith(".") for path in folder.glob("*")):
        raise InputError(f"--output={output}: must have {folder} for its unfinished parts, and other files are there")
    if overwrite:
        return
    is_empty_directory = output.is_dir() and not any(output.iterdir())
    if output.exists() and not is_empty_directory:
        raise InputError(f"--output={output}: must be new, and is there: --overwrite writes it anew")
    description = description_of(output)
    if description.exists():
        raise InputError(
            f"--output={output}: must be new, and {description}, which says what it is of, is there: --overwrite "
            "writes both anew"
        )


class UnfinishedOutput:
    """The finished chunks of one output; `settings` are all that their numbers depend on, by the flags' names."""

    def __init__(self, output: Path, settings: dict[str, str]) -> None:
        self.output, self.settings = output, settings
        self.folder = folder_of(output)

    def start(self, overwrite: bool) -> None:
        """Takes up what is there of the same settings, or begins.

        Raises:
            InputError: what is there is of other settings, or finished, and `overwrite` is false.
        """
        try:
            require_free(self.output, overwrite)  # again: another process may have finished it since
        except InputError:
            self._remove_empty()
            raise
        there = self._read_manifest()
        if there is not None and there != self.settings:
            if not overwrite:
                raise InputError(self._describe_other(there))
            for path in numbered_files(self.folder, ".npz").values():
                path.unlink()
        if there != self.settings:
            write_atomically(self.folder / _MANIFEST, json.dumps(self.settings, indent=1) + "\n")

    def _remove_empty(self) -> None:
        """Removes the folder, if it has nothing but the hidden file of its lock."""
        if all(path.name.startswith(".") for path in self.folder.iterdir()):
            shutil.rmtree(self.folder)

    def _read_manifest(self) -> dict[str, str] | None:
        try:
            return json.loads((self.folder / _MANIFEST).read_text())
        except (OSError, ValueError):
            return None

    def _describe_other(self, there: dict[str, str]) -> str:
        names = [name for name in {**self.settings, **there} if self.settings.get(name) != there.get(name)]
        differences = [f"--{n}={self.settings.get(n, 'unset')} (there: {there.get(n, 'unset')})" for n in names]
        return (
            f"--output={self.output}: must be another name, or {self.folder} removed: what is unfinished there has "
            f"other settings: {', '.join(differences)}; --overwrite begins anew"
        )

    def numbers(self) -> set[int]:
        """Of the finished chunks."""
        return set(numbered_files(self.folder, ".npz"))

    def write(self, number: int, columns: dict[str, np.ndarray]) -> None:
        """Keeps a finished chunk."""
        content = io.BytesIO()
        # without allow_pickle=False, which NumPy before 2.2 takes for a column, and mypy for the columns' type
        np.savez(content, **columns)  # type: ignore[arg-type]
        write_atomically(self._chunk(number), content.getvalue())

    def read(self, number: int, *names: str) -> dict[str, np.ndarray]:
        """These columns of a finished chunk; without names all. Raises RunError where the file is damaged."""
        try:
            with open(self._chunk(number), "rb") as file, np.load(file) as columns:
                return {name: columns[name] for name in names or columns.files}
        except Exception as error:  # a damaged file raises anything
            raise RunError(f"{self._chunk(number)}: must be whole, and can't be read ({error}): remove it") from error

    def _chunk(self, number: int) -> Path:
        return self.folder / f"{number}.npz"

    def forget(self) -> None:
        """Removes the chunks, once the output is there."""
        for path in numbered_files(self.folder, ".npz").values():
            path.unlink()
        shutil.rmtree(self.folder)  # the manifest last: without it, chunks that a kill left would be anybody's files
