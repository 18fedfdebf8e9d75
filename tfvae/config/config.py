"""Every choice that a run can be given, once: the flags, `--help` and flagfiles are all made from `Config`'s fields."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from tfvae.config.capabilities import ACTIVATIONS, LIKELIHOODS, OBJECTIVES, POSTERIORS, PRIORS
from tfvae.config.data_names import data_set_name
from tfvae.config.fields import (
    SIGMA_RANGE,
    choice,
    field,
    file_name,
    height_and_width,
    low_and_high,
    number,
    number_above,
    number_from,
    one_of_numbers,
    or_auto,
    text,
    true_or_false,
    whole,
    whole_numbers,
)
from tfvae.config.fields import sigma as sigma_kind
from tfvae.config.network_name import network_name
from tfvae.config.rules import check_combinations, has_closed_kl
from tfvae.config.schedule import learning_rate_schedule
from tfvae.config.usual import USUAL

_VALIDATIONS = 200  # of a run, at most, where their number is left to it


@dataclasses.dataclass(frozen=True)
class Config:
    """All choices of a run; `python -m tfvae.train --help` prints the same list.

    A list is taken for a tuple, an `os.PathLike` for its text, and NumPy's numbers for Python's.

    Raises:
        InputError: a value is of the wrong type or out of range, or two values don't go together.
    """

    dataset: str = field(
        "auto",
        data_set_name(),
        "the images, or rows of numbers: digits (scikit-learn's, no network), a TFDS name such as mnist, a folder of "
        "images (./name), a .npy or .npz file, a table (.csv, .parquet), or auto: mnist if it is here or can be "
        "downloaded, otherwise digits",
    )
    image_size: tuple[int, int] | None = field(
        None,
        or_auto(height_and_width()),
        "of a folder of images: the size to which each is cropped at its centre and resized, one number or "
        "height,width; auto: their own, which must be one",
    )
    channels: int | None = field(
        None,
        or_auto(one_of_numbers(1, 3)),
        "of a folder of images: 1 for grey or 3 for colour; auto: 3 if an image has colour",
    )
    skip_damaged: bool = field(
        False,
        true_or_false(),
        "leave out the files of a folder that can't be read as images, and say how many",
        free=True,
    )
    label_column: str | None = field(
        None, or_auto(text("the name of a column")), "of a table: the column that has the labels; auto: there is none"
    )
    scale: str | None = field(
        None,
        or_auto(choice("none", "unit", "standardize")),
        "none: values as they come; unit: each column's (of images: all values') range in the training part onto "
        "[0, 1]; standardize: each column less its mean, over its deviation; figures are those of the values as they "
        "came; auto: standardize for a gaussian likelihood of vectors, otherwise none",
    )
    value_range: tuple[float, float] | None = field(
        None,
        or_auto(low_and_high()),
        "of --scale=unit: what becomes 0 and 1 (of images with values from -1 to 1: -1,1); auto: the smallest and the "
        "largest value of images, and of each column",
    )
    missing: str = field(
        "refuse",
        choice("refuse", "allow"),
        "NaN and empty cells of vectors: allow: the encoder sees which are there, and the likelihood is of these",
    )
    data_dir: str | None = field(
        None,
        or_auto(text("a directory")),
        "where TFDS keeps its data sets; auto: $TFDS_DATA_DIR or ~/tensorflow_datasets",
        free=True,
    )
    labels: str = field(
        "auto",
        choice("auto", "none"),
        "auto: the whole numbers or words that come with the images, or a folder's subfolders, for pictures, tasks "
        "of tfvae.explore and --condition; none: they are not looked at, and may be anything",
        free=True,
    )
    binarize: str = field(
        "none",
        choice("none", "threshold", "stochastic"),
        "pixels as they are, 1 above a half, or drawn with their value as the probability (anew at each visit "
        "in training, once and for all in evaluation)",
    )
    validation_examples: int | None = field(
        None,
        or_auto(whole(0)),
        "images held out of training for validation; auto: the data set's own validation split, or 5,000 off the "
        "end of train, or a tenth of a small set",
    )
    validate_every: int | None = field(
        None,
        or_auto(whole(1)),
        "epochs from one validation to the next (the last one always has one); auto: so many that there are up to 200",
        free=True,
    )
    network: str | None = field(
        None,
        or_auto(network_name()),
        "dense layers; convolutions; resnet: with residual blocks; your own package.module:function; auto: mlp, and of "
        "a folder of images conv",
    )
    hidden_units: tuple[int, ...] = field(
        (512,),
        whole_numbers("layer sizes", may_be_empty=True),
        "sizes of the encoder's dense layers; the mlp decoder mirrors them; nothing: a linear model",
    )
    filters: tuple[int, ...] | None = field(
        None,
        or_auto(whole_numbers("filter counts", may_be_empty=False)),
        "filters of the convolutions of a --network of images, each of which halves them; the decoder mirrors them; "
        "auto: 32,64,128,256,256,... until the image is at most 8x8 (28x28: 32,64)",
    )
    residual_blocks: int = field(1, whole(1, 100), "of --network=resnet: blocks of two convolutions for each halving")
    activation: str = field("relu", choice(*ACTIVATIONS), "of the hidden layers; a resnet's blocks have silu")
    dtype: str = field(
        "float32",
        choice("float32", "bfloat16"),
        "of the layers' products; weights, z, likelihood and KL are float32 in any case (for GPUs: on CPU bfloat16 "
        "is slower)",
    )
    latent_dim: int = field(2, whole(1, 2**16), "dimensions of z")
    likelihood: str | None = field(
        None,
        or_auto(choice(*LIKELIHOODS)),
        "p(x|z); continuous_bernoulli is a density of values in [0, 1]; discretized_logistic, logistic_mixture and "
        "categorical are probabilities of 8-bit pixels, in bits; auto: bernoulli, of vectors and a folder gaussian",
    )
    likelihood_components: int = field(10, whole(1, 1_000), "of --likelihood=logistic_mixture: K, of each pixel")
    sigma: float | str | None = field(
        None,
        or_auto(sigma_kind()),
        "the gaussian likelihood's deviation, x in [0, 1] or as --scale makes it: a number; one that is learned by its "
        "gradient; the optimal one, which each step sets to its batch's root mean squared error; one learned for each "
        "pixel or column; or a function of z; auto: 0.1, of vectors per_pixel, and of a folder of images learned",
    )
    sigma_floor: float = field(0.01, number_from(*SIGMA_RANGE), "below which no --sigma falls that is no number")
    dequantize: bool = field(
        False,
        true_or_false(),
        "add uniform noise to 8-bit pixels, (x + u) / 256, so that gaussian densities are bits per dimension",
    )
    posterior: str = field("diagonal", choice(*POSTERIORS), "the family of q(z|x)")
    prior: str = field("standard", choice(*PRIORS), "p(z): N(0, I), or learned")
    prior_components: int = field(10, whole(1, 10_000), "of a mixture as --prior")
    condition: str = field("none", choice("none", "label"), "label: q(z|x, y) and p(x|z, y), y the label of an example")
    objective: str = field(
        "elbo",
        choice(*OBJECTIVES),
        "what is maximised: the ELBO, the importance-weighted bound, the same with doubly reparameterised gradient, "
        "or log p(x|z) at the posterior's mean alone",
    )
    kl: str = field(
        "auto",
        choice("auto", "analytic", "monte_carlo"),
        "the ELBO's KL: closed, sampled, or auto: closed if it can be",
    )
    estimator: str = field(
        "reparameterized", choice("reparameterized", "score_function"), "of the ELBO's gradient in the encoder"
    )
    baseline: str = field(
        "none", choice("none", "leave_one_out"), "of --estimator=score_function: the mean of the other samples"
    )
    beta: float = field(1.0, number(0), "weight of the KL in the training objective (1: the ELBO)")
    kl_warmup_epochs: float = field(0.0, number(0), "epochs in which the weight of the KL rises from 0 to --beta")
    free_bits: float = field(0.0, number(0), "nats below which a latent's KL costs nothing")
    num_samples: int = field(1, whole(1, 10_000), "m or K: z's drawn for each image and step in training")
    batch_size: int = field(128, whole(1), "images a step")
    epochs: int | None = field(
        None,
        or_auto(whole(1)),
        "passes over the training images; auto: a million images' worth, of a folder 100,000, of vectors 300,000; at "
        "least 10",
    )
    optimizer: str = field("adam", choice("adam", "sgd", "rmsprop", "adagrad"), "the Keras optimizer")
    learning_rate: float = field(1e-3, number_above(0), "the optimizer's step size")
    adam_epsilon: float = field(1e-7, number_above(0), "what Adam adds to the root of its second moment")
    lr_schedule: str = field(
        "constant",
        learning_rate_schedule(),
        "constant; cosine: down to 0 at the last epoch; 200:0.6,350:0.4: from epoch 200 on 0.6 times --learning_rate, "
        "from 350 on 0.4 times",
    )
    clip_norm: float = field(
        0.0, number(0), "the gradient's norm over all weights and images of a step that it is scaled down to; 0: none"
    )
    keep_best: bool = field(
        False,
        true_or_false(),
        "keep the weights of the best validation ELBO beside the last ones; evaluation, export and all that loads the "
        "run take them; the validations that count are those at multiples of --validate_every",
    )
    patience: int | None = field(
        None,
        or_auto(whole(1)),
        "epochs after which the training ends, if the best validation ELBO lies so far back (those of "
        "--kl_warmup_epochs do not count); auto: it never does",
    )
    eval_samples: int = field(200, whole(1, 10_000_000), "S: importance samples an image for log p(x)")
    eval_memory_gb: float = field(
        1.0,
        number_above(0),
        "what the activations of an evaluation may take, by which images and samples are evaluated together; other "
        "values change figures in their last digits alone",
        free=True,
    )
    seed: int = field(0, whole(0), "of the weights, the order of the images and all noise")
    init_from: str | None = field(
        None,
        or_auto(text("the directory of a run")),
        "another run of the same architecture, from whose weights this one starts; auto: from those of --seed",
        free=True,
    )
    init_part: str = field(
        "all",
        choice("all", "encoder", "decoder"),
        "of --init_from: the part whose weights are taken; all: a learned prior's too",
    )
    init_checksum: str | None = field(
        None,
        or_auto(text("a checksum")),
        "of --init_from: the checksum of these weights, which a run records: others are refused; auto: any",
    )
    strategy: str = field(
        "auto",
        choice("auto", "one_device", "mirrored", "multi_worker"),
        "where it computes, the numbers being the same: one device, all GPUs of this machine, or the workers of "
        "$TF_CONFIG; auto: as many of these as there are",
        free=True,
    )
    logical_cpus: int = field(
        1, whole(1, 64), "virtual devices for --strategy=mirrored to be tried on, without GPUs", free=True
    )
    start_timeout: float = field(
        300.0, number_above(0), "seconds in which all workers of --strategy=multi_worker must appear", free=True
    )
    memory_gb: float | None = field(
        None,
        or_auto(number(0)),
        "training images larger than so many GB are read from disk as they are needed; auto: half of the machine's "
        "memory",
        free=True,
    )
    checkpoint_every: float = field(10.0, number(0), "seconds between checkpoints, at ends of epochs", free=True)
    run_dir: str | None = field(
        None, or_auto(text("a directory")), "the run's directory; auto: runs/<named by its settings>", free=True
    )
    export_dir: str = field(
        "saved_models", text("a directory"), "the decoder goes to <export_dir>/<run>/<version>", free=True
    )
    export_name: str | None = field(
        None,
        or_auto(file_name()),
        "the name of the models in --export_dir, where two runs' directories have one name; auto: the run directory's",
        free=True,
    )

    def __post_init__(self) -> None:
        for name, described in FIELDS.items():
            # it is refused in Python alone: a flag's value has been checked when it was read
            value = described.metadata["kind"].argument(name, getattr(self, name))
            if type(described.default) is float and type(value) is int:
                value = float(value)  # 1 and 1.0 are one setting, and give a run one name
            if (name.endswith("_dir") or name == "init_from") and value is not None:
                value = os.path.expanduser(value)  # shells leave the ~ of --flag=~/place
            object.__setattr__(self, name, value)
        check_combinations(self)

    @property
    def closed_kl(self) -> bool:
        """Whether the ELBO's KL is the closed one."""
        return self.kl == "analytic" or (self.kl == "auto" and has_closed_kl(self.posterior, self.prior))

    @property
    def likelihood_name(self) -> str:
        """The likelihood; raises ValueError while it is left to the data."""
        if self.likelihood is None:
            raise ValueError("likelihood: must be a name here, and is auto")
        return self.likelihood

    @property
    def learns_sigma(self) -> bool:
        """Whether the likelihood has a deviation that is learned, or set by each step."""
        likelihood = self.likelihood or USUAL["likelihood"]
        return LIKELIHOODS[likelihood].has_sigma and isinstance(self.sigma, str)

    @property
    def directory(self) -> Path:
        """The run's directory; raises ValueError while `run_dir` is left to be named by the settings."""
        if self.run_dir is None:
            raise ValueError("run_dir: must be a directory here, and is auto")
        return Path(self.run_dir)

    @property
    def epoch_count(self) -> int:
        """The number of epochs; raises ValueError while `epochs` is left to the size of the data set."""
        if self.epochs is None:
            raise ValueError("epochs: must be a number here, and is auto")
        return self.epochs

    @property
    def epochs_a_validation(self) -> int:
        """The epochs from one validation to the next: `validate_every`, or what it is left to."""
        return self.validate_every or math.ceil(self.epoch_count / _VALIDATIONS)

    def as_usual(self) -> "Config":
        """The same with what is left to the data as it is for images of no folder; the filters stay."""
        left = [name for name in USUAL if name != "filters" and getattr(self, name) is None]
        return dataclasses.replace(self, **{name: USUAL[name] for name in left})

    @property
    def selects(self) -> bool:
        """Whether validations decide which weights are kept, or when the training ends."""
        return self.keep_best or self.patience is not None

    def settings(self) -> dict[str, Any]:
        """The fields that change numbers: all that are not `free`, and `validate_every` if it decides something."""
        names = [name for name, described in FIELDS.items() if not described.metadata["free"]]
        if self.selects:
            names.append("validate_every")
        return {name: getattr(self, name) for name in names}


FIELDS: dict[str, dataclasses.Field] = {described.name: described for described in dataclasses.fields(Config)}
