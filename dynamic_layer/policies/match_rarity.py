"""How rare a match of a user and a new item is, and how much of a budget is spent on matches."""

import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["MatchRarity"]

_BINS = 400
#: Lists after which all counts are halved, so that recent lists count more. At 1 % of ten places,
#: every tenth of these lists explores.
_KEPT = 2_000
#: An item's own matches count as much as those of all items together after so many lists.
_OWN = 200.0
#: Items whose own matches are counted, the latest ones.
_ITEMS = 2_000
#: What is in use is renewed after so many milliseconds, so that a question which is asked again
#: at once has the same answer; until then, whenever there are twice as many lists.
_RENEW_MS = 60_000
#: Limits of the correction of a budget, and how fast it follows.
_CORRECTIONS, _STEP = (0.25, 4.0), 0.5
#: Factors of a budget at least and at most, while what lists explored too much so far is saved, or
#: what they explored too little is made up.
_MAKING_UP = (0.5, 1.5)
#: At most so many periods' budgets are made up.
_OWED = 5.0


class MatchRarity:
    """Counts matches of lists and new items, numbers from -1 to 1. Thread-safe.

    With few lists every match counts as common, so that a budget is kept from the start on.
    """

    def __init__(self) -> None:
        """Start without lists."""
        self._lock = threading.Lock()
        self._of_item: dict[int, NDArray[np.float64]] = {}
        self._lists, self._since, self._used_ms = 0.0, 0, 0
        self._used: dict[int, NDArray[np.float64]] = {}
        self._used_of_all = np.zeros(_BINS)
        self._wanted = self._expected = self._owed = 0.0
        self._follows = self._making_up = 1.0

    @property
    def correction(self) -> float:
        """Factor of a budget, so that lists explore as much as they are to.

        It follows what was spent lately; what was spent too much before is saved, and what was
        spent too little is made up.
        """
        return self._follows * self._making_up

    def add(self, keys: NDArray[np.uint64], matches: NDArray[np.float64], now_ms: int) -> None:
        """Count the matches of lists with items: u64 [n] and f64 [lists, n]; NaN is none."""
        with self._lock:
            for key, bins in zip(keys.tolist(), _bin(matches).T, strict=True):
                known = self._of_item.pop(key, None)
                self._of_item[key] = known = np.zeros(_BINS) if known is None else known
                known += np.bincount(bins, minlength=_BINS + 1)[:_BINS]
            for key in [*self._of_item][: max(0, len(self._of_item) - _ITEMS)]:
                del self._of_item[key]
            self._lists += len(matches)
            self._since += len(matches)
            if 2 * self._since >= self._lists or abs(now_ms - self._used_ms) >= _RENEW_MS:
                self._renew(now_ms)

    def spend(self, wanted: float, expected: float, explored: int) -> None:
        """Note how many items lists were to explore, how many were expected, how many they did."""
        with self._lock:
            self._owed += wanted - explored
            # With fewer lists every match counts as common, and the correction would be wrong.
            if self._lists > _OWN:
                self._wanted += wanted
                self._expected += expected

    def __call__(
        self, keys: NDArray[np.uint64], matches: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the share of lists that match an item at least as well, f64 [b, n].

        keys: u64 [n]; matches: f64 [b, n]. Infinite where there is none (NaN).
        """
        with self._lock:
            of_all, used = self._used_of_all, self._used
        common = (of_all + 1) / (of_all[0] + 1)
        rarity = np.stack(
            [
                (own + _OWN * common) / (own[0] + _OWN)
                for own in (used.get(key, np.zeros(_BINS)) for key in keys.tolist())
            ]
        )
        bins = _bin(matches)
        found = rarity[np.arange(len(keys)), np.minimum(bins, _BINS - 1)]
        return np.where(bins == _BINS, np.inf, found)

    def _renew(self, now_ms: int) -> None:
        self._used = {key: _at_least(counts) for key, counts in self._of_item.items()}
        self._used_of_all = np.sum([*self._used.values()], axis=0)
        self._since, self._used_ms = 0, now_ms
        if self._expected > 0:
            ratio = (self._wanted * self._making_up / self._expected) ** _STEP
            self._follows = float(np.clip(self._follows * ratio, *_CORRECTIONS))
            # Users who may see no new item explore nothing: others do not make up for them.
            most = 0.0 if self._follows == _CORRECTIONS[1] else _OWED * self._wanted
            self._owed = min(self._owed, most)
            # As far as a period like the last one can.
            self._making_up = float(np.clip(1.0 + self._owed / self._wanted, *_MAKING_UP))
            self._wanted = self._expected = 0.0
        if self._lists > _KEPT:
            self._lists /= 2
            self._of_item = {key: counts / 2 for key, counts in self._of_item.items()}


def _at_least(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cumsum(counts[::-1])[::-1]


def _bin(matches: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bins of matches, _BINS for NaN."""
    bins = np.clip((matches + 1) * (_BINS / 2), 0, _BINS - 1)
    return np.where(np.isnan(matches), _BINS, bins).astype(np.int64)
