"""Checks how records of the configured sources map, before a worker runs."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from segue.settings import Settings
from streams import (
    DeadLetter,
    EventBatch,
    Log,
    LogRecord,
    SourceError,
    SourceSettings,
    end_offsets,
    event_decoder,
    producer_timed,
    read_from,
    topic_faults,
)

__all__ = ["MappedRecord", "SourceCheck", "check_sources_now", "newest_records"]


@dataclass(frozen=True, kw_only=True)
class MappedRecord:
    """One record: its event, or the reason why it is refused.

    reason, detail: as in a dead letter; empty for an event. payload: the start of a refused value.
    timestamp: ms UTC; when: the same as text.
    """

    partition: int
    offset: int
    user_id: str = ""
    item_type: str = ""
    item_id: str = ""
    kind: str = ""
    timestamp: int = 0
    when: str = ""
    reason: str = ""
    detail: str = ""
    payload: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceCheck:
    """Result for one source. fault: a fault of the complete source, or empty.

    create_time: whether the topic keeps producer timestamps.
    """

    topic: str
    keyed_by_user: bool
    fault: str
    create_time: bool
    records: list[MappedRecord]

    @property
    def good(self) -> bool:
        """Whether the source can be read and all checked records are events."""
        return not self.fault and not any(record.reason for record in self.records)

    def as_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {"of": "events", **asdict(self), "good": self.good}


async def check_sources_now(settings: Settings, limit: int) -> list[SourceCheck]:
    """Read the newest records of each source, `limit` at most, and map them. Raises AdminError."""
    faults = await asyncio.to_thread(
        topic_faults, settings.kafka, settings.sources, settings.topics.partitions
    )
    create_time = await asyncio.to_thread(
        producer_timed, settings.kafka, [source.topic for source in settings.sources]
    )
    return [
        await _check(
            settings, source, limit, faults.get(source.topic, ""), source.topic in create_time
        )
        for source in settings.sources
    ]


async def _check(
    settings: Settings, source: SourceSettings, limit: int, fault: str, create_time: bool
) -> SourceCheck:
    records: list[MappedRecord] = []
    if not fault:
        try:
            records = await _newest(settings, source, limit)
        except SourceError as error:
            fault = str(error)
    return SourceCheck(
        topic=source.topic, keyed_by_user=source.keyed_by_user, fault=fault,
        create_time=create_time, records=records,
    )  # fmt: skip


async def _newest(settings: Settings, source: SourceSettings, limit: int) -> list[MappedRecord]:
    decode = event_decoder(source, settings.events)
    records = await newest_records(settings.kafka, source.topic, limit)
    found: list[MappedRecord] = []
    for partition in sorted({record.partition for record in records}):
        events, letters = decode([r for r in records if r.partition == partition])
        found += _mapped(partition, events, letters)
    return found


async def newest_records(log: Log, topic: str, limit: int) -> list[LogRecord]:
    """Return the newest records of a topic by log time, `limit` at most. Raises AdminError."""
    ends = (await asyncio.to_thread(end_offsets, log, [topic]))[topic]
    first = {partition: max(0, end - limit) for partition, end in ends.items()}
    records = await read_from(log, topic, first)
    return sorted(records, key=lambda record: record.timestamp)[-limit:]


def _mapped(
    partition: int, events: EventBatch, letters: Sequence[DeadLetter]
) -> list[MappedRecord]:
    rows = [
        MappedRecord(
            partition=partition,
            offset=offset,
            user_id=events.user_id[row],
            item_type=events.item_type[row],
            item_id=events.item_id[row],
            kind=events.kind[row],
            timestamp=timestamp,
            when=_text(timestamp),
        )
        for row, (offset, timestamp) in enumerate(
            zip(events.offset.tolist(), events.timestamp.tolist(), strict=True)
        )
    ]
    rows += [
        MappedRecord(
            partition=partition,
            offset=letter.source.offset,
            reason=letter.reason.value,
            detail=letter.detail,
            payload=letter.payload,
        )
        for letter in letters
    ]
    return sorted(rows, key=lambda row: row.offset)


def _text(timestamp_ms: int) -> str:
    try:
        at = datetime.fromtimestamp(timestamp_ms / 1000, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return f"{timestamp_ms} ms"  # beyond the calendar
    return at.isoformat(" ", "milliseconds")
