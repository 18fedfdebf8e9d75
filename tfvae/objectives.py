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


def elbo(vae: Any, x: tf.Tensor, epsilon: tf.Tensor) -> Elbo:
    """The ELBO with the closed KL and the mean over K samples of z (Kingma & Welling 2014, eq. 7)."""
    q = vae.encode(x)  # q(z|x)
    z = vae.sampling(q, epsilon)  # z ~ q(z|x)                  [K, B, L]
    log_likelihood = tf.reduce_mean(vae.decode(z).log_prob(x), axis=0)  # log p(x|z)
    kl = q.kl(vae.prior)  # KL(q(z|x) || p(z))
    return Elbo(log_likelihood - kl, log_likelihood, kl)


def loss(terms: Elbo, beta: float = 1.0) -> tf.Tensor:
    """What training minimises: -(log_likelihood - beta kl), so minus the ELBO at beta = 1 (Higgins et al. 2017)."""
    return beta * terms.kl - terms.log_likelihood


def log_weights(vae: Any, q: Any, x: tf.Tensor, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """log p(x|z_k) p(z_k) / q(z_k|x) and log p(x|z_k), each [K, B], for z_k ~ q = q(z|x)."""
    z = vae.sampling(q, epsilon)
    log_likelihood = vae.decode(z).log_prob(x)
    return log_likelihood + vae.prior.log_prob(z) - q.log_prob(z), log_likelihood


def importance_weighted_bound(vae: Any, x: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """L_K, the importance-weighted bound (Burda et al. 2016, eq. 8): with a large K an estimate of log p(x)."""
    log_w, _ = log_weights(vae, vae.encode(x), x, epsilon)
    return tf.reduce_logsumexp(log_w, axis=0) - math.log(log_w.shape[0])
