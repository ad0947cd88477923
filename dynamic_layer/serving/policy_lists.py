"""Lists under a policy: candidates that its filter leaves, chosen within its limits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.hits import Hits
from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.items.features import ItemRows
from dynamic_layer.policies.in_force import InForce
from dynamic_layer.policies.masks import RowMasks
from dynamic_layer.policies.policy import Binding, Policy
from dynamic_layer.policies.rules import Explore
from dynamic_layer.serving.batch import Batch
from dynamic_layer.serving.cooling import cooling_items
from dynamic_layer.serving.limited_lists import LimitedLists
from dynamic_layer.serving.list_search import ListSearch
from dynamic_layer.serving.new_items import ItemsToExplore, KnownItems, NewItemFinder
from dynamic_layer.serving.reasons import Explored, Filtered, RuleEffect
from dynamic_layer.settings import ListSettings

__all__ = ["PolicyLists"]


class PolicyLists:
    """Makes lists under policies for one recommender. Not thread-safe, as that is not.

    What a policy filters out is never a candidate. A list is short only where the items that the
    filter leaves, or the limits, allow no more.
    """

    def __init__(
        self, in_force: InForce, items: KnownItems, search: ListSearch, index: ItemIndex
    ) -> None:
        """items: those of the recommender; search, index: of the same items."""
        self._in_force, self._items = in_force, items
        self._search, self._index = search, index
        self._masks = RowMasks(in_force.columns)
        self._slots = np.zeros(0, np.int64)
        self._new = NewItemFinder(in_force, items, index)

    def make(
        self,
        policy: Policy,
        batch: Batch,
        lists: Sequence[ListSettings],
        keys: NDArray[np.uint64],
        rows: ItemRows,
        types: NDArray[np.int64],
        row_of: Callable[[str, str], int],
    ) -> Iterator[tuple[ListSettings, Sequence[int], Hits, bool, list[tuple[Explored, ...]]]]:
        """Yield lists, the places in the batch of the users they are for, and whether by a head.

        Last comes what each list explores.
        keys: u64 [n], of all items; rows: finds them; types: i64 [n], their types' numbers;
        row_of: item type and id -> row, -1 for none.
        """
        depth = {one.name: _depth(policy, one) for one in lists}
        deep = [replace(one, k=depth[one.name]) for one in lists]
        by_name = {one.name: one for one in lists}
        for places, one in self._making(policy, batch, keys, rows, types, row_of):
            for settings, hits, by_head in self._search.ranked(one.batch, deep, one.allowed()):
                own = by_name[settings.name]
                found = one.limited(own, hits, settings.k)
                found, explored = one.explored(own, found, self._new, keys)
                yield own, places, found, by_head, explored

    def effects(
        self,
        policy: Policy,
        batch: Batch,
        settings: ListSettings,
        chosen: NDArray[np.int64],
        first: int,
        keys: NDArray[np.uint64],
        rows: ItemRows,
        types: NDArray[np.int64],
        row_of: Callable[[str, str], int],
    ) -> tuple[list[tuple[RuleEffect, ...]], Filtered | None]:
        """Return what a policy did for each item of one user's list, and what its filter left.

        batch: the one user; chosen: i64 [m], rows of the list from place `first` on; see `make` for
        the others. There is no Filtered where the policy has no filter.
        """
        [(_, one)] = self._making(policy, batch, keys, rows, types, row_of)
        return one.effects(chosen, first), one.filtered(settings)

    def to_explore(
        self,
        rule: Explore,
        keys: NDArray[np.uint64],
        rows: ItemRows,
        types: NDArray[np.int64],
        now_ms: int,
    ) -> ItemsToExplore:
        """Return the new items of a rule; see `make` for the arguments."""
        with self._in_force.lock:
            self._slots = self._masks.slots(keys, rows)
        return self._new(rule, keys, self._slots, types, now_ms)

    def _making(
        self,
        policy: Policy,
        batch: Batch,
        keys: NDArray[np.uint64],
        rows: ItemRows,
        types: NDArray[np.int64],
        row_of: Callable[[str, str], int],
    ) -> Iterator[tuple[list[int], "LimitedLists"]]:
        """Yield users with equal values of what the policy reads: places in the batch, and more."""
        groups: dict[Binding, list[int]] = {}
        for place, user in enumerate(batch.users):
            bound = policy.binding(
                user.country, user.birth_year, user.attributes, user.context, batch.now_ms
            )
            groups.setdefault(bound, []).append(place)
        with self._in_force.lock:
            self._slots = self._masks.slots(keys, rows)
        for binding, places in groups.items():
            one = LimitedLists(
                policy=policy,
                batch=_with_cooling(policy, batch.take(places), rows),
                types=types,
                index=self._index,
                items=self._items,
                search=self._search,
                in_force=self._in_force,
                masks=self._masks,
                slots=self._slots,
                binding=binding,
                row_of=row_of,
            )
            yield places, one


def _with_cooling(policy: Policy, batch: Batch, rows: ItemRows) -> Batch:
    """Return a batch whose users' items that cool off are in none of their lists."""
    rule = policy.rules.cooling
    if rule is None:
        return batch
    own = [cooling_items(rule, user, batch.now_ms) for user in batch.users]
    cooling = np.full((len(own), max(map(len, own), default=0)), -1, np.int64)
    for place, keys in enumerate(own):
        cooling[place, : len(keys)] = rows(keys)
    return replace(batch, asked=replace(batch.asked, cooling=cooling))


def _depth(policy: Policy, settings: ListSettings) -> int:
    """Candidates of a list: as many as items where nothing but the filter chooses."""
    if settings.repeats == "only":
        return 1_000
    k, rules = settings.k, policy.rules
    if not (
        policy.weights or rules.cap or rules.same or rules.quota or rules.diversity
        or rules.fresh or policy.slots
    ):  # fmt: skip
        return k
    return min(max(50, 4 * k), k + 300)
