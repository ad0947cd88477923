"""Items that sources of candidates propose: the nearest by an index, the first of an order."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.head.candidates import NONE
from dynamic_layer.index.item_index import Hits, ItemIndex
from dynamic_layer.settings import RankingSettings

__all__ = ["first_of", "nearest", "with_fewer"]


def nearest(
    index: ItemIndex,
    queries: NDArray[np.float32],
    barred: NDArray[np.int64],
    numbers: NDArray[np.int64],
    k: int,
    allowed: NDArray[np.bool_] | None,
) -> Hits:
    """Return the k items of each user's type with the greatest product; numbers: i64 [b], types."""
    kinds = np.unique(numbers).tolist()
    if len(kinds) == 1:
        return index.search_type(queries, kinds[0], k, barred, rough=True, allowed=allowed)
    found = Hits(
        np.full((len(queries), k), NONE, np.int64), np.full((len(queries), k), -np.inf, np.float32)
    )
    for number in kinds:
        own = np.flatnonzero(numbers == number)
        part = index.search_type(queries[own], number, k, barred[own], rough=True, allowed=allowed)
        found.rows[own], found.scores[own] = part.rows, part.scores
    return found


def first_of(ordered: NDArray[np.int64], allowed: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """Return the first rows of an order that are allowed, i64 [<= k]."""
    found: list[NDArray[np.int64]] = []
    count, start, step = 0, 0, 4 * k
    while count < k and start < len(ordered):
        part = ordered[start : start + step]
        found.append(part[allowed[part]])
        count += len(found[-1])
        start, step = start + step, 2 * step
    return np.concatenate([np.zeros(0, np.int64), *found])[:k]


def with_fewer(settings: RankingSettings, divisor: int) -> RankingSettings:
    """Return settings with numbers of candidates, and their limit, divided and rounded up."""
    counts = ("towers", "weak", "neighbours", "demand", "limit")
    return replace(settings, **{name: -(-getattr(settings, name) // divisor) for name in counts})
