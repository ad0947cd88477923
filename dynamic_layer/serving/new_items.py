"""Which items are new, and how much demand is to be expected of them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.policies.exploration import DRAWS, beliefs, drawn, relative_demand
from dynamic_layer.policies.in_force import InForce
from dynamic_layer.policies.rules import Explore

__all__ = ["ItemsToExplore", "KnownItems", "NewItemFinder"]

#: Milliseconds after which the new items, and the beliefs about them, are computed again.
REFRESH_MS = 10_000
#: New items that are explored at one time, the newest ones.
MOST_NEW = 1_000
#: Neighbours by text whose demand says what a new item's may be.
NEIGHBOURS = 20
#: A type's few launches are judged as if there were so many more, of average demand.
_SHRUNK = 5.0
_DAY_MS = 86_400_000
_BLOCK = 64
#: Rules whose new items are kept: one for each list, and those of a policy before.
_RULES = 32


class KnownItems(Protocol):
    """What exploration reads of a recommender; rows of items that came later are behind all."""

    @property
    def bundle_items(self) -> int:
        """Number of items that the bundle has."""
        ...

    def texts(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text vectors of rows, f32 [..., dt], of unit length."""
        ...

    def shown_and_taken(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how often items were shown, and of it taken, i64 [n] each."""
        ...

    def live_demand(self, now_ms: int) -> NDArray[np.float32]:
        """Return recent demand of all items in all markets, f32 [n]."""
        ...


@dataclass(frozen=True, kw_only=True)
class ItemsToExplore:
    """New items of a rule at one time.

    rows: i64 [n]. shown, taken: i64 [n], how often so far. expected: f64 [n], mean of the belief in
    "taken per shown". draws: f64 [n, DRAWS] from the belief; they fall to 0 as the item graduates.
    graduated: number of items that are as young, and were shown often enough. items, made_ms:
    number of all items, and the time.
    """

    rows: NDArray[np.int64]
    shown: NDArray[np.int64]
    taken: NDArray[np.int64]
    expected: NDArray[np.float64]
    draws: NDArray[np.float64]
    graduated: int
    items: int
    made_ms: int


class NewItemFinder:
    """Finds the new items of one recommender. Not thread-safe."""

    def __init__(self, in_force: InForce, known: KnownItems, index: ItemIndex) -> None:
        """Read of a recommender's items; index: of the same ones."""
        self._in_force, self._known, self._index = in_force, known, index
        self._new: dict[Explore, ItemsToExplore] = {}
        self._near: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def __call__(
        self,
        rule: Explore,
        keys: NDArray[np.uint64],
        slots: NDArray[np.int64],
        types: NDArray[np.int64],
        now_ms: int,
    ) -> ItemsToExplore:
        """Return what is new; the columns' lock is not held.

        keys: u64 [n], slots: i64 [n] in the columns, types: i64 [n], of all items by row.
        """
        known = self._new.get(rule)
        if known is None or known.items != len(keys) or abs(now_ms - known.made_ms) >= REFRESH_MS:
            if len(self._new) > _RULES:
                self._new.clear()
            known = self._new[rule] = self._find(rule, keys, slots, types, now_ms)
        return known

    def _find(
        self,
        rule: Explore,
        keys: NDArray[np.uint64],
        slots: NDArray[np.int64],
        types: NDArray[np.int64],
        now_ms: int,
    ) -> ItemsToExplore:
        with self._in_force.lock:
            column = self._in_force.columns.column(rule.attribute)
            age_days = (now_ms - column.numbers(slots, "time")) / _DAY_MS
        recent = (age_days >= 0) & (age_days <= rule.days)
        late = np.isnan(age_days) & (np.arange(len(keys)) >= self._known.bundle_items)
        rows = np.flatnonzero(recent | late)
        rows = rows[~self._index.is_removed(rows)]
        shown, taken = self._known.shown_and_taken(rows)
        newest = np.argsort(np.nan_to_num(age_days[rows]), kind="stable")
        chosen = np.sort(newest[shown[newest] < rule.graduate][:MOST_NEW])
        graduated = int((shown >= rule.graduate).sum())
        rows, shown, taken = rows[chosen], shown[chosen], taken[chosen]
        expected, draws = np.zeros(0), np.zeros((0, DRAWS))
        if len(rows):
            demand = self._known.live_demand(now_ms).astype(np.float64)
            prior = relative_demand(*self._prior(rows, types, demand, recent))
            shape, rate = beliefs(prior, shown, taken)
            expected, draws = shape / rate, drawn(keys[rows], shape, rate)
            # An item needs less as more is known: its part goes to 0 until it graduates.
            draws *= (1.0 - shown / rule.graduate)[:, None]
        return ItemsToExplore(
            rows=rows, shown=shown, taken=taken, expected=expected, draws=draws,
            graduated=graduated, items=len(keys), made_ms=now_ms,
        )  # fmt: skip

    def _prior(
        self,
        rows: NDArray[np.int64],
        types: NDArray[np.int64],
        demand: NDArray[np.float64],
        recent: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the arguments of `relative_demand`."""
        self._find_near(rows, types)
        near = np.stack([self._near[row][0] for row in rows.tolist()])
        weight = np.stack([self._near[row][1] for row in rows.tolist()])
        average, launch = np.zeros(len(rows)), np.ones(len(rows))
        for number in np.unique(types[rows]).tolist():
            of_type = np.flatnonzero(types[: self._known.bundle_items] == number)
            if not len(of_type):
                continue
            mine, new = types[rows] == number, of_type[recent[of_type]]
            average[mine] = demand[of_type].mean()
            total = demand[new].sum() + _SHRUNK * demand[of_type].mean()
            launch[mine] = total / max((len(new) + _SHRUNK) * demand[of_type].mean(), 1e-12)
        return demand[near], weight, average, launch

    def _find_near(self, rows: NDArray[np.int64], types: NDArray[np.int64]) -> None:
        """Find the neighbours of items that have none yet: known items of the same type."""
        missing = np.array([row for row in rows.tolist() if row not in self._near], np.int64)
        for number in np.unique(types[missing]).tolist():
            of_type = np.flatnonzero(types[: self._known.bundle_items] == number)
            texts = self._known.texts(of_type)
            mine = missing[types[missing] == number]
            for block in range(0, len(mine), _BLOCK):
                own = mine[block : block + _BLOCK]
                cosine = self._known.texts(own) @ texts.T
                cosine[own[:, None] == of_type[None]] = -1.0
                best = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
                weight = np.maximum(np.take_along_axis(cosine, best, axis=1), 0.0)
                for row, place, worth in zip(own.tolist(), best, weight, strict=True):
                    near, value = np.zeros(NEIGHBOURS, np.int64), np.zeros(NEIGHBOURS)
                    near[: len(place)], value[: len(place)] = of_type[place], worth
                    self._near[row] = (near, value)
