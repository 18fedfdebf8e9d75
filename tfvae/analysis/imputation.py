"""Missing pixels: filled in with their mean given the observed ones, and how likely the true ones are.

Shapes: images [N, H, W, C], uint8 or float32 in [0, 1]; B of them are a block; S importance samples of z; z [..., L].
"""

from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfvae.analysis.blocks import in_blocks
from tfvae.core import fast, noise
from tfvae.core.distributions import draw
from tfvae.core.inputs import to_unit
from tfvae.core.noise import Stream
from tfvae.core.protocols import AnyDensity, Density, Posterior, Vae

_LATENTS_AT_ONCE = 4_000  # z's in a block: part of the numbers, for each block draws its own noise
_FILLINGS = 19  # of an image with missing pixels: their posteriors, and the prior, propose z


def _log_prob_where(p: Density, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """log p of the values of x where `mask` is 1 and not 0, in nats: [...]."""
    return tf.reduce_sum(p.element_log_prob(x) * mask, axis=(-3, -2, -1))


class Imputation(NamedTuple):
    """Images with their missing pixels filled in, and the log-likelihood of what was missing, [N] in nats."""

    filled: np.ndarray
    log_prob: np.ndarray
    effective_samples: np.ndarray | None = None  # of z behind each image, [N]

    def row(self, images: np.ndarray, observed: np.ndarray) -> dict[str, float]:
        """RMSE over all missing pixels, and the mean over images of log p with its standard error."""
        missing = np.broadcast_to(observed, images.shape) == 0
        squares = np.square(self.filled - to_unit(images))[missing]
        row = {
            "RMSE": np.mean(squares, dtype=np.float64) ** 0.5,
            "log p(missing | observed)": self.log_prob.mean(),
            "standard error": np.std(self.log_prob, dtype=np.float64) / len(images) ** 0.5,
        }
        if self.effective_samples is not None:
            row["effective samples"] = np.mean(self.effective_samples, dtype=np.float64)
        return {key: float(value) for key, value in row.items()}


class Imputer:
    """Fills in missing pixels by S = `samples` importance samples of z for each image, drawn by `seed`.

    A sample's proposal is number 0, the prior, or number k, q(z|x) of the k-th filling; samples take them in turn.
    """

    def __init__(self, vae: Vae, samples: int, seed: int) -> None:
        self.vae, self.samples, self.seed = vae, samples, seed
        self.proposal_of_sample = np.arange(samples) % (_FILLINGS + 1)
        shares = np.bincount(self.proposal_of_sample, minlength=_FILLINGS + 1) / samples
        self.log_shares = np.log(np.maximum(shares, 1e-30)).astype(np.float32)
        use_xla = fast.use_xla(vae.convolutional)
        self.condition_block = tf.function(self._condition_block, jit_compile=use_xla, autograph=False)

    def impute(self, images: np.ndarray, observed: np.ndarray, train_images: np.ndarray) -> Imputation:
        """Fills in E[x_missing | x_observed] where `observed`, which broadcasts to the images, is 0.

        log p(x_missing | x_observed) is the estimate of log p(x) less that of log p(x_observed). Few effective samples
        flatter it: the second is then underestimated more. The training images' means are the first guess.
        """
        guess = fill_means(self.vae, images, observed, train_images).filled
        observed = np.broadcast_to(observed, images.shape)
        # each image twice: given its observed pixels, and given all of them
        x = np.concatenate([guess, to_unit(images)])
        masks = np.concatenate([observed, np.ones_like(observed)]).astype(np.float32)
        log_prob, mean, effective_samples = self.condition(x, masks)
        log_p_observed, log_p_all = np.split(log_prob, 2)
        size = len(images)
        return Imputation(np.where(observed, guess, mean[:size]), log_p_all - log_p_observed, effective_samples[:size])

    def condition(self, x: np.ndarray, observed: np.ndarray) -> list[np.ndarray]:
        """Conditions on the pixels of x where `observed` (its shape) is 1, not 0.

        z is proposed in turn by the prior and by q(z|x filled in), for the fillings that pseudo-Gibbs sampling runs
        through from x on (Rezende et al. 2014, appendix F). The weights p(x_observed, z) / proposal(z), of the mixture
        of all these, are bounded and correct what pseudo-Gibbs gets wrong (Mattei & Frellsen 2018, section 3).

        Returns:
            log p(x_observed) [N] in nats, E[x|x_observed] [N, H, W, C], the effective number of samples [N].
        """
        return in_blocks(self.condition_block, x, observed, block_size=max(1, _LATENTS_AT_ONCE // self.samples))

    def _condition_block(
        self, block: tf.Tensor, x: tf.Tensor, observed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What `condition` returns, of one block of images, float32 [B, H, W, C]; `block` is its number."""
        block_seed = noise.seed_for(self.seed, Stream.EVALUATION, block)
        posteriors = self._posteriors(self._fillings(x, observed, block_seed))
        z = self._draw(posteriors, block_seed)
        log_prior = self.vae.prior.log_prob(z)
        p = self.vae.decode(z)
        # of z by each proposal: [S, 1 + fillings, B]
        log_proposals = tf.concat([log_prior[:, None], cast(AnyDensity, posteriors).log_prob(z[:, None])], axis=1)
        log_mixture = tf.reduce_logsumexp(log_proposals + self.log_shares[:, None], axis=1)
        log_weights = _log_prob_where(p, x, observed) + log_prior - log_mixture
        weights = tf.nn.softmax(log_weights, axis=0)
        mean = tf.reduce_sum(weights[..., None, None, None] * p.mean, axis=0)
        log_prob = tf.reduce_logsumexp(log_weights, axis=0) - np.log(self.samples)
        return log_prob, mean, 1 / tf.reduce_sum(weights**2, axis=0)

    def _fillings(self, x: tf.Tensor, observed: tf.Tensor, block_seed: tf.Tensor) -> tf.Tensor:
        """x, and what pseudo-Gibbs sampling makes of it in turn: [fillings, B, H, W, C]."""
        later = tf.scan(
            lambda filled, i: tf.where(observed > 0, x, self._redraw(filled, i, block_seed)),
            tf.range(_FILLINGS - 1),
            x,
        )
        return tf.concat([x[None], later], axis=0)

    def _redraw(self, x: tf.Tensor, i: tf.Tensor, block_seed: tf.Tensor) -> tf.Tensor:
        """x' ~ p(x'|z) for z ~ q(z|x)."""
        z_seed = noise.fold_in(block_seed, 2 * i + 2)
        x_seed = noise.fold_in(block_seed, 2 * i + 3)
        q = self.vae.encode(x)
        p = self.vae.decode(self.vae.sampling(q, noise.normal(tuple(q.mean.shape), z_seed)))
        return p.sample(p.noise(x_seed))

    def _posteriors(self, fillings: tf.Tensor) -> Posterior:
        """q(z|x) of each filling, over [fillings, B, L]."""
        flat = self.vae.encode(tf.reshape(fillings, [-1, *fillings.shape[2:]]))
        return tf.nest.map_structure(
            lambda parameter: tf.reshape(parameter, [_FILLINGS, -1, *parameter.shape[1:]]), flat
        )

    def _draw(self, posteriors: Posterior, block_seed: tf.Tensor) -> tf.Tensor:
        """z of each sample by its proposal: [S, B, L]."""
        filling_of_sample = np.maximum(self.proposal_of_sample - 1, 0)
        q = tf.nest.map_structure(lambda parameter: tf.gather(parameter, filling_of_sample), posteriors)
        shape = tuple(q.mean.shape)
        of_posterior = self.vae.sampling(q, noise.normal(shape, noise.fold_in(block_seed, 0)))
        of_prior = draw(self.vae.prior, shape, noise.fold_in(block_seed, 1))
        return tf.where((self.proposal_of_sample == 0)[:, None, None], of_prior, of_posterior)


def fill_means(vae: Vae, images: np.ndarray, observed: np.ndarray, train_images: np.ndarray) -> Imputation:
    """Fills in the training images' means; log p is that of independent pixels of these means (and variances)."""
    x, train_x = to_unit(images), to_unit(train_images)
    mean = np.asarray(np.mean(train_x, axis=0, dtype=np.float64))
    variance = np.asarray(np.var(train_x, axis=0, dtype=np.float64))
    density = vae.decode(vae.encode(tf.constant(x[:1])).mean)  # any of the family
    pixels = density.fitted_to(mean, variance, len(train_x))
    missing = tf.constant(np.broadcast_to(observed, x.shape) == 0, tf.float32)
    filled = np.where(observed, x, mean.astype(np.float32))
    return Imputation(filled, _log_prob_where(pixels, x, missing).numpy())
