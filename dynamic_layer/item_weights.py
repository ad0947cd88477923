"""Item-item weights from co-interaction counts: cosine, EASE, and EASE solved locally.

All three need nothing but `counts`, the symmetric matrix H^T H of a binary history matrix H:
how many users met both items, and on the diagonal how many met each. That is what the streaming
state keeps and what the static job merges; no user's row is ever needed to fit them.
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class EaseSettings:
    """How item-item weights are fitted.

    ridge:      added to the diagonal (Steck 2019, lambda); larger trusts counts less.
    exact_to:   items up to which the whole matrix is inverted: n^3 operations, 8 n^2 bytes.
                Above it every item is solved among its own neighbours.
    neighbours: items a local solution chooses from: those with the greatest cosine.
    keep:       weights kept per target item, greatest magnitude first.
    min_users:  items met by fewer users are neither source nor target.
    """

    ridge: float = 150.0
    exact_to: int = 10_000
    neighbours: int = 128
    keep: int = 256
    min_users: int = 2


def co_interactions(history: sp.csr_array) -> sp.csr_array:
    """Return the counts H^T H, f32 [items, items], of a history matrix [users, items]."""
    binary = sp.csr_array(
        (np.ones(history.nnz, np.float32), history.indices, history.indptr), shape=history.shape
    )
    return (binary.T @ binary).tocsr()


def cosine_weights(counts: sp.csr_array) -> sp.csr_array:
    """Return counts / sqrt(users of one * users of the other), without the diagonal."""
    norm = sp.diags_array(1 / np.sqrt(np.maximum(counts.diagonal(), 1)))
    others = counts.copy()
    others.setdiag(0)
    others.eliminate_zeros()
    return (norm @ others @ norm).tocsr().astype(np.float32)


def ease_weights(counts: sp.csr_array, settings: EaseSettings | None = None) -> sp.csr_array:
    """Return EASE's weights, f32 [source items, target items], diagonal zero.

    Exact up to `exact_to` items with enough users, local above. A user's score of an item is the
    sum over his history of weights[history item, item].
    """
    settings = settings or EaseSettings()
    chosen = np.flatnonzero(counts.diagonal() >= settings.min_users)
    part = counts[chosen][:, chosen].tocsr()
    if len(chosen) <= settings.exact_to:
        weights = _exact(part, settings)
    else:
        weights = _local(part, settings)
    target, source, value = weights
    shape = counts.shape
    return sp.csr_array((value, (chosen[source], chosen[target])), shape=shape)


_Triples = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def _exact(counts: sp.csr_array, settings: EaseSettings) -> _Triples:
    n = counts.shape[0]
    matrix = torch.from_numpy(counts.toarray())
    matrix.diagonal().add_(settings.ridge)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    del matrix
    scale = -1.0 / inverse.diagonal()
    keep = min(settings.keep, n)
    targets, sources, values = [], [], []
    for start in range(0, n, _BATCH):
        stop = min(start + _BATCH, n)
        weights = inverse[start:stop] * scale[start:stop, None]
        weights[torch.arange(stop - start), torch.arange(start, stop)] = 0.0
        place = weights.abs().topk(keep, dim=1).indices
        targets.append(torch.arange(start, stop).repeat_interleave(keep))
        sources.append(place.flatten())
        values.append(weights.gather(1, place).flatten())
    return (
        torch.cat(targets).numpy(),
        torch.cat(sources).numpy(),
        torch.cat(values).numpy(),
    )


def _local(counts: sp.csr_array, settings: EaseSettings) -> _Triples:
    """Solve the ridge system of each item on its neighbours alone (fsSLIM's selection).

    Cost is linear in items: neighbours^3 / 3 operations and one reading of the neighbours' rows
    each, against n^3 for the whole.
    """
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
        gram[:, row, row] = own
        solved = torch.linalg.solve(torch.from_numpy(gram), torch.from_numpy(right))
        weight = solved.numpy()
        kept = known & (weight != 0)
        if k > settings.keep:
            order = np.argsort(-np.abs(weight), axis=1)
            kept[np.arange(len(block))[:, None], order[:, settings.keep :]] = False
        targets.append(np.repeat(target, kept.sum(1)))
        sources.append(block[kept].astype(np.int64))
        values.append(weight[kept])
    return np.concatenate(targets), np.concatenate(sources), np.concatenate(values)


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
        order = np.argsort(-data[first:last])
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
        for p in range(k):
            item = near[row, p]
            if item < 0:
                continue
            for entry in range(indptr[item], indptr[item + 1]):
                column = indices[entry]
                if place[column] >= 0:
                    gram[row, p, place[column]] = data[entry]
                if column == target[row]:
                    right[row, p] = data[entry]
        for p in range(k):
            if near[row, p] >= 0:
                place[near[row, p]] = -1
    return gram, right
