"""Which targets of examples are among the ten best of a bundle's head, and of its towers."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.lists.head_learning import made_lists, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.popularity.event_counts import Popularity

__all__ = ["HitRates", "head_hits", "hit_rates"]


class HitRates(NamedTuple):
    """HR@10 of a bundle's head and of its towers on the same examples, and where they differ.

    better, worse: examples that only the head, and only the towers, have among their best ten.
    """

    head: float
    towers: float
    better: int
    worse: int

    @property
    def towers_win(self) -> bool:
        """Whether the towers are ahead by more than chance: twice the deviation of a fair coin."""
        return self.worse - self.better >= 2 * math.sqrt(self.better + self.worse) > 0


def hit_rates(bundle: DynamicBundle, examples: PaddedExamples, popularity: Popularity) -> HitRates:
    """Return HR@10 of a bundle's head and of its towers on the same examples.

    Items that the user knew do not compete; targets that are unknown or no candidates are misses.
    """
    settings = ranking_settings(bundle)
    if settings is None or not len(examples):
        return HitRates(0.0, 0.0, 0, 0)
    maker = ListMaker(bundle, settings)
    head = towers = better = worse = 0
    for made in made_lists(bundle, maker, examples, popularity, settings.demand_half_lives_days):
        head += int(made.head.sum())
        towers += int(made.towers.sum())
        better += int((made.head & ~made.towers).sum())
        worse += int((made.towers & ~made.head).sum())
    return HitRates(head / len(examples), towers / len(examples), better, worse)


def head_hits(
    bundle: DynamicBundle, examples: PaddedExamples, popularity: Popularity
) -> NDArray[np.bool_]:
    """Return which targets are among the ten best of a bundle's head, bool [b]."""
    hits, settings = np.zeros(len(examples), np.bool_), ranking_settings(bundle)
    if settings is None or not len(examples):
        return hits
    maker = ListMaker(bundle, settings)
    for made in made_lists(bundle, maker, examples, popularity, settings.demand_half_lives_days):
        hits[made.place] = made.head
    return hits
