"""A head that reads more features than it has learned: the new ones weigh nothing at first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.head.ranking_head import HeadTrainer, RankingHead
from dynamic_layer.saved import Saved, module_saved, restore_module
from static_layer.seeding import seeded

__all__ = ["grown_head", "grown_trainer", "only_adds"]


def only_adds(before: Sequence[str], after: Sequence[str]) -> bool:
    """Return whether features are the earlier ones, in their order, and others between them.

    >>> only_adds(["a", "c"], ["a", "b", "c"]), only_adds(["a", "c"], ["c", "a", "b"])
    (True, False)
    """
    return [name for name in after if name in set(before)] == list(before)


def grown_head(head: RankingHead, names: Sequence[str]) -> RankingHead:
    """Return a head of the same scores that reads `names`; see `only_adds`.

    The same object where it reads them already.
    """
    if head.names == list(names):
        return head
    with seeded(0):
        found = RankingHead(names, head.hidden)
    restore_module(found, _wider(module_saved(head), head.names, names))
    return found.eval()


def grown_trainer(
    trainer: HeadTrainer, before: Sequence[str], names: Sequence[str], *, seed: int
) -> HeadTrainer:
    """Return a trainer that goes on where another of the features `before` was, with `names`.

    In the lists at hand the new features are 0. seed: of the trainer.
    """
    found = HeadTrainer(names, trainer.settings, seed=seed)
    found.restore(_wider(trainer.saved(), before, names))
    return found


def _wider(saved: Saved, before: Sequence[str], after: Sequence[str]) -> Saved:
    """Return what was saved with a column for each feature of `after`, 0 for the new ones.

    What a feature has one of is last in an array's shape; deviations of new ones are 1.
    """
    place = {name: column for column, name in enumerate(before)}
    kept = np.array([place.get(name, -1) for name in after])

    def wider(name: str, array: NDArray[Any]) -> NDArray[Any]:
        if not array.ndim or array.shape[-1] != len(before) or not _by_feature(name):
            return array
        fresh = 1 if name.endswith("deviation") else 0
        return np.where(kept >= 0, array[..., kept], array.dtype.type(fresh))

    arrays = {name: wider(name, array) for name, array in saved.arrays.items()}
    return Saved(arrays=arrays, values=saved.values)


def _by_feature(name: str) -> bool:
    """Return whether an array of a head or its trainer has a column for each feature.

    Of an optimiser, parameters are numbered as in the head: linear weights, then the inner layer's.
    """
    ends = ("mean", "deviation", "linear.weight", "inner.weight", "features")
    moments = tuple(f"optimiser/{n}.{m}" for n in (0, 1) for m in ("exp_avg", "exp_avg_sq"))
    return name.endswith(ends) or name in moments
