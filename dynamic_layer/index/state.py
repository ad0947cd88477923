"""What one search of an index reads: per type what was built, what is fresh, and what is gone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import faiss
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.built import BuiltIndex
from dynamic_layer.index.hits import Hits
from dynamic_layer.items.vector_store import VectorStore

ALL_TYPES = -1
"""Number of the tier that holds the items of all types, where there are many types."""

# Hits looked at beyond those asked for where items were removed; more than these are hardly ever
# among the best, and if they are, the search is made again without them.
_SPARE = 8


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """One type: what was built, and what came since.

    fresh: rows and vectors that are not in `built`. gone, fresh_gone: how many rows of each were
    removed.
    """

    built: BuiltIndex | None
    fresh: VectorStore
    gone: int = 0
    fresh_gone: int = 0

    @property
    def changes(self) -> int:
        """What a search has to look at beside what was built, or past it."""
        return self.fresh.size + self.gone


@dataclass(frozen=True, kw_only=True)
class IndexState:
    """All that a search reads; a change replaces it as a whole.

    tiers: by type number, and of `ALL_TYPES` where there are many.
    types: i16 [rows], type of each row that ever was; removed: bool [rows]; version: grows with
    each change of what is removed.
    """

    tiers: dict[int, Tiers]
    vectors: VectorStore
    types: NDArray[np.int64]
    removed: NDArray[np.bool_]
    removals: int = 0
    version: int = 0


def search_built(
    state: IndexState, tier: Tiers, queries: NDArray[np.float32], k: int, *, rough: bool = False
) -> Hits:
    """Return what was built's best that are still there, `k` of them or more, in no order."""
    built = tier.built
    if built is None:
        return Hits.join([], len(queries))
    wanted = min(k, len(built) - tier.gone)
    near = built.search(queries, k + min(tier.gone, _SPARE), rough=rough)
    found = _alive(state, built, queries, near)
    short = np.flatnonzero((found.rows >= 0).sum(axis=1) < wanted)
    if not len(short):
        return found
    again = built.search_all(queries[short], k, state.removed, state.vectors)
    again = _alive(state, built, queries[short], again).best(found.rows.shape[1])
    rows, scores = found.rows.copy(), found.scores.copy()
    rows[short], scores[short] = again.rows, again.scores
    return Hits(rows, scores)


def _alive(state: IndexState, built: BuiltIndex, queries: NDArray[np.float32], found: Hits) -> Hits:
    """Return hits without what was removed, with the exact scores."""
    rows = np.maximum(found.rows, 0)
    if not built.exact:
        found = Hits(found.rows, state.vectors.scores(rows, queries))
    return found.without(state.removed[rows])


def search_fresh(state: IndexState, tier: Tiers, queries: NDArray[np.float32], k: int) -> Hits:
    """Return the fresh tier's best that are still there, `k` of them or more, in no order."""
    rows, vectors = tier.fresh.held
    if not len(rows):
        return Hits.join([], len(queries))
    wanted = min(k, len(rows) - tier.fresh_gone)
    scores, place = faiss.knn(
        queries,
        vectors,
        min(len(rows), k + min(tier.fresh_gone, _SPARE)),
        metric=faiss.METRIC_INNER_PRODUCT,
    )
    found = Hits(rows[place], scores).without(state.removed[rows[place]])
    if ((found.rows >= 0).sum(axis=1) >= wanted).all():
        return found
    scores = queries @ vectors.T
    all_rows = np.broadcast_to(rows, scores.shape)
    return Hits(all_rows, scores).without(state.removed[all_rows]).best(k)


def sealed(state: IndexState) -> IndexState:
    """Return the same state, from which two may go on without writing to each other's arrays."""
    tiers = {t: replace(tier, fresh=tier.fresh.sealed()) for t, tier in state.tiers.items()}
    return replace(state, tiers=tiers, vectors=state.vectors.sealed())


def with_added(
    state: IndexState, vectors: NDArray[np.float32], type_number: NDArray[np.int64]
) -> IndexState:
    """Return the state with more items in the fresh tiers, f32 [m, d] and i64 [m], behind all."""
    rows = len(state.types) + np.arange(len(vectors))
    tiers = dict(state.tiers)
    every = np.ones(len(rows), np.bool_)
    parts = [(t, type_number == t) for t in np.unique(type_number).tolist()]
    for t, of_type in [*parts, *[(ALL_TYPES, every)] * (ALL_TYPES in tiers)]:
        tier = tiers.get(t) or Tiers(built=None, fresh=VectorStore.of(state.vectors.base[:0]))
        fresh = tier.fresh.append(rows[of_type], vectors[of_type])
        tiers[t] = replace(tier, fresh=fresh)
    return replace(
        state,
        tiers=tiers,
        vectors=state.vectors.append(rows, vectors),
        types=np.concatenate([state.types, type_number.astype(np.int16)]),
        removed=np.concatenate([state.removed, np.zeros(len(rows), np.bool_)]),
    )


def with_removed(state: IndexState, rows: NDArray[np.int64]) -> IndexState:
    """Return the state in which these rows, i64 [m], are never found again."""
    rows = np.unique(rows)
    rows = rows[~state.removed[rows]]
    removed = state.removed.copy()
    removed[rows] = True
    tiers = dict(state.tiers)
    for t, of_type in _by_tier(state, rows):
        tier = tiers[t]
        fresh = int(np.isin(of_type, tier.fresh.held[0]).sum())
        tiers[t] = replace(
            tier, gone=tier.gone + len(of_type) - fresh, fresh_gone=tier.fresh_gone + fresh
        )
    return replace(
        state,
        tiers=tiers,
        removed=removed,
        removals=state.removals + len(rows),
        version=state.version + 1,
    )


def with_restored(
    state: IndexState, rows: NDArray[np.int64], vectors: NDArray[np.float32]
) -> IndexState:
    """Return the state in which removed rows, i64 [m], are found again.

    vectors: f32 [m, d], of those rows that are held no more; the others keep the vectors they have.
    Rows that were folded away come into the fresh tier.
    """
    rows, first = np.unique(rows, return_index=True)
    gone = state.removed[rows]
    rows, vectors = rows[gone], vectors[first][gone]
    removed = state.removed.copy()
    removed[rows] = False
    lost = (rows >= len(state.vectors.base)) & ~np.isin(rows, state.vectors.held[0])
    store = state.vectors.inserted(rows[lost], vectors[lost])
    tiers = dict(state.tiers)
    for t, of_type in _by_tier(state, rows):
        tier = tiers[t]
        fresh = np.isin(of_type, tier.fresh.held[0])
        built = np.isin(of_type, [] if tier.built is None else tier.built.rows)
        left = of_type[~fresh & ~built]
        tiers[t] = replace(
            tier,
            fresh=tier.fresh.inserted(left, store(left)),
            gone=tier.gone - int(built.sum()),
            fresh_gone=tier.fresh_gone - int(fresh.sum()),
        )
    return replace(
        state,
        tiers=tiers,
        vectors=store,
        removed=removed,
        removals=state.removals - len(rows),
        version=state.version + 1,
    )


def _by_tier(state: IndexState, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the tiers that rows, i64 [m], belong to, each with its own."""
    types = state.types[rows]
    for t in np.unique(types).tolist():
        yield t, rows[types == t]
    if ALL_TYPES in state.tiers:
        yield ALL_TYPES, rows


def with_folded(state: IndexState, number: int, built: BuiltIndex | None) -> IndexState:
    """Return the state with an index of one type that was made aside, of what was there then.

    number: of the type. What came or was restored since is fresh.
    """
    now, in_built, gone = state.tiers[number], np.zeros(len(state.types), np.bool_), 0
    if built is not None:
        in_built[built.rows] = True
        gone = int(state.removed[built.rows].sum())
    there = np.concatenate([[] if now.built is None else now.built.rows, now.fresh.held[0]])
    there = np.sort(there.astype(np.int64))
    left = there[~in_built[there] & ~state.removed[there]]
    fresh = VectorStore.of(state.vectors.base[:0]).append(left, state.vectors(left))
    tiers = {**state.tiers, number: Tiers(built=built, fresh=fresh, gone=gone)}
    vectors = state.vectors
    dead = state.removed[vectors.held[0]]
    if 2 * dead.sum() > len(dead):
        vectors = vectors.kept(~dead)
    return replace(state, tiers=tiers, vectors=vectors)
