"""The columns of vectors: names, and how a network's units are made of theirs. It imports NumPy alone."""

from typing import Any, NamedTuple

import numpy as np


class Columns(NamedTuple):
    """The D columns of vectors.

    With `missing` a value may be NaN: the encoder sees 0 in its place, and which values are there; the likelihood is of
    those alone (Mattei & Frellsen 2019, "MIWAE", eq. 5 with one sample).
    """

    names: tuple[str, ...]
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    missing: bool = False

    @classmethod
    def from_json(cls, content: dict[str, Any] | None) -> "Columns | None":
        """What `to_json` made."""
        if content is None:
            return None
        names, offset, scale = (tuple(content[name]) for name in ("names", "offset", "scale"))
        return cls(names, offset, scale, content["missing"])

    def to_json(self) -> dict[str, Any]:
        """As JSON, and Keras's configurations, hold it."""
        return {
            "names": list(self.names),
            "offset": list(self.offset),
            "scale": list(self.scale),
            "missing": self.missing,
        }

    @property
    def are_scaled(self) -> bool:
        """Whether the scaling does anything."""
        return any(self.offset) or any(scale != 1 for scale in self.scale)

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """u of x [..., D]."""
        return (x - np.array(self.offset)) / np.array(self.scale)
