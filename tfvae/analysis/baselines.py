"""What a VAE is to beat on its own split and pixels: probabilistic PCA and a Gaussian mixture, both exact.

N images of D pixels, x float64 [N, D]; L components. Log densities are of real-valued pixels, in nats an image.
"""

import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tfvae.core import noise
from tfvae.training import evaluation
from tfvae.config import Config
from tfvae.data.dataset import Dataset
from tfvae.core.noise import Stream

_MIXED = 10_000  # training images at most that the mixture is fitted to
_MIXTURE = {"covariance_type": "diag", "reg_covar": 1e-3, "tol": 1e-2}  # added to each variance; nats of the last step


def fit_pca(x: np.ndarray, latent_dim: int) -> PCA:
    """PCA; its `score_samples` is probabilistic PCA's log density at the maximum likelihood, [N] nats.

    Tipping & Bishop 1999, eq. 7-8. Where L is the rank of x or more, `noise_variance_` is 0: it has no density.
    """
    pca = PCA(min(latent_dim, *x.shape), svd_solver="covariance_eigh").fit(x)  # a solver that isn't randomised
    if pca.noise_variance_ < 1e-12 * pca.explained_variance_[0]:
        pca.noise_variance_ = 0.0  # but for rounding
    for name in ("noise_variance_", "explained_variance_"):  # from a covariance over N - 1 to the likelihood's, over N
        setattr(pca, name, getattr(pca, name) * (1 - 1 / len(x)))
    return pca


def fit_mixture(x: np.ndarray, seed: int) -> GaussianMixture:
    """Ten diagonal normals by EM; `score_samples` is the exact log density, `predict_proba` the exact posterior."""
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # k-means minds images that are alike
        return GaussianMixture(min(10, len(x)), **_MIXTURE, random_state=seed).fit(x)


def compare(config: Config, dataset: Dataset, vae: Any) -> dict[str, Any]:
    """Fits to the training images; means over the test images and their standard errors; squared errors per pixel.

    Training pixels that a VAE sees drawn anew at each visit are drawn once, by a fixed seed.
    """
    train, test = (tf.image.convert_image_dtype(s.images, tf.float32) for s in (dataset.train, dataset.test))
    for wanted, draw in ((config.binarize == "stochastic", noise.bernoulli), (config.dequantize, noise.dequantize)):
        train = draw(train, noise.seed_for(0, Stream.BINARIZE)) if wanted else train
    train, test = (x.numpy().reshape(len(x), -1).astype(np.float64) for x in (train, test))
    some = train[noise.permutation(len(train), noise.seed_for(config.seed, Stream.SHUFFLE))[:_MIXED]]
    pca, mixture = fit_pca(train, config.latent_dim), fit_mixture(some, config.seed)

    def density(fit: Any, components: int, fitted_to: np.ndarray) -> dict[str, Any]:
        nats, of = fit.score_samples(test), {"components": components, "train_images": len(fitted_to)}
        error = np.std(nats, ddof=min(1, len(nats) - 1)) / len(nats) ** 0.5
        return {"log_px": float(np.mean(nats)), "log_px_standard_error": float(error), **of}

    p = mixture.predict_proba(test)
    extra = {"posterior_entropy": float(-np.sum(p * np.log(np.where(p > 0, p, 1))) / len(p))}
    ours = evaluation.make_evaluate(vae, config.latent_dim, config.seed, config.closed_kl)(dataset.test.images, 1)
    return {
        "probabilistic_pca": density(pca, pca.n_components_, train) if pca.noise_variance_ > 0 else None,
        "gaussian_mixture": density(mixture, mixture.n_components, some) | {"converged": mixture.converged_, **extra},
        "pca_squared_error": float(np.mean(np.square(pca.inverse_transform(pca.transform(test)) - test))),
        "squared_error": ours.summary()["squared_error"],
    }


def table(of: dict[str, Any], found: dict[str, Any]) -> str:
    """What `compare` found, as text; `of` is `monitoring.provenance`."""

    def density(row: dict[str, Any] | None, about: str) -> str:
        if row is None:
            return "      none: its components span the training images, so the likelihood is unbounded"
        stopped = "" if row.get("converged", True) else ", stopped before it converged"
        nats = f"{row['log_px']:10.2f} ± {row['log_px_standard_error']:.2f}"
        return f"{nats:22}exact; {row['components']} {about}, on {row['train_images']:,} training images{stopped}"

    mixture, em = found["gaussian_mixture"], f"diagonal components by EM, variances {_MIXTURE['reg_covar']:g} or more"
    return f"""baselines on {of["dataset"]}, {of["images"]:,} {of["split"]} images, {of["pixels"]}, seed {of["seed"]}:
  log density of real-valued pixels, nats per image ± standard error over images: beside a gaussian likelihood's
  log p(x) on the same pixels alone, for Bernoulli nats are no densities
    probabilistic PCA {density(found["probabilistic_pca"], "components")}
    Gaussian mixture  {density(mixture, em)}
    its posterior     {mixture["posterior_entropy"]:10.2f}            mean entropy, exact
  reconstruction error, mean square over pixels in [0, 1]
    PCA               {found["pca_squared_error"]:12.4f}          as many components
    this model        {found["squared_error"]:12.4f}          at the mean of q(z|x)"""
