"""Encoded lists read like the lists that they were made of."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from streams import Recommendation, RecommendedItem, decode, encode
from streams.lists import listed_items

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
items = st.tuples(names, names, st.floats(-1e6, 1e6))


@given(st.lists(items, max_size=5))
def test_lists_read_as_they_were_made(listed):
    ids, types, scores = [list(column) for column in zip(*listed, strict=True)] or [[], [], []]
    of_list = {"user_id": "u", "list": "mix", "generation": 3, "created_at": 4}
    encoded = encode(Recommendation(items=listed_items(ids, types, scores), **of_list))
    found = decode(Recommendation, encoded)
    expected = [
        RecommendedItem(item_id=i, item_type=t, score=float(f"{s:.6f}")) for i, t, s in listed
    ]
    assert found == Recommendation(items=expected, **of_list)


def test_an_item_for_each_score():
    with pytest.raises(ValueError, match="shorter"):
        listed_items(["a"], ["podcast"], [])
