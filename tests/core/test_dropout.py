"""tfvae.Dropout: its mask is a function of seed, step and place, for the global batch's rows, and of nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tfvae.core import dropout

X = tf.constant(np.random.default_rng(0).normal(size=(40, 3, 200)), tf.float32)


def dropped(x=X, rows=None, batch_size=40, seed=1, t=5, place=0, rate=0.3):
    layer = tfvae.Dropout(rate)
    layer.seed = place
    with dropout.in_step(seed, tf.constant(t), rows, batch_size):
        return layer(x).numpy()


def test_it_is_the_identity_outside_of_a_step():
    assert (tfvae.Dropout(0.9)(X) == X).numpy().all()
    assert (dropped(rate=0.0) == X.numpy()).all()
    assert tfvae.Dropout(0.5)(keras.Input((4, 3))).shape == (None, 4, 3)


def test_numbers_are_dropped_with_the_rate_and_others_divided():
    ours = dropped()
    kept = ours != 0
    share = kept.mean()
    assert abs(share - 0.7) < 4 * np.sqrt(0.7 * 0.3 / kept.size)
    np.testing.assert_allclose(ours[kept], X.numpy()[kept] / 0.7, rtol=1e-6)
    # independent from number to number: shares of rows and columns vary as those of a binomial
    for axes in ((1, 2), (0, 1)):
        shares = kept.mean(axis=axes)
        expected = np.sqrt(0.7 * 0.3 / (kept.size / len(shares)))
        assert 0.6 * expected < shares.std() < 1.5 * expected


def test_the_mask_is_another_for_another_seed_step_or_place_and_the_same_again():
    ours = dropped() != 0
    assert ((dropped() != 0) == ours).all()
    for other in ({"seed": 2}, {"t": 6}, {"place": 1}):
        agreement = ((dropped(**other) != 0) == ours).mean()
        assert abs(agreement - (0.7**2 + 0.3**2)) < 0.02, other


def test_replicas_take_their_rows_of_the_global_mask_in_each_sample():
    samples = tf.reshape(X, (2, 20, 3, 200))  # K = 2 of B = 20
    whole = dropped().reshape(2, 20, 3, 200)
    for rows in (tf.range(10), tf.range(10, 20)):
        share = tf.reshape(tf.gather(samples, rows, axis=1), (20, 3, 200))
        ours = dropped(share, rows, batch_size=20).reshape(2, 10, 3, 200)
        np.testing.assert_array_equal(ours, whole[:, rows.numpy()])
    assert ((whole[0] != 0) != (whole[1] != 0)).any()


@pytest.mark.parametrize("jit", [True, False])
def test_a_compiled_step_has_the_same_mask_and_so_has_a_batch_of_any_size(jit):
    layer = tfvae.Dropout(0.3)

    @tf.function(jit_compile=jit, input_signature=[tf.TensorSpec([None, 3, 200]), tf.TensorSpec([], tf.int32)])
    def step(x, t):
        with dropout.in_step(1, t):
            return layer(x)

    np.testing.assert_array_equal(step(X, 5) != 0, dropped() != 0)


@pytest.mark.parametrize("rate", [1, -0.1, "0.5", True, np.nan])
def test_another_rate_is_refused(rate):
    with pytest.raises(tfvae.InputError, match="^rate=.*: must be a number from 0 to below 1$"):
        tfvae.Dropout(rate)


def test_it_is_made_of_its_config_again():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(tfvae.Dropout(0.25)))
    assert type(again) is tfvae.Dropout and again.rate == 0.25
