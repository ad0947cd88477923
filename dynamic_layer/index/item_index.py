"""Nearest-neighbour search per type: what was built, what is fresh, and nothing that is gone."""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from dynamic_layer.index.building import build, folded, on_device
from dynamic_layer.index.built import BuiltIndex
from dynamic_layer.index.hits import Hits
from dynamic_layer.index.selected import Selections, search_selected
from dynamic_layer.index.state import (
    ALL_TYPES,
    IndexState,
    Tiers,
    sealed,
    search_built,
    search_fresh,
    with_added,
    with_folded,
    with_removed,
    with_restored,
)
from dynamic_layer.items.features import rows_by_type
from dynamic_layer.items.vector_store import VectorStore
from dynamic_layer.settings import SEPARATE_TYPES, IndexSettings

__all__ = ["Hits", "ItemIndex"]

logger = logging.getLogger(__name__)

_QUERIES = 256
# Exact search for these, over all items, is the larger part of a fold.
_QUERIES_AGAIN = 128
_NICE = 10
_MEASURED = "index-queries.safetensors"


class ItemIndex:
    """Finds the items with the greatest inner product, per item type or over all of them.

    With many types (more than `SEPARATE_TYPES`) the items are in a second index, over all types:
    a search for all of them is one search, not one for each type.

    Built from a bundle's vectors. Items that come later live in a small exact fresh tier, items
    that go are filtered out; both take effect at once. When many have come and gone, an index of
    their type with them is made aside, in a thread, and swapped in: so a search stays fast and
    memory bounded, but for three bytes for each row that ever was.

    Searches may run in any thread beside one that changes the index: what one of them reads is
    never changed, only replaced as a whole.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        type_number: NDArray[np.int64],
        settings: IndexSettings,
        *,
        queries: NDArray[np.float32] | None = None,
        scale: NDArray[np.float32] | None = None,
        built: dict[int, BuiltIndex] | None = None,
    ) -> None:
        """vectors: f32 [n, d]; type_number: i64 [n]; built: index per type, from `load`.

        queries: f32 [s, d], like those that will come: how much of the lists is read is measured
        with them; sums of two items' vectors when None. scale: f32 [d], factors after which the
        vectors' columns count alike; None where they do.
        """
        self._settings, self._scale = settings, scale
        if queries is None or not len(queries):
            queries = _pairs(vectors)
        self._queries = np.ascontiguousarray(queries[-_QUERIES:], np.float32)
        store, nothing = VectorStore.of(vectors), VectorStore.of(vectors[:0])
        if built is None:
            rows = rows_by_type(type_number)
            if len(rows) > SEPARATE_TYPES:
                rows[ALL_TYPES] = np.arange(len(vectors))
            built = {number: self._build(store, own) for number, own in rows.items()}
        tiers = {number: Tiers(built=made, fresh=nothing) for number, made in built.items()}
        self._state = IndexState(
            tiers=tiers,
            vectors=store,
            types=type_number.astype(np.int16),
            removed=np.zeros(len(vectors), np.bool_),
        )
        self._selections = Selections()
        self._changing = threading.Lock()
        self._folding: threading.Thread | None = None
        # Rows that changed while an index is made aside, which reads the vectors before.
        self._changed_since: NDArray[np.int64] | None = None

    def _build(self, vectors: VectorStore, rows: NDArray[np.int64]) -> BuiltIndex:
        return build(vectors, rows, self._settings, queries=self._queries, scale=self._scale)

    def __len__(self) -> int:
        """Items that a search can return."""
        return len(self._state.types) - self._state.removals

    @property
    def removed(self) -> int:
        """Rows that are never returned."""
        return self._state.removals

    @property
    def built(self) -> dict[int, BuiltIndex]:
        """What is searched of each type, beside the fresh tier."""
        tiers = self._state.tiers
        return {t: tier.built for t, tier in tiers.items() if tier.built is not None}

    @property
    def fresh(self) -> int:
        """Items in the fresh tier."""
        return sum(
            tier.fresh.size - tier.fresh_gone
            for number, tier in self._state.tiers.items()
            if number != ALL_TYPES
        )

    def is_removed(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows were removed, bool of the same shape; rows below 0 were not."""
        removed = self._state.removed
        if not len(removed):
            return np.zeros(rows.shape, np.bool_)
        return removed[np.maximum(rows, 0)] & (rows >= 0)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of rows, f32 [..., d]; of removed rows perhaps zeros."""
        return self._state.vectors(rows)

    def copy(self) -> "ItemIndex":
        """Return an index that shares what was built, with additions and removals of its own."""
        with self._changing:
            # Neither appends to what the other has.
            self._state = sealed(self._state)
            other = copy(self)
        other._changing, other._folding = threading.Lock(), None
        other._selections, other._changed_since = Selections(), None
        return other

    def add(self, vectors: NDArray[np.float32], type_number: NDArray[np.int64]) -> None:
        """Append items to the fresh tier, f32 [m, d] and i64 [m]; rows follow the last one."""
        with self._changing:
            self._state = with_added(self._state, vectors, type_number)
        self._fold_if_due()

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Return these rows no more, unless they are restored."""
        with self._changing:
            self._state = with_removed(self._state, rows)
        self._fold_if_due()

    def restore(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Return removed rows again, i64 [m], with vectors of those that have none here any more.

        vectors: f32 [m, d].
        """
        with self._changing:
            self._state = with_restored(self._state, rows, vectors)
        self._fold_if_due()

    def update(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Give some rows other vectors, i64 [m] and f32 [m, d].

        All vectors are copied, and so are the codes of the types that have such rows: what a search
        reads stays as it is.
        """
        if not len(rows):
            return
        with self._changing:
            state = self._state
            store = state.vectors.updated(rows, vectors)
            tiers = {
                number: self._updated(tier, rows, vectors, store, len(state.types))
                for number, tier in state.tiers.items()
            }
            self._state = replace(state, tiers=tiers, vectors=store)
            # What a filter left is kept with the vectors that it had.
            self._selections = Selections()
            if self._changed_since is not None:
                self._changed_since = np.union1d(self._changed_since, rows)

    def _updated(
        self,
        tier: Tiers,
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
        store: VectorStore,
        count: int,
    ) -> Tiers:
        """Return a tier with other vectors of those rows that it has; count: of all rows."""
        fresh, built = tier.fresh.updated(rows, vectors), tier.built
        if built is not None:
            built = self._recoded(built, rows, store, count)
        return replace(tier, built=built, fresh=fresh)

    def _recoded(
        self, built: BuiltIndex, rows: NDArray[np.int64], store: VectorStore, count: int
    ) -> BuiltIndex:
        """Return what was built with the store's vectors of those rows that it has."""
        changed = np.zeros(count, np.bool_)
        changed[rows] = True
        if not changed[built.rows].any():
            return built
        return on_device(built.updated(changed, store), self._settings)

    def _due(self) -> list[int]:
        """Types whose changes are more than a search should have to look at."""
        settings = self._settings
        return [
            t
            for t, tier in self._state.tiers.items()
            if tier.changes
            > max(settings.fresh_limit, settings.fresh_share * len(tier.built or ()))
        ]

    def _fold_if_due(self) -> None:
        if self._due() and (self._folding is None or not self._folding.is_alive()):
            self._folding = threading.Thread(target=self._fold_due, name="fold", daemon=True)
            self._folding.start()

    def _fold_due(self) -> None:
        _yield_to_searches()
        while due := self._due():
            for number in due:
                try:
                    self.fold(number)
                except Exception:
                    # Searches go on with what there is, and the next change tries again.
                    logger.exception("no index with the fresh items of type %d", number)
                    return

    def settle(self) -> None:
        """Wait until no index is being made aside."""
        if self._folding is not None:
            self._folding.join()

    def fold(self, number: int) -> None:
        """Make an index of one type with what came and without what went, and search that.

        Changes may go on meanwhile; one fold at a time.
        """
        with self._changing:
            before, self._changed_since = self._state, np.zeros(0, np.int64)
        tier = before.tiers[number]
        came = tier.fresh.held[0]
        built = folded(
            tier.built,
            came[~before.removed[came]],
            before.removed,
            before.vectors,
            self._settings,
            queries=self._queries[-_QUERIES_AGAIN:],
            scale=self._scale,
        )
        with self._changing:
            state = self._state
            late, self._changed_since = self._changed_since, None
            if built is not None and late is not None and len(late):
                built = self._recoded(built, late, state.vectors, len(state.types))
            self._state = with_folded(state, number, built)

    def search_type(
        self,
        queries: NDArray[np.float32],
        type_number: int,
        k: int,
        exclude: NDArray[np.int64] | None = None,
        *,
        rough: bool = False,
        allowed: NDArray[np.bool_] | None = None,
        once: bool = False,
    ) -> Hits:
        """Return the `k` best items of one type (`ALL_TYPES` where there are many) for each query.

        queries: f32 [b, d]; exclude: i64 [b, e], rows that a query must not get, -1 for none.
        allowed: bool [rows], the only rows that are searched; all when None. What it leaves is kept
        for the next search with the same object, which is not to change, unless `once`.
        rough: for candidates that something else ranks: more of the best may be missing than the
        settings' recall allows, and a search for many costs a third less.
        """
        state = self._state
        tier = state.tiers.get(type_number)
        if tier is None:
            return Hits.join([], len(queries)).best(k)
        queries = np.ascontiguousarray(queries, np.float32)
        spare = 0
        if exclude is not None:
            of_type = exclude >= 0
            if type_number != ALL_TYPES:
                of_type &= state.types[np.maximum(exclude, 0)] == type_number
            spare = int(of_type.sum(axis=1).max(initial=0))
        if allowed is not None:
            selections = Selections() if once else self._selections
            parts = [search_selected(state, tier, queries, k + spare, allowed, selections)]
        else:
            parts = [
                search_built(state, tier, queries, k + spare, rough=rough),
                search_fresh(state, tier, queries, k + spare),
            ]
        return Hits.join(parts, len(queries)).best(k, exclude if spare else None)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        types: Sequence[int] = (),
        exclude: NDArray[np.int64] | None = None,
        rough: bool = False,
        allowed: NDArray[np.bool_] | None = None,
        once: bool = False,
    ) -> Hits:
        """Return the `k` best items of some types (none named: all) for each query.

        All types are one search where there are many. rough, allowed, once: see `search_type`.
        """
        wanted = list(types) or self.known_types()
        if ALL_TYPES in self._state.tiers and set(wanted) >= set(self.known_types()):
            wanted = [ALL_TYPES]
        parts = [
            self.search_type(queries, t, k, exclude, rough=rough, allowed=allowed, once=once)
            for t in wanted
        ]
        return Hits.join(parts, len(queries)).best(k)

    def known_types(self) -> list[int]:
        """Return the numbers of the types that have items, ascending."""
        return sorted(self._state.tiers.keys() - {ALL_TYPES})

    def save(self, folder: Path) -> None:
        """Write one FAISS file per type, and of all types, to the folder, and their queries.

        Raises ValueError where items came or went: rows are those of the vectors at the start.
        """
        state = self._state
        if state.removals or len(state.types) > len(state.vectors.base):
            raise ValueError("expected an index as it was built, got one with later changes")
        for number, built in self.built.items():
            built.save(_file(folder, number))
        save_file({"queries": self._queries}, folder / _MEASURED)

    @classmethod
    def load(
        cls,
        folder: Path,
        vectors: NDArray[np.float32],
        type_number: NDArray[np.int64],
        settings: IndexSettings,
        *,
        scale: NDArray[np.float32] | None = None,
    ) -> Self:
        """Read what `save` wrote. Raises ValueError when a file does not fit the vectors."""
        parts = rows_by_type(type_number)
        if _file(folder, ALL_TYPES).exists():  # not in bundles of earlier versions
            parts[ALL_TYPES] = np.arange(len(vectors))
        built = {}
        for number, rows in parts.items():
            made = BuiltIndex.load(_file(folder, number), rows, vectors.shape[1])
            built[number] = on_device(made, settings)
        file = folder / _MEASURED
        queries = load_file(file)["queries"] if file.exists() else None
        return cls(vectors, type_number, settings, queries=queries, scale=scale, built=built)


def _file(folder: Path, number: int) -> Path:
    return folder / f"index-{'all' if number == ALL_TYPES else number}.faiss"


def _yield_to_searches() -> None:
    """Give this thread what time searches leave, where a thread can have a priority of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _pairs(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return queries where none are known: sums of two items."""
    if not len(vectors):
        return vectors
    rows = np.random.default_rng(0).integers(len(vectors), size=(2, _QUERIES))
    return np.asarray(vectors[rows[0]] + vectors[rows[1]], np.float32)
