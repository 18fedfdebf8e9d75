"""The options of `tfvae.apply`: the flags of the command, and the arguments of `Run.apply`."""

import difflib
import numbers
from typing import Any

from tfvae.config import checkpoint_choice
from tfvae.config.anomaly_request import AnomalyRequest
from tfvae.config.application import PARTS_OF_RUN, SPLITS, Request
from tfvae.config.capabilities import APPLICATIONS, SCORES
from tfvae.config.config import FIELDS
from tfvae.config.fields import Kind, choice, field, number_from, or_auto, text, true_or_false, whole
from tfvae.errors import InputError


def class_names() -> Kind:
    """Names of classes, or numbers that classes without names have: several on the command line, a list in Python."""
    name = text("a name")

    def from_python(value: Any) -> Any:
        if value is None:
            return None
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(str(item) if _is_whole(item) else name.from_python(item) for item in items)

    return Kind(
        "names of classes, or their numbers, separated by commas",
        lambda given: tuple(given.split(",")),
        lambda value: isinstance(value, tuple) and len(value) > 0 and all(map(name.valid, value)),
        from_python,
        allowed_in_python="the name of a class, or its number, or a list of these",
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


_OF_REQUEST = {
    "what": field("latents", choice(*APPLICATIONS), "what is computed"),
    "output": field(None, or_auto(text("a file or a directory")), "where it goes: .npz, .csv, .parquet, .png or DIR/"),
    "split": field("all", choice(*SPLITS), "of the run's own data a split of the run, of other data a part of theirs"),
    "count": field(None, or_auto(whole(1)), "of --what=samples: how many; auto: 100"),
    "draw": field(False, true_or_false(), "of --what=samples: x drawn from p(x|z), and not its means"),
    "label": field(
        None,
        or_auto(class_names()),
        "of a run with --condition=label: the class of all examples, or those of --what=samples, in turn; auto: the "
        "labels that the examples have, or all classes in turn",
    ),
    "draws": field(0, whole(0), "of --what=impute: so many draws of the missing values too, for multiple imputation"),
    "observed": field(
        None,
        or_auto(text("a .npy file")),
        "of --what=impute: True or 1 where a pixel is observed, [N, H, W] or [N, H, W, C], in the output's order; of "
        "vectors empty cells and NaN are missing",
    ),
    "overwrite": field(False, true_or_false(), "write over an output that is there"),
} | checkpoint_choice.FLAG
_OF_ANOMALIES = {
    "threshold_quantile": field(
        None, or_auto(number_from(0, 1)), "of --what=scores: examples beyond this quantile of --threshold_split"
    ),
    "threshold_split": field("validation", choice(*PARTS_OF_RUN), "the run's own examples that are usual"),
    "threshold_by": field(
        None, or_auto(choice(*SCORES)), "the score that examples are found by; auto: complexity_score, or log_px"
    ),
    "anomalous_labels": field(
        None, or_auto(text("labels, separated by commas")), "of examples that are known to be anomalous, for the AUROC"
    ),
}
_OF_CONFIG = (
    *("dataset", "data_dir", "labels", "label_column", "skip_damaged"),
    *("eval_samples", "eval_memory_gb", "memory_gb", "seed"),
)
OPTIONS = _OF_REQUEST | _OF_ANOMALIES | {name: FIELDS[name] for name in _OF_CONFIG}


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """What Python has `given`, as plain values; raises InputError where a name or a value is none of an option."""
    for name in given:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f": did you mean {near[0]}?" if near else f": apply takes {', '.join(OPTIONS)}"
            raise InputError(f"{name}: must not be given{hint}")
    return {name: OPTIONS[name].metadata["kind"].argument(name, value) for name, value in given.items()}


def divide(given: dict[str, Any]) -> tuple[Request, dict[str, Any]]:
    """The request that the options make, and those that are settings of `Config`; raises InputError without output."""
    if given.get("output") is None:
        raise InputError("--output: must be given: a file that ends in .npz, .csv, .parquet or .png, or a directory/")
    anomalies = AnomalyRequest(**{name: given[name] for name in _OF_ANOMALIES if name in given})
    request = Request(**{name: given[name] for name in _OF_REQUEST if name in given}, anomalies=anomalies)
    settings = {name: value for name, value in given.items() if name not in _OF_REQUEST | _OF_ANOMALIES}
    return request, settings
