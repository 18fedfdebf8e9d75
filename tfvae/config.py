"""Every choice that a run can be given, once.

The frozen `Config` is the only list: the flags, `--help`, flagfiles and the `config.flags` that each run
directory keeps are all made from its fields. This file imports the standard library and absl alone, so that
`--help` and a refused flag never wait for TensorFlow.
"""

import dataclasses
import math
import os
import re
import signal
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from absl import flags, logging


class InputError(ValueError):
    """A flag, setting or input file that can't be used: commands print it as one line and exit with status 2.

    `why` is the reason alone, where another message is to quote it.
    """

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(message)
        self.why = why


class RunError(RuntimeError):
    """A failure after the start: commands print it, like an OSError, as one line and exit with status 1."""

    status = 1


class WorkerLost(RunError):
    """Another worker of the job is gone: all must be started again, and will go on from the last checkpoint."""

    status = 75  # EX_TEMPFAIL: try again


class _Kind(flags.ArgumentParser):
    """What a field may hold: `read` turns a flag's text into a value, `valid` says whether a value is allowed."""

    def __init__(self, allowed: str, read: Callable[[str], Any], valid: Callable[[Any], bool]) -> None:
        self.allowed, self.read, self.valid = allowed, read, valid
        self.syntactic_help = allowed

    def parse(self, argument: str) -> Any:
        try:
            value = self.read(argument)
        except ValueError:
            raise ValueError(f"must be {self.allowed}") from None
        if not self.valid(value):
            raise ValueError(f"must be {self.allowed}")
        return value


def _whole(low: int, high: int = 2**31 - 1) -> _Kind:
    return _Kind(f"a whole number from {low} to {high}", int, lambda v: type(v) is int and low <= v <= high)


def _number(low: float, *, above: bool = False) -> _Kind:
    """A finite number, `low` or more (`above`: more than `low`)."""
    return _Kind(
        f"a finite number {'above' if above else 'not below'} {low:g}",
        float,
        lambda v: type(v) in (int, float) and math.isfinite(v) and (v > low if above else v >= low),
    )


def _choice(*names: str) -> _Kind:
    return _Kind("one of " + ", ".join(names), str, lambda v: v in names)


def _text(allowed: str) -> _Kind:
    return _Kind(allowed, str, lambda v: isinstance(v, str) and v.strip() != "" and "\n" not in v)


def _wholes(what: str, minimum: int) -> _Kind:
    return _Kind(
        f"{what}: whole numbers from 1 to {2**20 - 1}, separated by commas" + ("" if minimum else ", or nothing"),
        lambda text: tuple(int(part) for part in text.split(",")) if text.strip() else (),
        lambda v: isinstance(v, tuple) and len(v) >= minimum and all(type(n) is int and 0 < n < 2**20 for n in v),
    )


def _flag() -> _Kind:
    return _Kind("true or false", lambda text: text == "True", lambda v: isinstance(v, bool))


def _or_auto(kind: _Kind) -> _Kind:
    """`kind`, or None, which is spelled `auto` on the command line."""
    return _Kind(
        f"auto or {kind.allowed}",
        lambda text: None if text == "auto" else kind.read(text),
        lambda v: v is None or kind.valid(v),
    )


def lr_steps(schedule: str) -> list[tuple[int, float]]:
    """Reads `EPOCH:FACTOR,...` into [(epoch, factor)]; raises ValueError unless the epochs grow from 1 on."""
    steps = [(int(epoch), float(factor)) for epoch, factor in (part.split(":") for part in schedule.split(","))]
    epochs = [0] + [epoch for epoch, _ in steps]
    if any(a >= b for a, b in zip(epochs, epochs[1:])) or not all(0 < factor < math.inf for _, factor in steps):
        raise ValueError(schedule)
    return steps


def _valid_schedule(value: Any) -> bool:
    try:
        return value in ("constant", "cosine") or bool(lr_steps(value))
    except (ValueError, AttributeError):
        return False


def _read_sigma(text: str) -> float | str:
    return text if text in ("learned", "per_pixel", "of_z") else float(text)


def _valid_sigma(value: Any) -> bool:
    return value in ("learned", "per_pixel", "of_z") or type(value) in (int, float) and 0 < value < math.inf


def _field(default: Any, kind: _Kind, help: str, *, free: bool = False) -> Any:
    """A field of `Config`; `free` ones (paths, intervals) may differ when a run is resumed."""
    return dataclasses.field(default=default, metadata={"kind": kind, "help": help, "free": free})


@dataclasses.dataclass(frozen=True)
class Config:
    """All choices of a run; `python -m tfvae.train --help` prints the same list.

    Raises:
        InputError: a value is of the wrong type or out of range, or two values don't go together.
    """

    dataset: str = _field(
        "auto",
        _text("auto, digits, the name of a TFDS data set, or a path to .npy or .npz images"),
        "the images: digits (scikit-learn's, no network), a TFDS name such as mnist, a .npy or .npz file, or auto: "
        "mnist if it is here or can be downloaded, otherwise digits",
    )
    data_dir: str | None = _field(
        None,
        _or_auto(_text("a directory")),
        "where TFDS keeps its data sets; auto: $TFDS_DATA_DIR or ~/tensorflow_datasets",
        free=True,
    )
    binarize: str = _field(
        "none",
        _choice("none", "threshold", "stochastic"),
        "pixels as they are, 1 above a half, or drawn with their grey value as the probability (anew at each visit "
        "in training, once and for all in evaluation)",
    )
    validation_examples: int | None = _field(
        None,
        _or_auto(_whole(0)),
        "images held out of training for validation; auto: the data set's own validation split, or 5,000 off the "
        "end of train, or a tenth of a small set",
    )
    network: str = _field("mlp", _choice("mlp", "conv"), "dense layers, or convolutions with stride 2")
    hidden_units: tuple[int, ...] = _field(
        (512,),
        _wholes("layer sizes", 0),
        "sizes of the encoder's dense layers; the mlp decoder mirrors them; nothing: a linear model",
    )
    filters: tuple[int, ...] = _field(
        (32, 64), _wholes("filter counts", 1), "filters of the convolutions of --network=conv; the decoder mirrors them"
    )
    activation: str = _field("relu", _choice("relu", "tanh", "elu", "gelu", "softplus"), "of the hidden layers")
    dtype: str = _field(
        "float32",
        _choice("float32", "bfloat16"),
        "of the layers' products; weights, z, likelihood and KL are float32 in any case (for GPUs: on CPU bfloat16 "
        "is slower)",
    )
    latent_dim: int = _field(2, _whole(1, 2**16), "dimensions of z")
    likelihood: str = _field("bernoulli", _choice("bernoulli", "gaussian"), "p(x|z), each pixel by itself given z")
    sigma: float | str = _field(
        0.1,
        _Kind("learned, per_pixel, of_z or a finite number above 0", _read_sigma, _valid_sigma),
        "the gaussian likelihood's deviation, x in [0, 1]: a number, one that is learned, one for each pixel, or a "
        "function of z",
    )
    sigma_floor: float = _field(0.01, _number(0, above=True), "below which no learned --sigma falls")
    dequantize: bool = _field(
        False,
        _flag(),
        "add uniform noise to 8-bit pixels, (x + u) / 256, so that gaussian densities are bits per dimension",
    )
    posterior: str = _field(
        "diagonal", _choice("isotropic", "diagonal", "full", "laplace", "logistic"), "the family of q(z|x)"
    )
    prior: str = _field("standard", _choice("standard", "normal", "mixture"), "p(z): N(0, I), or learned")
    prior_components: int = _field(10, _whole(1, 10_000), "of --prior=mixture")
    objective: str = _field(
        "elbo",
        _choice("elbo", "iwae", "dreg", "autoencoder"),
        "what is maximised: the ELBO, the importance-weighted bound, the same with doubly reparameterised gradient, "
        "or log p(x|z) at the posterior's mean alone",
    )
    kl: str = _field(
        "auto",
        _choice("auto", "analytic", "monte_carlo"),
        "the ELBO's KL: closed, sampled, or auto: closed if it can be",
    )
    estimator: str = _field(
        "reparameterized", _choice("reparameterized", "score_function"), "of the ELBO's gradient in the encoder"
    )
    baseline: str = _field(
        "none", _choice("none", "leave_one_out"), "of --estimator=score_function: the mean of the other samples"
    )
    beta: float = _field(1.0, _number(0), "weight of the KL in the training objective (1: the ELBO)")
    kl_warmup_epochs: float = _field(0.0, _number(0), "epochs in which the weight of the KL rises from 0 to --beta")
    free_bits: float = _field(0.0, _number(0), "nats below which a latent's KL costs nothing")
    num_samples: int = _field(1, _whole(1, 10_000), "m or K: z's drawn for each image and step in training")
    batch_size: int = _field(128, _whole(1), "images a step")
    epochs: int | None = _field(
        None,
        _or_auto(_whole(1)),
        "passes over the training images; auto: a million images' worth, at least 10",
    )
    optimizer: str = _field("adam", _choice("adam", "sgd", "rmsprop", "adagrad"), "the Keras optimizer")
    learning_rate: float = _field(1e-3, _number(0, above=True), "the optimizer's step size")
    adam_epsilon: float = _field(1e-7, _number(0, above=True), "what Adam adds to the root of its second moment")
    lr_schedule: str = _field(
        "constant",
        _Kind("constant, cosine, or EPOCH:FACTOR,... with growing epochs", str, _valid_schedule),
        "constant; cosine: down to 0 at the last epoch; 200:0.6,350:0.4: from epoch 200 on 0.6 times --learning_rate, "
        "from 350 on 0.4 times",
    )
    clip_norm: float = _field(
        0.0, _number(0), "the gradient's norm over all weights and images of a step that it is scaled down to; 0: none"
    )
    eval_samples: int = _field(200, _whole(1, 10_000_000), "S: importance samples an image for log p(x)")
    seed: int = _field(0, _whole(0), "of the weights, the order of the images and all noise")
    strategy: str = _field(
        "auto",
        _choice("auto", "one_device", "mirrored", "multi_worker"),
        "where it computes, the numbers being the same: one device, all GPUs of this machine, or the workers of "
        "$TF_CONFIG; auto: as many of these as there are",
        free=True,
    )
    logical_cpus: int = _field(
        1, _whole(1, 64), "virtual devices for --strategy=mirrored to be tried on, without GPUs", free=True
    )
    start_timeout: float = _field(
        300.0, _number(0, above=True), "seconds in which all workers of --strategy=multi_worker must appear", free=True
    )
    memory_gb: float | None = _field(
        None,
        _or_auto(_number(0)),
        "training images larger than so many GB are read from disk as they are needed; auto: half of the machine's "
        "memory",
        free=True,
    )
    checkpoint_every: float = _field(
        10.0, _number(0), "seconds between checkpoints, which are taken at ends of epochs", free=True
    )
    run_dir: str | None = _field(
        None, _or_auto(_text("a directory")), "the run's directory; auto: runs/<named by its settings>", free=True
    )
    export_dir: str = _field(
        "saved_models", _text("a directory"), "the decoder goes to <export_dir>/<run>/<version>", free=True
    )

    def __post_init__(self) -> None:
        for name, field in _FIELDS.items():
            value = getattr(self, name)
            if not field.metadata["kind"].valid(value):
                raise InputError(f"--{name}={_to_text(value)}: must be {field.metadata['kind'].allowed}")
            if type(field.default) is float and type(value) is int:
                object.__setattr__(self, name, float(value))  # 1 and 1.0 are one setting, of one name
            if name.endswith("_dir") and value is not None:
                object.__setattr__(self, name, os.path.expanduser(value))  # shells leave the ~ of --flag=~/place

        for name, wrong, why in self._clashes():
            if wrong:
                raise InputError(f"--{name}={_to_text(getattr(self, name))}: {why}")

    @property
    def closed_kl(self) -> bool:
        """Whether the ELBO's KL is the closed one."""
        return self.kl == "analytic" or (self.kl == "auto" and self._has_closed_kl())

    def _has_closed_kl(self) -> bool:
        return self.posterior in ("isotropic", "diagonal", "full") and self.prior != "mixture"

    def _clashes(self) -> list[tuple[str, bool, str]]:
        """The combinations that make no sense: (the flag to blame, whether it is so, what is allowed)."""
        of_elbo = f"must not be set: --objective={self.objective} has no KL term by itself"
        not_elbo = self.objective != "elbo"
        per_latent = self.posterior in ("isotropic", "diagonal") and self.closed_kl
        return [
            ("kl", self.kl == "analytic" and not self._has_closed_kl(), "must be monte_carlo or auto: it is closed "
             "only from --posterior=isotropic, diagonal or full to --prior=standard or normal"),
            ("kl", not_elbo and self.kl != "auto", of_elbo),
            ("beta", not_elbo and self.beta != 1, of_elbo),
            ("kl_warmup_epochs", not_elbo and self.kl_warmup_epochs > 0, of_elbo),
            ("free_bits", not_elbo and self.free_bits > 0, of_elbo),
            ("free_bits", self.free_bits > 0 and not per_latent, "must be 0, or the KL closed for each latent by "
             "itself: --posterior=isotropic or diagonal, --prior=standard or normal, --kl=analytic"),
            ("free_bits", self.free_bits > 0 and self.estimator != "reparameterized",
             "must be 0 with --estimator=score_function"),
            ("estimator", self.estimator == "score_function" and not_elbo,
             f"must be reparameterized with --objective={self.objective}"),
            ("baseline", self.baseline != "none" and (self.estimator != "score_function" or self.num_samples < 2),
             "must be none, or --estimator=score_function and --num_samples 2 or more"),
            ("num_samples", self.objective == "autoencoder" and self.num_samples > 1,
             "must be 1: --objective=autoencoder draws no z"),
            ("prior", self.objective == "autoencoder" and self.prior != "standard",
             "must be standard: --objective=autoencoder has no prior to learn"),
            ("dequantize", self.dequantize and (self.likelihood != "gaussian" or self.binarize != "none"),
             "must be false, or --likelihood=gaussian and --binarize=none"),
            ("adam_epsilon", self.optimizer != "adam" and self.adam_epsilon != 1e-7,
             f"must not be set with --optimizer={self.optimizer}"),
            ("sigma_floor", not isinstance(self.sigma, str) and self.sigma_floor != 0.01,
             "must not be set: --sigma is a number, and not learned"),
            ("logical_cpus", self.logical_cpus > 1 and self.strategy in ("one_device", "multi_worker"),
             f"must be 1 with --strategy={self.strategy}"),
        ]  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """The fields that change numbers: everything but paths and intervals."""
        return {name: getattr(self, name) for name, field in _FIELDS.items() if not field.metadata["free"]}

    def name(self) -> str:
        """A short name for the run, different for other settings (`dataset` resolved): digits-512-2-212c6024."""
        dataset = Path(self.dataset).stem if is_file_name(self.dataset) else self.dataset
        sizes = (self.network,) if self.network == "conv" else self.hidden_units
        changed = [(k, _to_text(v)) for k, v in self.settings().items() if v != _FIELDS[k].default]
        parts = (dataset, *sizes, self.latent_dim, f"{zlib.crc32(repr(changed).encode()):08x}")
        return "-".join(re.sub("[^A-Za-z0-9.]+", "_", str(part)) for part in parts)

    def to_flags(self) -> str:
        """The flagfile that repeats this run (in a directory of its own: `run_dir` is left out)."""
        here = ("run_dir", "strategy", "logical_cpus", "start_timeout", "memory_gb")  # of a machine, not of the run
        values = {name: getattr(self, name) for name in _FIELDS if name not in here}
        return "".join(f"--{name}={_to_text(value)}\n" for name, value in values.items())


_FIELDS: dict[str, dataclasses.Field] = {field.name: field for field in dataclasses.fields(Config)}


def _to_text(value: Any) -> str:
    if value is None:
        return "auto"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def is_file_name(dataset: str) -> bool:
    """Whether `--dataset` names a file rather than a data set."""
    return dataset.endswith((".npy", ".npz")) or dataset.startswith((".", "/", "~"))


# Flags that one command has beside those of `Config`.
COMMAND_FIELDS: dict[str, dataclasses.Field] = {
    "workers": _field(2, _whole(1, 64), "processes, each of which trains on its share of every batch"),
    "max_restarts": _field(10, _whole(0), "times that all are started anew when one is lost"),
    "export_format": _field("saved_model", _choice("saved_model", "onnx"), "onnx: the decoder also as decoder.onnx"),
    "explorer": _field(False, _flag(), "also explorer.html: the latent space as one page that needs no network"),
    "verify": _field(None, _or_auto(_text("a directory")), "only call this exported version, and compare its answers"),
    "host": _field("127.0.0.1", _text("an address of this machine"), "the address to listen at"),
    "port": _field(8501, _whole(0, 65535), "the port to listen at; 0: any that is free, which is printed"),
    "max_body_mb": _field(8.0, _number(0, above=True), "MB of a request, above which it is refused"),
    "max_rows": _field(1024, _whole(1), "rows of a request, above which it is refused"),
    "max_concurrency": _field(128, _whole(1), "predictions at a time, above which one is refused"),
    "timeout": _field(
        10.0, _number(0, above=True), "seconds that a client may take to send a request or read an answer"
    ),
    "poll_seconds": _field(1.0, _number(0, above=True), "seconds between looks for new versions"),
    "baselines": _field(False, _flag(), "also PCA, probabilistic PCA and a Gaussian mixture on the same split"),
    "task": _field(
        "samples",
        _choice("samples", "interpolation", "traversal", "imputation", "features", "fine_tuning"),
        "what to do with the trained model",
    ),
}


def parse(argv: Iterable[str], command: str, doc: str = "", names: Iterable[str] = tuple(_FIELDS)) -> dict[str, Any]:
    """Reads a command line (without the program's name) into {field: value} of the flags that it sets.

    The flags live in an object of their own, not in absl's global `FLAGS`: two parsers in one process don't meet.
    `--help` prints the flags and exits with status 0.

    Raises:
        InputError: an unknown flag, a value that isn't allowed, an unreadable flagfile, a leftover argument.
    """
    values = flags.FlagValues()
    for name in names:
        field = _FIELDS.get(name) or COMMAND_FIELDS[name]
        default = f" (default: {_to_text(field.default) or 'nothing'})"
        text = field.metadata["help"] + default
        if type(field.default) is bool:
            flags.DEFINE_boolean(name, None, text, flag_values=values, module_name=command)
        else:
            flags.DEFINE(field.metadata["kind"], name, None, text, values, module_name=command)
    flags.DEFINE_boolean("help", False, "show this help", flag_values=values, module_name=command)
    argv = list(argv)
    if any(argument.lstrip("-") == "flagfile=" for argument in argv):
        raise InputError("--flagfile=: must be a readable text file")
    try:
        rest = values([command, *argv])[1:]
    except flags.CantOpenFlagFileError as error:
        reason = str(error).partition("flagfile: ")[2]
        raise InputError(f"--flagfile: must be a readable text file: {reason}") from None
    except flags.Error as error:
        raise InputError(str(error).replace("\n", " ").removeprefix("flag ")) from None
    except (OSError, UnicodeError) as error:
        raise InputError(f"--flagfile: must be a readable text file: {error}") from None
    if values["help"].value:
        print(f"{doc.strip()}\n{values.module_help(command)}\n\n  --flagfile: read flags from this file")
        sys.exit(0)
    if rest:
        raise InputError(f"{rest[0]}: arguments must be flags, --name=value")
    return {name: values[name].value for name in names if values[name].present}


def read_flags(path: Path) -> Config:
    """Reads the `config.flags` of a run directory.

    Raises:
        InputError: the file is missing, or isn't one of ours.
    """
    if not os.path.isfile(path):  # Path.is_file raises where it may not look
        raise InputError(f"--run_dir={path.parent}: must be the directory of a run, and has no {path.name}")
    try:
        return Config(**parse([f"--flagfile={path}"], str(path)), run_dir=str(path.parent))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def of_run(given: dict[str, Any]) -> Config:
    """The recorded config of `given["run_dir"]` with what else is given in its place: what a command on a run needs."""
    if given.get("run_dir") is None:
        raise InputError("--run_dir: must be given: the directory of a run")
    return dataclasses.replace(read_flags(Path(given["run_dir"]) / "config.flags"), **given)


def check_resumable(config: Config, recorded: Config) -> None:
    """Refuses to go on with a run under settings that change its numbers; more `epochs` are welcome.

    Raises:
        InputError: names each difference.
    """
    old, new = recorded.settings(), config.settings()
    if (new["epochs"] or 0) > (old["epochs"] or math.inf) and new["lr_schedule"] != "cosine":
        old["epochs"] = new["epochs"]
    if is_file_name(old["dataset"]) and is_file_name(new["dataset"]):
        old["dataset"] = new["dataset"]  # a file may have moved: that its images are the same is checked by itself
    differences = [f"--{k}={_to_text(new[k])} (there: {_to_text(old[k])})" for k in new if new[k] != old[k]]
    if differences:
        raise InputError(
            f"--run_dir={config.run_dir}: was made with other settings: {', '.join(differences)}; "
            "must be another directory, or the same settings (--epochs may be raised, but not under a cosine)"
        )


def require_writable(flag: str, path: str | os.PathLike[str]) -> None:
    """Refuses a directory that can't be made or written to, before anything is; raises InputError."""
    place = Path(path).absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
    except OSError as error:
        raise InputError(f"--{flag}={path}: must be a directory that can be written: {error.strerror}") from None
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--{flag}={path}: must be a directory that can be written, and {place} can't")


def import_tensorflow() -> None:
    """Imports TensorFlow without its start-up lines, which no log level hides; TF_CPP_MIN_LOG_LEVEL=0 shows them.

    What it compiles is kept for the next process (`compiled.keep`).
    """
    from tfvae import compiled

    compiled.keep()
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        return
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def run(main: Callable[[dict[str, Any]], None], command: str, doc: str, names: Iterable[str] = tuple(_FIELDS)) -> None:
    """Runs a command: 0 done, 2 bad command line or input, 1 failure after the start, 130/143 after a signal."""
    logging.set_verbosity(logging.ERROR)  # TFDS's warnings
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: sys.exit(128 + n))
    try:
        main(parse(sys.argv[1:], command, doc, names))
    except (InputError, RunError, OSError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else getattr(error, "status", 1))
