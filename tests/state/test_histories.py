"""Histories come through a cache of any size, moved together, given up or loaded again."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from state import PartitionState, StateSettings, Window
from state.dump import dump
from tests.state.conftest import SCRATCH
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
