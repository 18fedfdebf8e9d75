"""Python's front door: `fit` trains on arrays or on a data set, `load` takes up a run; both return a `Run`.

Shapes: images [N, H, W, C] (or [N, H, W] of one channel), or vectors [N, D]; z [N, L]. All is NumPy's, in and out.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae import applied, run, trained
from tfvae.config import Config
from tfvae.config.capabilities import TASKS
from tfvae.config.checkpoint_choice import AUTO, CHOICE, Choice
from tfvae.config.data_names import ARRAYS
from tfvae.config.fields import whole
from tfvae.config.rules import task_refusals
from tfvae.data import handed_in
from tfvae.errors import InputError
from tfvae.runtime.tensorflow import import_tensorflow
from tfvae.scores import Scores
from tfvae.trained import load_model as load_model

if TYPE_CHECKING:
    import keras

    from tfvae.analysis.imputation import Imputed, Imputer
    from tfvae.analysis.latents import Latents
    from tfvae.core.vae import VAE
    from tfvae.data.new_images import NewImages
    from tfvae.data.splits import Split
    from tfvae.training.checkpoints import SavedRun
    from tfvae.training.scoring import Scoring


def fit(
    config: Config | None = None,
    images: Any = None,
    validation: Any = None,
    test: Any = None,
    labels: Any = None,
    encoder: "keras.Layer | None" = None,
    decoder: "keras.Layer | None" = None,
) -> "Run":
    """Trains a VAE, evaluates it on the test images and exports it, as `tfvae.train` does; returns the run.

    Args:
        config: the settings; without it their defaults.
        images: the training images, whole numbers 0 to 255, of any type (integers that are all 0 or 1: binary), or
            fractions in [0, 1]: an array, nested lists, a tensor, or a finite tf.data.Dataset of images or of pairs
            (image, label), which is read once. None: the data set that `config` names.
        validation, test: likewise, or (images, labels). Without one a tenth of `images` is held out, always the same.
        labels: whole numbers or words [N] or [N, 1] of `images`, for tasks that need them and `condition="label"`.
        encoder: a layer or model of Keras, x [B, H, W, C] -> features [B, F] or [B, h, w, F], in the place of
            `config.network`. The run makes its weights anew, by `config.seed`, and leaves it as it is.
        decoder: likewise, z [B, L] -> [B, F], or [B, h, w, F] with h >= H and w >= W; both are given, or none.

    Called again with the same settings and images it goes on where the run stopped, and a finished run is read. The
    run directory records the settings and the fingerprint of arrays, not these. A tf.data.Dataset must keep its order.

    Raises:
        InputError: an argument can't be used, or the run directory is that of other settings or images.
        RunError: the run failed after its start; the message says what is safe on disk and how to go on.
    """
    config = config or Config()
    arrays = handed_in.parts(config, images, validation, test, labels)
    config = handed_in.of_arrays(config) if arrays is not None else config
    config, layers = handed_in.network(config, encoder, decoder)
    config, _ = run.train_on(config, arrays, layers=layers)
    return Run(_saved(config.directory)._replace(config=config), arrays)


def load(run_dir: str | os.PathLike[str], checkpoint: Choice = AUTO) -> "Run":
    """The run in a directory: a checkpoint of it, its settings and results.

    `checkpoint` is "last", "best" (of a run that keeps it, `keep_best`) or the step of one that is there; the default
    is the best where it is kept.

    Raises:
        InputError: it is no run directory, or has no such checkpoint.
        RunError: no checkpoint of it can be read.
    """
    checkpoint = CHOICE.argument("checkpoint", checkpoint)
    import_tensorflow()
    return Run(_saved(run_dir, checkpoint))


def _saved(run_dir: str | os.PathLike[str], checkpoint: Choice = AUTO) -> "SavedRun":
    from tfvae.training import checkpoints

    return checkpoints.load_run(run_dir, checkpoint)


class Run:
    """A trained VAE and how it came to be.

    Attributes:
        vae: the Keras model; `vae.encoder` and `vae.decoder` are models of their own.
        config: its settings; `config.run_dir` is where the run lives.
        step: steps of training that are done.
        fingerprint: of the images that it was made with.
        results: test figures in nats, and what they are of; empty until the run is finished.
        history: {name: values over the epochs}: `elbo`, `log_likelihood`, `kl`, and `val_elbo` and so on.

    It unpacks into `vae, config, step, fingerprint`. Images that its methods take follow the rule that training found:
    whole numbers 0 to 255 (or 0 and 1, if the training images were so) or fractions in [0, 1]; they are binarized as
    the test images were. Arrays of any length are computed block by block. A conditional run (`condition="label"`)
    needs their `labels`, names or numbers as in training, [N] or one for all; all of it is then given the label, as log
    p(x|y).
    """

    vae: "VAE"
    config: Config
    step: int
    fingerprint: str
    results: dict[str, Any]
    history: dict[str, list[Any]]

    def __init__(self, saved: "SavedRun", arrays: "dict[str, Split] | None" = None) -> None:
        from tfvae.training import history

        self.vae = saved.vae
        self.config, self.step, self.fingerprint = saved.config, saved.step, saved.fingerprint
        run_dir = self.config.directory
        path = run_dir / "results.json"
        self.results = json.loads(path.read_text()) if path.is_file() else {}
        self.history = history.read(run_dir)
        self._own_arrays = arrays
        self._scoring: Scoring | None = None  # compiled at the first `score`
        self._imputer: Imputer | None = None  # likewise, for the settings of the last `impute`

    def __iter__(self) -> Iterator[Any]:
        return iter((self.vae, self.config, self.step, self.fingerprint))

    def __getitem__(self, place: int | slice) -> Any:
        """As of the tuple that it unpacks into."""
        return tuple(self)[place]

    def __repr__(self) -> str:
        return f"<tfvae.Run {self.config.run_dir}, step {self.step:,}>"

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        from tfvae.training import report

        return report.as_html(repr(self), self.results, self.figures)

    @property
    def figures(self) -> dict[str, Path]:
        """{name: .png file} of the newest pictures: `reconstructions`, `samples`, of two latents also `manifold`."""
        return {path.stem: path for path in sorted((self.config.directory / "figures").glob("*.png"))}

    def encode(self, x: Any, labels: Any = None) -> "Latents":
        """q(z|x): `mean` and `log_variance`, float32 [N, L] both, of each latent by itself.

        Raises:
            InputError: `x` is not images as the training images were, or `labels` are missing or too many.
        """
        from tfvae.analysis import latents

        return latents.encode(self.vae, *self._examples(x, labels))

    def reconstruct(self, x: Any, labels: Any = None) -> np.ndarray:
        """The means of p(x|z) at the means of q(z|x): float32 [N, H, W, C], or [N, D].

        Raises:
            InputError: as `encode`.
        """
        from tfvae.analysis import latents

        return self._of_user(latents.reconstructions(self.vae, *self._examples(x, labels)))

    def sample(self, n: int = 1, seed: int = 0, label: Any = None) -> np.ndarray:
        """The means of p(x|z) for n draws of z from the prior: float32 [n, H, W, C] or [n, D], a function of `seed`.

        Raises:
            InputError: `n` or `seed` is out of range, `label` is missing or too much, or the model is a plain
                autoencoder, which has no prior.
        """
        from tfvae.analysis import latents

        n, seed = whole(1).argument("n", n), whole(0).argument("seed", seed)
        for reason in task_refusals(self.config, "samples"):
            raise InputError(f"sample: {reason}")
        return self._of_user(latents.samples(self.vae, n, seed, self._y(label, n, "label")))

    def score(self, x: Any, samples: int | None = None, labels: Any = None) -> Scores:
        """How well the model explains each image, by `samples` draws of z (None: `config.eval_samples`).

        Of the test images these are the numbers whose means `evaluate` prints. `complexity` is of the pixels that the
        model sees (binarized ones too) at 8 bits, and costs about 0.2 ms for an image of 28 x 28.

        Raises:
            InputError: as `encode`, or `samples` is out of range.
        """
        return self._score(*self._examples(x, labels), samples)

    def score_validation(
        self,
        images: Any = None,
        validation: Any = None,
        test: Any = None,
        samples: int | None = None,
        labels: Any = None,
    ) -> Scores:
        """`score` of the run's own validation images, to find a limit on; images are those that `evaluate` takes.

        Raises:
            InputError: the images can't be had, are not those that the run was made with, or none are for validation.
        """
        from tfvae.data import place
        from tfvae.data.dataset import load_of_run

        arrays = self._arrays_of_run(images, validation, test, labels)
        dataset = load_of_run(self.config, self.fingerprint, place.read_early(self.config, arrays))
        if len(dataset.validation.images) == 0:
            raise InputError("validation_examples=0: must be more: the run has no validation images")
        return self._score(dataset.validation.array, dataset.validation.y, samples)

    def impute(
        self,
        x: Any,
        observed: Any = None,
        draws: int = 0,
        samples: int | None = None,
        seed: int = 0,
        labels: Any = None,
    ) -> "Imputed":
        """Fills in missing values: NaN, and those where `observed` is False; what is observed comes back as it is.

        Args:
            x: images, or vectors, in your units; any value may stand where one is missing.
            observed: a mask of x's shape; one of [N, H, W] is of all channels of a pixel. None: all but NaN, and but
                what a masked array of NumPy masks.
            draws: M, of each row by sampling importance resampling: M complete sets, for multiple imputation.
            samples: S, of z for each row (None: `config.eval_samples`); self-normalised importance sampling (Rezende et
                al. 2014, appendix F; Mattei & Frellsen 2018, 2019).
            seed: of all draws; the noise of a row is a function of it and of the row's place.

        Returns:
            `mean`, x with E[x_missing | x_observed] filled in, [N, H, W, C] or [N, D]; `draws` [M, N, ...];
            `effective_samples` [N]; `log_observed`, log p(x_observed) in nats [N], of images in [0, 1].

        Raises:
            InputError: an argument is out of range, what is observed is not as in training, or the model can't do it.
        """
        from tfvae.analysis import imputation
        from tfvae.data.incomplete import IncompleteImages

        for reason in task_refusals(self.config, "imputation"):
            raise InputError(f"impute: {reason}")
        samples = whole(1).argument("samples", self.config.eval_samples if samples is None else samples)
        settings = (samples, whole(0).argument("seed", seed), whole(0).argument("draws", draws))
        images = IncompleteImages(x, observed, self.vae.encoder.user_rule, self.config)
        if self._imputer is None or self._imputer.settings != settings:
            self._imputer = imputation.Imputer(self.vae, *settings)
        imputed = self._imputer.impute(images, self._y(labels, len(images)))
        imputation.print_advice(imputed, images, samples, self.vae.encoder.columns)
        return imputed

    def evaluate(
        self, images: Any = None, validation: Any = None, test: Any = None, labels: Any = None
    ) -> dict[str, Any]:
        """Evaluates the run's checkpoint on its test images, prints the figures, and returns them.

        A run that was made of arrays and loaded from its directory needs them again: those that `fit` had. So does one
        whose file is not there any more.

        Raises:
            InputError: the images can't be had, or are not those that the run was made with.
        """
        arrays = self._arrays_of_run(images, validation, test, labels)
        return trained.evaluate(self.config, arrays=arrays, checkpoint=self.step)

    def explore(
        self, task: str = "samples", images: Any = None, validation: Any = None, test: Any = None, labels: Any = None
    ) -> dict[str, Any]:
        """Does a task of `tfvae.explore` with the run's checkpoint: pictures and numbers go to `<run>/explore/`.

        Returns `rows` of numbers, `of`, what they are of, and `picture`, the file. The images are those that `evaluate`
        takes; `features` and `fine_tuning` need `labels` too, and `samples` needs no images.

        Raises:
            InputError: there is no such task, the model can't do it, or the images can't be had.
        """
        if task not in TASKS:
            raise InputError(f"task={task!r}: must be one of {', '.join(TASKS)}")
        if not TASKS[task].needs_data:
            return trained.explore(self.config, task, checkpoint=self.step)
        arrays = self._arrays_of_run(images, validation, test, labels)
        return trained.explore(self.config, task, arrays, self.step)

    def apply(self, what: str, output: str | os.PathLike[str], **options: Any) -> dict[str, Any]:
        """Does what `tfvae.apply` does, into a file or a directory: the latents, scores, ... of whole data sets.

        `options` are the other flags of `tfvae.apply --help`: `dataset="./new"`, without which it is the run's own,
        `threshold_quantile=0.99`. It returns what `<output>.json` holds.

        Raises:
            InputError: an argument can't be used; nothing has been written.
            RunError: it failed after its start; the message says what is safe.
        """
        options = {"what": what, "output": os.fspath(output), "checkpoint": self.step, **options}
        return applied.apply_with(self.config, options)

    def export(self) -> Path:
        """Writes the next version of the run's checkpoint to `config.export_dir`, and returns the decoder's directory.

        Raises:
            RunError: the exported model doesn't answer as the trained one does; it is not there.
        """
        return trained.export(self.config, checkpoint=self.step)

    def _score(self, images: "np.ndarray | NewImages", y: np.ndarray | None, samples: int | None) -> Scores:
        from tfvae.training.scoring import Scoring

        samples = whole(1).argument("samples", self.config.eval_samples if samples is None else samples)
        if self._scoring is None:
            self._scoring = Scoring(self.vae, self.config)
        columns = self._scoring.of_all(images, samples, y)
        return Scores._make(columns.get(name) for name in Scores._fields)

    def _of_user(self, x: np.ndarray) -> np.ndarray:
        """Means of p(x|z) in the user's units: vectors as [N, D], images in the range that `value_range` names."""
        return self.vae.decoder.in_user_units(x)

    def _y(self, labels: Any, count: int, name: str = "labels") -> np.ndarray | None:
        """The labels of N = `count` examples, for a conditional run."""
        from tfvae.data import classes

        return classes.places_if_conditional(self.vae.classes, labels, count, name)

    def _examples(self, x: Any, labels: Any) -> "tuple[NewImages, np.ndarray | None]":
        """Images from outside, and the labels of a conditional run."""
        from tfvae.data.new_images import NewImages

        images = NewImages(x, self.vae.encoder.user_rule, self.config)
        return images, self._y(labels, len(images))

    def _arrays_of_run(self, images: Any, validation: Any, test: Any, labels: Any) -> "dict[str, Split] | None":
        """The arrays that this run is of: those that are handed in, or those that `fit` had."""
        given = handed_in.parts(self.config, images, validation, test, labels)
        if given is not None:
            return given
        if self._own_arrays is None and self.config.dataset == ARRAYS:
            raise InputError("images: must be given: the run was made of arrays, and keeps their fingerprint alone")
        return self._own_arrays
