"""Run directories as training leaves them, made by hand."""

import json

from tfvae.config import Config
from tfvae.config.flagfile import to_flagfile

HISTORY = "epoch,step,elbo,log_likelihood,kl,val_elbo,val_log_likelihood,val_kl\n"


def results_of(config, elbo=-24.0, fingerprint="bd806510", **of):
    """What `results.json` holds; `of` are other words on what the figures are of."""
    return {
        "of": {
            "dataset": "digits",
            "split": "test",
            "images": 180,
            "examples": "images",
            "pixels": "grey values",
            "likelihood": "bernoulli",
            "posterior": config.posterior,
            "prior": config.prior,
            "objective": config.objective,
            "kl": "closed",
            "samples": config.eval_samples,
            "seed": config.seed,
            "units": "nats per image",
            **of,
        },
        "test": {
            "elbo": elbo,
            "elbo_standard_error": 0.25,
            "log_likelihood": elbo + 5,
            "kl": 5.0,
            "log_px": elbo + 0.5,
            "log_px_standard_error": 0.5,
            "active_units": config.latent_dim,
            "squared_error": 0.0625,
        },
        "train": {"elbo": elbo + 1, "images_per_second": 1234.5, "steps": 110, "epochs": config.epochs},
        "fingerprint": fingerprint,
    }


def make_run(run_dir, elbo=-24.0, fingerprint="bd806510", of=None, **settings):
    """A finished run in `run_dir`."""
    config = Config(**{"dataset": "digits", "epochs": 10, "validation_examples": 18, **settings}).as_usual()
    run_dir.mkdir(parents=True)
    (run_dir / "config.flags").write_text(to_flagfile(config))
    (run_dir / "results.json").write_text(json.dumps(results_of(config, elbo, fingerprint, **(of or {}))))
    write_history(run_dir, config.epochs)
    return run_dir


def make_unfinished_run(run_dir, epochs_done, **settings):
    """A run that has done some of its epochs."""
    make_run(run_dir, **settings)
    (run_dir / "results.json").unlink()
    write_history(run_dir, epochs_done)
    return run_dir


def write_history(run_dir, epochs):
    rows = [f"{epoch},{11 * epoch},-30.0,-25.0,5.0,,,\n" for epoch in range(1, epochs + 1)]
    (run_dir / "history.csv").write_text(HISTORY + "".join(rows))
