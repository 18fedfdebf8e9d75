"""A new VAE, made of its settings."""

from typing import cast

from tfvae.config import Config
from tfvae.config.left_to_data import default_filters
from tfvae.core.columns import Columns
from tfvae.core.likelihoods import sigma_pace
from tfvae.core.models import Decoder, Encoder
from tfvae.core.own_network import Trunks
from tfvae.core.vae import OBJECTIVE_SETTINGS, VAE


def make_networks(
    config: Config,
    image_shape: tuple[int, int, int],
    white: int = 255,
    start_stddev: float | None = None,
    columns: Columns | None = None,
    value_range: tuple[float, float] | None = None,
    classes: tuple[str, ...] = (),
    trunks: Trunks | None = None,
) -> tuple[Encoder, Decoder]:
    """The encoder and the decoder of `make_vae`, not built: no weight is there yet.

    Raises:
        ValueError: there are `classes` without `condition`, or the other way round.
    """
    if bool(classes) != (config.condition == "label"):
        raise ValueError(f"condition={config.condition!r}: must be 'label' where there are classes, and only there")
    config = config.as_usual()
    names = ("latent_dim", "network", "hidden_units", "activation", "residual_blocks", "seed")
    options = {name: getattr(config, name) for name in names}
    filters = config.filters or default_filters(image_shape)
    options |= {"image_shape": image_shape, "filters": filters, "layer_dtype": config.dtype, "columns": columns}
    options |= {"value_range": value_range, "classes": classes}
    of_encoder, of_decoder = trunks or (None, None)
    encoder = Encoder(**options, own_trunk=of_encoder, posterior=config.posterior, white=white, name="encoder")
    decoder = Decoder(
        **options,
        own_trunk=of_decoder,
        likelihood=config.likelihood_name,
        sigma=cast(float | str, config.sigma),
        sigma_floor=config.sigma_floor,
        likelihood_components=config.likelihood_components,
        start_stddev=start_stddev,
        sigma_pace=1.0 if start_stddev is None else sigma_pace(config.optimizer, config.learning_rate),
        name="decoder",
    )
    return encoder, decoder


def make_vae(
    config: Config,
    image_shape: tuple[int, int, int],
    white: int = 255,
    start_stddev: float | None = None,
    columns: Columns | None = None,
    value_range: tuple[float, float] | None = None,
    classes: tuple[str, ...] = (),
    trunks: Trunks | None = None,
) -> VAE:
    """A new VAE, its weights a function of `config.seed`, for images of this shape [H, W, C].

    `white` is that of `inputs.InputRule`. A learned deviation starts from `start_stddev`: that of the training images,
    in x; None makes the model as older runs have it. `columns` are those of vectors, whose shape is [1, 1, D].
    `value_range` is what the user's images have in the place of [0, 1]. `trunks` are those of a network of the user's
    own. `classes` are the names of the classes whose label conditions it (`--condition=label`).
    """
    encoder, decoder = make_networks(config, image_shape, white, start_stddev, columns, value_range, classes, trunks)
    # Keras's own names would count the models of the process
    objective = {name: getattr(config, name) for name in OBJECTIVE_SETTINGS}
    vae = VAE(encoder, decoder, prior=config.prior, components=config.prior_components, objective=objective, name="vae")
    vae.build(encoder.input_shape)
    return vae
