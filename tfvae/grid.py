"""Trains all combinations of settings: python -m tfvae.grid --vary='latent_dim=2;5;10' --vary='seed=0;1' -- --epochs=50

One run after the other, each in a process of its own, with the flags of tfvae.train after `--`. Stopped or killed, the
same command goes on: finished runs are passed over. What one run prints is in a .log beside its directory. Ends with
the table of tfvae.compare; a run that fails does not keep the others from going on.
"""

import functools
import sys
from pathlib import Path
from typing import Any

from tfvae.config.fields import field, or_auto, text
from tfvae.config.variations import combinations, grid_name, read_variation, require_unset
from tfvae.errors import InputError
from tfvae.flags import parse, run_command
from tfvae.run import RUNS
from tfvae.runtime.files import locked, require_writable
from tfvae.training import comparison, comparison_files
from tfvae.training.grid import Grid, GridRun, check_places, next_commands, plan

FLAGS = {
    "vary": field(
        (), text("NAME=VALUE;VALUE;..."), "a setting and its values; may be given several times", repeated=True
    ),
    "grid_dir": field(None, or_auto(text("a directory")), "of the runs' directories; auto: runs/grid-<what varies>"),
}


def main(given: dict[str, Any], train_flags: list[str]) -> None:
    variations = [read_variation(words) for words in given.get("vary", ())]
    if not variations:
        raise InputError("--vary: must be given: NAME=VALUE;VALUE;... with the name of a flag of tfvae.train")
    of_all = parse(train_flags, "tfvae.train")
    require_unset(variations, train_flags, of_all)
    all_of = combinations(variations, of_all)
    for combination in all_of:
        check_places(combination.config)
    grid_dir = Path(given.get("grid_dir") or RUNS / grid_name(all_of)).expanduser()
    require_writable("grid_dir", grid_dir)
    runs = plan(all_of, grid_dir, train_flags)
    for run_of_grid in runs:
        run_of_grid.require_own_directory()
        run_of_grid.require_initial_weights()
    with locked(grid_dir, "grid_dir"):
        status = _make(runs, grid_dir)
    sys.exit(status)


def _make(runs: list[GridRun], grid_dir: Path) -> int:
    """Makes the runs, and prints what came of them; returns the exit status."""
    grid = Grid(runs)
    status = grid.run()
    if status not in (0, 1):
        return status
    records = [record for record in (run_of_grid.record() for run_of_grid in runs) if record]
    if records:
        print(comparison_files.as_text(comparison.compare(records)))
    for name, reason in grid.failures.items():
        print(f"failed: {name}, {reason}")
    print(next_commands(grid_dir), flush=True)
    return status


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name; those after `--` are those of each run."""
    cut = argv.index("--") if "--" in argv else len(argv)
    run_command(functools.partial(main, train_flags=argv[cut + 1 :]), argv[:cut], "tfvae.grid", __doc__, FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
