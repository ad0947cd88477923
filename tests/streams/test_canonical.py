"""Events read from columns at once: what the general decoder makes of the same records."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from streams import EventRules, decode_events
from streams.canonical import _usual_events
from streams.codec import EventBatch
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


ids = st.one_of(
    st.sampled_from(
        ["u1", "a", "x" * 256, "x" * 257, "", "n\u00e4", "a\0b", '"', "\\", "\x7f", "~"]
    ),
    st.text(max_size=8),
    st.integers(-3, 10**20),
    st.none(),
    st.booleans(),
)
times = st.one_of(
    st.integers(NOW - 10**10, NOW + 2 * RULES.future_ms),
    st.sampled_from([0, -1, 10**17, 10**18 - 1, 10**18, 2**63 - 1, 2**63, 10**30, 1.5, 1e12, "1"]),
    st.integers(99_999_998, 100_000_002) | st.integers(4_199_999_998, 4_200_000_002),
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "user_id": ids,
        "item_id": ids,
        "item_type": st.sampled_from(["podcast", "query", "b", ""]) | ids,
        "kind": st.sampled_from(["stream", "follow", "heartbeat", "other", "str"]) | ids,
        "timestamp": times,
        "more": st.none() | st.lists(st.integers(), max_size=2),
        "context": st.sampled_from([None, {"surface": "home"}, {"surface": 1}]),
        "erase": st.booleans(),
        "count_from": st.sampled_from([{}, {"events/0": 3}, 5]),
    },
)


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """JSON of an event that is nearly good: fields changed, in any order, written in any way."""
    row = {**GOOD, **(draw(fields) if draw(st.booleans()) else {})}
    for name in draw(st.lists(st.sampled_from(sorted(row)), max_size=1)):
        del row[name]
    order = draw(st.permutations(sorted(row))) if draw(st.booleans()) else list(row)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r"), (",,", ":")]))
    text = json.dumps(
        {name: row[name] for name in order},
        separators=separators, ensure_ascii=draw(st.booleans()),
    )  # fmt: skip
    if draw(st.booleans()) and draw(st.booleans()):
        text = text.replace('"kind"', '"kind":"follow","kind"', 1)  # the name twice
    value = text.encode("utf-8", "surrogatepass")
    value = draw(st.sampled_from([b"", b"", b" ", b"\n", b"\xef\xbb\xbf"])) + value
    value += draw(st.sampled_from([b"", b"", b" ", b"\r\n", b"x", b"{}", b"\0"]))
    if draw(st.booleans()) and draw(st.booleans()):
        cut = draw(st.integers(0, len(value)))
        value = value[:cut] + draw(st.binary(max_size=2)) + value[cut + draw(st.integers(0, 2)) :]
    return value


@st.composite
def batches(draw: st.DrawFn) -> list[KafkaRecord]:
    found = []
    for offset in draw(st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True)):
        value = draw(st.none() | values() | values() | values() | st.binary(max_size=12))
        key = draw(st.sampled_from([b"u1", b"u1", b"u1", b"a", b"n\xc3\xa4", b"", None, b"\xff"]))
        time = draw(st.sampled_from([NOW, NOW, -1, 0, NOW + 1, 2**62]))
        found.append(record(offset, key, value, time))
    return sorted(found, key=lambda one: one.offset)


@given(batches())
@example([record(0, b"u1", json.dumps(GOOD).encode()), record(1, None, b"x" * 1_001)])
def test_both_paths_find_the_same_events_erasures_and_faults(records: list[KafkaRecord]) -> None:
    both(records)


@given(st.permutations(sorted(GOOD)), st.sampled_from([(",", ":"), (", ", ": "), ("\n,", " :\t")]))
def test_a_good_event_is_read_from_the_columns_in_any_order(
    order: list[str], separators: tuple[str, str]
) -> None:
    """Else the fast path could refuse all, and be equal to the general one."""
    value = json.dumps({name: GOOD[name] for name in order}, separators=separators).encode()
    columns = columns_of("events", 0, [record(7, b"u1", value), record(9, b"u1", value)])

    found, accepted = _usual_events(columns, RULES)

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
