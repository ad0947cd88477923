"""Encoded lists read like the lists that they were made of."""

from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from streams import Recommendation, RecommendedItem, decode, encode
from streams.lists import listed_items

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
items = st.tuples(names, names, st.floats(-1e6, 1e6))


@given(st.lists(items, max_size=5), st.data())
def test_lists_read_as_they_were_made(listed, data):
    ids, types, scores = [list(column) for column in zip(*listed, strict=True)] or [[], [], []]
    named = SimpleNamespace(ids=ids, types=types, patterns={})
    of_list = {"user_id": "u", "list": "mix", "generation": 3, "created_at": 4}
    for _ in range(2):  # the second time it knows the items
        rows = data.draw(st.permutations(range(len(listed))))
        chosen = [scores[row] for row in rows]
        encoded = encode(Recommendation(items=listed_items(named, rows, chosen), **of_list))
        expected = [
            RecommendedItem(
                item_id=ids[row], item_type=types[row], score=float(f"{scores[row]:.6f}")
            )
            for row in rows
        ]
        assert decode(Recommendation, encoded) == Recommendation(items=expected, **of_list)


def test_an_item_for_each_score():
    with pytest.raises(ValueError, match="for each of 1 items, got 0"):
        listed_items(SimpleNamespace(ids=["a"], types=["podcast"], patterns={}), [0], [])
