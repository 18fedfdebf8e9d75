"""What follows the last step of a run: its test images are evaluated, its models exported, its results written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfvae.config import Config
from tfvae.core.vae import VAE
from tfvae.data.provenance import examples
from tfvae.data.splits import Dataset
from tfvae.runtime import files
from tfvae.training import checkpoints, evaluation, health, history, hparams, projector, report
from tfvae.training.evaluation import Evaluator, PerImage
from tfvae.training.monitor import write_warnings
from tfvae.training.notes import Notes
from tfvae.training.strategy import Placement

Export = Callable[[VAE, int, dict[str, Any]], Path]  # (vae, step, results) -> the exported version's directory


class Ending:
    """The end of one run; all workers evaluate, and the chief alone writes."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        run_dir: Path,
        placement: Placement,
        evaluator: Evaluator,
        export: Export,
    ) -> None:
        self.config, self.dataset, self.run_dir, self.placement = config, dataset, run_dir, placement
        self.evaluator, self.export = evaluator, export

    def finish(self, vae: VAE, notes: Notes, taken: Notes) -> dict[str, Any]:
        """Evaluates, exports, and writes `results.json`, which it returns.

        `notes` are those of the last step, `taken` those of the weights that `vae` has.
        """
        block_size = self.evaluator.plan.block_size(len(self.dataset.test.images))
        kept_blocks = evaluation.KeptBlocks(self.run_dir, taken.step, self.config.eval_samples, block_size)
        of_images = self._evaluate(kept_blocks)
        if self.placement.chief:
            results = report.results(self.config, self.dataset, notes, taken, of_images.summary(), block_size)
            results["warnings"] = health.warnings(self.config, results, history.read(self.run_dir), taken.step)
            write_warnings(self.run_dir, results["warnings"], taken.step)
            results["export"] = str(self.export(vae, taken.step, results))
            projector.write(self.run_dir, vae, self.dataset, block_size)
            hparams.write(self.run_dir, self.config, results)  # before the results, after which nothing is done again
            files.write_atomically(self.run_dir / "results.json", json.dumps(results, indent=1) + "\n")
            kept_blocks.forget()
        self.placement.all_gather(np.zeros(1))  # all wait for the results
        return json.loads((self.run_dir / "results.json").read_text())

    def _evaluate(self, kept_blocks: evaluation.KeptBlocks) -> PerImage:
        samples, word = self.config.eval_samples, examples(self.dataset.columns)
        try:
            return evaluation.evaluate_run(
                self.evaluator, self.dataset.test, samples, kept_blocks, word, is_shown=self.placement.chief
            )
        except (SystemExit, KeyboardInterrupt):
            safe = checkpoints.safe_on_disk(self.run_dir)
            self.placement.say(f"stopped in the evaluation; {safe}, and with its finished images")
            raise
