"""Rows of items that are served in the place of a bundle's own."""

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle, served_vectors
from dynamic_layer.bundles.row_delta import BundleRows
from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.head_ranker import HeadRanker

__all__ = ["ServedRows"]


class ServedRows:
    """What an index and a head hold of the items, with changed rows or without.

    changed: the rows that are served; None where there are none. checksum: `BundleRows.checksum`
    of what the index holds of them; 0 without any.
    """

    def __init__(self, bundle: DynamicBundle, index: ItemIndex, head: HeadRanker | None) -> None:
        """index, head: of the bundle's items, and of those that are added."""
        self._bundle, self._index, self._head = bundle, index, head
        self.changed: BundleRows | None = None
        self.checksum = 0
        # What added items have without changed rows.
        self._added = np.zeros((0, index.vectors(np.zeros(0, np.int64)).shape[1]), np.float32)

    def add_items(self, served: NDArray[np.float32]) -> None:
        """Take note of what the index holds of items behind all others, f32 [m, d + 1]."""
        self._added = np.concatenate([self._added, served])

    def restore(self, rows: NDArray[np.int64], rows_of: ItemRows) -> int:
        """Have removed rows be found again, i64 [m]; return how many were removed."""
        rows = rows[self._index.is_removed(rows)]
        if len(rows):
            self._index.restore(rows, self._unchanged(rows))
            # What came of changed rows meanwhile may have found no vector to change.
            self.serve(self.changed, rows_of)
        return len(rows)

    def serve(self, changed: BundleRows | None, rows_of: ItemRows) -> int:
        """Serve these rows in the place of the bundle's own; return how many rows changed.

        Rows that were served before and are not among them are the bundle's again; None: all are.
        Rows of items that are not here yet are served once these are added. Lists may be made
        beside it, by the rows before or after. rows_of: finds items. Raises ValueError for rows of
        another width.
        """
        before = self.changed
        keys = [one.keys for one in (before, changed) if one is not None]
        if not keys:
            return 0
        rows = rows_of(np.unique(np.concatenate(keys)))
        rows = np.sort(rows[rows >= 0])
        served = self._unchanged(rows)
        if changed is not None and len(changed):
            if changed.served.shape[1] != served.shape[1]:
                raise ValueError(
                    f"expected rows of width {served.shape[1]}, got {changed.served.shape[1]}"
                )
            own = rows_of(changed.keys)
            known = own >= 0
            served[np.searchsorted(rows, own[known])] = changed.served[known]
        # A list that is made meanwhile must not pass for one of the bundle alone: see
        # `Recommender.made`.
        self.changed = before if changed is None else changed
        differ = (served != self._index.vectors(rows)).any(axis=1)
        rows, served = rows[differ], served[differ]
        self._index.update(rows, served)
        if self._head is not None and len(rows):
            self._head.update_items(rows, served[:, :-1])
        self.changed, self.checksum = changed, self._checked(changed, rows_of)
        return len(rows)

    def _checked(self, changed: BundleRows | None, rows_of: ItemRows) -> int:
        """Return the checksum of what the index holds of changed rows, later items as zeros."""
        if changed is None or not len(changed):
            return 0
        rows = rows_of(changed.keys)
        served = self._index.vectors(np.maximum(rows, 0)) * (rows >= 0)[:, None]
        return changed.checksum(self._bundle.made, served)

    def _unchanged(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the index holds of items without changed rows, f32 [m, d + 1]."""
        bundle, first = self._bundle, len(self._bundle.item_keys)
        served = np.zeros((len(rows), self._added.shape[1]), np.float32)
        early = rows < first
        served[early] = served_vectors(bundle.vectors[rows[early]], bundle.bias[rows[early]])
        served[~early] = self._added[rows[~early] - first]
        return served
