"""Item-item weights from the merged state: what the static job adds to its bundle."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.item_weights import (
    capped,
    cosine_weights,
    ease_weights,
    strongest,
    transition_weights,
)
from dynamic_layer.items.features import ItemRows
from dynamic_layer.settings import RankingSettings
from static_layer.graph import CoInteractionCounts


class TransitionCounts(Protocol):
    """What is read of transitions; see state.transitions."""

    @property
    def item_keys(self) -> NDArray[np.uint64]: ...  # noqa: D102
    @property
    def source(self) -> NDArray[np.int32]: ...  # noqa: D102
    @property
    def target(self) -> NDArray[np.int32]: ...  # noqa: D102
    @property
    def count(self) -> NDArray[np.float32]: ...  # noqa: D102


class Counted(Protocol):
    """What is read of the merged state."""

    @property
    def co_interactions(self) -> CoInteractionCounts: ...  # noqa: D102
    @property
    def transitions(self) -> TransitionCounts: ...  # noqa: D102


def state_weights(
    state: Counted, item_keys: NDArray[np.uint64], settings: RankingSettings
) -> dict[str, sp.csr_array]:
    """Return the weights of `settings.weights` f32 [n, n] by name, [source, target].

    Rows are places in `item_keys`, u64 [n]. Items that the counts do not have get no weights, and
    counts of other items are left out.
    """
    counts = capped(count_matrix(state.co_interactions, item_keys), settings.ease.degree_cap)
    enough = (counts.diagonal() >= settings.ease.min_users).sum() > 1
    kinds: dict[str, Callable[[], sp.csr_array]] = {
        "ease": lambda: ease_weights(counts, settings.ease),
        "cosine": lambda: strongest(cosine_weights(counts), settings.ease.kept),
        "next": lambda: transition_weights(
            transition_matrix(state.transitions, item_keys), settings.ease.kept
        ),
    }
    return {
        name: kinds[name]() if enough else counts * np.float32(0)
        for name in dict.fromkeys(settings.weights)
    }


def transition_matrix(transitions: TransitionCounts, item_keys: NDArray[np.uint64]) -> sp.csr_array:
    """Return the counts f32 [n, n], [source, target]."""
    row = ItemRows(item_keys)(transitions.item_keys)
    source, target = row[transitions.source], row[transitions.target]
    known = (source >= 0) & (target >= 0)
    n = len(item_keys)
    return sp.coo_array(
        (transitions.count[known], (source[known], target[known])), shape=(n, n)
    ).tocsr()


def count_matrix(counts: CoInteractionCounts, item_keys: NDArray[np.uint64]) -> sp.csr_array:
    """Return the symmetric counts f32 [n, n], the items' users on the diagonal."""
    row = ItemRows(item_keys)(counts.item_keys)
    left, right = row[counts.left], row[counts.right]
    known = (left >= 0) & (right >= 0)
    left, right, count = left[known], right[known], counts.count[known].astype(np.float32)
    apart = left != right
    n = len(item_keys)
    return sp.coo_array(
        (
            np.concatenate([count, count[apart]]),
            (np.concatenate([left, right[apart]]), np.concatenate([right, left[apart]])),
        ),
        shape=(n, n),
    ).tocsr()
