"""The replay buffer of examples."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer import ShownColumns
from dynamic_layer.examples.offsets import SeenOffsets
from dynamic_layer.examples.replay import Replay, pad
from state import ShownBefore
from state.shown import READ
from tests.dynamic_layer.worlds import make_examples, make_items

ITEMS = make_items()


@given(
    batches=st.lists(st.lists(st.integers(0, 60), max_size=20), max_size=10),
)
@settings(deadline=None)
def test_an_offset_is_new_exactly_once(batches: list[list[int]]) -> None:
    seen, known = SeenOffsets(span=64), set[int]()
    for batch in batches:
        new = seen.mark("t", 0, np.array(batch, np.int64))
        for offset, is_new in zip(batch, new.tolist(), strict=True):
            assert is_new == (offset not in known)
            known.add(offset)


def test_offsets_that_fell_out_of_the_window_count_as_seen() -> None:
    seen = SeenOffsets(span=100)
    assert seen.mark("t", 0, np.arange(0, 50)).all()
    assert seen.mark("t", 0, np.arange(10_000, 10_050)).all()
    assert not seen.mark("t", 0, np.arange(0, 200)).any()
    assert seen.mark("t", 0, np.arange(9_950, 10_000)).all()


def test_partitions_have_offsets_of_their_own() -> None:
    seen = SeenOffsets()
    assert seen.mark("t", 0, np.arange(5)).all()
    assert seen.mark("t", 1, np.arange(5)).all()
    assert seen.mark("other", 0, np.arange(5)).all()


@given(sizes=st.lists(st.integers(0, 25), max_size=8))
@settings(deadline=None)
def test_replay_holds_the_newest_in_order_of_arrival(sizes: list[int]) -> None:
    replay, offsets = Replay(capacity=20, history_cap=3), list[int]()
    for place, size in enumerate(sizes):
        batch = make_examples(ITEMS, size, first_offset=100 * place, seed=place)
        replay.append(pad(batch, 3, 0))
        offsets += batch.offset.tolist()
    assert replay.take(replay.numbers()).offset.tolist() == offsets[-20:]
    assert replay.written == len(offsets)


def test_keeping_some_forgets_the_others_and_no_history() -> None:
    replay, batch = Replay(capacity=50, history_cap=5), make_examples(ITEMS, 40)
    padded = pad(batch, 5, 0)
    replay.append(padded)
    replay.keep(batch.offset >= 30)
    kept = replay.take(replay.numbers())
    assert kept.offset.tolist() == list(range(30, 40))
    for place, length in enumerate(kept.length):
        expected = padded.history_item[30 + place, :length]
        assert kept.history_item[place, :length].tolist() == expected.tolist()


def test_padding_keeps_the_newest_entries() -> None:
    batch = make_examples(ITEMS, 30)
    padded = pad(batch, 2, 0)
    for row in range(30):
        entries = batch.history_item[batch.indptr[row] : batch.indptr[row + 1]][:2]
        assert padded.history_item[row, : padded.length[row]].tolist() == entries.tolist()


@given(
    sizes=st.lists(st.integers(0, 25), max_size=8),
    capacity=st.integers(1, 30),
    entries=st.integers(5, 120),
    cap=st.integers(1, 5),
)
@settings(deadline=None)
def test_replay_holds_the_newest_examples_whose_entries_fit(
    sizes: list[int], capacity: int, entries: int, cap: int
) -> None:
    """The memory is the longest suffix of what was appended that fits both limits."""
    replay = Replay(capacity=capacity, history_cap=cap, entries=entries)
    known: list[tuple[int, list[int], list[float], list[bool]]] = []
    for place, size in enumerate(sizes):
        padded = pad(make_examples(ITEMS, size, first_offset=100 * place, seed=place), cap, 0)
        replay.append(padded)
        for row, length in enumerate(padded.length.tolist()):
            known.append(
                (
                    int(padded.offset[row]),
                    padded.history_item[row, :length].tolist(),
                    padded.history_age[row, :length].tolist(),
                    padded.history_strong[row, :length].tolist(),
                )
            )
    room, expected = entries, list[tuple[int, list[int], list[float], list[bool]]]()
    for one in reversed(known[-capacity:]):
        room -= len(one[1])
        if room < 0:
            break
        expected.insert(0, one)
    held = replay.take(replay.numbers())
    found = [
        (
            int(held.offset[row]),
            held.history_item[row, :length].tolist(),
            held.history_age[row, :length].tolist(),
            held.history_strong[row, :length].tolist(),
        )
        for row, length in enumerate(held.length.tolist())
    ]
    assert found == expected
    assert replay.written == len(known)
    short = replay.take(replay.numbers(), 2)
    assert short.length.tolist() == [min(2, len(one[1])) for one in expected]
    assert short.history_item.shape[1] <= 2


@given(
    sizes=st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=6),
    capacity=st.integers(1, 30),
    room=st.integers(READ, 2 * READ),
)
@settings(deadline=None)
def test_replay_holds_the_newest_examples_whose_impressions_fit(
    sizes: list[list[int]], capacity: int, room: int
) -> None:
    """And what it holds of them is what was appended."""
    replay, known = Replay(capacity=capacity, history_cap=1, entries=room), []
    for place, of_batch in enumerate(sizes):
        n = len(of_batch)
        rng = np.random.default_rng(place)
        batch = make_examples(ITEMS, n, first_offset=100 * place, seed=place)
        users = [
            ShownBefore(
                items=np.arange(size, dtype=np.uint64), end=rng.integers(2**40, size=size),
                count=rng.integers(1, 99, size=size),
            )
            for size in of_batch
        ]  # fmt: skip
        batch = replace(batch, shown=ShownColumns.of(users))
        replay.append(pad(batch, 1, 0))
        for row, user in enumerate(users):
            age = ((batch.timestamp[row] - user.end) / 1_000).astype(np.float32)
            rows = (user.items.tolist(), age.tolist(), user.count.tolist())
            known.append((int(batch.offset[row]), int(np.diff(batch.indptr)[row] > 0), rows))
    expected, impressions, entries = [], room, room
    for offset, length, rows in reversed(known[-capacity:]):
        impressions, entries = impressions - len(rows[0]), entries - length
        if impressions < 0 or entries < 0:
            break
        expected.insert(0, (offset, rows))
    for _ in range(2):
        held = replay.take(replay.numbers())
        found = [
            (
                int(held.offset[row]),
                tuple(
                    getattr(held, name)[row, :length].tolist()
                    for name in ("shown_item", "shown_age", "shown_count")
                ),
            )
            for row, length in enumerate(held.shown_length.tolist())
        ]
        assert found == expected
        replay.arrange(replay.numbers())


def test_discoveries_are_strong_new_and_have_whole_histories() -> None:
    batch = make_examples(ITEMS, 200)
    batch = replace(batch, repeat=np.arange(200) % 5 == 0)
    replay = Replay(capacity=500, history_cap=5)
    replay.append(pad(batch, 5, 0))
    expected = batch.strong & ~batch.repeat & (np.diff(batch.indptr) != 3)
    assert replay.discoveries(cut=3).tolist() == np.flatnonzero(expected).tolist()


def test_a_cut_batch_keeps_the_newest_entries_of_each_history() -> None:
    batch = make_examples(ITEMS, 50)
    caps = np.arange(50) % 4
    cut = batch.cut(caps)
    for row in range(50):
        whole = slice(batch.indptr[row], batch.indptr[row + 1])
        kept = slice(cut.indptr[row], cut.indptr[row + 1])
        for name in ("history_item", "history_time", "history_strong"):
            expected = getattr(batch, name)[whole][: caps[row]].tolist()
            assert getattr(cut, name)[kept].tolist() == expected
