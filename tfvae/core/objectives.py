"""The objectives: how well a VAE explains images, in nats for each image.

    ELBO(x) = E_q(z|x)[ log p(x|z) ] - KL( q(z|x) || p(z) )                     Kingma & Welling 2014, eq. 3
    L_K(x)  = E[ log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x) ],  z_k ~ q(z|x)      Burda et al. 2016, eq. 8

    ELBO = L_1 <= L_K <= log p(x), and L_K goes to log p(x) as K grows.

A `vae` here is anything with the methods of `protocols.Vae`. The noise is an argument. Results are for each image, and
the caller takes the mean; nothing here knows of optimizers or loops. To add an objective, write its loss here, name it
in `training_loss`, and add its row to `config/capabilities.py`.

Shapes: x [B, H, W, C] in [0, 1]; epsilon [K, B, L] standard normal; results [B] unless they say otherwise.
"""

import math
from typing import NamedTuple, cast

import tensorflow as tf

from tfvae.config import Config
from tfvae.core import fast
from tfvae.core.protocols import AnyDensity, ClosedKl, Posterior, Vae


class Elbo(NamedTuple):
    """The ELBO and its two terms, each [B] in nats: elbo = log_likelihood - kl.

    `log_likelihood` is minus the reconstruction error (minus the distortion), `kl` is the rate.
    """

    elbo: tf.Tensor
    log_likelihood: tf.Tensor
    kl: tf.Tensor


def elbo(vae: Vae, x: tf.Tensor, epsilon: tf.Tensor, kl: str = "analytic", posterior: Posterior | None = None) -> Elbo:
    """The ELBO over K samples of z, its KL closed (`analytic`; Kingma & Welling 2014, eq. 7) or sampled (eq. 6).

    `posterior` is q(z|x) if it is computed already, so that the encoder does not run twice.
    """
    q = vae.encode(x) if posterior is None else posterior  # q(z|x)
    if kl == "analytic":
        z = vae.sampling(q, epsilon)  # z ~ q(z|x)                  [K, B, L]
        log_likelihood = tf.reduce_mean(vae.decode(z).log_prob(x), axis=0)  # log p(x|z)
        rate = cast(ClosedKl, q).kl(vae.prior)  # KL(q(z|x) || p(z))
        return Elbo(log_likelihood - rate, log_likelihood, rate)
    z, log_likelihood, log_q = sample_posterior(vae, q, x, epsilon)
    return _mean_terms(log_likelihood, log_q - vae.prior.log_prob(z))


class PosteriorSamples(NamedTuple):
    """Samples z_k ~ q(z|x), [K, B, L], and in nats, [K, B] each, log p(x|z_k) and log q(z_k|x)."""

    z: tf.Tensor
    log_likelihood: tf.Tensor
    log_q: tf.Tensor


def sample_posterior(vae: Vae, posterior: Posterior, x: tf.Tensor, epsilon: tf.Tensor) -> PosteriorSamples:
    """Samples of z from q(z|x) = `posterior`, and their densities."""
    if not hasattr(posterior, "log_prob"):  # it tells the density of its own samples alone, when it draws them
        z, log_q = vae.sampling(posterior, epsilon, with_log_prob=True)
        return PosteriorSamples(z, vae.decode(z).log_prob(x), log_q)
    # log q after the decoder: TensorFlow without XLA rounds gradients by the order in which operations are made, and
    # the runs of older versions go on to the bit
    z = vae.sampling(posterior, epsilon)
    log_likelihood = vae.decode(z).log_prob(x)
    return PosteriorSamples(z, log_likelihood, posterior.log_prob(z))


def log_weights(vae: Vae, posterior: Posterior, x: tf.Tensor, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """log p(x|z_k) p(z_k) / q(z_k|x) and log p(x|z_k), each [K, B], for z_k ~ q(z|x) = `posterior`."""
    z, log_likelihood, log_q = sample_posterior(vae, posterior, x, epsilon)
    return log_likelihood + vae.prior.log_prob(z) - log_q, log_likelihood


def log_mean_exp(log_w: tf.Tensor) -> tf.Tensor:
    """log of the mean over the first axis of exp(log_w)."""
    return tf.reduce_logsumexp(log_w, axis=0) - math.log(log_w.shape[0])


def importance_weighted_bound(vae: Vae, x: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """L_K, the importance-weighted bound (Burda et al. 2016, eq. 8): with a large K an estimate of log p(x)."""
    log_w, _ = log_weights(vae, vae.encode(x), x, epsilon)
    return log_mean_exp(log_w)


def mean_squared_error(vae: Vae, x: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """Of the mean of p(x|z) as a guess of x: the mean over values and over K samples z ~ q(z|x), [B]."""
    z = vae.sampling(vae.encode(x), epsilon)
    values = math.prod(x.shape[1:])
    squared_error = fast.sum_over_values(tf.square(vae.decode(z).residual(x))) / values  # [K, B]
    return tf.reduce_mean(squared_error, axis=0)


# What training minimises. Each returns the loss [B], whose gradient is the estimate of the objective's, and the
# ELBO and its terms as they came out on the way, for the eye.


def elbo_loss(
    vae: Vae,
    x: tf.Tensor,
    epsilon: tf.Tensor,
    kl: str = "analytic",
    beta: float | tf.Tensor = 1.0,
    free_bits: float = 0.0,
) -> tuple[tf.Tensor, Elbo]:
    """-(log_likelihood - beta kl): minus the ELBO at beta = 1 (Higgins et al. 2017, eq. 4).

    With `free_bits` > 0 each latent's KL counts as at least so many nats, below which it has no gradient (Kingma et al.
    2016, eq. 15, for each image by itself).
    """
    q = vae.encode(x)
    terms = elbo(vae, x, epsilon, kl, q)
    rate = terms.kl
    if free_bits:
        rate = tf.reduce_sum(tf.maximum(cast(ClosedKl, q).kl_per_latent(vae.prior), free_bits), axis=-1)
    return beta * rate - terms.log_likelihood, terms


def score_function_loss(
    vae: Vae,
    x: tf.Tensor,
    epsilon: tf.Tensor,
    kl: str = "analytic",
    beta: float | tf.Tensor = 1.0,
    baseline: str = "none",
) -> tuple[tf.Tensor, Elbo]:
    """Minus the ELBO with the gradient E[ f(z) d log q(z|x) ]: none goes through z (Williams 1992; Mnih & Gregor 2014).

    `leave_one_out` takes from each sample's f the mean of the others', which leaves the gradient's mean as it is
    (Kool et al. 2019, eq. 6).
    """
    q = vae.encode(x)
    z = tf.stop_gradient(vae.sampling(q, epsilon))
    log_q = cast(AnyDensity, q).log_prob(z)
    log_prior, log_likelihood = vae.prior.log_prob(z), vae.decode(z).log_prob(x)
    if kl == "analytic":
        rate = cast(ClosedKl, q).kl(vae.prior)
        reward = log_likelihood
    else:
        rate = tf.reduce_mean(log_q - log_prior, axis=0)
        reward = log_likelihood - beta * (log_q - log_prior)
    terms = Elbo(tf.reduce_mean(log_likelihood, axis=0) - rate, tf.reduce_mean(log_likelihood, axis=0), rate)
    reward = tf.stop_gradient(reward)  # [K, B]
    if baseline == "leave_one_out":
        samples = reward.shape[0]
        # each sample's reward less the mean of the others'
        reward = (reward - tf.reduce_mean(reward, axis=0)) * (samples / (samples - 1))
    # its value is 0, its gradient reward * d log q
    score = tf.reduce_mean(reward * (log_q - tf.stop_gradient(log_q)), axis=0)
    if (
        kl != "analytic"
    ):  # the KL's value with the prior's gradient alone: that of log q, whose mean is 0, adds variance
        rate = tf.stop_gradient(rate) - tf.reduce_mean(log_prior - tf.stop_gradient(log_prior), axis=0)
    return beta * rate - terms.log_likelihood - score, terms


def importance_weighted_loss(vae: Vae, x: tf.Tensor, epsilon: tf.Tensor) -> tuple[tf.Tensor, Elbo]:
    """-L_K, whose gradient is that of Burda et al. 2016, eq. 13."""
    z, log_likelihood, log_q = sample_posterior(vae, vae.encode(x), x, epsilon)
    log_ratio = log_q - vae.prior.log_prob(z)
    return -log_mean_exp(log_likelihood - log_ratio), _mean_terms(log_likelihood, log_ratio)


def doubly_reparameterized_loss(vae: Vae, x: tf.Tensor, epsilon: tf.Tensor) -> tuple[tf.Tensor, Elbo]:
    """-L_K with the doubly reparameterised gradient of the encoder (Tucker et al. 2019, eq. 6).

    It leaves out the score of q, whose mean is 0, and multiplies each sample's path by its squared weight: its variance
    falls, not rises, with K. The decoder's and the prior's gradient is L_K's own.
    """
    q = vae.encode(x)
    path = _WeightedPath()
    z = path.through(vae.sampling(q, epsilon))
    constant_q = tf.nest.map_structure(tf.stop_gradient, q)
    log_likelihood, log_ratio = vae.decode(z).log_prob(x), constant_q.log_prob(z) - vae.prior.log_prob(z)
    log_w = log_likelihood - log_ratio
    path.weights = tf.stop_gradient(tf.nn.softmax(log_w, axis=0))
    return -log_mean_exp(log_w), _mean_terms(log_likelihood, log_ratio)


class _WeightedPath:
    """z in the forward pass; the backward pass multiplies its gradient by `weights` [K, B].

    The weights are known only after z is decoded, and are set then: the backward pass comes later still. L_K's own
    gradient has each sample's weight once; this makes it the square.
    """

    weights: tf.Tensor

    def through(self, z: tf.Tensor) -> tf.Tensor:
        """z [K, B, L] itself."""
        return tf.custom_gradient(lambda value: (tf.identity(value), self._gradient))(z)

    def _gradient(self, upstream: tf.Tensor) -> tf.Tensor:
        return upstream * self.weights[..., None]


def _mean_terms(log_likelihood: tf.Tensor, log_ratio: tf.Tensor) -> Elbo:
    """The ELBO's terms of samples [K, B] of log p(x|z) and log q(z|x) / p(z)."""
    rate = tf.reduce_mean(log_ratio, axis=0)
    log_likelihood = tf.reduce_mean(log_likelihood, axis=0)
    return Elbo(log_likelihood - rate, log_likelihood, rate)


def autoencoder_loss(vae: Vae, x: tf.Tensor) -> tuple[tf.Tensor, Elbo]:
    """-log p(x|z) at z = the posterior's mean: the plain autoencoder, without noise and KL.

    The `elbo` of its terms is log p(x|z) too, and no bound of log p(x).
    """
    log_likelihood = vae.decode(vae.encode(x).mean).log_prob(x)
    return -log_likelihood, Elbo(log_likelihood, log_likelihood, tf.zeros_like(log_likelihood))


def training_loss(
    config: Config, vae: Vae, x: tf.Tensor, epsilon: tf.Tensor, beta: float | tf.Tensor
) -> tuple[tf.Tensor, Elbo]:
    """What `config` says to minimise, [B] nats, and the ELBO and its terms; `beta` is the KL's weight at this step."""
    kl = "analytic" if config.closed_kl else "monte_carlo"
    if config.objective == "elbo" and config.estimator == "score_function":
        return score_function_loss(vae, x, epsilon, kl, beta, config.baseline)
    if config.objective == "elbo":
        return elbo_loss(vae, x, epsilon, kl, beta, config.free_bits)
    if config.objective == "iwae":
        return importance_weighted_loss(vae, x, epsilon)
    if config.objective == "dreg":
        return doubly_reparameterized_loss(vae, x, epsilon)
    if config.objective == "autoencoder":
        return autoencoder_loss(vae, x)
    raise ValueError(f"objective={config.objective!r}: has no loss here")
