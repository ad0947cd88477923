"""Shares of the events, chosen by a hash of the offset: a replay chooses the same events."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hashed_share(offsets: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Return which offsets belong to a share of all, bool [n].

    Shares are nested: the offsets of a smaller share belong to each larger one.

    >>> int(hashed_share(np.arange(10_000), 0.25).sum())
    2502
    """
    if share >= 1:
        return np.ones(len(offsets), np.bool_)
    mixed = offsets.astype(np.uint64) * _GOLDEN
    return np.asarray(mixed < np.uint64(int(max(share, 0.0) * 2**64)))
