"""Combinations of settings that are refused, and the table of capabilities by which most of them are."""

import types

import pytest

from tfvae.config import Config, rules
from tfvae.config.architecture import architecture
from tfvae.config.capabilities import (
    LIKELIHOODS,
    NETWORKS,
    OBJECTIVES,
    POSTERIORS,
    PRIORS,
    SCORES,
    TASKS,
    Network,
    Objective,
    Posterior,
    Prior,
)
from tfvae.config.config import FIELDS
from tfvae.errors import InputError


def either(names):
    """`a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}"


CLOSED = either(name for name, row in POSTERIORS.items() if row.closed_kl_to)
PER_LATENT = either(name for name, row in POSTERIORS.items() if row.kl_per_latent)
NOT_CLOSED = f"must be monte_carlo or auto: it is closed only from --posterior={CLOSED} to --prior=standard or normal"
NOT_PER_LATENT = (
    f"must be 0, or the KL closed for each latent by itself: --posterior={PER_LATENT}, --prior=standard or normal, "
    "--kl=analytic"
)
NO_BASELINE = "must be none, or --estimator=score_function and --num_samples 2 or more"
NO_DEQUANTIZING = "must be false, or --likelihood=continuous_bernoulli or gaussian and --binarize=none"
CLASHES = [  # the options, the first of which is refused, and the reason
    ({"kl": "analytic", "posterior": "laplace"}, NOT_CLOSED),
    ({"kl": "analytic", "posterior": "logistic"}, NOT_CLOSED),
    ({"kl": "analytic", "prior": "mixture"}, NOT_CLOSED),
    ({"kl": "monte_carlo", "objective": "iwae"}, "must not be set: --objective=iwae has no KL term by itself"),
    ({"beta": 2.0, "objective": "dreg"}, "must not be set: --objective=dreg has no KL term by itself"),
    (
        {"kl_warmup_epochs": 1.0, "objective": "autoencoder"},
        "must not be set: --objective=autoencoder has no KL term by itself",
    ),
    ({"free_bits": 0.5, "objective": "iwae"}, "must not be set: --objective=iwae has no KL term by itself"),
    ({"free_bits": 0.5, "posterior": "full"}, NOT_PER_LATENT),
    ({"free_bits": 0.5, "kl": "monte_carlo"}, NOT_PER_LATENT),
    ({"free_bits": 0.5, "prior": "mixture"}, NOT_PER_LATENT),
    ({"free_bits": 0.5, "estimator": "score_function"}, "must be 0 with --estimator=score_function"),
    ({"estimator": "score_function", "objective": "iwae"}, "must be reparameterized with --objective=iwae"),
    ({"baseline": "leave_one_out"}, NO_BASELINE),
    ({"baseline": "leave_one_out", "estimator": "score_function", "num_samples": 1}, NO_BASELINE),
    ({"num_samples": 2, "objective": "autoencoder"}, "must be 1: --objective=autoencoder draws no z"),
    (
        {"keep_best": True, "objective": "autoencoder"},
        "must be false with --objective=autoencoder, which has no ELBO to go by",
    ),
    (
        {"patience": 5, "objective": "autoencoder"},
        "must be auto with --objective=autoencoder, which has no ELBO to go by",
    ),
    (
        {"validation_examples": 0, "keep_best": True},
        "must not be 0 with --keep_best, which goes by the validation images",
    ),
    ({"validation_examples": 0, "patience": 5}, "must not be 0 with --patience, which goes by the validation images"),
    ({"validate_every": 9, "epochs": 8, "patience": 5}, "must be at most --epochs=8 with --patience"),
    (
        {"keep_best": True, "likelihood": "gaussian", "sigma": "optimal"},
        "must be false with --sigma=optimal, which is set after the last step: take learned",
    ),
    (
        {"prior": "normal", "objective": "autoencoder"},
        "must be standard: --objective=autoencoder has no prior to learn",
    ),
    ({"dequantize": True}, NO_DEQUANTIZING),
    ({"dequantize": True, "likelihood": "gaussian", "binarize": "threshold"}, NO_DEQUANTIZING),
    ({"adam_epsilon": 1e-4, "optimizer": "adagrad"}, "must not be set with --optimizer=adagrad"),
    (
        {"sigma": "optimal", "likelihood": "gaussian", "objective": "iwae"},
        "must not be optimal with --objective=iwae: its maximum is closed for the elbo",
    ),
    ({"sigma_floor": 0.1, "likelihood": "gaussian"}, "must not be set: --sigma is a number, and not learned"),
    ({"logical_cpus": 2, "strategy": "one_device"}, "must be 1 with --strategy=one_device"),
    ({"logical_cpus": 2, "strategy": "multi_worker"}, "must be 1 with --strategy=multi_worker"),
]
ALLOWED = [  # near what is refused
    {"kl": "analytic", "posterior": "full", "prior": "normal"},
    {"free_bits": 0.5, "posterior": "isotropic", "prior": "normal", "kl": "analytic"},
    {"beta": 2.0, "kl": "monte_carlo", "posterior": "laplace", "prior": "mixture"},
    {"baseline": "leave_one_out", "estimator": "score_function", "num_samples": 2},
    {"objective": "dreg", "posterior": "logistic", "prior": "mixture", "num_samples": 3},
    {"dequantize": True, "likelihood": "gaussian"},
    {"sigma_floor": 0.1, "sigma": "learned"},
    {"sigma": "optimal", "likelihood": "gaussian", "estimator": "score_function"},
    {"logical_cpus": 2, "strategy": "mirrored"},
]


def as_flags(options):
    return " ".join(f"{name}={value}" for name, value in options.items())


@pytest.mark.parametrize("options, reason", CLASHES, ids=[as_flags(options) for options, _ in CLASHES])
def test_combinations_that_make_no_sense_are_refused_with_a_reason(options, reason):
    with pytest.raises(InputError) as caught:
        Config(**options)
    name, value = next(iter(options.items()))
    assert caught.value.for_command_line == f"--{name}={value}: {reason}"


IN_PYTHON = [  # one of each rule
    (
        {"kl": "analytic", "posterior": "laplace"},
        "kl='analytic': must be 'monte_carlo' or 'auto': it is closed only from posterior='isotropic', 'diagonal' or "
        "'full' to prior='standard' or 'normal'",
    ),
    (
        {"beta": 2, "objective": "dreg"},
        "beta=2.0: must not be set: objective='dreg' has no KL term by itself",
    ),
    (
        {"free_bits": 0.5, "posterior": "full"},
        "free_bits=0.5: must be 0, or the KL closed for each latent by itself: posterior='isotropic' or 'diagonal', "
        "prior='standard' or 'normal', kl='analytic'",
    ),
    (
        {"free_bits": 0.5, "estimator": "score_function"},
        "free_bits=0.5: must be 0 with estimator='score_function'",
    ),
    (
        {"estimator": "score_function", "objective": "iwae"},
        "estimator='score_function': must be 'reparameterized' with objective='iwae'",
    ),
    (
        {"baseline": "leave_one_out"},
        "baseline='leave_one_out': must be 'none', or estimator='score_function' and num_samples 2 or more",
    ),
    (
        {"num_samples": 2, "objective": "autoencoder"},
        "num_samples=2: must be 1: objective='autoencoder' draws no z",
    ),
    (
        {"prior": "normal", "objective": "autoencoder"},
        "prior='normal': must be 'standard': objective='autoencoder' has no prior to learn",
    ),
    (
        {"dequantize": True},
        "dequantize=True: must be false, or likelihood='continuous_bernoulli' or 'gaussian' and binarize='none'",
    ),
    (
        {"adam_epsilon": 1e-4, "optimizer": "adagrad"},
        "adam_epsilon=0.0001: must not be set with optimizer='adagrad'",
    ),
    ({"sigma_floor": 0.1}, "sigma_floor=0.1: must not be set: sigma is a number, and not learned"),
    ({"logical_cpus": 2, "strategy": "one_device"}, "logical_cpus=2: must be 1 with strategy='one_device'"),
]


@pytest.mark.parametrize("options, message", IN_PYTHON, ids=[as_flags(options) for options, _ in IN_PYTHON])
def test_python_is_told_of_arguments_and_of_names_in_quotes(options, message):
    with pytest.raises(InputError) as caught:
        Config(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize("options", ALLOWED, ids=as_flags)
def test_combinations_that_make_sense_are_not_refused(options):
    config = Config(**options)
    assert {name: getattr(config, name) for name in options} == options


def test_the_first_of_several_reasons_is_given():
    with pytest.raises(InputError, match="^adam_epsilon="):
        Config(optimizer="sgd", adam_epsilon=1e-4, sigma_floor=0.1, logical_cpus=2, strategy="one_device")
    with pytest.raises(InputError, match="^kl='analytic'"):
        Config(kl="analytic", posterior="laplace", objective="iwae", num_samples=1, free_bits=1.0)


@pytest.mark.parametrize("posterior", ["isotropic", "diagonal", "full", "laplace", "logistic"])
@pytest.mark.parametrize("prior", ["standard", "normal", "mixture"])
def test_the_kl_is_closed_exactly_between_normals(posterior, prior):
    closed = posterior not in ("laplace", "logistic") and prior != "mixture"
    assert Config(posterior=posterior, prior=prior).closed_kl == closed
    assert not Config(posterior=posterior, prior=prior, kl="monte_carlo").closed_kl


def test_a_posterior_without_log_prob_of_any_z_is_refused_where_that_is_needed(monkeypatch):
    monkeypatch.setitem(POSTERIORS, "laplace", Posterior(log_prob_of_any_z=False))
    reason = "must be of another posterior: --posterior=laplace has no log q(z|x) of any z"
    for options in ({"objective": "dreg"}, {"estimator": "score_function"}):
        with pytest.raises(InputError) as caught:
            Config(posterior="laplace", **options)
        assert caught.value.for_command_line == f"--{as_flags(options)}: {reason}"
    assert Config(posterior="laplace", objective="iwae").objective == "iwae"


def test_a_new_row_is_enough_for_its_rules(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "new", Objective(has_kl=True, draws_z=False))
    settings = {name: field.default for name, field in FIELDS.items()}
    settings |= {"objective": "new", "estimator": "score_function", "num_samples": 2, "beta": 2.0}
    new = types.SimpleNamespace(
        **settings, closed_kl=True, selects=False
    )  # a `Config` knows the names that it was made with alone
    assert list(rules.refusals(new)) == [
        ("estimator", "must be 'reparameterized' with --objective='new'"),
        ("num_samples", "must be 1: --objective='new' draws no z"),
    ]


def test_what_networks_and_priors_refuse_is_in_their_rows(monkeypatch):
    monkeypatch.setitem(NETWORKS, "conv", Network(has_filters=True, in_explorer=False))
    monkeypatch.setitem(NETWORKS, "mlp", Network(has_filters=False))
    rules.check_explorer(Config())
    with pytest.raises(InputError) as caught:
        rules.check_explorer(Config(network="conv"))
    reason = "must be false for --network=conv, whose decoder the page can't compute"
    assert caught.value.for_command_line == f"--explorer=true: {reason}"
    monkeypatch.setitem(LIKELIHOODS, "gaussian", LIKELIHOODS["gaussian"]._replace(in_explorer=False))
    with pytest.raises(InputError, match="must be false for likelihood=gaussian, whose mean the page can't compute"):
        rules.check_explorer(Config(likelihood="gaussian"))
    with pytest.raises(InputError, match="^network=conv: must be mlp for vectors"):
        rules.check_kind(Config(network="conv"), "vectors")
    monkeypatch.setitem(NETWORKS, "conv", Network())
    rules.check_kind(Config(network="conv"), "vectors")
    assert "filters" not in architecture(Config(network="conv"), "all")
    monkeypatch.setitem(PRIORS, "normal", Prior(learned=True, has_components=True))
    assert "prior_components" in architecture(Config(prior="normal"), "all")


def test_the_rows_are_the_flags_values_and_name_one_another():
    tables = {"posterior": POSTERIORS, "prior": PRIORS, "likelihood": LIKELIHOODS, "objective": OBJECTIVES}
    assert FIELDS["network"].metadata["kind"].names == tuple(NETWORKS)
    for name, table in tables.items():
        assert FIELDS[name].metadata["kind"].allowed.removeprefix("auto or ") == f"one of {', '.join(table)}"
    for row in POSTERIORS.values():
        assert set(row.closed_kl_to) <= set(PRIORS)
        assert row.closed_kl_to or not row.kl_per_latent
    for row in OBJECTIVES.values():
        assert all(FIELDS["estimator"].metadata["kind"].valid(estimator) for estimator in row.estimators)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_that_needs_labels_is_refused_without_them(task):
    config = Config(dataset="digits")
    rules.check_task(config, task)  # until it is known whether there are labels
    if not TASKS[task].needs_labels:
        rules.check_task(config, task, has_labels=False)
        return
    with pytest.raises(InputError) as caught:
        rules.check_task(config, task, has_labels=False)
    expected = f"--task={task}: must be of a data set that has labels, and digits has none"
    assert caught.value.for_command_line == expected


@pytest.mark.parametrize(
    ("settings", "is_of_vectors", "white", "scores"),
    [
        ({}, False, 255, ["log_px", "elbo", "squared_error"]),
        ({}, False, 1, list(SCORES)),
        ({"binarize": "stochastic"}, False, 255, list(SCORES)),
        ({"likelihood": "gaussian"}, False, 255, list(SCORES)),
        ({"likelihood": "gaussian"}, True, 255, ["log_px", "elbo", "squared_error"]),
        ({"objective": "autoencoder", "likelihood": "gaussian"}, False, 255, ["squared_error"]),
    ],
)
def test_anomalies_are_found_by_the_scores_that_mean_something(settings, is_of_vectors, white, scores):
    config = Config(**settings)
    assert [name for name in SCORES if not list(rules.score_refusals(config, name, is_of_vectors, white))] == scores


def test_onnx_is_refused_of_products_that_onnxruntime_can_t_compute():
    rules.check_onnx(Config())
    with pytest.raises(InputError, match="must be saved_model for a run with dtype=bfloat16"):
        rules.check_onnx(Config(dtype="bfloat16"))


@pytest.mark.parametrize("likelihood", ["discretized_logistic", "logistic_mixture", "categorical"])
@pytest.mark.parametrize("setting", [{"binarize": "threshold"}, {"scale": "unit"}, {"dequantize": True}])
def test_a_likelihood_of_levels_takes_8_bit_pixels_as_they_come(likelihood, setting):
    with pytest.raises(InputError, match=f"^{next(iter(setting))}="):
        Config(likelihood=likelihood, **setting)
    with pytest.raises(InputError, match="must not be of 8-bit pixels for vectors"):
        rules.check_kind(Config(likelihood=likelihood), "vectors")


def test_missing_values_ask_for_a_density_of_single_values(monkeypatch):
    config = Config(likelihood="gaussian", sigma="per_pixel", missing="allow")
    rules.check_kind(config, "vectors")
    monkeypatch.setitem(LIKELIHOODS, "gaussian", LIKELIHOODS["gaussian"]._replace(element_log_prob=False))
    with pytest.raises(InputError, match="missing=allow: must be refuse with likelihood=gaussian"):
        rules.check_kind(config, "vectors")
