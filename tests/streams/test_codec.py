import json
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import (
    Event,
    EventRules,
    Item,
    Reason,
    Receipt,
    Record,
    Request,
    Source,
    User,
    decode,
    decode_events,
    decode_items,
    decode_requests,
    decode_users,
    encode,
    encode_events,
    readable,
)
from streams.dead_letters import LIKELY_SECONDS

NOW = 1_760_000_000_000
RULES = EventRules()
FIELDS = {
    "user_id": "ann",
    "item_id": "p1",
    "item_type": "podcast",
    "kind": "stream",
    "timestamp": NOW,
}


def record(value: bytes | None, key: bytes | None = b"ann", offset: int = 0) -> Record:
    return Record("segue.events", 3, offset, NOW, key, value)


def raw(**changes: object) -> bytes:
    return json.dumps({**FIELDS, **changes}).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in FIELDS.items() if name != field}).encode()


def renumbered(records: Sequence[Record]) -> list[Record]:
    return [one._replace(offset=offset) for offset, one in enumerate(records)]


def test_events_become_columns_in_the_order_of_the_log():
    records = renumbered(
        [record(raw(item_id=f"p{n}", timestamp=NOW + n, extra={"ignored": [n]})) for n in range(3)]
    )
    batch, letters = decode_events(records, RULES)
    assert letters == []
    assert len(batch) == 3
    assert batch.user_id == ["ann", "ann", "ann"]
    assert batch.item_type == ["podcast", "podcast", "podcast"]
    assert batch.item_id == ["p0", "p1", "p2"]
    assert batch.kind == ["stream", "stream", "stream"]
    np.testing.assert_array_equal(batch.timestamp, [NOW, NOW + 1, NOW + 2])
    np.testing.assert_array_equal(batch.offset, [0, 1, 2])
    assert batch.timestamp.dtype == batch.offset.dtype == np.int64


def test_no_records_are_an_empty_batch():
    batch, letters = decode_events([], RULES)
    assert (len(batch), letters) == (0, [])
    assert batch.offset.dtype == np.int64


BAD_EVENTS = [
    (None, None, Reason.EMPTY),
    (None, b"\xff", Reason.EMPTY),
    (None, b"", Reason.BAD_ID),
    (None, b"a\0b", Reason.BAD_ID),
    (None, b"x" * 257, Reason.BAD_ID),
    (b"", b"ann", Reason.MALFORMED),
    (raw()[:-9], b"ann", Reason.MALFORMED),
    (raw() + raw(), b"ann", Reason.MALFORMED),
    (b'{"user_id":"\xff"}', b"ann", Reason.MALFORMED),
    (b'{"extra":' + b"[" * 20_000, b"ann", Reason.MALFORMED),
    (raw(user_id="\ud800"), b"ann", Reason.MALFORMED),
    (b"null", b"ann", Reason.WRONG_TYPE),
    (b"[" + raw() + b"]", b"ann", Reason.WRONG_TYPE),
    (raw(user_id=7.5), b"7.5", Reason.WRONG_TYPE),
    (raw(user_id=True), b"True", Reason.WRONG_TYPE),
    (raw(user_id=7), b"8", Reason.KEY_MISMATCH),
    (raw(user_id=7, kind=5), b"7", Reason.WRONG_TYPE),
    (raw(user_id=10**300), str(10**300).encode(), Reason.BAD_ID),
    (raw(item_id=None), b"ann", Reason.WRONG_TYPE),
    (raw(timestamp=str(NOW)), b"ann", Reason.WRONG_TYPE),
    (raw(timestamp=NOW + 0.5), b"ann", Reason.WRONG_TYPE),
    (raw(kind=["stream"]), b"ann", Reason.WRONG_TYPE),
    *[(without(field), b"ann", Reason.MISSING_FIELD) for field in FIELDS],
    (raw(kind="purchase"), b"ann", Reason.UNKNOWN_KIND),
    (raw(kind="a' - at `$.user_id`\n"), b"ann", Reason.UNKNOWN_KIND),
    (raw(user_id=""), b"", Reason.BAD_ID),
    (raw(item_id=""), b"ann", Reason.BAD_ID),
    (raw(item_type="pod\0cast"), b"ann", Reason.BAD_ID),
    (raw(item_id="i" * 257), b"ann", Reason.BAD_ID),
    (raw(item_id="é" * 129), b"ann", Reason.BAD_ID),
    (
        json.dumps({**FIELDS, "item_id": "é" * 129}, ensure_ascii=False).encode(),
        b"ann",
        Reason.BAD_ID,
    ),
    (raw(), None, Reason.MISSING_KEY),
    (raw(), b"bob", Reason.KEY_MISMATCH),
    (raw(), b"\xff", Reason.KEY_MISMATCH),
    (raw(timestamp=NOW + RULES.future_ms + 1), b"ann", Reason.FUTURE),
    (raw(timestamp=7_258_118_400_000), b"ann", Reason.FUTURE),
    (raw(timestamp=2**63 - 1), b"ann", Reason.FUTURE),
    (raw(timestamp=2**63), b"ann", Reason.FUTURE),
    (raw(timestamp=10**400), b"ann", Reason.FUTURE),
    (raw(timestamp=-1), b"ann", Reason.BEFORE_EPOCH),
    (raw(note="x" * 70_000), b"ann", Reason.TOO_LARGE),
    (b"x" * 5_000_000, b"ann", Reason.TOO_LARGE),
]


@pytest.mark.parametrize(("value", "key", "reason"), BAD_EVENTS)
def test_a_bad_event_becomes_a_dead_letter_with_its_reason(value, key, reason):
    neighbour = record(raw())
    records = renumbered([neighbour, record(value, key), neighbour])
    batch, letters = decode_events(records, RULES)
    assert batch.offset.tolist() == [0, 2]
    assert [letter.reason for letter in letters] == [reason]
    assert letters[0].source.offset == 1
    assert letters[0].source.partition == 3
    assert letters[0].detail
    assert letters[0].payload_bytes == len(value or b"")


def test_a_users_key_with_a_null_value_erases_the_user():
    records = [
        record(raw()),
        record(None, "é".encode()),
        record(b"{", b"ann"),
        record(None, b"ann"),
        record(raw()),
        record(None, None),
    ]
    batch, letters = decode_events(renumbered(records), RULES)
    assert batch.offset.tolist() == [0, 4]
    assert batch.erasures == [(1, "é", NOW, {}, {}), (3, "ann", NOW, {}, {})]
    assert [letter.source.offset for letter in letters] == [2, 5]


def test_a_record_that_erases_names_where_the_sources_count_from():
    places = {"player/3": 7}
    erases = {"user_id": "ann", "erase": True, "count_from": places}
    values = [
        {**erases},
        {**erases, "erase": False},
        {**erases, "count_from": {"player/3": -1}},
        {**erases, "user_id": "bob"},
        {**erases, "user_id": ""},
    ]
    records = renumbered([record(json.dumps(value).encode()) for value in values])
    for padding in (0, 20):
        good = [record(raw(), offset=len(values) + n) for n in range(padding)]
        batch, letters = decode_events([*records, *good], RULES)
        assert batch.erasures == [(0, "ann", NOW, places, {})]
        assert [(letter.source.offset, letter.reason) for letter in letters] == [
            (1, Reason.MISSING_FIELD),
            (2, Reason.MISSING_FIELD),
            (3, Reason.KEY_MISMATCH),
            (4, Reason.BAD_ID),
        ]
        assert len(batch) == padding


GOOD_AT_THE_LIMIT = [
    (raw(timestamp=0), b"ann"),
    (raw(timestamp=NOW + RULES.future_ms), b"ann"),
    (raw(item_id="i" * 256), b"ann"),
    (raw(user_id="é" * 128), ("é" * 128).encode()),
    (raw(item_id="a\\u0000b"), b"ann"),
    (raw(note="x" * 60_000), b"ann"),
]


@pytest.mark.parametrize(("value", "key"), GOOD_AT_THE_LIMIT)
def test_an_event_at_the_limit_is_good(value, key):
    batch, letters = decode_events([record(value, key)], RULES)
    assert (len(batch), letters) == (1, [])


def test_the_kinds_are_a_setting():
    rules = EventRules(kinds=("bought",))
    batch, letters = decode_events([record(raw(kind="bought")), record(raw())], rules)
    assert batch.kind == ["bought"]
    assert [letter.reason for letter in letters] == [Reason.UNKNOWN_KIND]


def test_the_future_is_judged_by_the_log_not_by_the_clock():
    early = record(raw())._replace(timestamp=NOW - RULES.future_ms - 1)
    assert decode_events([early], RULES)[1][0].reason is Reason.FUTURE
    assert decode_events([early], replace(RULES, future_ms=RULES.future_ms + 1))[1] == []


ids = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12
)
# Drawing records takes longer than decoding them, most of all on a busy machine.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

good_events = st.builds(
    Event,
    user_id=ids,
    item_id=ids,
    item_type=ids,
    kind=st.sampled_from(RULES.kinds),
    timestamp=st.integers(0, NOW + RULES.future_ms).filter(lambda at: at not in LIKELY_SECONDS),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@st.composite
def broken_records(draw: st.DrawFn) -> Record:
    """Bytes, broken JSON, JSON of another shape: each differs from a good event somewhere."""
    event = encode(draw(good_events))
    cut = draw(st.integers(0, len(event) - 1))
    other = json.dumps({**FIELDS, draw(st.sampled_from(sorted(FIELDS))): draw(json_values)})
    value = draw(
        st.none()
        | st.binary(max_size=300)
        | st.just(event[:cut])
        | st.binary(max_size=3).map(lambda junk: event[:cut] + junk + event[cut + 1 :])
        | st.just(other.encode())
    )
    return record(value, draw(st.none() | st.binary(max_size=20)))


@unhurried
@given(st.lists(good_events | broken_records(), max_size=10))
def test_any_bytes_are_survived_and_good_neighbours_never_lost(mixture):
    records = renumbered(
        [record(encode(one), one.key) if isinstance(one, Event) else one for one in mixture]
    )
    batch, letters = decode_events(records, RULES)
    refused = [letter.source.offset for letter in letters]
    erased = [erasure.offset for erasure in batch.erasures]
    assert sorted([*batch.offset.tolist(), *erased, *refused]) == list(range(len(records)))
    assert refused == sorted(refused)
    assert all(records[offset].key == user.encode() for offset, user, *_ in batch.erasures)
    rows = dict(zip(batch.offset.tolist(), range(len(batch)), strict=True))
    for offset, one in enumerate(mixture):
        if isinstance(one, Event):
            row = rows[offset]
            assert one == Event(
                user_id=batch.user_id[row],
                item_id=batch.item_id[row],
                item_type=batch.item_type[row],
                kind=batch.kind[row],
                timestamp=int(batch.timestamp[row]),
            )


@settings(unhurried, max_examples=40)
@given(st.lists(broken_records(), max_size=10))
def test_no_bytes_make_the_other_decoders_raise(records):
    records = renumbered(records)
    for decode_batch in (decode_items, decode_users, decode_requests):
        batch, letters = decode_batch(records)
        refused = [letter.source.offset for letter in letters]
        assert sorted([*batch.offset.tolist(), *refused]) == list(range(len(records)))


@unhurried
@given(st.lists(good_events, max_size=20))
def test_columns_are_encoded_as_single_events_are(events):
    columns = [
        [getattr(event, name) for event in events]
        for name in ("user_id", "item_type", "item_id", "kind", "timestamp")
    ]
    assert encode_events(*columns) == [(event.key, encode(event)) for event in events]


ITEM = Item(item_id="b1", item_type="audiobook", title="Mist", genres=["crime"], published_at=-5)


def test_items_are_read_and_absent_fields_are_none():
    batch, letters = decode_items([record(encode(ITEM), ITEM.key, 8)])
    assert letters == []
    assert batch.records == [ITEM]
    assert batch.records[0].description is None
    assert batch.offset.tolist() == [8]


def test_a_null_value_and_the_field_both_delete_an_item():
    gone = Item(item_id="b1", item_type="audiobook", deleted=True)
    batch, letters = decode_items([record(None, gone.key), record(encode(gone), gone.key)])
    assert (batch.records, letters) == ([gone, gone], [])


def test_a_null_value_deletes_a_user():
    batch, _ = decode_users([record(None, b"ann")])
    assert batch.records == [User(user_id="ann", deleted=True)]


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (None, None, Reason.EMPTY),
        (None, b"no separator", Reason.EMPTY),
        (None, b"\xff\0\xff", Reason.EMPTY),
        (None, b"\0b1", Reason.BAD_ID),
        (None, b"audiobook\0b\x001", Reason.BAD_ID),
        (encode(ITEM), None, Reason.MISSING_KEY),
        (encode(ITEM), b"b1", Reason.KEY_MISMATCH),
        (b'{"item_type":"audiobook"}', ITEM.key, Reason.MISSING_FIELD),
        (b'{"item_type":"a","item_id":"b","genres":"crime"}', b"a\0b", Reason.WRONG_TYPE),
        (b"x" * 1_048_577, ITEM.key, Reason.TOO_LARGE),
    ],
)
def test_a_bad_item_becomes_a_dead_letter_with_its_reason(value, key, reason):
    batch, letters = decode_items([record(value, key), record(encode(ITEM), ITEM.key, 1)])
    assert batch.records == [ITEM]
    assert [letter.reason for letter in letters] == [reason]


def test_users_and_requests_are_read():
    user = User(user_id="ann", country="SE", birth_year=1980, attributes={"plan": "premium"})
    assert decode_users([record(encode(user))])[0].records == [user]
    request = Request(user_id="ann", lists=["mix"], request_id="7")
    assert decode_requests([record(encode(request))])[0].records == [request]
    assert decode_requests([record(None)])[1][0].reason is Reason.EMPTY


@pytest.mark.parametrize("year", [0, 10_000, 1980.5, "1980"])
def test_an_impossible_birth_year_is_refused(year):
    value = json.dumps({"user_id": "ann", "birth_year": year}).encode()
    assert decode_users([record(value)])[1][0].reason is Reason.WRONG_TYPE


def test_what_we_wrote_is_read_by_its_type():
    assert decode(Item, encode(ITEM)) == ITEM
    with pytest.raises(msgspec.DecodeError):
        decode(Item, b"{}")


def test_an_id_that_is_a_whole_number_is_its_text_in_every_record():
    numbers = {"user_id": 7, "item_id": -12, "item_type": 2**70}
    records = [record(raw())] * 40 + [record(raw(**numbers), b"7")]
    events, letters = decode_events(renumbered(records), RULES)
    assert letters == []
    assert (events.user_id[40], events.item_id[40], events.item_type[40]) == (
        "7", "-12", str(2**70)
    )  # fmt: skip
    assert events.user_id[:40] == ["ann"] * 40
    values = [
        (decode_items, {"item_id": 5, "item_type": 6, "title": "A"}, b"6\x005"),
        (decode_users, {"user_id": 5}, b"5"),
        (decode_requests, {"user_id": 5}, b"5"),
    ]
    for decode_them, row, key in values:
        batch, letters = decode_them([record(json.dumps(row).encode(), key)])
        assert letters == []
        assert batch.records[0].key == key


IGNORING = EventRules(kinds=("stream",), ignore=("page_view", "search"))


def test_a_kind_that_is_ignored_is_no_dead_letter_whatever_else_the_record_has():
    records = [
        record(raw(kind="page_view")),
        record(b'{"kind": "search", "query": "x", "padding": "' + b"x" * 70_000 + b'"}', None),
        record(raw(kind="purchase")),
        record(b'{"kind": "search"'),
        record(raw()),
        record(raw(kind="search", item_id=""), b"bob"),
        record(None, b"ann"),
    ]
    for copies in (1, 9):
        many = renumbered(records * copies)
        events, letters = decode_events(many, IGNORING)
        assert events.ignored == 3 * copies
        assert [letter.reason for letter in letters] == [
            Reason.UNKNOWN_KIND, Reason.MALFORMED
        ] * copies  # fmt: skip
        assert len(events) == len(events.erasures) == copies
    assert decode_events(renumbered([record(raw())]), IGNORING)[0].ignored == 0


def test_a_kind_cannot_be_wanted_and_ignored():
    with pytest.raises(ValueError, match="ignore: stream is also one of kinds"):
        EventRules(ignore=("stream", "page_view"))


def test_records_of_somebody_else_on_a_topic_of_ours_are_passed_over():
    ours = Receipt(
        user_sha256="0" * 64, source=Source(topic="t", partition=0, offset=1), position=2,
        held=True, checkpoints=[], created_at=3,
    )  # fmt: skip
    values = [b"", b"\xff", b"5", b"{}", encode(ours), None, b"[" * 20_000]
    records = renumbered([record(value, b"k") for value in values])
    assert [(r.offset, found) for r, found in readable(Receipt, records)] == [(4, ours)]
