"""A network that can't fit into the machine is refused before it is built, with the figures."""

import numpy as np
import pytest

from tfvae.config import Config
from tfvae.data.splits import Dataset, Split
from tfvae.errors import InputError
from tfvae.training import memory

IMAGES = Split(np.zeros((1, 10, 10, 1), np.uint8), None)
DATASET = Dataset(IMAGES, IMAGES, IMAGES)
# (100 + 1) * 1000 + (1000 + 1) * 4 of the encoder, (2 + 1) * 1000 + (1000 + 1) * 100 of the decoder
CONFIG = {"hidden_units": (1_000,), "latent_dim": 2}
WEIGHTS = 101_000 + 4_004 + 3_000 + 100_100


@pytest.mark.parametrize(("optimizer", "copies"), [("adam", 4), ("rmsprop", 3), ("adagrad", 3), ("sgd", 2)])
@pytest.mark.parametrize("replicas", [1, 2])
def test_weights_gradients_and_the_optimizer_s_variables_must_fit(monkeypatch, optimizer, copies, replicas):
    config = Config(**CONFIG, optimizer=optimizer, batch_size=1).as_usual()
    need = WEIGHTS * 4 * copies * replicas  # one image's outputs are fewer than the gradients
    monkeypatch.setattr(memory, "machine_bytes", lambda: need)
    memory.require_fitting(config, DATASET, replicas)
    monkeypatch.setattr(memory, "machine_bytes", lambda: need - 1)
    with pytest.raises(InputError, match=f"network='?mlp'?: must fit .*: {WEIGHTS:,} weights.*smaller hidden_units"):
        memory.require_fitting(config, DATASET, replicas)


def test_a_batch_must_fit(monkeypatch):
    config = Config(**CONFIG, batch_size=10_000, num_samples=5).as_usual()
    need = WEIGHTS * 12 + 10_000 * 4 * (100 + 1_000 + 4 + 5 * 1_100)
    monkeypatch.setattr(memory, "machine_bytes", lambda: need)
    memory.require_fitting(config, DATASET, 1)
    monkeypatch.setattr(memory, "machine_bytes", lambda: need - 1)
    with pytest.raises(InputError, match="batch_size=10000: must fit .* take a smaller batch_size"):
        memory.require_fitting(config, DATASET, 1)
