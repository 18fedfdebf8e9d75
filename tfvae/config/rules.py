"""The combinations of settings that make no sense, most of them read off the table of capabilities."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tfvae.config.capabilities import (
    BITS,
    LEVELS,
    LIKELIHOODS,
    NETWORKS,
    OBJECTIVES,
    POSTERIORS,
    PRIORS,
    REALS,
    SCORES,
    TASKS,
    UNIT,
    Application,
    Task,
)
from tfvae.config.fields import to_python, to_text
from tfvae.config.network_name import is_own, network_row
from tfvae.config.usual import USUAL
from tfvae.errors import InputError, as_arguments

if TYPE_CHECKING:
    from tfvae.config.config import Config


def has_closed_kl(posterior: str, prior: str) -> bool:
    """Whether KL(q(z|x) || p(z)) of these families is closed."""
    return prior in POSTERIORS[posterior].closed_kl_to


def has_filters(network: str | None) -> bool:
    """Whether a network is one of convolutions; one that is left to the data, None, is not yet."""
    return network is not None and network_row(network).has_filters


def asks_for_levels(config: "Config") -> str | None:
    """The flag that asks for 8-bit pixels, if one does."""
    likelihood = config.likelihood or USUAL["likelihood"]
    if LIKELIHOODS[likelihood].support == LEVELS:
        return f"--likelihood={likelihood}"
    return "--dequantize=True" if config.dequantize else None


def check_combinations(config: "Config") -> None:
    """Raises InputError with the first of `refusals`, if there is one."""
    for name, allowed in refusals(config):
        value = getattr(config, name)
        without_quotes = allowed.replace("'", "")
        raise InputError(
            f"--{name}={to_text(value)}: {without_quotes}",
            in_python=f"{name}={to_python(value)}: {as_arguments(allowed)}",
        )


def refusals(config: "Config") -> Iterator[tuple[str, str]]:
    """Each setting of `config` that does not go with the others: (its name, what is allowed).

    Flags have dashes and names have quotes there. The command line shows the text without the quotes, and Python
    without the dashes.
    """
    yield from _of_the_kl(config)
    yield from _of_free_bits(config)
    yield from _of_the_gradient(config)
    yield from _of_the_objective(config)
    yield from _of_dequantizing(config)
    yield from _of_levels(config)
    if config.optimizer != "adam" and config.adam_epsilon != 1e-7:
        yield "adam_epsilon", f"must not be set with --optimizer={config.optimizer!r}"
    yield from _of_sigma(config)
    if config.dtype != "float32" and is_own(config.network):
        yield "dtype", f"must be 'float32' with --network={config.network!r}, whose layers bring dtypes of their own"
    if config.condition == "label" and config.labels == "none":
        yield "labels", "must be 'auto' with --condition='label'"
    if config.value_range is not None and config.scale != "unit":
        yield "value_range", "must not be set without --scale='unit'"
    yield from _of_selecting(config)
    if config.init_from is None:
        for name, unset in (("init_part", "all"), ("init_checksum", None)):
            if getattr(config, name) != unset:
                yield name, "must not be set without --init_from"
    if config.logical_cpus > 1 and config.strategy in ("one_device", "multi_worker"):
        yield "logical_cpus", f"must be 1 with --strategy={config.strategy!r}"


def _of_the_kl(config: "Config") -> Iterator[tuple[str, str]]:
    if config.kl == "analytic" and not has_closed_kl(config.posterior, config.prior):
        posteriors = [name for name, row in POSTERIORS.items() if row.closed_kl_to]
        priors = [name for name in PRIORS if any(name in row.closed_kl_to for row in POSTERIORS.values())]
        yield (
            "kl",
            f"must be 'monte_carlo' or 'auto': it is closed only from --posterior={_either(posteriors)} "
            f"to --prior={_either(priors)}",
        )
    if OBJECTIVES[config.objective].has_kl:
        return
    unset = {"kl": "auto", "beta": 1.0, "kl_warmup_epochs": 0.0, "free_bits": 0.0}
    for name, value in unset.items():
        if getattr(config, name) != value:
            yield name, f"must not be set: --objective={config.objective!r} has no KL term by itself"


def _of_free_bits(config: "Config") -> Iterator[tuple[str, str]]:
    if config.free_bits == 0:
        return
    if not (POSTERIORS[config.posterior].kl_per_latent and config.closed_kl):
        posteriors = [name for name, row in POSTERIORS.items() if row.kl_per_latent]
        priors = [name for name in PRIORS if any(name in POSTERIORS[p].closed_kl_to for p in posteriors)]
        yield (
            "free_bits",
            f"must be 0, or the KL closed for each latent by itself: --posterior={_either(posteriors)}, "
            f"--prior={_either(priors)}, --kl='analytic'",
        )
    if config.estimator != "reparameterized":
        yield "free_bits", f"must be 0 with --estimator={config.estimator!r}"


def _of_the_gradient(config: "Config") -> Iterator[tuple[str, str]]:
    estimators = OBJECTIVES[config.objective].estimators
    if config.estimator not in estimators:
        yield "estimator", f"must be {_either(estimators)} with --objective={config.objective!r}"
    if config.baseline != "none" and (config.estimator != "score_function" or config.num_samples < 2):
        yield "baseline", "must be 'none', or --estimator='score_function' and --num_samples 2 or more"
    if POSTERIORS[config.posterior].log_prob_of_any_z:
        return
    reason = f"must be of another posterior: --posterior={config.posterior!r} has no log q(z|x) of any z"
    if OBJECTIVES[config.objective].needs_log_prob_of_any_z:
        yield "objective", reason
    if config.estimator == "score_function":
        yield "estimator", reason


def _of_the_objective(config: "Config") -> Iterator[tuple[str, str]]:
    objective = OBJECTIVES[config.objective]
    if config.num_samples > 1 and not objective.draws_z:
        yield "num_samples", f"must be 1: --objective={config.objective!r} draws no z"
    if PRIORS[config.prior].learned and not objective.has_prior:
        yield "prior", f"must be 'standard': --objective={config.objective!r} has no prior to learn"


def _of_sigma(config: "Config") -> Iterator[tuple[str, str]]:
    if not isinstance(config.sigma, str) and config.sigma_floor != 0.01:
        yield "sigma_floor", "must not be set: --sigma is a number, and not learned"
    if config.sigma == "optimal" and config.objective != "elbo":
        yield (
            "sigma",
            f"must not be 'optimal' with --objective={config.objective!r}: its maximum is closed for the elbo",
        )


def _of_dequantizing(config: "Config") -> Iterator[tuple[str, str]]:
    likelihood = config.likelihood or USUAL["likelihood"]
    if config.dequantize and not (LIKELIHOODS[likelihood].support in (UNIT, REALS) and config.binarize == "none"):
        densities = [name for name, row in LIKELIHOODS.items() if row.support in (UNIT, REALS)]
        yield "dequantize", f"must be false, or --likelihood={_either(densities)} and --binarize='none'"


def _of_levels(config: "Config") -> Iterator[tuple[str, str]]:
    likelihood = config.likelihood or USUAL["likelihood"]
    if LIKELIHOODS[likelihood].support != LEVELS:
        return
    for name, usual in (("binarize", "none"), ("scale", "none")):
        if getattr(config, name) not in (None, usual):
            yield name, f"must be {usual!r} with --likelihood={likelihood!r}, which is of 8-bit pixels as they come"


def _of_selecting(config: "Config") -> Iterator[tuple[str, str]]:
    if not config.selects:
        return
    name = "keep_best" if config.keep_best else "patience"
    usual = "false" if config.keep_best else "auto"
    if not OBJECTIVES[config.objective].has_prior:
        yield name, f"must be {usual} with --objective={config.objective!r}, which has no ELBO to go by"
    if config.keep_best and config.sigma == "optimal":
        yield "keep_best", "must be false with --sigma='optimal', which is set after the last step: take 'learned'"
    if config.validation_examples == 0:
        yield "validation_examples", f"must not be 0 with --{name}, which goes by the validation images"
    if config.validate_every and config.epochs and config.validate_every > config.epochs:
        yield "validate_every", f"must be at most --epochs={config.epochs} with --{name}"


def _either(names: Iterable[str]) -> str:
    """`'a', 'b' or 'c'`."""
    *others, last = [repr(name) for name in names]
    return f"{', '.join(others)} or {last}" if others else last


def check_kind(config: "Config", kind: str) -> None:
    """Raises InputError where a setting is none for data of this `kind`: that of `left_to_data.with_models`."""
    for name, allowed in _of_kind(config, kind):
        value = getattr(config, name)
        value = f"{value[0]},{value[1]}" if isinstance(value, tuple) else value
        raise InputError(f"--{name}={value}: {allowed}")


def _of_kind(config: "Config", kind: str) -> Iterator[tuple[str, str]]:
    """Each setting that data of this kind refuse: (its name, what is allowed)."""
    if kind == "vectors":
        of_vectors = "for vectors, which have no pixels"
        if has_filters(config.network):
            without_filters = [name for name, row in NETWORKS.items() if not row.has_filters]
            yield "network", f"must be {' or '.join(without_filters)} {of_vectors}"
        if config.binarize != "none":
            yield "binarize", f"must be none {of_vectors}"
        if config.dequantize:
            yield "dequantize", f"must be false {of_vectors}"
        if config.missing == "allow" and config.sigma == "optimal":
            yield "sigma", "must not be optimal with --missing=allow: take learned or per_pixel"
        likelihood = config.likelihood or "gaussian"
        if LIKELIHOODS[likelihood].support == LEVELS:
            yield "likelihood", f"must not be of 8-bit pixels {of_vectors}"
        if config.missing == "allow" and not LIKELIHOODS[likelihood].element_log_prob:
            yield "missing", f"must be refuse with --likelihood={likelihood}, which has no log density of single values"
        if config.scale not in (None, "none") and LIKELIHOODS[likelihood].support != REALS:
            yield "scale", f"must be none with --likelihood={likelihood}, whose probabilities have no unit to scale"
    else:
        if config.scale == "standardize":
            yield "scale", "must be none or unit for images"
        if config.scale == "unit" and config.dequantize:
            yield "scale", "must be none with --dequantize, which is for 8-bit pixels"
        if config.missing == "allow":
            yield "missing", "must be refuse for images, which have no missing pixels"
    if kind != "folder":
        for name in ("image_size", "channels"):
            if getattr(config, name) is not None:
                yield name, "must not be set: it is for folders of images"
        if config.skip_damaged:
            yield "skip_damaged", "must be false: it is for folders of images"


def check_explorer(config: "Config") -> None:
    """Refuses the latent explorer of a network or likelihood that its page can't compute; raises InputError.

    The page of a network of the user's own asks a server to decode.
    """
    network = config.network or USUAL["network"]
    if is_own(network):
        return
    if not network_row(network).in_explorer:
        raise InputError(
            f"--explorer=true: must be false for --network={network}, whose decoder the page can't compute"
        )
    likelihood = config.likelihood or USUAL["likelihood"]
    if not LIKELIHOODS[likelihood].in_explorer:
        raise InputError(
            f"--explorer=true: must be false for --likelihood={likelihood}, whose mean the page can't compute"
        )


def check_onnx(config: "Config") -> None:
    """Refuses ONNX of a model whose products onnxruntime can't compute; raises InputError."""
    if config.dtype != "float32":
        raise InputError(f"--export_format=onnx: must be saved_model for a run with --dtype={config.dtype}")


def check_task(config: "Config", task: str, has_labels: bool = True, is_of_vectors: bool = False) -> None:
    """Raises InputError with the first of `task_refusals`, if there is one."""
    for reason in task_refusals(config, task, has_labels, is_of_vectors):
        raise InputError(f"--task={task}: {reason}")


def task_refusals(config: "Config", task: str, has_labels: bool = True, is_of_vectors: bool = False) -> Iterator[str]:
    """Why a task of `tfvae.explore` is refused for a run with this `config`; nothing where it is allowed.

    `has_labels` says whether the data set has labels; until that is known, it is taken to have some.
    """
    needs = TASKS[task]
    if needs.needs_images and is_of_vectors:
        yield "must not be of vectors, which have no pixels to show"
    yield from model_refusals(config, needs)
    if config.condition != "none" and not needs.takes_condition:
        yield "must not be of a conditional run, whose labels it does not take"
    if needs.needs_labels and not has_labels:
        without = " with --labels=none" if config.labels == "none" else ""
        yield f"must be of a data set that has labels, and {config.dataset} has none{without}"


def model_refusals(config: "Config", needs: Task | Application) -> Iterator[str]:
    """Why a model of this `config` can't do what a row of the capabilities says."""
    if needs.needs_prior and not OBJECTIVES[config.objective].has_prior:
        yield "must not be of a plain autoencoder, which has no p(z) to draw from"
    likelihood = config.likelihood or USUAL["likelihood"]
    if needs.needs_element_log_prob and not LIKELIHOODS[likelihood].element_log_prob:
        yield f"must not be of a {likelihood} likelihood, which has no log density of single values"
    if needs.needs_log_prob_of_any_z and not POSTERIORS[config.posterior].log_prob_of_any_z:
        yield f"must not be of a {config.posterior} posterior, which has no log q(z|x) of any z"


def score_refusals(config: "Config", score: str, is_of_vectors: bool, white: int = 255) -> Iterator[str]:
    """Why a run with this `config` does not find anomalies by a score of `SCORES`; nothing where it does.

    `white` is that of the run's images, 1 where they are zeros and ones.
    """
    needs = SCORES[score]
    if needs.needs_density and not OBJECTIVES[config.objective].has_prior:
        yield "must not be of a plain autoencoder, which has no p(x)"
    if needs.needs_code and is_of_vectors:
        yield "must not be of vectors, which image compressors do not take"
    likelihood = config.likelihood or USUAL["likelihood"]
    is_of_bits = config.binarize != "none" or white == 1
    if needs.needs_code and LIKELIHOODS[likelihood].support == BITS and not is_of_bits:
        yield (
            f"must not be of a {likelihood} likelihood of grey or colour values, which is no code length: "
            "it needs a run with --binarize or --likelihood=gaussian"
        )
