"""Names have numbers by first sight, as in a dictionary."""

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.names import NameTable, Utf8, _entry, _hash, _numbers, _place, codes_of, in_set, utf8_of
from streams.text_columns import AsciiTexts, CodedTexts

names = st.text("ab\0é😀", max_size=4) | st.sampled_from(["x" * 255, "x" * 256, "user-0000001"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(names, max_size=20), max_size=6))
def test_names_have_numbers_by_first_sight(batches):
    table, order = NameTable(), []
    for batch in batches:
        order += [name for name in dict.fromkeys(batch) if name not in order]
        assert table.numbers(utf8_of(batch)).tolist() == [order.index(name) for name in batch]
        assert len(table) == len(order)
        every = np.arange(len(order))
        assert table.names(every) == [name.encode() for name in order]
        assert [table.name(n) for n in range(len(order))] == table.names(every)
        assert [table.find(name) for name in order] == every.tolist()
        assert table.find("unknown") is None
    again = NameTable()
    picked = np.arange(len(order))[::-2]
    again.numbers(table.utf8(picked))
    assert again.names(np.arange(len(picked))) == table.names(picked)
    table.clear()
    assert len(table) == 0
    assert [table.find(name) for name in order] == [None] * len(order)


def test_a_table_grows_with_its_names():
    table, count = NameTable(), 300_000
    for first in range(0, count, 50_000):
        batch = [f"name-{n}" for n in range(first, first + 50_000)]
        assert table.numbers(utf8_of(batch)).tolist() == list(range(first, first + 50_000))
    again = [f"name-{n}" for n in range(0, count, 7)]
    assert table.numbers(utf8_of(again)).tolist() == list(range(0, count, 7))
    assert len(table) == count


@settings(max_examples=200, deadline=None)
@given(st.lists(names, max_size=20))
def test_names_of_one_hash_are_told_apart_by_their_bytes(batch):
    """As if all names had the hash of one: the table compares them byte by byte."""
    data, begins, ends = utf8_of(batch)
    one, table = np.uint64(7 << 32 | 5), np.zeros(64, np.uint64)
    order = list(dict.fromkeys(batch))
    known, first, last = utf8_of(order)
    bounds = np.concatenate([first, last[-1:]])
    for begin, end, name in zip(begins.tolist(), ends.tolist(), batch, strict=True):
        place = _place(data, begin, end, one, table, known, bounds)
        number = order.index(name)
        assert table[place] in (0, _entry(one, number))
        table[place] = _entry(one, number)
    assert np.count_nonzero(table) == len(order)


def test_names_are_looked_for_within_the_table(monkeypatch):
    """Compiled code would read on behind its end, where Python refuses to."""
    monkeypatch.setattr("state.names.prefetch", lambda *_: None)
    column, count = utf8_of([f"user-{n}" for n in range(100)]), 100
    table, bounds, found = np.zeros(256, np.uint64), np.zeros(count + 1, np.int64), np.zeros(count)
    known = np.zeros(len(column.data), np.uint8)
    python = _numbers.py_func
    assert python(*column, np.uint64(7), table, known, bounds, 0, found) == count
    assert found.tolist() == list(range(count))


def test_names_have_hashes_of_their_own():
    """Else each name is looked for among all others."""
    data, begins, ends = utf8_of([f"user-{n}" for n in range(4_096)])
    start = np.uint64(12345)
    hashes = [int(_hash(data, b, e, start)) for b, e in zip(begins, ends, strict=True)]
    assert len(set(hashes)) == len(hashes)
    # Places come from the lowest bits: as many as of numbers drawn by chance, about 2,600.
    assert len({found % 4_096 for found in hashes}) > 2_300


def test_a_table_holds_capacity_for_its_names_and_not_for_what_lies_between():
    """A column of names is a part of the bytes of whole records."""
    records = np.zeros(100_000_000, np.uint8)
    begins = np.arange(50_000_000, 50_001_000, dtype=np.int64)
    NameTable().numbers(Utf8(records, begins[:1], begins[:1] + 8))  # kernels are loaded
    tracemalloc.start()
    NameTable().numbers(Utf8(records, begins, begins + 8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


ascii_names = st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9))


@given(ascii_names, st.slices(12))
def test_columns_are_read_like_lists(texts, rows):
    data = np.frombuffer("-".join(texts).encode() + b"-", np.uint8)
    ends = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64) - 1
    column = AsciiTexts(data, ends - np.array([len(text) for text in texts], np.int64), ends)
    coded = CodedTexts(*codes_of(texts))
    table = NameTable()
    for one in (column, coded):
        assert one == texts
        assert len(one) == len(texts)
        assert one[rows] == texts[rows]
        assert [one[at] for at in range(len(texts))] == texts
        assert in_set(one, frozenset(texts[:2])).tolist() == [t in texts[:2] for t in texts]
        if one:
            assert one[-1] == texts[-1]
    assert table.names(table.numbers(utf8_of(column))) == [text.encode() for text in texts]
    assert table.numbers(utf8_of(texts)).tolist() == table.numbers(utf8_of(column)).tolist()
