"""Candidates: the few hundred items of a type that a head looks at, from several sources.

Sources give ranked lists; their union, each item once and none that the user had, is what is
ranked. Scores over item-item weights are summed sparsely: a user costs the rows of the items in
the history, not a pass over the catalogue.
"""

from collections.abc import Sequence

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.moments import Histories

NONE = -1


def neighbour_lists(
    histories: Histories,
    recency: NDArray[np.float32],
    weights: sp.csr_array,
    allowed: NDArray[np.bool_],
    k: int,
) -> NDArray[np.int64]:
    """Return each user's items with the greatest sums of weights, i64 [b, k], in no order.

    recency: f32 [t], of the histories' entries. weights: f32 [source, target].
    allowed: bool [items]. Items in the history and items that nothing points to are left out;
    NONE where there are fewer than k.
    """
    return _neighbour_lists(  # type: ignore[no-any-return]
        histories.indptr,
        histories.item,
        recency,
        weights.indptr,
        weights.indices,
        weights.data,
        allowed,
        k,
    )


@numba.njit(cache=True, nogil=True)
def _neighbour_lists(
    indptr: NDArray[np.int64],
    item: NDArray[np.int64],
    recency: NDArray[np.float32],
    w_indptr: NDArray[np.int32],
    w_indices: NDArray[np.int32],
    w_data: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    k: int,
) -> NDArray[np.int64]:
    n, b = len(allowed), len(indptr) - 1
    out = np.full((b, k), -1, np.int64)
    score = np.zeros(n, np.float32)
    state = np.zeros(n, np.int8)  # 1: touched, 2: in the history
    touched = np.empty(n, np.int64)
    for row in range(b):
        count = 0
        for entry in range(indptr[row], indptr[row + 1]):
            state[item[entry]] = 2
        for entry in range(indptr[row], indptr[row + 1]):
            for place in range(w_indptr[item[entry]], w_indptr[item[entry] + 1]):
                target = w_indices[place]
                if not allowed[target] or state[target] == 2:
                    continue
                if state[target] == 0:
                    state[target] = 1
                    touched[count] = target
                    count += 1
                score[target] += recency[entry] * w_data[place]
        found = touched[:count]
        limit = np.float32(0)
        if count > k:
            limit = np.partition(score[found], count - k)[count - k]
        filled = 0
        for target in found:
            if filled < k and score[target] > 0 and score[target] >= limit:
                out[row, filled] = target
                filled += 1
            score[target] = 0
            state[target] = 0
        for entry in range(indptr[row], indptr[row + 1]):
            state[item[entry]] = 0
    return out


def neighbour_scores(
    histories: Histories,
    recency: NDArray[np.float32],
    weights: sp.csr_array,
    candidates: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the sum over the history of recency * weight for each candidate, f32 [b, c, k].

    recency: f32 [t, k], k weightings of the histories' entries; candidates: i64 [b, c] with NONE,
    which scores 0.
    """
    return _neighbour_scores(  # type: ignore[no-any-return]
        histories.indptr,
        histories.item,
        np.ascontiguousarray(recency),
        weights.indptr,
        weights.indices,
        weights.data,
        candidates,
        weights.shape[1],
    )


@numba.njit(cache=True, nogil=True)
def _neighbour_scores(
    indptr: NDArray[np.int64],
    item: NDArray[np.int64],
    recency: NDArray[np.float32],
    w_indptr: NDArray[np.int32],
    w_indices: NDArray[np.int32],
    w_data: NDArray[np.float32],
    candidates: NDArray[np.int64],
    n: int,
) -> NDArray[np.float32]:
    b, c = candidates.shape
    k = recency.shape[1]
    out = np.zeros((b, c, k), np.float32)
    place_of = np.full(n, -1, np.int64)
    for row in range(b):
        for place in range(c):
            if candidates[row, place] >= 0:
                place_of[candidates[row, place]] = place
        for entry in range(indptr[row], indptr[row + 1]):
            for edge in range(w_indptr[item[entry]], w_indptr[item[entry] + 1]):
                place = place_of[w_indices[edge]]
                if place >= 0:
                    for part in range(k):
                        out[row, place, part] += recency[entry, part] * w_data[edge]
        for place in range(c):
            if candidates[row, place] >= 0:
                place_of[candidates[row, place]] = -1
    return out


def greatest(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the rows of each line's k greatest scores, i64 [b, min(k, m)]; scores: f32 [b, m]."""
    k = min(k, scores.shape[1])
    place = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return rows[place]


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
