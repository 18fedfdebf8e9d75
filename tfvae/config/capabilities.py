"""What each posterior, prior, likelihood, objective, network, task and application can do, one row each.

By these `rules.py` and `application.py` refuse.

Imports the standard library alone: a refused flag never waits for TensorFlow. `tests/core/test_capabilities.py` holds
every class and function of `tfvae/core` against its row. A row's name is a value of the flag.
"""

from typing import NamedTuple


class Posterior(NamedTuple):
    """A family of q(z|x): a class in `core/posteriors.py`."""

    closed_kl_to: tuple[str, ...] = ()  # the priors to which its KL is closed
    kl_per_latent: bool = False  # that KL is a sum over the latents, which --free_bits asks for
    log_prob_of_any_z: bool = True  # not only of its own samples: a flow, for example, may lack it


class Prior(NamedTuple):
    """A family of p(z): a class in `core/priors.py`."""

    learned: bool
    has_components: bool = False  # it takes --prior_components


# What x a likelihood is a probability, or a density, of.
BITS = "0 and 1"  # and of grey values as their cross-entropy, which is no density
LEVELS = "the 256 levels of 8-bit pixels"
UNIT = "[0, 1]"
REALS = "real values"


class Likelihood(NamedTuple):
    """A family of p(x|z): a class in `core/likelihoods.py` or `core/level_likelihoods.py`."""

    support: str  # one of the above
    has_sigma: bool = False  # --sigma and --sigma_floor change it; on others they have no effect
    has_components: bool = False  # it takes --likelihood_components
    element_log_prob: bool = True  # of each value by itself, which missing values ask for
    in_explorer: bool = True  # the page of the latent explorer has a function that makes its mean of the outputs


class Objective(NamedTuple):
    """What training maximises: a function in `core/objectives.py`."""

    has_kl: bool = False  # it takes --kl, --beta, --kl_warmup_epochs and --free_bits
    draws_z: bool = True  # it takes --num_samples
    has_prior: bool = True  # it takes a learned --prior, and its models have a p(z) to draw from
    estimators: tuple[str, ...] = ("reparameterized",)
    needs_log_prob_of_any_z: bool = False


class Network(NamedTuple):
    """The layers of encoder and decoder: two functions in `core/networks.py`."""

    has_filters: bool = False  # they are convolutions of --filters, for images alone; the decoder has no --hidden_units
    has_blocks: bool = False  # it takes --residual_blocks
    in_explorer: bool = True  # the page of the latent explorer can compute its decoder


class Task(NamedTuple):
    """What `tfvae.explore` does with a trained model: a function in `analysis/tasks.py`."""

    needs_data: bool = True  # the run's images, or vectors
    needs_images: bool = False  # and no vectors: its pictures show pixels
    needs_prior: bool = False  # a plain autoencoder has no p(z)
    needs_labels: bool = False
    needs_element_log_prob: bool = False  # of the likelihood
    needs_log_prob_of_any_z: bool = False  # of the posterior
    takes_condition: bool = False  # it gives a run of --condition=label the labels


class Application(NamedTuple):
    """What `tfvae.apply` computes of any examples, or draws: a class in `applied.py`'s table."""

    needs_data: bool = True
    needs_prior: bool = False  # a plain autoencoder has no p(z)
    makes_examples: bool = False  # images, which can be written as pictures, or rows of a table
    draws_z: bool = False  # of each example: it takes --eval_samples and --seed
    needs_element_log_prob: bool = False  # of the likelihood
    needs_log_prob_of_any_z: bool = False  # of the posterior


class Score(NamedTuple):
    """A figure of each example by which anomalies are found: a field of `tfvae.Scores`."""

    larger_is_anomalous: bool
    needs_density: bool = True  # a plain autoencoder has no p(x)
    needs_code: bool = False  # images, of which log p(x) must be a probability or a density, and no cross-entropy


_NORMAL_PRIORS = ("standard", "normal")

POSTERIORS = {
    "isotropic": Posterior(closed_kl_to=_NORMAL_PRIORS, kl_per_latent=True),
    "diagonal": Posterior(closed_kl_to=_NORMAL_PRIORS, kl_per_latent=True),
    "full": Posterior(closed_kl_to=_NORMAL_PRIORS),
    "laplace": Posterior(),
    "logistic": Posterior(),
}

PRIORS = {
    "standard": Prior(learned=False),
    "normal": Prior(learned=True),
    "mixture": Prior(learned=True, has_components=True),
}

LIKELIHOODS = {
    "bernoulli": Likelihood(BITS),
    "continuous_bernoulli": Likelihood(UNIT),
    "gaussian": Likelihood(REALS, has_sigma=True),
    "discretized_logistic": Likelihood(LEVELS),
    "logistic_mixture": Likelihood(LEVELS, has_components=True, element_log_prob=False),
    "categorical": Likelihood(LEVELS),
}

OBJECTIVES = {
    "elbo": Objective(has_kl=True, estimators=("reparameterized", "score_function")),
    "iwae": Objective(),
    "dreg": Objective(needs_log_prob_of_any_z=True),
    "autoencoder": Objective(draws_z=False, has_prior=False),
}

NETWORKS = {
    "mlp": Network(),
    "conv": Network(has_filters=True),
    "resnet": Network(has_filters=True, has_blocks=True),
}

OWN_NETWORK = Network(in_explorer=False)  # of the user's own: `network_name.py`

ACTIVATIONS = ("relu", "tanh", "elu", "gelu", "softplus", "silu")  # of Keras, which the explorer's page has too

TASKS = {
    "samples": Task(needs_data=False, needs_prior=True, takes_condition=True),
    "interpolation": Task(needs_images=True),
    "traversal": Task(needs_images=True, needs_prior=True, takes_condition=True),
    "imputation": Task(
        needs_images=True,
        needs_prior=True,
        needs_element_log_prob=True,
        needs_log_prob_of_any_z=True,
        takes_condition=True,
    ),
    "features": Task(needs_labels=True),
    "fine_tuning": Task(needs_labels=True),
}

APPLICATIONS = {
    "latents": Application(),
    "scores": Application(draws_z=True),
    "reconstructions": Application(makes_examples=True),
    "samples": Application(needs_data=False, needs_prior=True, makes_examples=True),
    "impute": Application(
        needs_prior=True, makes_examples=True, draws_z=True, needs_element_log_prob=True, needs_log_prob_of_any_z=True
    ),
}

SCORES = {  # by default the first one that a run has
    "complexity_score": Score(larger_is_anomalous=True, needs_code=True),
    "log_px": Score(larger_is_anomalous=False),
    "elbo": Score(larger_is_anomalous=False),
    "squared_error": Score(larger_is_anomalous=True, needs_density=False),
}
