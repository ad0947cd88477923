"""What is read of one item, by bucket: its edges and its demand are those of the whole state."""

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given

from state import PartitionState, StateSettings, Window
from tests.state.conftest import SCRATCH
from tests.state.dumps import demand_counts
from tests.state.streams_of_events import (
    BUCKET,
    Erasure,
    Event,
    cuts,
    defined_state,
    feed,
    streams_with_erasures,
    tried,
)

SETTINGS = StateSettings(
    window=Window(bucket_ms=BUCKET, buckets=5), demand_bucket_ms=BUCKET // 4, delta_room=1 << 12
)
ITEMS = [Event("", f"i{n}", "", 0) for n in range(8)]


@given(log=streams_with_erasures, at=cuts)
@tried(0.2)
def test_an_item_has_the_edges_and_the_demand_of_the_definition(
    log: list[Event | Erasure], at: list[int]
) -> None:
    state = PartitionState(Path(tempfile.mkdtemp(dir=SCRATCH)), 0, SETTINGS)
    feed(state, log, at)
    state.commit()
    defined = defined_state(log, SETTINGS).pairs
    demand = demand_counts(state)
    for item in ITEMS:
        keys, buckets, deltas = state.edges(item.item_type, item.item)
        found: Counter[tuple[int, int]] = Counter()
        for key, bucket, delta in zip(
            keys.tolist(), buckets.tolist(), deltas.tolist(), strict=True
        ):
            found[bucket, key] += delta
        expected = {
            (bucket, one + other - item.key): users
            for (bucket, one, other), users in defined.items()
            if item.key in (one, other)
        }
        assert {edge: users for edge, users in found.items() if users} == expected
        bucket, _, count = state.demand_of(item.item_type, item.item, 0, 1 << 40)
        by_bucket: Counter[int] = Counter()
        for b, c in zip(bucket.tolist(), count.tolist(), strict=True):
            by_bucket[b] += c
        assert by_bucket == {b: n for (b, key), n in demand.items() if key == item.key}
    state.close()
