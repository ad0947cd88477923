"""How the head learns in the stream: from examples that the towers behind it have not seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.examples.ranking import history_rows, user_features
from dynamic_layer.examples.replay import PaddedExamples, Replay
from dynamic_layer.head.candidates import NONE
from dynamic_layer.head.growing_head import grown_head, grown_trainer, only_adds
from dynamic_layer.head.impressions import Impressions, is_of_impressions
from dynamic_layer.head.ranking_head import HeadTrainer, Lists, RankingHead
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.asking import Asking, asking
from dynamic_layer.lists.existing_items import ExistingItems
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.lists.reach import Reach
from dynamic_layer.popularity.demand import DemandReader
from dynamic_layer.popularity.event_counts import Popularity
from dynamic_layer.saved import Saved, generator_saved, restore_generator
from dynamic_layer.settings import SEPARATE_TYPES, RankingSettings

K = 10
_CHUNK = 64
_AT_ONCE = 1_024  # users whose vectors are computed at once
_SURE = (
    "weights",
    "vectors",
    "towers",
    "sequence",
    "demand",
)  # groups of features that few lists teach
_ITEM_ITEM = 0.2  # expected weight of a sum over item-item weights, in deviations of a list
_MOST_MADE = 4  # lists of a lesson for each that it wants, where most lack their target
_TOGETHER = 16  # lists of one moment, about, below which moments are drawn together


def ranking_settings(bundle: DynamicBundle) -> RankingSettings | None:
    """Return what a bundle's head was trained with; None where the bundle is older than heads."""
    values = bundle.manifest["settings"].get("ranking")
    if values is None:
        return None
    # Earlier versions read the towers' part of a history, and gave weak signals no place.
    values = {"entries": bundle.history_cap, "weak": 0, **values}
    return msgspec.convert(values, RankingSettings)


@dataclass(frozen=True, kw_only=True)
class MadeLists:
    """Lists of some examples, of one bucket of time, and where the targets came.

    place:      i64 [b], of the examples that were asked about.
    lists:      labelled by the target.
    head, towers: bool [b], whether the target was among the best ten.
    before:     i64 [b], candidates that the head ranks before the target; -1 where it is none.
    mixed:      whether they are over all types, not over the target's.
    """

    place: NDArray[np.int64]
    lists: Lists
    head: NDArray[np.bool_]
    towers: NDArray[np.bool_]
    before: NDArray[np.int64]
    mixed: bool = False


def made_lists(
    bundle: DynamicBundle,
    maker: ListMaker,
    examples: PaddedExamples,
    popularity: Popularity,
    half_lives_days: tuple[float, ...],
    *,
    mixed: bool = False,
) -> Iterator[MadeLists]:
    """Yield the lists of examples as they were when their events came, oldest first.

    Each list is read with the demand that had been counted by the last whole bucket before its
    event; where few examples span many buckets, by one somewhat earlier. Items that were published
    later are no candidates. Examples whose target the bundle does not know are left out. Lists are
    of the target's type; mixed: where there are many types, every second example's is over all of
    them, as a head has to rank both.
    """
    rows = ItemRows(bundle.item_keys)
    target = rows(examples.target)
    type_number = bundle.features.type_number.numpy()
    known = np.flatnonzero(target >= 0)
    if not len(known):
        return
    # Lists of one moment share their cost.
    span = int(np.ptp(examples.timestamp[known])) // popularity.bucket_ms
    moments = max(1, len(known) // _TOGETHER)
    bucket = examples.timestamp // (popularity.bucket_ms * (1 + span // moments))
    number = type_number[np.maximum(target, 0)]
    many = len(bundle.types) > SEPARATE_TYPES
    # With many types the lists of a moment share one pass, whatever their types.
    over_all = mixed & many & (examples.offset % 2 == 1)
    kind = over_all.astype(np.int64) if many else number
    order = known[np.lexsort((kind[known], bucket[known]))]
    demand = DemandReader(popularity, rows, len(bundle.item_keys), half_lives_days)
    # A head that learns to read more than the one that is served ranks as that one does.
    head = None if bundle.head is None else grown_head(bundle.head, maker.names)
    starts = np.flatnonzero(np.diff(bucket[order]) | np.diff(kind[order])) + 1
    vectors, existing = _vectors_of(bundle, examples, rows), ExistingItems(bundle.published_ms)
    for group in np.split(order, starts):
        for start in range(0, len(group), _CHUNK):
            part = group[start : start + _CHUNK]
            asked = asked_of(bundle, examples.take(part), rows, vectors[part])
            own = target[part]
            at_ms = examples.timestamp[part]
            known_demand = demand.at(int(at_ms.min()))
            asked, allowed = existing(asked, at_ms, known_demand)
            wide = bool(over_all[part[0]])
            proposed = (
                maker.propose_mixed(asked, range(len(bundle.types)), known_demand, only=allowed)
                if wide
                else maker.propose(asked, number[part], known_demand, allowed=allowed)
            )
            label, valid = proposed.rows == own[:, None], proposed.rows != NONE
            features = proposed.values.features()
            before = _before(head, features, label, valid)
            yield MadeLists(
                place=part,
                lists=Lists(features=features.astype(np.float16), label=label, valid=valid),
                head=(before >= 0) & (before < K),
                towers=(proposed.towers.rows[:, :K] == own[:, None]).any(axis=1),
                before=before,
                mixed=wide,
            )


def _vectors_of(bundle: DynamicBundle, examples: PaddedExamples, rows: ItemRows) -> Tensor:
    """Return the users of examples by the towers, f32 [b, d]; a moment's few users cost as much."""
    parts = [
        bundle.user_vectors(user_features(examples.take(part), rows, bundle.history_cap))
        for part in np.array_split(np.arange(len(examples)), -(-len(examples) // _AT_ONCE))
    ]
    return torch.cat(parts)


def asked_of(
    bundle: DynamicBundle, examples: PaddedExamples, rows: ItemRows, vectors: Tensor | None = None
) -> Asking:
    """Return the users of examples as a list maker reads them, just before their events.

    vectors: f32 [b, d], theirs by the towers, where they are known.
    """
    if vectors is None:
        vectors = bundle.user_vectors(user_features(examples, rows, bundle.history_cap))
    return asking(
        bundle,
        vectors,
        history=history_rows(examples, rows),
        age_s=examples.history_age,
        strong=examples.history_strong,
        shown=_shown_of(examples, rows),
        sequence=bundle.sequence,
    )


def _shown_of(examples: PaddedExamples, rows: ItemRows) -> Impressions | None:
    """Return what the users of examples had been shown; None where none were shown anything."""
    length, item = examples.shown_length, examples.shown_item
    age_s, count = examples.shown_age, examples.shown_count
    if length is None or item is None or age_s is None or count is None or not length.any():
        return None
    owner, place = np.nonzero(np.arange(item.shape[1]) < length[:, None])
    at = (owner, place)
    return Impressions.of(len(examples), owner, rows(item[at]), age_s[at], count[at])


def _before(
    head: RankingHead | None,
    features: NDArray[np.float32],
    label: NDArray[np.bool_],
    valid: NDArray[np.bool_],
) -> NDArray[np.int64]:
    if head is None:
        return np.full(len(label), -1)
    scores = head.scores(features, valid)
    aim = np.where(label, scores, -np.inf).max(axis=1, initial=-np.inf)[:, None]
    # As `Hits.best` orders a list that is served: of equal scores the first candidate.
    sooner = np.arange(label.shape[1]) < label.argmax(axis=1)[:, None]
    before = ((scores > aim) | ((scores == aim) & sooner)).sum(axis=1)
    return np.where(label.any(axis=1), before, -1)


def _as_served(bundle: DynamicBundle | None) -> dict[str, float]:
    """Return the weights with which a head ranks about as towers and popularity of a bundle do."""
    if bundle is None:
        return {}
    each = float(bundle.manifest["popularity"]["weight"]) / len(bundle.types)
    weights = {"towers": 1 / bundle.model.temperature}
    for days in bundle.half_lives_days.values():  # a head has one weight for all types
        weights[f"demand@{days:g}d"] = weights.get(f"demand@{days:g}d", 0.0) + each
    return weights


def _item_item(names: Sequence[str], settings: RankingSettings) -> dict[str, float]:
    """Return what counts are worth before lists say so: by the longest half-life, in deviations."""
    half = max(settings.half_lives_days)
    wanted = [f"z:{kind}@{half:g}d" for kind in ("ease", "cosine")]
    return {name: _ITEM_ITEM for name in wanted if name in names}


def _sure(maker: ListMaker) -> list[str]:
    """Return the features of which few lists teach the right weight.

    That an item stands out in its list is the same at all times. The age of an item, or a user's
    number of events, are others when a history is young than later on.
    """
    return [
        name for name, group in zip(maker.names, maker.groups, strict=True)
        if name.startswith("z:") and group in _SURE
    ]  # fmt: skip


@dataclass
class _Lesson:
    """Lists of a lesson: those that taught; those of one type, and their hits among ten."""

    taught: int = 0
    measured: int = 0
    head: int = 0
    towers: int = 0


class HeadLearning:
    """The head of a trainer, and the bundle whose towers its lists are made with.

    Guarantees: a list is made of an example that the towers behind its features were not trained
    on, with demand from before it, and it is ranked by the bundle that was served before anything
    learns from it. Memory is bounded by the head's settings.
    """

    def __init__(self, settings: RankingSettings, *, history_cap: int, seed: int) -> None:
        """Start without a head.

        history_cap: entries to which workers cut histories; lists are made of whole ones alone.
        seed: of the head and of the choice of examples.
        """
        self.settings, self._history_cap = settings, history_cap
        self._seed = seed
        self._rng = np.random.default_rng([seed, 1])
        self._head: HeadTrainer | None = None
        self._names: list[str] = []
        self._bundle: DynamicBundle | None = None
        self._first = 0
        self._reach = Reach(settings.head.capacity)
        #: Lists that the call of `learn` that runs has made, and how many it makes; (0, 0) else.
        self.making = (0, 0)

    @property
    def ready(self) -> bool:
        """Whether there are towers to make lists with."""
        return self._bundle is not None

    def freeze(self, bundle: DynamicBundle, first: int) -> None:
        """Make lists with a bundle's towers from now on, of examples from number `first` on."""
        self._bundle, self._first = bundle, first

    def thaw(self) -> None:
        """Make no more lists until the next bundle: rows and vectors are no longer those in use.

        What was learned stays: features that are standardised in their list carry over.
        """
        self._bundle = None

    def learn(self, replay: Replay, popularity: Popularity) -> dict[str, float]:
        """Make lists of new examples, rank them by the bundle, and learn from them.

        Returns how many there were and the HR@10 of head and towers on them, before learning.
        """
        if self._bundle is None:
            return {}
        settings = self.settings
        numbers = replay.discoveries(self._history_cap)
        numbers = self._rng.permutation(numbers[numbers >= self._first])
        self._first = replay.written
        if not len(numbers):
            return {}
        most = settings.lists if self._head is not None else settings.first_lists
        start, end = 0, min(most, len(numbers))
        examples, lesson = replay.take(np.sort(numbers[:end])), _Lesson()
        maker = ListMaker(self._bundle, settings, shown=self._reads_shown(examples), learning=True)
        trainer = self._trainer(maker)
        while start < end:
            self.making = (start, end)
            self._make_lists(self._bundle, trainer, maker, examples, popularity, lesson)
            # Lists without the target teach nothing: those of further examples make up for them.
            needed = round(most * min(_MOST_MADE, end / max(1, lesson.taught))) if not start else 0
            start, end = end, min(len(numbers), max(end, needed))
            examples = replay.take(np.sort(numbers[start:end]))
        trainer.train()
        self.making = (0, 0)
        measured = max(1, lesson.measured)
        figures = {
            "prequential_examples": float(lesson.measured),
            "prequential_towers_hr_at_10": lesson.towers / measured,
        }
        if self._bundle.head is not None:
            figures["prequential_hr_at_10"] = lesson.head / measured
        return figures

    def _make_lists(
        self,
        bundle: DynamicBundle,
        trainer: HeadTrainer,
        maker: ListMaker,
        examples: PaddedExamples,
        popularity: Popularity,
        lesson: _Lesson,
    ) -> None:
        """Add the lists of examples to the trainer's, and count them."""
        halves = self.settings.demand_half_lives_days
        number = bundle.features.type_number.numpy()[ItemRows(bundle.item_keys)(examples.target)]
        hit, done = np.zeros(len(examples), np.bool_), np.zeros(len(examples), np.bool_)
        for made in made_lists(bundle, maker, examples, popularity, halves, mixed=True):
            lesson.taught += trainer.add(made.lists)
            self.making = (self.making[0] + len(made.place), self.making[1])
            if made.mixed:
                lesson.measured -= len(made.place)  # all figures are of lists of one type
                continue
            hit[made.place], done[made.place] = made.lists.label.any(axis=1), True
            lesson.head += int(made.head.sum())
            lesson.towers += int(made.towers.sum())
        lesson.measured += len(examples)
        self._reach.add(bundle.types, number[done], hit[done])

    def reach(self) -> dict[str, float]:
        """Return how often the target is among the candidates of a list, by item type."""
        return self._reach.shares()

    def _reads_shown(self, examples: PaddedExamples) -> bool:
        """Return whether the head reads impressions: from the first ones on that come."""
        known = examples.shown_length is not None and bool(examples.shown_length.any())
        return known or any(map(is_of_impressions, self._names))

    def _trainer(self, maker: ListMaker) -> HeadTrainer:
        before, self._names = self._names, maker.names
        known = self._head is not None and self._head.held > 0 and only_adds(before, self._names)
        if self._head is None or (before != self._names and not known):
            self._head = HeadTrainer(
                self._names, self.settings.head, seed=self._seed, initial=_as_served(self._bundle)
            )
        elif before != self._names:
            self._head = grown_trainer(self._head, before, self._names, seed=self._seed)
        return self._head

    def publish(self, bundle: DynamicBundle) -> RankingHead | None:
        """Return the head as it is now; None before it has learned from enough lists.

        bundle: the one that it is for, made without it: few lists are fitted beginning with how
        that ranks.
        """
        if self._head is None or self._head.held < self.settings.min_lists:
            return None
        maker = ListMaker(bundle, self.settings, shown=True)
        if not set(self._names) <= set(maker.names):
            return None  # as after the sequence tower was turned off: no worker could read it
        expected = _as_served(bundle) | _item_item(self._names, self.settings)
        self._head.expect(expected, _sure(maker))
        return self._head.publish()

    def saved(self) -> Saved:
        """Return what was learned and the lists it was learned from, without the bundle."""
        own = {
            "names": self._names,
            "rng": generator_saved(self._rng),
            "reach": self._reach.saved(),
        }
        parts = {"own": Saved(values=own)}
        if self._head is not None:
            parts["head"] = self._head.saved()
        return Saved.joined(parts)

    def restore(self, saved: Saved) -> None:
        """Go on where another was, with lists of examples that come after the next bundle.

        What came after the last one is not made lists of: the towers that it was frozen with are
        gone, and later ones have been trained on it.
        """
        own = saved.part("own").values
        self._names = list(own["names"])
        restore_generator(self._rng, own["rng"])
        # Checkpoints of earlier versions know nothing of it.
        self._reach = Reach(self.settings.head.capacity, own.get("reach"))
        if "head" in saved.values:
            self._head = HeadTrainer(self._names, self.settings.head, seed=self._seed)
            self._head.restore(saved.part("head"))
        self.thaw()
