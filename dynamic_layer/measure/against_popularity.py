"""Whether a bundle beats live popularity, by item type; where it does not, popularity is served.

Every new adopter has little data at first. Then a bundle's lists may be no better than the items
most in demand, and worse by chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.half_lives import demand_ranks

_K = 10
#: Questions of a type without which nothing is decided.
LEAST = 64


@dataclass(frozen=True, kw_only=True)
class AgainstPopularity:
    """A bundle and live popularity on the questions of one item type.

    hr_at_10, popularity_hr_at_10: of both; popularity: whether popularity is to be served, since
    the bundle is behind it.
    """

    questions: int
    hr_at_10: float
    popularity_hr_at_10: float
    popularity: bool


def popularity_hits(
    bundle: DynamicBundle, questions: PaddedExamples, popularity: Popularity
) -> NDArray[np.bool_]:
    """Return which targets are in the top ten of live popularity, bool [b].

    By the counts of all markets before each question, at the half-life of the target's type.
    """
    rows, type_number = ItemRows(bundle.item_keys), bundle.features.type_number.numpy()
    half_lives = bundle.half_lives_days
    days = sorted(set(half_lives.values()))
    ranks = demand_ranks(
        questions, popularity, rows=rows, type_number=type_number, half_lives_days=days
    )
    column = np.array([days.index(half_lives[name]) for name in bundle.types])
    target = rows(questions.target)
    own = column[type_number[np.maximum(target, 0)]]
    hits = ranks[np.arange(len(target)), own] < _K
    return np.asarray(hits & (target >= 0), np.bool_)


def compared(
    bundle: DynamicBundle,
    hits: NDArray[np.bool_],
    popular: NDArray[np.bool_],
    questions: PaddedExamples,
) -> dict[str, AgainstPopularity]:
    """Return the comparison of each type with enough questions.

    hits, popular: bool [b], of the bundle's own lists and of popularity.
    """
    target = ItemRows(bundle.item_keys)(questions.target)
    number = np.where(target >= 0, bundle.features.type_number.numpy()[np.maximum(target, 0)], -1)
    found = {}
    for place, name in enumerate(bundle.types):
        own = number == place
        if own.sum() < LEAST:
            continue
        rate, popular_rate = float(hits[own].mean()), float(popular[own].mean())
        found[name] = AgainstPopularity(
            questions=int(own.sum()),
            hr_at_10=rate,
            popularity_hr_at_10=popular_rate,
            popularity=popular_rate > rate,
        )
    return found
