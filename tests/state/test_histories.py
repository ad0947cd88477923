"""Histories come through a cache of any size, moved together, given up or loaded again."""

import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import PartitionState, StateSettings, Window, apply_in_order, database
from state.histories import _make_room, _rows_needed
from state.kernel import COLUMNS
from state.packing import rows_of
from tests.state.conftest import SCRATCH
from tests.state.dumps import dump
from tests.state.streams_of_events import BUCKET, Columns, Event, defined_state, feed, tried

#: A history grows by as many items as it takes to move it twice.
long_streams = st.lists(
    st.builds(
        Event,
        user=st.sampled_from(["ann"] * 7 + ["bob"]),
        item=st.integers(0, 39).map(lambda n: f"i{n}"),
        kind=st.just("stream"),
        time=st.integers(0, 12 * BUCKET),
    ),
    min_size=20,
    max_size=60,
)


@tried(1 / 3)
@given(long_streams, st.integers(1, 9), st.sampled_from([0, 1280, 2560, 4000]), st.integers(1, 2))
def test_a_cache_of_any_size_changes_nothing(
    stream: list[Event], batch: int, cache: int, partitions: int
) -> None:
    settings = StateSettings(
        window=Window(bucket_ms=BUCKET, buckets=9), delta_room=1 << 12, history_cache_bytes=cache
    )
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    state = PartitionState(folder / "state", 0, settings)
    try:
        state.share_cache(partitions)
        feed(state, stream, at=list(range(batch, len(stream), batch)))
        assert dump(state).differences(defined_state(stream, settings)) == []
    finally:
        state.close()
        shutil.rmtree(folder)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=5),
    st.lists(st.integers(0, 4), max_size=12),
    st.integers(1, 8),
)
def test_crowded_histories_move_into_exactly_the_rows_that_were_counted(slots, events, cap):
    """slots: entries of each history, at most `cap`, and rows that it has beyond them."""
    lengths = np.array([min(length, cap) for length, _ in slots], np.int64)
    room = lengths + np.array([more for _, more in slots], np.int64)
    starts, used = np.cumsum(room) - room, int(room.sum())
    of = np.array([event % len(slots) for event in events], np.int64)
    held = np.arange(used * COLUMNS, dtype=np.int64).reshape(used, COLUMNS)
    before = [held[s : s + n].tolist() for s, n in zip(starts, lengths, strict=True)]
    counts = np.zeros(len(slots), np.int64)
    needed = _rows_needed(of, counts, lengths, room, cap)
    rows = np.concatenate([held, np.zeros((needed, COLUMNS), np.int64)])
    assert _make_room(of, counts, rows, starts, lengths, room, cap, used) == used + needed
    assert not counts.any()
    events_of = np.bincount(of, minlength=len(slots))
    # Each has room for its events; beyond the cap, for the row that is evicted next.
    assert (np.minimum(lengths + events_of, cap + 1)[events_of > 0] <= room[events_of > 0]).all()
    assert [rows[s : s + n].tolist() for s, n in zip(starts, lengths, strict=True)] == before


events_of_some_items = st.lists(
    st.builds(
        Event,
        user=st.sampled_from(["ann", "ann", "bob"]),
        item=st.integers(0, 4).map(lambda n: f"i{n}"),
        kind=st.sampled_from(["stream", "stream", "follow"]),
        time=st.integers(0, 12 * BUCKET),
    ),
    max_size=30,
)


@tried(1 / 3)
@given(events_of_some_items)
def test_an_observation_is_the_history_before_the_event_inside_the_window(
    stream: list[Event],
) -> None:
    """Nothing later than the event; a repeat met its item before, a strong event strongly."""
    settings = StateSettings(window=Window(bucket_ms=BUCKET, buckets=4), delta_room=1 << 12)
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    state = PartitionState(folder / "state", 0, settings)
    try:
        applied = state.apply_events(
            "events", Columns(stream), len(stream), wanted=lambda of: of >= 0, observe=100
        )
    finally:
        state.close()
        shutil.rmtree(folder)
    found = applied.observations
    expected, watermark = {}, -1
    met: dict[tuple[str, str], dict[int, int]] = {}
    for row, event in enumerate(stream):
        if event.time // BUCKET <= watermark - 4:
            continue
        watermark = max(watermark, event.time // BUCKET)
        oldest = (watermark - 3) * BUCKET
        mine = met.setdefault((event.user, "any"), {})
        strongly = met.setdefault((event.user, "stream"), {})
        before = {key: time for key, time in mine.items() if oldest <= time <= event.time}
        of_kind = strongly if event.kind == "stream" else mine
        expected[row] = before, of_kind.get(event.key, -1) >= max(oldest, 0)
        for known in (mine, strongly) if event.kind == "stream" else (mine,):
            known[event.key] = max(known.get(event.key, -1), event.time)
    ends = zip(found.indptr[:-1].tolist(), found.indptr[1:].tolist(), strict=True)
    histories = [
        dict(zip(found.item_keys[a:b].tolist(), found.time[a:b].tolist(), strict=True))
        for a, b in ends
    ]
    observed = dict(
        zip(found.row.tolist(), zip(histories, found.repeat.tolist(), strict=True), strict=True)
    )
    assert observed == expected


def test_without_a_limit_no_entries_are_observed(fresh_state):
    stream = [Event("ann", "i0", "stream", 1), Event("ann", "i1", "stream", 2)]
    with fresh_state() as state:
        found = apply_in_order(
            state, "events", Columns(stream), [], len(stream), wanted=lambda of: of >= 0
        ).observations
    assert found.row.tolist() == [0, 1]
    assert found.indptr.tolist() == [0, 0, 0]


def test_what_has_left_the_window_leaves_the_history_with_the_next_event(fresh_state):
    """Else it would be kept, on disk too, until as many items came as a history can have."""
    setting = StateSettings(window=Window(bucket_ms=BUCKET, buckets=4), delta_room=1 << 12)
    stream = [Event("ann", f"i{n}", "stream", time * BUCKET) for n, time in enumerate((0, 6, 9))]
    with fresh_state(setting) as state:
        feed(state, stream, at=[1, 2])
        state.commit()
        stored = rows_of(state.database.get(database.HISTORY + b"ann") or b"")
    assert stored[:, 1].tolist() == [9 * BUCKET, 6 * BUCKET]


def test_a_full_history_has_the_visits_that_came_after_the_last_of_its_items(fresh_state):
    """Those of the bucket of that item's time, and before, may have been forgotten with others."""
    setting = StateSettings(
        window=Window(bucket_ms=BUCKET, buckets=9), delta_room=1 << 12, history_cap=2
    )
    visits = (("i1", 2), ("i0", 1), ("i0", 2), ("i0", 3), ("i0", 4), ("i0", 5))
    stream = [Event("ann", item, "follow", bucket * BUCKET) for item, bucket in visits]
    with fresh_state(setting) as state:
        feed(state, stream, at=[])
        found = [(key, visited) for key, _, _, visited, _ in dump(state).histories["ann"]]
    assert found == [(stream[1].key, 0b111), (stream[0].key, 0b1)]


@pytest.mark.parametrize("apart", [2, 63, 64, 65, 127])
def test_visits_are_remembered_in_both_words_in_any_order(fresh_state, apart):
    setting = StateSettings(window=Window(bucket_ms=BUCKET, buckets=128), delta_room=1 << 12)
    buckets = (10, 10 + apart - 1, 10 + apart)
    stream = [Event("ann", "i0", "follow", bucket * BUCKET) for bucket in buckets]
    visits = 1 | 1 << 1 | 1 << apart
    for order in itertools.permutations(stream):
        with fresh_state(setting) as state:
            feed(state, order, at=[])
            [(_, _, _, low, high)] = dump(state).histories["ann"]
        assert (low, high) == (visits % 2**64, visits >> 64)
