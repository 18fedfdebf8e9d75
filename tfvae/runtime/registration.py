"""Keras finds the classes of a saved VAE by their registration, which happens when `tfvae.core.vae` is imported.

So it is imported as soon as both Keras and tfvae are, in either order; `import tfvae` alone waits for neither Keras nor
TensorFlow.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence

_KERAS, _CLASSES = "keras", "tfvae.core.vae"


def register_with_keras() -> None:
    """Imports the classes now if Keras is here, or else when it comes."""
    if _KERAS in sys.modules:
        _import_classes()
    else:
        sys.meta_path.insert(0, _KerasFinder())


def _import_classes() -> None:
    if sys.modules[_KERAS].backend.backend() != "tensorflow":  # the classes are TensorFlow's
        return
    if not _one_of_ours_is_being_imported():
        from tfvae.runtime.versions import require_versions  # here, for `import tfvae` need not wait for it

        require_versions()
        importlib.import_module(_CLASSES)


def _one_of_ours_is_being_imported() -> bool:
    """Whether it is a module of the core that imports Keras: to import another one now would be a circle."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if name.startswith("tfvae.core.") and getattr(spec, "_initializing", False):  # importlib's own mark
            return True
    return False


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Leaves the import of Keras to the other finders, and has the classes imported after it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _KERAS:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, _KerasFinder):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _KerasLoader(spec.loader, self)
                return spec
        return None


class _KerasLoader(importlib.abc.Loader):
    """Keras's loader, and then the import of the classes."""

    def __init__(self, loader: importlib.abc.Loader, finder: _KerasFinder) -> None:
        self.loader, self.finder = loader, finder

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        # what reads sources or files through the loader finds Keras's own
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        _import_classes()
