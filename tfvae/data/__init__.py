"""What comes in: images of one source, in three parts that share no image, and what their pixels are.

`load` imports the rest of this wing when it is called, so that `import tfvae` does not wait for TensorFlow.
"""

from typing import TYPE_CHECKING

from tfvae.config import Config

if TYPE_CHECKING:
    from tfvae.data.splits import Dataset


def load(config: Config) -> "Dataset":
    """`tfvae.data.dataset.load`: the images of `config.dataset`, split and binarized.

    Raises:
        InputError: the images can't be had, or are no images.
    """
    from tfvae.runtime.tensorflow import import_tensorflow

    import_tensorflow()
    from tfvae.data import dataset

    return dataset.load(config)
