"""What `--help` prints: the flags by subject, those that matter first before all others, and the recipes."""

import dataclasses
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from tfvae.config.config import FIELDS
from tfvae.config.fields import to_text

FIRST = (  # the settings that matter first
    "dataset",
    "run_dir",
    "latent_dim",
    "network",
    "hidden_units",
    "likelihood",
    "beta",
    "epochs",
    "learning_rate",
    "seed",
)
SUBJECTS = {  # each setting of `Config` is in one
    "data": (
        "dataset",
        "data_dir",
        "labels",
        "binarize",
        "validation_examples",
        "image_size",
        "channels",
        "skip_damaged",
        "label_column",
        "scale",
        "value_range",
        "missing",
    ),
    "network": ("network", "hidden_units", "filters", "residual_blocks", "activation", "latent_dim", "dtype"),
    "likelihood, posterior and prior": (
        "likelihood",
        "likelihood_components",
        "sigma",
        "sigma_floor",
        "dequantize",
        "posterior",
        "prior",
        "prior_components",
        "condition",
    ),
    "objective": (
        "objective",
        "num_samples",
        "beta",
        "kl_warmup_epochs",
        "free_bits",
        "kl",
        "estimator",
        "baseline",
    ),
    "training": (
        "epochs",
        "batch_size",
        "learning_rate",
        "lr_schedule",
        "optimizer",
        "adam_epsilon",
        "clip_norm",
        "keep_best",
        "patience",
        "init_from",
        "init_part",
        "init_checksum",
        "seed",
    ),
    "evaluation": ("eval_samples", "eval_memory_gb", "validate_every"),
    "devices": ("strategy", "logical_cpus", "start_timeout", "memory_gb"),
    "output": ("run_dir", "export_dir", "export_name", "checkpoint_every"),
}
_WIDTH = 80
_RECIPES = Path(__file__).parents[2] / "flags"  # in a checkout; an installed package has none

Fields = Mapping[str, dataclasses.Field]


def page(doc: str, fields: Fields, common: Fields, is_of_training: bool) -> str:
    """The whole text: of `tfvae.train`, which has all settings, by subject; of other commands in their order.

    `common` are the flags that every command has.
    """
    parts = [textwrap.fill(paragraph, _WIDTH) for paragraph in doc.strip().split("\n\n")]
    if is_of_training:
        others = {subject: [n for n in names if n not in FIRST] for subject, names in SUBJECTS.items()}
        parts.append(_section("The flags that matter first", FIRST, fields))
        parts += [_section(subject.capitalize(), names, fields) for subject, names in others.items()]
        own = [name for name in fields if name not in FIELDS]
        if own:
            parts.append(_section("Of this command alone", own, fields))
        parts.append("Recipes:\n" + _recipes())
    else:
        parts.append(_section("Flags", fields, fields))
    of_absl = "  --flagfile: read flags from this file\n  --help: this text"
    parts.append(_section("Of every command", common, common) + "\n" + of_absl)
    return "\n\n".join(parts)


def _section(title: str, names: Iterable[str], fields: Fields) -> str:
    return "\n".join([f"{title}:", *(_entry(name, fields[name]) for name in names)])


def _entry(name: str, field: dataclasses.Field) -> str:
    """A flag with what it is, its default, and what is allowed."""
    flag = f"--[no]{name}" if type(field.default) is bool else f"--{name}"
    default = to_text(field.default) or "nothing"
    text = f"{flag}: {field.metadata['help']} (default: {default}"
    if type(field.default) is not bool:
        text += f"; {field.metadata['kind'].allowed}"
    return _wrapped(f"{text})")


def _recipes() -> str:
    """Each recipe with the first sentence of its comment."""
    lines = []
    for path in sorted(_RECIPES.glob("*.flags")):
        about = path.read_text().partition("\n#\n")[0].replace("\n# ", " ").removeprefix("# ")
        lines.append(_wrapped(f"--flagfile=flags/{path.name}: {about}"))
    return "\n".join(lines) or "  in the directory flags/ of the source"


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
    )
