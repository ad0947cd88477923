"""Item-item weights from counts: cosine and local EASE of co-interactions, and transitions.

The first two need `counts`, the symmetric matrix H^T H of a binary history matrix H: how many users
met both items, and on the diagonal how many met each. That is what the streaming state keeps and
what the static job merges. Transitions have an order: the job counts them from the histories.
"""

import numba
import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from dynamic_layer.settings import EaseSettings
from state.sorting import kth_smallest, order_of

_BATCH = 256


def matrix_of(
    value: NDArray[np.float32], row: NDArray[np.integer], column: NDArray[np.integer], n: int
) -> sp.csr_array:
    """Return entries f32 [e] as a matrix [n, n]; entries of one place are summed.

    Rows and columns are below 2^31, so int32 holds them. SciPy would keep int64 as it is given:
    twice the memory, and kernels would be compiled for both.
    """
    place = (row.astype(np.int32, copy=False), column.astype(np.int32, copy=False))
    return sp.coo_array((value, place), shape=(n, n)).tocsr()


def cosine_weights(counts: sp.csr_array) -> sp.csr_array:
    """Return counts / sqrt(users of one * users of the other), without the diagonal."""
    norm = 1 / np.sqrt(np.maximum(counts.diagonal(), 1), dtype=np.float64)
    found = _scaled(counts, norm, norm, diagonal=False)
    found.eliminate_zeros()
    return found


def strongest(weights: sp.csr_array, k: int) -> sp.csr_array:
    """Return the k greatest weights of each row, f32; of equal ones those of the first columns."""
    weights = weights if weights.has_sorted_indices else weights.sorted_indices()
    kept = _greatest(weights.indptr, weights.data, k)
    return _of_entries(weights, kept)


def transition_weights(counts: sp.csr_array, k: int) -> sp.csr_array:
    """Return counts / sqrt(leaving one * reaching the other), of each source the k greatest.

    counts: f32 [source, target], how often users went on.
    """
    leaving = np.asarray(counts.sum(axis=1)).ravel()
    reaching = np.asarray(counts.sum(axis=0)).ravel()
    left, right = (
        1 / np.sqrt(np.maximum(sums, 1), dtype=np.float64) for sums in (leaving, reaching)
    )
    return strongest(_scaled(counts, left, right), k)


def ease_weights(counts: sp.csr_array, settings: EaseSettings | None = None) -> sp.csr_array:
    """Return EASE's weights, f32 [source items, target items], diagonal zero, each solved locally.

    The ridge regression of every item on its `neighbours` nearest items by cosine (the selection of
    fsSLIM, Ning and Karypis 2011): with all items as neighbours this is EASE. Cost is linear in
    items, neighbours^3 / 3 operations and one reading of the neighbours' rows each, where EASE
    inverts the whole. A user's score of an item is the sum over the user's history of
    weights[history item, item].
    """
    settings = settings or EaseSettings()
    chosen = np.flatnonzero(counts.diagonal() >= settings.min_users)
    target = source = np.zeros(0, np.int64)
    value = np.zeros(0, np.float32)
    if len(chosen) > 1:
        whole = len(chosen) == counts.shape[0]
        part = counts if whole else counts[chosen][:, chosen].tocsr()
        target, source, value = _local(part, settings)
    return matrix_of(value, chosen[source], chosen[target], counts.shape[0])


_Triples = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def _local(counts: sp.csr_array, settings: EaseSettings) -> _Triples:
    cosine = cosine_weights(counts)
    k = min(settings.neighbours, counts.shape[0] - 1)
    near = nearest(cosine, k)
    diagonal = counts.diagonal().astype(np.float32)
    targets, sources, values = [], [], []
    for start in range(0, len(near), _BATCH):
        block = near[start : start + _BATCH]
        target = np.arange(start, start + len(block))
        gram, right = _systems(
            counts.indptr, counts.indices, counts.data, block, target, counts.shape[0]
        )
        known = block >= 0
        own = np.where(known, diagonal[np.maximum(block, 0)], 0.0) + settings.ridge
        row = np.arange(k)
        # A cap may have left a pair in one of its two rows.
        gram = np.maximum(gram, gram.transpose(0, 2, 1))
        gram[:, row, row] = own
        solved = torch.linalg.solve(torch.from_numpy(gram), torch.from_numpy(right))
        weight = solved.numpy()
        kept = known & (weight != 0)
        targets.append(np.repeat(target, kept.sum(1)))
        sources.append(block[kept].astype(np.int64))
        values.append(weight[kept])
    return np.concatenate(targets), np.concatenate(sources), np.concatenate(values)


def capped(counts: sp.csr_array, keep: int) -> sp.csr_array:
    """Return counts f32 with each row cut to its diagonal and `keep` greatest cosines.

    What a degree cap leaves of a dense graph: a pair may stay in one of its two rows alone.
    """
    norm = 1 / np.sqrt(np.maximum(counts.diagonal(), 1)).astype(np.float32)
    kept = _strong_entries(counts.indptr, counts.indices, counts.data, norm, keep)
    return _of_entries(counts, kept)


def _of_entries(matrix: sp.csr_array, kept: NDArray[np.bool_]) -> sp.csr_array:
    """Return the entries for which `kept` is true, bool [entries], f32."""
    before = np.zeros(len(kept) + 1, np.int32)
    np.cumsum(kept, out=before[1:])
    return sp.csr_array(
        (matrix.data[kept].astype(np.float32, copy=False), matrix.indices[kept],
         before[matrix.indptr]),
        shape=matrix.shape,
    )  # fmt: skip


def _scaled(
    matrix: sp.csr_array,
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    *,
    diagonal: bool = True,
) -> sp.csr_array:
    """Return left[row] * entry * right[column] of each entry, f32; zeros on the diagonal if not so.

    A product of sparse matrices would need four times the memory of the matrix.
    """
    data = _scaled_entries(matrix.indptr, matrix.indices, matrix.data, left, right, diagonal)
    return sp.csr_array((data, matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape)


@numba.njit(cache=True)
def _scaled_entries(
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    diagonal: bool,
) -> NDArray[np.float32]:
    out = np.zeros(len(data), np.float32)
    for row in range(len(indptr) - 1):
        for place in range(indptr[row], indptr[row + 1]):
            if diagonal or indices[place] != row:
                out[place] = left[row] * data[place] * right[indices[place]]
    return out


@numba.njit(cache=True)
def _greatest(indptr: NDArray[np.int32], data: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Which entries are among the k greatest of their rows, the first ones of equals."""
    kept = np.ones(len(data), np.bool_)
    for row in range(len(indptr) - 1):
        first, last = indptr[row], indptr[row + 1]
        if last - first <= k:
            continue
        limit = kth_smallest(data[first:last].copy(), last - first - k)
        greater = 0
        for place in range(first, last):
            greater += data[place] > limit
        equal = k - greater
        for place in range(first, last):
            kept[place] = data[place] > limit or (data[place] == limit and equal > 0)
            equal -= data[place] == limit
    return kept


@numba.njit(cache=True)
def _strong_entries(
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    norm: NDArray[np.float32],
    keep: int,
) -> NDArray[np.bool_]:
    kept = np.ones(len(data), np.bool_)
    for row in range(len(indptr) - 1):
        first, last = indptr[row], indptr[row + 1]
        if last - first <= keep + 1:
            continue
        # The diagonal is the greatest of its row, so that it is never cut.
        cosine = data[first:last] * norm[indices[first:last]]
        limit = kth_smallest(cosine.copy(), len(cosine) - keep - 1)
        for place in range(last - first):
            kept[first + place] = cosine[place] >= limit or indices[first + place] == row
    return kept


def nearest(weights: sp.csr_array, k: int) -> NDArray[np.int64]:
    """Return the columns of each row's k greatest weights, i64 [n, k], -1 where there are fewer."""
    return _nearest(weights.indptr, weights.indices, weights.data, k)  # type: ignore[no-any-return]


@numba.njit(cache=True)
def _nearest(
    indptr: NDArray[np.int32], indices: NDArray[np.int32], data: NDArray[np.float32], k: int
) -> NDArray[np.int64]:
    n = len(indptr) - 1
    out = np.full((n, k), -1, np.int64)
    for row in range(n):
        first, last = indptr[row], indptr[row + 1]
        order = order_of(-data[first:last])
        for place in range(min(k, last - first)):
            out[row, place] = indices[first + order[place]]
    return out


@numba.njit(cache=True)
def _systems(
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    near: NDArray[np.int64],
    target: NDArray[np.int64],
    n: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Counts among each target's neighbours, f32 [b, k, k], and with the target, f32 [b, k]."""
    b, k = near.shape
    gram = np.zeros((b, k, k), np.float32)
    right = np.zeros((b, k), np.float32)
    place = np.full(n, -1, np.int64)
    for row in range(b):
        for p in range(k):
            if near[row, p] >= 0:
                place[near[row, p]] = p
        for entry in range(indptr[target[row]], indptr[target[row] + 1]):
            if place[indices[entry]] >= 0:
                right[row, place[indices[entry]]] = data[entry]
        for p in range(k):
            if near[row, p] >= 0:
                for entry in range(indptr[near[row, p]], indptr[near[row, p] + 1]):
                    if place[indices[entry]] >= 0:
                        gram[row, p, place[indices[entry]]] = data[entry]
        for p in range(k):
            if near[row, p] >= 0:
                place[near[row, p]] = -1
    return gram, right
