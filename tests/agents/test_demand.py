"""Live popularity on its topic: the sum over partitions is the count over the log."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.demand import live_popularity, take_demand
from dynamic_layer import CorruptDemand, DemandRecord, LivePopularity
from state import StateSettings, item_key
from streams import Record
from tests.agents.worlds import NOW, TOPICS, Bench, bench

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def summed(live: LivePopularity) -> dict[int, int]:
    """Item key -> events over all buckets and markets."""
    found: Counter[int] = Counter()
    counts = live.between(0, NOW // HOUR_MS + 100)
    for key, count in zip(counts.key.tolist(), counts.events.tolist(), strict=True):
        found[key] += count
    return dict(found)


def heard(found: Bench) -> LivePopularity:
    """The sum of what lies on the topic."""
    live = live_popularity(StateSettings())
    for number in range(TOPICS.partitions):
        take_demand(live, found.log.read(TOPICS.demand, number, 0, 10_000))
    return live


async def test_the_sum_on_the_topic_is_the_count_over_the_log(tmp_path):
    with bench(tmp_path) as found:
        expected: Counter[int] = Counter()
        await found.worker.assigned(found.keyed)
        for hour in range(3):
            for n in range(20):
                found.listen(f"user-{n}", "a", f"b{n % 3}")
                found.listen(f"user-{n}", "weak", kind="follow")
                expected[item_key("podcast", "a")] += 1
                expected[item_key("podcast", f"b{n % 3}")] += 1
            await found.drain(batch=7)
            await found.worker.commit()
            assert summed(heard(found)) == expected, f"hour {hour}"
            found.clock.ms += HOUR_MS
        assert heard(found).events() == 120


async def test_a_checkpoint_tells_the_counts_of_earlier_days_too(tmp_path):
    """The first training waits for a checkpoint: then all demand is on the topic."""
    with bench(tmp_path) as found:
        await found.worker.assigned(found.keyed)
        for _ in range(6):
            for n in range(20):
                found.listen(f"user-{n}", "a")
            found.clock.ms += DAY_MS
        await found.drain()
        assert await found.worker.checkpoint()
        assert heard(found).events() == 120


async def test_a_killed_worker_counts_nothing_twice_and_forgets_nothing(tmp_path):
    with bench(tmp_path) as found:
        await found.worker.assigned(found.keyed)
        found.listen("ann", "a", "b")
        await found.drain()
        await found.worker.commit()
        found.listen("ann", "a", "c")
        await found.drain()
        # What a commit was about to say lies on the topic already; the commit itself does not come.
        for state in found.worker.partitions.states.values():
            state.commit = lambda: {}  # type: ignore[method-assign]
        await found.worker.commit()
        found.worker.close()
        found.worker = found.new_worker("w")
        await found.worker.assigned(found.keyed)
        await found.drain()
        await found.worker.commit()
        expected = {item_key("podcast", i): n for i, n in (("a", 2), ("b", 1), ("c", 1))}
        assert summed(heard(found)) == expected


def record(value: bytes | None) -> Record:
    return Record("demand", 0, 0, NOW, b"", value)


def block(records: int, count: int, *, bucket: int = 5, bucket_ms: int = HOUR_MS) -> DemandRecord:
    return DemandRecord(
        partition=1, bucket=bucket, bucket_ms=bucket_ms, records=records,
        keys=np.array([7], np.uint64), markets=np.array([3]), counts=np.array([count]),
    )  # fmt: skip


def test_of_two_counts_of_a_bucket_the_one_made_of_more_records_is_right():
    live = live_popularity(StateSettings())
    news = take_demand(live, [record(block(records, count).pack()) for records, count in
                              ((10, 4), (20, 6), (15, 5))])  # fmt: skip
    assert news == 2
    assert summed(live) == {7: 6}


def test_what_is_damaged_or_of_other_states_is_passed_over():
    live = live_popularity(StateSettings())
    other = block(10, 4, bucket_ms=60_000).pack()
    damaged = block(10, 4).pack()[:-1]
    assert take_demand(live, [record(other), record(damaged), record(None), record(b"?")]) == 0
    assert summed(live) == {}


@given(data=st.binary(max_size=200), cut=st.integers(0, 60))
def test_only_whole_records_are_read(data: bytes, cut: int) -> None:
    packed = block(10, 4).pack()
    assert DemandRecord.unpack(packed).counts.tolist() == [4]
    for broken in (data, packed[: min(cut, len(packed) - 1)], packed + data[:1] + b"x"):
        with pytest.raises(CorruptDemand):
            DemandRecord.unpack(broken)
