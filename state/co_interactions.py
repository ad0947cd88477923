"""Windowed co-interaction counts as one sparse symmetric matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from state.items import ItemNumbers
from state.run_files import RunFiles
from state.runs import Runs, read_runs
from state.settings import StateSettings

__all__ = ["CoInteractions", "read_co_interactions"]

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class CoInteractions:
    """How many users had both items inside the window, the upper triangle of `H^T H`.

    item_keys: uint64 [n], ascending, one for a row.
    left:      int32 [m] row numbers; left <= right, each pair once, sorted by (left, right).
    right:     int32 [m].
    count:     int32 [m], all positive. The diagonal (left == right) counts an item's users.
    """

    item_keys: U64
    left: I32
    right: I32
    count: I32

    @classmethod
    def from_pairs(cls, left: U64, right: U64, count: npt.NDArray[np.int64]) -> "CoInteractions":
        """Sum counts by unordered pair of item keys and drop the zeros.

        Raises ValueError if a sum is negative: then the parts do not belong together.
        """
        item_keys, rows = np.unique(np.concatenate([left, right]), return_inverse=True)
        a, b = rows[: len(left)], rows[len(left) :]
        low, high = np.minimum(a, b), np.maximum(a, b)
        pair = low.astype(np.int64) * len(item_keys) + high
        unique, where = np.unique(pair, return_inverse=True)
        total = np.zeros(len(unique), np.int64)
        np.add.at(total, where, count)
        if (total < 0).any():
            raise ValueError("a co-interaction count is negative: the parts do not fit together")
        kept = total > 0
        return cls._of_rows(
            item_keys,
            (unique[kept] // max(len(item_keys), 1)).astype(np.int32),
            (unique[kept] % max(len(item_keys), 1)).astype(np.int32),
            total[kept].astype(np.int32),
        )

    @classmethod
    def sum(cls, parts: Sequence["CoInteractions"]) -> "CoInteractions":
        """Sum of the partitions' counts: the count over all users."""
        if not parts:
            empty = np.zeros(0, np.uint64)
            return cls.from_pairs(empty, empty, np.zeros(0, np.int64))
        return cls.from_pairs(
            np.concatenate([part.item_keys[part.left] for part in parts]),
            np.concatenate([part.item_keys[part.right] for part in parts]),
            np.concatenate([part.count.astype(np.int64) for part in parts]),
        )

    @classmethod
    def _of_rows(cls, item_keys: U64, left: I32, right: I32, count: I32) -> "CoInteractions":
        """Drop rows that no pair names any more."""
        used = np.zeros(len(item_keys), bool)
        used[left] = True
        used[right] = True
        renumbered = (np.cumsum(used) - 1).astype(np.int32)
        return cls(
            item_keys=item_keys[used],
            left=renumbered[left],
            right=renumbered[right],
            count=count,
        )

    @property
    def users(self) -> I32:
        """Users of each item inside the window, int32 [n]."""
        users = np.zeros(len(self.item_keys), np.int32)
        diagonal = self.left == self.right
        users[self.left[diagonal]] = self.count[diagonal]
        return users

    @property
    def pairs(self) -> int:
        """Number of unordered pairs of different items."""
        return int((self.left != self.right).sum())


def read_co_interactions(
    files: RunFiles, runs: Runs, items: ItemNumbers, settings: StateSettings, watermark: int
) -> CoInteractions:
    """Sum the adjacency runs of a state over the window that ends at `watermark`."""
    first = settings.window.first_live(watermark)
    parts = list(read_runs(files, runs, first))
    if not parts:
        return CoInteractions.sum([])
    item = np.concatenate([part.item for part in parts])
    neighbour = np.concatenate([part.neighbour for part in parts])
    delta = np.concatenate([part.delta for part in parts])
    # Both directions are stored; one is enough here.
    once = item <= neighbour
    pair = (item[once].astype(np.uint64) << np.uint64(32)) | neighbour[once]
    unique, where = np.unique(pair, return_inverse=True)
    total = np.bincount(where, delta[once], len(unique)).astype(np.int64)
    kept = total != 0
    keys = items.keys
    return CoInteractions.from_pairs(
        keys[(unique[kept] >> np.uint64(32)).astype(np.int64)],
        keys[(unique[kept] & np.uint64(0xFFFFFFFF)).astype(np.int64)],
        total[kept],
    )
