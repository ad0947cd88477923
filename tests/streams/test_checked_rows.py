"""Rows from outside are judged as the workers judge records."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import EventRules, Reason, Record, decode_events, decode_items, decode_users
from streams.checked_rows import BadRow, check_events, check_items, check_users

NOW = 1_700_000_000_000
RULES = EventRules(text_types=("query",), ignore=("heartbeat",))


def event(**fields) -> bytes:
    row = {"user_id": "u1", "item_id": "i1", "item_type": "podcast", "kind": "stream"}
    return json.dumps(row | {"timestamp": NOW} | fields).encode()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"null", Reason.WRONG_TYPE),
        (b"5", Reason.WRONG_TYPE),
        (b'{"user_id": "u1"', Reason.MALFORMED),
        (b"\xff\xfe{\x00}\x00", Reason.MALFORMED),
        (b'{"a":' * 5_000, Reason.MALFORMED),
        (b'{"user_id": "u1"}', Reason.MISSING_FIELD),
        (event(user_id="a\0b"), Reason.BAD_ID),
        (event(user_id=""), Reason.BAD_ID),
        (event(user_id="\ud800"), Reason.MALFORMED),
        (event(user_id="\u00e9" * 200), Reason.BAD_ID),
        (event(user_id=True), Reason.WRONG_TYPE),
        (event(user_id=1.5), Reason.WRONG_TYPE),
        (event(kind="no such"), Reason.UNKNOWN_KIND),
        (event(timestamp=NOW // 1000), Reason.WRONG_TYPE),
        (event(timestamp=NOW + 7_200_000), Reason.FUTURE),
        (event(timestamp=-1), Reason.BEFORE_EPOCH),
        (event(item_type="query", item_id=" "), Reason.BAD_ID),
        (event(more="x" * 70_000), Reason.TOO_LARGE),
        (b'{"user_id": "u1", "erase": true, "count_from": {}}', Reason.WRONG_TYPE),
    ],
)
def test_a_bad_row_is_named_and_the_good_ones_beside_it_are_kept(row, reason):
    found = check_events([event(), row, event(user_id=7)], RULES, NOW)
    assert [(bad.index, bad.reason) for bad in found.bad] == [(1, reason)]
    assert [key for key, _ in found.records] == [b"u1", b"7"]
    assert found.good == [0, 2]


def test_ignored_kinds_are_neither_written_nor_refused():
    found = check_events([event(kind="heartbeat"), event()], RULES, NOW)
    assert (found.ignored, found.good, found.bad) == (1, [1], [])


def test_a_row_of_several_lines_is_written_as_one():
    row = json.dumps(json.loads(event(title="two\nlines")), indent=2).encode()
    [(_, value)] = check_events([row], RULES, NOW).records
    assert b"\n" not in value
    assert json.loads(value) == json.loads(row)


def test_rows_of_foreign_users_are_bad():
    found = check_events([event(), event(user_id="anon-1"), b"null"], RULES, NOW).of_users("anon-")
    assert (found.good, [key for key, _ in found.records]) == ([1], [b"anon-1"])
    assert [(bad.index, bad.reason) for bad in found.bad] == [
        (0, Reason.BAD_ID), (2, Reason.WRONG_TYPE)
    ]  # fmt: skip


def test_items_and_users():
    items = check_items([b'{"item_type": "a", "item_id": 7}', b'{"item_id": "x"}'])
    assert items.records == [(b"a\x007", b'{"item_type": "a", "item_id": 7}')]
    assert [bad.reason for bad in items.bad] == [Reason.MISSING_FIELD]
    users = check_users([b'{"user_id": "u", "birth_year": 0}', b'{"user_id": "u"}'])
    assert users.good == [1]
    assert users.bad == [BadRow(0, Reason.WRONG_TYPE, users.bad[0].detail)]


JSON = st.sampled_from([None, True, 1.5, [], {}, [["a"]], "\ud800", 2**70]) | st.one_of(
    st.integers(), st.text(max_size=10), st.lists(st.text(max_size=3), max_size=2)
)
FIELDS = st.sampled_from(["user_id", "item_id", "item_type", "kind", "timestamp", "title", "x"])
ROWS = st.one_of(
    st.dictionaries(FIELDS, JSON).map(lambda row: event(**row)),
    st.dictionaries(FIELDS, JSON).map(lambda row: json.dumps(row).encode()),
    st.binary(max_size=30),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(ROWS, max_size=20))
def test_what_passes_is_what_workers_accept(rows):
    def logged(records):
        return [Record("t", 0, n, NOW + 5, key, value) for n, (key, value) in enumerate(records)]

    for found, decode in (
        (check_events(rows, RULES, NOW), lambda records: decode_events(records, RULES)),
        (check_items(rows), decode_items),
        (check_users(rows), decode_users),
    ):
        batch, letters = decode(logged(found.records))
        assert letters == []
        assert len(batch) == len(found.records)
        assert len(found.records) + len(found.bad) + found.ignored == len(rows)
