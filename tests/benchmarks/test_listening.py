"""The benchmark's events, and what the definition makes of them."""

import re
from collections import Counter
from itertools import combinations_with_replacement

import msgspec
import numpy as np
import pytest

from benchmarks.commits import Commit
from benchmarks.job import BenchError
from benchmarks.jobs import STREAMS_PEER
from benchmarks.listening import (
    BUCKET_MS,
    MASK,
    Listening,
    Totals,
    item_hash,
    item_name,
    pair_mix,
    sum_pairs,
    work_of,
)
from benchmarks.measure import all_at_work, end_of
from benchmarks.throughput import Plan
from state import PartitionState, StateSettings
from streams import EventRules, Record, decode_events
from streams.distribution import POM

FEW = 400


def test_fewer_events_are_all_events_of_the_first_users():
    many, few = Listening.generate(20_000, seed=7), Listening.generate(10_000, seed=7)
    first = many.user <= few.user.max()
    assert len(few) == 10_000
    for column in ("user", "item", "kind", "time"):
        assert (getattr(many, column)[first] == getattr(few, column)).all()


def test_events_fill_one_window_and_no_history_reaches_the_cap():
    listening = Listening.generate(50_000, seed=1)
    buckets = listening.time // BUCKET_MS
    assert (np.diff(listening.time) >= 0).all()
    assert buckets.max() - buckets.min() < StateSettings().window.buckets
    had = np.unique(np.stack([listening.user, listening.item]), axis=1)
    assert np.bincount(had[0]).max() < StateSettings().history_cap
    assert work_of(listening).deltas / len(listening) >= 10


def plain_work(listening):
    """Pair counts and number of deltas, event by event, in dictionaries."""
    latest, counts, deltas = {}, Counter(), 0
    rows = zip(
        listening.user.tolist(), listening.item.tolist(), listening.kind.tolist(),
        (listening.time // BUCKET_MS).tolist(), strict=True,
    )  # fmt: skip
    for user, item, kind, bucket in rows:
        if kind != 0:
            continue
        mine = latest.setdefault(user, {})
        before = pairs_of(mine)
        mine[item] = bucket
        after = pairs_of(mine)
        deltas += len(before - after) + len(after - before)
        counts.update(after - before)
        counts.subtract(before - after)
    checksum = sum(
        count * pair_mix(bucket, item_hash(*item_name(a)), item_hash(*item_name(b)))
        for (bucket, a, b), count in counts.items()
    )
    return deltas, Totals(count=counts.total(), checksum=checksum & MASK)


def pairs_of(latest):
    return {
        (min(latest[a], latest[b]), a, b)
        for a, b in combinations_with_replacement(sorted(latest), 2)
    }


def test_the_kernel_computes_the_definition():
    listening = Listening.generate(FEW, seed=3)
    work = work_of(listening)
    assert (work.deltas, work.totals) == plain_work(listening)


def test_a_partition_state_leaves_the_totals_of_the_definition(tmp_path):
    listening = Listening.generate(FEW, seed=3)
    records = [
        Record("events", 0, offset, int(listening.time.max()), *record)
        for offset, record in enumerate(listening.records())
    ]
    events, letters = decode_events(records, EventRules())
    assert not letters
    state = PartitionState(tmp_path, 0, StateSettings())
    state.apply_events("events", events, len(records))
    state.commit()
    pairs = state.co_interactions()
    state.close()
    assert int(pairs.count.sum()) == work_of(listening).totals.count


def test_sums_of_arrays_are_sums_of_their_entries():
    a, b = np.array([2**63 + 5, 7], np.uint64), np.array([11, 2**64 - 1], np.uint64)
    found = sum_pairs([(20_000, a, b, np.array([3, -1]))])
    mixed = [pair_mix(20_000, int(x), int(y)) for x, y in zip(a, b, strict=True)]
    assert found == Totals(count=2, checksum=(3 * mixed[0] - mixed[1]) & MASK)
    assert pair_mix(1, 2, 3) == pair_mix(1, 3, 2) != pair_mix(2, 2, 3)


def test_records_are_events_of_the_project():
    key, value = next(Listening.generate(10, seed=0).records())
    event = msgspec.json.decode(value)
    assert key == event["user_id"].encode()
    assert event.keys() == {"user_id", "item_id", "item_type", "kind", "timestamp"}


def commits(*rows):
    return [Commit(at_ms=at, partition=partition, offset=offset) for at, partition, offset in rows]


def test_a_run_ends_when_the_last_partition_is_committed():
    found = commits((10, 0, 5), (20, 1, 3), (30, 0, 8), (40, 0, 8), (50, 1, 4))
    assert end_of(found, {0: 8, 1: 4, 2: 0}) == 50
    with pytest.raises(BenchError, match="do not reach the ends"):
        end_of(found, {0: 9, 1: 4})


def test_several_are_measured_while_all_of_them_are_at_work():
    # From 20, when both partitions have a commit, to 40, when the first is done; the other one
    # went from 20 at 10 ms to 60 at 50 ms.
    found = commits((5, 0, 3), (10, 1, 20), (20, 0, 10), (40, 0, 30), (50, 1, 60))
    assert all_at_work(found, {0: 30, 1: 60, 2: 0}, 8) == ((30 - 10) + (50 - 30), 20, 40)


def test_several_who_were_never_at_work_together_are_not_measured():
    found = commits((10, 0, 30), (20, 1, 20), (50, 1, 60))
    with pytest.raises(BenchError, match="more events"):
        all_at_work(found, {0: 30, 1: 60}, 8)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="no such job: storm"):
        Plan(jobs=("segue", "storm"))
    with pytest.raises(ValueError, match="positive"):
        Plan(repeat=0)
    with pytest.raises(ValueError, match="expected 1 or 2"):
        Plan(workers=3)


def test_the_peer_runs_on_the_same_kafka_as_the_broker():
    version = re.compile(r"<kafka.version>(.+)</kafka.version>")
    poms = [STREAMS_PEER / "pom.xml", POM]
    peer, broker = (version.findall(pom.read_text()) for pom in poms)
    assert peer == broker != []
