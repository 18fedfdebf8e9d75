"""What the tests of this wing share: a small run on the digits."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae import Config, data
from tfvae.config.flagfile import to_flagfile
from tfvae.core.objectives import elbo_loss
from tfvae.training import checkpoints
from tfvae.training.state import create_state

CONFIG = Config(dataset="digits", latent_dim=8, hidden_units=(128,), epochs=60, eval_samples=20)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """A run that has learned the digits well enough to fill in their missing pixels better than their means do.

    It is trained by a loop of its own: without XLA's compiler, evaluation and export it is there in a few seconds.
    """
    dataset = data.load(CONFIG)
    images, size = dataset.train.images, CONFIG.batch_size
    state = create_state(CONFIG, dataset.image_shape, len(images))
    weights = state.vae.trainable_variables

    @tf.function(autograph=False)
    def train(x, epsilon):
        with tf.GradientTape() as tape:
            losses, _ = elbo_loss(state.vae, x, epsilon)
            loss = tf.reduce_mean(losses)
        state.optimizer.apply(tape.gradient(loss, weights), weights)

    rng = np.random.default_rng(0)
    for _ in range(CONFIG.epochs):
        order = rng.permutation(len(images))
        for first in range(0, len(images) - size + 1, size):
            epsilon = rng.normal(size=(1, size, CONFIG.latent_dim)).astype("f")
            train(tf.constant(images[order[first : first + size]]), tf.constant(epsilon))

    folder = tmp_path_factory.mktemp("run")
    (folder / "config.flags").write_text(to_flagfile(CONFIG))
    notes = {"image_shape": dataset.image_shape, "step": 840, "fingerprint": dataset.fingerprint()}
    checkpoints.save(folder, state.variables(), 840, notes)
    return folder
