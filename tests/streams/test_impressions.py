"""Impressions: every record is rows of one offset, or a dead letter."""

import json

import numpy as np
import pytest

from state import SHOWN_KIND as STATE_KIND
from streams import (
    SHOWN_KIND,
    EventRules,
    Impression,
    Reason,
    ShownItem,
    decode_impressions,
    encode,
)
from streams.checked_rows import check_impressions
from streams.log_record import Record

NOW = 1_800_000_000_000
RULES = EventRules(text_types=("query",))


def shown(*names: str, user: str = "ann", at: int = NOW) -> Impression:
    items = [ShownItem(item_id=name, item_type="p", position=n) for n, name in enumerate(names, 1)]
    return Impression(user_id=user, items=items, timestamp=at, list_id="l-1")


def record(offset: int, value: object, key: bytes | None = b"ann") -> Record:
    text = encode(value) if isinstance(value, Impression) else json.dumps(value).encode()
    return Record("shown", 0, offset, NOW, key, None if value is None else text)


def test_a_record_has_a_row_for_each_item_at_its_offset():
    batch, letters = decode_impressions(
        [record(3, shown("a", "b")), record(7, shown("a", at=NOW - 5))], RULES
    )
    assert letters == []
    assert batch.item_id == ["a", "b", "a"]
    assert batch.offset.tolist() == [3, 3, 7]
    assert batch.timestamp.tolist() == [NOW, NOW, NOW - 5]
    assert set(batch.kind) == {SHOWN_KIND}
    assert SHOWN_KIND == STATE_KIND, "the state knows the rows by it"


ITEM = {"item_id": "x", "item_type": "p", "position": 1}


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (None, b"ann", Reason.EMPTY),
        ([1], b"ann", Reason.WRONG_TYPE),
        ({"user_id": "ann", "timestamp": NOW}, b"ann", Reason.MISSING_FIELD),
        ({"user_id": "ann", "timestamp": NOW, "items": []}, b"ann", Reason.WRONG_TYPE),
        ({"user_id": "ann", "timestamp": NOW, "items": [ITEM]}, b"bob", Reason.KEY_MISMATCH),
        ({"user_id": "ann", "timestamp": NOW, "items": [ITEM]}, None, Reason.MISSING_KEY),
        ({"user_id": "ann", "timestamp": NOW * 2, "items": [ITEM]}, b"ann", Reason.FUTURE),
        (
            {"user_id": "ann", "timestamp": NOW, "items": [ITEM, ITEM | {"position": 0}]},
            b"ann", Reason.WRONG_TYPE,
        ),
        (
            {"user_id": "ann", "timestamp": NOW, "items": [ITEM, ITEM | {"item_id": "a\0b"}]},
            b"ann", Reason.BAD_ID,
        ),
        (
            {"user_id": "ann", "timestamp": NOW, "items": [ITEM, ITEM | {"item_id": "é" * 200}]},
            b"ann", Reason.BAD_ID,
        ),
    ],
)  # fmt: skip
def test_a_bad_record_is_one_dead_letter_and_its_neighbours_are_good(value, key, reason):
    records = [record(0, shown("a")), record(1, value, key), record(2, shown("b", "c"))]
    batch, letters = decode_impressions(records, RULES)
    assert batch.offset.tolist() == [0, 2, 2]
    assert [(letter.source.offset, letter.reason) for letter in letters] == [(1, reason)]


def test_whole_numbers_are_ids_and_texts_have_their_normal_form():
    value = {
        "user_id": 7, "timestamp": NOW,
        "items": [ITEM | {"item_id": 12}, {"item_type": "query", "item_id": "SEA ", "position": 2}],
    }  # fmt: skip
    batch, letters = decode_impressions([record(0, value, b"7")], RULES)
    assert letters == []
    assert (batch.user_id, batch.item_id) == (["7", "7"], ["12", "sea"])


def test_rows_over_http_are_checked_alike():
    rows = [encode(shown("a", "b")), b'{"user_id": "bob"}', encode(shown("c", user="bob"))]
    found = check_impressions(rows, RULES, NOW)
    assert found.good == [0, 2]
    assert [key for key, _ in found.records] == [b"ann", b"bob"]
    assert [(row.index, row.reason) for row in found.bad] == [(1, Reason.MISSING_FIELD)]


def test_no_kind_of_event_is_taken_for_an_impression():
    with pytest.raises(ValueError, match="Segue's own"):
        EventRules(kinds=("stream", SHOWN_KIND))


def test_no_records_are_no_rows():
    batch, letters = decode_impressions([], RULES)
    assert (len(batch), letters, batch.offset.dtype) == (0, [], np.int64)
