"""What a search finds."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    def best(self, k: int) -> "Hits":
        """Return the `k` best of each query, in order."""
        if self.scores.shape[1] > max(4 * k, 256):
            return self._some(k).best(k)
        order = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(self.scores, order, axis=1)
        rows = np.where(np.isneginf(scores), -1, np.take_along_axis(self.rows, order, axis=1))
        short = k - rows.shape[1]
        if short > 0:
            rows = np.pad(rows, ((0, 0), (0, short)), constant_values=-1)
            scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
        return Hits(rows, scores)

    def _some(self, k: int) -> "Hits":
        """Return the `k` best of each query, in no order: sorting thousands would cost more."""
        chosen = np.argpartition(-self.scores, k, axis=1)[:, :k]
        return Hits(
            np.take_along_axis(self.rows, chosen, axis=1),
            np.take_along_axis(self.scores, chosen, axis=1),
        )

    def without(self, banned: NDArray[np.bool_]) -> "Hits":
        """Return the hits without those of a mask, bool [b, k]; not in order."""
        banned = banned | (self.rows < 0)
        return Hits(
            np.where(banned, -1, self.rows), np.where(banned, np.float32(-np.inf), self.scores)
        )

    @staticmethod
    def join(parts: Sequence["Hits"], queries: int) -> "Hits":
        """Return all parts' hits side by side, for the same queries; not in order."""
        rows = [np.zeros((queries, 0), np.int64), *(part.rows for part in parts)]
        scores = [np.zeros((queries, 0), np.float32), *(part.scores for part in parts)]
        return Hits(np.concatenate(rows, axis=1), np.concatenate(scores, axis=1))
