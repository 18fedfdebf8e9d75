"""The objectives and estimators against exact answers: a Gaussian mixture, a linear-Gaussian model, pPCA."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tfvae.config import Config
from tfvae.core import objectives
from tfvae.core.distributions import DiagonalNormal, GaussianPixels, NormalMixture
from tfvae.training import evaluation
from tfvae.training import step as training

# z ~ sum_c w_c N(m_c, v_c) in one dimension, x | z ~ N(z, s^2): p(x) and p(z|x) are mixtures that one can write down.
WEIGHTS, MEANS, VARIANCES, NOISE = np.array([0.3, 0.7]), np.array([-1.5, 1.0]), np.array([0.3, 0.5]), 0.8
X = np.array([-2.0, -0.3, 0.4, 2.2])
LOG_PX = np.log(scipy.stats.norm(MEANS, np.sqrt(VARIANCES + NOISE**2)).pdf(X[:, None]) @ WEIGHTS)


def exact_posterior(x):
    """p(z|x) of the mixture as (weights, means, variances), each [2]."""
    weights = WEIGHTS * scipy.stats.norm(MEANS, np.sqrt(VARIANCES + NOISE**2)).pdf(x)
    variances = 1 / (1 / VARIANCES + 1 / NOISE**2)
    return weights / weights.sum(), variances * (MEANS / VARIANCES + x / NOISE**2), variances


class MixtureModel:
    """The model above, its parameters theta = (prior means, log sigma), with a normal q or the exact posterior."""

    xla = True

    def __init__(self, q_mean=None, q_log_variance=None):
        self.prior_means = tf.Variable(MEANS[:, None].astype("f"))
        self.log_sigma = tf.Variable(np.float32(np.log(NOISE)))
        self.q_mean, self.q_log_variance = q_mean, q_log_variance

    @property
    def prior(self):
        logits, log_variance = np.log(WEIGHTS).astype("f"), np.log(VARIANCES)[:, None].astype("f")
        return NormalMixture(tf.constant(logits), tf.convert_to_tensor(self.prior_means), tf.constant(log_variance))

    def encode(self, x):
        ones = tf.ones([tf.shape(x)[0], 1])
        return DiagonalNormal(self.q_mean * ones, self.q_log_variance * ones)

    def sampling(self, q, epsilon):
        return q.sample(epsilon)

    def decode(self, z):
        return GaussianPixels(z[..., None, None], 2 * self.log_sigma)


class ExactQ:
    """The mixture's own posterior for the images X; it draws by the component that a second number chooses."""

    def __init__(self):
        posteriors = [exact_posterior(x) for x in X]
        self.weights, self.means, self.variances = (np.array([p[i] for p in posteriors], "f") for i in range(3))

    def sample(self, epsilon):
        chosen = np.random.default_rng(5).uniform(size=epsilon.shape[:-1]) > self.weights[:, 0]
        mean = np.where(chosen, self.means[:, 1], self.means[:, 0])
        deviation = np.sqrt(np.where(chosen, self.variances[:, 1], self.variances[:, 0]))
        return tf.constant((mean + deviation * epsilon[..., 0].numpy())[..., None], tf.float32)

    def log_prob(self, z):
        components = scipy.stats.norm(self.means, np.sqrt(self.variances)).logpdf(z)
        return tf.constant(scipy.special.logsumexp(components, axis=-1, b=self.weights), tf.float32)


def images():
    return tf.constant(X.reshape(-1, 1, 1, 1), tf.float32)


def noise_of(samples, seed=0, size=4):
    return tf.constant(np.random.default_rng(seed).normal(size=(samples, size, 1)), tf.float32)


def kl_by_quadrature(x, mean, log_variance):
    """KL(q || p(z|x)) of a normal q, on a grid."""
    z = np.linspace(-12, 12, 40_001)
    q = scipy.stats.norm(mean, np.exp(log_variance / 2))
    weights, means, variances = exact_posterior(x)
    log_p = scipy.special.logsumexp(scipy.stats.norm(means, np.sqrt(variances)).logpdf(z[:, None]), axis=-1, b=weights)
    return np.trapezoid(q.pdf(z) * (q.logpdf(z) - log_p), z)


def test_on_the_mixture_the_gap_is_the_kl_and_the_bounds_are_in_order():
    vae = MixtureModel(0.2, -0.5)
    terms = objectives.elbo(vae, images(), noise_of(200_000), "monte_carlo")
    gap = [kl_by_quadrature(x, 0.2, -0.5) for x in X]
    np.testing.assert_allclose(LOG_PX - terms.elbo, gap, atol=0.02)
    bounds = {}
    log_w, _ = objectives.log_weights(vae, vae.encode(images()), images(), noise_of(200_000))
    for k in (5, 50):
        chunks = tf.reshape(log_w, [200_000 // k, k, len(X)])
        bounds[k] = (tf.reduce_logsumexp(chunks, axis=1) - np.log(k)).numpy().mean(axis=0)
    assert (terms.elbo.numpy() < bounds[5]).all() and (bounds[5] < bounds[50]).all()
    assert (bounds[50] < LOG_PX + 0.02).all()


@pytest.mark.parametrize("samples", [1, 5, 50])
def test_at_the_exact_posterior_the_bound_is_log_px_and_so_is_its_gradient(samples):
    vae, q = MixtureModel(), ExactQ()
    vae.encode = lambda x: q
    with tf.GradientTape() as tape:
        bound = objectives.importance_weighted_bound(vae, images(), noise_of(samples))
        total = tf.reduce_sum(bound)
    np.testing.assert_allclose(bound, LOG_PX, rtol=1e-5)
    # E[d log p(x, z)] under p(z|x) is d log p(x) (Fisher's identity): finite differences of the exact one
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(objectives.elbo(vae, images(), noise_of(400_000), "monte_carlo").elbo)
    gradient = tape.gradient(total, vae.log_sigma)

    def exact(log_sigma):
        deviation = np.sqrt(VARIANCES + np.exp(2 * log_sigma))
        return np.log(scipy.stats.norm(MEANS, deviation).pdf(X[:, None]) @ WEIGHTS).sum()

    h = 1e-4
    expected = (exact(np.log(NOISE) + h) - exact(np.log(NOISE) - h)) / (2 * h)
    np.testing.assert_allclose(gradient, expected, atol=0.03)


def exact_elbo(mean, log_variance):
    """The mixture model's ELBO summed over X, by quadrature."""
    return sum(LOG_PX[i] - kl_by_quadrature(x, mean, log_variance) for i, x in enumerate(X))


@pytest.mark.parametrize("estimator", ["reparameterized", "score_function", "leave_one_out"])
def test_both_estimators_of_the_gradient_agree_with_finite_differences(estimator):
    mean, log_variance = tf.Variable(0.2), tf.Variable(-0.5)
    vae = MixtureModel(mean, log_variance)
    gradients = []
    for seed in range(40):
        epsilon = noise_of(4_000, seed)
        with tf.GradientTape() as tape:
            if estimator == "reparameterized":
                loss, terms = objectives.elbo_loss(vae, images(), epsilon, "monte_carlo")
            else:
                baseline = "none" if estimator == "score_function" else estimator
                loss, terms = objectives.score_function_loss(vae, images(), epsilon, "monte_carlo", 1.0, baseline)
            total = -tf.reduce_sum(loss)
        np.testing.assert_allclose(-loss, terms.elbo, rtol=1e-4)
        gradients.append([g.numpy() for g in tape.gradient(total, [mean, log_variance])])
    h = 1e-3
    expected = [
        (exact_elbo(0.2 + h, -0.5) - exact_elbo(0.2 - h, -0.5)) / (2 * h),
        (exact_elbo(0.2, -0.5 + h) - exact_elbo(0.2, -0.5 - h)) / (2 * h),
    ]
    error = np.std(gradients, axis=0) / np.sqrt(len(gradients))
    assert (np.abs(np.mean(gradients, axis=0) - expected) < 4 * error).all()
    assert (error < 0.1).all()


def gradients_of(loss, variables):
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(loss())
    return [g.numpy() for g in tape.gradient(value, variables)]


def test_the_importance_weighted_gradient_is_that_of_the_weighted_sum_with_detached_weights():
    """Burda et al. 2016, eq. 13-14."""
    mean, log_variance = tf.Variable(0.2), tf.Variable(-0.5)
    vae, epsilon = MixtureModel(mean, log_variance), noise_of(7)
    variables = [mean, log_variance, vae.prior_means, vae.log_sigma]

    def weighted():
        log_w, _ = objectives.log_weights(vae, vae.encode(images()), images(), epsilon)
        return -tf.reduce_sum(tf.stop_gradient(tf.nn.softmax(log_w, axis=0)) * log_w, axis=0)

    ours = gradients_of(lambda: objectives.importance_weighted_loss(vae, images(), epsilon)[0], variables)
    for a, b in zip(ours, gradients_of(weighted, variables)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_doubly_reparameterized_gradient_is_the_paper_s_and_has_the_same_mean():
    """Tucker et al. 2019, eq. 6: sum_k w_k^2 d log w_k / dz_k dz_k / dphi; and L_K's own for the rest."""
    mean, log_variance = tf.Variable(0.2), tf.Variable(-0.5)
    vae = MixtureModel(mean, log_variance)
    rest = [vae.prior_means, vae.log_sigma]

    def dreg(epsilon):
        return objectives.importance_weighted_loss(vae, images(), epsilon, doubly_reparameterized=True)[0]

    def by_hand(epsilon):
        q = vae.encode(images())
        z = vae.sampling(q, epsilon)
        fixed = DiagonalNormal(*(tf.stop_gradient(p) for p in q))
        log_w = vae.decode(z).log_prob(images()) + vae.prior.log_prob(z) - fixed.log_prob(z)
        return -tf.reduce_sum(tf.stop_gradient(tf.square(tf.nn.softmax(log_w, axis=0))) * log_w, axis=0)

    epsilon = noise_of(7)
    for a, b in zip(
        gradients_of(lambda: dreg(epsilon), [mean, log_variance]),
        gradients_of(lambda: by_hand(epsilon), [mean, log_variance]),
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    plain = gradients_of(lambda: objectives.importance_weighted_loss(vae, images(), epsilon)[0], rest)
    for a, b in zip(gradients_of(lambda: dreg(epsilon), rest), plain):
        np.testing.assert_allclose(a, b, rtol=1e-4)

    def repeated(loss):  # one call, 2,000 repeats side by side as further images
        many = tf.tile(images(), [2_000, 1, 1, 1])
        epsilons = [noise_of(7, s, 2_000 * len(X)) for s in range(10)]
        return [gradients_of(lambda e=e: loss(many, e) / 2_000, [mean, log_variance]) for e in epsilons]

    both = [
        repeated(lambda x, e, d=d: objectives.importance_weighted_loss(vae, x, e, doubly_reparameterized=d)[0])
        for d in (False, True)
    ]
    error = np.sqrt(sum(np.var(g, axis=0) for g in both) / 10)
    assert (np.abs(np.mean(both[0], axis=0) - np.mean(both[1], axis=0)) < 4 * error).all()


def test_two_monte_carlo_errors_cover_log_px_as_often_as_they_should():
    vae = MixtureModel(np.float32(0.2), np.float32(0.4))
    x = np.repeat(X, 50).astype("f").reshape(-1, 1, 1, 1)  # 200 repeats: an image each, with noise of its own
    per_image = evaluation.make_evaluate(vae, latent_dim=1, seed=0, closed_kl=False)(x, 1_000)
    within = np.abs(per_image.log_px - np.repeat(LOG_PX, 50)) < 2 * np.sqrt(per_image.log_px_variance)
    assert 0.90 <= within.mean() <= 0.98
    both = per_image.summary()
    np.testing.assert_allclose(
        both["log_px_monte_carlo_error"], np.sqrt(per_image.log_px_variance.sum()) / 200, rtol=1e-5
    )
    assert both["log_px_standard_error"] > both["log_px_monte_carlo_error"] > 0


def test_free_bits_count_each_latent_s_kl_as_at_least_so_many_nats():
    x, epsilon = images(), noise_of(1)

    class Model(MixtureModel):
        prior = DiagonalNormal(tf.zeros([1]), tf.zeros([1]))

    for mean, log_variance in ((0.1, 0.0), (2.0, -1.0)):
        q_mean = tf.Variable(mean)
        vae = Model(q_mean, log_variance)
        with tf.GradientTape() as tape:
            loss, terms = objectives.elbo_loss(vae, x, epsilon, free_bits=0.5)
            penalty = tf.reduce_sum(loss + terms.log_likelihood)
        kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
        np.testing.assert_allclose(penalty / len(X), max(kl, 0.5), rtol=1e-5)
        assert (tape.gradient(penalty, q_mean) != 0) == (kl > 0.5)


DIGITS = (load_digits().images / 16).astype(np.float32)[:1437, ..., None]


def train(epochs, **options):
    config = Config(dataset="digits", hidden_units=(), batch_size=479, epochs=epochs, lr_schedule="cosine", **options)
    state = training.create_state(config, (8, 8, 1), len(DIGITS))
    run_steps = training.make_run_steps(state, config, DIGITS)
    run_steps(0, 3 * epochs)
    return state.vae


def test_a_linear_gaussian_vae_reaches_probabilistic_pca_s_likelihood_and_its_posterior():
    """Tipping & Bishop 1999, eq. 8; Lucas et al. 2019: the linear VAE's ELBO has pPCA's maximum."""
    x, latents = DIGITS.reshape(len(DIGITS), -1).astype(np.float64), 3
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    left = values[latents:].mean()
    log_det = np.log(values[:latents]).sum() + (64 - latents) * np.log(left)
    maximum = -0.5 * (64 * np.log(2 * np.pi) + log_det + 64)
    options = {"likelihood": "gaussian", "sigma": "learned", "posterior": "full", "latent_dim": 3}
    vae = train(1_500, **options, num_samples=4, learning_rate=0.02)
    w = vae.decoder.pixels[0].kernel.numpy().T.astype(np.float64)
    offset = vae.decoder.pixels[0].bias.numpy().astype(np.float64)
    variance = np.exp(np.float64(vae.decode(tf.zeros([1, 3])).log_variance.numpy()))
    exact = scipy.stats.multivariate_normal(offset, w @ w.T + variance * np.eye(64)).logpdf(x).mean()
    assert maximum - 0.1 < exact < maximum + 1e-3
    np.testing.assert_allclose(variance, left, rtol=0.02)
    summary = evaluation.make_evaluate(vae, 3, seed=0)(DIGITS, 20).summary()
    np.testing.assert_allclose(summary["elbo"], maximum, atol=0.1)
    q = vae.encode(tf.constant(DIGITS))
    covariance = np.linalg.inv(np.eye(3) + w.T @ w / variance)
    np.testing.assert_allclose(q.mean, (x - offset) @ w @ covariance / variance, atol=0.1)
    cholesky = q.cholesky().numpy()
    np.testing.assert_allclose(
        cholesky @ cholesky.transpose(0, 2, 1), np.broadcast_to(covariance, cholesky.shape), atol=0.02
    )


def test_the_linear_autoencoder_spans_pca_s_subspace():
    """Baldi & Hornik 1989."""
    vae = train(1_000, objective="autoencoder", likelihood="gaussian", sigma=0.1, latent_dim=4, learning_rate=0.02)
    ours = vae.decoder.pixels[0].kernel.numpy().T
    theirs = PCA(4).fit(DIGITS.reshape(len(DIGITS), -1)).components_.T
    assert np.degrees(scipy.linalg.subspace_angles(ours, theirs)).max() < 1


@pytest.mark.parametrize("pixel", [0, 255])
@pytest.mark.parametrize(
    "options",
    [{}, {"likelihood": "gaussian", "sigma": "of_z"}, {"posterior": "full", "objective": "dreg", "num_samples": 2}],
    ids=["bernoulli", "of_z", "full dreg"],
)
def test_all_black_and_all_white_images_give_finite_values_and_gradients(pixel, options):
    images = np.full((16, 6, 5, 1), pixel, np.uint8)
    config = Config(hidden_units=(8,), batch_size=16, epochs=20, learning_rate=0.1, **options)
    state = training.create_state(config, (6, 5, 1), 16)
    run_steps = training.make_run_steps(state, config, images)
    for t in range(20):
        means, bad_step = run_steps(t, 1)
        assert bad_step is None and np.isfinite(list(means.values())).all()
