"""Run directories that are there at once: their weights are those of step 0, which no test waits for."""

import dataclasses

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

from tfvae import data  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.config.flagfile import to_flagfile  # noqa: E402
from tfvae.config.left_to_data import with_models  # noqa: E402
from tfvae.data import dataset as datasets  # noqa: E402
from tfvae.training import checkpoints  # noqa: E402
from tfvae.training.notes import Notes  # noqa: E402
from tfvae.training.state import create_state  # noqa: E402

SMALL = {"hidden_units": (16,), "latent_dim": 3, "eval_samples": 7, "batch_size": 8, "epochs": 1}


def make_run(folder, source, arrays=None, kind="images", **settings):
    """A run directory on this data set, or on these parts of arrays; its settings and its splits.

    `kind` is that of `left_to_data.with_models`.
    """
    config = Config(dataset=str(source), run_dir=str(folder), **{**SMALL, **settings})
    config = with_models(config, kind)
    dataset = data.load(config) if arrays is None else datasets.load(config, arrays)
    config = dataclasses.replace(config, validation_examples=len(dataset.validation.images))
    size = len(dataset.train.images)
    state = create_state(config, dataset.image_shape, size, dataset.white, None, *dataset.of_model)
    folder.mkdir(exist_ok=True)
    (folder / "config.flags").write_text(to_flagfile(config))
    checkpoints.save(folder, state.variables(), 5, Notes.of(dataset, None)._replace(step=5)._asdict())
    return config, dataset
