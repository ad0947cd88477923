"""The control of a graph: two figures of each item in the place of its vector."""

from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Reads", "scalars"]

Reads = Literal["text", "hgnn", "control"]
"""What towers read of an item beside its text: nothing, its HGNN vector, or two scalars."""

_GAIN = 12.0  # what the towers multiply content by (dynamic_layer.items.features)


def scalars(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return what a graph knows without edges: is the item new, and the log of its old count.

    counts: i64[n], events or users of each item. Returns f32[n, 2], of unit variance after the
    towers' gain.
    """
    made = np.stack([counts == 0, np.log1p(counts)], axis=1).astype(np.float32)
    made -= made.mean(axis=0)
    made /= np.maximum(made.std(axis=0), 1e-6) * np.float32(_GAIN)
    return made
