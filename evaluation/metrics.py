"""Metrics of ranked lists: small pure functions.

Every function takes `ranks`: per user, the 0-based ranks at which held-out items of the user
stand, ascending, an integer array per user (empty where none was ranked). Values are floats
in [0, 1].
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ranks = Sequence[npt.NDArray[np.integer]]


def hit_rate(ranks: Ranks, k: int = 10) -> npt.NDArray[np.float64]:
    """HR@k of each user: 1 if at least one held-out item stands in the top k, f64[users].

    >>> hit_rate([np.array([0, 12]), np.array([10]), np.array([9]), np.array([], int)], k=10)
    array([1., 0., 1., 0.])
    """
    return np.array([float((row < k).any()) for row in ranks])


def recall(
    ranks: Ranks, held_out: npt.NDArray[np.integer], k: int = 100
) -> npt.NDArray[np.float64]:
    """Recall@k of each user: held-out items in the top k / held-out items, f64[users].

    >>> recall([np.array([0, 12]), np.array([3])], np.array([4, 1]), k=10)
    array([0.25, 1.  ])
    """
    found = np.array([float((row < k).sum()) for row in ranks])
    return np.asarray(found / np.maximum(held_out, 1))


def ndcg(ranks: Ranks, held_out: npt.NDArray[np.integer], k: int = 10) -> npt.NDArray[np.float64]:
    """NDCG@k of each user: sum of 1 / log2(rank + 2), divided by that of a perfect list.

    >>> ndcg([np.array([0]), np.array([1]), np.array([0, 1])], np.array([1, 1, 2]), k=10).round(3)
    array([1.   , 0.631, 1.   ])
    """
    gains = 1 / np.log2(np.arange(k) + 2)
    best = np.concatenate([[1.0], np.cumsum(gains)])[np.minimum(held_out, k)]
    found = np.array([gains[row[row < k]].sum() for row in ranks])
    return np.asarray(found / best)


def mrr(ranks: Ranks, k: int = 100) -> npt.NDArray[np.float64]:
    """MRR@k of each user: 1 / (1 + rank) of the best held-out item in the top k, else 0.

    >>> mrr([np.array([0, 3]), np.array([1]), np.array([100])], k=100)
    array([1. , 0.5, 0. ])
    """
    return np.array([1 / (1 + row[0]) if len(row) and row[0] < k else 0.0 for row in ranks])


def coverage(recommended: npt.NDArray[np.integer], catalogue: int) -> float:
    """Distinct recommended items / items in the catalogue; negative entries mean none.

    >>> coverage(np.array([[0, 1], [1, -1]]), catalogue=4)
    0.5
    """
    items = np.unique(recommended)
    return float((items >= 0).sum() / max(catalogue, 1))


def bootstrap_interval(
    values: npt.NDArray[np.float64],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    draws: int = 1_000,
) -> tuple[float, float]:
    """Interval of the mean over users, by resampling users with replacement.

    >>> low, high = bootstrap_interval(np.array([0.0, 1.0] * 50), np.random.default_rng(0))
    >>> 0.38 < low < 0.42, 0.58 < high < 0.62
    (True, True)
    """
    if not len(values):
        return float("nan"), float("nan")
    # The counts of a resample are multinomial: for few distinct values (hits) this is far
    # cheaper than drawing every user again.
    distinct, counts = np.unique(values, return_counts=True)
    means = rng.multinomial(len(values), counts / len(values), size=draws) @ distinct / len(values)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
