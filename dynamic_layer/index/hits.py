"""What a search finds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hits:
    """The best items for each of `b` queries, best first.

    rows:   i64 [b, k], item rows; -1 where there are fewer.
    scores: f32 [b, k]; -inf where there are fewer.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]

    def best(self, k: int, exclude: NDArray[np.int64] | None = None) -> "Hits":
        """Return the `k` best of each query, in order; of equal ones those that come first.

        exclude: i64 [b, e], rows that a query must not get, -1 for none.
        """
        if exclude is None:
            exclude = np.zeros((len(self.rows), 0), np.int64)
        # In one layout: the kernel is compiled again for each.
        parts = (np.ascontiguousarray(part) for part in (self.rows, self.scores, exclude))
        return Hits(*_best(*parts, k))

    def without(self, banned: NDArray[np.bool_]) -> "Hits":
        """Return the hits without those of a mask, bool [b, k]; not in order."""
        banned = banned | (self.rows < 0)
        return Hits(
            np.where(banned, -1, self.rows), np.where(banned, np.float32(-np.inf), self.scores)
        )

    @staticmethod
    def join(parts: Sequence["Hits"], queries: int) -> "Hits":
        """Return all parts' hits side by side, for the same queries; not in order."""
        parts = [part for part in parts if part.rows.shape[1]]
        if len(parts) == 1:
            return parts[0]
        rows = [np.zeros((queries, 0), np.int64), *(part.rows for part in parts)]
        scores = [np.zeros((queries, 0), np.float32), *(part.scores for part in parts)]
        return Hits(np.concatenate(rows, axis=1), np.concatenate(scores, axis=1))


@numba.njit(cache=True, nogil=True)
def _best(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    exclude: NDArray[np.int64],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    b, width = scores.shape
    found = np.full((b, k), -1, np.int64)
    found_scores = np.full((b, k), -np.inf, np.float32)
    banned = np.zeros(exclude.max() + 1 if exclude.size else 0, np.bool_)
    room = min(k, width)
    # The best so far as a heap, the least of them at its root: few get into it.
    value, place = np.empty(room, np.float32), np.empty(room, np.int64)
    for query in range(b if room else 0):
        for row in exclude[query]:
            if row >= 0:
                banned[row] = True
        count = 0
        for at in range(width):
            score, row = scores[query, at], rows[query, at]
            # Compared so that nothing that is not a number is found.
            if not score > (value[0] if count == room else -np.inf):
                continue
            if row < 0 or (row < len(banned) and banned[row]):
                continue
            if count < room:
                child = count
                count += 1
                while child and value[(child - 1) // 2] >= score:
                    above = (child - 1) // 2
                    value[child], place[child] = value[above], place[above]
                    child = above
            else:
                child = _settled(value, place, count, score, at)
            value[child], place[child] = score, at
        for last in range(count - 1, -1, -1):
            found[query, last] = rows[query, place[0]]
            found_scores[query, last] = value[0]
            score, at = value[last], place[last]
            child = _settled(value, place, last, score, at)
            value[child], place[child] = score, at
        for row in exclude[query]:
            if row >= 0:
                banned[row] = False
    return found, found_scores


@numba.njit(cache=True, nogil=True)
def _settled(
    value: NDArray[np.float32], place: NDArray[np.int64], count: int, new: float, at: int
) -> int:
    """Return where an entry goes that takes the root's place; what is less moves up.

    Of equal ones the later is less.
    """
    child = 0
    while 2 * child + 1 < count:
        below = 2 * child + 1
        other = below + 1
        if other < count and (
            value[other] < value[below]
            or (value[other] == value[below] and place[other] > place[below])
        ):
            below = other
        if value[below] > new or (value[below] == new and place[below] < at):
            break
        value[child], place[child] = value[below], place[below]
        child = below
    return child
