"""The best items of each list: by a head, by towers, or by popularity."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.index.item_index import Hits, ItemIndex
from dynamic_layer.lists.demotion import deeper, demoted
from dynamic_layer.lists.head_ranker import HeadRanker
from dynamic_layer.lists.list_maker import log_shares
from dynamic_layer.serving.batch import Batch
from dynamic_layer.serving.live_demand import LiveDemand
from dynamic_layer.settings import SEPARATE_TYPES, ListSettings

__all__ = ["ListSearch"]


class ListSearch:
    """Ranks the items of a bundle and those that came later, in lists of one type or of many.

    head: what ranks lists of discovery; None without a head.
    """

    def __init__(
        self, bundle: DynamicBundle, index: ItemIndex, demand: LiveDemand, head: HeadRanker | None
    ) -> None:
        """index, demand, head: of the bundle's items, and of those that are added."""
        self.head = head
        self._index, self._demand = index, demand
        self._type_numbers = bundle.features.type_number.numpy()
        self._number_of = {name: number for number, name in enumerate(bundle.types)}
        # Types whose own lists were behind live popularity when the bundle was judged.
        self._popular_types = {self._number_of[name] for name in bundle.popularity_types}

    def add_items(self, type_number: NDArray[np.int64]) -> None:
        """Take note of items that come behind all others, i64 [m]."""
        self._type_numbers = np.concatenate([self._type_numbers, type_number])

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
        asked, head = batch.asked, self._head_of(batch)
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
        new = self._search(batch, lists, "exclude", allowed, ranked)
        all_items = self._search(batch, lists, "include", allowed)
        for settings in lists:
            types = self.type_numbers(settings.item_types)
            discovery = settings.repeats == "exclude"
            by_head = discovery and head is not None and not popular.keys() >= set(types)
            wide = len(types) > SEPARATE_TYPES
            if settings.repeats == "only":
                hits = self._among_history(asked.queries, asked.met, types, settings.k, allowed)
            elif wide:
                hits = self._mixed(batch, types, settings, allowed)
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
        batch: Batch,
        lists: Sequence[ListSettings],
        repeats: str,
        allowed: NDArray[np.bool_] | None,
        ranked: Collection[int] = (),
    ) -> dict[int, Hits]:
        """Return the best items of each type that the lists of a kind draw from.

        ranked: types that are left out. Lists over many types are left out too: see `_mixed`.
        """
        numbers = [n for n in self._searched(lists, repeats) if n not in ranked]
        depth = max((one.k for one in lists if one.repeats == repeats), default=0)
        asked, head = batch.asked, self._head_of(batch)
        excluded = asked.excluded(repeats)
        if numbers and repeats == "exclude" and head is not None:
            demand = self._demand.at(batch.now_ms)
            return head.best(asked, numbers, demand, depth, allowed, batch.fewer)
        return {
            n: self._index.search_type(
                asked.queries, n, depth, excluded, rough=batch.without_head, allowed=allowed
            )
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

    def _head_of(self, batch: Batch) -> HeadRanker | None:
        """Return the head, unless there is none or the lists are to be made without it."""
        return None if batch.without_head else self.head

    def _mixed(
        self,
        batch: Batch,
        types: Sequence[int],
        settings: ListSettings,
        allowed: NDArray[np.bool_] | None,
    ) -> Hits:
        """Return a list over many types: one search and one ranking, not one for each type."""
        asked, head = batch.asked, self._head_of(batch)
        if settings.repeats == "exclude" and head is not None:
            demand = self._demand.at(batch.now_ms)
            return head.best_mixed(asked, types, demand, settings.k, allowed, batch.fewer)
        return self._index.search(
            asked.queries, settings.k, types=types, exclude=asked.excluded(settings.repeats),
            rough=batch.without_head, allowed=allowed,
        )  # fmt: skip

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
        allowed &= np.isin(self._type_numbers[np.maximum(history, 0)], types)
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
        depth = k if allowed is None else len(self._type_numbers)
        counts, best = self._demand.favourites(market, types, depth, self._index.removed, now_ms)
        if allowed is not None:
            best = [part[allowed[part]] for part in best]
        rows = np.concatenate(
            [np.zeros(0, np.int64), *(part[~self._index.is_removed(part)][:k] for part in best)]
        )
        rows = rows[np.argsort(-counts[rows], kind="stable")][:k]
        return rows, np.log1p(counts[rows])

    def popular_for(
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

    def nearest(
        self,
        vectors: NDArray[np.float32],
        item_types: Sequence[str],
        k: int,
        exclude: NDArray[np.int64] | None,
    ) -> Hits:
        """Return the items of some types with the greatest cosine; see `Recommender.nearest`."""
        numbers = self.type_numbers(item_types)
        if not numbers:
            return Hits.join([], len(vectors)).best(k)
        queries = np.concatenate([vectors, np.zeros((len(vectors), 1), np.float32)], axis=1)
        return self._index.search(queries, k, types=numbers, exclude=exclude)

    def type_numbers(self, item_types: Sequence[str]) -> list[int]:
        """Return the numbers of types, ascending; of all where none is named."""
        wanted = item_types or self._number_of
        return sorted(self._number_of[name] for name in wanted if name in self._number_of)
