"""Events read from columns at once: what the general decoder makes of the same records."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from streams import EventRules, decode_events
from streams.canonical import _canonical_events
from streams.event_batch import EventBatch
from streams.record_columns import KafkaRecord, RecordColumns, columns_of
from streams.records import DeadLetter

NOW = 1_735_689_600_000
RULES = EventRules(text_types=("query",), ignore=("heartbeat",), max_bytes=1_000)
GOOD = {
    "user_id": "u1", "item_id": "i1", "item_type": "podcast", "kind": "stream", "timestamp": NOW,
}  # fmt: skip


def record(offset: int, key: bytes | None, value: bytes | None, time: int = NOW) -> KafkaRecord:
    return KafkaRecord("events", 0, offset, time, offset % 2, key, value, [("h", b"1")])


def rows(batch: EventBatch) -> dict[str, Any]:
    return {
        **{name: getattr(batch, name) for name in ("user_id", "item_type", "item_id", "kind")},
        **{name: getattr(batch, name).tolist() for name in ("timestamp", "offset")},
        "context": dict(batch.context),
        "erasures": batch.erasures,
        "ignored": batch.ignored,
        "dtypes": (batch.timestamp.dtype, batch.offset.dtype),
    }


def both(
    records: Sequence[KafkaRecord], rules: EventRules = RULES
) -> tuple[EventBatch, list[DeadLetter]]:
    """What both paths make of records, after comparing them."""
    general, letters = decode_events(records, rules)
    columns = columns_of("events", 0, records)
    found, refused = decode_events(columns, rules)
    assert rows(found) == rows(general)
    assert refused == letters
    # Rows of a batch that is a part of what was fetched.
    part, part_letters = decode_events(columns[1:], rules)
    general, letters = decode_events(records[1:], rules)
    assert rows(part) == rows(general)
    assert part_letters == letters
    return found, refused


IDS = [
    *("u1", "a", "x" * 256, "x" * 257, "", "n\u00e4", "a\0b", '"', "\\", "\x7f"),
    *("A  b ", "a\tb", "a\nb", "~", "\u00e4" * 200),
]
TIMES = [
    *(NOW - 10**10, NOW + RULES.future_ms, NOW + RULES.future_ms + 1),
    *(0, -1, 10**17, 10**18 - 1, 10**18, 2**63 - 1, 2**63, 10**30, 1.5, 1e12, "1"),
    *(99_999_999, 100_000_000, 4_199_999_999, 4_200_000_000),
]
ids: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(IDS),
    st.text(max_size=8),
    st.integers(-3, 10**20) | st.none() | st.booleans(),
)
times = st.sampled_from(TIMES)
#: One field of an event, and what it may be instead.
fields = st.one_of(
    st.tuples(st.sampled_from(["user_id", "item_id", "item_type", "kind"]), ids),
    st.tuples(st.just("item_type"), st.sampled_from(["query", "b"])),
    st.tuples(st.just("kind"), st.sampled_from(["follow", "heartbeat", "other", "str"])),
    st.tuples(st.just("timestamp"), times),
    st.tuples(st.just("more"), st.none() | st.lists(st.integers(), max_size=2)),
    st.tuples(st.just("pad"), st.sampled_from(["x" * 700, "x" * 1_000])),
    st.tuples(st.just("context"), st.sampled_from([None, {"surface": "home"}, {"surface": 1}])),
    st.tuples(st.just("erase"), st.booleans()),
    st.tuples(st.just("count_from"), st.sampled_from([{}, {"events/0": 3}, 5])),
)
#: Other ways to write the same bytes, most of them wrong.
EDITS = [
    (b'"kind"', b'"kind":"follow","kind"'),
    (b'"i1"', b'"i\\u0031"'),
    (b'"i1"', b'"i\\"1"'),
    (b'"i1"', b'"i\\1"'),
    (b'"i1"', b'"i\t1"'),
    (b"%d" % NOW, b"0%d" % NOW),
    (b"%d" % NOW, b"-%d" % NOW),
    (b"%d" % NOW, b"%d.0" % NOW),
    (b"%d" % NOW, b"%de0" % NOW),
    (b'"user_id"', b'"user_iD"'),
    (b"}", b",}"),
    (b"}", b""),
    (b"{", b"[{"),
    (b'"i1"', b"i1"),
]
edits = st.sampled_from(EDITS)


def written(row: dict[str, Any], draw: st.DrawFn) -> bytes:
    """JSON of an event, in any order, with any white space."""
    order = draw(st.permutations(sorted(row))) if draw(st.booleans()) else list(row)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r"), (",,", ":")]))
    text = json.dumps(
        {name: row[name] for name in order},
        separators=separators, ensure_ascii=draw(st.booleans()),
    )  # fmt: skip
    return text.encode("utf-8", "surrogatepass")


@st.composite
def one_record(draw: st.DrawFn) -> tuple[bytes | None, bytes | None, int]:
    """Key, value and log time of a record with an event that has one thing changed, or none."""
    row = dict(GOOD)
    change = draw(st.sampled_from(["field", "field", "field", "edit", "cut", "none", "name"]))
    if change == "field":
        name, value = draw(fields)
        row[name] = value
        if name == "item_type" and value == "query":
            row["item_id"] = draw(ids)  # texts have a normal form
    if change == "name":
        del row[draw(st.sampled_from(sorted(row)))]
    value = written(row, draw)
    if change == "edit":
        value = value.replace(*draw(edits), 1)
    if change == "cut":
        cut = draw(st.integers(0, len(value)))
        value = value[:cut] + draw(st.binary(max_size=2)) + value[cut + draw(st.integers(0, 2)) :]
    if draw(st.integers(0, 4)) == 0:
        value = draw(st.sampled_from([b" ", b"\n", b"\xef\xbb\xbf", b"x"])) + value
        value += draw(st.sampled_from([b"", b" ", b"\r\n", b"x", b"{}", b"\0"]))
    user = str(row.get("user_id", "u1")).encode("utf-8", "surrogatepass")
    other = draw(st.sampled_from([b"u2", b"u", b"u11", b"", None, b"\xff"]))
    time = draw(st.sampled_from([NOW, NOW, NOW, -1, 0, NOW + 1, 2**62]))
    return other if draw(st.integers(0, 5)) == 0 else user, value, time


@st.composite
def batches(draw: st.DrawFn) -> list[KafkaRecord]:
    found = []
    for offset in sorted(draw(st.sets(st.integers(0, 60), min_size=1, max_size=20))):
        key, value, time = draw(one_record())
        if draw(st.integers(0, 9)) == 0:
            value = draw(st.none() | st.binary(max_size=12))
        found.append(record(offset, key, value, time))
    return found


@given(batches())
@example([record(0, b"u1", json.dumps(GOOD).encode()), record(1, None, b"x" * 1_001)])
def test_both_paths_find_the_same_events_erasures_and_faults(records: list[KafkaRecord]) -> None:
    both(records)


def test_each_record_that_is_not_usual_is_read_as_by_the_general_decoder() -> None:
    """One by one what the property draws from, beside records that are good."""
    rows = [
        *(
            {**GOOD, name: odd}
            for name in ("user_id", "item_id", "item_type", "kind")
            for odd in IDS
        ),
        *({**GOOD, "item_type": "query", "item_id": odd} for odd in IDS),
        *({**GOOD, "kind": kind} for kind in ("follow", "heartbeat", "other", "str")),
        *({**GOOD, "timestamp": odd} for odd in TIMES),
        *({key: GOOD[key] for key in GOOD if key != name} for name in GOOD),
        {**GOOD, "item_id": "x" * 256, "pad": "x" * 700},
    ]
    values = [json.dumps(row, ensure_ascii=odd).encode() for row in rows for odd in (True, False)]
    good = json.dumps(GOOD).encode()
    values += [good.replace(*edit, 1) for edit in EDITS]
    values += [good.replace(b"}", b" " * pad + b"}") for pad in (800, 1_000)]
    values += [good.replace(b"i1", bytes([byte])) for byte in range(256)]
    records = []
    for value in values:
        for key in (b"u1", b"u2", b"u11", b"u", "n\u00e4".encode(), None):
            records.append(record(len(records), key, value))
        for time in (-1, 0, 2**62):
            records.append(record(len(records), b"u1", value, time))

    found, letters = both(records)

    assert len(found) > 500
    assert len({letter.reason for letter in letters}) >= 9


@given(st.permutations(sorted(GOOD)), st.sampled_from([(",", ":"), (", ", ": "), ("\n,", " :\t")]))
def test_a_good_event_is_read_from_the_columns_in_any_order(
    order: list[str], separators: tuple[str, str]
) -> None:
    """Else the fast path could refuse all, and be equal to the general one."""
    value = json.dumps({name: GOOD[name] for name in order}, separators=separators).encode()
    columns = columns_of("events", 0, [record(7, b"u1", value), record(9, b"u1", value)])

    found, accepted = _canonical_events(columns, RULES)

    assert accepted.all()
    assert found.timestamp.tolist() == [NOW, NOW]
    assert (found.user_id, found.item_id, found.item_type, found.kind) == (
        ["u1"] * 2, ["i1"] * 2, ["podcast"] * 2, ["stream"] * 2,
    )  # fmt: skip


def test_more_item_types_than_are_told_apart_at_once() -> None:
    records = [
        record(at, b"u1", json.dumps({**GOOD, "item_type": f"t{at % 70}"}).encode())
        for at in range(200)
    ]

    found, letters = both(records)

    assert len(found) == 200
    assert not letters


def test_an_empty_batch_of_columns() -> None:
    nothing = RecordColumns("events", 0, b"", np.zeros((0, 8), np.int64))

    found, letters = decode_events(nothing, RULES)

    assert len(found) == 0
    assert not letters
