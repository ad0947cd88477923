"""Nearest-neighbour search: exact or inverted lists per type, a fresh tier, deletes by filter."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.settings import IndexSettings

_TRAINING_POINTS_PER_LIST = 64
# FAISS 1.15 multiplies matrices only from 128,000 numbers in the queries on (2,000 users of 64
# dimensions), and below goes through the items once for each query. For 64 queries over 50,000
# items that took 53 ms instead of 13, for 16 queries 15 instead of 4.6 (one core, AVX2).
faiss.cvar.distance_compute_blas_threshold = 512


@dataclass(frozen=True)
class Hits:
    """The best items for each of `b` queries, best first.

    rows:   i64 [b, k], item rows; -1 where there are fewer.
    scores: f32 [b, k]; -inf where there are fewer.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]

    def best(self, k: int) -> "Hits":
        """Return the `k` best of each query, in order."""
        order = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(self.scores, order, axis=1)
        rows = np.where(np.isneginf(scores), -1, np.take_along_axis(self.rows, order, axis=1))
        short = k - rows.shape[1]
        if short > 0:
            rows = np.pad(rows, ((0, 0), (0, short)), constant_values=-1)
            scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
        return Hits(rows, scores)

    @staticmethod
    def join(parts: Sequence["Hits"], queries: int) -> "Hits":
        """Return all parts' hits side by side, for the same queries; not in order."""
        rows = [np.zeros((queries, 0), np.int64), *(part.rows for part in parts)]
        scores = [np.zeros((queries, 0), np.float32), *(part.scores for part in parts)]
        return Hits(np.concatenate(rows, axis=1), np.concatenate(scores, axis=1))


class ItemIndex:
    """Finds the items with the greatest inner product, per item type.

    Built once from a bundle's vectors and never changed after that: items that come later live in
    a small exact fresh tier, and items that go are filtered out. Both take effect at once, by
    replacing arrays, never by changing what a search may be reading.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        type_number: NDArray[np.int64],
        settings: IndexSettings,
        *,
        built: dict[int, Any] | None = None,
    ) -> None:
        """vectors: f32 [n, d]; type_number: i64 [n]; built: FAISS index per type, from `load`."""
        self._settings = settings
        self._rows = {int(t): np.flatnonzero(type_number == t) for t in np.unique(type_number)}
        self._built = built or {t: self._build(vectors[rows]) for t, rows in self._rows.items()}
        for index in self._built.values():
            if hasattr(index, "nprobe"):
                index.nprobe = max(1, round(settings.probes * index.nlist))
        self._n = len(vectors)
        self._vectors = vectors
        self._removed: NDArray[np.int64] = np.zeros(0, np.int64)
        self._fresh_vectors: NDArray[np.float32] = vectors[:0]
        self._fresh_types: NDArray[np.int64] = np.zeros(0, np.int64)

    def _build(self, vectors: NDArray[np.float32]) -> Any:
        vectors = np.ascontiguousarray(vectors, np.float32)
        flat = faiss.IndexFlatIP(vectors.shape[1])
        if len(vectors) <= self._settings.ivf_above:
            flat.add(vectors)
            return flat
        lists = int(4 * np.sqrt(len(vectors)))
        index = faiss.IndexIVFFlat(flat, vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        every = max(1, len(vectors) // (lists * _TRAINING_POINTS_PER_LIST))
        index.train(np.ascontiguousarray(vectors[::every]))
        index.add(vectors)
        return index

    def __len__(self) -> int:
        """Items that a search can return."""
        return self._n + len(self._fresh_vectors) - len(self._removed)

    @property
    def removed(self) -> int:
        """Rows that are never returned."""
        return len(self._removed)

    def is_removed(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows were removed, bool of the same shape."""
        return np.isin(rows, self._removed)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of rows, f32 [..., d]."""
        built = self._vectors[np.minimum(rows, self._n - 1)]
        if not len(self._fresh_vectors):
            return built
        fresh = self._fresh_vectors[np.maximum(rows - self._n, 0)]
        return np.where((rows < self._n)[..., None], built, fresh)

    def copy(self) -> "ItemIndex":
        """Return an index that shares what was built, with additions and removals of its own."""
        return copy(self)

    def add(self, vectors: NDArray[np.float32], type_number: NDArray[np.int64]) -> None:
        """Append items to the fresh tier, f32 [m, d] and i64 [m]; rows follow the last one."""
        self._fresh_types = np.concatenate([self._fresh_types, type_number])
        self._fresh_vectors = np.concatenate([self._fresh_vectors, vectors])

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Never return these rows again."""
        self._removed = np.union1d(self._removed, rows)

    def search_type(
        self,
        queries: NDArray[np.float32],
        type_number: int,
        k: int,
        exclude: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Return the `k` best items of one type for each query.

        queries: f32 [b, d]; exclude: i64 [b, e], rows that a query must not get, -1 for none.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        rows = self._rows.get(type_number, np.zeros(0, np.int64))
        spare = 0
        if exclude is not None and len(rows):
            of_type = np.zeros(self._n + len(self._fresh_types) + 1, np.bool_)
            of_type[rows] = True
            of_type[self._n : -1] = self._fresh_types == type_number
            spare = int(of_type[exclude].sum(axis=1).max(initial=0))
        found = Hits.join(
            [
                self._search_built(queries, type_number, min(k + spare, len(rows))),
                self._search_fresh(queries, type_number),
            ],
            len(queries),
        )
        if exclude is not None:
            width = self._n + len(self._fresh_types) + 1
            owner = np.arange(len(queries))[:, None] * width
            banned = np.isin(owner + found.rows, (owner + exclude)[exclude >= 0])
            found = Hits(found.rows, np.where(banned, np.float32(-np.inf), found.scores))
        return found.best(k)

    def _search_built(self, queries: NDArray[np.float32], type_number: int, k: int) -> Hits:
        if k == 0:
            return Hits.join([], len(queries))
        index, rows = self._built[type_number], self._rows[type_number]
        options: dict[str, Any] = {}
        removed = np.flatnonzero(np.isin(rows, self._removed))
        if len(removed):
            keep: Any = faiss.IDSelectorNot(faiss.IDSelectorBatch(removed))
            # FAISS's Python constructors take keywords that its type hints do not know.
            parameters: Any = faiss
            options["params"] = (
                parameters.SearchParametersIVF(sel=keep, nprobe=index.nprobe)
                if hasattr(index, "nprobe")
                else parameters.SearchParameters(sel=keep)
            )
        scores, places = index.search(queries, k, **options)
        missing = places < 0
        return Hits(
            np.where(missing, -1, rows[np.maximum(places, 0)]),
            np.where(missing, np.float32(-np.inf), scores),
        )

    def _search_fresh(self, queries: NDArray[np.float32], type_number: int) -> Hits:
        place = np.flatnonzero(self._fresh_types == type_number)
        rows = place + self._n
        alive = ~np.isin(rows, self._removed)
        scores = queries @ self._fresh_vectors[place[alive]].T
        return Hits(np.broadcast_to(rows[alive], scores.shape), scores)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        types: Sequence[int] = (),
        exclude: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Return the `k` best items of some types (none named: all) for each query."""
        parts = [self.search_type(queries, t, k, exclude) for t in (types or self.known_types())]
        return Hits.join(parts, len(queries)).best(k)

    def known_types(self) -> list[int]:
        """Return the numbers of the types that have items, ascending."""
        return sorted(set(self._rows) | set(self._fresh_types.tolist()))

    def save(self, folder: Path) -> None:
        """Write one FAISS file per type to the folder. The fresh tier is not part of it."""
        for number, index in self._built.items():
            faiss.write_index(index, str(folder / f"index-{number}.faiss"))

    @classmethod
    def load(
        cls,
        folder: Path,
        vectors: NDArray[np.float32],
        type_number: NDArray[np.int64],
        settings: IndexSettings,
    ) -> Self:
        """Read what `save` wrote. Raises ValueError when a file does not fit the vectors."""
        built: dict[int, Any] = {}
        for number in np.unique(type_number).tolist():
            built[number] = faiss.read_index(str(folder / f"index-{number}.faiss"))
            size = int((type_number == number).sum())
            if built[number].ntotal != size or built[number].d != vectors.shape[1]:
                raise ValueError(
                    f"expected an index of {size} x {vectors.shape[1]} for type {number}, "
                    f"got {built[number].ntotal} x {built[number].d}"
                )
        return cls(vectors, type_number, settings, built=built)
