"""What people ask of a running system, read from Kafka and the artifact store."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.bundles.announcements import announcement_of
from segue.roles import now_ms
from segue.settings import Settings
from segue.showing import history_rows
from state import Checkpoints, PartitionState, apply_in_order
from streams import (
    Item,
    LogRecord,
    Recommendation,
    Request,
    Source,
    decode,
    encode,
    end_offsets,
    event_decoders,
    group_lag,
    murmur2_partition,
    read_in_place,
    rekeyed,
)

__all__ = ["read_from", "system_status", "titles_of", "user_view"]

SHOWN_HISTORY = 20
ASK_AGAIN_S = 3.0


async def system_status(settings: Settings) -> dict[str, Any]:
    """Lag, ages, checkpoints and generations, as JSON values. Raises AdminError."""
    topics, now = settings.topics, now_ms()
    ends = (await asyncio.to_thread(end_offsets, settings.kafka, [topics.events]))[topics.events]
    lag = (
        await asyncio.to_thread(group_lag, settings.kafka, settings.worker.group, [topics.events])
    )[topics.events]
    checkpoints = Checkpoints(settings.store())
    partitions = []
    records = {"applied": 0, "refused": 0}
    applied = {p: ends[p] - lag.get(p, ends[p]) for p in ends}
    ages = await _ages(settings, topics.events, applied, now)
    for partition in sorted(ends):
        names = checkpoints.names(partition)
        manifest = checkpoints.manifest(partition, names[-1]) if names else None
        if manifest:
            for name, count in manifest.counts.items():
                records[name] += count
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
    for record in await read_from(settings, topics.models, {}):
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


def _sources(settings: Settings) -> list[dict[str, Any]]:
    """Records of each source that are still to be read."""
    readers = (
        (settings.worker.group, read_in_place(settings.sources)),
        (settings.rekey.group, rekeyed(settings.sources)),
    )
    return [
        {"topic": topic, "group": group, "lag": sum(lag.values())}
        for group, sources in readers
        if sources
        for topic, lag in group_lag(
            settings.kafka, group, [source.topic for source in sources]
        ).items()
    ]


async def user_view(settings: Settings, user: str, timeout: float) -> dict[str, Any]:
    """A user's history and current lists with titles, as JSON values."""
    titles, history = await _history(settings, user)
    lists, generation = await _ask(settings, user, timeout)
    return {
        "user_id": user,
        "history": history,
        "generation": generation,
        "lists": {
            name: [
                {
                    "item_type": item.item_type,
                    "item_id": item.item_id,
                    "title": titles.get((item.item_type, item.item_id), item.item_id),
                    "score": item.score,
                }
                for item in found.items
            ]
            for name, found in lists.items()
        },
    }


async def read_from(settings: Settings, topic: str, first: dict[int, int]) -> list[LogRecord]:
    """Records of a topic from given offsets (default the earliest) to the present end."""
    ends = (await asyncio.to_thread(end_offsets, settings.kafka, [topic]))[topic]
    wanted = {TopicPartition(topic, p): end for p, end in ends.items() if first.get(p, 0) < end}
    found: list[LogRecord] = []
    if not wanted:
        # Not in the block below: aiokafka 0.14 raises CancelledError out of `stop` when a consumer
        # is stopped before its first task has run.
        return found
    async with AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="earliest", **settings.kafka.for_aiokafka()
    ) as consumer:
        consumer.assign(list(wanted))
        for tp in wanted:
            if tp.partition in first:
                consumer.seek(tp, first[tp.partition])
            else:
                await consumer.seek_to_beginning(tp)
        while True:
            positions = [await consumer.position(tp) for tp in wanted]
            if all(at >= end for at, end in zip(positions, wanted.values(), strict=True)):
                return found
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found.extend(records)


def titles_of(records: Sequence[LogRecord]) -> dict[tuple[str, str], str]:
    """(type, id) -> title of the live entries of a catalogue topic."""
    titles = {}
    for record in records:
        if record.value is not None:
            item = decode(Item, record.value)
            titles[item.item_type, item.item_id] = item.title or item.item_id
    return titles


async def _ages(
    settings: Settings, topic: str, applied: dict[int, int], now: int
) -> dict[int, float]:
    """Seconds since the log took the last applied record of each partition."""
    ages: dict[int, float] = {}
    wanted = {TopicPartition(topic, p): offset - 1 for p, offset in applied.items() if offset > 0}
    if not wanted:
        return ages
    async with AIOKafkaConsumer(
        enable_auto_commit=False, **settings.kafka.for_aiokafka()
    ) as consumer:
        for tp, offset in wanted.items():
            consumer.assign([tp])
            consumer.seek(tp, offset)
            batches = await consumer.getmany(tp, timeout_ms=5_000, max_records=1)
            for record in batches.get(tp, []):
                ages[tp.partition] = max(0.0, (now - record.timestamp) / 1000)
    return ages


async def _history(
    settings: Settings, user: str
) -> tuple[dict[tuple[str, str], str], list[dict[str, Any]]]:
    """Titles of the catalogue, and the user's entries: checkpoint first, then the log's tail."""
    topics = settings.topics
    titles = titles_of(await read_from(settings, topics.catalogue, {}))
    partition = murmur2_partition(user.encode(), topics.partitions)
    with tempfile.TemporaryDirectory(prefix="segue-look-") as scratch:
        folder = Path(scratch) / "state"
        state = await asyncio.to_thread(
            Checkpoints(settings.store()).open_or_restore, folder, partition, settings.state
        )
        try:
            await _catch_up(settings, state, partition, user)
            entries = history_rows(state, user, lambda *name: titles.get(name), SHOWN_HISTORY)
        finally:
            state.close()
    return titles, entries


async def _catch_up(settings: Settings, state: PartitionState, partition: int, user: str) -> None:
    """Apply the tails of the events topics of one user to a restored state, as a worker does."""
    decoders = event_decoders(settings.topics.events, settings.sources, settings.events)
    ends = await asyncio.to_thread(end_offsets, settings.kafka, decoders)
    for topic, decode_events in decoders.items():
        position = state.position(topic) or 0
        first = {p: (position if p == partition else end) for p, end in ends[topic].items()}
        records = await read_from(settings, topic, first)
        mine = [r for r in records if r.partition == partition and r.key == user.encode()]
        if mine:
            events, _ = decode_events(mine)
            apply_in_order(state, topic, events, events.erasures, mine[-1].offset + 1)


async def _ask(
    settings: Settings, user: str, timeout: float
) -> tuple[dict[str, Recommendation], int | None]:
    """Send a request and collect its lists; nothing if no worker answers in time.

    The request is sent again now and then: a worker without a bundle answers nobody.
    """
    topics = settings.topics
    answers = (await asyncio.to_thread(end_offsets, settings.kafka, [topics.recommendations]))[
        topics.recommendations
    ]
    request = Request(user_id=user)
    placed: set[Source] = set()
    lists: dict[str, Recommendation] = {}
    deadline, asked_at = time.monotonic() + timeout, 0.0
    async with AIOKafkaProducer(**settings.kafka.for_aiokafka()) as producer:
        while time.monotonic() < deadline and not lists:
            if not placed or time.monotonic() - asked_at > ASK_AGAIN_S:
                sent = await producer.send_and_wait(
                    topics.requests, key=request.key, value=encode(request)
                )
                asked_at = time.monotonic()
                placed.add(
                    Source(topic=topics.requests, partition=sent.partition, offset=sent.offset)
                )
            for record in await read_from(settings, topics.recommendations, answers):
                if record.value is None:
                    continue
                found = decode(Recommendation, record.value)
                if found.source in placed:
                    lists[found.list] = found
    generation = next((found.generation for found in lists.values()), None)
    return lists, generation
