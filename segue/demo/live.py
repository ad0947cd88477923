"""A minute of live traffic, with good and bad records, and its results."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segue.demo.material import LiveEvent
from segue.demo.runtime import Appended, Runtime
from simulation import faults
from streams import (
    DeadLetter,
    Event,
    Item,
    Recommendation,
    encode,
    readable,
)
from streams.log_record import now_ms

__all__ = ["LiveResult", "live_traffic", "measure"]

#: Records that are late are sent in one go, so many at most.
BURST = 100
#: How long stragglers may take after the last event, in seconds.
PATIENCE_S = 120.0


@dataclass(kw_only=True)
class LiveResult:
    """Results of live traffic.

    events, faults: records sent, good and bad; launches: new items.
    latency_ms:     p50, p95, p99 over all good events, from the log's time of the event to the
                    log's time of the first recommendation that knows it.
    unanswered:     good events without such a recommendation.
    served:         share of the active users who have a recommendation.
    reasons:        dead letters by reason, of the whole demo.
    lists:          user -> list -> latest recommendation.
    """

    events: int = 0
    faults: int = 0
    launches: int = 0
    recommendations: int = 0
    launched_recommended: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    unanswered: int = 0
    served: float = 0.0
    active_users: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    lists: dict[str, dict[str, Recommendation]] = field(default_factory=dict)


async def live_traffic(
    runtime: Runtime,
    live: Sequence[LiveEvent],
    *,
    stamped: bool,
    bad: int,
    item_type: str,
    advance: Callable[[int], None],
) -> LiveResult:
    """Send live records, including bad ones, at their times, and wait for the answers."""
    topics = runtime.settings.topics
    result = LiveResult()
    before = await runtime.ends(topics.recommendations)
    placed: list[tuple[str, Appended]] = []
    broken = list(faults(bad, now_ms(), item_type=item_type))
    every = max(1, len(live) // max(1, len(broken)))
    launched: set[str] = set()
    started = time.monotonic()
    for number, event in enumerate(live):
        early = event.due_s - (time.monotonic() - started)
        # Roles in this process take much longer than a record at each turn that they get.
        if early > 0 or number % BURST == 0:
            await asyncio.sleep(max(0.0, early))
        if event.launch:
            item = _item(event.row)
            launched.add(item.item_id)
            await runtime.append(topics.catalogue, item.key, encode(item))
            result.launches += 1
            continue
        record = _event(event.row, now_ms() if stamped else None)
        placed.append(
            (record.user_id, await runtime.append(topics.events, record.key, encode(record)))
        )
        result.events += 1
        if number % every == 0 and broken:
            fault = broken.pop()
            await runtime.append(topics.events, fault.key, fault.value)
            result.faults += 1
        advance(1)
    sent = [(user, *await place()) for user, place in placed]
    answers = await _answers(runtime, before, sent)
    measure(result, sent, answers)
    result.launched_recommended = len(
        launched & {i.item_id for lists in result.lists.values() for r in lists.values()
                    for i in r.items}
    )  # fmt: skip
    letters = await runtime.read(topics.dead_letters, {})
    result.reasons = dict(
        Counter(letter.reason.value for _, letter in readable(DeadLetter, letters))
    )
    return result


async def _answers(
    runtime: Runtime, before: dict[int, int], sent: Sequence[tuple[str, int, int, int]]
) -> list[tuple[Recommendation, int]]:
    """Recommendations written since `before`, when every event is covered or time is up."""
    deadline = time.monotonic() + PATIENCE_S
    answers: list[tuple[Recommendation, int]] = []
    at = dict(before)
    latest = {user: offset for user, _, offset, _ in sent}
    while True:
        records = await runtime.read(runtime.settings.topics.recommendations, at)
        for record in records:
            at[record.partition] = max(at.get(record.partition, 0), record.offset + 1)
        answers += [(a, record.timestamp) for record, a in readable(Recommendation, records)]
        covered: dict[str, int] = {}
        for answer, _ in answers:
            if answer.source:
                user = answer.user_id
                covered[user] = max(covered.get(user, -1), answer.source.offset)
        if all(covered.get(user, -1) >= offset for user, offset in latest.items()):
            return answers
        if time.monotonic() > deadline:
            return answers
        runtime.check()
        await asyncio.sleep(0.2)


def measure(
    result: LiveResult,
    sent: Sequence[tuple[str, int, int, int]],
    answers: Sequence[tuple[Recommendation, int]],
) -> None:
    """Fill in a result. sent: (user, partition, offset, log time); answers: with log time."""
    by_user: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for answer, written in answers:
        result.lists.setdefault(answer.user_id, {})[answer.list] = answer
        if answer.source:
            by_user[answer.user_id].append((answer.source.offset, written))
    result.recommendations = len(answers)
    delays = []
    for user, _, offset, logged in sent:
        known = [written for covered, written in by_user.get(user, ()) if covered >= offset]
        if known:
            delays.append(min(known) - logged)
        else:
            result.unanswered += 1
    if delays:
        p50, p95, p99 = np.percentile(delays, [50, 95, 99])
        result.latency_ms = {
            "p50": round(float(p50), 1),
            "p95": round(float(p95), 1),
            "p99": round(float(p99), 1),
        }
    active = {user for user, *_ in sent}
    result.active_users = len(active)
    result.served = len(active & by_user.keys()) / max(1, len(active))


def _item(row: dict[str, Any]) -> Item:
    return Item(**{name: value for name, value in row.items() if value is not None})


def _event(row: dict[str, Any], stamp: int | None) -> Event:
    return Event(**{**row, "timestamp": row["timestamp"] if stamp is None else stamp})
