"""Earlier moments of a past, from which a model can learn what it will be asked at the split."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.dataset import Interactions
from evaluation.model import Past
from evaluation.split import DAY_MS, TimeSplit, last_streams

__all__ = ["Lesson", "earlier_moments"]

#: Days that label a lesson at most, unless the settings say otherwise. On amazon-fk, whose test is
#: 90 days long, moments 60 and 30 days back tell more of today's demand than older ones would.
HORIZON_DAYS = 30.0
#: Users with something held out under which more windows are looked for, and how many at most.
ENOUGH_USERS, MOST_WINDOWS = 1_500, 6
#: A window is used when this share of the events lies before it.
LEAST_PAST = 0.1


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A split of the past. asked_ms: where users are asked at times of their own, i64 [n_users]."""

    split: TimeSplit
    asked_ms: npt.NDArray[np.int64] | None = None


def earlier_moments(
    split: TimeSplit | Past, n_users: int, *, horizon_days: float | None, windows: int
) -> list[Lesson]:
    """Return splits of `split.train` that look like the test, the oldest first.

    With a horizon: as many windows as asked for, a horizon apart, the last one ending at the
    split; more of them, up to 6, until 1,500 users have something held out. A horizon longer than
    a third of the past is cut to that. horizon_days: None takes the test's, or 30 if that
    is longer. In leave-one-out each user's last stream is held out, then the last but one. Empty
    where the past is too short.
    """
    if horizon_days is None:
        tested = split.horizon_days if isinstance(split, Past) else HORIZON_DAYS
        if tested is None:
            return _last_ones(split.train, n_users, windows)
        horizon_days = min(tested, HORIZON_DAYS)
    events = split.train
    if not len(events):
        return []
    span_ms = split.at_ms - int(events.timestamp[0])
    horizon_ms = min(round(horizon_days * DAY_MS), span_ms // 3)
    lessons: list[Lesson] = []
    users = 0
    for window in range(MOST_WINDOWS):
        if window >= windows and users >= ENOUGH_USERS:
            break
        end = split.at_ms - window * horizon_ms
        start = end - horizon_ms
        before = events.timestamp < start
        inside = ~before & (events.timestamp < end)
        if horizon_ms <= 0 or before.sum() < max(1.0, LEAST_PAST * len(events)):
            break
        if not (inside & events.strong).any():
            continue
        users += len(np.unique(events.user[inside & events.strong]))
        part = TimeSplit(train=events.where(before), test=events.where(inside), at_ms=start)
        lessons.append(Lesson(split=part))
    return lessons[::-1]


def _last_ones(events: Interactions, n_users: int, windows: int) -> list[Lesson]:
    lessons: list[Lesson] = []
    users = 0
    for window in range(MOST_WINDOWS):
        if window >= windows or users >= ENOUGH_USERS:
            break
        try:
            part, asked_ms = last_streams(events, n_users)
        except ValueError:
            break
        users += len(part.test)
        lessons.append(Lesson(split=part, asked_ms=asked_ms))
        events = part.train
    return lessons[::-1]
