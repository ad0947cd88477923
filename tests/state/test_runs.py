"""Adjacency runs: cells into blocks and back, merges in parts, files that are damaged."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import PartitionState, StateSettings, Window
from state.blocks import (
    BLOCK_ENTRIES,
    HEADER,
    WHOLE,
    Span,
    block_of,
    first_of,
    firsts_of,
    mantissa_for,
    packed,
    unpacked,
)
from state.database import DamagedState
from state.deltas import Cells
from state.run_files import RunFile, RunFiles
from state.summing import merged, neighbours_in
from tests.state.dumps import dump
from tests.state.streams_of_events import BUCKET, Event, apply_records, defined_state, feed

ITEMS = 70_000
#: Cells (item, neighbour, bucket) -> delta, with numbers at the edges of every width.
numbers = st.sampled_from([0, 1, 2, 3, 255, 256, 257, 40_000, 65_535, 65_536, ITEMS - 1])
#: Deltas of one, two and four bytes; those of a run are at most as wide as it draws.
deltas = [1, -1, 127, -128, 128, 32_767, -300, 32_768, -32_769, 100_000, -200_000]
runs_of_cells = st.sampled_from([4, 7, len(deltas)]).flatmap(
    lambda widest: st.dictionaries(
        st.tuples(numbers, numbers, st.integers(20, 147)),
        st.sampled_from(deltas[:widest]),
        min_size=1,
        max_size=60,
    )
)
#: The first live bucket: none has expired, or some have.
first_lives = st.just(20) | st.integers(20, 147)
mantissas = st.integers(-1, 20)


def cells_of(found):
    rows = sorted(found.items())
    item, neighbour, bucket = (np.array([key[i] for key, _ in rows]) for i in range(3))
    delta = np.array([value for _, value in rows], np.int32)
    return Cells(
        item.astype(np.uint32), neighbour.astype(np.uint32), bucket.astype(np.int32), delta
    )


def found_in(cells):
    keys = zip(cells.item.tolist(), cells.neighbour.tolist(), cells.bucket.tolist(), strict=True)
    return dict(zip(keys, cells.delta.tolist(), strict=True))


def span_of(found, mantissa):
    blocks, data, starts = packed(cells_of(found), 20, mantissa)
    return Span(data, starts, firsts_of(blocks, mantissa), 20)


def summed(parts):
    total = {}
    for part in parts:
        for key, delta in part.items():
            total[key] = total.get(key, 0) + delta
    return {key: delta for key, delta in total.items() if delta}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 40_000) | st.integers(0, 1 << 26), st.integers(0, 40) | st.integers(0, ITEMS))
def test_a_run_has_as_many_blocks_as_have_a_thousand_entries_on_average(entries, items):
    """One block of a sparse run; at most one for each item, whose numbers are below 2^31."""

    def blocks(mantissa):
        return block_of(max(items, 1) - 1, mantissa) + 1

    mantissa = mantissa_for(entries, items)
    assert WHOLE <= mantissa <= 31
    if mantissa > WHOLE:
        assert blocks(mantissa) * BLOCK_ENTRIES <= entries
    if mantissa < 31:
        assert blocks(mantissa + 1) * BLOCK_ENTRIES > entries


@settings(max_examples=200, deadline=None)
@given(runs_of_cells, mantissas)
def test_blocks_hold_what_was_packed(found, mantissa):
    assert found_in(unpacked(span_of(found, mantissa))) == found


@settings(max_examples=100, deadline=None)
@given(runs_of_cells, mantissas)
def test_a_block_takes_no_more_bytes_than_its_numbers_need(found, mantissa):
    blocks, data, starts = packed(cells_of(found), 20, mantissa)
    expected = {}
    for block in sorted({block_of(item, mantissa) for item, _, _ in found}):
        cells = [key for key in found if block_of(key[0], mantissa) == block]
        wide = 4 if max(neighbour for _, neighbour, _ in cells) > 65_535 else 2
        most = max(abs(found[cell]) for cell in cells)
        first, behind = first_of(block, mantissa), first_of(block + 1, mantissa)
        span = max(item for item, _, _ in cells) - first
        of_one = mantissa != WHOLE and behind == first + 1
        items = 0 if of_one else 1 if span <= 255 else 2 if span <= 65_535 else 4
        size = 1 if most <= 127 else 2 if most <= 32_767 else 4
        expected[block] = HEADER + len(cells) * (wide + 1 + size + items)
    assert dict(zip(blocks.tolist(), np.diff(starts).tolist(), strict=True)) == expected
    assert len(data) == sum(expected.values())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(runs_of_cells, min_size=1, max_size=4),
    mantissas,
    numbers,
    numbers,
    first_lives,
)
def test_a_merge_sums_the_live_cells_of_a_range(parts, mantissa, one, other, first_live):
    first, end = sorted((one, other + 1))
    spans = [span_of(part, mantissa) for part in parts]
    expected = {
        key: delta
        for key, delta in summed(parts).items()
        if first <= key[0] < end and key[2] >= first_live
    }
    assert found_in(merged(spans, first, end, first_live, 147, ITEMS)) == expected


def _of_item(part, item, mantissa):
    """The block of a run that may hold an item, as a reader finds it."""
    blocks, data, starts = packed(cells_of(part), 20, mantissa)
    mine = np.flatnonzero(blocks == block_of(item, mantissa))
    rows = slice(int(mine[0]), int(mine[0]) + 2) if len(mine) else slice(0, 0)
    return Span(data, starts[rows], firsts_of(blocks[mine], mantissa), 20)


@settings(max_examples=100, deadline=None)
@given(st.lists(runs_of_cells, min_size=1, max_size=4), mantissas, numbers, first_lives)
def test_neighbours_are_the_sum_over_runs_and_live_buckets(parts, mantissa, item, first_live):
    expected = {}
    for (mine, neighbour, bucket), delta in summed(parts).items():
        if mine == item and bucket >= first_live:
            expected[neighbour] = expected.get(neighbour, 0) + delta
    found, users = neighbours_in(
        [_of_item(part, item, mantissa) for part in parts], item, first_live, ITEMS
    )
    assert dict(zip(found.tolist(), users.tolist(), strict=True)) == {
        neighbour: total for neighbour, total in expected.items() if total
    }


def events_of(chance, n):
    return [
        Event(
            chance.choice("ab"), f"i{chance.randrange(8)}", "stream", chance.randrange(12) * BUCKET
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("most", [0, 1, None])
def test_a_merge_that_is_interrupted_loses_nothing(fresh_state, most):
    """Parts of a merge lie between commits; the state is the definition's at every moment."""
    chance = random.Random(3)
    setting = StateSettings(
        window=Window(bucket_ms=BUCKET, buckets=6), delta_room=1 << 8, merge_runs=2
    )
    stream = events_of(chance, 40)
    with fresh_state(setting) as state:
        for at in range(len(stream)):
            apply_records(state, "events", stream, at, at + 1)
            state.commit()
            state.merge_runs(most)
        assert dump(state).differences(defined_state(stream, setting)) == []


def test_files_that_no_commit_names_are_removed(tmp_path):
    setting = StateSettings(window=Window(bucket_ms=BUCKET, buckets=6), delta_room=1 << 8)
    stream = events_of(random.Random(4), 20)
    state = PartitionState(tmp_path, 0, setting)
    feed(state, stream, [])
    state.commit()
    state.run_files.writer(9).abandon()
    state.close()
    assert len(list(tmp_path.glob("run-*.bin"))) == 2
    again = PartitionState(tmp_path, 0, setting)
    assert [path.name for path in tmp_path.glob("run-*.bin")] == ["run-000000000001.bin"]
    assert dump(again).differences(defined_state(stream, setting)) == []
    again.close()


@pytest.mark.parametrize("where", ["block", "index", "footer", "cut", "missing"])
def test_a_damaged_file_is_told(tmp_path, where):
    files = RunFiles(tmp_path)
    writer = files.writer(1)
    writer.add(*packed(cells_of({(1, 2, 20): 1, (3, 4, 21): -5}), 20, 0))
    writer.finish()
    path = tmp_path / "run-000000000001.bin"
    content = bytearray(path.read_bytes())
    at = {"block": 3, "index": -40, "footer": -1, "cut": 0, "missing": 0}[where]
    content[at] ^= 1
    if where == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:20] if where == "cut" else content)
    with pytest.raises(DamagedState, match="run-0"):
        RunFile(path).span(0, 100)
