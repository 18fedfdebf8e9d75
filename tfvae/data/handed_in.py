"""The images, or vectors, that Python hands in, as the parts of a data set."""

from typing import TYPE_CHECKING, Any

from tfvae.config import Config
from tfvae.errors import InputError
from tfvae.runtime.tensorflow import import_tensorflow

if TYPE_CHECKING:
    from tfvae.data.splits import Split


def parts(config: Config, images: Any, validation: Any, test: Any, labels: Any) -> "dict[str, Split] | None":
    """The parts that were handed in, or None where nothing was."""
    if images is None:
        for name, value in {"validation": validation, "test": test, "labels": labels}.items():
            if value is not None:
                raise InputError(f"{name}: must not be given without images")
        return None
    import_tensorflow()
    from tfvae.data import memory, sources

    return memory.load(images, validation, test, labels, sources.memory_bytes(config), config.labels == "auto")
