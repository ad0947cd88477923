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

from dynamic_layer.counts.kth import kth_smallest
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

    def best(self, allowed: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
        """Return each user's items with the greatest sums at each recency, i64 [b, h, k].

        allowed: bool [items]. In no order; items of the history are left out, as are those whose
        sum is not above 0; NONE where there are fewer than k.
        """
        group = np.where(allowed, 0, NONE).astype(np.int16)
        return self.best_of_group(group, np.zeros(len(self.own), np.int64), k)

    def best_of_group(
        self, group: NDArray[np.int16], wanted: NDArray[np.int64], k: int
    ) -> NDArray[np.int64]:
        """Return what `best` does among the items of each user's own group, i64 [b, h, k].

        group: i16 [items], negative for items of none; wanted: i64 [b].
        """
        found: NDArray[np.int64] = _best(
            self.indptr, self.own, self.item, self.sums, group, wanted, k
        )
        return found

    def scores(self, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the sums of candidates, f32 [b, c, h]; candidates: i64 [b, c], NONE scores 0."""
        found: NDArray[np.float32] = _scores(
            self.indptr, self.item, self.sums, np.ascontiguousarray(candidates), self.items
        )
        return found


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
    slot_of = np.full(items, -1, np.int32)  # place of an item among this user's
    for row in range(b):
        start = end = out[row]
        for entry in range(indptr[row], indptr[row + 1]):
            if slot_of[item[entry]] < 0:
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
                if slot < 0:
                    slot_of[target] = end
                    targets[end] = target
                    for part in range(h):
                        sums[end, part] = recency[entry, part] * weight
                    end += 1
                else:
                    for part in range(h):
                        sums[slot, part] += recency[entry, part] * weight
        for slot in range(start, end):
            slot_of[targets[slot]] = -1
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
def _best(
    indptr: NDArray[np.int64],
    own: NDArray[np.int64],
    item: NDArray[np.int32],
    sums: NDArray[np.float32],
    group: NDArray[np.int16],
    wanted: NDArray[np.int64],
    k: int,
) -> NDArray[np.int64]:
    b, h = len(own), sums.shape[1]
    out = np.full((b, h, k), -1, np.int64)
    widest = (indptr[1:] - indptr[:-1]).max() if b else 0
    member, value = np.empty(widest, np.int64), np.empty(widest, np.float32)
    place = np.empty(widest, np.int64)
    for row in range(b if k else 0):
        size = 0
        for at in range(indptr[row] + own[row], indptr[row + 1]):
            if group[item[at]] == wanted[row]:
                member[size] = at
                size += 1
        for part in range(h):
            count = 0
            for n in range(size):
                if sums[member[n], part] > 0:
                    value[count] = sums[member[n], part]
                    place[count] = member[n]
                    count += 1
            taken = 0
            bound = _kth(value[:count], k)
            for n in range(count):
                if value[n] > bound:
                    out[row, part, taken] = item[place[n]]
                    taken += 1
            for n in range(count):
                if value[n] == bound and taken < k:
                    out[row, part, taken] = item[place[n]]
                    taken += 1
    return out


_STEP_BITS, _STEPS = 20, 256  # eight steps for a factor of two, and a last one for all below 2^-31


@numba.njit(cache=True, nogil=True)
def _kth(value: NDArray[np.float32], k: int) -> float:
    """Return the k-th greatest of values above 0; 0 where there are fewer.

    The bits of such numbers are in their order: those in the k-th one's step are few.
    """
    if len(value) < k:
        return 0.0
    bits = value.view(np.int32)
    most, counts = bits.max(), np.zeros(_STEPS, np.int64)
    for one in bits:
        counts[min((most - one) >> _STEP_BITS, _STEPS - 1)] += 1
    step, above = 0, 0
    while above + counts[step] < k:
        above += counts[step]
        step += 1
    near, found = np.empty(counts[step], np.float32), 0
    for n in range(len(bits)):
        if min((most - bits[n]) >> _STEP_BITS, _STEPS - 1) == step:
            near[found] = value[n]
            found += 1
    return float(kth_smallest(near, found - (k - above)))


@numba.njit(cache=True, nogil=True)
def _scores(
    indptr: NDArray[np.int64],
    item: NDArray[np.int32],
    sums: NDArray[np.float32],
    candidates: NDArray[np.int64],
    items: int,
) -> NDArray[np.float32]:
    b, c = candidates.shape
    out = np.zeros((b, c, sums.shape[1]), np.float32)
    place_of = np.full(items, -1, np.int32)
    for row in range(b):
        for place in range(c):
            if candidates[row, place] >= 0:
                place_of[candidates[row, place]] = place
        for at in range(indptr[row], indptr[row + 1]):
            place = place_of[item[at]]
            if place >= 0:
                out[row, place] = sums[at]
        for place in range(c):
            if candidates[row, place] >= 0:
                place_of[candidates[row, place]] = -1
    return out
