"""Recommendations: histories in, ranked lists out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.index.item_index import Hits
from dynamic_layer.items.features import (
    COUNTRIES,
    ItemFeatures,
    ItemRows,
    UserFeatures,
    age_of,
    bucket_of,
)
from dynamic_layer.lists.head_ranker import HeadRanker
from dynamic_layer.lists.list_maker import Asking, asking
from dynamic_layer.popularity.live import LivePopularity
from dynamic_layer.serving.live_demand import LiveDemand
from dynamic_layer.serving.rankings import ItemNames, ListSettings, Ranking, UserState


class Recommender:
    """Serves one bundle, with items that came or went since it was made.

    A batch of users costs one pass of the user tower and one search per item type; where the bundle
    has a head, it ranks what the search and its other sources propose. Users whose history holds
    no known item get the recent popularity of their market. Not thread-safe: swap the recommender,
    do not share it.
    """

    def __init__(
        self, bundle: DynamicBundle, live: LivePopularity | None = None, *, use_head: bool = True
    ) -> None:
        """bundle: stays as it is; items added here live in this object.

        live: counts of demand that go on after the bundle was made; use_head: rank by the bundle's
        head if it has one.
        """
        self.bundle = bundle
        self._items = bundle.features
        self._prepared = bundle.prepared(bundle.features)
        self._rows = ItemRows(bundle.item_keys)
        self._keys = bundle.item_keys
        self._names = ItemNames(ids=list(bundle.item_ids), types=list(bundle.item_types))
        self._index = bundle.index.copy()
        self._type_number = {name: number for number, name in enumerate(bundle.types)}
        self._history_cap = int(bundle.manifest["settings"]["replay"]["history_cap"])
        self._bias_of_new = _average_bias(bundle)
        self._demand = LiveDemand(bundle, live)
        self._head = HeadRanker.of(bundle, self._index) if use_head else None

    def __len__(self) -> int:
        """Items that can be recommended."""
        return len(self._index)

    @property
    def has_head(self) -> bool:
        """Whether lists of discovery are ranked by a head."""
        return self._head is not None

    def knows(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which items have a vector here, bool [m]."""
        return self._rows(keys) >= 0

    def add_items(
        self,
        *,
        item_keys: NDArray[np.uint64],
        item_ids: Sequence[str],
        item_types: Sequence[str],
        languages: Sequence[str | None],
        genres: Sequence[Sequence[str] | None],
        text: NDArray[Any],
    ) -> int:
        """Make new items recommendable at once; return how many were new.

        text: [m, dt], vectors of the static bundle's encoder. Items that are known already, and
        items of types that the towers never saw, wait for the next bundle.
        """
        known_type = np.array([name in self._type_number for name in item_types], np.bool_)
        new = np.flatnonzero(~self.knows(item_keys) & known_type)
        _, first = np.unique(item_keys[new], return_index=True)
        new = new[np.sort(first)]
        if not len(new):
            return 0
        chosen: list[int] = new.tolist()
        features, vectors = self.bundle.embed(
            item_types=[item_types[row] for row in chosen],
            languages=[languages[row] for row in chosen],
            genres=[genres[row] for row in chosen],
            text=np.asarray(text)[new],
        )
        # Nobody has met them, which says nothing of their worth: they get the average demand.
        bias = self._bias_of_new[features.type_number.numpy()]
        self._index.add(
            np.concatenate([vectors, bias[:, None]], axis=1).astype(np.float32),
            features.type_number.numpy(),
        )
        if self._head is not None:
            self._head.add_items(features.type_number.numpy(), vectors)
        self._demand.add_items(item_keys[new], features.type_number.numpy())
        self._items = self._items.join(features)
        self._prepared = torch.cat([self._prepared, self.bundle.prepared(features)])
        self._keys = np.concatenate([self._keys, item_keys[new]])
        self._rows = ItemRows(self._keys)
        self._names.ids.extend(item_ids[row] for row in chosen)
        self._names.types.extend(item_types[row] for row in chosen)
        return len(new)

    def remove_items(self, item_keys: NDArray[np.uint64]) -> int:
        """Stop recommending items; return how many of them were known."""
        rows = self._rows(item_keys)
        self._index.remove(rows[rows >= 0])
        return int((rows >= 0).sum())

    def recommend(
        self,
        users: Sequence[UserState],
        lists: Sequence[ListSettings],
        now_ms: int,
        *,
        hurry: bool = False,
    ) -> list[dict[str, Ranking]]:
        """Return, for each user, a ranking for each list by name.

        hurry: rank by towers and popularity even where there is a head, in about half the time.
        """
        if not users:
            return []
        head = None if hurry else self._head
        history = self._histories(users)
        features = self._features(users, history, now_ms)
        asked = asking(self.bundle, features, history, self._user_vectors(features))
        markets = bucket_of([user.country for user in users], COUNTRIES)
        personal: list[bool] = np.any(history >= 0, axis=1).tolist()
        answers: list[dict[str, Ranking]] = [{} for _ in users]
        # Lists that draw from the same types share what was found of these.
        new, all_items = (
            self._search(asked, lists, repeats, head, now_ms) for repeats in ("exclude", "include")
        )
        for settings in lists:
            types = self._numbers(settings.item_types)
            discovery = settings.repeats == "exclude"
            by_head = discovery and head is not None
            if settings.repeats == "only":
                hits = self._among_history(asked.queries, history, types, settings.k)
            else:
                parts = [(new if discovery else all_items)[number] for number in types]
                if discovery and head is not None and len(types) > 1:
                    parts = head.across(asked.histories, types, parts)
                hits = Hits.join(parts, len(users)).best(settings.k)
            # Items from the front of the row on, then -1: one conversion for all users.
            chosen: list[list[int]] = hits.rows.tolist()
            for place, answer in enumerate(answers):
                if personal[place] or settings.repeats == "only":
                    scores = hits.scores[place]
                    answer[settings.name] = self.ranking(chosen[place], scores, by_head=by_head)
                else:
                    market = int(markets[place])
                    answer[settings.name] = self._popular(market, types, settings.k, now_ms)
        return answers

    def _search(
        self,
        asked: Asking,
        lists: Sequence[ListSettings],
        repeats: str,
        head: HeadRanker | None,
        now_ms: int,
    ) -> dict[int, Hits]:
        """Return the best items of each type that the lists of a kind draw from."""
        lists = [settings for settings in lists if settings.repeats == repeats]
        numbers = sorted({n for settings in lists for n in self._numbers(settings.item_types)})
        depth = max((settings.k for settings in lists), default=0)
        met = asked.met if repeats == "exclude" else None
        if numbers and met is not None and head is not None:
            return head.best(asked, numbers, self._demand.at(now_ms), depth)
        return {n: self._index.search_type(asked.queries, n, depth, met) for n in numbers}

    def rows(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the row of each item, i64 of the same shape; -1 where it has no vector here."""
        return self._rows(keys)

    @property
    def features(self) -> ItemFeatures:
        """Features of all items, later ones included, by row."""
        return self._items

    def served_vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return item vectors of unit length, and behind them the bias: f32 [..., d + 1]."""
        return self._index.vectors(rows)

    def user_vector(self, user: UserState, now_ms: int) -> NDArray[np.float32]:
        """Return a user's query without the bias' place, f32 [d]: vector / temperature."""
        history = self._histories([user])
        features = self._features([user], history, now_ms)
        query = self.bundle.queries(self._user_vectors(features))
        return np.asarray(query[0, :-1], np.float32)

    def nearest(
        self,
        vectors: NDArray[np.float32],
        item_types: Sequence[str],
        k: int,
        exclude: NDArray[np.int64] | None = None,
    ) -> list[Ranking]:
        """Return the items of some types with the greatest cosine; popularity plays no part.

        vectors: f32 [b, d], of unit length; exclude: i64 [b, e], rows, -1 for none.
        """
        queries = np.concatenate([vectors, np.zeros((len(vectors), 1), np.float32)], axis=1)
        parts = [
            self._index.search_type(queries, number, k, exclude)
            for number in self._numbers(item_types)
        ]
        hits = Hits.join(parts, len(queries)).best(k)
        return [self.ranking(*hit) for hit in zip(hits.rows.tolist(), hits.scores, strict=True)]

    def _user_vectors(self, features: UserFeatures) -> torch.Tensor:
        return self.bundle.vectors_of(features, self._prepared, self._items.type_number)

    def _numbers(self, item_types: Sequence[str]) -> list[int]:
        wanted = item_types or self._type_number
        return sorted(self._type_number[name] for name in wanted if name in self._type_number)

    def _histories(self, users: Sequence[UserState]) -> NDArray[np.int64]:
        """Return the item rows of the users' histories, i64 [b, h], -1 for none or unknown."""
        width = max(1, *(len(user.history_item) for user in users))
        keys = np.zeros((len(users), width), np.uint64)
        filled = np.zeros((len(users), width), np.bool_)
        for place, user in enumerate(users):
            keys[place, : len(user.history_item)] = user.history_item
            filled[place, : len(user.history_item)] = True
        return np.where(filled, self._rows(keys), -1)

    def _features(
        self, users: Sequence[UserState], history: NDArray[np.int64], now_ms: int
    ) -> UserFeatures:
        width = min(history.shape[1], self._history_cap)
        age_s = np.zeros((len(users), width), np.float32)
        strong = np.zeros((len(users), width), np.bool_)
        for place, user in enumerate(users):
            times = user.history_time[:width]
            age_s[place, : len(times)] = np.maximum(now_ms - times, 0) / 1_000
            strong[place, : len(times)] = user.history_strong[:width]
        return UserFeatures(
            history=torch.from_numpy(history[:, :width]),
            age_s=torch.from_numpy(age_s),
            strong=torch.from_numpy(strong),
            country=torch.from_numpy(bucket_of([user.country for user in users], COUNTRIES)),
            age=torch.from_numpy(
                age_of(np.array([user.birth_year for user in users]), np.full(len(users), now_ms))
            ),
        )

    def _among_history(
        self,
        queries: NDArray[np.float32],
        history: NDArray[np.int64],
        types: Sequence[int],
        k: int,
    ) -> Hits:
        allowed = (history >= 0) & ~self._index.is_removed(history)
        allowed &= np.isin(self._items.type_number.numpy()[np.maximum(history, 0)], types)
        vectors = self._index.vectors(np.maximum(history, 0))
        scores = np.einsum("bd,bhd->bh", queries, vectors)
        return Hits(history, np.where(allowed, scores, np.float32(-np.inf))).best(k)

    def _popular(self, market: int, types: Sequence[int], k: int, now_ms: int) -> Ranking:
        """Return the items most in demand in a market; in all markets where it is unknown."""
        counts, best = self._demand.favourites(market, types, k, self._index.removed, now_ms)
        rows = np.concatenate(
            [np.zeros(0, np.int64), *(part[~self._index.is_removed(part)][:k] for part in best)]
        )
        rows = rows[np.argsort(-counts[rows], kind="stable")][:k]
        return self.ranking(rows.tolist(), np.log1p(counts[rows]))

    def ranking(
        self, rows: Sequence[int], scores: NDArray[np.float32], *, by_head: bool = False
    ) -> Ranking:
        """Return the items of rows, best first; -1 only behind them."""
        known = len(rows) - rows.count(-1)
        return Ranking(names=self._names, rows=rows[:known], scores=scores[:known], by_head=by_head)


def _average_bias(bundle: DynamicBundle) -> NDArray[np.float32]:
    """Return the logarithm of the average demand of each type's items, f32 [types].

    Demand is averaged, not its logarithm: the scores' logarithms stand for chances, and the chance
    of an item of which nothing is known is the mean of what it may turn out to be. A few items have
    most of the demand, so that the mean of the logarithms, which is that of a common item, is far
    below it.
    """
    number, bias = bundle.features.type_number.numpy(), bundle.bias.astype(np.float64)
    found = np.zeros(len(bundle.types), np.float32)
    for of_type in range(len(found)):
        own = bias[number == of_type]
        if len(own):
            found[of_type] = np.log(np.exp(own - own.max()).mean()) + own.max()
    return found
