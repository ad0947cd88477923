"""Item-item weights from the merged state: what the static job adds to its bundle."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer.counts.item_weights import capped, ease_weights
from dynamic_layer.items.features import ItemRows
from dynamic_layer.settings import EaseSettings
from static_layer.graph import CoInteractionCounts


def state_weights(
    counts: CoInteractionCounts, item_keys: NDArray[np.uint64], settings: EaseSettings
) -> dict[str, sp.csr_array]:
    """Return item-item weights f32 [n, n] by name; rows are places in `item_keys`, u64 [n].

    Items that the counts do not have get no weights, and counts of other items are left out.
    """
    matrix = capped(count_matrix(counts, item_keys), settings.degree_cap)
    if not (matrix.diagonal() >= settings.min_users).sum() > 1:
        return {"ease": matrix * np.float32(0)}
    return {"ease": ease_weights(matrix, settings)}


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
