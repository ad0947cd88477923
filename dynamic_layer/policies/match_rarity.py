"""How rare a match of a user and a new item is, among those of the lists that were made before."""

import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["MatchRarity"]

_BINS = 1_000
#: Lists that are counted before old ones begin to fade: whom new items match has to follow who was
#: shown them, and at 1 % of ten places every tenth of these lists explores.
_KEPT = 2_000
#: The counts in use are renewed after so many milliseconds, so that a question which is asked again
#: at once has the same answer; until then, whenever there are twice as many.
_RENEW_MS = 60_000


class MatchRarity:
    """Counts matches of pairs of a list and an item; numbers from -1 to 1. Thread-safe.

    With few pairs every match counts as common, so that a budget is kept from the start on.
    """

    def __init__(self) -> None:
        """Start without pairs."""
        self._lock = threading.Lock()
        self._counts = np.zeros(_BINS, np.float64)
        self._lists = 0
        self._used, self._used_pairs, self._used_ms = self._counts.copy(), 0.0, 0

    def add(self, matches: NDArray[np.float64], now_ms: int) -> None:
        """Count the matches of lists and items, f64 [lists, n]; NaN is none."""
        bins = _bin(matches[~np.isnan(matches)])
        with self._lock:
            self._counts += np.bincount(bins, minlength=_BINS)
            pairs = float(self._counts.sum())
            self._lists += len(matches)
            if self._lists > _KEPT:
                self._counts, self._lists = self._counts / 2, self._lists // 2
            if pairs >= 2 * self._used_pairs or abs(now_ms - self._used_ms) >= _RENEW_MS:
                self._used = np.cumsum(self._counts[::-1])[::-1].copy()
                self._used_pairs, self._used_ms = pairs, now_ms

    def __call__(self, matches: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of pairs that match at least as well, f64 of the same shape."""
        with self._lock:
            at_least, pairs = self._used, float(self._used[0])
        safe = np.nan_to_num(matches, nan=-1.0)
        return np.where(np.isnan(matches), np.inf, (at_least[_bin(safe)] + 1) / (pairs + 1))


def _bin(matches: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip((matches + 1) * (_BINS / 2), 0, _BINS - 1).astype(np.int64)
