"""Times in seconds, records without a log time, and what the codec makes of both."""

import json

import pytest

from evaluation.dataset import LIKELY_SECONDS as OF_FILES
from streams import (
    EventRules,
    Item,
    Reason,
    Record,
    SourceSettings,
    TimestampMapping,
    ValueMapping,
    decode_events,
    decode_items,
    encode,
    event_decoder,
)
from streams.dead_letters import LIKELY_SECONDS, seconds_fault
from streams.log_record import INT64_MAX

NOW = 1_760_000_000_000
RULES = EventRules(text_types=("query",))


def event(timestamp: int, logged: int = NOW, item_type: str = "podcast", item: str = "i") -> Record:
    value = {
        "user_id": "ann", "item_id": item, "item_type": item_type, "kind": "stream",
        "timestamp": timestamp,
    }  # fmt: skip
    return Record("events", 0, 0, logged, b"ann", json.dumps(value).encode())


def source(unit: str) -> SourceSettings:
    return SourceSettings(
        topic="events",
        item_type=ValueMapping(default="podcast"),
        timestamp=TimestampMapping(unit=unit),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("decode", [None, "ms"])
def test_an_event_in_seconds_is_refused_with_a_message_that_says_so(decode: str | None) -> None:
    decoder = (
        (lambda records: decode_events(records, RULES))
        if decode is None
        else event_decoder(source("ms"), RULES)
    )
    good, bad = event(NOW), event(NOW // 1000)
    events, letters = decoder([good, bad._replace(offset=1)])
    assert events.timestamp.tolist() == [NOW]
    [letter] = letters
    assert letter.source.offset == 1
    assert letter.reason is Reason.WRONG_TYPE
    assert "seconds" in letter.detail
    assert "milliseconds" in letter.detail
    assert "2025-10-09" in letter.detail


@pytest.mark.parametrize("unit", ["s", "auto"])
def test_a_source_that_is_said_to_be_in_seconds_is_read(unit: str) -> None:
    events, letters = event_decoder(source(unit), RULES)([event(NOW // 1000)])
    assert (events.timestamp.tolist(), letters) == ([NOW], [])


def test_early_times_of_a_log_as_early_are_no_seconds() -> None:
    """A log whose own clock says February 1970: simulations and tests have such."""
    early = 2_000_000_000
    events, letters = decode_events([event(early, logged=early)], RULES)
    assert (len(events), letters) == (1, [])


@pytest.mark.parametrize("published", [1_546_300_800, 1_760_000_000])
def test_a_published_at_in_seconds_is_refused_with_a_message_that_says_so(published: int) -> None:
    item = Item(item_id="i", item_type="podcast", title="t", published_at=published)
    batch, [letter] = decode_items([Record("catalogue", 0, 0, NOW, item.key, encode(item))])
    assert len(batch) == 0
    assert letter.reason is Reason.WRONG_TYPE
    assert "seconds" in letter.detail


@pytest.mark.parametrize("published", [-1, 0, 31_536_000_000, NOW, -2_208_988_800_000])
def test_a_published_at_in_milliseconds_is_accepted(published: int) -> None:
    item = Item(item_id="i", item_type="podcast", title="t", published_at=published)
    batch, letters = decode_items([Record("catalogue", 0, 0, NOW, item.key, encode(item))])
    assert (len(batch), letters) == (1, [])


def test_one_magnitude_for_topics_and_files() -> None:
    assert LIKELY_SECONDS == OF_FILES
    assert seconds_fault(LIKELY_SECONDS.start - 1) is None
    assert seconds_fault(LIKELY_SECONDS.stop) is None


@pytest.mark.parametrize("mapped", [False, True])
def test_an_event_of_a_record_without_a_log_time_has_its_own(mapped: bool) -> None:
    decoder = event_decoder(source("ms"), RULES) if mapped else None
    records = [event(NOW, logged=-1), event(NOW // 1000, logged=-1)._replace(offset=1)]
    events, letters = decoder(records) if decoder else decode_events(records, RULES)
    assert events.timestamp.tolist() == [NOW]
    assert [letter.reason for letter in letters] == [Reason.WRONG_TYPE]


def test_an_erasure_without_a_log_time_takes_attributes_of_every_time() -> None:
    events, letters = decode_events([Record("events", 0, 0, -1, b"ann", None)], RULES)
    assert letters == []
    assert [erasure.logged_at for erasure in events.erasures] == [INT64_MAX]


@pytest.mark.parametrize(("ahead", "accepted"), [(0, True), (1, False)])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_text_event_at_the_future_limit(ahead: int, accepted: bool, mapped: bool) -> None:
    """Its id takes another way through the codec than those of catalogue items."""
    timestamp = NOW + RULES.future_ms + ahead
    record = event(timestamp, item_type="query", item="  Red   WINE ")
    decoder = (
        event_decoder(SourceSettings(topic="events", user_id="user_id", keyed_by_user=False), RULES)
        if mapped
        else lambda records: decode_events(records, RULES)
    )
    events, letters = decoder([event(NOW), record._replace(offset=1)])
    assert events.timestamp.tolist() == [NOW, timestamp][: 1 + accepted]
    assert events.item_id == ["i", "red wine"][: 1 + accepted]
    assert [letter.reason for letter in letters] == [Reason.FUTURE][accepted:]
