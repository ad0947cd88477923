"""Candidates: the few hundred items of a type that a head looks at, from several sources.

Sources give ranked lists; their union, each item once and none that the user had, is what is
ranked.
"""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories
from dynamic_layer.counts.neighbours import NONE

__all__ = ["NONE", "greatest", "newest_items", "union"]


def greatest(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the rows of each line's k greatest scores, i64 [b, min(k, m)]; scores: f32 [b, m]."""
    k = min(k, scores.shape[1])
    place = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return rows[place]


def newest_items(histories: Histories, k: int) -> NDArray[np.int64]:
    """Return the newest k items of each history, i64 [b, <= k], NONE at the end."""
    size = np.minimum(np.diff(histories.indptr), k)
    out = np.full((len(histories), int(size.max(initial=0))), NONE, np.int64)
    owner = np.repeat(np.arange(len(histories)), size)
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    out[owner, place] = histories.item[histories.indptr[:-1][owner] + place]
    return out


def union(
    lists: Sequence[NDArray[np.int64]], histories: Histories, *, limit: int
) -> NDArray[np.int64]:
    """Return the union of the lists, i64 [b, c], c <= limit; each item once, none from the history.

    lists: i64 [b, k] each, with NONE; earlier lists keep their items where `limit` cuts.
    """
    return _union(  # type: ignore[no-any-return]
        np.concatenate(lists, axis=1), histories.indptr, histories.item, limit
    )


@numba.njit(cache=True, nogil=True)
def _union(
    joined: NDArray[np.int64],
    indptr: NDArray[np.int64],
    item: NDArray[np.int64],
    limit: int,
) -> NDArray[np.int64]:
    b, width = joined.shape
    top = 0
    for row in range(b):
        for place in range(width):
            top = max(top, joined[row, place])
    for entry in item:
        top = max(top, entry)
    seen = np.zeros(top + 1, np.bool_)
    out = np.full((b, min(limit, width)), -1, np.int64)
    widest = 0
    for row in range(b):
        for entry in range(indptr[row], indptr[row + 1]):
            seen[item[entry]] = True
        filled = 0
        for place in range(width):
            candidate = joined[row, place]
            if candidate >= 0 and not seen[candidate] and filled < out.shape[1]:
                seen[candidate] = True
                out[row, filled] = candidate
                filled += 1
        widest = max(widest, filled)
        for place in range(filled):
            seen[out[row, place]] = False
        for entry in range(indptr[row], indptr[row + 1]):
            seen[item[entry]] = False
    return out[:, : max(widest, 1)]
