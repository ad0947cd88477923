"""Live popularity is a count over the log, whatever the state lives through."""

import itertools
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state import PartitionState, StateSettings, Window, database, market_of
from state.compare import differences
from tests.state.conftest import SCRATCH
from tests.state.dumps import demand_counts
from tests.state.streams_of_events import (
    BUCKET,
    Columns,
    Erasure,
    Event,
    apply_records,
    cuts,
    feed,
    records_with_erasures,
    tried,
)

PART = BUCKET // 4
SETTINGS = StateSettings(
    window=Window(bucket_ms=BUCKET, buckets=5), demand_bucket_ms=PART, delta_room=1 << 12
)


def over_the_log(log: list[Event | Erasure]) -> dict[tuple[int, int], int]:
    """The definition: strong events in buckets of the window that the whole log ends with."""
    events = [r for r in log if isinstance(r, Event)]
    watermark = max((e.time // BUCKET for e in events), default=-1)
    first = max(0, watermark - SETTINGS.window.buckets + 1) * BUCKET
    return dict(
        Counter((e.time // PART, e.key) for e in events if e.kind == "stream" and e.time >= first)
    )


@given(log=st.lists(records_with_erasures, max_size=60), at=cuts, killed=cuts, again=st.booleans())
@tried(0.3)
def test_counts_are_those_of_the_log_under_any_cut_crash_and_redelivery(
    log: list[Event | Erasure], at: list[int], killed: list[int], again: bool
) -> None:
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    state = PartitionState(folder, 0, SETTINGS)
    for end in sorted({min(k, len(log)) for k in killed}):
        # What is applied without a commit dies with the process, and is read again.
        position = state.position("events") or 0
        apply_records(state, "events", log, min(position, end), end)
        if end % 2:
            state.commit()
        state.close()
        state = PartitionState(folder, 0, SETTINGS)
    position = state.position("events") or 0
    edges = [max(position - 3, 0) if again else position, *(a for a in sorted(at) if a > position)]
    for begin, end in zip(edges, [*edges[1:], len(log)], strict=True):
        apply_records(state, "events", log, min(begin, len(log)), min(end, len(log)))
        if end % 2:
            state.commit()
    assert demand_counts(state) == over_the_log(log), "before the commit"
    untold = {block.bucket for block in state.tell_demand()}
    assert {bucket for bucket, _ in over_the_log(log)} <= untold, "nobody was told so far"
    state.commit()
    assert demand_counts(state) == over_the_log(log)
    state.close()
    reopened = PartitionState(folder, 0, SETTINGS)
    assert demand_counts(reopened) == over_the_log(log)
    assert reopened.tell_demand() == []
    reopened.close()
    shutil.rmtree(folder)


@given(log=st.lists(records_with_erasures, max_size=60), at=cuts)
@tried(0.2)
def test_whoever_keeps_the_changed_blocks_knows_the_counts(
    log: list[Event | Erasure], at: list[int]
) -> None:
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    state = PartitionState(folder, 0, SETTINGS)
    kept: dict[int, dict[tuple[int, int], int]] = {}
    edges = sorted({0, len(log), *(a for a in at if a < len(log))})
    for begin, end in itertools.pairwise(edges):
        apply_records(state, "events", log, begin, end)
        for block in state.tell_demand():
            pairs = zip(block.keys.tolist(), block.counts.tolist(), strict=True)
            kept[block.bucket] = {(block.bucket, key): n for key, n in pairs if block.live}
        state.commit()
    joined = {name: count for block in kept.values() for name, count in block.items()}
    assert joined == over_the_log(log)
    state.close()
    shutil.rmtree(folder)


def test_a_bucket_names_the_last_commit_that_wrote_it(tmp_path: Path) -> None:
    state = PartitionState(tmp_path, 0, SETTINGS)
    log: list[Event | Erasure] = [Event("ann", "i1", "stream", n * PART) for n in (0, 1, 0)]
    written = []
    for at in range(len(log)):
        apply_records(state, "events", log, at, at + 1)
        state.commit()
        written.append([state.demand_written_in(bucket) for bucket in (0, 1, 2)])
    assert written == [[1, 0, 0], [1, 2, 0], [3, 2, 0]]
    state.close()


def test_markets_are_those_of_the_users_when_their_events_came(tmp_path: Path) -> None:
    state = PartitionState(tmp_path, 0, SETTINGS)
    event = [Event("ann", "i1", "stream", 10), Event("bob", "i1", "stream", 20)]
    state.apply_users("users", [(0, "ann", b'{"country": "DE"}')], 1)
    state.apply_events("events", Columns(event), 2)
    state.apply_users("users", [(1, "ann", b'{"country": "FR"}')], 2)
    state.apply_events("events", Columns(event, 2), 4)
    (block,) = state.demand()
    found = dict(zip(block.markets.tolist(), block.counts.tolist(), strict=True))
    assert found == {0: 2, market_of("DE"): 1, market_of("FR"): 1}
    state.close()


def test_a_state_that_did_not_count_counts_from_where_it_is(tmp_path: Path) -> None:
    state = PartitionState(tmp_path / "a", 0, SETTINGS)
    log: list[Event | Erasure] = [
        Event("ann", "i1", "stream", 10),
        Event("ann", "i2", "stream", 20),
    ]
    feed(state, log, [1])
    state.commit()
    # As an older version would have left it.
    meta = msgspec.json.decode(state.database.get(database.META))
    del meta["demand_from"]
    state.database.put(database.META, msgspec.json.encode(meta))
    state.close()
    state = PartitionState(tmp_path / "a", 0, SETTINGS)
    assert demand_counts(state) == {}
    assert state.demand_from == {"events": 2}
    log.append(Event("bob", "i1", "stream", 30))
    apply_records(state, "events", log, 2, 3)
    state.commit()
    state.close()
    state = PartitionState(tmp_path / "a", 0, SETTINGS)
    assert list(demand_counts(state).values()) == [1]
    other = PartitionState(tmp_path / "b", 0, SETTINGS)
    feed(other, log, [])
    other.commit()
    assert list(differences(state, other)) == [], "other beginnings are not compared"
    state.close()
    other.close()


def test_a_difference_in_counts_is_found(tmp_path: Path) -> None:
    states = []
    for name, times in (("a", 1), ("b", 2)):
        state = PartitionState(tmp_path / name, 0, SETTINGS)
        # The same histories and pairs: the second state has met one event twice.
        log = [Event("ann", "i1", "stream", 10)] * times
        state.apply_events("events", Columns(log), 2)
        state.commit()
        states.append(state)
    (difference,) = differences(*states)
    assert (difference.part, difference.left, difference.right) == ("demand", 1, 2)
    for state in states:
        state.close()


def test_a_bucket_divides_the_windows() -> None:
    odd = StateSettings(window=Window(bucket_ms=5_400_000, buckets=3))
    assert odd.demand_ms == 1_800_000
    assert odd.demand_buckets == 9
    assert StateSettings().fingerprint() == StateSettings(demand_bucket_ms=3_600_000).fingerprint()
    assert StateSettings().fingerprint() != StateSettings(demand_bucket_ms=60_000).fingerprint()
    assert np.gcd(StateSettings().demand_ms, StateSettings().window.bucket_ms) == 3_600_000


def test_the_first_two_buckets_of_the_window_are_told_at_once(tmp_path: Path) -> None:
    state = PartitionState(tmp_path, 0, SETTINGS)
    feed(state, [Event("ann", "i1", "stream", 10), Event("ann", "i2", "stream", BUCKET)], [])
    assert [block.bucket for block in state.tell_demand(all_of_it=False)] == [0, BUCKET // PART]
    state.close()


def test_earlier_days_are_told_at_another_time_even_after_a_crash(tmp_path: Path) -> None:
    log: list[Event | Erasure] = [
        Event("ann", "i1", "stream", 10), Event("ann", "i2", "stream", 3 * BUCKET)
    ]  # fmt: skip
    state = PartitionState(tmp_path, 0, SETTINGS)
    feed(state, log, [])
    today, earlier = 3 * BUCKET // PART, 0
    assert [block.bucket for block in state.tell_demand(all_of_it=False)] == [today]
    state.commit()
    assert state.tell_demand(all_of_it=False) == []
    state.close()
    state = PartitionState(tmp_path, 0, SETTINGS)
    assert not state.telling
    assert [block.bucket for block in state.tell_demand()] == [earlier]
    assert state.telling
    state.commit()
    assert not state.telling
    assert state.tell_demand() == []
    state.close()
