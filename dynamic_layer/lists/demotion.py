"""Lists of users who dislike items: these are left out, and items like them are demoted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.hits import Hits
from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.lists.asking import Asking
from dynamic_layer.settings import ListSettings

__all__ = ["deeper", "demoted"]

#: Disliked items of a user, the latest first, that demote items like them.
NEAREST = 20


def deeper(asked: Asking, lists: Sequence[ListSettings]) -> int:
    """Return how many more candidates the lists of users who dislike items are chosen from.

    Four candidates for each item of the longest list, as for lists under a policy that reorders.
    """
    longest = max((settings.k for settings in lists), default=0)
    return min(max(50, 3 * longest), 300) if asked.disliked.shape[1] else 0


def demoted(hits: Hits, asked: Asking, index: ItemIndex) -> Hits:
    """Return the hits without items that are in no list, those like disliked ones demoted.

    Not in order.

    Scores are logarithms of chances. An item at cosine c > 0 of a disliked item's served vector
    loses c * log(demotion) of it; where several are disliked, the nearest one counts.
    """
    if not asked.unlisted.shape[1]:
        return hits
    hits = hits.without((hits.rows[:, :, None] == asked.unlisted[:, None, :]).any(axis=2))
    disliked = asked.disliked[:, :NEAREST]
    if not disliked.shape[1] or not hits.rows.shape[1]:
        return hits
    candidates = index.vectors(np.maximum(hits.rows, 0))[..., :-1]
    rejected = index.vectors(np.maximum(disliked, 0))[..., :-1]
    cosine = np.einsum("bcd,bxd->bcx", candidates, rejected)
    nearest = np.where(disliked[:, None, :] >= 0, cosine, 0).max(axis=2).clip(0, 1)
    return Hits(hits.rows, _lowered(hits.scores, nearest, asked.demotion))


def _lowered(
    scores: NDArray[np.float32], cosine: NDArray[np.float32], factor: NDArray[np.float32]
) -> NDArray[np.float32]:
    return (scores + cosine * np.log(factor)[:, None]).astype(np.float32)
