"""Item-item weights from item vectors: which items of a history an item is near to.

Counts say nothing of items that few users met. A vector says what such an item is like, so that a
history points to it all the same: its weights are borrowed from where it lies.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import faiss
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.item_weights import matrix_of
from dynamic_layer.settings import SEPARATE_TYPES, RankingSettings

_BATCH = 8_192
_EXACT = 50_000  # sources up to which a search reads all of them
_PROBES = 32
#: Of the items of a type, those that an item is near to, at most. Of a hundred items the 32
#: nearest are a third of it: they say little of taste, and heads learned to avoid them.
_NEAR_SHARE = 0.01


def vector_weights(
    vectors: NDArray[np.floating],
    type_number: NDArray[np.int64],
    known: NDArray[np.bool_],
    k: int,
    *,
    share: float = 1.0,
) -> sp.csr_array:
    """Return the cosines of each item with its nearest items, f32 [source, target].

    vectors: [n, d]; what all of them share is taken out. type_number: i64 [n]. known: bool [n],
    items that are in histories: the only sources. k: sources of a target, of each type; of all
    together with more than `SEPARATE_TYPES` types; and at most this share of the possible sources.
    An item is not near to itself, and a negative cosine is none.
    """
    n = len(vectors)
    unit = centred(vectors)
    group = type_number if type_number.max(initial=0) < SEPARATE_TYPES else np.zeros(n, np.int64)
    nothing = np.zeros(0, np.int64)
    sources, targets, values = [nothing], [nothing], [np.zeros(0, np.float32)]
    for number in np.unique(group).tolist():
        rows = np.flatnonzero(known & (group == number))
        most = min(k, int(share * len(rows)))
        if not most:
            continue
        index = _index(unit[rows])
        for start in range(0, n, _BATCH):
            # One more, which may be the item itself.
            cosine, place = index.search(unit[start : start + _BATCH], min(most + 1, len(rows)))
            source = np.where(place >= 0, rows[np.maximum(place, 0)], -1)
            target = np.arange(start, start + len(place))[:, None]
            kept = (source >= 0) & (source != target) & (cosine > 0)
            kept &= np.cumsum(kept, axis=1) <= most
            sources.append(source[kept])
            targets.append(np.broadcast_to(target, kept.shape)[kept])
            values.append(cosine[kept])
    return matrix_of(np.concatenate(values), np.concatenate(sources), np.concatenate(targets), n)


class Vectors(Protocol):
    """The part of a static bundle that is read; `n` items, `users` of each in the window."""

    @property
    def item_types(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def users(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def text(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def hgnn(self) -> NDArray[np.float32]: ...  # noqa: D102


def near_weights(items: Vectors, settings: RankingSettings) -> dict[str, sp.csr_array]:
    """Return the weights of `settings.near`, f32 [n, n] by the name of the vectors."""
    _, number = np.unique(np.asarray(items.item_types), return_inverse=True)
    vectors = {"text": items.text, "hgnn": items.hgnn}
    return {
        name: vector_weights(
            vectors[name], number, items.users > 0, settings.near_items, share=_NEAR_SHARE
        )
        for name in dict.fromkeys(settings.near)
    }


def centred(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return unit vectors f32 [n, d] without their mean; zero where an item has none."""
    own = np.asarray(vectors, np.float32)
    there = np.asarray(own.any(axis=1))
    if there.any():
        own = np.where(there[:, None], own - own[there].mean(axis=0), 0)
    norm = np.linalg.norm(own, axis=1, keepdims=True)
    return np.ascontiguousarray(own / np.maximum(norm, 1e-9), np.float32)


def _index(vectors: NDArray[np.float32]) -> Any:
    width = vectors.shape[1]
    index: Any = faiss.IndexFlatIP(width)
    if len(vectors) > _EXACT:
        lists = int(4 * np.sqrt(len(vectors)))
        index = faiss.IndexIVFFlat(index, width, lists, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:: max(1, len(vectors) // (64 * lists))])
        index.nprobe = _PROBES
    index.add(vectors)
    return index
