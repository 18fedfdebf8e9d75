"""One output of `tfvae.apply`: computed chunk by chunk, kept, and written when all chunks are there."""

import contextlib
import functools
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from tfvae.analysis import conditions, output_files
from tfvae.analysis.anomaly_search import AnomalySearch, describe
from tfvae.analysis.applications import Quantity
from tfvae.analysis.output_files import Block, Content
from tfvae.analysis.unfinished import UnfinishedOutput
from tfvae.config import Config
from tfvae.config.application import Request, description_of
from tfvae.config.fields import to_text
from tfvae.core.vae import VAE
from tfvae.data.examples import ALL, Examples, ExamplesPart
from tfvae.data.provenance import describe_sigma, provenance
from tfvae.runtime.failures import told_plainly
from tfvae.runtime.files import locked, sync_directory, write_atomically
from tfvae.runtime.progress import Progress

_LOOKED_AT = 1_000  # images, for what their pixels are


def check_output(request: Request, vae: VAE, examples: Examples | None) -> None:
    """Refuses an output that can't take what is computed; raises InputError."""
    request.check_form(vae.decoder.columns is not None)
    height, width, _ = vae.decoder.image_shape
    request.check_size(request.sample_count if examples is None else len(examples), height, width)


class _Chunk(NamedTuple):
    """The examples first .. last-1 of a part."""

    number: int
    part: int
    first: int
    last: int


class Job:
    """One output: computed chunk by chunk, then written. `examples` are None for samples, which are of none."""

    def __init__(
        self,
        config: Config,
        request: Request,
        vae: VAE,
        step: int,
        examples: Examples | None,
        quantity: Quantity,
        search: AnomalySearch | None = None,
    ) -> None:
        self.config, self.request, self.vae, self.step = config, request, vae, step
        self.examples, self.quantity, self.search = examples, quantity, search
        self.sizes = [request.sample_count] if examples is None else [len(part) for part in examples.parts]
        self.weights = _checksum(vae)
        self.chunks = list(self._divide(self.sizes))
        self.usual_chunks = self._divide_usual()
        self.unfinished = UnfinishedOutput(request.path, self._settings())
        self.advice: list[str] = []  # lines to print at the end

    def _divide(self, sizes: list[int]) -> Iterator[_Chunk]:
        rows, number = self.quantity.chunk_rows, 0
        for part, size in enumerate(sizes):
            for first in range(0, size, rows):
                yield _Chunk(number, part, first, min(first + rows, size))
                number += 1

    def _divide_usual(self) -> list[_Chunk]:
        """The chunks of the examples that a limit is found on: some of those that are written, or more of them."""
        if self.search is None or self.search.reference is None or self.examples is None:
            return []
        for part, of_part in enumerate(self.examples.parts):
            if of_part is self.search.reference:
                return [chunk for chunk in self.chunks if chunk.part == part]
        return list(self._divide([*self.sizes, len(self.search.reference)]))[len(self.chunks) :]

    def _settings(self) -> dict[str, str]:
        """All that the numbers depend on, by the names of the flags that it comes from."""
        config, request = self.config, self.request
        settings = {"run_dir": f"step {self.step}, weights {self.weights}", "what": request.what}
        if self.examples is not None:
            sizes = [f"{len(part)} {part.name}" for part in self.examples.parts]
            settings["dataset"] = f"{', '.join(sizes)}, checksum {self.examples.checksum}"
        if request.capabilities.draws_z:
            settings |= {"eval_samples": str(config.eval_samples), "seed": str(config.seed)}
        if self.search is not None and self.search.reference is not None:
            settings["threshold_split"] = f"{len(self.search.reference)} {self.search.reference.name}"
        if self.vae.classes:
            settings["label"] = to_text(request.label)
        if request.what == "impute":
            settings["draws"] = str(request.draws)
        if request.what == "samples":
            settings |= {"count": str(request.sample_count), "draw": str(request.draw), "seed": str(config.seed)}
        settings["output"] = "pixels" if request.is_picture else "values"
        settings["eval_memory_gb"] = f"{config.eval_memory_gb:g}, {self.quantity.chunk_rows} together"
        return settings

    def run(self) -> dict[str, Any]:
        """Computes what is not finished, and writes the output; returns what its JSON file holds."""
        output = self.request.path
        with told_plainly((output.parent,), self._safe), locked(self.unfinished.folder, "output", "writes"):
            self.unfinished.start(self.request.overwrite)
            with self._saying_what_is_safe():
                self._compute()
                self._find_limit()
                results = self._results()
                self._write(results)
            self.unfinished.forget()
        self._print(results)
        return results

    @contextlib.contextmanager
    def _saying_what_is_safe(self) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, SystemExit):  # a signal
            print(f"stopped; {self._safe()}", file=sys.stderr, flush=True)
            raise

    def _safe(self) -> str:
        finished = self.unfinished.numbers()
        rows = sum(chunk.last - chunk.first for chunk in self.chunks if chunk.number in finished)
        folder = self.unfinished.folder
        return f"{rows:,} of {sum(self.sizes):,} are safe in {folder}: the same command goes on from there"

    def _compute(self) -> None:
        finished = self.unfinished.numbers()
        chunks = sorted({*self.chunks, *self.usual_chunks})
        rows = sum(chunk.last - chunk.first for chunk in chunks)
        with Progress(self.request.what, rows, "rows") as progress:
            for chunk in chunks:
                if chunk.number not in finished:
                    self.unfinished.write(chunk.number, self._columns(chunk))
                progress.advance(chunk.last - chunk.first)

    def _columns(self, chunk: _Chunk) -> Block:
        if self.examples is None:
            return self.quantity.columns(None, chunk.first, chunk.last)
        part = self._part(self.examples, chunk.part)
        return self.quantity.columns(part.images, chunk.first, chunk.last, part.y)

    def _part(self, examples: Examples, part: int) -> ExamplesPart:
        if part < len(examples.parts):
            return examples.parts[part]
        return cast(ExamplesPart, self._search.reference)  # that of `usual_chunks`

    @property
    def _search(self) -> AnomalySearch:
        return cast(AnomalySearch, self.search)

    def _find_limit(self) -> None:
        if self.usual_chunks:
            self._search.find_limit(self._read_all(self.usual_chunks, self._search.by))

    # What is written.

    def _content(self) -> Content:
        columns = self.vae.decoder.columns
        return Content(sum(self.sizes), self._blocks, self._column, columns.names if columns else ())

    def _blocks(self) -> Iterator[Block]:
        for chunk in self.chunks:
            columns = self.unfinished.read(chunk.number)
            if self.usual_chunks:
                columns["beyond"] = self._search.beyond(columns[self._search.by])
            yield {**self._names(chunk), **columns}

    def _column(self, name: str) -> Iterator[np.ndarray]:
        for chunk in self.chunks:
            names = self._names(chunk)
            if name in names:
                yield names[name]
            elif name == "beyond":
                yield self._search.beyond(self._read_all([chunk], self._search.by))
            else:
                yield self.unfinished.read(chunk.number, name)[name]

    def _names(self, chunk: _Chunk) -> Block:
        """The columns that say which examples they are: part, row or file, and label, where all parts have some."""
        rows = slice(chunk.first, chunk.last)
        if self.examples is None:
            return {"row": np.arange(chunk.first, chunk.last)}
        parts = self.examples.parts
        part = parts[chunk.part]
        names = {
            "part": np.full(chunk.last - chunk.first, part.name, np.array([p.name for p in parts]).dtype),
            "file" if self.examples.have_files else "row": _of_one_type([p.names for p in parts], part.names[rows]),
        }
        labels = [p.labels for p in parts if p.labels is not None]
        if part.labels is not None and len(labels) == len(parts):
            names["label"] = _of_one_type(labels, part.labels[rows])
        return names

    def _write(self, results: dict[str, Any]) -> None:
        """Writes the output aside, then what it is of, and puts it into its place."""
        aside = self.unfinished.folder / f"output.{self.request.form}"
        if aside.is_dir():  # of a process that was killed
            shutil.rmtree(aside)
        output = self.request.path
        if self.request.form == "directory":
            with Progress("writing", sum(self.sizes), "rows") as progress:
                output_files.write_directory(self._content(), aside, progress.advance)
        else:
            output_files.WRITERS[self.request.form](self._content(), aside)
            sync_directory(aside)  # a file's content, too
        write_atomically(description_of(output), json.dumps(results, indent=1) + "\n")
        if self.request.form == "directory" and output.exists():
            _move_files(aside, output)
        else:
            os.replace(aside, output)
        sync_directory(output.parent)

    def _results(self) -> dict[str, Any]:
        """What the numbers are of, and their means, where they have some."""
        results: dict[str, Any] = {"of": self._of()}
        parts = [] if self.examples is None else [part.name for part in self.examples.parts]
        means = {name: self.quantity.summary(functools.partial(self._whole, i)) for i, name in enumerate(parts)}
        if any(means.values()):
            results["means"] = means
        if self.search is not None:
            values = self._read_all(self.chunks, self.search.by)
            results["anomalies"] = self.search.results(values)
        for i, name in enumerate(parts):
            line = self.quantity.advice(functools.partial(self._whole, i))
            if line is not None:
                self.advice.append(f"{name}: {line}" if len(parts) > 1 else line)
        return results

    def _whole(self, part: int, name: str) -> np.ndarray:
        """A column of a whole part."""
        return self._read_all([chunk for chunk in self.chunks if chunk.part == part], name)

    def _read_all(self, chunks: list[_Chunk], name: str) -> np.ndarray:
        return np.concatenate([self.unfinished.read(chunk.number, name)[name] for chunk in chunks])

    def _of(self) -> dict[str, Any]:
        config = self.config
        of_run = {
            "run": str(config.directory),
            "step": self.step,
            "weights": self.weights,
            "what": self.quantity.description + self._condition(),
            "likelihood": config.likelihood_name + describe_sigma(config),
            "posterior": config.posterior,
            "prior": config.prior,
            "objective": config.objective,
        }
        if self.vae.classes:
            of_run |= {"condition": config.condition, "label": to_text(self.request.label)}
        if self.examples is None:
            return {**of_run, "samples": self.request.sample_count, "seed": config.seed}
        some = self.examples.parts[0].images
        if not isinstance(some, np.ndarray):
            some = some[np.arange(min(len(some), _LOOKED_AT))]
        of_scores = provenance(config, some, config.eval_samples, self.vae.decoder.columns)
        names = ["examples", "pixels"]
        if self.request.capabilities.draws_z:
            names += ["kl", "samples", "seed", "units"]
        return {
            **of_run,
            "dataset": self.examples.source,
            "checksum": self.examples.checksum,
            "are_of_the_run": self.examples.are_of_run,
            "split": {part.name: len(part) for part in self.examples.parts},
            **{name: of_scores[name] for name in names},
            "notes": list(self.examples.notes),
        }

    def _condition(self) -> str:
        return conditions.described(self.vae.classes, self.request.label, self.examples is None)

    def _print(self, results: dict[str, Any]) -> None:
        of = results["of"]
        what = f"{self.request.path}: {of['what']}"
        by = f"{of['likelihood']} likelihood, step {of['step']:,}"
        if "seed" in of:
            by += f", seed {of['seed']}"
        if self.examples is None:
            print(f"{what}, {of['samples']:,} of {self.config.directory}, {by}", flush=True)
            return
        sizes = ", ".join(f"{size:,}" if name == ALL else f"{size:,} {name}" for name, size in of["split"].items())
        print(f"{what}: {of['dataset']}, {sizes} {of['examples']}, {of['pixels']}, {by}", flush=True)
        for note in of["notes"]:
            print(f"  {note}", flush=True)
        for part, figures in results.get("means", {}).items():
            print(f"  {part}: means, {of['units']}, and their standard errors")
            for name, value in figures.items():
                if name.endswith(("_standard_error", "_monte_carlo_error")):
                    continue
                error = figures.get(f"{name}_standard_error")
                beside = "" if error is None else f" +- {error:.4f}"  # a single example has none
                print(f"    {name:16}{value:12.4f}{beside}", flush=True)
        if "anomalies" in results:
            for line in describe(results["anomalies"]):
                print(f"  {line}", flush=True)
        for line in self.advice:
            print(line, flush=True)


def _checksum(vae: VAE) -> str:
    """Of all weights."""
    checksum = 0
    for variable in vae.variables:
        checksum = zlib.crc32(np.ascontiguousarray(variable.numpy()).tobytes(), checksum)
    return f"{checksum:08x}"


def _of_one_type(all_parts: list[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Values of one part in the type that holds those of all parts: text is as long as the longest."""
    return values.astype(np.result_type(*(of_part.dtype for of_part in all_parts)))


def _move_files(aside: Path, output: Path) -> None:
    """Puts all files of a directory, and of those in it, into another, over those of the same names."""
    for path in sorted(aside.rglob("*")):
        target = output / path.relative_to(aside)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            os.replace(path, target)
