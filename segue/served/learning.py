"""When the trainer learns while a test is played, in the time of the data.

Between these times it only reads. At each of them it learns all that is in the log, and publishes
one bundle if the gate lets it through, so that what is served depends on no machine's speed.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from agents.settings import TrainerSettings
from evaluation.prequential.stream import HOUR_MS

__all__ = [
    "FROZEN", "LEARNERS", "ROW_EVENTS", "follows_graph", "learning_settings", "learning_times",
]  # fmt: skip

FROZEN, CONTINUAL = "frozen", "continual"
_EVERY_MS = {
    "weekly": 7 * 24 * HOUR_MS, "daily": 24 * HOUR_MS, "hourly": HOUR_MS, CONTINUAL: HOUR_MS,
}  # fmt: skip
#: Learners of which `RARELY` is a part publish so many times less often than a continual one.
RARELY, SPARED = "rare", 10
#: Learners of which `ROWS` is a part send changed rows after so many events, between bundles.
ROWS, ROW_EVENTS = "rows", 200
#: Learners of which `LIVE` is a part also send rows whose HGNN vectors follow the graph.
LIVE = "live"

#: Names of the learners, slowest first.
LEARNERS = (
    FROZEN, *_EVERY_MS,
    f"{CONTINUAL}-{ROWS}", f"{CONTINUAL}-{RARELY}", f"{CONTINUAL}-{RARELY}-{ROWS}",
    f"{CONTINUAL}-{ROWS}-{LIVE}", f"{CONTINUAL}-{RARELY}-{ROWS}-{LIVE}",
)  # fmt: skip


def learning_times(
    learner: str, events_ms: npt.NDArray[np.int64], start_ms: int, *, examples: int
) -> list[int]:
    """Return when a learner learns and publishes, ms UTC, ascending.

    events_ms: times of the events of the test, ascending. A continual learner learns after so many
    `examples` (events), and after an hour at the latest; the others at fixed intervals from the
    start of the test.

    >>> day = 24 * HOUR_MS
    >>> learning_times("daily", np.array([5, 2 * day + 5]), 0, examples=1) == [day, 2 * day]
    True
    >>> learning_times("continual", np.array([5, 6, 7, HOUR_MS]), 0, examples=2)
    [7, 3600001]
    """
    learner, *parts = learner.split("-")
    if learner == FROZEN or not len(events_ms):
        return []
    if ROWS in parts:
        examples = ROW_EVENTS
    every, end = _EVERY_MS[learner], int(events_ms[-1])
    if learner != CONTINUAL:
        return list(range(start_ms + every, end + 1, every))
    found, last, done = [], start_ms, 0
    while last <= end:
        # Just after the event that is the last of its number: it must be in what is learned.
        full = done + examples - 1
        enough = int(events_ms[full]) + 1 if full < len(events_ms) else last + every
        last = min(enough, last + every)
        done = int(np.searchsorted(events_ms, last))
        found.append(last)
    return found


def follows_graph(learner: str) -> bool:
    """Whether rows of a learner have the HGNN's vectors of the graph of their time."""
    return LIVE in learner.split("-")


def learning_settings(settings: TrainerSettings, learner: str) -> TrainerSettings:
    """Return settings with which each call that finds something to learn publishes one bundle.

    It is judged at once, on what is held out, and there is no checkpoint but that before a bundle.
    Learners with changed rows publish every hour, rare ones every `SPARED` hours; those with rows
    send them whenever nothing is left to learn.
    """
    _, *parts = learner.split("-")
    hours = SPARED if RARELY in parts else int(ROWS in parts)
    return replace(
        settings, publish_every_s=hours * HOUR_MS / 1000, min_examples=2**62,
        rows_every_steps=2**62 if ROWS in parts else 0, settle_s=0.0, judge_within_s=0.0,
        checkpoint_every_s=1e9,
    )  # fmt: skip
