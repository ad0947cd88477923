"""A ring of entries: what examples have several of, each example's entries behind each other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["EntryRing"]


class EntryRing:
    """Entries of the newest examples; the oldest are overwritten.

    Places of examples are the caller's: row numbers of columns of its own, below `capacity`.
    """

    def __init__(self, capacity: int, most: int, columns: Mapping[str, DTypeLike]) -> None:
        """Reserve the memory. most: entries held, at most; columns: dtype of each by name."""
        self._most, self._filled = most, 0  # entries ever written
        self._columns = {name: np.zeros(most, dtype) for name, dtype in columns.items()}
        # Place of each example's first entry, counted from the first entry ever written.
        self._start = np.zeros(capacity, np.int64)

    def reserve(self, length: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Take places for the entries of examples, i64 [b]; return where each one's begin.

        And which examples' entries are not overwritten by those behind them, bool [b].
        """
        start = self._filled + np.concatenate([[0], np.cumsum(length)])
        self._filled = int(start[-1])
        return start[:-1], start[:-1] >= self._filled - self._most

    def write(
        self,
        places: NDArray[np.int64],
        start: NDArray[np.int64],
        length: NDArray[np.int64],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Write the entries of examples at some places; start, length: i64 [b]; columns: [b, w]."""
        self._start[places] = start
        for name, held in self._columns.items():
            entries = columns[name]
            inside = np.arange(entries.shape[1]) < length[:, None]
            at = (start[:, None] + np.arange(entries.shape[1]))[inside] % self._most
            held[at] = entries[inside]

    def lost(self, places: NDArray[np.int64]) -> int:
        """Return how many of the examples at some places, oldest first, are overwritten."""
        return int(np.searchsorted(self._start[places], self._filled - self._most))

    def take(
        self, places: NDArray[np.int64], length: NDArray[np.int64], width: int
    ) -> dict[str, NDArray[Any]]:
        """Return the first entries of the examples at some places, [b, width] each, then zeros."""
        order = np.arange(width)
        inside = order < length[:, None]
        at = (self._start[places][:, None] + order) % self._most
        return {
            name: np.where(inside, held[at], held.dtype.type(0))
            for name, held in self._columns.items()
        }
