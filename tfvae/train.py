"""Trains a VAE, evaluates it and exports its decoder: python -m tfvae.train --latent_dim=2

The same command, run again, goes on from the last checkpoint and ends with the same weights, bit for bit.
"""

import contextlib
import dataclasses
import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfvae.config import Config, RunError, check_resumable, import_tensorflow, read_flags, require_writable, run

_CHUNK_SECONDS = 1.0  # how long a signal may have to wait
_PICTURES = 10  # times that pictures are drawn between the start and the end


def train(config: Config, met: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Trains, evaluates and exports; goes on where the run directory has a checkpoint; only reads what is finished.

    Where `TF_CONFIG` names several workers, each of them calls it; `met` is called when all are there.

    Returns:
        What `<run>/results.json` holds: test figures in nats and what they are of, speed, the export.

    Raises:
        InputError: the data, or the run directory's settings, don't fit; nothing has been written.
        RunError: the run failed after its start; the message says what is safe.
    """
    import_tensorflow()
    import tensorflow as tf

    from tfvae import checkpoints, data, monitoring, safety, strategy

    placement = strategy.place(config)
    met()
    name, why = data.resolve(config)
    config = dataclasses.replace(config, dataset=name)
    dataset = data.load(config)
    config = dataclasses.replace(
        config,
        epochs=config.epochs or max(10, math.ceil(1_000_000 / len(dataset.train.images))),
        validation_examples=len(dataset.validation.images),
    )
    run_dir = Path(config.run_dir or Path("runs") / config.name())
    config = dataclasses.replace(config, run_dir=str(run_dir))
    if (run_dir / "config.flags").exists():
        check_resumable(config, read_flags(run_dir / "config.flags"))
    placement.say(f"{why}; {dataset.describe()}")
    if results := _finished(run_dir, config, dataset.fingerprint()):
        placement.say(f"{run_dir} is finished: {config.epochs:,} epochs")
    else:
        with safety.locked(run_dir) if placement.chief else contextlib.nullcontext():
            try:
                with placement.together(lambda: checkpoints.safe_on_disk(run_dir)):
                    results = _train(config, dataset, run_dir, placement)
            except (OSError, tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
                what = " ".join(str(error).split())[-200:]  # TensorFlow says the reason last
                raise RunError(f"{type(error).__name__}: {what}; {checkpoints.safe_on_disk(run_dir)}") from error
    placement.say(f"{monitoring.table(results)}\n{monitoring.next_commands(run_dir, Path(results['export']))}")
    return results


def _train(config: Config, dataset: Any, run_dir: Path, placement: Any) -> dict[str, Any]:
    """The loop over chunks of steps, then the evaluation and the export; the chief alone writes."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tfvae import checkpoints, data, evaluation, models, monitoring, safety, saved_model, training

    chief, examples = placement.chief, len(dataset.train.images)
    with placement.strategy.scope():
        state = training.create_state(config, dataset.image_shape, examples)
    per_epoch = training.steps_per_epoch(config, examples)
    total = config.epochs * per_epoch
    notes = {
        "image_shape": dataset.image_shape,
        "fingerprint": dataset.fingerprint(),
        "step": 0,
        "seconds": 0.0,
        "elbo": 0.0,
    }
    if checkpoints.steps(run_dir):
        saved = checkpoints.restore(run_dir, lambda _: state.variables())
        if saved["fingerprint"] != notes["fingerprint"]:
            raise data.changed(config, run_dir)
        notes.update(saved)
    first = step = notes["step"]
    placement.agree(run_dir, {"step": step, "images": notes["fingerprint"], "flags": config.settings()})
    begins = f"goes on from step {step:,}" if step else "starts from step 0"
    of = f"{monitoring.pixels(config, dataset.test.images)}, {config.likelihood} likelihood, seed {config.seed}"
    placement.say(f"{run_dir}: {begins} of {total:,} steps{placement.describe()}; {of}; ELBO in nats an image")

    run_steps = training.make_run_steps(state, config, dataset.train.images, placement)
    evaluate = evaluation.make_evaluate(state.vae, config.latent_dim, config.seed, config.closed_kl, placement)
    pictured = {round(i * config.epochs / (_PICTURES + 1)) for i in range(_PICTURES + 2)}
    saved_at, saved_step, chunk = time.monotonic(), first or None, 10
    with safety.signals_held() as signals, contextlib.ExitStack() as stack:
        if chief:
            safety.write_atomically(run_dir / "config.flags", config.to_flags())
            monitor = stack.enter_context(monitoring.Monitor(run_dir, config, dataset, step, total))
        if step < total:
            run_steps(step, 0)  # compiles, so that the speed is that of training
        while step < total:
            # the chief's clock is that of all, and a signal to one worker is one to all
            told = placement.all_gather(np.array([chunk, *(signals[:1] or [0])]))
            chunk = int(told[0, 0])
            if told[:, 1].any():
                break
            count = min((step // per_epoch + 1) * per_epoch - step, chunk)
            start = time.perf_counter()
            means, bad_step = run_steps(step, count)
            seconds = time.perf_counter() - start
            if bad_step is not None:
                safe = checkpoints.safe_on_disk(run_dir).partition(":")[0]
                raise RunError(
                    f"step {bad_step:,}: the loss is not finite, and the same command would end there again: take a "
                    f"smaller --learning_rate and another --run_dir; {safe}"
                )
            if chief and step == 0:  # what was there before the first step, which need not wait for it
                monitor.pictures(models.make_vae(config, dataset.image_shape), 0)
            before = step % per_epoch  # of this epoch's steps
            step, chunk = step + count, max(1, round(count / seconds * _CHUNK_SECONDS))
            epoch = step // per_epoch
            elbo = (notes["elbo"] * before + means["elbo"] * count) / (before + count)
            notes.update(step=step, seconds=notes["seconds"] + seconds, elbo=elbo)
            speed = count * config.batch_size / seconds
            rate = float(tf.convert_to_tensor(state.optimizer.learning_rate))
            if chief:
                monitor.scalars("train", {**means, "images_per_second": speed, "learning_rate": rate}, step)
                monitor.advance(count, step, elbo)
            if step % per_epoch:
                continue
            if chief and (step == total or time.monotonic() - saved_at >= config.checkpoint_every):
                checkpoints.save(run_dir, state.variables(), step, notes)
                saved_at, saved_step = time.monotonic(), step
            validation = None
            if len(dataset.validation.images):
                validation = evaluate(dataset.validation.images, 1).summary()
            if chief:
                monitor.epoch(step, elbo, validation, speed, epoch in pictured)
                if epoch in pictured:
                    monitor.pictures(state.vae, step)
        if chief and step != saved_step:
            checkpoints.save(run_dir, state.variables(), step, notes)
    if stop := int(placement.all_gather(np.array(signals[:1] or [0])).max()):  # all wait for the checkpoint
        placement.say(f"stopped at step {step:,}; {checkpoints.safe_on_disk(run_dir)}")
        signal.raise_signal(stop)  # to the handler that was there before: the command's leaves with 130 or 143
        raise RunError(f"stopped by signal {stop} at step {step:,}")

    try:
        summary = evaluation.of_run(evaluate, dataset.test.images, config.eval_samples, run_dir, step, chief).summary()
    except (SystemExit, KeyboardInterrupt):
        placement.say(f"stopped in the evaluation; {checkpoints.safe_on_disk(run_dir)}, and with its finished images")
        raise
    if chief:
        results = {
            "of": monitoring.provenance(config, dataset.test.images, config.eval_samples),
            "test": monitoring.test_figures(config, summary, dataset.image_shape),
            "train": {
                "elbo": notes["elbo"],  # the last epoch's mean over its steps, as the weights moved
                "images_per_second": step * config.batch_size / notes["seconds"],
                "steps": step,
                "epochs": config.epochs,
            },
            "fingerprint": notes["fingerprint"],
            "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        }
        base = saved_model.base_of(config.export_dir, run_dir)
        results["export"] = str(saved_model.export(state.vae, base, saved_model.about(config, step, results)))
        safety.write_atomically(run_dir / "results.json", json.dumps(results, indent=1) + "\n")
        evaluation.forget(run_dir, step, config.eval_samples)
    placement.all_gather(np.zeros(1))  # all wait for the results
    return json.loads((run_dir / "results.json").read_text())


def _finished(run_dir: Path, config: Config, fingerprint: str) -> dict[str, Any] | None:
    """The results of a run on these images that has nothing left to do."""
    path = run_dir / "results.json"
    results = json.loads(path.read_text()) if path.is_file() else None
    done = results and (results["train"]["epochs"], results["fingerprint"]) == (config.epochs, fingerprint)
    return results if done else None


def main(given: dict[str, Any]) -> None:
    from tfvae import strategy

    config = Config(**given)
    if config.run_dir:
        require_writable("run_dir", config.run_dir)
        if (recorded := Path(config.run_dir) / "config.flags").is_file():
            config = dataclasses.replace(read_flags(recorded), **given)  # an unset flag takes the recorded value
    require_writable("export_dir", config.export_dir)
    train(config, strategy.guarded(config) if strategy.is_multi_worker(config) else lambda: None)


if __name__ == "__main__":
    run(main, "tfvae.train", __doc__)
