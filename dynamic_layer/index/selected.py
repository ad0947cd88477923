"""Search among the items that a filter leaves: exact where they are few, else inside FAISS."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.built import BuiltIndex
from dynamic_layer.index.hits import Hits
from dynamic_layer.index.state import IndexState, Tiers

__all__ = ["Selections", "search_selected"]

_NONE = np.zeros(0, np.int64)

#: Items up to which all are compared: gathered once for a filter, then one product of matrices.
EXACT = 65_536
#: Selections that are kept, and bytes of vectors in them.
KEPT, KEPT_BYTES = 32, 64 * 2**20
#: Gathered items that may have left a selection, and items that may have come, before its vectors
#: are gathered again. Of 1,000,000 items 5 % are gathered in 50 ms.
_GONE, _CAME = 256, 1_024


@dataclass(frozen=True, kw_only=True, eq=False)
class _Gathered:
    """Items whose vectors lie together: rows i64 [m], ascending; vectors f32 [m, d]."""

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]


_NOTHING = _Gathered(rows=_NONE, vectors=np.zeros((0, 0), np.float32))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Selection:
    """The items of one tier that a filter leaves and that were not removed.

    count: of them; bits: FAISS's set of their rows, where they are many. Where they are few, they
    are the gathered items without `gone`, and `came`, i64 each.
    """

    allowed: NDArray[np.bool_]
    built: BuiltIndex
    count: int
    bits: NDArray[np.uint8] | None = None
    gathered: _Gathered = _NOTHING
    gone: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    came: NDArray[np.int64] = field(default_factory=lambda: _NONE)


class Selections:
    """What filters leave of what was built, kept while neither changes.

    Each change of the catalogue changes all of them a little: vectors that were gathered for a
    selection serve the later ones that have nearly the same items.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._kept: OrderedDict[tuple[int, int, int], _Selection] = OrderedDict()

    def of(self, state: IndexState, built: BuiltIndex, allowed: NDArray[np.bool_]) -> _Selection:
        """Return what a filter leaves; allowed: bool [rows], the same object while it is equal."""
        key = (id(allowed), id(built), state.version)
        found = self._kept.get(key)
        if found is None or found.allowed is not allowed or found.built is not built:
            found = self._made(state, built, allowed)
        self._keep(key, found)
        return found

    def _made(self, state: IndexState, built: BuiltIndex, allowed: NDArray[np.bool_]) -> _Selection:
        keep = built.held & ~state.removed[: len(built.held)]
        known = min(len(keep), len(allowed))
        keep[:known] &= allowed[:known]
        keep[known:] = False
        count = int(np.count_nonzero(keep))
        if count > EXACT and built.lists:
            bits = np.packbits(keep, bitorder="little")
            return _Selection(allowed=allowed, built=built, count=count, bits=bits)
        for other in reversed(self._kept.values()):
            if other.built is built and other.gathered is not _NOTHING:
                found = _again(state, other.gathered, keep, count)
                if found is not None:
                    gone, came = found
                    return _Selection(
                        allowed=allowed, built=built, count=count,
                        gathered=other.gathered, gone=gone, came=came,
                    )  # fmt: skip
        own = np.flatnonzero(keep)
        gathered = _Gathered(rows=own, vectors=np.ascontiguousarray(state.vectors(own)))
        return _Selection(allowed=allowed, built=built, count=count, gathered=gathered)

    def _keep(self, key: tuple[int, int, int], found: _Selection) -> None:
        kept = OrderedDict(self._kept)
        kept[key] = found
        kept.move_to_end(key)
        while len(kept) > KEPT or (len(kept) > 1 and _bytes([*kept.values()]) > KEPT_BYTES):
            kept.popitem(last=False)
        self._kept = kept  # as a whole: searches run in several threads


def _again(
    state: IndexState, gathered: _Gathered, keep: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return which gathered items have gone and which came, i64 each; None if too many did.

    keep: bool [rows], `count` of them true.
    """
    held = keep[gathered.rows]
    left = int(np.count_nonzero(held))
    if len(held) - left > min(_GONE, len(held) // 2) or count - left > _CAME:
        return None
    # A later item that was removed and came back may have another vector.
    later = np.flatnonzero(held & (gathered.rows >= len(state.vectors.base)))
    if len(later):
        now = state.vectors(gathered.rows[later])
        if not np.array_equal(now, gathered.vectors[later]):
            return None
    came = _NONE
    if count > left:
        others = keep.copy()
        others[gathered.rows] = False
        came = np.flatnonzero(others)
    return gathered.rows[~held], came


def _bytes(selections: Sequence[_Selection]) -> int:
    held = {id(one.gathered): one.gathered for one in selections}
    return sum(one.vectors.nbytes for one in held.values())


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
    parts = []
    if tier.built is not None:
        parts.append(
            _built(state, tier.built, queries, k, selections.of(state, tier.built, allowed))
        )
    rows, vectors = tier.fresh.held
    # Rows behind the filter's end are not allowed.
    inside = rows < len(allowed)
    fresh = np.flatnonzero(inside & ~state.removed[rows] & allowed[np.where(inside, rows, 0)])
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
    bits = selection.bits
    if not selection.count:
        return Hits.join([], len(queries))
    if bits is None:
        return _few(state, selection, queries, k)
    found = built.search_kept(queries, k, bits, selection.count / len(built))
    if not built.exact:
        rows = np.maximum(found.rows, 0)
        found = Hits(found.rows, state.vectors.scores(rows, queries)).without(found.rows < 0)
    if ((found.rows >= 0).sum(axis=1) < min(k, selection.count)).any():
        rows = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
        return _exact(rows, state.vectors(rows), queries, k)
    return found


def _few(state: IndexState, selection: _Selection, queries: NDArray[np.float32], k: int) -> Hits:
    """Compare all items of a selection."""
    gathered, gone, came = selection.gathered, selection.gone, selection.came
    found = _exact(gathered.rows, gathered.vectors, queries, k + len(gone))
    if len(gone):
        found = found.without(np.isin(found.rows, gone))
    if not len(came):
        return found
    return Hits.join([found, _exact(came, state.vectors(came), queries, k)], len(queries))


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
