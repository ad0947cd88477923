"""A bundle's head at work: the best items of a type, and lists over several types."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.counts.moments import Histories
from dynamic_layer.head.contributions import contributions
from dynamic_layer.head.list_scores import ListScorer
from dynamic_layer.head.ranking_head import RankingHead
from dynamic_layer.index.item_index import Hits, ItemIndex
from dynamic_layer.items.features import ItemFeatures
from dynamic_layer.lists.asking import Asking
from dynamic_layer.lists.head_learning import ranking_settings
from dynamic_layer.lists.list_maker import ListMaker, Proposed, log_shares
from dynamic_layer.lists.served_features import MIXED, ServedFeatures
from dynamic_layer.popularity.demand import Demand
from dynamic_layer.settings import RankingSettings

_PLACES = 4  # candidates that are left for each place of a list where there are to be fewer


class HeadRanker:
    """Ranks a user's candidates of a type by the head."""

    def __init__(
        self,
        bundle: DynamicBundle,
        head: RankingHead,
        settings: RankingSettings,
        index: ItemIndex,
    ) -> None:
        """index: the bundle's, with items that came or went since."""
        #: The bundle's sequence tower, with the items that are added here; None without one.
        self.sequence = None if bundle.sequence is None else bundle.sequence.copy()
        self._maker = ListMaker(bundle, settings, index, sequence=self.sequence)
        self._texts, self._settings = bundle.texts, settings
        self._head, self._scorer, self._prior = head, ListScorer(head), settings.type_prior
        self._type_number = bundle.features.type_number.numpy()
        sizes = np.bincount(self._type_number, minlength=len(bundle.types))
        self._shares = sizes / max(1, sizes.sum())
        # Bundles of earlier versions do not say it, and types without lists are as the others.
        reach: dict[str, float] = bundle.manifest.get("reach", {})
        average = sum(reach.values()) / max(1, len(reach))
        self._reach = np.array([reach.get(name, average) or 1.0 for name in bundle.types])

    @classmethod
    def of(cls, bundle: DynamicBundle, index: ItemIndex) -> Self | None:
        """Return the ranker of a bundle; None where it has no head that this version can feed."""
        settings = ranking_settings(bundle)
        if bundle.head is None or settings is None:
            return None
        found = cls(bundle, bundle.head, settings, index)
        return found if found._maker.names == bundle.head.names else None

    @property
    def reads_shown(self) -> bool:
        """Whether the head reads impressions."""
        return self._maker.reads_shown

    def add_items(self, items: ItemFeatures, vectors: NDArray[np.float32]) -> None:
        """Append `m` items that the bundle does not have; vectors: unit vectors f32 [m, d]."""
        type_number = items.type_number.numpy()
        if self.sequence is not None:
            texts = self._texts(items.content.numpy(), np.arange(len(items)))
            self.sequence.add_items(texts, type_number)
        self._maker.add_items(type_number, vectors)
        self._type_number = np.concatenate([self._type_number, type_number])

    def update_items(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Give some items other vectors, i64 [m] and unit vectors f32 [m, d]."""
        self._maker.update_items(rows, vectors)

    def best(
        self,
        users: Asking,
        numbers: Sequence[int],
        demand: Demand,
        k: int,
        allowed: NDArray[np.bool_] | None = None,
        fewer: int = 1,
    ) -> dict[int, Hits]:
        """Return the k best candidates of some types, with log P(item | type, user) as scores.

        allowed: bool [rows], the only candidates; all items when None. fewer: candidates are
        divided by this, as far as a list is left several times as many as it has places, and the
        towers bring as many as these.
        """
        fewer = self._fewer(fewer, k)
        near = self._maker.neighbours(users)
        found = {}
        for number in numbers:
            proposed = self._maker.propose(users, number, demand, near, allowed, fewer)
            scores = self._scores(users, proposed, demand, number)
            found[number] = Hits(proposed.rows, log_shares(scores)).best(k)
        return found

    def best_mixed(
        self,
        users: Asking,
        types: Sequence[int],
        demand: Demand,
        k: int,
        allowed: NDArray[np.bool_] | None = None,
        fewer: int = 1,
    ) -> Hits:
        """Return the k best candidates among all of some types, in one pass over them.

        For more types than `across` should join: the head has learned from mixed lists too.
        allowed, fewer: as of `best`.
        """
        fewer = self._fewer(fewer, k)
        proposed = self._maker.propose_mixed(users, types, demand, only=allowed, fewer=fewer)
        scores = self._scores(users, proposed, demand, MIXED)
        return Hits(proposed.rows, log_shares(scores)).best(k)

    def _fewer(self, fewer: int, k: int) -> int:
        settings, k = self._settings, max(1, k)
        # By the towers alone a list is filled: demand brings the same items at each half-life.
        return max(1, min(fewer, settings.limit // (_PLACES * k), settings.towers // k))

    def _scores(
        self, users: Asking, proposed: Proposed, demand: Demand, number: int
    ) -> NDArray[np.float32]:
        """Return the head's scores of candidates, f32 [b, c]; show watched users' what it read."""
        scores = self._scorer.scores(proposed.values)
        shown_to_ms = 0 if users.shown is None else users.shown.to_ms
        for place, watch in enumerate(users.watches):
            if watch is not None:
                entries = int(np.diff(users.histories.indptr)[place])
                features = proposed.values.take(slice(place, place + 1)).features()[0]
                watch.note(
                    proposed.rows[place], features, scores[place],
                    number=number, names=self._head.names, demand_at_ms=demand.at_ms,
                    entries=entries, shown_to_ms=shown_to_ms,
                )  # fmt: skip
        return scores

    def explained(self, seen: ServedFeatures, keys: NDArray[np.uint64]) -> list[dict[str, float]]:
        """Return the parts of log P(item | type) of items that are among a list's candidates.

        keys: u64 [m]. Parts by group of features; `candidates`: the score of an average candidate
        less the log of the sum over all candidates, the same for all items.
        """
        place = {key: at for at, key in enumerate(seen.candidates.tolist())}
        rows = [place[key] for key in keys.tolist()]
        base, parts = contributions(self._head, seen.features[rows], self._maker.groups)
        rest = base - float(np.logaddexp.reduce(seen.scores.astype(np.float64)))
        return [
            {**{name: float(part[n]) for name, part in parts.items()}, "candidates": rest}
            for n in range(len(rows))
        ]

    def across(
        self, histories: Histories, types: Sequence[int], parts: Sequence[Hits]
    ) -> list[Hits]:
        """Return the types' hits with log P(type | user) added, so that they can be mixed.

        P(type | user): the shares of the types among the user's entries, beginning with a few
        entries of the catalogue's own mixture; each times how often the answer is among the type's
        candidates, since the hits' scores are of an answer that is.
        """
        users = len(histories)
        owner = np.repeat(np.arange(users), np.diff(histories.indptr))
        bag = owner * len(self._shares) + self._type_number[histories.item]
        met = np.bincount(bag, minlength=users * len(self._shares)).reshape(users, -1)
        share = ((met + self._prior * self._shares) * self._reach)[:, list(types)]
        log_share = np.log(share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12) + 1e-12)
        return [
            Hits(part.rows, part.scores + log_share[:, place, None].astype(np.float32))
            for place, part in enumerate(parts)
        ]
