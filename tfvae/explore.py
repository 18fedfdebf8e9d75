"""Puts a trained run to use: python -m tfvae.explore --run_dir=runs/NAME --task=imputation

Prints a table or a line and writes `<run>/explore/<task>.png`, `<task>.json` and, of samples, `samples.npy`. A given
`--seed` is that of the task's own draws.
"""

import json
from pathlib import Path
from typing import Any

from tfvae.config import Config, InputError, import_tensorflow, of_run, require_writable, run


def explore(config: Config, task: str = "samples") -> dict[str, Any]:
    """Does `task` with the run in `config.run_dir`, its draws by `config.seed`; returns numbers and what they are of.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data can't be had or lack labels that are needed.
    """
    if config.objective == "autoencoder" and task in ("samples", "traversal", "imputation"):
        raise InputError(f"--task={task}: must not be of a plain autoencoder, which has no p(z) to draw from")
    import_tensorflow()
    import matplotlib.image
    import numpy as np
    import tensorflow as tf

    from tfvae import checkpoints, data, figures, monitoring, noise, safety, tasks
    from tfvae.tasks import unit

    folder, seed, rows, drawn = Path(config.run_dir) / "explore", config.seed, {}, None
    vae, _, step, fingerprint = checkpoints.load_run(config.run_dir)
    require_writable("run_dir", folder)
    train, _, test = data.load_of(config, fingerprint)
    train = train.in_memory()
    images, first, last = test.images, unit(test.images[:8]), unit(test.images[-8:])
    own_seed = noise.seed_for(seed, noise.Stream.BINARIZE)
    if task == "samples":
        drawn, what = tasks.samples(vae, 100, seed), "100 means of p(x|z), z from the prior"
        picture = figures.tile(drawn, 10)
    elif task == "interpolation":
        strips, what = tasks.interpolation(vae, first, last), "pairs, and 10 steps between their reconstructions"
        strips = np.concatenate([first[:, None], strips, last[:, None]], axis=1)
        picture = figures.tile(np.concatenate(strips), 12)
    elif task == "traversal":
        latents, variances, values, strips = tasks.traversal(vae, images, 0, seed)
        spans = zip(variances, values[:, 0], values[:, -1])
        rows = {f"z[{k}]": dict(zip(("variance", "from", "to"), map(float, span))) for k, span in zip(latents, spans)}
        what = "variance of posterior means, and the prior's quantiles that the picture's rows go through"
        picture = figures.tile(np.concatenate(strips), 11)
    elif task == "imputation":
        images, draws, strips = images[:1_000], config.eval_samples, []
        lower = np.arange(images.shape[1])[:, None, None] < images.shape[1] // 2
        half = noise.bernoulli(tf.fill([*images.shape[:3], 1], 0.5), own_seed).numpy() > 0
        for name, observed in {"lower half": lower, "random half": half}.items():
            by_mean = tasks.fill_means(vae, images, observed, train.images)
            by_vae = tasks.impute(vae, images, observed, train.images, draws, seed)
            rows |= {f"{name}: {k}": v.row(images, observed) for k, v in {"VAE": by_vae, "means": by_mean}.items()}
            hole = np.where(observed, unit(images), 0.5)
            strips += [strip[:15] for strip in (unit(images), hole, by_mean.filled, by_vae.filled)]
        what = f"missing pixels, nats an image by {draws} samples"
        picture = figures.tile(np.concatenate(strips), min(15, len(images)))
    else:
        if train.labels is None or test.labels is None:
            raise InputError(f"--task={task}: must be of a data set that has labels, and {config.dataset} has none")
        if config.binarize == "stochastic":
            train = train._replace(images=noise.bernoulli(unit(train.images), own_seed).numpy())
        rows, what = getattr(tasks, task)(vae, train, test, seed), f"accuracy, {len(train.images):,} train images"
        picture = figures.accuracies(rows, f"{config.dataset}, {len(images):,} test images, seed {seed}")

    folder.mkdir(exist_ok=True)
    if drawn is not None:
        np.save(folder / f"{task}.npy", drawn)
    matplotlib.image.imsave(folder / f"{task}.png", picture.repeat(4 - picture.shape[-1], axis=-1)[..., :3])
    of = {"dataset": config.dataset, "split": "test", "images": len(images), "step": step, "seed": seed, "what": what}
    safety.write_atomically(folder / f"{task}.json", json.dumps({"of": of, "rows": rows}, indent=1) + "\n")
    pixels = monitoring.pixels(config, images)
    print(f"{folder / task}.png: {config.dataset}, {len(images):,} test images, {pixels}, seed {seed}: {what}")
    for head in list(rows.values())[:1]:
        print(" " * 22 + "".join(f"{column:>27}" for column in head))
    for name, row in rows.items():
        print(f"  {name:20}" + "".join(f"{value:27.4f}" for value in row.values()), flush=True)
    return {"of": of, "rows": rows}


def main(given: dict[str, Any]) -> None:
    task = given.pop("task", "samples")
    explore(of_run(given), task)


if __name__ == "__main__":
    run(main, "tfvae.explore", __doc__, ("run_dir", "task", "seed", "eval_samples", "data_dir"))
