"""Training-serving skew: what a head read for an answer, against what training lists would read.

The definition is in ADR 0060. A list of an answer is recomputed from the example of the event that
caused it: the example's history with its event in front, at the time of the answer, by the code
that makes training lists. The difference of a feature is in deviations of the head, which is the
unit in which the head reads it.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.examples.offsets import hashed_share
from dynamic_layer.examples.replay import pad
from dynamic_layer.head.impressions import is_of_impressions
from dynamic_layer.head.ranking_head import RankingHead
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.head_learning import asked_of, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.lists.served_features import MIXED, ServedFeatures
from dynamic_layer.popularity.demand import Demand, DemandReader
from dynamic_layer.popularity.event_counts import Popularity

#: Share of the events whose examples are remembered: workers sample answers to some of these.
REMEMBERED_SHARE = 0.01
#: Differences above these, in deviations, are skew. Rounding is below a thousandth.
TOLERANCE, DEMAND_TOLERANCE = 0.01, 0.1
#: Counts of the last whole bucket still come in after its end: demand and impressions are not
#: compared so early.
SETTLE_MS = 60_000
#: A worker's clock may differ from the log's by so much; beyond it the log's time counts.
CLOCK_MS = 60_000
_EXAMPLES = 4_096  # remembered, one row each

Outcome = Literal["compared", "no_example", "another_bundle", "other_features", "new_items"]


@dataclass(frozen=True, kw_only=True)
class Skew:
    """What the comparison of one list came to.

    outcome:     `compared`; or why it was not.
    differences: by feature, in deviations of the head: the greatest over the list's candidates; of
                 demand and age the mean, since the counts of one item may have come late.
    """

    outcome: Outcome
    differences: dict[str, float] = field(default_factory=dict)

    @property
    def found(self) -> dict[str, float]:
        """The differences that are skew, the greatest against its tolerance first."""
        over = {name: value / tolerance_of(name) for name, value in self.differences.items()}
        names = sorted((name for name in over if not over[name] <= 1), key=lambda n: -over[n])
        return {name: self.differences[name] for name in names}


def of_demand(name: str) -> bool:
    """Whether a feature is read from counts of demand.

    >>> [of_demand(name) for name in ("z:demand@4d", "silent", "ease@1d")]
    [True, True, False]
    """
    bare = name.removeprefix("z:")
    return bare.startswith("demand@") or bare in ("age", "silent", "new")


def tolerance_of(name: str) -> float:
    """Return the difference, in deviations, up to which a feature counts as equal."""
    return DEMAND_TOLERANCE if of_demand(name) else TOLERANCE


def as_answered(example: ExampleBatch, at_ms: int) -> ExampleBatch:
    """Return an example with its event in front of its history, as of `at_ms`.

    example: of one event, the newest of its user, with the whole history before it.
    """
    target, time_ms = example.target[0], int(example.timestamp[0])
    same = example.history_item == target
    items = np.concatenate([example.history_item[~same], [target]])
    times = np.concatenate([example.history_time[~same], [time_ms]])
    strong = np.concatenate(
        [example.history_strong[~same], [example.strong[0] or example.history_strong[same].any()]]
    )
    # As states keep histories: newest first, ties by key.
    order = np.lexsort((~items, -times))
    return replace(
        example,
        timestamp=np.array([at_ms], np.int64),
        indptr=np.array([0, len(items)], np.int64),
        history_item=items[order],
        history_time=times[order],
        history_strong=strong[order],
    )


class SkewCheck:
    """Compares lists of one bundle's answers with what training would read.

    Memory is bounded: of the remembered examples the newest stay.
    """

    def __init__(self, *, history_cap: int, share: float = REMEMBERED_SHARE) -> None:
        """history_cap: entries of whole histories; share: of the examples, to remember."""
        self._history_cap, self._share = history_cap, share
        self._examples: OrderedDict[tuple[str, int, int], ExampleBatch] = OrderedDict()
        self._reader: tuple[Popularity, DemandReader] | None = None
        self.serve(None)

    def serve(self, bundle: DynamicBundle | None) -> None:
        """Compare the answers by this bundle from now on."""
        self._bundle, self._maker, self._reader = bundle, None, None
        settings = None if bundle is None else ranking_settings(bundle)
        if bundle is not None and bundle.head is not None and settings is not None:
            self._maker = ListMaker(bundle, settings)
            self._rows, self._items = ItemRows(bundle.item_keys), len(bundle.item_keys)
            self._half_lives = settings.demand_half_lives_days

    def remember(self, batch: ExampleBatch) -> None:
        """Remember a share of the examples, by the hash that workers sample by."""
        for row in np.flatnonzero(hashed_share(batch.offset, self._share)).tolist():
            place = (batch.topic, batch.partition, int(batch.offset[row]))
            self._examples[place] = batch.take(np.array([row]))
        while len(self._examples) > _EXAMPLES:
            self._examples.popitem(last=False)

    def compare(self, served: ServedFeatures, log_ms: int, popularity: Popularity) -> Skew:
        """Compare a list; log_ms: when the log took it, ms UTC; popularity: counts of demand."""
        example = self._examples.pop((served.topic, served.partition, served.offset), None)
        bundle, maker = self._bundle, self._maker
        made = served.generation, served.created_at
        if bundle is None or maker is None or bundle.head is None or made != bundle.made:
            return Skew(outcome="another_bundle")
        if example is None:
            return Skew(outcome="no_example")
        if not list(served.names) == bundle.head.names == maker.names:
            return Skew(outcome="other_features")
        at_ms = served.at_ms if abs(log_ms - served.at_ms) <= CLOCK_MS else log_ms
        answered = as_answered(example, at_ms)
        known, rows = self._rows(answered.history_item) >= 0, self._rows(served.candidates)
        more = not known.all() and served.entries > known[: self._history_cap].sum()
        if more or not (rows >= 0).any():
            return Skew(outcome="new_items")
        demand = self._demand(popularity, at_ms)
        asked = asked_of(bundle, pad(answered, self._history_cap, 0), self._rows)
        values = maker.read(
            asked, rows[None], demand, maker.neighbours(asked), mixed=served.number == MIXED
        )
        timely = demand.at_ms == served.demand_at_ms
        timely &= served.at_ms - served.demand_at_ms >= SETTLE_MS
        found = differences(bundle.head, served, values.features()[0], rows >= 0)
        if not timely:
            found = {name: value for name, value in found.items() if not of_demand(name)}
        # Between the event and the answer a bucket of impressions may have ended.
        same_bucket = int(example.timestamp[0]) >= served.shown_to_ms
        if not same_bucket or served.at_ms - served.shown_to_ms < SETTLE_MS:
            found = {name: value for name, value in found.items() if not is_of_impressions(name)}
        return Skew(outcome="compared", differences=found)

    def _demand(self, popularity: Popularity, at_ms: int) -> Demand:
        """Return the demand that a training list of this moment reads."""
        if self._reader is None or self._reader[0] is not popularity:
            reader = DemandReader(popularity, self._rows, self._items, self._half_lives)
            self._reader = (popularity, reader)
        return self._reader[1].at(at_ms)


def differences(
    head: RankingHead,
    served: ServedFeatures,
    features: NDArray[np.float32],
    known: NDArray[np.bool_],
) -> dict[str, float]:
    """Return how far features f32 [c, f] are from those that were served, by name.

    known: bool [c], candidates that both know. What is standardised over the list is compared only
    where all are known. `score` compares the head's own: it is of the features that were served.
    """
    apart = np.abs(served.features - features)[known] / head.deviation.numpy()
    found = {
        name: float(apart[:, place].mean() if of_demand(name) else apart[:, place].max())
        for place, name in enumerate(head.names)
        if known.all() or not name.startswith("z:")
    }
    scores = head.scores(served.features[None], np.ones((1, len(known)), np.bool_))[0]
    return found | {"score": float(np.abs(scores - served.scores).max())}
