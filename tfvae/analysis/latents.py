"""What a trained VAE is good for: samples, interpolation, traversals, missing pixels, features, fine-tuning.

Plain functions from a vae and arrays to arrays; the noise of each is a function of its `seed`.

Shapes: images [N, H, W, C], uint8 or float32 in [0, 1]; what is returned is float32; z [..., L].
"""

import statistics
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.core import noise
from tfvae.data.dataset import Split
from tfvae.core.distributions import Bernoulli, DiagonalNormal, GaussianPixels, normal_log_density
from tfvae.core.noise import Stream

_DRAWS = 4_000  # z's at once in imputation: part of its numbers, for its noise is drawn by block
_FILLINGS = 19  # of an image with missing pixels: their posteriors, and the prior, propose z
_VARIANCE_FLOOR = 1e-4  # of independent normal pixels: some have one value in all training images


def unit(images: np.ndarray) -> np.ndarray:
    """float32 in [0, 1]."""
    return images if images.dtype == np.float32 else images.astype(np.float32) / 255


def _in_blocks(function: Callable[..., Any], *arrays: np.ndarray, block: int = 1_000) -> list[np.ndarray]:
    """`function(number of the block, rows of each array)`; a short last block is filled up."""
    size, columns = len(arrays[0]), []
    block = min(block, size)
    for first in range(0, size, block):
        rows = np.minimum(np.arange(first, first + block), size - 1)
        columns.append(function(tf.constant(first // block), *(tf.constant(array[rows]) for array in arrays)))
    return [np.concatenate(column)[:size] for column in zip(*columns)]


def decode(vae: Any, z: np.ndarray) -> np.ndarray:
    """The means of p(x|z): [..., H, W, C] for z [..., L]."""
    (images,) = _in_blocks(lambda block, z: (vae.decode(z).mean,), z.reshape(-1, z.shape[-1]))
    return images.reshape(*z.shape[:-1], *images.shape[1:])


def posterior_means(vae: Any, images: np.ndarray) -> np.ndarray:
    """The means of q(z|x): [N, L]."""
    return _in_blocks(lambda block, x: (vae.encode(x).mean,), unit(images))[0]


def _from_prior(vae: Any, shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    return vae.sample_prior(noise.normal(shape, seed), noise.uniform(shape[:-1], noise.fold_in(seed, 1)))


def sample_latents(vae: Any, count: int, seed: int) -> np.ndarray:
    """z ~ p(z): [count, L]."""
    return _from_prior(vae, (count, vae.prior.mean.shape[-1]), noise.seed_for(seed, Stream.PRIOR)).numpy()


def samples(vae: Any, count: int, seed: int) -> np.ndarray:
    """The means of p(x|z) for z ~ p(z): [count, H, W, C]."""
    return decode(vae, sample_latents(vae, count, seed))


def interpolation(vae: Any, first: np.ndarray, last: np.ndarray, steps: int = 10) -> np.ndarray:
    """From each of the images `first` to that of `last`: [N, steps, H, W, C], linear between their posterior means."""
    a, b = (posterior_means(vae, images)[:, None] for images in (first, last))
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    return decode(vae, a * (1 - share) + b * share)


def traversal(vae: Any, images: np.ndarray, which: int, seed: int, steps: int = 11) -> tuple[np.ndarray, ...]:
    """Moves each of the R <= 10 most active latents by itself, the others at the posterior mean of images[which].

    Active: the posterior means vary over the images. The values are quantiles of the prior in equal steps from 2.5 %
    to 97.5 %, a mixture's those of 10,000 draws.

    Returns:
        Which latents [R], their posterior means' variances [R], values [R, steps], means of p(x|z) [R, steps, H, W, C].
    """
    mean, prior, probabilities = posterior_means(vae, images), vae.prior, np.linspace(0.025, 0.975, steps)
    latents = np.argsort(-mean.var(axis=0))[:10]
    if isinstance(prior, DiagonalNormal):
        standard = np.array([statistics.NormalDist().inv_cdf(p) for p in probabilities])[:, None]
        values = prior.mean.numpy() + np.exp(prior.log_variance.numpy() / 2) * standard
    else:
        values = np.quantile(sample_latents(vae, 10_000, seed), probabilities, axis=0)
    values = values.T[latents].astype(np.float32)
    z = np.tile(mean[which], (len(latents), steps, 1))
    z[np.arange(len(latents)), :, latents] = values
    return latents, mean.var(axis=0)[latents], values, decode(vae, z)


def _log_prob(p: Bernoulli | GaussianPixels, x: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
    """log p of the pixels where `where` is 1, not 0, in nats: [...]."""
    bernoulli = isinstance(p, Bernoulli)
    nats = p.logits * x - tf.math.softplus(p.logits) if bernoulli else normal_log_density(x, p.mean, p.log_variance)
    return tf.reduce_sum(nats * where, axis=(-3, -2, -1))


def condition(vae: Any, x: np.ndarray, observed: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """Conditions on the pixels of x where `observed` (its shape) is 1, not 0, by S = `draws` importance samples of z.

    They are proposed in turn by the prior and by q(z|x filled in), for the fillings that pseudo-Gibbs sampling runs
    through from x on (Rezende et al. 2014, appendix F). The weights p(x_observed, z) / proposal(z), of the mixture of
    all these, are bounded and correct what pseudo-Gibbs gets wrong (Mattei & Frellsen 2018, section 3).

    Returns:
        log p(x_observed) [N] in nats, E[x|x_observed] [N, H, W, C], the effective number of samples [N].
    """
    turn = np.arange(draws) % (_FILLINGS + 1)  # 0 is the prior's
    log_shares = np.log(np.maximum(np.bincount(turn, minlength=_FILLINGS + 1) / draws, 1e-30)).astype(np.float32)

    @tf.function(jit_compile=vae.xla, autograph=False)
    def run_block(number: tf.Tensor, x: tf.Tensor, observed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        of_block = noise.seed_for(seed, Stream.EVALUATION, number)

        def refill(filled: tf.Tensor, i: tf.Tensor) -> tf.Tensor:
            z_seed, x_seed = (noise.fold_in(of_block, 2 * i + j) for j in (2, 3))
            q = vae.encode(filled)
            p = vae.decode(vae.sampling(q, noise.normal(tuple(q.mean.shape), z_seed)))
            if isinstance(p, Bernoulli):
                drawn = noise.bernoulli(p.mean, x_seed)
            else:
                drawn = p.mean + tf.exp(0.5 * p.log_variance) * noise.normal(tuple(p.mean.shape), x_seed)
            return tf.where(observed > 0, x, drawn)

        fillings = tf.concat([x[None], tf.scan(refill, tf.range(_FILLINGS - 1), x)], axis=0)
        proposals = vae.encode(tf.reshape(fillings, [-1, *x.shape[1:]]))
        proposals = type(proposals)(*(tf.reshape(p, [_FILLINGS, -1, *p.shape[1:]]) for p in proposals))
        q = type(proposals)(*(tf.gather(parameter, np.maximum(turn - 1, 0)) for parameter in proposals))
        shape = tuple(q.mean.shape)  # [S, B, L]
        z = vae.sampling(q, noise.normal(shape, noise.fold_in(of_block, 0)))
        z = tf.where((turn == 0)[:, None, None], _from_prior(vae, shape, noise.fold_in(of_block, 1)), z)
        log_prior, p = vae.prior.log_prob(z), vae.decode(z)
        log_each = tf.concat([log_prior[:, None], proposals.log_prob(z[:, None])], axis=1)  # [S, 1 + fillings, B]
        log_w = _log_prob(p, x, observed) + log_prior - tf.reduce_logsumexp(log_each + log_shares[:, None], axis=1)
        w = tf.nn.softmax(log_w, axis=0)
        mean = tf.reduce_sum(w[..., None, None, None] * p.mean, axis=0)
        return tf.reduce_logsumexp(log_w, axis=0) - np.log(draws), mean, 1 / tf.reduce_sum(w**2, axis=0)

    return _in_blocks(run_block, x, observed, block=max(1, _DRAWS // draws))


class Imputation(NamedTuple):
    """Images with their missing pixels filled in, and the log-likelihood of what was missing, [N] in nats."""

    filled: np.ndarray
    log_prob: np.ndarray
    effective_samples: np.ndarray | None = None  # behind it

    def row(self, images: np.ndarray, observed: np.ndarray) -> dict[str, float]:
        """RMSE over all missing pixels, and the mean over images of log p with its standard error."""
        squares = np.square(self.filled - unit(images))[np.broadcast_to(observed, images.shape) == 0]
        error = np.std(self.log_prob, dtype=np.float64) / len(images) ** 0.5
        row = {"RMSE": np.mean(squares, dtype=np.float64) ** 0.5, "log p(missing | observed)": self.log_prob.mean()}
        row["standard error"] = error
        if self.effective_samples is not None:
            row["effective samples"] = np.mean(self.effective_samples, dtype=np.float64)
        return {key: float(value) for key, value in row.items()}


def impute(vae: Any, images: np.ndarray, observed: np.ndarray, train: np.ndarray, draws: int, seed: int) -> Imputation:
    """Fills in E[x_missing | x_observed] where `observed`, which broadcasts to the images, is 0; S = `draws`.

    log p(x_missing | x_observed) is the estimate of log p(x) less that of log p(x_observed). Few effective samples
    flatter it: the second is then underestimated more. The training images' means are the first guess.
    """
    guess, observed = fill_means(vae, images, observed, train)[0], np.broadcast_to(observed, images.shape)
    both = np.concatenate([guess, unit(images)]), np.concatenate([observed, np.ones_like(observed)]).astype(np.float32)
    log_px, mean, effective = (np.split(array, 2) for array in condition(vae, *both, draws, seed))
    return Imputation(np.where(observed, guess, mean[0]), log_px[1] - log_px[0], effective[0])


def fill_means(vae: Any, images: np.ndarray, observed: np.ndarray, train: np.ndarray) -> Imputation:
    """Fills in the training images' means; log p is that of independent pixels of these means (and variances)."""
    x, train = unit(images), unit(train)
    mean = np.mean(train, axis=0, dtype=np.float64)
    variance = np.maximum(np.var(train, axis=0, dtype=np.float64), _VARIANCE_FLOOR)
    if isinstance(vae.decode(vae.encode(tf.constant(x[:1])).mean), Bernoulli):
        chance = (mean * len(train) + 0.5) / (len(train) + 1)  # never 0 or 1
        pixels = Bernoulli(tf.constant(np.log(chance / (1 - chance)), tf.float32))
    else:
        pixels = GaussianPixels(tf.constant(mean, tf.float32), tf.constant(np.log(variance), tf.float32))
    missing = tf.constant(np.broadcast_to(observed, x.shape) == 0, tf.float32)
    return Imputation(np.where(observed, x, mean.astype(np.float32)), _log_prob(pixels, x, missing).numpy())


def features(vae: Any, train: Split, test: Split, seed: int = 0) -> dict[str, dict[str, float]]:
    """Test accuracy of a linear probe (300 steps of L-BFGS) and 5 nearest neighbours on posterior means and pixels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    models = {"logistic regression": LogisticRegression(max_iter=300), "5-NN": KNeighborsClassifier(5)}
    table = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that L-BFGS has not converged
        for name, view in {"posterior means": lambda x: posterior_means(vae, x), "pixels": unit}.items():
            a, b = (view(split.images).reshape(len(split.images), -1) for split in (train, test))
            table[name] = {k: float(m.fit(a, train.labels).score(b, test.labels)) for k, m in models.items()}
    return table


def fine_tuning(vae: Any, train: Split, test: Split, seed: int, steps: int = 1_000) -> dict[str, dict[str, float]]:
    """Test accuracy of the encoder with a linear head on its mean, trained on 100, 1,000 and all labelled images.

    Once from the vae's weights and once from scratch: else alike, `steps` of Adam on batches of 100 with replacement.
    """
    encoder = type(vae.encoder).from_config({**vae.encoder.get_config(), "seed": seed})
    encoder.build()
    classes, labels = np.unique(train.labels, return_inverse=True)
    head, optimizer = keras.layers.Dense(len(classes), kernel_initializer="zeros"), keras.optimizers.Adam(1e-3)
    head.build((None, encoder.latent_dim))
    weights = encoder.trainable_variables + head.trainable_variables
    optimizer.build(weights)
    everything = [variable.value for variable in weights + optimizer.variables]
    fresh = [variable.numpy() for variable in everything]
    order = noise.permutation(len(labels), noise.seed_for(seed, Stream.SHUFFLE))
    images, labels = tf.constant(train.images[order]), tf.constant(labels[order])

    @tf.function(jit_compile=vae.xla, autograph=False)
    def run(number: tf.Tensor) -> None:
        def step(t: tf.Tensor) -> tuple[tf.Tensor]:
            bits = noise.integers((100,), noise.seed_for(seed, Stream.SHUFFLE, t))
            rows = tf.cast(bits % number, tf.int32)
            x = tf.image.convert_image_dtype(tf.gather(images, rows), tf.float32)
            with tf.GradientTape() as tape:
                logits = head(encoder(x).mean)
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(labels, rows), logits)
                loss = tf.reduce_mean(loss)
            gradients = tape.gradient(loss, everything[: len(weights)], unconnected_gradients="zero")
            optimizer.apply(gradients, weights)
            return (t + 1,)

        tf.while_loop(lambda t: t <= steps, step, (tf.constant(1),))

    table: dict[str, dict[str, float]] = {}
    for number in sorted({min(count, len(labels)) for count in (100, 1_000, len(labels))}):
        row = table.setdefault(f"{number:,} labels", {})
        for name, start in (("fine-tuned", vae.encoder.trainable_variables), ("from scratch", ())):
            for variable, value in [*zip(everything, fresh), *zip(everything, start)]:
                variable.assign(value)
            run(tf.constant(number, tf.uint32))
            (logits,) = _in_blocks(lambda block, x: (head(encoder(x).mean),), unit(test.images))
            row[name] = float(np.mean(classes[logits.argmax(axis=-1)] == test.labels))
    return table
