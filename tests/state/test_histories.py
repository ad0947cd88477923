"""Histories come through a cache of any size, moved together, given up or loaded again."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from state import PartitionState, StateSettings, Window
from state.dump import dump
from tests.state.conftest import SCRATCH
from tests.state.streams_of_events import BUCKET, Event, defined_state, feed, tried

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
