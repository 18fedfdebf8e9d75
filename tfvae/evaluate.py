"""Evaluates a trained run on its test images: python -m tfvae.evaluate --run_dir=runs/NAME

Prints the ELBO and its terms, log p(x) by importance sampling and the active units, and writes them to
`<run>/evaluation.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import tqdm

from tfvae.config import Config, import_tensorflow, of_run, require_writable, run


def evaluate(config: Config) -> dict[str, Any]:
    """Evaluates the run in `config.run_dir` with S = `config.eval_samples`; returns figures and what they are of.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had.
    """
    import_tensorflow()
    from tfvae import checkpoints, data, evaluation, monitoring, safety

    run_dir = Path(config.run_dir)
    require_writable("run_dir", run_dir)
    trained, dataset = checkpoints.load_run(run_dir), data.load(config)
    if trained.fingerprint != dataset.fingerprint():
        raise data.changed(config, run_dir)
    images = dataset.test.images
    compiled = evaluation.make_evaluate(trained.vae, config.latent_dim, config.seed)
    with tqdm.tqdm(total=len(images), unit=" images", disable=not sys.stderr.isatty(), leave=False) as bar:
        test = compiled(images, config.eval_samples, bar.update).summary()
    of = monitoring.provenance(config, images, config.eval_samples)
    results = {"of": {**of, "step": trained.step}, "test": test}
    print(f"{run_dir}, step {trained.step:,}: {monitoring.table(results)}", flush=True)
    safety.write_atomically(run_dir / "evaluation.json", json.dumps(results, indent=1) + "\n")
    return results


def main(given: dict[str, Any]) -> None:
    evaluate(of_run(given))


if __name__ == "__main__":
    run(main, "tfvae.evaluate", __doc__, ("run_dir", "eval_samples", "data_dir"))
