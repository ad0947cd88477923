"""Random streams and the definition of the state, written as plainly as possible."""

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from state import Action, PartitionState, StateSettings, Window, apply_in_order, item_key
from tests.state.dumps import Dump

#: Streams that a property is tried with; `make soak` sets more.
STREAMS = int(os.environ.get("STATE_STREAMS", "300"))
BUCKET = 1_000
KINDS = ("stream", "follow", "dislike")
#: Kinds whose latest events a state keeps: none; all but the graph's; the graph's too.
ACTIONS = (
    (),
    (Action(kind="dislike", sign="negative"), Action(kind="follow", known=True)),
    (Action(kind="dislike", sign="negative"), Action(kind="stream"), Action(kind="follow")),
)


def tried(share: float = 1.0, steps: int = 50) -> settings:
    """Try a property with a share of STREAMS; a busy machine is no failure.

    steps: of a state machine, at most.
    """
    return settings(
        max_examples=round(share * STREAMS),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@dataclass(frozen=True)
class Event:
    user: str
    item: str
    kind: str
    time: int

    @property
    def key(self) -> int:
        return item_key("podcast" if self.item < "i4" else "audiobook", self.item)

    @property
    def item_type(self) -> str:
        return "podcast" if self.item < "i4" else "audiobook"


@dataclass(frozen=True)
class Erasure:
    user: str


class Columns:
    """A batch of events in the form that a partition takes."""

    def __init__(self, events: list[Event], first_offset: int = 0) -> None:
        self.user_id = [e.user for e in events]
        self.item_type = [e.item_type for e in events]
        self.item_id = [e.item for e in events]
        self.kind = [e.kind for e in events]
        self.timestamp = np.array([e.time for e in events], np.int64)
        self.offset = np.arange(first_offset, first_offset + len(events), dtype=np.int64)
        self.position: np.ndarray | None = None
        self.list_code: np.ndarray | None = None


events = st.builds(
    Event,
    user=st.sampled_from(["ann", "bob", "cyd"]),
    item=st.sampled_from([f"i{n}" for n in range(8)]),
    kind=st.sampled_from(KINDS),
    # Wide enough for the widest window, and narrow enough to meet in a small one.
    time=st.one_of(st.integers(0, 12 * BUCKET), st.integers(0, 140 * BUCKET)),
)
streams = st.lists(events, max_size=60)
#: Events, and about every eighth an erasure.
records_with_erasures = st.integers(0, 7).flatmap(
    lambda n: events if n else st.builds(Erasure, st.sampled_from(["ann", "bob", "cyd"]))
)
streams_with_erasures = st.lists(records_with_erasures, max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=6)
settings_of_state = st.builds(
    lambda buckets, cap, cache, actions: StateSettings(
        window=Window(bucket_ms=BUCKET, buckets=buckets),
        history_cap=cap,
        delta_room=1 << 12,
        history_cache_bytes=cache,
        actions=actions,
    ),
    # The default window has 90 buckets; beyond 64 a history's visits take a second word.
    st.one_of(st.integers(1, 14), st.integers(60, 128)),
    st.sampled_from([1, 2, 3, 5, 512]),
    # Nothing is kept; a few histories are; all are.
    st.sampled_from([0, 240, 480, 1 << 20]),
    st.sampled_from(ACTIONS),
)


def feed(
    state: PartitionState, stream: Sequence[Event | Erasure], at: list[int], topic: str = "events"
) -> None:
    """Apply a stream in batches that end at `at`; commit behind every second one."""
    edges = sorted({0, len(stream), *(a for a in at if a < len(stream))})
    for number, (begin, end) in enumerate(itertools.pairwise(edges)):
        apply_records(state, topic, stream, begin, end)
        if number % 2:
            state.commit()


def apply_records(
    state: PartitionState, topic: str, stream: Sequence[Event | Erasure], begin: int, end: int
) -> None:
    """Apply the records `begin`..`end` of a stream, whose offsets are their places, as a batch."""
    records = range(begin, end)
    batch = Columns([r for r in stream[begin:end] if isinstance(r, Event)])
    batch.offset = np.array([o for o in records if isinstance(stream[o], Event)], np.int64)
    erasures = [(o, stream[o].user, 0) for o in records if isinstance(stream[o], Erasure)]
    apply_in_order(state, topic, batch, erasures, end)


def remaining(stream: Sequence[Event | Erasure]) -> list[Event]:
    """The events that no erasure of their user follows."""
    last = {r.user: at for at, r in enumerate(stream) if isinstance(r, Erasure)}
    return [r for at, r in enumerate(stream) if isinstance(r, Event) and at > last.get(r.user, -1)]


def defined_state(records: Sequence[Event | Erasure], settings: StateSettings) -> Dump:
    """DESIGN.md's definition, computed from the set of all events at once.

    Erased events count for nothing but the time: nobody un-knows that it has passed.
    """
    times = [r.time for r in records if isinstance(r, Event)]
    if not times:
        return Dump(watermark=-1, histories={}, pairs={}, users={}, catalogue={})
    stream = remaining(records)
    window, cap = settings.window, settings.history_cap
    watermark = max(time // BUCKET for time in times)
    first = watermark - window.buckets + 1
    histories: dict[str, tuple[tuple[int, int, int, int, int], ...]] = {}
    pairs: Counter[tuple[int, int, int]] = Counter()
    by_user: dict[str, set[Event]] = defaultdict(set)
    for event in stream:
        if event.time // BUCKET >= first:
            by_user[event.user].add(event)
    for user, theirs in by_user.items():
        latest = {e.key: max(o.time for o in theirs if o.key == e.key) for e in theirs}
        newest_first = sorted(latest, key=lambda key: (latest[key], key), reverse=True)
        kept, full = newest_first[:cap], len(newest_first) >= cap
        threshold = (latest[kept[-1]], kept[-1]) if full else (-1, 0)
        entries, strong_bucket = [], {}
        for key in kept:
            remembered = [e for e in theirs if e.key == key and (e.time, e.key) >= threshold]
            strong = [e.time for e in remembered if e.kind in settings.graph_kinds]
            last_strong = max(strong, default=-1)
            buckets = {latest[key] // BUCKET}
            if strong:
                strong_bucket[key] = last_strong // BUCKET
                buckets.add(last_strong // BUCKET)
            buckets |= {b for e in remembered if (b := e.time // BUCKET) > threshold[0] // BUCKET}
            bitmap = sum(1 << (latest[key] // BUCKET - b) for b in buckets)
            entries.append((key, latest[key], last_strong, bitmap % 2**64, bitmap >> 64))
        histories[user] = tuple(entries)
        for key, bucket in strong_bucket.items():
            pairs[bucket, key, key] += 1
        for a, b in combinations(sorted(strong_bucket), 2):
            pairs[min(strong_bucket[a], strong_bucket[b]), a, b] += 1
    # Counted as the log has them: twice where it has them twice, and erased ones too.
    demand = Counter(
        (r.time // settings.demand_ms, r.key)
        for r in records
        if isinstance(r, Event) and r.kind in settings.graph_kinds and r.time // BUCKET >= first
    )
    return Dump(
        watermark=watermark, histories=histories, pairs=dict(pairs), users={}, catalogue={},
        demand=dict(demand), actions=defined_actions(by_user, settings),
    )  # fmt: skip


def defined_actions(
    by_user: Mapping[str, set[Event]], settings: StateSettings
) -> dict[str, dict[tuple[str, int], int]]:
    """The latest event of each user, kept kind and item; of a kind the `history_cap` latest."""
    found: dict[str, dict[tuple[str, int], int]] = {}
    for user, theirs in by_user.items():
        for kind in settings.marked_kinds:
            latest: dict[int, int] = {}
            for event in theirs:
                if event.kind == kind:
                    latest[event.key] = max(event.time, latest.get(event.key, 0))
            kept = sorted(latest, key=lambda key: (latest[key], key), reverse=True)
            for key in kept[: settings.history_cap]:
                found.setdefault(user, {})[kind, key] = latest[key]
    return found
