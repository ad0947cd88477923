"""Refuses events ahead of the system clock on topics with producer timestamps."""

from collections.abc import Sequence

import numpy as np

from state import Window
from streams import (
    DeadLetter,
    EventBatch,
    EventRules,
    LogRecord,
    Reason,
    dead_letter,
    without_rows,
)
from streams.log_record import CREATE_TIME

__all__ = ["refuse_ahead"]


def refuse_ahead(
    events: EventBatch,
    records: Sequence[LogRecord],
    *,
    watermark: int,
    window: Window,
    rules: EventRules,
    now_ms: int,
) -> tuple[EventBatch, list[DeadLetter]]:
    """Return the events without those that would move the window into the future, and letters.

    Where the broker sets a record's time (LogAppendTime), the decoder has held the event against
    it. Where the producer does (CreateTime), or the record has none, an event is refused if both
    hold: it lies after our clock, and more than `rules.jump_ms` after the latest event before it
    (`watermark`: the bucket of that one). So one wrong record moves the window by `jump_ms` at
    most, many cannot move it further than `jump_ms` before our clock, and what our clock has
    passed is never refused, however long nothing came before it.

    The decision does not depend on how the records are cut into batches. A replay decides alike
    as long as its own clock has not passed the wrong time.
    """
    rows = np.flatnonzero(events.timestamp - now_ms > rules.future_ms)
    if not len(rows):
        return events, []
    by_offset = {record.offset: record for record in records}
    doubtful = {
        row: record
        for row in rows.tolist()
        if (record := by_offset[int(events.offset[row])]).timestamp_type == CREATE_TIME
        or record.timestamp < 0
    }
    bucket = events.timestamp // window.bucket_ms
    trusted = bucket.copy()
    trusted[list(doubtful)] = -1
    latest = np.maximum.accumulate(trusted)
    reached = (now_ms + rules.future_ms) // window.bucket_ms
    jump = -(-rules.jump_ms // window.bucket_ms)
    refused: dict[int, DeadLetter] = {}
    for row, record in doubtful.items():
        watermark = max(watermark, int(latest[row]))
        if bucket[row] > max(reached, min(watermark, reached) + jump):
            refused[row] = dead_letter(record, Reason.FUTURE, _ahead(record, events, row, now_ms))
        else:
            watermark = max(watermark, int(bucket[row]))
    # A record of impressions has several rows, and is one dead letter.
    letters = {letter.source.offset: letter for letter in refused.values()}
    return (without_rows(events, refused) if refused else events), list(letters.values())


def _ahead(record: LogRecord, events: EventBatch, row: int, now_ms: int) -> str:
    ahead = int(events.timestamp[row]) - now_ms
    return (
        f"timestamp {events.timestamp[row]} lies {ahead} ms after this system's clock, "
        f"and the log time of the record ({record.timestamp}) is set by its producer (CreateTime)"
    )
