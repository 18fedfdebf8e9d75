"""What the latents of a run on the digits are worth to classifiers."""

import numpy as np
import pytest

import tfvae
from tfvae import data
from tfvae.analysis import features


@pytest.mark.slow
def test_features_and_fine_tuning_are_far_above_chance_and_pretraining_helps(run_dir):
    vae, config = tfvae.load(run_dir)[:2]
    digits = data.load(config)
    table = features.features(vae, digits.train, digits.test)
    assert min(table["posterior means"].values()) > 0.75  # chance: 0.1
    assert min(table["pixels"].values()) > 0.93
    before = [variable.numpy() for variable in vae.encoder.variables]
    gains = []
    for seed in range(3):  # in as few steps the start counts most; after many, the digits are learned from scratch too
        rows = features.fine_tuning(vae, digits.train, digits.test, seed, steps=100)
        assert list(rows) == ["100 labels", "1,000 labels", "1,437 labels"]
        gains.append(rows["100 labels"]["fine-tuned"] - rows["100 labels"]["from scratch"])
        assert rows["1,437 labels"]["fine-tuned"] > 0.7
    assert np.mean(gains) > 0
    assert all((a == b.numpy()).all() for a, b in zip(before, vae.encoder.variables))  # the run's own stay
