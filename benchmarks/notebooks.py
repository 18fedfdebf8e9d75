"""Executes the notebooks in docs/ and keeps their outputs: python -m benchmarks.notebooks [tutorial] [quickstart]

Each runs in an empty directory, with a kernel of this interpreter, so that what is kept is what a reader would get.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

DOCS = Path(__file__).parents[1] / "docs"
NAMES = ("tutorial", "quickstart")
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_SECONDS = 1200  # that a cell may take


def read(name: str) -> nbformat.NotebookNode:
    """The notebook as it is kept."""
    return nbformat.read(DOCS / f"{name}.ipynb", as_version=4)


def digest(notebook: nbformat.NotebookNode) -> str:
    """Of the code of all cells: outputs that were kept beside another one are not of these cells."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of an execution in `folder`, of which the outputs do not tell.

    Raises:
        CellExecutionError: a cell has raised an error.
    """
    notebook = notebook.copy()
    for cell in notebook.cells:
        cell.metadata.clear()
    notebook.metadata = nbformat.from_dict(_METADATA)
    client = nbclient.NotebookClient(
        notebook,
        timeout=_SECONDS,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute()
    # the kernel has put the interpreter's version there
    notebook.metadata = nbformat.from_dict({**_METADATA, "executed": digest(notebook)})
    return nbformat.reads(nbformat.writes(notebook).replace(f"{folder}/", ""), as_version=4)


def main(names: list[str]) -> None:
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(read(name), Path(folder))
        nbformat.write(notebook, DOCS / f"{name}.ipynb")
        print(f"docs/{name}.ipynb: executed, {(DOCS / f'{name}.ipynb').stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
