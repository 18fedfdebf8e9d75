"""The objectives: how well a VAE explains images, in nats for each image.

    ELBO(x) = E_q(z|x)[ log p(x|z) ] - KL( q(z|x) || p(z) )                     Kingma & Welling 2014, eq. 3
    L_K(x)  = E[ log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x) ],  z_k ~ q(z|x)      Burda et al. 2016, eq. 8

    ELBO = L_1 <= L_K <= log p(x), and L_K goes to log p(x) as K grows.

A `vae` here is anything with `encode(x) -> q(z|x)`, `sampling(q, epsilon) -> z`, `decode(z) -> p(x|z)` and `prior`.
The noise is an argument; nothing here knows of batches' means, optimizers or loops.

Shapes: x [B, H, W, C] in [0, 1]; epsilon [K, B, L] standard normal; results [B] unless they say otherwise.
"""

import math
from typing import Any, NamedTuple

import tensorflow as tf


class Elbo(NamedTuple):
    """The ELBO and its two terms, each [B] in nats: elbo = log_likelihood - kl.

    `log_likelihood` is minus the reconstruction error (minus the distortion), `kl` is the rate.
    """

    elbo: tf.Tensor
    log_likelihood: tf.Tensor
    kl: tf.Tensor


def elbo(vae: Any, x: tf.Tensor, epsilon: tf.Tensor, kl: str = "analytic", q: Any = None) -> Elbo:
    """The ELBO over K samples of z, its KL closed or sampled (`monte_carlo`; Kingma & Welling 2014, eq. 7 and 6).

    `q` is q(z|x), where it is at hand.
    """
    q = vae.encode(x) if q is None else q  # q(z|x)
    z = vae.sampling(q, epsilon)  # z ~ q(z|x)                  [K, B, L]
    log_likelihood = tf.reduce_mean(vae.decode(z).log_prob(x), axis=0)  # log p(x|z)
    if kl == "analytic":
        rate = q.kl(vae.prior)  # KL(q(z|x) || p(z))
    else:
        rate = tf.reduce_mean(q.log_prob(z) - vae.prior.log_prob(z), axis=0)
    return Elbo(log_likelihood - rate, log_likelihood, rate)


def log_weights(vae: Any, q: Any, x: tf.Tensor, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """log p(x|z_k) p(z_k) / q(z_k|x) and log p(x|z_k), each [K, B], for z_k ~ q = q(z|x)."""
    z = vae.sampling(q, epsilon)
    log_likelihood = vae.decode(z).log_prob(x)
    return log_likelihood + vae.prior.log_prob(z) - q.log_prob(z), log_likelihood


def log_mean_exp(log_w: tf.Tensor) -> tf.Tensor:
    """log of the mean over the first axis of exp(log_w)."""
    return tf.reduce_logsumexp(log_w, axis=0) - math.log(log_w.shape[0])


def importance_weighted_bound(vae: Any, x: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """L_K, the importance-weighted bound (Burda et al. 2016, eq. 8): with a large K an estimate of log p(x)."""
    log_w, _ = log_weights(vae, vae.encode(x), x, epsilon)
    return log_mean_exp(log_w)


# What training minimises. Each returns the loss [B], whose gradient is the estimate of the objective's, and the
# ELBO and its terms as they came out on the way, for the eye.


def elbo_loss(
    vae: Any, x: tf.Tensor, epsilon: tf.Tensor, kl: str = "analytic", beta: float = 1.0, free_bits: float = 0.0
) -> tuple[tf.Tensor, Elbo]:
    """-(log_likelihood - beta kl): minus the ELBO at beta = 1 (Higgins et al. 2017, eq. 4).

    With `free_bits` > 0 each latent's KL counts as at least so many nats, below which it has no gradient (Kingma et al.
    2016, eq. 15, for each image by itself).
    """
    q = vae.encode(x)
    terms = elbo(vae, x, epsilon, kl, q)
    rate = terms.kl
    if free_bits:
        rate = tf.reduce_sum(tf.maximum(q.kl_per_latent(vae.prior), free_bits), axis=-1)
    return beta * rate - terms.log_likelihood, terms


def score_function_loss(
    vae: Any,
    x: tf.Tensor,
    epsilon: tf.Tensor,
    kl: str = "analytic",
    beta: float = 1.0,
    baseline: str = "none",
) -> tuple[tf.Tensor, Elbo]:
    """Minus the ELBO with the gradient E[ f(z) d log q(z|x) ]: none goes through z (Williams 1992; Mnih & Gregor 2014).

    `leave_one_out` takes from each sample's f the mean of the others', which leaves the gradient's mean as it is
    (Kool et al. 2019, eq. 6).
    """
    q = vae.encode(x)
    z = tf.stop_gradient(vae.sampling(q, epsilon))
    log_q, log_prior, log_likelihood = q.log_prob(z), vae.prior.log_prob(z), vae.decode(z).log_prob(x)
    rate = q.kl(vae.prior) if kl == "analytic" else tf.reduce_mean(log_q - log_prior, axis=0)
    reward = log_likelihood if kl == "analytic" else log_likelihood - beta * (log_q - log_prior)
    terms = Elbo(tf.reduce_mean(log_likelihood, axis=0) - rate, tf.reduce_mean(log_likelihood, axis=0), rate)
    reward = tf.stop_gradient(reward)  # [K, B]
    if baseline == "leave_one_out":
        samples = reward.shape[0]
        reward = (reward - tf.reduce_mean(reward, axis=0)) * (samples / (samples - 1))
    # the values add up to the loss, and the score adds a gradient but no value
    score = tf.reduce_mean(reward * (log_q - tf.stop_gradient(log_q)), axis=0)
    if kl != "analytic":  # E[d log q] = 0: log q's own gradient inside f only adds variance
        rate = tf.stop_gradient(rate) - tf.reduce_mean(log_prior - tf.stop_gradient(log_prior), axis=0)
    return beta * rate - terms.log_likelihood - score, terms


def importance_weighted_loss(
    vae: Any, x: tf.Tensor, epsilon: tf.Tensor, doubly_reparameterized: bool = False
) -> tuple[tf.Tensor, Elbo]:
    """-L_K (Burda et al. 2016, eq. 8 and 13), optionally with the doubly reparameterised gradient of the encoder.

    That one leaves out the score of q, whose mean is 0, and weighs each sample's path by its squared weight (Tucker
    et al. 2019, eq. 6): its variance falls, not rises, with K. The decoder's and the prior's gradient is L_K's own.
    """
    weights: list[tf.Tensor] = []

    @tf.custom_gradient
    def weighed(z: tf.Tensor) -> tuple[tf.Tensor, Any]:  # the path from z back to the encoder, once more weighed
        return tf.identity(z), lambda upstream: upstream * weights[0][..., None]

    q = vae.encode(x)
    z = vae.sampling(q, epsilon)
    density = q
    if doubly_reparameterized:
        z, density = weighed(z), type(q)(*(tf.stop_gradient(parameter) for parameter in q))
    log_likelihood, log_ratio = vae.decode(z).log_prob(x), density.log_prob(z) - vae.prior.log_prob(z)
    log_w = log_likelihood - log_ratio
    weights.append(tf.stop_gradient(tf.nn.softmax(log_w, axis=0)))
    rate, log_likelihood = tf.reduce_mean(log_ratio, axis=0), tf.reduce_mean(log_likelihood, axis=0)
    return -log_mean_exp(log_w), Elbo(log_likelihood - rate, log_likelihood, rate)


def autoencoder_loss(vae: Any, x: tf.Tensor) -> tuple[tf.Tensor, Elbo]:
    """-log p(x|z) at z = the posterior's mean: the plain autoencoder, no noise and no KL (so its `elbo` is none)."""
    log_likelihood = vae.decode(vae.encode(x).mean).log_prob(x)
    return -log_likelihood, Elbo(log_likelihood, log_likelihood, tf.zeros_like(log_likelihood))
