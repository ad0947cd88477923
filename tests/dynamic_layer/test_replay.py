"""The bounded memory of examples."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.examples.replay import Replay, SeenOffsets, pad
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
