"""`VAE`: encoder, sampling, decoder and prior as one Keras model, which Keras's own `fit` can train too.

`tfvae.train` and `tfvae.fit` train it by `training/step.py`, which is faster, and goes on after a kill. `VAE.fit` makes
the same steps to within rounding, for who wants Keras's callbacks.

Shapes: x [B, H, W, C] in [0, 1]; z and epsilon [..., L], any leading axes; q(z|x) over [B, L]; p(x|z) over
[..., H, W, C].
"""

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core import dropout, fast, noise, objectives
from tfvae.core.given import Given, as_places, require_condition
from tfvae.core.inputs import InputRule, is_from_outside
from tfvae.core.keras_fit import (
    Means,
    as_input,
    images_of,
    only_images,
    refuse_strategy,
    refuse_targets,
    refused_batches,
    uniform_like,
)
from tfvae.core.keras_globals import float32_by_default
from tfvae.core.models import Decoder, Encoder, seed_of
from tfvae.core.noise import Stream
from tfvae.core.priors import PRIORS
from tfvae.core.protocols import Density, Posterior, Prior
from tfvae.core.repeatable import sums_in_order
from tfvae.core.sampling import Sampling
from tfvae.core.vectors import VectorRule
from tfvae.errors import InputError

# Settings of `Config` that `VAE.compile` takes: what is maximised, and how the pixels are drawn.
OBJECTIVE_SETTINGS = (
    "objective",
    "num_samples",
    "kl",
    "estimator",
    "baseline",
    "beta",
    "free_bits",
    "binarize",
    "dequantize",
)


@keras.saving.register_keras_serializable("tfvae")
class VAE(keras.Model):
    """Encoder, sampling, decoder and prior; called on x [B, H, W, C] it reconstructs it, in the mean of q(z|x).

    `prior` names the family of p(z): see `core/priors.py`; `components` are those of a mixture. `objective` are the
    OBJECTIVE_SETTINGS that `compile` starts from.

    Called eagerly, it takes images as its `input_rule` says, and refuses others.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        prior: str = "standard",
        components: int = 10,
        objective: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.encoder, self.sampling, self.decoder = encoder, Sampling(dtype="float32"), decoder
        self.prior_name, self.components = prior, components
        self.objective = dict(objective or {})
        self.prior_family = PRIORS[prior](encoder.latent_dim, components)
        self.prior_variables: tuple[keras.Variable, ...] = ()

    @property
    def prior(self) -> Prior:
        """p(z)."""
        return self.prior_family.from_variables(*(tf.convert_to_tensor(v) for v in self.prior_variables))

    @property
    def convolutional(self) -> bool:
        """Whether a kernel of it has more than the two axes of a dense layer's."""
        return any(v.path.endswith("kernel") and len(v.shape) > 2 for v in self.variables)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "prior": self.prior_name,
            "components": self.components,
            "objective": self.objective,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "VAE":
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        decoder = keras.saving.deserialize_keras_object(config["decoder"])
        return cls(**{**config, "encoder": encoder, "decoder": decoder})

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build(self.encoder.input_shape)

    @property
    def input_rule(self) -> InputRule | VectorRule:
        """What images, or vectors, it takes."""
        return self.encoder.input_rule

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """[B, H, W, C], or [B, D] of vectors, as `summary` shows it."""
        return (None, *self.decoder.example_shape)

    def build(self, input_shape: Any = None) -> None:
        self.encoder.build_from_config({})
        self.sampling.build(self.encoder.output_shape)
        self.decoder.build_from_config({})
        for variable in self.prior_family.variables(seed_of(self, self.encoder.seed, "prior")):
            self.prior_variables += (self.add_weight(**variable._asdict()),)
        self.built = True

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of a conditional model's classes; none of one that has no condition."""
        return self.decoder.classes

    def given(self, y: Any) -> "VAE | Given":
        """The model at the labels y [B], places in `classes`; itself where y is None and it is not conditional."""
        return self if y is None and not self.classes else Given(self, y)

    def encode(self, x: tf.Tensor) -> Posterior:
        """q(z|x) over [B, L]; of a conditional model see `given`, else InputError is raised."""
        return self.encoder(x)

    def decode(self, z: tf.Tensor) -> Density:
        """p(x|z) over [..., H, W, C]; of a conditional model see `given`, else InputError is raised."""
        return self.decoder(z)

    def sample_prior(self, epsilon: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """z ~ p(z) [..., L]: epsilon [..., L] standard normal; uniform [...] on [0, 1) picks a mixture's component."""
        return self.prior.sample(epsilon, uniform)

    def __call__(self, x: Any, y: Any = None, **kwargs: Any) -> tf.Tensor:
        """The mean of p(x|z) at the mean of q(z|x) [B, H, W, C], or [B, D] of vectors; y: as `given` takes it.

        Raises:
            InputError: x breaks `input_rule`, or y is not what `given.as_places` takes.
        """
        require_condition(self.classes, y)
        if is_from_outside(x):
            x = self.input_rule.to_unit(x)
            y = None if y is None else as_places(self.classes, y, (len(x),))
        return super().__call__(x, **({} if y is None else {"y": y}), **kwargs)

    def call(self, x: tf.Tensor, y: tf.Tensor | None = None) -> tf.Tensor:
        model = self.given(y)
        mean = model.decode(model.encode(x).mean).mean
        return tf.reshape(mean, [-1, *self.decoder.example_shape]) if self.decoder.columns else mean

    # What Keras's `fit` and `evaluate` do.

    @float32_by_default()
    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: None = None,
        *,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        **settings: Any,
    ) -> None:
        """Makes `fit` maximise the objective that `settings` name, over those that the VAE has already.

        Args:
            optimizer: Keras's, or its name.
            loss: must not be given; it is here to say so.
            run_eagerly: as Keras has it.
            steps_per_execution: as Keras has it.
            settings: of OBJECTIVE_SETTINGS, with the values of `Config`: `objective="iwae", num_samples=5`. A warm-up
                of the KL and a clipped gradient are for `tfvae.fit`: Keras's optimizers clip by themselves.

        Raises:
            InputError: a setting is not one of these, or does not go with the others or with the model.
        """
        if self.classes:
            raise InputError(
                "compile: must not be called on a conditional VAE, whose labels Keras's fit does not know: "
                "tfvae.fit(tfvae.Config(condition='label'), x, labels=y) trains one"
            )
        if loss is not None:
            settings["loss"] = loss
        for name in settings:
            if name not in OBJECTIVE_SETTINGS:
                raise InputError(
                    f"{name}: must not be given: a VAE maximises its objective; compile(optimizer, objective='elbo'), "
                    f"and others of {', '.join(OBJECTIVE_SETTINGS)}"
                )
        refuse_strategy()
        objective = {**self.objective, **settings}
        training_config = Config(  # which refuses what does not go together
            latent_dim=self.encoder.latent_dim,
            posterior=self.encoder.posterior,
            likelihood=self.decoder.likelihood,
            sigma=self.decoder.sigma,
            prior=self.prior_name,
            seed=self.encoder.seed,
            **objective,
        )
        super().compile(
            optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=fast.use_xla(self.convolutional) and not run_eagerly,
        )
        self.objective, self.training_config = objective, training_config  # Keras may have refused its own arguments
        self.optimizer.build(self.trainable_variables)  # else one that is saved before a step is another when loaded
        self.means = Means()

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        return {name: config[name] for name in ("optimizer", "run_eagerly", "steps_per_execution") if name in config}

    @float32_by_default()
    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.Metric]:
        """The means of the loss (minus the objective), of the ELBO and of its terms."""
        return self.means.metrics if self.compiled else []

    def train_step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step on images [B, H, W, C]: batch t and its noise are those of `training/step.py`."""
        t = self.optimizer.iterations
        seed = self.encoder.seed
        x = self._drawn_pixels(images_of(x), noise.seed_for(seed, Stream.BINARIZE, t))
        posterior_seed = noise.seed_for(seed, Stream.POSTERIOR, t)
        if self.decoder.family.sets_variance:
            with dropout.in_step(seed, t):
                squared_error = objectives.mean_squared_error(self, x, self._epsilon(x, posterior_seed))
            self.decoder.set_variance(tf.reduce_mean(squared_error))
        with tf.GradientTape() as tape:
            with dropout.in_step(seed, t):
                losses, terms = self._losses_of(x, posterior_seed)
            loss = tf.reduce_sum(losses) / tf.cast(tf.shape(x)[0], tf.float32)
        gradients = tape.gradient(loss, self.trainable_variables, unconnected_gradients="zero")
        self.optimizer.apply(gradients, self.trainable_variables)
        return self.means.update(losses, terms)

    def test_step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """The objective on images [B, H, W, C]; the noise depends on how many images came before in this evaluation."""
        seed = noise.seed_for(self.encoder.seed, Stream.VALIDATION, self.means.images)
        x = self._drawn_pixels(images_of(x), noise.fold_in(seed, 1))
        losses, terms = self._losses_of(x, seed)
        return self.means.update(losses, terms)

    def _losses_of(self, x: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, objectives.Elbo]:
        epsilon = self._epsilon(x, seed)
        return objectives.training_loss(self.training_config, self, x, epsilon, self.training_config.beta)

    def _epsilon(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Standard normal [K, B, L] for images [B, H, W, C]."""
        samples, latents = self.training_config.num_samples, self.encoder.latent_dim
        # the batch's size may change from call to call; XLA compiles each, and TensorFlow traces once
        epsilon = noise.normal(tf.stack([samples, tf.shape(x)[0], latents]), seed)
        return tf.ensure_shape(epsilon, [samples, None, latents])

    def _drawn_pixels(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """x as the settings binarize or dequantize it."""
        config = self.training_config
        if config.binarize == "threshold":
            x = tf.cast(x > 0.5, tf.float32)
        return noise.drawn_pixels(x, config.binarize, config.dequantize, seed, functools.partial(uniform_like, x))

    @float32_by_default()
    @sums_in_order()
    def fit(
        self,
        x: Any,
        y: None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """Keras's `fit` on images alone: an array, lists, a tensor, or a tf.data.Dataset of batches.

        `validation_data` are images too, or `(images,)`. The logs have `loss`, minus the objective, `elbo`,
        `log_likelihood` and `kl`, in nats an image, and the same with `val_`. The noise is a function of the seed and
        of the optimizer's iterations, so a run repeats.

        Raises:
            InputError: the images don't follow `input_rule`, targets or weights are given, or a strategy is in force.
        """
        refuse_targets({"y": y, **options})
        refuse_strategy()
        if validation_data is not None:
            validation_data = (as_input(self.input_rule, only_images(validation_data), "validation_data"),)
        with refused_batches():
            return super().fit(
                as_input(self.input_rule, x, "x"),
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                **options,
            )

    @float32_by_default()
    @sums_in_order()
    def evaluate(self, x: Any, y: None = None, **options: Any) -> Any:
        """Keras's `evaluate` on images alone: the loss, which is minus the objective, the ELBO and its terms.

        Raises:
            InputError: as `fit`.
        """
        refuse_targets({"y": y, **options})
        if not options.get("_use_cached_eval_dataset"):  # Keras's own name for images that `fit` has looked at
            x = as_input(self.input_rule, x, "x")
        with refused_batches():
            return super().evaluate(x, **options)

    @float32_by_default()
    @sums_in_order()
    def predict(self, x: Any, **options: Any) -> np.ndarray:
        """The reconstructions, float32 [N, H, W, C], in batches.

        Raises:
            InputError: the images don't follow `input_rule`.
        """
        with refused_batches():
            return super().predict(as_input(self.input_rule, x, "x"), **options)
