"""A data set as a stream: steps in order of time, and the questions asked in each.

Arms are handed one day at a time, with an index of the events up to the day's end. Inside it each
question names its moment, and an arm may use events strictly before it alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dynamic_layer import take_rows
from evaluation.dataset import Dataset, Interactions
from evaluation.prequential.stream_index import StreamIndex
from evaluation.split import DAY_MS

__all__ = ["Ask", "PrequentialSettings", "Questions", "Step", "questions", "span", "steps"]

Ask = Literal["next", "basket"]
HOUR_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class PrequentialSettings:
    """How a data set is replayed.

    test_days:   days that are tested, the last ones. end_ms: end of the data; None for the end
                 of the last event's day (UTC).
    ask:         `next`: each strong event is asked for, just before it. `basket`: what a user
                 takes up in a day (UTC), asked at the day's beginning.
    repeats:     ask for items that the user had, too; otherwise they are excluded (discovery).
    every_s:     ask at whole multiples of so many seconds (UTC) before the event, so that questions
                 come together; 0 asks at the event's own moment.
    asked:       test a random sample of so many questions, or of whole moments with about so many
                 in them if `every_s`; 0 tests all.
    seed:        of the samples and of the bootstrap.
    """

    test_days: float = 14.0
    end_ms: int | None = None
    ask: Ask = "next"
    repeats: bool = False
    every_s: float = 0.0
    asked: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings without meaning; raises ValueError."""
        if self.ask not in get_args(Ask):
            raise ValueError(f"expected to ask for next or basket, got {self.ask!r}")
        if self.test_days <= 0:
            raise ValueError("expected more than 0 days to test")
        if self.asked < 0 or self.every_s < 0:
            raise ValueError("expected a number of questions or of seconds, or 0")


@dataclass(frozen=True, kw_only=True)
class Questions:
    """`q` questions in order of time.

    user, at_ms: i64 [q]. indptr: i64 [q + 1]; item: i64 [t], what the user went on to take, each
    question's items ascending.
    """

    user: npt.NDArray[np.int64]
    at_ms: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def where(self, rows: npt.NDArray[np.int64]) -> "Questions":
        """Some of the questions, i64 [m], in the order given."""
        indptr, entry = take_rows(self.indptr, rows)
        return Questions(
            user=self.user[rows],
            at_ms=self.at_ms[rows],
            indptr=indptr,
            item=self.item[entry],
        )

    def among(self, lists: npt.NDArray[np.int64], n_items: int) -> npt.NDArray[np.bool_]:
        """Which entries of lists, i64 [q, k], -1 for none, are among the answers."""
        owner = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        codes = np.arange(len(self))[:, None] * n_items + lists
        return np.isin(codes, owner * n_items + self.item) & (lists >= 0)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A day (UTC) of the stream.

    index: of all events before `end_ms` and of none later. questions: asked before it, on that day.
    """

    end_ms: int
    index: StreamIndex
    questions: Questions


def span(events: Interactions, settings: PrequentialSettings) -> tuple[int, int]:
    """Return begin and end of the test, ms UTC.

    Raises ValueError where there are no events to know, or none to test.
    """
    if not len(events):
        raise ValueError("cannot replay an empty set of events")
    end = settings.end_ms
    if end is None:
        end = -(-(int(events.timestamp.max()) + 1) // DAY_MS) * DAY_MS
    at = end - round(settings.test_days * DAY_MS)
    if not (events.timestamp < at).any():
        raise ValueError(
            f"no event lies before the {settings.test_days:g} days of the test: shorten it"
        )
    return at, end


def questions(
    dataset: Dataset, settings: PrequentialSettings, at_ms: int, end_ms: int
) -> Questions:
    """Ask for what users took up from `at_ms` to before `end_ms`.

    Without repeats only for items that the user had not had before the question. Raises ValueError
    where there is nothing to test.
    """
    events = dataset.events.where(dataset.events.strong)
    inside = (events.timestamp >= at_ms) & (events.timestamp < end_ms)
    if not settings.repeats:
        inside &= _first(events, len(dataset.items))
    found = events.where(inside)
    moment = found.timestamp
    if settings.ask == "basket":
        moment = moment // DAY_MS * DAY_MS
        asked = moment >= at_ms
        found, moment = found.where(asked), moment[asked]
    elif every_ms := round(settings.every_s * 1_000):
        moment = np.maximum(moment // every_ms * every_ms, at_ms)
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
    if not len(starts):
        raise ValueError("nothing is asked in the test: test more days, or include repeats")
    made = Questions(
        user=user[starts],
        at_ms=moment[starts],
        indptr=np.append(starts, len(item)).astype(np.int64),
        item=item,
    )
    return _sampled(made, settings)


def _first(events: Interactions, n_items: int) -> npt.NDArray[np.bool_]:
    """Which events are their user's first on the item (with those of the same moment)."""
    code = events.user * n_items + events.item
    _, first, back = np.unique(code, return_index=True, return_inverse=True)
    return np.asarray(events.timestamp == events.timestamp[first][back])


def _sampled(made: Questions, settings: PrequentialSettings) -> Questions:
    rng = np.random.default_rng([settings.seed, 0])
    if not settings.asked or len(made) <= settings.asked:
        return made
    if settings.every_s:
        moments = rng.permutation(np.unique(made.at_ms))
        sizes = np.searchsorted(made.at_ms, moments, side="right")
        sizes -= np.searchsorted(made.at_ms, moments)
        chosen = moments[: int(np.searchsorted(np.cumsum(sizes), settings.asked)) + 1]
        return made.where(np.flatnonzero(np.isin(made.at_ms, chosen)))
    return made.where(np.sort(rng.choice(len(made), settings.asked, replace=False)))


def steps(dataset: Dataset, asked: Questions) -> Iterator[Step]:
    """Yield the days on which something is asked, one after the other."""
    events = dataset.events
    days, starts = np.unique(asked.at_ms // DAY_MS, return_index=True)
    for day, rows in zip(days.tolist(), np.split(np.arange(len(asked)), starts[1:]), strict=True):
        end = (day + 1) * DAY_MS
        until = int(np.searchsorted(events.timestamp, end))
        yield Step(
            end_ms=end,
            index=StreamIndex.of(
                user=events.user[:until],
                item=events.item[:until],
                timestamp=events.timestamp[:until],
                strong=events.strong[:until],
                n_users=len(dataset.users),
                n_items=len(dataset.items),
            ),
            questions=asked.where(rows),
        )
