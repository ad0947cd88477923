"""How often the answer is among a list's candidates, by item type."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reach"]

#: Lists' worth of the average of all types, which a type with few lists has.
_PRIOR = 20.0


class Reach:
    """Counts, for each item type, training lists and those whose target was a candidate.

    A head says which candidate is taken if one of them is. Types differ in how often that is so,
    and a list over several types needs the chance of both.
    """

    def __init__(self, capacity: int, counts: Mapping[str, Sequence[float]] | None = None) -> None:
        """capacity: lists that count, about, the newest; counts: of `saved`."""
        self._capacity = capacity
        self._counts = {name: (float(n), float(hit)) for name, (n, hit) in (counts or {}).items()}

    def add(self, types: Sequence[str], number: NDArray[np.int64], hit: NDArray[np.bool_]) -> None:
        """Count lists: their type numbers i64 [b], and whether they hold the target, bool [b]."""
        kept = max(0.0, 1 - len(number) / self._capacity)
        self._counts = {name: (kept * n, kept * h) for name, (n, h) in self._counts.items()}
        made = np.bincount(number, minlength=len(types))
        hits = np.bincount(number, weights=hit, minlength=len(types))
        for place in np.flatnonzero(made).tolist():
            n, h = self._counts.get(types[place], (0.0, 0.0))
            self._counts[types[place]] = (n + float(made[place]), h + float(hits[place]))

    def shares(self) -> dict[str, float]:
        """Return the share of each counted type's lists that held the target, above 0."""
        made = sum(n for n, _ in self._counts.values())
        average = (sum(hit for _, hit in self._counts.values()) + 1) / (made + 1)
        return {
            name: (hit + _PRIOR * average) / (n + _PRIOR) for name, (n, hit) in self._counts.items()
        }

    def saved(self) -> dict[str, list[float]]:
        """Return the counts, for a checkpoint."""
        return {name: list(counts) for name, counts in self._counts.items()}
