"""Where the targets of examples rank in what a bundle serves, over its whole catalogue."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle, served_vectors
from dynamic_layer.bundles.publish import EVERYWHERE
from dynamic_layer.examples.ranking import history_rows, known_rows, user_features
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows, rows_by_type
from dynamic_layer.lists.head_learning import made_lists, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.popularity.half_lives import HalfLives

_SCORES = 1 << 22  # scores that are held at once: 16 MiB


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Of `b` examples, how many items of the target's type come before it, ties counted half.

    served:     f64 [b], in the bundle's answer; inf where it would never be in it.
    popularity: f64 [b], in the favourites of the user's market; inf likewise.
    type_number: i64 [b], -1 where the bundle does not know the target.
    newcomer:   bool [b], whether the bundle knows nothing of the user's history.
    """

    served: NDArray[np.float64]
    popularity: NDArray[np.float64]
    type_number: NDArray[np.int64]
    newcomer: NDArray[np.bool_]


class ServedRanks:
    """Asks one bundle.

    As workers answer: by the head where the bundle has one, else by towers and popularity, and by
    the favourites of the market for users of whose history the bundle knows nothing, and for types
    whose own lists were behind popularity. Items that the
    user knew do not compete. Popularity is what the bundle knew of it when it was made.
    """

    def __init__(self, bundle: DynamicBundle) -> None:
        """bundle: is not changed; its served vectors are copied, by type."""
        self._bundle = bundle
        self._rows = ItemRows(bundle.item_keys)
        self._type = bundle.features.type_number.numpy()
        self._place = np.zeros(len(self._type), np.int64)  # of an item among those of its type
        served = served_vectors(bundle.vectors, bundle.bias)
        self._vectors: dict[int, NDArray[np.float32]] = {}
        self._of_type = rows_by_type(self._type)
        for number, rows in self._of_type.items():
            self._place[rows] = np.arange(len(rows))
            self._vectors[number] = served[rows]
        self._favour: dict[int, NDArray[np.int64]] = {}
        self._sorted: dict[tuple[int, int], NDArray[np.int64]] = {}
        self._popular = np.array([name in bundle.popularity_types for name in bundle.types])
        settings = ranking_settings(bundle) if bundle.head is not None else None
        self._lists = None if settings is None else (ListMaker(bundle, settings), settings)

    def ask(self, examples: PaddedExamples, popularity: Popularity) -> Ranks:
        """Return the ranks of examples. popularity: counts from which a head reads demand."""
        users = user_features(examples, self._rows, self._bundle.history_cap)
        history, target = history_rows(examples, self._rows), self._rows(examples.target)
        met = known_rows(examples, self._rows)
        known = target >= 0
        number = np.where(known, self._type[np.maximum(target, 0)], -1)
        newcomer = np.asarray(~(history >= 0).any(axis=1), np.bool_)
        by_favour = np.full(len(target), np.inf)
        for market in np.unique(examples.country[known]).tolist():
            chosen = np.flatnonzero(known & (examples.country == market))
            by_favour[chosen] = self._by_favour(market, target[chosen], met[chosen])
        popular = newcomer | (known & self._popular[np.maximum(number, 0)])
        served = np.where(popular, by_favour, np.inf)
        personal = np.flatnonzero(known & ~popular)
        if self._lists is not None:
            served[personal] = self._by_head(examples.take(personal), popularity)
        elif len(personal):
            queries = self._bundle.queries(self._bundle.user_vectors(users))
            for one in np.unique(number[personal]).tolist():
                chosen = personal[number[personal] == one]
                step = max(1, _SCORES // len(self._vectors[one]))
                for start in range(0, len(chosen), step):
                    part = chosen[start : start + step]
                    served[part] = self._by_towers(one, queries[part], target[part], met[part])
        return Ranks(served=served, popularity=by_favour, type_number=number, newcomer=newcomer)

    def learn(
        self, half_lives: HalfLives, examples: PaddedExamples, popularity: Popularity
    ) -> None:
        """Have half-lives asked about examples, by what popularity had counted before them."""
        half_lives.learn(
            examples, popularity,
            rows=self._rows, type_number=self._type, types=self._bundle.types,
        )  # fmt: skip

    def _by_towers(
        self,
        number: int,
        queries: NDArray[np.float32],
        target: NDArray[np.int64],
        history: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        scores = queries @ self._vectors[number].T
        each = np.arange(len(target))[:, None]
        aim = scores[each, self._place[target][:, None]]
        before = (scores > aim).sum(axis=1) + 0.5 * ((scores == aim).sum(axis=1) - 1)
        met = self._met(number, target, history)
        of_met = scores[each, self._place[np.maximum(history, 0)] * met]
        return np.asarray(before - _ahead(of_met, aim, met), np.float64)

    def _by_favour(
        self, market: int, target: NDArray[np.int64], history: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        market = market if market in self._bundle.popularity else EVERYWHERE
        favour = self._favoured(market)
        rank = np.zeros(len(target))
        for number in np.unique(self._type[target]).tolist():
            chosen = self._type[target] == number
            if (market, number) not in self._sorted:
                self._sorted[market, number] = np.sort(favour[self._of_type[number]])
            ascending, aim = self._sorted[market, number], favour[target[chosen]]
            right = np.searchsorted(ascending, aim, "right")
            ties = right - np.searchsorted(ascending, aim, "left") - 1
            met = self._met(number, target[chosen], history[chosen])
            of_met = favour[np.maximum(history[chosen], 0)]
            ahead = _ahead(of_met, aim[:, None], met)
            rank[chosen] = len(ascending) - right + 0.5 * ties - ahead
        return rank

    def _favoured(self, market: int) -> NDArray[np.int64]:
        """Return numbers that rise with an item's demand in a market, i64 [n].

        Ties are settled by all markets, as workers do; equal in both is equal here.
        """
        if market not in self._favour:
            own, everywhere = self._bundle.popularity[market], self._bundle.popularity[EVERYWHERE]
            order = np.lexsort((everywhere, own))
            rises = (np.diff(own[order]) != 0) | (np.diff(everywhere[order]) != 0)
            numbers = np.zeros(len(own), np.int64)
            numbers[order] = np.concatenate([[0], np.cumsum(rises)])
            self._favour[market] = numbers
        return self._favour[market]

    def _by_head(self, examples: PaddedExamples, popularity: Popularity) -> NDArray[np.float64]:
        rank = np.full(len(examples), np.inf)
        if self._lists is not None:
            maker, settings = self._lists
            for made in made_lists(
                self._bundle, maker, examples, popularity, settings.demand_half_lives_days
            ):
                rank[made.place] = np.where(made.before >= 0, made.before, np.inf)
        return rank

    def _met(
        self, number: int, target: NDArray[np.int64], history: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return which entries of the history would compete if they had not been met."""
        of_type = self._type[np.maximum(history, 0)] == number
        return np.asarray((history >= 0) & of_type & (history != target[:, None]), np.bool_)


def _ahead(scores: NDArray[Any], aim: NDArray[Any], met: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how much of a rank is items that were met, f64 [b].

    scores, met: [b, h]; aim: [b, 1].
    """
    before = ((scores > aim) & met).sum(axis=1) + 0.5 * ((scores == aim) & met).sum(axis=1)
    return np.asarray(before, np.float64)
