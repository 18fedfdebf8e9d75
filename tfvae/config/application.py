"""What `tfvae.apply` is asked for: checked by the standard library alone, before TensorFlow is imported."""

import dataclasses
import importlib.util
import os
from pathlib import Path

from tfvae.config.anomaly_request import AnomalyRequest
from tfvae.config.capabilities import APPLICATIONS, Application
from tfvae.config.checkpoint_choice import AUTO, Choice
from tfvae.config.config import Config
from tfvae.config.data_names import is_file_name
from tfvae.config.fields import to_text
from tfvae.config.rules import model_refusals
from tfvae.errors import InputError

PARTS_OF_RUN = ("train", "validation", "test")
SPLITS = (*PARTS_OF_RUN, "all")
_TABLES = {".csv": "csv", ".parquet": "parquet"}
_FORMS = {".npz": "npz", ".png": "png", **_TABLES}  # by the ending of the output's name
_DIRECTORY = "directory"
_MOST_IN_A_PICTURE = 10_000  # images
_MOST_PIXELS = 2**27  # of a picture
_FILES_OF_A_RUN = (
    "best",
    "checkpoints",
    "config.flags",
    "evaluation",
    "evaluation.json",
    "explore",
    "explorer.html",
    "figures",
    "history.csv",
    "kl_per_latent.csv",
    "network.json",
    "results.json",
    "tensorboard",
)


def description_of(output: Path) -> Path:
    """The JSON file beside an output that says what it is of."""
    return output.with_name(f"{output.name}.json")


@dataclasses.dataclass(frozen=True)
class Request:
    """What is computed, of which part of the data, and where it goes; of scores, which anomalies are found.

    `count` and `draw` are of samples alone: their number, and whether they are drawn from p(x|z), not its means.
    `label` are names of classes, or their numbers, that a conditional run is given; None leaves it to the examples.
    `draws` and `observed` are of imputation alone: how many draws beside the means, and the .npy file of the mask.
    """

    output: str
    what: str = "latents"
    split: str = "all"
    count: int | None = None  # 100
    draw: bool = False
    label: tuple[str, ...] | None = None
    draws: int = 0
    observed: str | None = None
    overwrite: bool = False
    checkpoint: Choice = AUTO
    anomalies: AnomalyRequest = AnomalyRequest()

    @property
    def capabilities(self) -> Application:
        """The row of `what`."""
        return APPLICATIONS[self.what]

    @property
    def sample_count(self) -> int:
        """How many samples."""
        return 100 if self.count is None else self.count

    @property
    def path(self) -> Path:
        """The file, or the directory, that is written."""
        return Path(os.path.abspath(os.path.expanduser(self.output)))

    @property
    def form(self) -> str:
        """`npz`, `csv`, `parquet`, `png` or `directory`; raises InputError where the name says none of these."""
        if not self.path.name:
            raise InputError(f"--output={self.output}: must have a name, for <output>.json to be beside it")
        if self.output.endswith("/") or os.path.isdir(self.path):
            return _DIRECTORY
        form = _FORMS.get(self.path.suffix.lower())
        if form is None:
            raise InputError(f"--output={self.output}: must end in {', '.join(_FORMS)}, or in / for a directory")
        return form

    @property
    def is_picture(self) -> bool:
        """Whether pixels are written as those of pictures."""
        return self.form in ("png", _DIRECTORY)

    def check(self, config: Config) -> None:
        """Refuses what the run, or the form of the output, can't have; raises InputError."""
        for reason in model_refusals(config, self.capabilities):
            raise InputError(f"--what={self.what}: {reason}")
        if self.label is not None and config.condition == "none":
            raise InputError(
                f"--label={to_text(self.label)}: must not be set for this run, which is not conditional: it has no "
                "--condition=label"
            )
        self.anomalies.check(config, self.what)
        if self.is_picture and not self.capabilities.makes_examples:
            raise InputError(
                f"--output={self.output}: must end in .npz, .csv or .parquet for --what={self.what}: they are no images"
            )
        self._check_place(config)
        if self.form in _TABLES.values() and importlib.util.find_spec("pyarrow") is None:
            raise InputError(f"--output={self.output}: needs pyarrow: pip install 'tfvae[tables]'")
        self._check_of_samples()
        self._check_of_imputation()

    def _check_place(self, config: Config) -> None:
        """Refuses an output that would take the place of a file of the run, or of its data; raises InputError."""
        flag = f"--output={self.output}"
        if self.form == _DIRECTORY and self.path.is_file():
            raise InputError(f"{flag}: must be a directory, and is a file")
        output = Path(os.path.realpath(self.path))
        run_dir = Path(os.path.realpath(config.directory))
        if output == run_dir:
            raise InputError(f"{flag}: must not be the run's own directory: a name in it does")
        for path in (output, description_of(output)):
            for own in (run_dir / name for name in _FILES_OF_A_RUN):
                if path.is_relative_to(own):
                    raise InputError(f"{flag}: must not be among the run's own files, as {own} is")
        if not is_file_name(config.dataset):
            return
        data = Path(os.path.realpath(os.path.expanduser(config.dataset)))
        if self.is_picture and output.is_relative_to(data):
            raise InputError(
                f"{flag}: must not be in the folder of --dataset={config.dataset}, whose images would then be others"
            )
        if output == data:
            raise InputError(f"{flag}: must be another file than --dataset={config.dataset}, which is read")

    def _check_of_imputation(self) -> None:
        """Refuses what imputation alone has, of anything else, and what it lacks; raises InputError."""
        if self.what != "impute":
            if self.draws:
                raise InputError(f"--draws={self.draws}: must be 0 without --what=impute")
            if self.observed is not None:
                raise InputError(f"--observed={self.observed}: must not be set without --what=impute")
            return
        if self.draws and self.is_picture:
            raise InputError(f"--draws={self.draws}: must be 0 for pictures, which show the means")
        if self.observed is not None and not os.path.isfile(os.path.expanduser(self.observed)):
            raise InputError(f"--observed={self.observed}: must be a .npy file, and there is none")

    def _check_of_samples(self) -> None:
        """Refuses what samples alone have, of anything else, and what they lack; raises InputError."""
        if self.what == "samples":
            self.check_size(self.sample_count)
            if self.split != "all":
                raise InputError(f"--split={self.split}: must not be set with --what=samples, which are of no data")
            return
        if self.count is not None:
            raise InputError(f"--count={self.count}: must not be set without --what=samples")
        if self.draw:
            raise InputError("--draw=True: must be false without --what=samples")

    def check_form(self, is_of_vectors: bool) -> None:
        """Refuses images in a table, and rows of a table as pictures; raises InputError."""
        if not self.capabilities.makes_examples:
            return
        if is_of_vectors and self.is_picture:
            raise InputError(
                f"--output={self.output}: must end in .npz, .csv or .parquet: the run is of vectors, which have no "
                "pixels to show"
            )
        if self.form in _TABLES.values() and not is_of_vectors:
            raise InputError(
                f"--output={self.output}: must end in .npz, .png or / for --what={self.what}: images fit into no table"
            )

    def check_size(self, images: int, height: int = 1, width: int = 1) -> None:
        """Refuses more images, of that many pixels, than one picture can show; raises InputError."""
        most = min(_MOST_IN_A_PICTURE, _MOST_PIXELS // (height * width))
        if self.form == "png" and images > most:
            raise InputError(
                f"--output={self.output}: must be of at most {most:,} images, for one picture is made in memory and "
                f"must open in a viewer, and these are {images:,}: a directory, {self.path.stem}/, or a .npz file "
                "takes any number"
            )
