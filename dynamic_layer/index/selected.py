"""Search among the items that a filter leaves: exact where they are few, else inside FAISS."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.built import BuiltIndex
from dynamic_layer.index.hits import Hits
from dynamic_layer.index.state import IndexState, Tiers

__all__ = ["Selections", "search_selected"]

#: Items up to which all are compared: gathered once for a filter, then one product of matrices.
EXACT = 65_536
#: Selections that are kept, and bytes of vectors in them.
KEPT, KEPT_BYTES = 32, 64 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class _Selection:
    """The items of one tier that a filter leaves and that were not removed.

    rows: i64 [m], ascending; vectors: f32 [m, d], where they are few; bits: FAISS's set of ids.
    """

    allowed: NDArray[np.bool_]
    built: BuiltIndex
    rows: NDArray[np.int64]
    vectors: NDArray[np.float32] | None
    bits: NDArray[np.uint8] | None


class Selections:
    """What filters leave of what was built, kept while neither changes."""

    def __init__(self) -> None:
        """Start with none."""
        self._kept: OrderedDict[tuple[int, int, int], _Selection] = OrderedDict()

    def of(self, state: IndexState, built: BuiltIndex, allowed: NDArray[np.bool_]) -> _Selection:
        """Return what a filter leaves; allowed: bool [rows], the same object while it is equal."""
        key = (id(allowed), id(built), state.version)
        found = self._kept.get(key)
        if found is not None and found.allowed is allowed and found.built is built:
            self._keep(key, found)
            return found
        rows = np.sort(built.rows[allowed[built.rows] & ~state.removed[built.rows]])
        few = len(rows) <= EXACT or not built.lists
        bits = None
        if not few:
            keep = np.zeros(len(allowed), np.bool_)
            keep[rows] = True
            bits = np.packbits(keep, bitorder="little")
        found = _Selection(
            allowed=allowed,
            built=built,
            rows=rows,
            vectors=np.ascontiguousarray(state.vectors(rows)) if few and len(rows) else None,
            bits=bits,
        )
        self._keep(key, found)
        return found

    def _keep(self, key: tuple[int, int, int], found: _Selection) -> None:
        kept = OrderedDict(self._kept)
        kept[key] = found
        kept.move_to_end(key)
        while len(kept) > KEPT or (len(kept) > 1 and _bytes([*kept.values()]) > KEPT_BYTES):
            kept.popitem(last=False)
        self._kept = kept  # as a whole: searches run in several threads


def _bytes(selections: Sequence[_Selection]) -> int:
    return sum(0 if one.vectors is None else one.vectors.nbytes for one in selections)


def search_selected(
    state: IndexState,
    tier: Tiers,
    queries: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_],
    selections: Selections,
) -> Hits:
    """Return the best items that a filter leaves, `k` of them or more, in no order.

    queries: f32 [b, d]; allowed: bool [rows], rows behind its end are not allowed.
    """
    if len(allowed) < len(state.types):
        allowed = np.pad(allowed, (0, len(state.types) - len(allowed)))
    parts = []
    if tier.built is not None:
        parts.append(
            _built(state, tier.built, queries, k, selections.of(state, tier.built, allowed))
        )
    rows, vectors = tier.fresh.held
    fresh = np.flatnonzero(allowed[rows] & ~state.removed[rows])
    if len(fresh):
        parts.append(_exact(rows[fresh], vectors[fresh], queries, k))
    return Hits.join(parts, len(queries))


def _built(
    state: IndexState,
    built: BuiltIndex,
    queries: NDArray[np.float32],
    k: int,
    selection: _Selection,
) -> Hits:
    if selection.vectors is not None:
        return _exact(selection.rows, selection.vectors, queries, k)
    if selection.bits is None:
        return Hits.join([], len(queries))
    share = len(selection.rows) / max(1, len(built))
    found = built.search_kept(queries, k, selection.bits, share)
    if not built.exact:
        rows = np.maximum(found.rows, 0)
        found = Hits(found.rows, state.vectors.scores(rows, queries)).without(found.rows < 0)
    if ((found.rows >= 0).sum(axis=1) < min(k, len(selection.rows))).any():
        return _exact(selection.rows, state.vectors(selection.rows), queries, k)
    return found


def _exact(
    rows: NDArray[np.int64], vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> Hits:
    scores, place = faiss.knn(
        np.ascontiguousarray(queries, np.float32),
        vectors,
        min(k, len(rows)),
        metric=faiss.METRIC_INNER_PRODUCT,
    )
    # Scores that are no numbers have no place.
    found: Any = np.where(place < 0, -1, rows[np.maximum(place, 0)])
    return Hits(found, np.where(place < 0, np.float32(-np.inf), scores))
