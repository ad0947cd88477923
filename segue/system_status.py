"""The state of a running system, read from Kafka and the artifact store."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.bundles.announcements import announcement_of
from segue.settings import Settings
from state import Checkpoints
from streams import end_offsets, group_lag, group_notes, read_from, read_in_place, rekeyed
from streams.admin import partition_counts
from streams.log_record import now_ms
from streams.source_topics import NO_TOPIC

__all__ = ["system_status"]

#: Offsets before the applied one among which the last applied record is searched.
AGE_RECORDS = 16


async def system_status(settings: Settings) -> dict[str, Any]:
    """Lag, ages, checkpoints and generations, as JSON values. Raises AdminError."""
    topics, now = settings.topics, now_ms()
    ends = (await asyncio.to_thread(end_offsets, settings.kafka, [topics.events]))[topics.events]
    lag = (
        await asyncio.to_thread(group_lag, settings.kafka, settings.worker.group, [topics.events])
    )[topics.events]
    checkpoints = Checkpoints(settings.store())
    partitions = []
    noted = _noted_counts(
        await asyncio.to_thread(group_notes, settings.kafka, settings.worker.group)
    )
    records = {"applied": 0, "refused": 0}
    applied = {p: ends[p] - lag.get(p, ends[p]) for p in ends}
    ages = await _ages(settings, topics.events, applied, now)
    for partition in sorted(ends):
        names = checkpoints.names(partition)
        manifest = checkpoints.manifest(partition, names[-1]) if names else None
        counts = noted.get(partition) or (manifest.counts if manifest else {})
        for name in records:
            records[name] += counts.get(name, 0)
        partitions.append(
            {
                "partition": partition,
                "end_offset": ends[partition],
                "lag": lag.get(partition, 0),
                "last_applied_age_s": ages.get(partition),
                "checkpoint_age_s": (now - manifest.created_at) / 1000 if manifest else None,
                "checkpoint_bytes": manifest.bytes if manifest else 0,
                "checkpoint_positions": manifest.positions if manifest else {},
                "missing": [
                    {"topic": gap.topic, "first": gap.first, "end": gap.end}
                    for gap in (manifest.missing if manifest else ())
                ],
            }
        )
    models = {}
    for record in await read_from(settings.kafka, topics.models):
        if (found := announcement_of(record)) is not None:
            models[found.key.decode()] = {
                "generation": found.generation,
                "name": found.name,
                "age_s": (now - found.created_at) / 1000,
                "metrics": found.metrics,
            }
    return {
        "kafka": settings.kafka.bootstrap_servers,
        "partitions": partitions,
        "records": records,
        "models": models,
        "sources": await asyncio.to_thread(_sources, settings),
    }


def _noted_counts(notes: Mapping[tuple[str, int], str]) -> dict[int, dict[str, int]]:
    """Counts of records by partition at the workers' last commits.

    Every topic of a partition has commit metadata; the greatest counts are the latest. Workers of
    earlier versions write empty metadata.
    """
    found: dict[int, dict[str, int]] = {}
    for (_, partition), note in notes.items():
        try:
            counts = msgspec.json.decode(note, type=dict[str, int])
        except msgspec.DecodeError:
            continue
        if _records(counts) > _records(found.get(partition, {})):
            found[partition] = counts
    return found


def _records(counts: Mapping[str, int]) -> int:
    return counts.get("applied", 0) + counts.get("refused", 0)


def _sources(settings: Settings) -> list[dict[str, Any]]:
    """Number of records of each source that are not read yet; `fault` says why it is unknown.

    No group reads topics of items: of these, only the missing ones are named.
    """
    items = [source.topic for source in settings.item_sources]
    of_users = [source.topic for source in settings.personal_sources]
    found = partition_counts(settings.kafka, of_users + items)
    readers = (
        (settings.worker.group, read_in_place(settings.sources)),
        (settings.rekey.group, rekeyed(settings.personal_sources)),
    )
    rows: list[dict[str, Any]] = []
    for group, sources in readers:
        names = [source.topic for source in sources]
        there = [name for name in names if name in found]
        lags = group_lag(settings.kafka, group, there) if there else {}
        rows += [
            {
                "topic": name,
                "group": group,
                "lag": sum(lags[name].values()) if name in lags else None,
                "fault": "" if name in lags else NO_TOPIC,
            }
            for name in names
        ]
    return rows + [
        {"topic": name, "group": "every process", "lag": None, "fault": NO_TOPIC}
        for name in items
        if name not in found
    ]


async def _ages(
    settings: Settings, topic: str, applied: dict[int, int], now: int
) -> dict[int, float]:
    """Seconds since the log appended the last applied record of each partition."""
    ages: dict[int, float] = {}
    # Not the last offset alone: it may be that of a transaction's marker, which is not read.
    wanted = {
        TopicPartition(topic, p): max(offset - AGE_RECORDS, 0)
        for p, offset in applied.items()
        if offset > 0
    }
    if not wanted:
        return ages
    async with AIOKafkaConsumer(
        enable_auto_commit=False, **settings.kafka.for_consumer()
    ) as consumer:
        for tp, offset in wanted.items():
            consumer.assign([tp])
            consumer.seek(tp, offset)
            batches = await consumer.getmany(tp, timeout_ms=5_000, max_records=AGE_RECORDS)
            for record in batches.get(tp, []):
                if record.offset < applied[tp.partition]:
                    ages[tp.partition] = max(0.0, (now - record.timestamp) / 1000)
    return ages
