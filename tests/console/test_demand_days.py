"""Sums of demand that are kept are those of the states, whatever is committed in between."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import demand_days
from console.demand_days import CHANGING, DemandDays
from state import PartitionState, StateSettings, Window
from tests.state.conftest import SCRATCH
from tests.state.streams_of_events import BUCKET, Columns, Event, events, tried

PARTS = 4  # buckets of live popularity in one of the window
SETTINGS = StateSettings(
    window=Window(bucket_ms=BUCKET, buckets=6),
    demand_bucket_ms=BUCKET // PARTS,
    delta_room=1 << 12,
)
ITEMS = [Event("", f"i{n}", "stream", 0) for n in range(8)]


def apply(state: PartitionState, batch: list[Event]) -> None:
    position = state.position("events") or 0
    state.apply_events("events", Columns(batch, position), position + len(batch))
    state.commit()


def due(states: Sequence[PartitionState], key: int, first: int, length: int) -> list[int]:
    """Events by bucket of the window, from all that the states hold."""
    found = [0] * length
    for state in states:
        for block in state.demand():
            place = block.bucket // PARTS - first
            if 0 <= place < length:
                found[place] += int(block.counts[block.keys == np.uint64(key)].sum())
    return found


@pytest.mark.parametrize("room", [0, 5, 10_000])
@given(batches=st.lists(st.tuples(st.integers(0, 1), st.lists(events, max_size=12)), max_size=8))
@tried(0.1)
def test_sums_are_those_of_the_states_after_each_commit(
    room: int, batches: list[tuple[int, list[Event]]]
) -> None:
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    states = [PartitionState(folder / str(number), number, SETTINGS) for number in range(2)]
    days = DemandDays(PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demand_days, "MOST_ROWS", room)
        for number, batch in batches:
            apply(states[number], batch)
            watermark = max(0, *(state.watermark for state in states))
            first = max(SETTINGS.window.first_live(watermark), 0)
            length = watermark - first + 1
            for item in ITEMS:
                found = days.of_item(states, item.item_type, item.item, first, length)
                summed = sum(found.values(), np.zeros(length, np.int64)).tolist()
                assert summed == due(states, item.key, first, length)
    for state in states:
        state.close()
    shutil.rmtree(folder)


def test_what_no_commit_has_changed_is_read_once(tmp_path, monkeypatch):
    state = PartitionState(tmp_path, 0, SETTINGS)
    apply(state, [Event("ann", "i1", "stream", day * BUCKET) for day in range(6)])
    read = []
    sums = PartitionState.demand_sums
    monkeypatch.setattr(
        PartitionState, "demand_sums", lambda s, *span: read.append(span) or sums(s, *span)
    )
    days = DemandDays(PARTS)
    for _ in range(2):
        (found,) = days.of_item([state], "podcast", "i1", 0, 6).values()
        assert found.tolist() == [1] * 6
    assert len(read) == 6 - CHANGING
    apply(state, [Event("bob", "i1", "stream", BUCKET + 1)])
    (found,) = days.of_item([state], "podcast", "i1", 0, 6).values()
    assert found.tolist() == [1, 2, 1, 1, 1, 1]
    assert read[6 - CHANGING :] == [(PARTS, 2 * PARTS)], "only what changed is read again"
    state.close()
