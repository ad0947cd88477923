"""Texts as ids: one item however it is written, and never a letter too long."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams import (
    EventRules,
    Reason,
    Record,
    SourceSettings,
    TimestampMapping,
    ValueMapping,
    decode_events,
    event_decoder,
)
from streams.event_batch import normal_text

NOW = 1_760_000_000_000
RULES = EventRules(text_types=("query",))
SOURCE = SourceSettings(
    topic="searches", keyed_by_user=False, user_id="who", item_id="typed",
    item_type=ValueMapping(default="query"), kind=ValueMapping(default="stream"),
    timestamp=TimestampMapping(field="at"),
)  # fmt: skip


def event(item_id: str, item_type: str = "query", offset: int = 0) -> Record:
    value = {
        "user_id": "ann", "item_id": item_id, "item_type": item_type, "kind": "stream",
        "timestamp": NOW,
    }  # fmt: skip
    return Record("segue.events", 0, offset, NOW, b"ann", json.dumps(value).encode())


def search(typed: str) -> Record:
    value = {"who": "ann", "typed": typed, "at": NOW}
    return Record("searches", 0, 0, NOW, None, json.dumps(value).encode())


@given(st.text())
@example("\u1e9e \u0345\u0391 \ufdfa")
@example("A\u2003\tB\n")
def test_the_normal_form_of_a_normal_form_is_itself(text: str) -> None:
    normal = normal_text(text)
    assert normal_text(normal) == normal
    assert normal_text(f" {text.upper().lower()} ") == normal_text(text.upper().lower())
    assert normal == " ".join(normal.split())


@pytest.mark.parametrize(
    ("typed", "item"),
    [
        (" Foo  Bar", "foo bar"),
        ("foo\tBAR\n", "foo bar"),
        ("STRASSE", "strasse"),
        ("Stra\u00dfe", "strasse"),
        ("\uff26\uff4f\uff4f \ufb01n", "foo fin"),
        ("cafe\u0301", "caf\u00e9"),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_a_text_is_one_item_however_it_is_written_on_our_topic_and_on_others(
    typed: str, item: str
) -> None:
    for decoder, record in (
        (lambda records: decode_events(records, RULES), event(typed)),
        (event_decoder(SOURCE, RULES), search(typed)),
    ):
        batch, letters = decoder([record])
        assert (batch.item_id, batch.item_type, letters) == ([item], ["query"], [])


def test_ids_of_other_types_stay_as_they_are() -> None:
    records = [event(" A B", item_type=t, offset=n) for n, t in enumerate(("podcast", "query"))]
    assert decode_events(records, RULES)[0].item_id == [" A B", "a b"]
    assert decode_events(records, EventRules())[0].item_id == [" A B", " A B"]


#: Empty once it is normal; longer than an id may be before; and after, though not before.
@pytest.mark.parametrize("typed", [" \t\u3000 ", "a" * 257, "\ufdfa" * 10])
def test_what_cannot_be_an_id_is_a_dead_letter_and_its_neighbours_are_none(typed: str) -> None:
    records = [event("before"), event(typed, offset=1), event("Behind", offset=2)]
    batch, letters = decode_events(records, RULES)
    assert batch.item_id == ["before", "behind"]
    assert [(letter.reason, letter.source.offset) for letter in letters] == [(Reason.BAD_ID, 1)]
    assert "1 to 256" in letters[0].detail or "length" in letters[0].detail
    _, letters = event_decoder(SOURCE, RULES)([search(typed)])
    assert [letter.reason for letter in letters] == [Reason.BAD_ID]


def test_a_batch_of_many_is_read_as_its_records_are_one_by_one() -> None:
    records = [event(f" Foo {n % 7}", ("query", "post")[n % 2], n) for n in range(100)]
    together = decode_events(records, RULES)[0].item_id
    assert together == [decode_events([record], RULES)[0].item_id[0] for record in records]
