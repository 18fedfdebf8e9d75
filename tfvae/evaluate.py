"""Evaluates a trained run on its test images: python -m tfvae.evaluate --run_dir=runs/NAME

Prints the ELBO and its terms, log p(x) by importance sampling and the active units, with --baselines also exact
baselines on the same images, and writes them to `<run>/evaluation.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import tqdm

from tfvae.config import Config, import_tensorflow, of_run, run


def evaluate(config: Config, with_baselines: bool = False) -> dict[str, Any]:
    """Evaluates the run in `config.run_dir` with S = `config.eval_samples`; returns figures and what they are of.

    `with_baselines` adds those of `baselines.compare`.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had.
    """
    import_tensorflow()
    from tfvae import checkpoints, data, evaluation, monitoring

    run_dir = Path(config.run_dir)
    vae, _, step = checkpoints.load_run(run_dir)
    dataset = data.load(config)
    images = dataset.test.images
    compiled = evaluation.make_evaluate(vae, config.latent_dim, config.seed, config.closed_kl)
    with tqdm.tqdm(total=len(images), unit=" images", disable=not sys.stderr.isatty(), leave=False) as bar:
        test = compiled(images, config.eval_samples, bar.update).summary()
    of = monitoring.provenance(config, images, config.eval_samples)
    results = {"of": {**of, "step": step}, "test": test}
    text = f"{run_dir}, step {step:,}: {monitoring.table(results)}"
    if with_baselines:
        from tfvae import baselines

        results["baselines"] = baselines.compare(config, dataset, vae)
        text += "\n" + baselines.table(results["of"], results["baselines"])
    checkpoints.write_atomically(run_dir / "evaluation.json", json.dumps(results, indent=1) + "\n")
    print(text, flush=True)
    return results


def main(given: dict[str, Any]) -> None:
    given = dict(given)
    with_baselines = given.pop("baselines", False)
    evaluate(of_run(given), with_baselines)


if __name__ == "__main__":
    run(main, "tfvae.evaluate", __doc__, ("run_dir", "eval_samples", "data_dir", "baselines"))
