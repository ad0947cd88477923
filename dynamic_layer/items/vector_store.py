"""Vectors by row: those that were there at the start, and later ones for as long as they live."""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

# What FAISS's type hints do not know.
_faiss: Any = faiss

_LEAST = 256


def inner_products(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], queries: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return each query's inner products with rows of vectors, f32 [b, c].

    vectors: f32 [n, d]; rows: i64 [b, c], all of them at least 0; queries: f32 [b, d].
    """
    (b, c), d = rows.shape, vectors.shape[1]
    if not vectors.flags.c_contiguous or vectors.dtype != np.float32:
        return np.asarray(np.matmul(vectors[rows], queries[:, :, None])[..., 0], np.float32)
    scores, asked = np.empty((b, c), np.float32), np.ascontiguousarray(queries, np.float32)
    ids = np.ascontiguousarray(rows, np.int64)
    # FAISS reads the vectors where they lie: a third of what gathering them first takes.
    _faiss.fvec_inner_products_by_idx(
        *(faiss.swig_ptr(array) for array in (scores, asked, vectors, ids)), d, b, c
    )
    return scores


@dataclass(frozen=True)
class VectorStore:
    """Vectors of rows; a change gives another store, and what was read from this one stays.

    base:   f32 [n, d], vectors of rows 0 to n - 1.
    size:   later rows that are held.
    rows:   i64 [>= size], later rows, ascending.
    later:  f32 [>= size, d], their vectors. The capacity behind `size` belongs to the next
            append; a `sealed` store has none, so that two may go on from it.
    """

    base: NDArray[np.float32]
    size: int
    rows: NDArray[np.int64]
    later: NDArray[np.float32]

    @classmethod
    def of(cls, base: NDArray[np.float32]) -> "VectorStore":
        """Return a store of rows 0 to n - 1."""
        return cls(base, 0, np.zeros(0, np.int64), base[:0])

    @property
    def held(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Later rows, and their vectors."""
        return self.rows[: self.size], self.later[: self.size]

    def sealed(self) -> "VectorStore":
        """Return the same store without spare capacity: appending to it copies."""
        return VectorStore(self.base, self.size, *self.held)

    def append(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> "VectorStore":
        """Return a store with more rows, greater than all that it has."""
        size = self.size + len(rows)
        held, later = self.rows, self.later
        if size > len(held):
            room = max(_LEAST, size + size // 2)
            held, later = np.zeros(room, np.int64), np.zeros((room, later.shape[1]), np.float32)
            held[: self.size], later[: self.size] = self.held
        held[self.size : size], later[self.size : size] = rows, vectors
        return VectorStore(self.base, size, held, later)

    def inserted(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> "VectorStore":
        """Return a store with more rows, ascending, that may be less than some that it has."""
        if not len(rows):
            return self
        held, later = self.held
        place = np.searchsorted(held, rows)
        held, later = np.insert(held, place, rows), np.insert(later, place, vectors, axis=0)
        return VectorStore(self.base, len(held), held, later)

    def kept(self, keep: NDArray[np.bool_]) -> "VectorStore":
        """Return a store with some of the later rows, bool [size]."""
        rows, vectors = self.held
        return VectorStore.of(self.base).append(rows[keep], vectors[keep])

    def updated(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> "VectorStore":
        """Return a store with other vectors of some rows; those that are not held are left out."""
        base, (held, later) = self.base, self.held
        early = rows < len(base)
        if early.any():
            base = base.copy()
            base[rows[early]] = vectors[early]
        place = np.searchsorted(held, rows)
        there = ~early & (place < len(held))
        there[there] = held[place[there]] == rows[there]
        if there.any():
            later = later.copy()
            later[place[there]] = vectors[there]
        return VectorStore(base, self.size, held, later)

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of rows, f32 [..., d]; zeros for later rows that are not held."""
        first = len(self.base)
        if not self.size or not (rows >= first).any():
            return self.base[np.minimum(rows, first - 1)] if first else self._nothing(rows)
        held, vectors = self.held
        place = np.minimum(np.searchsorted(held, rows), self.size - 1)
        late = np.where((held[place] == rows)[..., None], vectors[place], np.float32(0))
        if not first:
            return late
        return np.where((rows < first)[..., None], self.base[np.minimum(rows, first - 1)], late)

    def scores(self, rows: NDArray[np.int64], queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return each query's inner products with rows, f32 [b, c].

        rows: i64 [b, c], of the store; queries: f32 [b, d].
        """
        first = len(self.base)
        late = rows >= first
        if not first or 2 * late.sum() > late.size:
            return np.asarray(np.matmul(self(rows), queries[:, :, None])[..., 0], np.float32)
        scores = inner_products(self.base, np.where(late, 0, rows), queries)
        if late.any():
            query, _ = late.nonzero()
            scores[late] = np.einsum("md,md->m", self(rows[late]), queries[query])
        return scores

    def _nothing(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.zeros((*rows.shape, self.base.shape[1]), np.float32)
