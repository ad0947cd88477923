"""Item-item counts of the merged state, and weights of such counts: what the static job adds."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.item_weights import (
    capped,
    cosine_weights,
    ease_weights,
    matrix_of,
    strongest,
    transition_weights,
)
from dynamic_layer.items.features import ItemRows
from dynamic_layer.settings import DynamicSettings, RankingSettings
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


TOGETHER, FOLLOWING = "together", "following"
"""Counts that weights are made of, by name: of users with both items, and of transitions."""


def item_counts(
    state: Counted, item_keys: NDArray[np.uint64], settings: RankingSettings
) -> dict[str, sp.csr_array]:
    """Return the counts behind the weights of `settings.weights`, f32 [n, n] by name.

    Rows are places in `item_keys`, u64 [n]; counts of other items are left out. `together`:
    symmetric, users on the diagonal, cut to the `degree_cap`; `following`: [source, target].
    """
    cap = settings.ease.degree_cap
    found = {TOGETHER: capped(count_matrix(state.co_interactions, item_keys), cap)}
    if "next" in settings.weights:
        found[FOLLOWING] = transition_matrix(state.transitions, item_keys)
    return found


def weights_of(
    counts: Mapping[str, sp.csr_array], settings: RankingSettings
) -> dict[str, sp.csr_array]:
    """Return the weights of `settings.weights`, f32 [n, n] by name, [source, target].

    counts: of `item_counts`. Items without counts have no weights.
    """
    together = counts[TOGETHER]
    enough = (together.diagonal() >= settings.ease.min_users).sum() > 1
    kinds: dict[str, Callable[[], sp.csr_array]] = {
        "ease": lambda: ease_weights(together, settings.ease),
        "cosine": lambda: strongest(cosine_weights(together), settings.ease.kept),
        "next": lambda: transition_weights(counts[FOLLOWING], settings.ease.kept),
    }
    return {
        name: kinds[name]() if enough else together * np.float32(0)
        for name in dict.fromkeys(settings.weights)
    }


def renewable(
    counts: dict[str, sp.csr_array], settings: RankingSettings
) -> dict[str, sp.csr_array]:
    """Return the counts if they are few enough for a trainer to solve them again, else none."""
    few = sum(matrix.nnz for matrix in counts.values()) <= settings.renewed_counts
    return counts if few else {}


def carried(counts: dict[str, sp.csr_array], settings: DynamicSettings) -> dict[str, sp.csr_array]:
    """Return the counts that a static bundle has: if they are few, or the graph is followed."""
    live = settings.live_graph
    if live.enabled and counts[TOGETHER].nnz <= 2 * live.most_counts:  # each pair stands twice
        return counts
    return renewable(counts, settings.ranking)


def transition_matrix(transitions: TransitionCounts, item_keys: NDArray[np.uint64]) -> sp.csr_array:
    """Return the counts f32 [n, n], [source, target]."""
    row = ItemRows(item_keys)(transitions.item_keys)
    source, target = row[transitions.source], row[transitions.target]
    known = (source >= 0) & (target >= 0)
    return matrix_of(transitions.count[known], source[known], target[known], len(item_keys))


def count_matrix(counts: CoInteractionCounts, item_keys: NDArray[np.uint64]) -> sp.csr_array:
    """Return the symmetric counts f32 [n, n], the items' users on the diagonal."""
    row = ItemRows(item_keys)(counts.item_keys)
    left, right = row[counts.left], row[counts.right]
    known = (left >= 0) & (right >= 0)
    left, right, count = left[known], right[known], counts.count[known].astype(np.float32)
    apart = left != right
    return matrix_of(
        np.concatenate([count, count[apart]]),
        np.concatenate([left, right[apart]]),
        np.concatenate([right, left[apart]]),
        len(item_keys),
    )
