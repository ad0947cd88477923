"""Strata of questions: how old the answer is, and whether it is suddenly in demand."""

import numpy as np
import numpy.typing as npt

from evaluation.dataset import Dataset, Interactions
from evaluation.prequential.stream import HOUR_MS, Questions
from evaluation.split import DAY_MS

__all__ = ["STRATA", "strata"]

Moments = npt.NDArray[np.int64]

#: Names of the strata; a question has one age, and belongs to the others besides.
STRATA = ("age_1h", "age_1d", "age_7d", "age_older", "launched_that_day", "burst")

#: A burst: at least so many events in the hour before the question, ...
BURST_EVENTS = 5
#: ... and more than so many times the mean hour of up to a day before that.
BURST_TIMES = 3.0


def strata(dataset: Dataset, asked: Questions) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the questions of each stratum, bool [q], by name.

    `age_1h`, `age_1d`, `age_7d`: the answer was published less than an hour, a day or a week before
    the question, and is in no younger stratum. `launched_that_day`: on the same day (UTC). An item
    without `published_at` counts as published at its first event. Of several answers, the newest
    counts. `burst`: an answer has `BURST_EVENTS` events in the hour before, `BURST_TIMES` as many
    as in a mean hour of the day before it; items younger than two hours have none.
    """
    owner = np.repeat(np.arange(len(asked)), np.diff(asked.indptr))
    item, at_ms = asked.item, asked.at_ms[owner]
    launched = launched_ms(dataset)[item]
    newest = np.full(len(asked), np.iinfo(np.int64).min)
    np.maximum.at(newest, owner, np.minimum(launched, at_ms))
    age = asked.at_ms - newest
    bursting = np.zeros(len(asked), np.bool_)
    bursting[owner[_bursts(dataset.events, item, at_ms, at_ms - launched)]] = True
    edges = np.digitize(age, [HOUR_MS, DAY_MS, 7 * DAY_MS])
    return {
        **{name: edges == place for place, name in enumerate(STRATA[:4])},
        "launched_that_day": newest // DAY_MS == asked.at_ms // DAY_MS,
        "burst": bursting,
    }


def launched_ms(dataset: Dataset) -> Moments:
    """Return when each item was published, i64 [items], ms UTC; never after its first event."""
    first = np.full(len(dataset.items), np.iinfo(np.int64).max)
    np.minimum.at(first, dataset.events.item, dataset.events.timestamp)
    if "published_at" not in dataset.items.columns:
        return first
    published = dataset.items["published_at"].fill_null(np.iinfo(np.int64).max)
    return np.asarray(np.minimum(published.to_numpy(), first))


def _bursts(
    events: Interactions, item: Moments, at_ms: Moments, age_ms: Moments
) -> npt.NDArray[np.bool_]:
    """Return whether items are in a burst at times, bool [m]."""
    order = np.lexsort((events.timestamp, events.item))
    origin = min(int(events.timestamp.min()), int(at_ms.min(initial=2**62))) - 2 * DAY_MS
    span = max(int(events.timestamp.max()), int(at_ms.max(initial=0))) - origin + 1
    # Items one after the other on one line of time.
    line = events.item[order] * span + (events.timestamp[order] - origin)

    def before(ms: Moments) -> Moments:
        return np.asarray(np.searchsorted(line, item * span + (ms - origin)))

    now = before(at_ms) - before(at_ms - HOUR_MS)
    earlier = before(at_ms - HOUR_MS) - before(at_ms - HOUR_MS - DAY_MS)
    hours = np.clip(age_ms / HOUR_MS - 1, 1.0, 24.0)
    return np.asarray(
        (now >= BURST_EVENTS) & (now > BURST_TIMES * earlier / hours) & (age_ms >= 2 * HOUR_MS)
    )
