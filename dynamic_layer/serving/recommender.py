"""Recommendations: histories in, ranked lists out."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle, served_vectors
from dynamic_layer.bundles.row_delta import BundleRows
from dynamic_layer.index.item_index import Hits, ItemIndex
from dynamic_layer.items.features import (
    COUNTRIES,
    ItemFeatures,
    ItemRows,
    UserFeatures,
    age_of,
    bucket_of,
    rows_by_type,
)
from dynamic_layer.items.grown_items import NewItems
from dynamic_layer.lists.asking import Asking, asking
from dynamic_layer.lists.demotion import deeper, demoted
from dynamic_layer.lists.head_ranker import HeadRanker
from dynamic_layer.lists.list_maker import log_shares
from dynamic_layer.policies.in_force import InForce
from dynamic_layer.policies.policy import Policies, Policy
from dynamic_layer.policies.rules import Explore
from dynamic_layer.popularity.live import LivePopularity
from dynamic_layer.popularity.shown_counts import ShownCounts
from dynamic_layer.serving.batch import Batch
from dynamic_layer.serving.live_demand import LiveDemand
from dynamic_layer.serving.new_items import ItemsToExplore
from dynamic_layer.serving.policy_lists import PolicyLists
from dynamic_layer.serving.rankings import ItemNames, Ranking, UserState
from dynamic_layer.serving.reasons import Filtered, RuleEffect
from dynamic_layer.settings import SEPARATE_TYPES, ListSettings
from state.keys import item_key


class Recommender:
    """Serves one bundle, with items that came or went since it was made.

    A batch of users costs one pass of the user tower and one search for each item type of a list,
    or one for all of them where a list has many; where the bundle
    has a head, it ranks what the search and its other sources propose. Users whose history holds
    no known item get the recent popularity of their market. Not thread-safe: swap the recommender,
    do not share it.
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
        and taken, None where no impressions are read; use_head: rank by the bundle's
        head if it has one; in_force: policies of lists, shared with the code that changes them.
        """
        self.bundle = bundle
        self._items = bundle.features
        self._prepared = bundle.prepared(bundle.features)
        self._rows = ItemRows(bundle.item_keys)
        self._keys = bundle.item_keys
        self._names = ItemNames(ids=list(bundle.item_ids), types=list(bundle.item_types))
        self._index = bundle.index.copy()
        self._type_number = {name: number for number, name in enumerate(bundle.types)}
        self._bias_of_new = _average_bias(bundle)
        # Types whose own lists were behind live popularity when the bundle was judged.
        self._popular_types = {self._type_number[name] for name in bundle.popularity_types}
        self._demand = LiveDemand(bundle, live)
        self._shown = shown
        # Changed rows that are served, and what added items have without them.
        self._changed: BundleRows | None = None
        #: `BundleRows.checksum` of what the index holds of the changed rows; 0 without any.
        self.rows_checksum = 0
        self._added = np.zeros((0, self._index.vectors(np.zeros(0, np.int64)).shape[1]), np.float32)
        self._head = HeadRanker.of(bundle, self._index) if use_head else None
        self._in_force = in_force
        self._limited = None if in_force is None else PolicyLists(in_force, self, self._index)

    def __len__(self) -> int:
        """Items that can be recommended."""
        return len(self._index)

    @property
    def has_head(self) -> bool:
        """Whether lists of discovery are ranked by a head."""
        return self._head is not None

    @property
    def head(self) -> HeadRanker | None:
        """What ranks lists of discovery; None without a head."""
        return self._head

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
        """Make new items recommendable at once; return how many were new.

        Items that are known already, and items of types that the towers never saw, wait for the
        next bundle.
        """
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
        self._added = np.concatenate([self._added, served])
        if self._head is not None:
            self._head.add_items(features.type_number.numpy(), vectors)
        self._demand.add_items(new.item_keys, features.type_number.numpy())
        self._items = self._items.join(features)
        self._prepared = torch.cat([self._prepared, self.bundle.prepared(features)])
        self._keys = np.concatenate([self._keys, new.item_keys])
        self._rows = ItemRows(self._keys)
        self._names.ids.extend(new.item_ids)
        self._names.types.extend(new.item_types)
        if self._changed is not None:
            self.serve_rows(self._changed)
        return len(new)

    @property
    def changed_rows(self) -> BundleRows | None:
        """Rows that are served in the place of the bundle's own; None where there are none."""
        return self._changed

    @property
    def made(self) -> tuple[int, int]:
        """Generation, and the time when it was made, ms UTC: of the bundle, or of its last rows."""
        generation, created_at = self.bundle.made
        return generation, self._changed.sequence if self._changed is not None else created_at

    def serve_rows(self, changed: BundleRows | None) -> int:
        """Serve these rows in the place of the bundle's own; return how many rows changed.

        Rows that were served before and are not among them are the bundle's again; None: all are.
        Rows of items that are not here yet are served once these are added. Lists may be made
        beside it, by the rows before or after. Raises ValueError for rows of another width.
        """
        before = self._changed
        keys = [one.keys for one in (before, changed) if one is not None]
        if not keys:
            return 0
        rows = self._rows(np.unique(np.concatenate(keys)))
        rows = np.sort(rows[rows >= 0])
        served = self._unchanged(rows)
        if changed is not None and len(changed):
            if changed.served.shape[1] != served.shape[1]:
                raise ValueError(
                    f"expected rows of width {served.shape[1]}, got {changed.served.shape[1]}"
                )
            own = self._rows(changed.keys)
            known = own >= 0
            served[np.searchsorted(rows, own[known])] = changed.served[known]
        # A list that is made meanwhile must not pass for one of the bundle alone: see `made`.
        self._changed = before if changed is None else changed
        differ = (served != self._index.vectors(rows)).any(axis=1)
        rows, served = rows[differ], served[differ]
        self._index.update(rows, served)
        if self._head is not None and len(rows):
            self._head.update_items(rows, served[:, :-1])
        self._changed, self.rows_checksum = changed, self._checked(changed)
        return len(rows)

    def _checked(self, changed: BundleRows | None) -> int:
        """Return the checksum of what the index holds of changed rows, later items as zeros."""
        if changed is None or not len(changed):
            return 0
        rows = self._rows(changed.keys)
        served = self._index.vectors(np.maximum(rows, 0)) * (rows >= 0)[:, None]
        return changed.checksum(self.bundle.made, served)

    def _unchanged(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the index holds of items without changed rows, f32 [m, d + 1]."""
        bundle, first = self.bundle, self.bundle_items
        served = np.zeros((len(rows), self._added.shape[1]), np.float32)
        early = rows < first
        served[early] = served_vectors(bundle.vectors[rows[early]], bundle.bias[rows[early]])
        served[~early] = self._added[rows[~early] - first]
        return served

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
        policies: Policies | None = None,
    ) -> list[dict[str, Ranking]]:
        """Return, for each user, a ranking for each list by name.

        hurry: rank by towers and popularity even where there is a head, in about half the time.
        policies: instead of those in force, for a preview.
        """
        rejecting = [bool(len(user.disliked)) for user in users]
        if any(rejecting) and not all(rejecting):
            # Their lists are chosen from more candidates: those of others do not change.
            return self._apart(users, rejecting, lists, now_ms, hurry=hurry, policies=policies)
        if not users:
            return []
        batch = self.batch(users, now_ms, hurry=hurry)
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

    def batch(self, users: Sequence[UserState], now_ms: int, *, hurry: bool = False) -> Batch:
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
            hurry=hurry,
        )

    def asked(self, users: Sequence[UserState], now_ms: int) -> tuple[Asking, NDArray[np.bool_]]:
        """Return users as a list maker reads them, and who has a known history, bool [b]."""
        history = self._histories(users)
        features = self._features(users, history, now_ms)
        asked = asking(
            self.bundle,
            self._user_vectors(self._tower_features(features)),
            history=history,
            age_s=features.age_s.numpy(),
            strong=features.strong.numpy(),
            known=self._known(users, features.strong.numpy()),
            disliked=self._rows_of([user.disliked for user in users], least=0),
            demotion=np.array([user.demotion for user in users], np.float32),
        )
        return asked, np.any(history >= 0, axis=1)

    def _apart(
        self,
        users: Sequence[UserState],
        rejecting: Sequence[bool],
        lists: Sequence[ListSettings],
        now_ms: int,
        *,
        hurry: bool,
        policies: Policies | None,
    ) -> list[dict[str, Ranking]]:
        """Answer users who dislike items, and the others, in two batches."""
        answers: dict[int, dict[str, Ranking]] = {}
        for which in (False, True):
            places = [place for place, found in enumerate(rejecting) if found is which]
            made = self.recommend(
                [users[place] for place in places], lists, now_ms, hurry=hurry, policies=policies
            )
            answers |= zip(places, made, strict=True)
        return [answers[place] for place in range(len(users))]

    def _answer(
        self, batch: Batch, lists: Sequence[ListSettings], answers: list[dict[str, Ranking]]
    ) -> None:
        """Add the lists that have no policy."""
        for settings, hits, by_head in self.ranked(batch, lists):
            # Items from the front of the row on, then -1: one conversion for all users.
            chosen: list[list[int]] = hits.rows.tolist()
            types = self.type_numbers(settings.item_types)
            for place, answer in enumerate(answers):
                if batch.personal[place] or settings.repeats == "only":
                    scores = hits.scores[place]
                    answer[settings.name] = self.ranking(chosen[place], scores, by_head=by_head)
                else:
                    rows, worth = self._popular_for(batch, place, types, settings)
                    answer[settings.name] = self.ranking(rows.tolist(), worth)

    def _popular_for(
        self, batch: Batch, place: int, types: Sequence[int], settings: ListSettings
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows most in demand in a user's market that the user does not dislike."""
        asked, market = batch.asked.take([place]), int(batch.markets[place])
        depth = settings.k + asked.disliked.shape[1] + deeper(asked, [settings])
        rows, worth = self.popular(market, types, depth, batch.now_ms)
        if asked.disliked.shape[1]:
            found = demoted(Hits(rows[None], worth[None]), asked, self._index).best(settings.k)
            rows, worth = found.rows[0], found.scores[0]
        return rows, worth

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

    def ranked(
        self,
        batch: Batch,
        lists: Sequence[ListSettings],
        allowed: NDArray[np.bool_] | None = None,
    ) -> Iterator[tuple[ListSettings, Hits, bool]]:
        """Yield each list's best items for users with a history, and whether a head ranked.

        allowed: bool [n], the only items; all when None. Lists that draw from the same types share
        what was found of these.
        """
        asked, now_ms = batch.asked, batch.now_ms
        head = None if batch.hurry else self._head
        length = {settings.name: settings.k for settings in lists}
        if more := deeper(asked, lists):
            lists = [replace(settings, k=settings.k + more) for settings in lists]
        depth = max((settings.k for settings in lists), default=0)
        popular = {
            number: self._by_popularity(batch, number, depth, allowed)
            for number in self._popular_types.intersection(self._searched(lists, "exclude"))
        }
        # Where a head ranks, popularity replaces its lists of these types.
        ranked = self._popular_types if head is not None else set[int]()
        new = self._search(asked, lists, "exclude", head, now_ms, allowed, ranked)
        all_items = self._search(asked, lists, "include", head, now_ms, allowed)
        for settings in lists:
            types = self.type_numbers(settings.item_types)
            discovery = settings.repeats == "exclude"
            by_head = discovery and head is not None and not popular.keys() >= set(types)
            wide = len(types) > SEPARATE_TYPES
            if settings.repeats == "only":
                hits = self._among_history(asked.queries, asked.met, types, settings.k, allowed)
            elif wide:
                hits = self._mixed(asked, types, settings, head, now_ms, allowed)
            else:
                # Scores of towers cannot be mixed with those of popularity.
                mixable = head is not None or popular.keys() >= set(types)
                found = new | popular if mixable else new
                parts = [(found if discovery else all_items)[number] for number in types]
                if discovery and head is not None and len(types) > 1:
                    parts = head.across(asked.histories, types, parts)
                hits = Hits.join(parts, len(asked)).best(settings.k)
            if asked.unlisted.shape[1]:
                hits = demoted(hits, asked, self._index).best(length[settings.name])
            yield replace(settings, k=length[settings.name]), hits, by_head

    def _search(
        self,
        asked: Asking,
        lists: Sequence[ListSettings],
        repeats: str,
        head: HeadRanker | None,
        now_ms: int,
        allowed: NDArray[np.bool_] | None,
        ranked: Collection[int] = (),
    ) -> dict[int, Hits]:
        """Return the best items of each type that the lists of a kind draw from.

        ranked: types that are left out. Lists over many types are left out too: see `_mixed`.
        """
        numbers = [n for n in self._searched(lists, repeats) if n not in ranked]
        depth = max((one.k for one in lists if one.repeats == repeats), default=0)
        excluded = asked.excluded(repeats)
        if numbers and repeats == "exclude" and head is not None:
            return head.best(asked, numbers, self._demand.at(now_ms), depth, allowed)
        return {
            n: self._index.search_type(asked.queries, n, depth, excluded, allowed=allowed)
            for n in numbers
        }

    def _searched(self, lists: Sequence[ListSettings], repeats: str) -> list[int]:
        """Return the types that the lists of a kind draw from one by one, ascending."""
        types = [self.type_numbers(one.item_types) for one in lists if one.repeats == repeats]
        return sorted({n for own in types if len(own) <= SEPARATE_TYPES for n in own})

    def _by_popularity(
        self, batch: Batch, number: int, depth: int, allowed: NDArray[np.bool_] | None
    ) -> Hits:
        """Return the items of a type most in demand that each user does not know, best first.

        Scores are logarithms of shares, as a head's are, so that types can be mixed.
        """
        excluded = batch.asked.excluded("exclude")
        width = 0 if excluded is None else excluded.shape[1]
        rows = np.full((len(batch.users), depth + width), -1, np.int64)
        scores = np.full(rows.shape, -np.inf, np.float32)
        for market in np.unique(batch.markets).tolist():
            best, worth = self.popular(market, [number], depth + width, batch.now_ms, allowed)
            for place in np.flatnonzero(batch.markets == market).tolist():
                rows[place, : len(best)], scores[place, : len(best)] = best, worth
                if excluded is not None:
                    known = np.isin(rows[place], excluded[place])
                    scores[place, known] = -np.inf
        found = Hits(rows, log_shares(scores)).best(depth)
        for place, watch in enumerate(batch.asked.watches):
            if watch is not None:
                pairs = zip(found.rows[place].tolist(), found.scores[place].tolist(), strict=True)
                watch.popular[number] = dict(pairs)
        return found

    def _mixed(
        self,
        asked: Asking,
        types: Sequence[int],
        settings: ListSettings,
        head: HeadRanker | None,
        now_ms: int,
        allowed: NDArray[np.bool_] | None,
    ) -> Hits:
        """Return a list over many types: one search and one ranking, not one for each type."""
        if settings.repeats == "exclude" and head is not None:
            return head.best_mixed(asked, types, self._demand.at(now_ms), settings.k, allowed)
        return self._index.search(
            asked.queries, settings.k, types=types, exclude=asked.excluded(settings.repeats),
            allowed=allowed,
        )  # fmt: skip

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
        content, hgnn = self._items.content.numpy(), self.bundle.hgnn
        text = content[rows, : content.shape[1] if hgnn is None else hgnn.text_width]
        norm = np.linalg.norm(text, axis=-1, keepdims=True)
        return np.asarray(text / np.maximum(norm, 1e-9), np.float32)

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
        queries = np.concatenate([vectors, np.zeros((len(vectors), 1), np.float32)], axis=1)
        numbers = self.type_numbers(item_types)
        if not numbers:
            return [self.ranking([], np.zeros(0, np.float32)) for _ in queries]
        hits = self._index.search(queries, k, types=numbers, exclude=exclude)
        return [self.ranking(*hit) for hit in zip(hits.rows.tolist(), hits.scores, strict=True)]

    def _user_vectors(self, features: UserFeatures) -> torch.Tensor:
        return self.bundle.vectors_of(features, self._prepared, self._items.type_number)

    def type_numbers(self, item_types: Sequence[str]) -> list[int]:
        """Return the numbers of types, ascending; of all where none is named."""
        wanted = item_types or self._type_number
        return sorted(self._type_number[name] for name in wanted if name in self._type_number)

    def _histories(self, users: Sequence[UserState]) -> NDArray[np.int64]:
        """Return the item rows of the users' histories, i64 [b, h], -1 for none or unknown."""
        return self._rows_of([user.history_item for user in users], least=1)

    def _rows_of(self, items: Sequence[NDArray[np.uint64]], *, least: int) -> NDArray[np.int64]:
        """Return the rows of users' items, i64 [b, h], -1 for none or unknown; h: `least` or more.

        items: item keys of each user.
        """
        width = max(least, *map(len, items))
        keys = np.zeros((len(items), width), np.uint64)
        filled = np.zeros((len(items), width), np.bool_)
        for place, own in enumerate(items):
            keys[place, : len(own)] = own
            filled[place, : len(own)] = True
        return np.where(filled, self._rows(keys), -1)

    @staticmethod
    def _known(users: Sequence[UserState], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which entries of the histories are of items that users know, bool [b, h]."""
        known = strong.copy()
        for place, user in enumerate(users):
            if user.history_known is not None:
                known[place, : len(user.history_known)] = user.history_known
        return known

    def _features(
        self, users: Sequence[UserState], history: NDArray[np.int64], now_ms: int
    ) -> UserFeatures:
        width = history.shape[1]
        age_s = np.zeros((len(users), width), np.float32)
        strong = np.zeros((len(users), width), np.bool_)
        for place, user in enumerate(users):
            times = user.history_time
            age_s[place, : len(times)] = np.maximum(now_ms - times, 0) / 1_000
            strong[place, : len(times)] = user.history_strong
        return UserFeatures(
            history=torch.from_numpy(history),
            age_s=torch.from_numpy(age_s),
            strong=torch.from_numpy(strong),
            country=torch.from_numpy(bucket_of([user.country for user in users], COUNTRIES)),
            age=torch.from_numpy(
                age_of(np.array([user.birth_year for user in users]), np.full(len(users), now_ms))
            ),
        )

    def _tower_features(self, users: UserFeatures) -> UserFeatures:
        """Return the part of the histories that the user tower reads."""
        cap = self.bundle.history_cap
        return replace(
            users,
            history=users.history[:, :cap],
            age_s=users.age_s[:, :cap],
            strong=users.strong[:, :cap],
        )

    def _among_history(
        self,
        queries: NDArray[np.float32],
        history: NDArray[np.int64],
        types: Sequence[int],
        k: int,
        only: NDArray[np.bool_] | None,
    ) -> Hits:
        allowed = (history >= 0) & ~self._index.is_removed(history)
        if only is not None:
            allowed &= only[np.maximum(history, 0)]
        allowed &= np.isin(self._items.type_number.numpy()[np.maximum(history, 0)], types)
        vectors = self._index.vectors(np.maximum(history, 0))
        scores = np.einsum("bd,bhd->bh", queries, vectors)
        return Hits(history, np.where(allowed, scores, np.float32(-np.inf))).best(k)

    def popular(
        self,
        market: int,
        types: Sequence[int],
        k: int,
        now_ms: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the k rows most in demand in a market, best first, and their scores.

        In all markets where the market is unknown. allowed: bool [n], the only items.
        """
        depth = k if allowed is None else len(self._keys)
        counts, best = self._demand.favourites(market, types, depth, self._index.removed, now_ms)
        if allowed is not None:
            best = [part[allowed[part]] for part in best]
        rows = np.concatenate(
            [np.zeros(0, np.int64), *(part[~self._index.is_removed(part)][:k] for part in best)]
        )
        rows = rows[np.argsort(-counts[rows], kind="stable")][:k]
        return rows, np.log1p(counts[rows])

    def _row_of(self, item_type: str, item_id: str) -> int:
        """Return the row of an item; -1 where there is none."""
        return int(self._rows(np.array([item_key(item_type, item_id)], np.uint64))[0])

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
    bias = bundle.bias.astype(np.float64)
    found = np.zeros(len(bundle.types), np.float32)
    for number, rows in rows_by_type(bundle.features.type_number.numpy()).items():
        own = bias[rows]
        found[number] = np.log(np.exp(own - own.max()).mean()) + own.max()
    return found
