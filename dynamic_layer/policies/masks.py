"""Which items of a recommender a condition holds for, kept up to date with the columns."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.items.features import ItemRows
from dynamic_layer.policies.columns import ItemColumns
from dynamic_layer.policies.expressions import Expression
from dynamic_layer.policies.moment import Moment
from dynamic_layer.policies.policy import Binding

__all__ = ["RowMasks"]

#: Masks that are kept, one byte for each item; a user's values make masks of their own.
KEPT = 64


@dataclass(frozen=True, kw_only=True)
class _Kept:
    mask: NDArray[np.bool_]
    version: int
    expression: Expression


class RowMasks:
    """Conditions over the items of one recommender, by row. Not thread-safe.

    A mask is evaluated once for each distinct binding; later only for the items that changed. While
    nothing changes, the same array is returned, so that results derived from it can be cached too.
    """

    def __init__(self, columns: ItemColumns) -> None:
        """columns: the catalogue's; `keys` come with each question."""
        self.columns = columns
        self._slot_of_row = np.zeros(0, np.int64)
        self._row_of_slot = np.full(1, -1, np.int64)
        # Of the columns when rows and slots were last compared: changes since then come again.
        self._version = 0
        self._masks: OrderedDict[tuple[int, Binding, float], _Kept] = OrderedDict()
        self._both: OrderedDict[
            tuple[int, int], tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
        ] = OrderedDict()

    def slots(self, keys: NDArray[np.uint64], rows: ItemRows) -> NDArray[np.int64]:
        """Return the slots of all rows, i64 [n]; 0 where the catalogue does not know an item.

        keys: u64 [n], of the items by row; they only grow. rows: finds rows by key.
        """
        before, known = len(self._slot_of_row), len(self._row_of_slot)
        self._version = self.columns.version
        if len(keys) > before:
            found = self.columns.slots_of(keys[before:])
            self._slot_of_row = np.concatenate([self._slot_of_row, found])
            self._row_of_slot = np.pad(
                self._row_of_slot, (0, max(0, len(self.columns) - known)), constant_values=-1
            )
            there = np.flatnonzero(found)
            self._row_of_slot[found[there]] = before + there
        if len(self.columns) > known:
            new = rows(self.columns.keys[known:])
            if len(self._row_of_slot) == known:
                self._row_of_slot = np.concatenate([self._row_of_slot, new])
            self._row_of_slot[known:] = new
            there = np.flatnonzero(new >= 0)
            self._slot_of_row[new[there]] = known + there
        return self._slot_of_row

    def mask(
        self, expression: Expression, binding: Binding, now_ms: int, slots: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return for which rows a condition holds, bool [n]; never written to afterwards.

        slots: of all rows, from `slots`; the columns' lock is held. now_ms: to the second.
        """
        bound = tuple(pair for pair in binding if pair[0] in expression.user)
        second = now_ms // 1_000 * 1_000 if expression.timed else 0
        key = (id(expression), bound, second)
        kept = self._masks.get(key)
        mask = None
        if kept is not None:
            mask = self._updated(kept, bound, second, slots)
        if mask is None:
            mask = expression(Moment(self.columns, slots, dict(bound), float(second)))
        self._masks[key] = _Kept(mask=mask, version=self._version, expression=expression)
        self._masks.move_to_end(key)
        while len(self._masks) > KEPT:
            self._masks.popitem(last=False)
        return mask

    def both(self, mask: NDArray[np.bool_], other: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Return the intersection of two masks; the same array while both are unchanged."""
        if other is None:
            return mask
        key = (id(mask), id(other))
        known = self._both.get(key)
        if known is None:
            # Both are held with it, so that no other array has their ids meanwhile.
            self._both[key] = known = (mask, other, mask & other)
            while len(self._both) > KEPT:
                self._both.popitem(last=False)
        return known[2]

    def _updated(
        self, kept: _Kept, bound: Binding, second: float, slots: NDArray[np.int64]
    ) -> NDArray[np.bool_] | None:
        """Return a mask after changes of its items and with new rows; None if too much changed."""
        changed, before = self.columns.changed_since(kept.version), len(kept.mask)
        if changed is None or len(slots) < before:
            return None

        def holds(slots: NDArray[np.int64]) -> NDArray[np.bool_]:
            return kept.expression(Moment(self.columns, slots, dict(bound), second))

        mask = kept.mask
        changed = changed[changed < len(self._row_of_slot)]
        rows = self._row_of_slot[changed]
        there = (rows >= 0) & (rows < before)
        changed, rows = changed[there], rows[there]
        if len(rows):
            now = holds(changed)
            if (now != mask[rows]).any():
                mask = mask.copy()
                mask[rows] = now
        if len(slots) > before:
            mask = np.concatenate([mask, holds(slots[before:])])
        return mask
