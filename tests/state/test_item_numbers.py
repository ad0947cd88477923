"""Items get numbers by first sight, whatever is kept in memory and whenever it is written."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import database
from state.items import ItemNumbers, item_key
from tests.state.memory_database import Disks
from tests.state.streams_of_events import tried

NAMES = st.tuples(st.sampled_from(["song", "book"]), st.sampled_from([f"i{n}" for n in range(12)]))


def write(numbers: ItemNumbers, source) -> None:
    for number, row in numbers.take_new():
        source.put(database.item_row_key(number), row)


@tried(0.5)
@given(
    batches=st.lists(st.lists(NAMES, max_size=8), max_size=12),
    steps=st.lists(st.sampled_from(["go on", "write", "take", "open again"]), max_size=12),
    recent=st.integers(1, 20),
)
def test_numbers_are_given_by_first_sight(tmp_path_factory, batches, steps, recent):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("state.items.RECENT", recent)
        source = Disks().open(tmp_path_factory.getbasetemp() / "items", None)
        numbers, order = ItemNumbers(source), []
        for batch, step in zip(batches, [*steps, *["go on"] * 12], strict=False):
            order += [name for name in dict.fromkeys(batch) if name not in order]
            found = numbers.numbers([t for t, _ in batch], [i for _, i in batch])
            assert found.tolist() == [order.index(name) for name in batch]
            if step != "go on":
                write(numbers, source)
            if step == "open again":
                numbers = ItemNumbers(source)
            assert len(numbers) == len(order)
            assert list(numbers.names()) == order
            assert [numbers.name(n) for n in range(len(order))] == order
            assert numbers.keys[: len(order)].tolist() == [item_key(*name) for name in order]
            assert [numbers.find(*name) for name in order] == list(range(len(order)))
            assert numbers.find("song", "unknown") is None


def test_names_are_known_while_they_are_written():
    source = Disks().open("items", None)
    numbers = ItemNumbers(source)
    numbers.numbers(["song", "book"], ["a", "b"])
    taken = list(numbers.take_new())  # and not in the database yet
    assert list(numbers.names()) == [("song", "a"), ("book", "b")]
    assert len(taken) == 2
    assert list(numbers.take_new()) == []
    with pytest.raises(IndexError):
        numbers.name(2)


def test_an_item_takes_at_most_32_bytes(monkeypatch):
    """As they come, and when they are read again; but for recent names, which are few."""
    monkeypatch.setattr("state.items.RECENT", 1_000)
    source = Disks().open("items", None)
    count, batch = 150_000, 5_000
    ItemNumbers(source).numbers(["song"], ["warm"])  # kernels are loaded
    tracemalloc.start()
    begin = tracemalloc.get_traced_memory()[0]
    numbers = ItemNumbers(source)
    for first in range(0, count, batch):
        ids = [f"an-item-with-a-name-{n}" for n in range(first, first + batch)]
        numbers.numbers(["song"] * batch, ids)
        # What is written is not counted here: a database has it on disk.
        numbers.take_new()
        list(numbers.take_new())
        assert numbers.find("song", ids[0]) == first
    del ids
    used = tracemalloc.get_traced_memory()[0] - begin
    tracemalloc.stop()
    assert used / count < 32
    assert len(numbers.keys) <= 1_024 + count * 5 // 4  # room to grow by a quarter
