"""Names have numbers by first sight, as in a dictionary."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.names import NameTable, codes_of, in_set, utf8_of
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
