"""What each group of features adds to a head's score: Shapley values over the groups."""

from collections.abc import Sequence
from math import factorial

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.head.ranking_head import RankingHead

__all__ = ["contributions"]


def contributions(
    head: RankingHead, features: NDArray[np.float32], groups: Sequence[str]
) -> tuple[float, dict[str, NDArray[np.float64]]]:
    """Return the score of an average candidate, and what each group adds to it, f64 [m] each.

    features: f32 [m, f]; groups: of each feature. A group that is left out has the mean values of
    the training lists. Its contribution is the mean, over all orders of the groups, of what it
    changes when it comes in (Shapley 1953; Lundberg and Lee 2017). The base and all contributions
    sum to the score. Takes 2^g passes for g groups.
    """
    names = list(dict.fromkeys(groups))
    count, m = len(names), len(features)
    number = np.array([names.index(group) for group in groups])
    present = np.arange(2**count)[:, None] >> np.arange(count) & 1
    mean = head.mean.numpy()
    sets = np.where(present[:, None, number].astype(np.bool_), features[None], mean)
    worth = head.scores(
        sets.reshape(1, -1, len(groups)).astype(np.float32), np.ones((1, 2**count * m), np.bool_)
    ).reshape(2**count, m).astype(np.float64)  # fmt: skip
    size = present.sum(axis=1)
    found = {}
    for place, name in enumerate(names):
        without = np.flatnonzero(present[:, place] == 0)
        weight = np.array(
            [factorial(n) * factorial(count - n - 1) / factorial(count) for n in size[without]]
        )
        found[name] = weight @ (worth[without | 1 << place] - worth[without])
    return float(worth[0, 0]) if m else 0.0, found
