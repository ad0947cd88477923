"""One type's items in a FAISS index that is never changed: exact, or inverted lists, measured."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from dynamic_layer.index.hits import Hits

# FAISS 1.15 multiplies matrices only from 128,000 numbers in the queries on (2,000 users of 64
# dimensions), and below goes through the items once for each query. For 64 queries over 50,000
# items that took 53 ms instead of 13, for 16 queries 15 instead of 4.6 (one core, AVX2).
faiss.cvar.distance_compute_blas_threshold = 512

# FAISS's Python constructors take arguments that its type hints do not know.
_faiss: Any = faiss
_K = 10
_CHUNK = 65_536

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Vectors of rows, f32 [m, d]."""


@dataclass(frozen=True, kw_only=True)
class BuiltIndex:
    """`n` items of one type, searched but never changed; a change makes another one.

    index:      FAISS index; its ids are places in `rows` if it is flat, rows if it has lists.
    rows:       i64 [n], ascending for a flat index.
    of_items:   f32 [d, r], maps an item's vector, less the centre, to what the index holds; None
                where it holds the vectors themselves.
    of_queries: f32 [d, r], maps queries so that the order of the scores stays.
    centre:     f32 [d].
    probes:     lists that a search reads, of those that there are.
    candidates: for ten hits, whose scores have to be made exact; 0 where they are exact.
    recall:     at 10 against exact search, on the queries that chose probes and candidates.
    searched:   its copy on a GPU, and what that needs to live; None where there is none.
    """

    index: Any
    rows: NDArray[np.int64]
    of_items: NDArray[np.float32] | None = None
    of_queries: NDArray[np.float32] | None = None
    centre: NDArray[np.float32] | None = None
    probes: int = 0
    candidates: int = 0
    recall: float = 1.0
    searched: tuple[Any, ...] | None = None

    def __len__(self) -> int:
        """Number of items."""
        return len(self.rows)

    @cached_property
    def held(self) -> NDArray[np.bool_]:
        """Which rows it has, bool [greatest row + 1]."""
        found = np.zeros(int(self.rows.max(initial=-1)) + 1, np.bool_)
        found[self.rows] = True
        return found

    @property
    def exact(self) -> bool:
        """Whether scores are those of the vectors, not of their codes."""
        return not self.candidates

    @property
    def lists(self) -> int:
        """Number of inverted lists; 0 for a flat index."""
        return int(getattr(self.index, "nlist", 0))

    def search(self, queries: NDArray[np.float32], k: int, *, rough: bool = False) -> Hits:
        """Return the `k` best by the index' own scores, and more where those are not exact.

        rough: half as many more, and not as many as ten hits are sure to be among.
        """
        if not self.exact:
            k += k // 2 if rough else max(self.candidates - _K, k // 2)
        if self.of_queries is not None:
            queries = queries @ self.of_queries
        index = self.index if self.searched is None else self.searched[0]
        scores, found = index.search(np.ascontiguousarray(queries), min(k, len(self)))
        return self._hits(found, scores)

    def search_all(
        self,
        queries: NDArray[np.float32],
        k: int,
        removed: NDArray[np.bool_],
        vectors: Vectors,
    ) -> Hits:
        """Return the `k` best that are not removed, of all lists: slower, and never short.

        removed: bool [rows]; vectors: of rows.
        """
        if self.lists and self.of_queries is not None:
            keep = _faiss.IDSelectorNot(_faiss.IDSelectorBitmap(_bits(removed)))
            params = _faiss.SearchParametersIVF(sel=keep, nprobe=self.lists)
            k = min(k + max(self.candidates - _K, k // 2), len(self))
            coded = np.ascontiguousarray(queries @ self.of_queries)
            scores, found = self.index.search(coded, k, params=params)
            return self._hits(found, scores)
        alive = self.rows[~removed[self.rows]]
        best = Hits.join([], len(queries))
        for start in range(0, len(alive), _CHUNK):
            part = alive[start : start + _CHUNK]
            scores = queries @ vectors(part).T
            found = np.broadcast_to(part, scores.shape)
            best = Hits.join([best, Hits(found, scores)], len(queries)).best(k)
        return best

    def search_kept(
        self, queries: NDArray[np.float32], k: int, bits: NDArray[np.uint8], share: float
    ) -> Hits:
        """Return the `k` best of some items, and more where scores are not exact; of lists alone.

        bits: FAISS's set of their rows; share: of all items. The fewer they are, the more lists are
        read, so that about as many items are compared: their neighbours lie in more lists.
        """
        if self.of_queries is None:
            raise ValueError("expected an index with lists, got one that holds the vectors")
        probes = min(self.lists, math.ceil(self.probes / max(share, 1e-6)))
        keep = _faiss.IDSelectorBitmap(bits)
        params = _faiss.SearchParametersIVF(sel=keep, nprobe=probes)
        k = min(k + max(self.candidates - _K, k // 2), len(self))
        coded = np.ascontiguousarray(queries @ self.of_queries)
        scores, found = self.index.search(coded, k, params=params)
        return self._hits(found, scores)

    def _hits(self, found: NDArray[np.int64], scores: NDArray[np.float32]) -> Hits:
        missing = found < 0
        rows = found if self.lists else self.rows[np.maximum(found, 0)]
        return Hits(np.where(missing, -1, rows), np.where(missing, np.float32(-np.inf), scores))

    def coded(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the index holds of items, f32 [m, r]."""
        if self.of_items is None or self.centre is None:
            return np.ascontiguousarray(vectors, np.float32)
        return np.ascontiguousarray((vectors - self.centre) @ self.of_items)

    def changed(
        self, removed: NDArray[np.bool_], added: NDArray[np.int64], vectors: Vectors
    ) -> "BuiltIndex":
        """Return another index, without the removed rows, bool [rows], and with added ones.

        Training stays as it is. While it is made there are two in memory.
        """
        rows = np.concatenate([self.rows[~removed[self.rows]], added])
        if self.lists:
            index = faiss.clone_index(self.index)
            index.remove_ids(_faiss.IDSelectorBitmap(_bits(removed)))
            fill(replace(self, index=index, rows=added), vectors)
            return replace(self, index=index, rows=rows, searched=None)
        index = faiss.clone_index(self.index)
        index.reset()
        made = replace(self, index=index, rows=np.sort(rows), searched=None)
        fill(made, vectors)
        return made

    def updated(self, changed: NDArray[np.bool_], vectors: Vectors) -> "BuiltIndex":
        """Return another index of the same rows, some of which have other vectors, bool [rows].

        Training stays as it is; an index without lists is filled again.
        """
        if self.lists:
            return self.changed(changed, self.rows[changed[self.rows]], vectors)
        return self.changed(np.zeros_like(changed), self.rows[:0], vectors)

    def save(self, file: Path) -> None:
        """Write the index to `file`, and what is not FAISS' beside it, with another ending."""
        faiss.write_index(self.index, str(file))
        if self.of_items is None or self.of_queries is None or self.centre is None:
            return
        save_file(
            {
                "of_items": self.of_items,
                "of_queries": self.of_queries,
                "centre": self.centre,
                "measured": np.array([self.probes, self.candidates, self.recall]),
            },
            file.with_suffix(".safetensors"),
        )

    @classmethod
    def load(cls, file: Path, rows: NDArray[np.int64], width: int) -> Self:
        """Read what `save` wrote. Raises ValueError when it is not of these rows and this width."""
        index: Any = faiss.read_index(str(file))
        if index.ntotal != len(rows):
            raise ValueError(f"expected an index of {len(rows)} items, got {index.ntotal}")
        beside = file.with_suffix(".safetensors")
        if not beside.exists():
            if index.d != width or hasattr(index, "nlist"):
                raise ValueError(f"expected a flat index of width {width} in {file.name}")
            return cls(index=index, rows=rows)
        more = load_file(beside)
        probes, candidates, recall = more["measured"].tolist()
        made = cls(
            index=index,
            rows=rows,
            of_items=more["of_items"],
            of_queries=more["of_queries"],
            centre=more["centre"],
            probes=int(probes),
            candidates=int(candidates),
            recall=recall,
        )
        if more["of_items"].shape != (width, index.d) or more["centre"].shape != (width,):
            raise ValueError(f"expected vectors of width {width} in {file.name}")
        if made.lists:
            index.nprobe = made.probes
        return made


def _bits(rows: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the set that FAISS reads as a bitmap."""
    return np.packbits(rows, bitorder="little")


def fill(made: BuiltIndex, vectors: Vectors) -> None:
    """Add the vectors of its rows to an index that is not searched yet."""
    for start in range(0, len(made.rows), _CHUNK):
        rows = made.rows[start : start + _CHUNK]
        coded = made.coded(vectors(rows))
        if made.lists:
            made.index.add_with_ids(coded, rows)
        else:
            made.index.add(coded)
