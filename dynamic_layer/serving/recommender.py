"""Recommendations: histories in, ranked lists out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle, served_vectors
from dynamic_layer.bundles.row_delta import BundleRows
from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.items.features import (
    COUNTRIES,
    ItemFeatures,
    ItemRows,
    UserFeatures,
    bucket_of,
)
from dynamic_layer.items.grown_items import NewItems
from dynamic_layer.lists.asking import Asking, asking
from dynamic_layer.lists.head_ranker import HeadRanker
from dynamic_layer.policies.in_force import InForce
from dynamic_layer.policies.policy import Policies, Policy
from dynamic_layer.policies.rules import Explore
from dynamic_layer.popularity.live import LivePopularity
from dynamic_layer.popularity.shown_counts import ShownCounts
from dynamic_layer.serving.batch import Batch
from dynamic_layer.serving.list_search import ListSearch
from dynamic_layer.serving.live_demand import LiveDemand
from dynamic_layer.serving.new_items import ItemsToExplore
from dynamic_layer.serving.policy_lists import PolicyLists
from dynamic_layer.serving.rankings import ItemNames, Ranking, UserState
from dynamic_layer.serving.reasons import Filtered, RuleEffect
from dynamic_layer.serving.served_rows import ServedRows
from dynamic_layer.serving.user_reading import (
    features_of,
    histories_of,
    impressions_of,
    known_of,
    rows_of,
    tower_part,
)
from dynamic_layer.settings import ListSettings
from state.items import item_key


class Recommender:
    """Serves one bundle, with items that came or went since it was made.

    A batch of users costs one pass of the user tower and one search for each item type of a list,
    or one for all of them where a list has many; where the bundle has a head, it ranks what the
    search and its other sources propose. Users whose history holds no known item get the recent
    popularity of their market. Not thread-safe: swap the recommender, do not share it.
    """

    def __init__(
        self,
        bundle: DynamicBundle,
        live: LivePopularity | None = None,
        *,
        shown: ShownCounts | None = None,
        use_head: bool = True,
        in_force: InForce | None = None,
    ) -> None:
        """bundle: stays as it is; items added here live in this object.

        live: counts of demand that go on after the bundle was made; shown: counts of what was shown
        and taken, None where no impressions are read; use_head: rank by the bundle's head if it has
        one; in_force: policies of lists, shared with the code that changes them.
        """
        self.bundle = bundle
        self._items = bundle.features
        self._prepared = bundle.prepared(bundle.features)
        self._rows = ItemRows(bundle.item_keys)
        self._keys = bundle.item_keys
        self._names = ItemNames(ids=list(bundle.item_ids), types=list(bundle.item_types))
        self._index = bundle.index.copy()
        self._type_number = {name: number for number, name in enumerate(bundle.types)}
        self._bias_of_new = bundle.new_bias
        self._demand = LiveDemand(bundle, live, self._rows)
        self._shown = shown
        #: What ranks lists of discovery; None without a head.
        self.head = HeadRanker.of(bundle, self._index) if use_head else None
        self.search = ListSearch(bundle, self._index, self._demand, self.head)
        self.served_rows = ServedRows(bundle, self._index, self.head)
        self._in_force = in_force
        self._limited = (
            None if in_force is None else PolicyLists(in_force, self, self.search, self._index)
        )

    def __len__(self) -> int:
        """Items that can be recommended."""
        return len(self._index)

    @property
    def has_head(self) -> bool:
        """Whether lists of discovery are ranked by a head."""
        return self.head is not None

    @property
    def index(self) -> ItemIndex:
        """Served vectors of all items, later ones included."""
        return self._index

    @property
    def keys(self) -> NDArray[np.uint64]:
        """Keys of all items by row, later ones included."""
        return self._keys

    def shown_and_taken(
        self, rows: NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how often items were shown and of it taken, by all users inside the window.

        rows: of items, [n]; int64 [n] each. See `ShownCounts`; 0 where no impressions are read.
        """
        if self._shown is None:
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        return self._shown.of(self._keys[rows])

    @property
    def in_force(self) -> InForce | None:
        """What is shared with the code that changes policies; None without policies."""
        return self._in_force

    def policy_of(self, name: str) -> Policy | None:
        """Return the policy of a list; None without one."""
        return None if self._in_force is None else self._in_force.policies.of(name)

    def knows(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which items have a vector here, bool [m]."""
        return self._rows(keys) >= 0

    def type_of(self, key: np.uint64) -> str:
        """Return the type of an item that is known here."""
        return self._names.types[int(self._rows(np.array([key], np.uint64))[0])]

    def lasting(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which items the static bundle behind this one has, bool [m]."""
        rows = self._rows(keys)
        return np.asarray((rows >= 0) & (rows < self.bundle.static_items))

    def add_items(self, items: NewItems) -> int:
        """Make new items of the bundle's types recommendable at once; return how many were new."""
        new = items.addable(self._rows, self._type_number)
        if not len(new):
            return 0
        features, vectors = self.bundle.embed(
            item_types=new.item_types, languages=new.languages, genres=new.genres, text=new.text
        )
        # They have no events, which says nothing of their quality: they get the average demand.
        bias = self._bias_of_new[features.type_number.numpy()]
        served = served_vectors(vectors, bias).astype(np.float32)
        self._index.add(served, features.type_number.numpy())
        self.served_rows.add_items(served)
        self.search.add_items(features.type_number.numpy())
        if self.head is not None:
            self.head.add_items(features, vectors)
        self._demand.add_items(new.item_keys, features.type_number.numpy())
        self._items = self._items.join(features)
        self._prepared = torch.cat([self._prepared, self.bundle.prepared(features)])
        self._keys = np.concatenate([self._keys, new.item_keys])
        self._rows = ItemRows(self._keys)
        self._names.ids.extend(new.item_ids)
        self._names.types.extend(new.item_types)
        self.serve_rows(self.served_rows.changed)
        return len(new)

    @property
    def made(self) -> tuple[int, int]:
        """Generation, and the time when it was made, ms UTC: of the bundle, or of its last rows."""
        generation, created_at = self.bundle.made
        changed = self.served_rows.changed
        return generation, created_at if changed is None else changed.sequence

    def serve_rows(self, changed: BundleRows | None) -> int:
        """Serve these rows in the place of the bundle's own; see `ServedRows.serve`."""
        return self.served_rows.serve(changed, self._rows)

    def remove_items(self, item_keys: NDArray[np.uint64]) -> int:
        """Stop recommending items; return how many of them were known."""
        rows = self._rows(item_keys)
        self._index.remove(rows[rows >= 0])
        return int((rows >= 0).sum())

    def restore_items(self, item_keys: NDArray[np.uint64]) -> int:
        """Recommend removed items again; return how many of them were removed."""
        return self.served_rows.restore(self._rows(item_keys), self._rows)

    def recommend(
        self,
        users: Sequence[UserState],
        lists: Sequence[ListSettings],
        now_ms: int,
        *,
        fewer: int = 1,
        policies: Policies | None = None,
    ) -> list[dict[str, Ranking]]:
        """Return, for each user, a ranking for each list by name.

        fewer: a head ranks this many times fewer candidates, to be done sooner; 0: none ranks.
        policies: instead of those in force, for a preview.
        """
        rejecting = [bool(len(user.disliked)) for user in users]
        if any(rejecting) and not all(rejecting):
            # Their lists are chosen from more candidates: those of others do not change.
            return self._apart(users, rejecting, lists, now_ms, fewer=fewer, policies=policies)
        if not users:
            return []
        batch = self.batch(users, now_ms, fewer=fewer)
        answers: list[dict[str, Ranking]] = [{} for _ in users]
        by_policy: dict[Policy | None, list[ListSettings]] = {}
        if policies is None and self._in_force is not None:
            policies = self._in_force.policies
        for settings in lists:
            policy = None if policies is None else policies.of(settings.name)
            by_policy.setdefault(policy, []).append(settings)
        for policy, own in by_policy.items():
            if policy is None:
                self._answer(batch, own, answers)
            else:
                self._answer_limited(policy, batch, own, answers)
        if len(by_policy) > 1:
            names = [settings.name for settings in lists]
            answers = [{name: answer[name] for name in names} for answer in answers]
        for watch in batch.asked.watches:
            if watch is not None:
                watch.finish(self._keys, self.made, now_ms)
        return answers

    def to_explore(self, rule: Explore, now_ms: int) -> tuple[ItemsToExplore, Ranking]:
        """Return the new items of a rule, and their names, scored by expected "taken per shown"."""
        if self._limited is None:
            raise RuntimeError("without policies no item is explored")
        types = self._items.type_number.numpy()
        new = self._limited.to_explore(rule, self._keys, self._rows, types, now_ms)
        return new, self.ranking(new.rows.tolist(), new.expected.astype(np.float32))

    def rule_effects(
        self, batch: Batch, settings: ListSettings, chosen: NDArray[np.int64], first: int
    ) -> tuple[list[tuple[RuleEffect, ...]], Filtered | None]:
        """Return what the policy of a list did for its items; see `PolicyLists.effects`."""
        policy = self.policy_of(settings.name)
        if policy is None or self._limited is None:
            return [() for _ in chosen], None
        return self._limited.effects(
            policy, batch, settings, chosen, first, self._keys, self._rows,
            self._items.type_number.numpy(), self._row_of,
        )  # fmt: skip

    def batch(self, users: Sequence[UserState], now_ms: int, *, fewer: int = 1) -> Batch:
        """Return users as lists are made for them; one pass of the user tower."""
        asked, personal = self.asked(users, now_ms)
        watches = tuple(user.watch for user in users)
        if any(watch is not None for watch in watches):
            asked = replace(asked, watches=watches)
        return Batch(
            users=users,
            asked=asked,
            markets=bucket_of([user.country for user in users], COUNTRIES),
            personal=personal.tolist(),
            now_ms=now_ms,
            fewer=fewer,
        )

    def asked(self, users: Sequence[UserState], now_ms: int) -> tuple[Asking, NDArray[np.bool_]]:
        """Return users as a list maker reads them, and who has a known history, bool [b]."""
        history = histories_of(users, self._rows)
        features = features_of(users, history, now_ms)
        asked = asking(
            self.bundle,
            self._user_vectors(tower_part(features, self.bundle.history_cap)),
            history=history,
            age_s=features.age_s.numpy(),
            strong=features.strong.numpy(),
            known=known_of(users, features.strong.numpy()),
            disliked=rows_of([user.disliked for user in users], self._rows, least=0),
            demotion=np.array([user.demotion for user in users], np.float32),
            shown=impressions_of(users, self._rows, now_ms, self.head),
            sequence=None if self.head is None else self.head.sequence,
        )
        return asked, np.any(history >= 0, axis=1)

    def _apart(
        self,
        users: Sequence[UserState],
        rejecting: Sequence[bool],
        lists: Sequence[ListSettings],
        now_ms: int,
        *,
        fewer: int,
        policies: Policies | None,
    ) -> list[dict[str, Ranking]]:
        """Answer users who dislike items, and the others, in two batches."""
        answers: dict[int, dict[str, Ranking]] = {}
        for which in (False, True):
            places = [place for place, found in enumerate(rejecting) if found is which]
            made = self.recommend(
                [users[place] for place in places], lists, now_ms, fewer=fewer, policies=policies
            )
            answers |= zip(places, made, strict=True)
        return [answers[place] for place in range(len(users))]

    def _answer(
        self, batch: Batch, lists: Sequence[ListSettings], answers: list[dict[str, Ranking]]
    ) -> None:
        """Add the lists that have no policy."""
        for settings, hits, by_head in self.search.ranked(batch, lists):
            # Items from the front of the row on, then -1: one conversion for all users.
            chosen: list[list[int]] = hits.rows.tolist()
            types = self.search.type_numbers(settings.item_types)
            for place, answer in enumerate(answers):
                if batch.personal[place] or settings.repeats == "only":
                    scores = hits.scores[place]
                    answer[settings.name] = self.ranking(chosen[place], scores, by_head=by_head)
                else:
                    rows, worth = self.search.popular_for(batch, place, types, settings)
                    answer[settings.name] = self.ranking(rows.tolist(), worth)

    def _answer_limited(
        self,
        policy: Policy,
        batch: Batch,
        lists: Sequence[ListSettings],
        answers: list[dict[str, Ranking]],
    ) -> None:
        """Add the lists of one policy."""
        if self._limited is None:
            raise RuntimeError("a policy is in force, but nothing to make lists with")
        made = self._limited.make(
            policy, batch, lists, self._keys, self._rows, self._items.type_number.numpy(),
            self._row_of,
        )  # fmt: skip
        for settings, places, hits, by_head, explored in made:
            chosen: list[list[int]] = hits.rows.tolist()
            of_users = zip(places, chosen, hits.scores, explored, strict=True)
            for place, rows, scores, of_user in of_users:
                head = by_head and batch.personal[place]
                ranking = self.ranking(rows, scores, by_head=head)
                answers[place][settings.name] = replace(ranking, explored=of_user)

    def rows(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the row of each item, i64 of the same shape; -1 where it has no vector here."""
        return self._rows(keys)

    def is_removed(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the items of rows were deleted, bool of the same shape."""
        return self._index.is_removed(rows)

    @property
    def features(self) -> ItemFeatures:
        """Features of all items, later ones included, by row."""
        return self._items

    @property
    def bundle_items(self) -> int:
        """Number of items that the bundle has; those that came later are behind them."""
        return len(self.bundle.item_keys)

    def texts(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text vectors of rows, f32 [..., dt], of unit length."""
        return self.bundle.texts(self._items.content.numpy(), rows)

    def live_demand(self, now_ms: int) -> NDArray[np.float32]:
        """Return recent demand of all items in all markets, f32 [n]."""
        return self._demand.counted(0, now_ms)

    def served_vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return item vectors of unit length, and behind them the bias: f32 [..., d + 1]."""
        return self._index.vectors(rows)

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
        hits = self.search.nearest(vectors, item_types, k, exclude)
        return [self.ranking(*hit) for hit in zip(hits.rows.tolist(), hits.scores, strict=True)]

    def _user_vectors(self, features: UserFeatures) -> torch.Tensor:
        return self.bundle.vectors_of(features, self._prepared, self._items.type_number)

    def _row_of(self, item_type: str, item_id: str) -> int:
        """Return the row of an item; -1 where there is none."""
        return int(self._rows(np.array([item_key(item_type, item_id)], np.uint64))[0])

    def ranking(
        self, rows: Sequence[int], scores: NDArray[np.float32], *, by_head: bool = False
    ) -> Ranking:
        """Return the items of rows, best first; -1 only behind them."""
        known = len(rows) - rows.count(-1)
        return Ranking(names=self._names, rows=rows[:known], scores=scores[:known], by_head=by_head)
