"""Which pairs of items an example adds to the state's counts."""

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.examples.replay import PaddedExamples

__all__ = ["added_pairs"]


def added_pairs(
    examples: PaddedExamples,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the item keys of pairs that users have since these examples, u64 [k] twice.

    As the state counts: graph-making events alone, each item of a user once. An item with itself is
    a user of it. Pairs with entries that are not in an example's history are missing.
    """
    first = examples.take(examples.strong & ~examples.repeat)
    inside = np.arange(first.history_item.shape[1]) < first.length[:, None]
    other = inside & first.history_strong & (first.history_item != first.target[:, None])
    owner, entry = np.nonzero(other)
    met, had = first.target[owner], first.history_item[owner, entry]
    return np.concatenate([first.target, met]), np.concatenate([first.target, had])
