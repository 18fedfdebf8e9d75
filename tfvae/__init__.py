"""Variational autoencoders in TensorFlow 2 and Keras 3.

    from sklearn.datasets import load_digits
    import tfvae
    images = load_digits().images.astype("uint8") * 15             # yours: [N, H, W] or [N, H, W, C]
    run = tfvae.fit(tfvae.Config(latent_dim=2, epochs=20), images)  # trains, evaluates, exports, or goes on
    print(run.results["test"]["elbo"], run.history["val_elbo"])    # nats an image
    latents = run.encode(images).mean                              # [N, 2]: means of q(z|x)
    scores = run.score(images, samples=50).log_px                  # [N]: log p(x), by importance sampling
    pictures = run.reconstruct(images[:8]), run.sample(8, seed=1)  # [8, H, W, C] each
    vae = tfvae.load(run.config.run_dir).vae                       # a Keras model
    vae.compile("adam")
    vae.fit(images, validation_split=0.1, epochs=2)                # by Keras, which maximises the ELBO too
    vae.save("vae.keras")
    p = tfvae.load_model("vae.keras").decode(vae.encode(images).sample(seed=0))  # p(x|z): p.mean, p.log_prob(x)

`tfvae COMMAND`, or `python -m tfvae.COMMAND`, does the same from the command line.
"""

from typing import TYPE_CHECKING, Any

from tfvae.config import Config as Config
from tfvae.errors import InputError as InputError
from tfvae.errors import RunError as RunError
from tfvae.runtime.registration import register_with_keras
from tfvae.runtime.tensorflow import import_tensorflow

if TYPE_CHECKING:
    from tfvae.core.dropout import Dropout as Dropout
    from tfvae.front_door import Run as Run
    from tfvae.front_door import Scores as Scores
    from tfvae.front_door import fit as fit
    from tfvae.front_door import load as load
    from tfvae.front_door import load_model as load_model

__all__ = ["Config", "Dropout", "InputError", "RunError", "Run", "Scores", "fit", "load", "load_model"]


def __getattr__(name: str) -> Any:
    """The front door's names, without making `import tfvae` read more than the settings."""
    if name == "Dropout":  # a layer of Keras
        import_tensorflow()
        from tfvae.core.dropout import Dropout

        return Dropout
    if name in __all__:
        from tfvae import front_door

        return getattr(front_door, name)
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    """What the installation recorded, which read the tag; of a checkout that is not installed nothing is known."""
    import importlib.metadata  # here, for `import tfvae` need not wait for it

    try:
        return importlib.metadata.version("tfvae")
    except importlib.metadata.PackageNotFoundError:
        return "0.0.0+unknown"


register_with_keras()
