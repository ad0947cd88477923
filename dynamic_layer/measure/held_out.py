"""Held-out examples, and which of their targets each bundle ranks in its top ten."""

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.examples.ranking import affinities, known_rows, user_features
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.hit_rates import head_hits
from dynamic_layer.measure.against_popularity import (
    AgainstPopularity,
    compared,
    popularity_hits,
)
from dynamic_layer.popularity.event_counts import Popularity

__all__ = ["HeldOut", "target_hits"]

_K = 10


class HeldOut:
    """Held-out examples, oldest first; each bundle ranks each of them once.

    Ranking takes most of the time of a judgement, and several comparisons need the same ranks.
    """

    def __init__(self, examples: PaddedExamples, popularity: Popularity | None = None) -> None:
        """Order the examples by time.

        popularity: counts from which the demand of each example's time is read; without it a head
        cannot be judged, and the towers stand in for it.
        """
        self.popularity = popularity
        self._examples = examples.newest(len(examples))
        self._own: dict[int, tuple[DynamicBundle, NDArray[np.bool_]]] = {}

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._examples)

    def newest(self, n: int) -> PaddedExamples:
        """Return the newest `n` examples, oldest first; all if there are fewer."""
        return self._examples.take(np.arange(max(0, len(self) - n), len(self)))

    def own_hits(self, bundle: DynamicBundle, n: int) -> NDArray[np.bool_]:
        """Return which of the newest `n` targets are in the top ten of a bundle's head or towers.

        bool [n], oldest first.
        """
        _, known = self._own.get(id(bundle), (bundle, np.zeros(0, np.bool_)))
        first, last = max(0, len(self) - n), len(self) - len(known)
        if first < last:
            found = self._made(bundle, self._examples.take(np.arange(first, last)))
            known = np.concatenate([found, known])
            # The bundle is kept with its hits, so that no other object can get its id.
            self._own[id(bundle)] = bundle, known
        return known[len(known) - (len(self) - first) :]

    def _made(self, bundle: DynamicBundle, examples: PaddedExamples) -> NDArray[np.bool_]:
        if bundle.head is None or self.popularity is None:
            return target_hits(bundle, examples)
        return head_hits(bundle, examples, self.popularity)

    def served_hits(self, bundle: DynamicBundle, n: int) -> NDArray[np.bool_]:
        """Return which of the newest `n` targets are in the top ten that a bundle serves.

        bool [n], oldest first. Of its own lists, or of live popularity for the types that it serves
        by that.
        """
        hits = self.own_hits(bundle, n)
        if self.popularity is None or not bundle.popularity_types or not len(hits):
            return hits
        questions = self.newest(n)
        target = ItemRows(bundle.item_keys)(questions.target)
        of_types = [name in bundle.popularity_types for name in bundle.types]
        number = bundle.features.type_number.numpy()[np.maximum(target, 0)]
        by_demand = np.array(of_types)[number] & (target >= 0)
        hits = hits.copy()
        asked = questions.take(by_demand)
        hits[by_demand] = popularity_hits(bundle, asked, self.popularity)
        return hits

    def served_hit_rate(self, bundle: DynamicBundle) -> float:
        """Return HR@10 of what a bundle serves: the mean of `served_hits`; 0 without examples."""
        return float(self.served_hits(bundle, len(self)).mean()) if len(self) else 0.0

    def against_popularity(self, bundle: DynamicBundle, n: int) -> dict[str, AgainstPopularity]:
        """Compare a bundle's own lists with live popularity on the newest `n`, by item type."""
        questions = self.newest(n)
        if self.popularity is None or not len(questions):
            return {}
        popular = popularity_hits(bundle, questions, self.popularity)
        return compared(bundle, self.own_hits(bundle, n), popular, questions)


def target_hits(bundle: DynamicBundle, examples: PaddedExamples, k: int = _K) -> NDArray[np.bool_]:
    """Return which targets are among the k best items of their type by a bundle's towers, bool [b].

    Items that the user knew do not compete; targets that the bundle does not know are misses.
    """
    rows = ItemRows(bundle.item_keys)
    users = user_features(examples, rows, bundle.history_cap)
    target = torch.from_numpy(rows(examples.target))
    known = (target >= 0).numpy()
    hits, bias = np.zeros(len(examples), np.bool_), torch.from_numpy(bundle.bias)
    queries = bundle.user_vectors(users) / bundle.model.temperature
    for found in affinities(
        queries,
        torch.from_numpy(bundle.vectors),
        target=target.clamp(min=0),
        known=torch.from_numpy(known_rows(examples, rows)),
        type_number=bundle.features.type_number,
    ):
        hits[found.examples] = (found.ranks(bias) < k) & known[found.examples]
    return hits
