"""A data set as a stream: steps in order of time, and the questions asked in each.

Arms are handed one step at a time, with an index of the events up to the step's end. Inside a step
each question names its moment, and an arm may use events strictly before it alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dynamic_layer.counts.stream_index import StreamIndex
from evaluation.dataset import Dataset, Interactions
from evaluation.split import DAY_MS

__all__ = ["Ask", "PrequentialSettings", "Questions", "Step", "boundaries", "questions", "steps"]

Ask = Literal["next", "basket"]
HOUR_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class PrequentialSettings:
    """How a data set is replayed.

    test_days:   days that are tested, the last ones. end_ms: end of the data; None for just after
                 the last event.
    warmup_days: days before the test whose questions arms learn from, and are not tested on.
    ask:         `next`: each strong event is asked for, just before it. `basket`: what a user
                 takes up in a day (UTC), asked at the day's beginning.
    step:        how often what is heavy is brought up to date: `day`, `hour`, or a number of
                 events.
    repeats:     ask for items that the user had, too; otherwise they are excluded (discovery).
    every_s:     ask at whole multiples of so many seconds (UTC) before the event, so that questions
                 come together; 0 asks at the event's own moment.
    asked:       test a random sample of so many questions, or of whole moments with about so many
                 in them if `every_s`; 0 tests all.
    taught:      learn from a random sample of so many questions a day; 0 learns from all.
    seed:        of the samples and of the bootstrap.
    """

    test_days: float = 14.0
    end_ms: int | None = None
    warmup_days: float = 30.0
    ask: Ask = "next"
    step: str = "day"
    repeats: bool = False
    every_s: float = 0.0
    asked: int = 0
    taught: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings without meaning; raises ValueError."""
        if self.ask not in get_args(Ask):
            raise ValueError(f"expected to ask for next or basket, got {self.ask!r}")
        if self.step not in ("day", "hour") and not (self.step.isdigit() and int(self.step)):
            raise ValueError(f"expected steps of a day, an hour or a number, got {self.step!r}")
        if self.test_days <= 0 or self.warmup_days <= 0:
            raise ValueError("expected more than 0 days to test and to warm up")
        if self.asked < 0 or self.taught < 0 or self.every_s < 0:
            raise ValueError("expected a number of questions or of seconds, or 0")


@dataclass(frozen=True, kw_only=True)
class Questions:
    """`q` questions in order of time.

    user, at_ms: i64 [q]. indptr: i64 [q + 1]; item: i64 [t], what the user went on to take, each
    question's items ascending. test: bool [q], whether the answer counts; the others only teach.
    """

    user: npt.NDArray[np.int64]
    at_ms: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    test: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.user)

    def where(self, rows: npt.NDArray[np.int64]) -> "Questions":
        """Some of the questions, i64 [m], in the order given."""
        sizes = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        entry = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], sizes)
        return Questions(
            user=self.user[rows],
            at_ms=self.at_ms[rows],
            indptr=indptr,
            item=self.item[entry],
            test=self.test[rows],
        )

    def among(self, lists: npt.NDArray[np.int64], n_items: int) -> npt.NDArray[np.bool_]:
        """Which entries of lists, i64 [q, k], -1 for none, are among the answers."""
        owner = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        codes = np.arange(len(self))[:, None] * n_items + lists
        return np.isin(codes, owner * n_items + self.item) & (lists >= 0)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A stretch of the stream, `start_ms` <= time < `end_ms`.

    index: of all events before `end_ms` and of none later. questions: asked within the stretch.
    test:  whether the step belongs to the test.
    """

    start_ms: int
    end_ms: int
    index: StreamIndex
    questions: Questions
    test: bool


def span(events: Interactions, settings: PrequentialSettings) -> tuple[int, int, int]:
    """Return begin of the warm-up, begin and end of the test, ms UTC.

    Raises ValueError where there are no events to know, or none to test.
    """
    if not len(events):
        raise ValueError("cannot replay an empty set of events")
    end = int(events.timestamp.max()) + 1 if settings.end_ms is None else settings.end_ms
    if settings.end_ms is None and (settings.ask == "basket" or settings.step == "day"):
        end = -(-end // DAY_MS) * DAY_MS
    at = end - round(settings.test_days * DAY_MS)
    begin = at - round(settings.warmup_days * DAY_MS)
    if not (events.timestamp < begin).any():
        raise ValueError(
            f"no event lies before the {settings.warmup_days:g} days of warm-up: shorten it, or "
            "the test"
        )
    return begin, at, end


def questions(
    dataset: Dataset, settings: PrequentialSettings, begin_ms: int, at_ms: int, end_ms: int
) -> Questions:
    """Ask for what users took up from `begin_ms` to before `end_ms`.

    Without repeats only for items that the user had not had before the question. Raises ValueError
    where there is nothing to test.
    """
    events = dataset.events.where(dataset.events.strong)
    inside = (events.timestamp >= begin_ms) & (events.timestamp < end_ms)
    if not settings.repeats:
        inside &= _first(events, len(dataset.items))
    found = events.where(inside)
    moment = found.timestamp
    if settings.ask == "basket":
        moment = moment // DAY_MS * DAY_MS
    elif every_ms := round(settings.every_s * 1_000):
        moment = np.maximum(moment // every_ms * every_ms, at_ms * (found.timestamp >= at_ms))
    # Items ascending within a question; a repeated item of a basket is one answer.
    order = np.lexsort((found.item, found.user, moment))
    user, item, moment = found.user[order], found.item[order], moment[order]
    changed = (np.diff(moment) != 0) | (np.diff(user) != 0)
    fresh = np.concatenate([[True], changed | (np.diff(item) != 0)])[: len(user)]
    user, item, moment = user[fresh], item[fresh], moment[fresh]
    if settings.ask == "basket":
        changed = (np.diff(moment) != 0) | (np.diff(user) != 0)
        starts = np.flatnonzero(np.concatenate([[True], changed])[: len(user)])
    else:
        starts = np.arange(len(user))
    made = Questions(
        user=user[starts],
        at_ms=moment[starts],
        indptr=np.append(starts, len(item)).astype(np.int64),
        item=item,
        test=moment[starts] >= at_ms,
    )
    if not made.test.any():
        raise ValueError("nothing is asked in the test: test more days, or include repeats")
    return _sampled(made, settings)


def _first(events: Interactions, n_items: int) -> npt.NDArray[np.bool_]:
    """Which events are their user's first on the item (with those of the same moment)."""
    code = events.user * n_items + events.item
    _, first, back = np.unique(code, return_index=True, return_inverse=True)
    return np.asarray(events.timestamp == events.timestamp[first][back])


def _sampled(made: Questions, settings: PrequentialSettings) -> Questions:
    """What the sample of the test leaves out teaches all the same."""
    rng = np.random.default_rng([settings.seed, 0])
    tested, kept = made.test.copy(), np.ones(len(made), bool)
    test = np.flatnonzero(made.test)
    if settings.asked and len(test) > settings.asked:
        tested[:] = False
        if settings.every_s:
            moments = rng.permutation(np.unique(made.at_ms[test]))
            sizes = np.searchsorted(made.at_ms[test], moments, side="right")
            sizes -= np.searchsorted(made.at_ms[test], moments)
            chosen = moments[: int(np.searchsorted(np.cumsum(sizes), settings.asked)) + 1]
            tested[test[np.isin(made.at_ms[test], chosen)]] = True
        else:
            tested[rng.choice(test, settings.asked, replace=False)] = True
    if settings.taught:
        _, sizes = np.unique(made.at_ms[~made.test] // DAY_MS, return_counts=True)
        chance = min(1.0, settings.taught / max(float(sizes.mean()) if len(sizes) else 1.0, 1.0))
        kept = tested | (rng.random(len(made)) < chance)
    return replace(made, test=tested).where(np.flatnonzero(kept))


def boundaries(
    events: Interactions, settings: PrequentialSettings, begin_ms: int, at_ms: int, end_ms: int
) -> npt.NDArray[np.int64]:
    """Return the steps' edges, i64 [s + 1], ms UTC; the test's beginning is one of them.

    Days divide the stretch too, whatever the step is: what happens daily happens at their edges.
    Nothing is tested in the warm-up, so that days suffice there.
    """
    inner = [np.arange(begin_ms // DAY_MS + 1, -(-end_ms // DAY_MS)) * DAY_MS]
    if settings.step == "hour":
        inner.append(np.arange(at_ms // HOUR_MS + 1, -(-end_ms // HOUR_MS)) * HOUR_MS)
    elif settings.step != "day":
        inside = events.timestamp[(events.timestamp >= at_ms) & (events.timestamp < end_ms)]
        inner.append(inside[:: int(settings.step)])
    return np.unique(np.concatenate([[begin_ms, at_ms, end_ms], *inner])).astype(np.int64)


def steps(
    dataset: Dataset,
    asked: Questions,
    edges: npt.NDArray[np.int64],
    at_ms: int,
    half_lives_days: tuple[float, ...],
) -> Iterator[Step]:
    """Yield the steps between the edges, one after the other."""
    events = dataset.events
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        until = int(np.searchsorted(events.timestamp, end))
        rows = np.arange(*np.searchsorted(asked.at_ms, [start, end]))
        if not len(rows):
            continue
        yield Step(
            start_ms=start,
            end_ms=end,
            index=StreamIndex.of(
                user=events.user[:until],
                item=events.item[:until],
                timestamp=events.timestamp[:until],
                strong=events.strong[:until],
                n_users=len(dataset.users),
                n_items=len(dataset.items),
                half_lives_days=half_lives_days,
            ),
            questions=asked.where(rows),
            test=start >= at_ms,
        )
