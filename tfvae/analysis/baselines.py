"""What a VAE is to beat on its own split and pixels: probabilistic PCA and a Gaussian mixture, both exact.

Shapes: N images of D pixels, x float64 [N, D]; L components. Log densities are of real-valued pixels, in nats an image.
"""

import math
import warnings
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tfvae.config import Config
from tfvae.core import noise
from tfvae.core.columns import Columns
from tfvae.core.inputs import to_unit
from tfvae.core.noise import Stream
from tfvae.data.splits import Dataset
from tfvae.errors import InputError

_MIXTURE_IMAGES = 10_000  # training images at most that the mixture is fitted to
_COMPONENTS = 10
_VARIANCE_FLOOR = 1e-3  # added to each of the mixture's variances
_LEAST_GAIN = 1e-2  # nats an image of a step of EM: below, it has converged
_MOST_VALUES = 64 * 64 * 3  # of an image
_DRAW_SEED = 0  # of training pixels that training draws anew at each visit


def check_size(image_shape: tuple[int, int, int]) -> None:
    """Refuses images whose covariance matrix would not fit into memory; raises InputError."""
    values = math.prod(image_shape)
    if values > _MOST_VALUES:
        raise InputError(
            f"--baselines=true: must be of images of at most {_MOST_VALUES:,} values, and these have {values:,}: their "
            f"covariance would take {values**2 * 8 / 1e9:,.0f} GB"
        )


def check_vectors(columns: Columns | None) -> None:
    """Refuses vectors of which values may be missing; raises InputError."""
    if columns and columns.missing:
        raise InputError("--baselines=true: must be false for a run with --missing=allow: they need every value")


def fit_pca(x: np.ndarray, latent_dim: int) -> PCA:
    """PCA; its `score_samples` is probabilistic PCA's log density at the maximum likelihood, [N] nats.

    Tipping & Bishop 1999, eq. 7-8. Where L is the rank of x or more, `noise_variance_` is 0: it has no density.
    """
    pca = PCA(min(latent_dim, *x.shape), svd_solver="covariance_eigh").fit(x)  # a solver that isn't randomised
    if pca.noise_variance_ < 1e-12 * pca.explained_variance_[0]:
        pca.noise_variance_ = 0.0  # it is rounding alone
    # scikit-learn's covariance is over N - 1, the maximum likelihood's over N
    pca.noise_variance_ *= 1 - 1 / len(x)
    pca.explained_variance_ = pca.explained_variance_ * (1 - 1 / len(x))
    return pca


def fit_mixture(x: np.ndarray, seed: int) -> GaussianMixture:
    """Ten diagonal normals by EM; `score_samples` is the exact log density, `predict_proba` the exact posterior."""
    mixture = GaussianMixture(
        min(_COMPONENTS, len(x)),
        covariance_type="diag",
        reg_covar=_VARIANCE_FLOOR,
        tol=_LEAST_GAIN,
        random_state=seed,
    )
    # k-means, with which it starts, warns of images that are alike
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return mixture.fit(x)


def compare(config: Config, dataset: Dataset, squared_error: float) -> dict[str, Any]:
    """Fits to the training images; means over the test images and their standard errors; squared errors per pixel.

    Vectors are fitted as the network sees them, scaled; densities are of the values as they came.

    `squared_error` is the VAE's own. Training pixels that a VAE sees drawn anew at each visit are drawn once, by a
    fixed seed.
    """
    train, test = _train_pixels(config, dataset), _flat(to_unit(dataset.test.images))
    log_jacobian = 0.0  # of the values as they came, to those that are fitted
    if dataset.columns:
        train, test = dataset.columns.scaled(train), dataset.columns.scaled(test)
        log_jacobian = -float(np.log(dataset.columns.scale).sum())
    order = noise.permutation(len(train), noise.seed_for(config.seed, Stream.SHUFFLE))
    mixture_train = train[order[:_MIXTURE_IMAGES]]
    pca = fit_pca(train, config.latent_dim)
    mixture = fit_mixture(mixture_train, config.seed)
    pca_density = None
    if pca.noise_variance_ > 0:
        pca_density = _density(pca.score_samples(test) + log_jacobian, pca.n_components_, len(train))
    return {
        "probabilistic_pca": pca_density,
        "gaussian_mixture": {
            **_density(mixture.score_samples(test) + log_jacobian, mixture.n_components, len(mixture_train)),
            "converged": mixture.converged_,
            "posterior_entropy": _mean_entropy(mixture.predict_proba(test)),
        },
        "pca_squared_error": float(np.mean(np.square(pca.inverse_transform(pca.transform(test)) - test))),
        "squared_error": squared_error,
    }


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64)


def _train_pixels(config: Config, dataset: Dataset) -> np.ndarray:
    """The training images as a VAE sees them, [N, D]."""
    images = to_unit(dataset.train.in_memory().images)
    seed = noise.seed_for(_DRAW_SEED, Stream.BINARIZE)
    if config.binarize == "stochastic":
        images = noise.bernoulli(images, seed).numpy()
    if config.dequantize:
        images = noise.dequantize(images, seed).numpy()
    return _flat(images)


def _density(log_px: np.ndarray, components: int, train_images: int) -> dict[str, Any]:
    standard_error = np.std(log_px, ddof=min(1, len(log_px) - 1)) / len(log_px) ** 0.5
    return {
        "log_px": float(np.mean(log_px)),
        "log_px_standard_error": float(standard_error),
        "components": components,
        "train_images": train_images,
    }


def _mean_entropy(probabilities: np.ndarray) -> float:
    """In nats, over the rows of [N, C]."""
    log_probabilities = np.log(np.where(probabilities > 0, probabilities, 1))
    return float(-np.sum(probabilities * log_probabilities) / len(probabilities))


def table(of: dict[str, Any], baselines: dict[str, Any]) -> str:
    """The result of `compare` as text; `of` is `provenance`."""
    mixture = baselines["gaussian_mixture"]
    examples = of.get("examples", "images")
    values = "pixels in [0, 1]" if examples == "images" else "values, as the network scales them"
    em = f"diagonal components by EM, variances {_VARIANCE_FLOOR:g} or more"
    head = (
        f"baselines on {of['dataset']}, {of['images']:,} {of['split']} {examples}, {of['pixels']}, seed {of['seed']}:"
    )
    return f"""{head}
  log density of real values, nats per {examples.removesuffix("s")} ± standard error over {examples}: beside a gaussian
  likelihood's log p(x) on the same values alone, for nats of Bernoulli and of levels are no densities
    probabilistic PCA {_density_text(baselines["probabilistic_pca"], "components", examples)}
    Gaussian mixture  {_density_text(mixture, em, examples)}
    its posterior     {mixture["posterior_entropy"]:10.2f}            mean entropy, exact
  reconstruction error, mean square over {values}
    PCA               {baselines["pca_squared_error"]:12.4f}          as many components
    this model        {baselines["squared_error"]:12.4f}          at the mean of q(z|x)"""


def _density_text(density: dict[str, Any] | None, components: str, examples: str) -> str:
    if density is None:
        return "      none: its components span the training images, so the likelihood is unbounded"
    stopped = "" if density.get("converged", True) else ", stopped before it converged"
    nats = f"{density['log_px']:10.2f} ± {density['log_px_standard_error']:.2f}"
    train_images = f"on {density['train_images']:,} training {examples}"
    return f"{nats:22}exact; {density['components']} {components}, {train_images}{stopped}"
