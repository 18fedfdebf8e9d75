"""The files that results of any length are written into, block by block: .npz, .csv, .parquet, .png, a directory.

Shapes: columns [N] or [N, ...]; pictures [N, H, W, C] in [0, 1].
"""

import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tfvae.analysis import figures
from tfvae.data.pixels import shown_channels

_GROUP_BYTES = 2**26  # of a row group of Parquet
_MOST_GROUP_ROWS = 2**16

Block = dict[str, np.ndarray]


class Content(NamedTuple):
    """N rows in blocks that have the same columns.

    `blocks()` are all columns, and `column(name)` is one of them, block by block. `vector_names` are what the values of
    the column `x` are called, where they are those of a table.
    """

    rows: int
    blocks: Callable[[], Iterator[Block]]
    column: Callable[[str], Iterator[np.ndarray]]
    vector_names: tuple[str, ...] = ()


def write_npz(content: Content, path: Path) -> None:
    """An array for each column, one after the other, as `numpy.savez` writes them."""
    first = next(content.blocks())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, values in first.items():
            header = {
                "descr": np.lib.format.dtype_to_descr(values.dtype),
                "fortran_order": False,
                "shape": (content.rows, *values.shape[1:]),
            }
            entry = zipfile.ZipInfo(f"{name}.npy")  # which has the same date in each file
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array_header_2_0(file, header)
                for block in content.column(name):
                    file.write(np.ascontiguousarray(block).data)


def write_csv(content: Content, path: Path) -> None:
    """A line of names, and one for each row."""
    from pyarrow import csv

    tables = _tables(content)
    first = next(tables)
    with csv.CSVWriter(str(path), first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def write_parquet(content: Content, path: Path) -> None:
    """A column for each column, in groups of rows whose size depends on the columns alone."""
    import pyarrow as pa
    from pyarrow import parquet

    tables = _tables(content)
    waiting = next(tables)
    group = max(1, min(_MOST_GROUP_ROWS, _GROUP_BYTES * len(waiting) // waiting.nbytes))
    with parquet.ParquetWriter(str(path), waiting.schema) as writer:
        for table in tables:
            waiting = pa.concat_tables([waiting, table])
            while len(waiting) >= group:
                writer.write_table(waiting.slice(0, group), row_group_size=group)
                waiting = waiting.slice(group)
        for start in range(0, len(waiting), group):
            writer.write_table(waiting.slice(start, group), row_group_size=group)


def _tables(content: Content) -> Iterator[Any]:
    """The blocks as pyarrow's tables, whose columns are [N]: `mean` [N, L] is `mean_0`, `mean_1` and so on."""
    import pyarrow as pa

    for block in content.blocks():
        columns: dict[str, np.ndarray] = {}
        values_of_vectors: dict[str, np.ndarray] = {}
        for name, values in block.items():
            if values.ndim == 1:
                columns[name] = values
            elif name == "x" and content.vector_names:
                values_of_vectors = dict(zip(content.vector_names, values.T))
            elif name.startswith("draw_") and content.vector_names:
                columns |= {f"{of_value}_{name}": of_one for of_value, of_one in zip(content.vector_names, values.T)}
            else:
                columns |= {f"{name}_{i}": of_one for i, of_one in enumerate(values.T)}
        # a column of the user's may be called as one of ours, which then gives way
        ours = {f"{name}_" if name in values_of_vectors else name: values for name, values in columns.items()}
        yield pa.table({**ours, **values_of_vectors})


def write_picture(content: Content, path: Path) -> None:
    """All images in one grid, about as high as wide, row by row in their order."""
    images = np.concatenate(list(content.column("images")))
    picture = figures.tile(images, columns=math.ceil(math.sqrt(len(images))))
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(path, "PNG")


def write_directory(content: Content, path: Path, on_image: Callable[[], Any] = lambda: None) -> None:
    """A PNG for each image, named by its file, subfolders kept, or its row, then in a subfolder for each part.

    Images of classes and of no part, samples, are in a subfolder for each class: a folder that can be trained on.
    """
    path.mkdir()
    names = _PictureNames(content)
    folders = set()
    for block in content.blocks():
        for i, image in enumerate(block["images"]):
            target = path / names.of(block, i)
            if target.parent not in folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                folders.add(target.parent)
            channels, _ = shown_channels(image.shape[-1])
            pixels = figures.as_pixels(image[..., :channels])
            Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(target, "PNG")
            on_image()
    os.sync()  # of so many files at once


class _PictureNames:
    """The files of a directory's pictures."""

    def __init__(self, content: Content) -> None:
        first = next(content.blocks())
        self.are_files = "file" in first
        if self.are_files:
            stems = [os.path.splitext(name)[0] for block in content.column("file") for name in block.tolist()]
            self.keep_endings = len(set(stems)) < len(stems)  # a.jpg and a.png would be one picture
            return
        self.digits = len(str(max(int(rows.max()) for rows in content.column("row"))))
        parts = {name for block in content.column("part") for name in block.tolist()} if "part" in first else set()
        self.have_parts = len(parts) > 1
        self.have_classes = "label" in first and "part" not in first

    def of(self, block: Block, i: int) -> PurePosixPath:
        """Of the block's image i: relative to the directory."""
        if self.are_files:
            name = str(block["file"][i])
            return PurePosixPath(f"{name if self.keep_endings else os.path.splitext(name)[0]}.png")
        name = f"{int(block['row'][i]):0{self.digits}d}.png"
        if self.have_classes:
            return PurePosixPath(_as_folder(str(block["label"][i])), name)
        return PurePosixPath(str(block["part"][i]), name) if self.have_parts else PurePosixPath(name)


def _as_folder(name: str) -> str:
    """The name of a class as that of a folder, which is none above and no hidden one."""
    return re.sub(r"[/\\%]|^\.", lambda found: f"%{ord(found[0]):02X}", name)


WRITERS: dict[str, Callable[[Content, Path], None]] = {
    "npz": write_npz,
    "csv": write_csv,
    "parquet": write_parquet,
    "png": write_picture,
    "directory": write_directory,
}
