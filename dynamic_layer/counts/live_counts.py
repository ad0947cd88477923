"""Counts of pairs of items that go on from those of a static bundle, event by event."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.items.features import ItemRows
from static_layer.graph import edge_weights, heaviest

__all__ = ["LiveCounts"]

Keys = NDArray[np.uint64]
#: Pairs that wait to be summed at most; they take 32 MB.
_WAITING = 4_000_000
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFF_FFFF)


class LiveCounts:
    """How many users have both items of a pair, in the form and order of the merged state's counts.

    Guaranteed: the counts are sums, so that they do not depend on the order of events, as long as
    there are at most `most` of them. Of more, each item keeps those with the greatest weights as
    edges (static_layer.graph); which ones then depends on when they were cut.

    item_keys: u64[n], ascending. In the same order as the merged state has them, equal counts give
    an equal graph: which of two edges of one weight is left out depends on their order.
    """

    def __init__(self, most: int) -> None:
        """Begin with nothing; most: counts that are held at most."""
        self._most = most
        self.item_keys: Keys = np.zeros(0, np.uint64)
        self._rows = ItemRows(self.item_keys)
        self._pairs: Keys = np.zeros(0, np.uint64)  # ascending, each once: lesser row, greater row
        self.count: NDArray[np.int32] = np.zeros(0, np.int32)
        self._waiting: list[Keys] = []
        self._waits = 0

    @classmethod
    def of(cls, item_keys: Keys, matrix: sp.csr_array, most: int) -> Self:
        """Go on from counts [n, n] of items u64 [n]; a pair may stand in one of its rows alone."""
        half = sp.triu(matrix.maximum(matrix.T)).tocoo()
        keys = np.sort(item_keys)
        place = np.searchsorted(keys, item_keys)
        pairs = _pairs(place[half.row], place[half.col])
        order = np.argsort(pairs)
        arrays = {"keys": keys, "pairs": pairs[order], "count": half.data[order]}
        return cls.restored(arrays, most)

    @property
    def left(self) -> NDArray[np.int32]:
        """i32 [m], places in `item_keys`, of what was summed."""
        return (self._pairs >> _HALF).astype(np.int32)

    @property
    def right(self) -> NDArray[np.int32]:
        """i32 [m]; an item with itself counts its users."""
        return (self._pairs & _LOW).astype(np.int32)

    def add(self, one: Keys, other: Keys) -> None:
        """Count pairs of item keys u64 [k] once more each; an item with itself is a user of it."""
        known = np.union1d(one, other)
        if (self._rows(known) < 0).any():
            self._meet(known)
        self._waiting.append(_pairs(self._rows(one), self._rows(other)))
        self._waits += len(one)
        if self._waits > _WAITING:
            self.sum()

    def sum(self) -> None:
        """Sum what waits: `left`, `right` and `count` have all pairs from then on."""
        if not self._waits:
            return
        pairs, added = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting, self._waits = [], 0
        place = np.searchsorted(self._pairs, pairs)
        known = place < len(self._pairs)
        known[known] = self._pairs[place[known]] == pairs[known]
        self.count[place[known]] += added[known].astype(np.int32)
        new = ~known
        self._pairs = np.insert(self._pairs, place[new], pairs[new])
        self.count = np.insert(self.count, place[new], added[new].astype(np.int32))
        if len(self._pairs) > self._most:
            self._cut()

    def saved(self) -> dict[str, NDArray[Any]]:
        """Return the counts as arrays."""
        self.sum()
        return {"keys": self.item_keys, "pairs": self._pairs, "count": self.count}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]], most: int) -> Self:
        """Go on from what `saved` returned. Raises KeyError for other arrays."""
        found = cls(most)
        found.item_keys = np.array(arrays["keys"], np.uint64)
        found._rows = ItemRows(found.item_keys)
        found._pairs = np.array(arrays["pairs"], np.uint64)
        found.count = np.array(arrays["count"], np.int32)
        return found

    def _meet(self, keys: Keys) -> None:
        """Add items; the order of the pairs stays."""
        self.sum()
        known = np.union1d(self.item_keys, keys)
        place = np.searchsorted(known, self.item_keys)
        self._pairs = _pairs(place[self.left], place[self.right])
        self.item_keys, self._rows = known, ItemRows(known)

    def _cut(self) -> None:
        """Keep three quarters of what there may be, so that not every sum ends with a cut."""
        left, right = self.left, self.right
        own, n = left == right, len(self.item_keys)
        users = np.zeros(n, np.int64)
        users[left[own]] = self.count[own]
        kept, apart = own.copy(), np.flatnonzero(~own)
        left, right = left[apart], right[apart]
        weight = edge_weights(self.count[apart], users[left], users[right])
        kept[apart] = heaviest(left, right, weight, max(3 * self._most // (4 * n) - 1, 1))
        self._pairs, self.count = self._pairs[kept], self.count[kept]


def _pairs(one: NDArray[np.integer], other: NDArray[np.integer]) -> Keys:
    """Return the number of each pair of rows, u64 [k], whichever comes first."""
    least, most = np.minimum(one, other), np.maximum(one, other)
    pairs: Keys = (least.astype(np.uint64) << _HALF) | most.astype(np.uint64)
    return pairs
