"""Candidates of users and their features, made the same way for training and for serving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.counts.moments import Histories, Moment
from dynamic_layer.counts.neighbours import Neighbours, neighbours_of
from dynamic_layer.head.candidates import NONE, union
from dynamic_layer.head.features import Sources, feature_names, item_figures, pair_features
from dynamic_layer.index.item_index import Hits, ItemIndex
from dynamic_layer.items.features import UserFeatures
from dynamic_layer.popularity.demand import Demand
from dynamic_layer.settings import RankingSettings

_DAY_S = np.float32(86_400.0)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """`b` users whose lists are to be made.

    vectors:   f32 [b, d], unit vectors of the user tower.
    queries:   f32 [b, d + 1], of the index.
    histories: of the entries that the towers read too.
    met:       i64 [b, e], item rows that are no candidates, -1 for none.
    """

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    histories: Histories
    met: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of users."""
        return len(self.vectors)


def asking(
    bundle: DynamicBundle,
    users: UserFeatures,
    met: NDArray[np.int64],
    vectors: torch.Tensor | None = None,
) -> Asking:
    """Return users as a list maker reads them.

    met: i64 [b, e], rows not to be recommended; vectors: of the users, f32 [b, d]; made here from
    the bundle's items when None.
    """
    vectors = bundle.user_vectors(users) if vectors is None else vectors
    history = users.history.numpy()
    known = history >= 0
    sizes = known.sum(axis=1)
    entries = int(sizes.sum())
    return Asking(
        vectors=np.asarray(vectors.numpy(), np.float32),
        queries=bundle.queries(vectors),
        histories=Histories(
            indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            item=history[known],
            age_days=(users.age_s.numpy()[known] / _DAY_S).astype(np.float32),
            times=np.ones(entries, np.float32),
        ),
        met=met,
    )


@dataclass(frozen=True, kw_only=True)
class Pointed:
    """What the histories of `b` users point to.

    near: sums over each kind of item-item weights, by name.
    best: of each kind, i64 [types, b, h, k], the items with the greatest sums at h recencies.
    """

    near: Mapping[str, Neighbours]
    best: Sequence[NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """Candidates of one type for `b` users, and what a head reads of them.

    rows:     i64 [b, c], NONE where there are fewer.
    features: f32 [b, c, f].
    towers:   the best of them by the towers and popularity alone, best first.
    """

    rows: NDArray[np.int64]
    features: NDArray[np.float32]
    towers: Hits


class ListMaker:
    """Makes users' lists with a bundle's towers and item-item weights.

    What it returns depends on its arguments alone: a trainer that gives it an example's history and
    the demand of its time reads the features that a worker read, or would have read, then.
    """

    def __init__(
        self, bundle: DynamicBundle, settings: RankingSettings, index: ItemIndex | None = None
    ) -> None:
        """index: the bundle's, with items that came or went since; its own when None."""
        self._settings, self._features = settings, settings.features()
        self._index = index or bundle.index
        self._set_items(bundle.features.type_number.numpy(), bundle.vectors, bundle.weights)
        self._types = len(bundle.types)
        # The last demand that was read, with the latest items, and what a head reads of it.
        self._known: tuple[Demand, Demand, NDArray[np.float32]] | None = None

    def _set_items(
        self,
        type_number: NDArray[np.int64],
        vectors: NDArray[np.float32],
        weights: Mapping[str, sp.csr_array],
    ) -> None:
        self._type_number, self._vectors, self._weights = type_number, vectors, weights
        self._group = type_number.astype(np.int16)
        self._allowed = {
            int(number): type_number == number for number in np.unique(type_number).tolist()
        }

    def add_items(self, type_number: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Append items that the bundle does not have: i64 [m] and unit vectors f32 [m, d]."""
        n = len(self._type_number) + len(type_number)
        # Rows without entries; the arrays that hold the weights are shared.
        weights = {
            name: sp.csr_array(
                (
                    matrix.data,
                    matrix.indices,
                    np.pad(matrix.indptr, (0, n - matrix.shape[0]), mode="edge"),
                ),
                shape=(n, n),
            )
            for name, matrix in self._weights.items()
        }
        self._set_items(
            np.concatenate([self._type_number, type_number]),
            np.concatenate([self._vectors, vectors]),
            weights,
        )

    def __len__(self) -> int:
        """Number of items."""
        return len(self._type_number)

    @property
    def names(self) -> list[str]:
        """Names of the features, in order."""
        nobody = np.zeros((0, self._vectors.shape[1]), np.float32)
        return feature_names(self._sources(nobody), self._features)

    def neighbours(self, users: Asking) -> Pointed:
        """Return what the users' histories point to, for `propose` to read for every type."""
        near = neighbours_of(users.histories, self._weights, self._settings.half_lives_days)
        k = self._settings.neighbours
        best = [of.best_of_groups(self._group, self._types, k) for of in near.values()]
        return Pointed(near=near, best=best)

    def propose(
        self,
        users: Asking,
        number: int,
        demand: Demand,
        pointed: Pointed | None = None,
    ) -> Proposed:
        """Return the candidates of one type and their features; number: of the type.

        pointed: by the users' histories; made here when None.
        """
        if pointed is None:
            pointed = self.neighbours(users)
        rows, towers = self._candidates(users, number, demand, pointed)
        features = self._read(users, rows, demand, pointed.near)
        return Proposed(rows=rows, features=features, towers=towers)

    def _candidates(
        self, users: Asking, number: int, demand: Demand, pointed: Pointed
    ) -> tuple[NDArray[np.int64], Hits]:
        """Return the candidates of one type, i64 [b, c], and the towers' own among them."""
        settings = self._settings
        hits = self._index.search_type(
            users.queries, number, settings.towers, users.met, rough=True
        )
        allowed = self._allowed.get(number, np.zeros(len(self), np.bool_))
        lists = [hits.rows]
        for best in pointed.best:
            lists += [*best[number].transpose(1, 0, 2)]
        for ordered in demand.order.T:
            top = self._first_of(ordered, allowed)
            lists.append(np.broadcast_to(top, (len(users), len(top))))
        rows = union(lists, _met(users.met), limit=settings.limit)
        if self._index.removed:
            rows = np.where(self._index.is_removed(rows), NONE, rows)
        return rows, hits

    def _first_of(
        self, ordered: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the first rows of an order that are allowed, i64 [<= demand]."""
        found: list[NDArray[np.int64]] = []
        count, start, step = 0, 0, 4 * self._settings.demand
        while count < self._settings.demand and start < len(ordered):
            part = ordered[start : start + step]
            found.append(part[allowed[part]])
            count += len(found[-1])
            start, step = start + step, 2 * step
        none = np.zeros(0, np.int64)
        return np.concatenate([none, *found])[: self._settings.demand]

    def _read(
        self,
        users: Asking,
        candidates: NDArray[np.int64],
        demand: Demand,
        neighbours: Mapping[str, Neighbours],
    ) -> NDArray[np.float32]:
        """Return the features of users and candidates of one type, f32 [b, c, f]."""
        if self._known is None or self._known[0] is not demand or len(self._known[1]) != len(self):
            grown = demand.grown(len(self))
            states = (grown.values, grown.age_days, grown.silent_days)
            self._known = (demand, grown, item_figures(*states, self._features))
        _, known, figures = self._known
        moment = Moment(
            at_ms=known.at_ms,
            histories=users.histories,
            demand=known.values,
            age_days=known.age_days,
            silent_days=known.silent_days,
        )
        return pair_features(
            moment,
            np.arange(len(users)),
            candidates,
            self._sources(users.vectors),
            self._features,
            neighbours,
            figures,
        )

    def _sources(self, user_vectors: NDArray[np.float32]) -> Sources:
        return Sources(
            type_number=self._type_number,
            types=self._types,
            weights=self._weights,
            towers=(user_vectors, self._vectors),
        )


def _met(rows: NDArray[np.int64]) -> Histories:
    """Return rows that are to be left out, i64 [b, e] with -1, as histories without ages."""
    known = rows >= 0
    sizes = known.sum(axis=1)
    item = rows[known]
    nothing = np.zeros(len(item), np.float32)
    return Histories(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item=item,
        age_days=nothing,
        times=nothing,
    )


def log_shares(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log of each list's softmax, f32 [b, c]; -inf where there is no candidate."""
    total = torch.logsumexp(torch.from_numpy(scores), dim=1, keepdim=True).numpy()
    return np.where(np.isneginf(scores), scores, scores - np.where(np.isneginf(total), 0, total))
