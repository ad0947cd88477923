"""A static bundle with the counts of some events, and the counts one event at a time."""

from collections import Counter

import numpy as np
import scipy.sparse as sp

from dynamic_layer import ExampleBatch
from dynamic_layer.counts.state_weights import FOLLOWING, TOGETHER
from tests.dynamic_layer.worlds import Items, make_items

Pairs = Counter[tuple[int, int]]
MAX_DEGREE = 6


def strong_pairs(batch: ExampleBatch) -> Pairs:
    """The pairs of item keys that a batch adds to the state's counts, one event at a time."""
    found: Pairs = Counter()
    for row in range(len(batch)):
        if not batch.strong[row] or batch.repeat[row]:
            continue
        target = int(batch.target[row])
        found[target, target] += 1
        for entry in range(batch.indptr[row], batch.indptr[row + 1]):
            other = int(batch.history_item[entry])
            if batch.history_strong[entry] and other != target:
                found[min(target, other), max(target, other)] += 1
    return found


def counted_items(before: ExampleBatch) -> Items:
    """A static bundle with the counts of some events; its vectors know nothing of them."""
    items = make_items()
    n, row = len(items.item_keys), {int(key): row for row, key in enumerate(items.item_keys)}
    cells = [(row[a], row[b], count) for (a, b), count in strong_pairs(before).items()]
    left, right, count = np.array(cells).T
    half = sp.coo_array((count.astype(np.float32), (left, right)), shape=(n, n)).tocsr()
    matrix = (half + half.T - sp.diags_array(half.diagonal())).tocsr()
    items.counts = {TOGETHER: matrix, FOLLOWING: matrix}  # type: ignore[attr-defined]
    items.weights = {}  # type: ignore[attr-defined]
    items.manifest["settings"] = {"graph": {"max_degree": MAX_DEGREE}}
    return items
