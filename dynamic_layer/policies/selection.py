"""Selects the items of a list from its candidates: by score, limits, diversity and fixed places."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidates", "select"]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Candidates of `b` users' lists, at most `p` each, best first.

    rows:   i64 [b, p], -1 behind the last.
    scores: f32 [b, p].
    groups: i32 [b, p, g], numbers of what at most so many of a list may share; -1 for nothing.
    limits: i32 [groups], how many items of one list may have each number.
    meets:  bool [b, p, q], conditions of which a list is to hold at least `least` items, i32 [q].
    pinned: i64 [b, k], place among the candidates of what stands at a place of the list; -1: none.
    vectors: f32 [b, p, d], of unit length; None where diversity is 0.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    groups: NDArray[np.int32]
    limits: NDArray[np.int32]
    meets: NDArray[np.bool_]
    least: NDArray[np.int32]
    pinned: NDArray[np.int64]
    vectors: NDArray[np.float32] | None = None


def select(candidates: Candidates, k: int, diversity: float) -> NDArray[np.int64]:
    """Return the places among the candidates of each list's items, i64 [b, k]; -1 behind the last.

    Greedy, as maximal marginal relevance is (Carbonell and Goldstein, 1998): next comes the
    candidate with the greatest (1 - diversity) * relevance - diversity * similarity, the greatest
    cosine to an item chosen before. Relevance is the score, from 0 for the worst candidate to 1 for
    the best. A limit is never exceeded. What a list is to hold at least comes when no other place
    is left for it; where there is no such candidate, others take the place.
    """
    b, p = candidates.rows.shape
    vectors = candidates.vectors
    if vectors is None or not diversity:
        vectors, diversity = np.zeros((b, p, 0), np.float32), 0.0
    # Without gaps between rows: the compiler then adds several products at once.
    vectors = np.ascontiguousarray(vectors)
    return _select(  # type: ignore[no-any-return]
        candidates.rows, candidates.scores, candidates.groups, candidates.limits,
        candidates.meets, candidates.least, candidates.pinned, vectors, k, np.float32(diversity),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _select(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    groups: NDArray[np.int32],
    limits: NDArray[np.int32],
    meets: NDArray[np.bool_],
    least: NDArray[np.int32],
    pinned: NDArray[np.int64],
    vectors: NDArray[np.float32],
    k: int,
    diversity: np.float32,
) -> NDArray[np.int64]:
    b, p = rows.shape
    out = np.full((b, k), -1, np.int64)
    count = np.zeros(len(limits), np.int32)
    near, free = np.zeros(p, np.float32), np.zeros(p, np.bool_)
    relevance = np.zeros(p, np.float32)
    for user in range(b):
        count[:], near[:] = 0, 0
        have = np.zeros(len(least), np.int32)
        free[:] = rows[user] >= 0
        _relevance(scores[user], free, relevance, diversity)
        # First what is pinned, so that nothing else takes its place or its share of a limit.
        for place in range(k):
            chosen = pinned[user, place]
            if chosen >= 0 and free[chosen] and _within(groups[user, chosen], limits, count):
                out[user, place] = chosen
                _take(chosen, free, groups[user], count, meets[user], have, vectors[user], near)
        open_places = (out[user] < 0).sum()
        for place in range(k):
            if out[user, place] >= 0:
                continue
            wanted = 0
            for q in range(len(least)):
                wanted += max(0, least[q] - have[q])
            chosen = -1
            for needed in range(wanted >= open_places, -1, -1):
                if chosen < 0:
                    chosen = _best(
                        free, relevance, near, groups[user], limits, count, meets[user], least,
                        have, diversity, needed == 1,
                    )  # fmt: skip
            if chosen < 0:
                break
            open_places -= 1
            out[user, place] = chosen
            _take(chosen, free, groups[user], count, meets[user], have, vectors[user], near)
        _close_gaps(out[user])
    return out


@numba.njit(cache=True, nogil=True)
def _relevance(
    scores: NDArray[np.float32],
    there: NDArray[np.bool_],
    out: NDArray[np.float32],
    diversity: np.float32,
) -> None:
    """Scores as they are without diversity, else what counts of them beside similarity."""
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for c in range(len(scores)):
        if there[c]:
            low, high = min(low, scores[c]), max(high, scores[c])
    span = max(high - low, np.float32(1e-9))
    for c in range(len(scores)):
        out[c] = scores[c]
        if diversity > 0 and there[c]:
            out[c] = (1 - diversity) * (scores[c] - low) / span


@numba.njit(cache=True, nogil=True)
def _best(
    free: NDArray[np.bool_],
    relevance: NDArray[np.float32],
    near: NDArray[np.float32],
    groups: NDArray[np.int32],
    limits: NDArray[np.int32],
    count: NDArray[np.int32],
    meets: NDArray[np.bool_],
    least: NDArray[np.int32],
    have: NDArray[np.int32],
    diversity: np.float32,
    needed: bool,
) -> int:
    """The best free candidate within the limits, -1 for none; needed: that a quota still lacks."""
    best, chosen = np.float32(-np.inf), -1
    for c in range(len(free)):
        if not free[c]:
            continue
        value = relevance[c] - diversity * near[c]
        if value > best and _within(groups[c], limits, count):
            lacking = not needed
            for q in range(len(least)):
                lacking = lacking or (meets[c, q] and have[q] < least[q])
            if lacking:
                best, chosen = value, c
    return chosen


@numba.njit(cache=True, nogil=True)
def _within(groups: NDArray[np.int32], limits: NDArray[np.int32], count: NDArray[np.int32]) -> bool:
    within = True
    for g in range(len(groups)):
        if groups[g] >= 0:
            within = within and count[groups[g]] < limits[groups[g]]
    return within


@numba.njit(cache=True, nogil=True)
def _take(
    chosen: int,
    free: NDArray[np.bool_],
    groups: NDArray[np.int32],
    count: NDArray[np.int32],
    meets: NDArray[np.bool_],
    have: NDArray[np.int32],
    vectors: NDArray[np.float32],
    near: NDArray[np.float32],
) -> None:
    free[chosen] = False
    for g in range(groups.shape[1]):
        if groups[chosen, g] >= 0:
            count[groups[chosen, g]] += 1
    for q in range(len(have)):
        have[q] += meets[chosen, q]
    if not vectors.shape[1]:
        return
    for c in range(len(free)):
        if free[c]:
            near[c] = max(near[c], _dot(vectors[chosen], vectors[c]))


# Sums in any order, so that the loop uses vector instructions: a seventh of its time.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(one: NDArray[np.float32], other: NDArray[np.float32]) -> np.float32:
    found = np.float32(0)
    for x in range(len(one)):
        found += one[x] * other[x]
    return found


@numba.njit(cache=True, nogil=True)
def _close_gaps(places: NDArray[np.int64]) -> None:
    """Move what was pinned behind the end up."""
    last = 0
    for place in range(len(places)):
        if places[place] >= 0:
            chosen = places[place]
            places[place] = -1
            places[last] = chosen
            last += 1
