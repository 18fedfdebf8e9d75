"""Trains with several processes on this machine: python -m tfvae.launch --workers=2 -- --latent_dim=2

Starts `tfvae.train` with the flags after `--` as workers of one job (`TF_CONFIG`), shows the chief's progress, passes
SIGINT and SIGTERM on, and starts all anew when one is lost: they go on from the last checkpoint. A local stand-in for
a cluster's scheduler (docs/scaling.md).
"""

import functools
import sys
from typing import Any

from tfvae.config import Config, train_options
from tfvae.config.config import FIELDS
from tfvae.config.fields import field, whole
from tfvae.errors import InputError
from tfvae.flags import parse, run_command
from tfvae.runtime import verbosity
from tfvae.training.workers import Launcher

FLAGS = {
    "workers": field(2, whole(1, 64), "processes, each of which trains on its share of every batch"),
    "max_restarts": field(10, whole(0), "times that all are started anew when one is lost"),
}


def main(given: dict[str, Any], train_flags: list[str]) -> None:
    level = verbosity.chosen()
    # refuses what each worker would refuse
    of_workers = parse(train_flags, "tfvae.train", fields=FIELDS | train_options.OPTIONS)
    if of_workers.pop("dry_run", False):
        raise InputError("--dry_run=true: must be false for several workers: give it to python -m tfvae.train")
    of_workers.pop("profile_steps", None)
    config = Config(**of_workers)
    if config.strategy not in ("auto", "multi_worker") or config.logical_cpus > 1:
        raise InputError("--strategy: must be auto or multi_worker, and --logical_cpus 1: each worker is a process")
    workers = given.get("workers", FLAGS["workers"].default)
    max_restarts = given.get("max_restarts", FLAGS["max_restarts"].default)
    # the workers say as much as the launcher does; of their own flags the last one counts, which is theirs
    sys.exit(Launcher(workers, max_restarts, [f"--verbosity={level}", *train_flags]).run())


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name; those after `--` are the workers'."""
    cut = argv.index("--") if "--" in argv else len(argv)
    run_command(functools.partial(main, train_flags=argv[cut + 1 :]), argv[:cut], "tfvae.launch", __doc__, FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
