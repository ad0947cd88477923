"""Records of other owners' topics become the events that their settings say, or dead letters."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import (
    Event,
    EventRules,
    Reason,
    Record,
    SourceSettings,
    TimestampMapping,
    TopicSettings,
    ValueMapping,
    check_sources,
    decode_events,
    encode,
    event_decoder,
)
from tests.streams.foreign import NOW, foreign_record, foreign_time
from tests.streams.test_codec import BAD_EVENTS, GOOD_AT_THE_LIMIT, RULES, broken_records
from tests.streams.test_codec import record as native_record

PLAYER = SourceSettings(
    topic="player.activity",
    user_id="payload.user.id",
    item_id="payload.item.id",
    item_type=ValueMapping(field="payload.item.type", values={"track": "music", "3": "podcast"}),
    kind=ValueMapping(
        field="meta.action", values={"play": "stream", "sub": "follow"}, default="stream"
    ),
    timestamp=TimestampMapping(field="occurred-at", unit="s"),
)
UNKEYED = replace(PLAYER, keyed_by_user=False)


def activity(
    *,
    user: object = "ann",
    item: object = "t1",
    item_type: object = "track",
    meta: object = None,
    at: object = NOW // 1000,
) -> dict[str, Any]:
    return {
        "payload": {"user": {"id": user, "plan": "free"}, "item": {"id": item, "type": item_type}},
        "meta": {"action": "play"} if meta is None else meta,
        "occurred-at": at,
        "ignored": [1, {"payload": 2}],
    }


def record(value: dict[str, Any] | bytes, key: bytes | None = b"ann", offset: int = 0) -> Record:
    value = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Record("player.activity", 2, offset, NOW, key, value)


def test_fields_are_found_by_path_and_values_are_renamed():
    records = [
        record(activity(meta={"action": "sub"}), offset=4),
        record(activity(item=77, item_type=3, at=NOW / 1000 - 0.25), offset=7),
    ]
    events, letters = event_decoder(PLAYER, RULES)(records)
    assert letters == []
    assert events.user_id == ["ann", "ann"]
    assert events.item_id == ["t1", "77"]
    assert events.item_type == ["music", "podcast"]
    assert events.kind == ["follow", "stream"]
    assert events.timestamp.tolist() == [NOW, NOW - 250]
    assert events.offset.tolist() == [4, 7]


@pytest.mark.parametrize("meta", [{}, {"action": None}, {"other": 1}])
def test_a_kind_that_is_missing_or_null_is_the_default(meta):
    assert event_decoder(PLAYER, RULES)([record(activity(meta=meta))])[0].kind == ["stream"]


def test_all_of_the_way_to_a_kind_with_a_default_may_be_missing():
    without = activity()
    del without["meta"]
    null = activity() | {"meta": None}
    events, letters = event_decoder(PLAYER, RULES)([record(without), record(null)])
    assert (events.kind, letters) == (["stream", "stream"], [])


def test_kind_and_type_may_be_the_same_for_all_records():
    fixed = replace(
        PLAYER, kind=ValueMapping(default="follow"), item_type=ValueMapping(default="podcast")
    )
    events, _ = event_decoder(fixed, RULES)([record(activity(item_type=[1], meta=9))])
    assert (events.kind, events.item_type) == (["follow"], ["podcast"])


def test_types_without_names_of_ours_are_taken_as_they_are():
    plain = replace(PLAYER, item_type=ValueMapping(field="payload.item.type", default="other"))
    records = [record(activity(item_type=kind)) for kind in ("track", 3, None)]
    assert event_decoder(plain, RULES)(records)[0].item_type == ["track", "3", "other"]


def test_a_field_name_may_hold_a_dot():
    dotted = replace(PLAYER, user_id=r"user\.id")
    events, _ = event_decoder(dotted, RULES)([record(activity() | {"user.id": "ann"})])
    assert events.user_id == ["ann"]


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("ms", 1_700_000_000_123, 1_700_000_000_123),
        ("ms", 1_700_000_000_122.6, 1_700_000_000_123),
        ("ms", 12, 12),
        ("s", 1_700_000_000, 1_700_000_000_000),
        ("s", 1_700_000_000.123, 1_700_000_000_123),
        ("us", 1_700_000_000_123_999, 1_700_000_000_123),
        ("iso", "2023-11-14T22:13:20.123Z", 1_700_000_000_123),
        ("iso", "2023-11-14T22:13:20.123999999Z", 1_700_000_000_123),
        ("iso", "2023-11-14T23:13:20+0100", 1_700_000_000_000),
        ("iso", "2023-11-14 22:13:20", 1_700_000_000_000),
        ("iso", "2023-11-14", 1_699_920_000_000),
        ("auto", "2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("auto", 1_700_000_000, 1_700_000_000_000),
        ("auto", 1_700_000_000.5, 1_700_000_000_500),
        ("auto", 1_700_000_000_123, 1_700_000_000_123),
        ("auto", 99_999_999_999, None),  # the year 5138: seconds
        ("auto", 100_000_000_000, 100_000_000_000),  # 1973: milliseconds
    ],
)
def test_the_unit_of_timestamps_is_a_setting(unit, value, expected):
    source = replace(PLAYER, timestamp=TimestampMapping(field="occurred-at", unit=unit))
    events, letters = event_decoder(source, RULES)([record(activity(at=value))])
    if expected is None:
        assert [letter.reason for letter in letters] == [Reason.FUTURE]
    else:
        assert (events.timestamp.tolist(), letters) == ([expected], [])


@pytest.mark.parametrize(
    ("unit", "value", "reason"),
    [
        ("ms", -1, Reason.BEFORE_EPOCH),
        ("ms", "1700000000123", Reason.WRONG_TYPE),
        ("ms", None, Reason.WRONG_TYPE),
        ("ms", True, Reason.WRONG_TYPE),
        ("ms", 2**63, Reason.FUTURE),
        ("s", 2**62, Reason.FUTURE),
        ("s", 1e300, Reason.FUTURE),
        ("s", NOW / 1000 + 3601, Reason.FUTURE),
        ("us", -1, Reason.BEFORE_EPOCH),
        ("iso", "yesterday", Reason.WRONG_TYPE),
        ("iso", "2023-13-01", Reason.WRONG_TYPE),
        ("iso", "1969-12-31T23:59:59Z", Reason.BEFORE_EPOCH),
        ("iso", "9999-12-31", Reason.FUTURE),
        ("iso", 1_700_000_000, Reason.WRONG_TYPE),
        ("auto", "", Reason.WRONG_TYPE),
        ("auto", -5, Reason.BEFORE_EPOCH),
    ],
)
def test_a_bad_timestamp_harms_nobody_else(unit, value, reason):
    source = replace(PLAYER, timestamp=TimestampMapping(field="occurred-at", unit=unit))
    good = activity(at=foreign_time(NOW - 5, unit))
    records = [
        record(one, offset=offset) for offset, one in enumerate([good, activity(at=value), good])
    ]
    events, letters = event_decoder(source, RULES)(records)
    assert events.offset.tolist() == [0, 2]
    assert events.timestamp.tolist() == [NOW - 5] * 2
    assert [(letter.reason, letter.source.offset) for letter in letters] == [(reason, 1)]
    assert letters[0].detail


@pytest.mark.parametrize(
    ("value", "key", "reason", "detail"),
    [
        (activity(item_type="video"), b"ann", Reason.UNKNOWN_TYPE, "one of 3, track, got 'video'"),
        (activity(meta={"action": "x"}), b"ann", Reason.UNKNOWN_KIND, "one of play, sub, got 'x'"),
        (activity(user=None), b"ann", Reason.WRONG_TYPE, "$.payload.user.id"),
        (activity(user=1.5), b"ann", Reason.WRONG_TYPE, "$.payload.user.id"),
        (activity() | {"payload": {}}, b"ann", Reason.MISSING_FIELD, "payload"),
        (activity() | {"payload": 3}, b"ann", Reason.WRONG_TYPE, "$.payload"),
        (activity(user=""), b"", Reason.BAD_ID, "1 to 256 bytes"),
        (activity(user="a\0b"), b"a\0b", Reason.BAD_ID, "NUL"),
        (activity(item="i" * 257), b"ann", Reason.BAD_ID, "1 to 256 bytes"),
        (activity(item="é" * 129), b"ann", Reason.BAD_ID, "1 to 256 bytes"),
        (activity(), None, Reason.MISSING_KEY, "b'ann'"),
        (activity(), b'"ann"', Reason.KEY_MISMATCH, "b'ann'"),
        (activity(user=7), b"\0\0\0\7", Reason.KEY_MISMATCH, "b'7'"),
        (b"\0\0\0\0\1x", b"ann", Reason.MALFORMED, "malformed"),
    ],
)
def test_a_bad_record_says_what_was_expected(value, key, reason, detail):
    records = [record(activity()), record(value, key, 1), record(activity(), offset=2)]
    events, letters = event_decoder(PLAYER, RULES)(records)
    assert events.offset.tolist() == [0, 2]
    assert [letter.reason for letter in letters] == [reason]
    assert detail in letters[0].detail


@pytest.mark.parametrize("key", [None, b"", b"bob", b"\xff"])
def test_keys_of_a_topic_that_is_not_keyed_by_user_are_not_looked_at(key):
    events, letters = event_decoder(UNKEYED, RULES)([record(activity(), key)])
    assert (events.user_id, letters) == (["ann"], [])


MAPPED_NATIVE = SourceSettings(
    topic="t", kind=ValueMapping(field="kind", values={kind: kind for kind in RULES.kinds})
)
"""Our own form, read by way of the mapping."""

ALLOWED_ELSEWHERE = (b'"user_id": 7', b".5")
"""Whole numbers are ids there, and timestamps may have fractions."""


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    # Without a value it is an erasure, and that only in our own topic.
    [
        bad
        for bad in BAD_EVENTS
        if bad[0] is not None and not any(part in bad[0] for part in ALLOWED_ELSEWHERE)
    ],
)
def test_the_rules_are_those_of_our_own_records(value, key, reason):
    neighbour = GOOD_AT_THE_LIMIT[0]
    records = [
        native_record(*one, offset=offset)
        for offset, one in enumerate([neighbour, (value, key), neighbour])
    ]
    events, letters = event_decoder(MAPPED_NATIVE, RULES)(records)
    assert events.offset.tolist() == [0, 2]
    assert [letter.reason for letter in letters] == [reason]


@pytest.mark.parametrize(("value", "key"), GOOD_AT_THE_LIMIT)
def test_what_is_good_at_the_limit_is_good_here(value, key):
    events, letters = event_decoder(MAPPED_NATIVE, RULES)([native_record(value, key)])
    assert (len(events), letters) == (1, [])


def test_our_own_form_is_read_by_our_own_decoder():
    decode = event_decoder(SourceSettings(topic="other.events"), RULES)
    assert getattr(decode, "func", None) is decode_events


names = st.text("abcxyz._- é", min_size=1, max_size=4).map(lambda name: name.replace(".", "\\."))
ids = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12
)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def sources(draw: st.DrawFn) -> SourceSettings:
    """Any shape: five fields at any depth under any names, with any unit and renamed values."""
    paths = draw(st.lists(st.lists(names, min_size=1, max_size=3), min_size=5, max_size=5))
    # A last name of its own for each, so that none lies on the way to another.
    user, item, kind, of_type, at = (
        ".".join([*path, f"leaf{number}"]) for number, path in enumerate(paths)
    )
    theirs = draw(st.lists(ids, min_size=len(RULES.kinds), max_size=len(RULES.kinds), unique=True))
    renamed = draw(st.booleans())
    return SourceSettings(
        topic="player.activity",
        keyed_by_user=draw(st.booleans()),
        user_id=user,
        item_id=item,
        item_type=ValueMapping(field=of_type, default=draw(st.just("") | ids)),
        kind=ValueMapping(
            field=kind,
            values=dict(zip(theirs, RULES.kinds, strict=True)) if renamed else {},
            default=draw(st.sampled_from(["", *RULES.kinds])),
        ),
        timestamp=TimestampMapping(
            field=at, unit=draw(st.sampled_from(["ms", "s", "us", "iso", "auto"]))
        ),
    )


events_of_today = st.builds(
    Event,
    user_id=ids,
    item_id=ids,
    item_type=ids,
    kind=st.sampled_from(RULES.kinds),
    # Where `auto` means milliseconds; before 1973 is another test's matter.
    timestamp=st.integers(100_000_000_000, NOW + RULES.future_ms),
)


def columns(batch: Any) -> dict[str, list[Any]]:
    names = ("user_id", "item_type", "item_id", "kind", "timestamp", "offset")
    return {name: list(getattr(batch, name)) for name in names}


@unhurried
@given(sources(), st.lists(events_of_today, max_size=6), st.lists(broken_records(), max_size=3))
def test_our_event_in_a_foreign_shape_maps_to_the_same_batch(source, events, broken):
    ours = [
        Record("t", 0, offset, NOW, event.key, encode(event)) for offset, event in enumerate(events)
    ]
    theirs = [
        Record(
            "t", 0, offset, NOW, event.key if source.keyed_by_user else None,
            json.dumps(foreign_record(source, event)).encode(),
        )
        for offset, event in enumerate(events)
    ]  # fmt: skip
    expected, _ = decode_events(ours, RULES)
    found, letters = event_decoder(source, RULES)(theirs)
    assert letters == []
    assert columns(found) == columns(expected)

    bad = [one._replace(offset=len(events) + n) for n, one in enumerate(broken)]
    beside, letters = event_decoder(source, RULES)([*theirs, *bad])
    assert columns(beside) == columns(expected)
    assert [letter.source.offset for letter in letters] == [one.offset for one in bad]


def test_no_records_are_an_empty_batch():
    assert len(event_decoder(PLAYER, RULES)([])[0]) == 0


def test_a_record_too_long_is_refused():
    _, letters = event_decoder(PLAYER, EventRules(max_bytes=10))([record(activity())])
    assert [letter.reason for letter in letters] == [Reason.TOO_LARGE]


def test_kinds_that_the_owner_does_not_want_are_ignored_and_others_still_refused():
    source = replace(PLAYER, ignore=("view", "9"))
    records = [
        record(activity(meta={"action": "view"}), offset=0),
        record(activity(meta={"action": 9}), offset=1),
        record({"meta": {"action": "view"}}, None, offset=2),
        record(activity(meta={"action": "buy"}), offset=3),
        record(b"{", offset=4),
        record(activity(), offset=5),
    ]
    events, letters = event_decoder(source, RULES)(records)
    assert (events.offset.tolist(), events.ignored) == ([5], 3)
    assert [(letter.source.offset, letter.reason) for letter in letters] == [
        (3, Reason.UNKNOWN_KIND), (4, Reason.MALFORMED)
    ]  # fmt: skip


def test_our_own_form_may_be_read_with_kinds_that_are_ignored():
    source = SourceSettings(topic="t", ignore=("view",))
    value = {"user_id": "ann", "item_id": "a", "item_type": "m", "kind": "view", "timestamp": NOW}
    events, letters = event_decoder(source, RULES)(
        [record(value), record(value | {"kind": "x"}, offset=1)]
    )
    assert (len(events), events.ignored, len(letters)) == (0, 1, 1)


def test_what_is_ignored_must_be_found_somewhere_and_wanted_nowhere():
    with pytest.raises(ValueError, match="ignore: play is also one of"):
        replace(PLAYER, ignore=("play",))
    with pytest.raises(ValueError, match="names no field"):
        SourceSettings(topic="t", kind=ValueMapping(default="stream"), ignore=("x",))
    source = SourceSettings(topic="t", ignore=("stream",))
    with pytest.raises(
        ValueError, match=r"sources\[0\].ignore: stream is also one of events.kinds"
    ):
        check_sources([source], ["stream"], TopicSettings())
