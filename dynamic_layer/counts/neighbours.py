"""Sums over item-item weights: what the items of a history point to, and how strongly.

A user costs one pass over the rows of the items in the history, whatever is asked of the sums
afterwards: candidates of several types, at several recencies, and the scores of any items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories

NONE = -1


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Items that `b` users' histories point to, each once, as a compressed row list.

    indptr: i64 [b + 1]; user r has entries indptr[r]:indptr[r + 1].
    own:    i64 [b], how many of them, the first ones, are the history's own items.
    item:   i32 [t], item rows.
    sums:   f32 [t, h], sum over the history of recency * weight, for h recencies.
    items:  of the catalogue.
    """

    indptr: NDArray[np.int64]
    own: NDArray[np.int64]
    item: NDArray[np.int32]
    sums: NDArray[np.float32]
    items: int

    @classmethod
    def of(
        cls, histories: Histories, recency: NDArray[np.float32], weights: sp.csr_array
    ) -> "Neighbours":
        """Sum up the weights f32 [source, target] of each history's items.

        recency: f32 [t, h], h weightings of the histories' entries.
        """
        indptr, own, item, sums = _summed(
            histories.indptr,
            histories.item,
            np.ascontiguousarray(recency),
            weights.indptr,
            weights.indices,
            weights.data,
            weights.shape[1],
        )
        return cls(indptr=indptr, own=own, item=item, sums=sums, items=weights.shape[1])

    def scores(self, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the sums of candidates, f32 [b, c, h]; candidates: i64 [b, c], NONE scores 0."""
        found = np.zeros((*candidates.shape, self.sums.shape[1]), np.float32)
        self.put_scores(candidates, found, 0)
        return found

    def put_scores(
        self, candidates: NDArray[np.int64], out: NDArray[np.float32], first: int
    ) -> int:
        """Put the scores into columns of zeros, f32 [b, c, f], from one on; return the next one."""
        candidates = np.ascontiguousarray(candidates)
        _put_scores(self.indptr, self.item, self.sums, candidates, self.items, out, first)
        return first + int(self.sums.shape[1])


def neighbours_of(
    histories: Histories, weights: Mapping[str, sp.csr_array], half_lives_days: Sequence[float]
) -> dict[str, Neighbours]:
    """Return the sums over each of several item-item weights, by name."""
    recency = histories.recencies(half_lives_days)
    return {name: Neighbours.of(histories, recency, matrix) for name, matrix in weights.items()}


@numba.njit(cache=True, nogil=True)
def _summed(
    indptr: NDArray[np.int64],
    item: NDArray[np.int64],
    recency: NDArray[np.float32],
    w_indptr: NDArray[np.int32],
    w_indices: NDArray[np.int32],
    w_data: NDArray[np.float32],
    items: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    b, h = len(indptr) - 1, recency.shape[1]
    most = _room(indptr, item, w_indptr, items)
    out, own = np.zeros(b + 1, np.int64), np.zeros(b, np.int64)
    targets, sums = np.empty(most, np.int32), np.empty((most, h), np.float32)
    # Place of an item among this user's; below `start` where it is another user's, or none.
    slot_of = np.full(items, -1, np.int32)
    for row in range(b):
        start = end = out[row]
        for entry in range(indptr[row], indptr[row + 1]):
            if slot_of[item[entry]] < start:
                slot_of[item[entry]] = end
                targets[end] = item[entry]
                for part in range(h):
                    sums[end, part] = 0
                end += 1
        own[row] = end - start
        for entry in range(indptr[row], indptr[row + 1]):
            for place in range(w_indptr[item[entry]], w_indptr[item[entry] + 1]):
                target, weight = w_indices[place], w_data[place]
                slot = slot_of[target]
                if slot < start:
                    slot_of[target] = end
                    targets[end] = target
                    for part in range(h):
                        sums[end, part] = recency[entry, part] * weight
                    end += 1
                else:
                    for part in range(h):
                        sums[slot, part] += recency[entry, part] * weight
        out[row + 1] = end
    return out, own, targets[: out[b]], sums[: out[b]]


@numba.njit(cache=True, nogil=True)
def _room(
    indptr: NDArray[np.int64], item: NDArray[np.int64], w_indptr: NDArray[np.int32], items: int
) -> int:
    """Return how many items the histories point to, at most."""
    most = 0
    for row in range(len(indptr) - 1):
        edges = indptr[row + 1] - indptr[row]
        for entry in range(indptr[row], indptr[row + 1]):
            edges += w_indptr[item[entry] + 1] - w_indptr[item[entry]]
        most += min(edges, items)
    return most


@numba.njit(cache=True, nogil=True)
def _put_scores(
    indptr: NDArray[np.int64],
    item: NDArray[np.int32],
    sums: NDArray[np.float32],
    candidates: NDArray[np.int64],
    items: int,
    out: NDArray[np.float32],
    first: int,
) -> None:
    b, c = candidates.shape
    place_of = np.full(items, -1, np.int32)
    for row in range(b):
        for place in range(c):
            if candidates[row, place] >= 0:
                place_of[candidates[row, place]] = place
        for at in range(indptr[row], indptr[row + 1]):
            place = place_of[item[at]]
            if place >= 0:
                for part in range(sums.shape[1]):
                    out[row, place, first + part] = sums[at, part]
        for place in range(c):
            if candidates[row, place] >= 0:
                place_of[candidates[row, place]] = -1
