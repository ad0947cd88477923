"""Random streams and the definition of the state, written as plainly as possible."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from hypothesis import strategies as st

from state import StateSettings, Window, item_key
from state.dump import Dump

BUCKET = 1_000
KINDS = ("stream", "follow")


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


class Columns:
    """A batch of events in the form that a partition takes."""

    def __init__(self, events: list[Event], first_offset: int = 0) -> None:
        self.user_id = [e.user for e in events]
        self.item_type = [e.item_type for e in events]
        self.item_id = [e.item for e in events]
        self.kind = [e.kind for e in events]
        self.timestamp = np.array([e.time for e in events], np.int64)
        self.offset = np.arange(first_offset, first_offset + len(events), dtype=np.int64)


events = st.builds(
    Event,
    user=st.sampled_from(["ann", "bob", "cyd"]),
    item=st.sampled_from([f"i{n}" for n in range(8)]),
    kind=st.sampled_from(KINDS),
    time=st.integers(0, 12 * BUCKET),
)
streams = st.lists(events, max_size=60)
settings_of_state = st.builds(
    lambda buckets, cap: StateSettings(
        window=Window(bucket_ms=BUCKET, buckets=buckets), history_cap=cap, fold_slots=1 << 12
    ),
    st.integers(1, 14),
    st.sampled_from([1, 2, 3, 5, 512]),
)


def defined_state(stream: list[Event], settings: StateSettings) -> Dump:
    """DESIGN.md's definition, computed from the set of all events at once."""
    if not stream:
        return Dump(watermark=-1, histories={}, pairs={}, users={}, catalogue={})
    window, cap = settings.window, settings.history_cap
    watermark = max(e.time // BUCKET for e in stream)
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
    return Dump(watermark=watermark, histories=histories, pairs=dict(pairs), users={}, catalogue={})
