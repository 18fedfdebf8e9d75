"""Evaluates a trained run on its test images: python -m tfvae.evaluate --run_dir=runs/NAME

Prints the ELBO and its terms, log p(x) by importance sampling and the active units, with --baselines also exact
baselines on the same images, and writes them to `<run>/evaluation.json`.
"""

import json
from pathlib import Path
from typing import Any

from tfvae.config import Config, import_tensorflow, of_run, require_writable, run


def evaluate(config: Config, with_baselines: bool = False) -> dict[str, Any]:
    """Evaluates the run in `config.run_dir` with S = `config.eval_samples`; returns figures and what they are of.

    `with_baselines` adds those of `baselines.compare`.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had.
    """
    import_tensorflow()
    from tfvae import checkpoints, data, evaluation, monitoring, safety

    run_dir = Path(config.run_dir)
    require_writable("run_dir", run_dir)
    trained = checkpoints.load_run(run_dir)
    dataset = data.load_of(config, trained.fingerprint)
    images = dataset.test.images
    compiled = evaluation.make_evaluate(trained.vae, config.latent_dim, config.seed, config.closed_kl)
    per_image = evaluation.of_run(compiled, images, config.eval_samples, run_dir, trained.step)
    results = {
        "of": {**monitoring.provenance(config, images, config.eval_samples), "step": trained.step},
        "test": monitoring.test_figures(config, per_image.summary(), dataset.image_shape),
    }
    print(f"{run_dir}, step {trained.step:,}: {monitoring.table(results)}", flush=True)
    if with_baselines:
        from tfvae import baselines

        results["baselines"] = baselines.compare(config, dataset, trained.vae)
        print(baselines.table(results["of"], results["baselines"]), flush=True)
    safety.write_atomically(run_dir / "evaluation.json", json.dumps(results, indent=1) + "\n")
    evaluation.forget(run_dir, trained.step, config.eval_samples)
    return results


def main(given: dict[str, Any]) -> None:
    given = dict(given)
    with_baselines = given.pop("baselines", False)
    evaluate(of_run(given), with_baselines)


if __name__ == "__main__":
    run(main, "tfvae.evaluate", __doc__, ("run_dir", "eval_samples", "data_dir", "baselines"))
