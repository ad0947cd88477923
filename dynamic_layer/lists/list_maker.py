"""Candidates of users and their features, made the same way for training and for serving."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.bundles.sequence import ServedSequence
from dynamic_layer.counts.moments import Histories, Moment
from dynamic_layer.counts.neighbours import Neighbours, neighbours_of
from dynamic_layer.head.candidates import NONE, Union, newest_items
from dynamic_layer.head.features import (
    SEQUENCE,
    PairValues,
    Sources,
    feature_groups,
    feature_names,
    item_figures,
    pair_values,
)
from dynamic_layer.head.impressions import is_of_impressions
from dynamic_layer.index.item_index import Hits, ItemIndex
from dynamic_layer.items.grown_items import padded_weights
from dynamic_layer.lists.asking import Asking
from dynamic_layer.lists.item_sources import first_of, nearest, with_fewer
from dynamic_layer.popularity.demand import Demand, most_demanded
from dynamic_layer.settings import SEPARATE_TYPES, RankingSettings

_MIXED = 2  # candidates of a mixed list, in those of a list of one type


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """Candidates of `b` users' lists, and what a head reads of them.

    rows:     i64 [b, c], NONE where there are fewer.
    values:   of them.
    towers:   the best of them by the towers and popularity alone, best first.
    """

    rows: NDArray[np.int64]
    values: PairValues
    towers: Hits


class ListMaker:
    """Makes users' lists with a bundle's towers and item-item weights.

    What it returns depends on its arguments alone: a trainer that gives it an example's history and
    the demand of its time reads the features that a worker read, or would have read, then.
    """

    def __init__(
        self,
        bundle: DynamicBundle,
        settings: RankingSettings,
        index: ItemIndex | None = None,
        *,
        sequence: ServedSequence | None = None,
        shown: bool = False,
        learning: bool = False,
    ) -> None:
        """index, sequence: the bundle's, with items that came or went since; its own when None.

        shown: read impressions even if the bundle's head reads none, or there is no head.
        learning: use the bundle's sequence tower even if the bundle's head does not read it.
        """
        shown |= bundle.head is not None and any(map(is_of_impressions, bundle.head.names))
        learning |= bundle.head is None or SEQUENCE in bundle.head.names
        self._sequence = (sequence or bundle.sequence) if learning else None
        self._settings, self._features = settings, settings.features(shown=shown)
        self._index = index or bundle.index
        self._set_items(bundle.features.type_number.numpy(), bundle.vectors, bundle.weights)
        self._types = len(bundle.types)
        # A head of an earlier version reads a column of each type, however many there are.
        self._columns = self._types <= SEPARATE_TYPES or (
            bundle.head is not None and f"type-{self._types - 1}" in bundle.head.names
        )
        self._tops: tuple[Demand, NDArray[np.int64]] | None = None
        # What the last filter leaves of the types, and of what is most in demand.
        self._limited: tuple[NDArray[np.bool_], NDArray[np.int16]] | None = None
        self._limited_tops: tuple[Demand, NDArray[np.bool_], NDArray[np.int64]] | None = None
        # The last demand that was read, with the latest items, and what a head reads of it.
        self._known: tuple[Demand, Demand, NDArray[np.float32]] | None = None

    def _set_items(
        self,
        type_number: NDArray[np.int64],
        vectors: NDArray[np.float32],
        weights: Mapping[str, sp.csr_array],
    ) -> None:
        self._type_number, self._vectors = type_number, vectors
        # Bundles that were saved have them by name: a head's features must be in one order.
        self._weights = dict(sorted(weights.items()))
        self._group = type_number.astype(np.int16)
        self._limited = None

    def add_items(self, type_number: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Append items that the bundle does not have: i64 [m] and unit vectors f32 [m, d]."""
        n = len(self._type_number) + len(type_number)
        weights = {name: padded_weights(matrix, n) for name, matrix in self._weights.items()}
        self._set_items(
            np.concatenate([self._type_number, type_number]),
            np.concatenate([self._vectors, vectors]),
            weights,
        )

    def update_items(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Give some items other vectors, i64 [m] and f32 [m, d]."""
        self._vectors = self._vectors.copy()
        self._vectors[rows] = vectors

    def __len__(self) -> int:
        """Number of items."""
        return len(self._type_number)

    @property
    def names(self) -> list[str]:
        """Names of the features, in order."""
        return feature_names(self._sources(self._no_users), self._features)

    @property
    def reads_shown(self) -> bool:
        """Whether impressions are among the features."""
        return bool(self._features.shown_half_lives_days)

    @property
    def groups(self) -> list[str]:
        """Group of each feature, in order."""
        return feature_groups(self._sources(self._no_users), self._features)

    @property
    def _no_users(self) -> NDArray[np.float32]:
        return np.zeros((0, self._vectors.shape[1]), np.float32)

    def neighbours(self, users: Asking) -> dict[str, Neighbours]:
        """Return what the users' histories point to, for `propose` to read for every list."""
        histories = users.histories.newest(self._settings.entries)
        return neighbours_of(histories, self._weights, self._settings.half_lives_days)

    def propose(
        self,
        users: Asking,
        number: int | NDArray[np.int64],
        demand: Demand,
        near: Mapping[str, Neighbours] | None = None,
        allowed: NDArray[np.bool_] | None = None,
        fewer: int = 1,
    ) -> Proposed:
        """Return the candidates of each user's list and their features.

        number: of the list's type, for all users or i64 [b]. near: the users' `neighbours`; made
        here when None. allowed: bool [rows], the only candidates; all items when None. What it
        leaves is kept for the next call with the same object, which is not to change. fewer: each
        source is asked for its number divided by this.
        """
        settings = with_fewer(self._settings, fewer)
        # Copied: kernels are compiled again for arrays that are not to be written.
        numbers = np.array(np.broadcast_to(np.asarray(number, np.int64), len(users)))
        near = self.neighbours(users) if near is None else near
        hits = nearest(self._index, users.queries, users.barred, numbers, settings.towers, allowed)
        near_by = [hits.rows, *self._by_sequence(users, numbers, allowed, fewer)]
        group = self._groups(allowed)
        tops = self._most_demanded(demand, allowed)[:, :, : settings.demand]
        known = np.where((numbers >= 0) & (numbers < self._types), numbers, 0)
        demanded = np.where((known == numbers)[:, None, None], tops[known], NONE)
        weak = self._weakly_met(
            users,
            lambda owner, item: group[item] == numbers[owner].astype(group.dtype),
            settings.weak,
        )
        rows = self._joined(settings, users, [*near_by, weak], near, group, numbers, demanded)
        values = self.read(users, rows, demand, near, mixed=False)
        return Proposed(rows=rows, values=values, towers=hits)

    def propose_mixed(
        self,
        users: Asking,
        types: Sequence[int],
        demand: Demand,
        near: Mapping[str, Neighbours] | None = None,
        only: NDArray[np.bool_] | None = None,
        fewer: int = 1,
    ) -> Proposed:
        """Return the candidates of one list over several types, and their features.

        Each source is asked once for all of the types, for twice as many as for a list of one
        type: so the list costs as much as two of those, however many types it has. only: as
        `allowed` of `propose`; fewer: as there.
        """
        settings = with_fewer(self._settings, fewer)
        near = self.neighbours(users) if near is None else near
        allowed = np.isin(self._groups(only), np.asarray(types))
        hits = self._index.search(
            users.queries, _MIXED * settings.towers, types=types, exclude=users.barred, rough=True,
            allowed=only,
        )  # fmt: skip
        tops = [first_of(order, allowed, _MIXED * settings.demand) for order in demand.order.T]
        demanded = np.tile(np.concatenate([np.zeros(0, np.int64), *tops]), (len(users), 1))
        weak = self._weakly_met(users, lambda _owner, item: allowed[item], settings.weak)
        near_by = [hits.rows, *self._by_sequence_mixed(users, types, only, fewer)]
        group, every = np.where(allowed, 0, NONE).astype(np.int16), np.zeros(len(users), np.int64)
        rows = self._joined(
            settings, users, [*near_by, weak], near, group, every, demanded, of_one=_MIXED
        )
        values = self.read(users, rows, demand, near, mixed=True)
        return Proposed(rows=rows, values=values, towers=hits)

    def _groups(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.int16]:
        """Return the type number of each item, i16 [n]; -1 for those that are not allowed."""
        if allowed is None:
            return self._group
        if self._limited is None or self._limited[0] is not allowed:
            full = np.pad(allowed, (0, len(self) - len(allowed)))
            group = np.where(full, self._group, np.int16(-1))
            self._limited = (allowed, group)
        return self._limited[1]

    def _by_sequence(
        self,
        users: Asking,
        numbers: NDArray[np.int64],
        allowed: NDArray[np.bool_] | None,
        fewer: int,
    ) -> list[NDArray[np.int64]]:
        """Return the best items of each user's type by the sequence tower, i64 [b, k], if any."""
        sequence, asked = self._sequence, users.sequence
        if sequence is None or asked is None:
            return []
        k = -(-sequence.settings.candidates // fewer)
        return [nearest(sequence.index, asked, users.barred, numbers, k, allowed).rows]

    def _by_sequence_mixed(
        self, users: Asking, types: Sequence[int], allowed: NDArray[np.bool_] | None, fewer: int
    ) -> list[NDArray[np.int64]]:
        sequence, asked = self._sequence, users.sequence
        if sequence is None or asked is None:
            return []
        hits = sequence.index.search(
            asked, -(-_MIXED * sequence.settings.candidates // fewer), types=types,
            exclude=users.barred, rough=True, allowed=allowed,
        )  # fmt: skip
        return [hits.rows]

    def _weakly_met(
        self,
        users: Asking,
        wanted: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[Any]],
        k: int,
    ) -> NDArray[np.int64]:
        """Return the latest items that users met by weak signals alone, i64 [b, <= k].

        wanted: of (user, item row) of the entries, i64 [t] each, those of the list.
        """
        histories = users.histories.newest(self._settings.entries)
        strong = histories.strong
        if strong is None or strong.all() or not k:
            return np.zeros((len(users), 0), np.int64)
        owner = np.repeat(np.arange(len(users)), np.diff(histories.indptr))
        kept = ~strong & wanted(owner, histories.item)
        return newest_items(histories.where(kept), k)

    def _most_demanded(
        self, demand: Demand, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Return each type's items most in demand, i64 [types, h, k]; made once of a demand."""
        if allowed is not None:
            return self._most_demanded_of(demand, allowed)
        if self._tops is None or self._tops[0] is not demand:
            tops = most_demanded(demand, self._type_number, self._types, self._settings.demand)
            self._tops = (demand, tops)
        return self._tops[1]

    def _most_demanded_of(self, demand: Demand, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        known = self._limited_tops
        if known is None or known[0] is not demand or known[1] is not allowed:
            group, k = self._groups(allowed), self._settings.demand
            tops = np.full((self._types, demand.order.shape[1], k), NONE, np.int64)
            for half, order in enumerate(demand.order.T):
                # One pass over the few that are left, not one over all items for each type.
                left = order[group[order] >= 0]
                for number in range(self._types):
                    first = left[group[left] == number][:k]
                    tops[number, half, : len(first)] = first
            self._limited_tops = known = (demand, allowed, tops)
        return known[2]

    def _joined(
        self,
        settings: RankingSettings,
        users: Asking,
        first: Sequence[NDArray[np.int64]],
        near: Mapping[str, Neighbours],
        group: NDArray[np.int16],
        wanted: NDArray[np.int64],
        demanded: NDArray[np.int64],
        of_one: int = 1,
    ) -> NDArray[np.int64]:
        """Return the union of what the sources bring, i64 [b, c], without what is removed.

        first: i64 [b, k] each; group, wanted: see `Union.add_best`; demanded: i64 [b, ...]. of_one:
        candidates, in those of a list of one type.
        """
        found = Union(_met(users.barred), limit=of_one * settings.limit, items=len(self))
        found.add(np.concatenate(first, axis=1))
        # Before what histories point to: where items live for hours, that is what is gone.
        found.add(demanded.reshape(len(users), -1))
        for sums in near.values():
            found.add_best(sums, group, wanted, of_one * settings.neighbours)
        rows = found.rows
        if self._index.removed:
            rows = np.where(self._index.is_removed(rows), NONE, rows)
        return rows

    def read(
        self,
        users: Asking,
        candidates: NDArray[np.int64],
        demand: Demand,
        neighbours: Mapping[str, Neighbours],
        *,
        mixed: bool,
    ) -> PairValues:
        """Return what a head reads of users and candidates; mixed: of several types.

        candidates: i64 [b, c], item rows, NONE for none; neighbours: of the users.
        """
        if self._known is None or self._known[0] is not demand or len(self._known[1]) != len(self):
            grown = demand.grown(len(self))
            states = (grown.values, grown.age_days, grown.silent_days)
            self._known = (demand, grown, item_figures(*states, self._features))
        _, known, figures = self._known
        moment = Moment(
            at_ms=known.at_ms,
            histories=users.histories.newest(self._settings.entries),
            demand=known.values,
            age_days=known.age_days,
            silent_days=known.silent_days,
        )
        return pair_values(
            moment,
            np.arange(len(users)),
            candidates,
            self._sources(users.vectors, users.sequence),
            self._features,
            neighbours,
            figures,
            users.shown,
            mixed=mixed,
        )

    def _sources(
        self, user_vectors: NDArray[np.float32], asked: NDArray[np.float32] | None = None
    ) -> Sources:
        sequence = None
        if self._sequence is not None:
            items = self._sequence.served
            sequence = (
                np.zeros((0, items.shape[1]), np.float32) if asked is None else asked,
                items,
            )
        return Sources(
            type_number=self._type_number,
            types=self._types,
            type_columns=self._columns,
            weights=self._weights,
            towers=(user_vectors, self._vectors),
            sequence=sequence,
        )


def _met(rows: NDArray[np.int64]) -> Histories:
    """Return rows that are to be left out, i64 [b, e] with -1, as histories without ages."""
    known = rows >= 0
    sizes = known.sum(axis=1)
    item = rows[known]
    return Histories(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item=item,
        age_days=np.zeros(len(item), np.float32),
    )


def log_shares(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log of each list's softmax, f32 [b, c]; -inf where there is no candidate."""
    total = torch.logsumexp(torch.from_numpy(scores), dim=1, keepdim=True).numpy()
    return np.where(np.isneginf(scores), scores, scores - np.where(np.isneginf(total), 0, total))
