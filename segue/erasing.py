"""Erase a user: write the erasure records and wait for the receipt."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.outputs import EmbeddedOutputs
from segue.roles import make_worker
from segue.settings import Settings
from streams import (
    EmbeddedLog,
    LogRecord,
    Receipt,
    Source,
    end_offsets,
    erasure_value,
    following,
    readable,
    require_broker,
)
from streams.log_record import now_ms

__all__ = ["erase_user"]

#: Announcements that are read at most; compaction leaves two.
MODELS = 1_000_000
#: The worker of the embedded log, whose state is brought up to date here.
EMBEDDED_WORKER = "worker-1"


async def erase_user(
    settings: Settings, user: str, wait_s: float, log: EmbeddedLog | None = None
) -> dict[str, Any]:
    """Write a user's erasure and wait for its receipt; returns the result as JSON values.

    log: the embedded log, whose records are applied here because no other process can; default
         Kafka, where a worker must run. `receipt` is None if none arrives in time.
    Raises AdminError, KafkaError.
    """
    receipts = settings.topics.receipts
    if log is None:
        ends = (await asyncio.to_thread(end_offsets, settings.kafka, [receipts]))[receipts]
        value = await asyncio.to_thread(
            erasure_value, settings.kafka, user, settings.personal_sources
        )
        attributes, events = await _write(settings, user, value)

        async with following(settings.kafka, receipts, ends) as poll:
            found = await _receipt(poll, events, wait_s)
    else:
        ends = end_offsets(log, [receipts])[receipts]
        value = erasure_value(log, user, settings.personal_sources)
        attributes, events = (
            Source(topic=topic, partition=partition, offset=offset)
            for topic, what in _records(settings, value)
            for partition, offset in [log.append(topic, user.encode(), what)]
        )
        await _apply(settings, log)

        async def read() -> list[LogRecord]:
            return [r for p, at in ends.items() for r in log.read(receipts, p, at)]

        found = await _receipt(read, events, 0.0)
    return {
        "user_id": user,
        "events": _place(events),
        "users": _place(attributes),
        "receipt": found and _shown(found),
    }


def _records(settings: Settings, value: bytes | None) -> list[tuple[str, bytes | None]]:
    """Topics and values of both records, attributes first: neither exists after the receipt."""
    return [(settings.topics.users, None), (settings.topics.events, value)]


async def _write(settings: Settings, user: str, value: bytes | None) -> tuple[Source, Source]:
    """Write both records to Kafka."""
    places = []
    await asyncio.to_thread(require_broker, settings.kafka)
    async with AIOKafkaProducer(
        **settings.kafka.for_aiokafka(), acks="all", enable_idempotence=True
    ) as producer:
        for topic, what in _records(settings, value):
            placed = await producer.send_and_wait(topic, key=user.encode(), value=what)
            places.append(Source(topic=topic, partition=placed.partition, offset=placed.offset))
    attributes, events = places
    return attributes, events


async def _receipt(
    read: Callable[[], Awaitable[list[LogRecord]]], source: Source, wait_s: float
) -> Receipt | None:
    """Read until a record's receipt arrives; None if it does not in time."""
    deadline = time.monotonic() + wait_s
    while True:
        for record, receipt in readable(Receipt, await read()):
            if record.key == source.place:
                return receipt
        if time.monotonic() >= deadline:
            return None


async def _apply(settings: Settings, log: EmbeddedLog) -> None:
    """Apply the records of the embedded log with its worker, and write a checkpoint."""
    topics = settings.topics
    worker = make_worker(settings, EMBEDDED_WORKER, EmbeddedOutputs(log), now_ms, log)
    keyed = [(topic, number) for topic in worker.topics for number in range(topics.partitions)]
    try:
        await worker.assigned(keyed)
        # Examples are written once there is a graph; no caller waits for answers.
        await worker.models.announced(
            [r for r in log.read(topics.models, 0, 0, MODELS) if r.key == b"static"]
        )
        for topic, number in keyed:
            at = worker.partitions.position(topic, number) or 0
            while records := log.read(topic, number, at, settings.worker.batch):
                await worker.handle(records)
                at = records[-1].offset + 1
        # Also where an erasure was just applied, which a revocation leaves to the next worker.
        await worker.checkpoint()
        await worker.revoked(keyed)
        await worker.uploaded()
    finally:
        worker.close()


def _place(source: Source) -> dict[str, Any]:
    return {"topic": source.topic, "partition": source.partition, "offset": source.offset}


def _shown(receipt: Receipt) -> dict[str, Any]:
    return {
        "user_sha256": receipt.user_sha256,
        "position": receipt.position,
        "held": receipt.held,
        "checkpoints": [
            {
                "name": checkpoint.name,
                "pruned_by": datetime.fromtimestamp(checkpoint.pruned_by / 1000, UTC).isoformat(
                    " ", "seconds"
                ),
            }
            for checkpoint in receipt.checkpoints
        ],
        "count_from": receipt.count_from,
        "copies": {copy.place: copy.days for copy in receipt.copies},
    }
