"""Erasing a user: the records that ask for it, and the receipt that says it is done."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.outputs import EmbeddedOutputs
from segue.looking import read_from
from segue.roles import make_worker, now_ms
from segue.settings import Settings
from streams import (
    EmbeddedLog,
    LogRecord,
    Receipt,
    Source,
    decode,
    end_offsets,
)

__all__ = ["erase_user"]

POLL_S = 0.2
#: Announcements that are read at most; compaction leaves two.
MODELS = 1_000_000
#: The worker of the embedded log, whose state is brought up to date here.
EMBEDDED_WORKER = "worker-1"


async def erase_user(
    settings: Settings, user: str, wait_s: float, log: EmbeddedLog | None = None
) -> dict[str, Any]:
    """Write a user's erasure and wait for its receipt; what came of it as JSON values.

    log: the embedded log, whose records are applied here, for no other process can; default Kafka,
    where a worker has to run. `receipt` is None if none came in time.
    Raises AdminError, KafkaError.
    """
    receipts = settings.topics.receipts
    if log is None:
        ends = (await asyncio.to_thread(end_offsets, settings.kafka, [receipts]))[receipts]
        attributes, events = await _write(settings, user)

        async def read() -> list[LogRecord]:
            return await read_from(settings, receipts, ends)

        found = await _receipt(read, events, wait_s)
    else:
        ends = end_offsets(log, [receipts])[receipts]
        attributes, events = (
            Source(topic=topic, partition=partition, offset=offset)
            for topic in (settings.topics.users, settings.topics.events)
            for partition, offset in [log.append(topic, user.encode(), None)]
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


async def _write(settings: Settings, user: str) -> tuple[Source, Source]:
    """Write both records to Kafka, attributes first: from the receipt on neither is there."""
    places = []
    async with AIOKafkaProducer(
        **settings.kafka.for_aiokafka(), acks="all", enable_idempotence=True
    ) as producer:
        for topic in (settings.topics.users, settings.topics.events):
            placed = await producer.send_and_wait(topic, key=user.encode(), value=None)
            places.append(Source(topic=topic, partition=placed.partition, offset=placed.offset))
    attributes, events = places
    return attributes, events


async def _receipt(
    read: Callable[[], Awaitable[list[LogRecord]]], source: Source, wait_s: float
) -> Receipt | None:
    deadline = time.monotonic() + wait_s
    while True:
        for record in await read():
            if record.key == source.place and record.value is not None:
                return decode(Receipt, record.value)
        if time.monotonic() >= deadline:
            return None
        await asyncio.sleep(POLL_S)


async def _apply(settings: Settings, log: EmbeddedLog) -> None:
    """Have the worker of the embedded log apply what is in it, and checkpoint that."""
    topics = settings.topics
    keyed = [
        (topic, number)
        for topic in (topics.users, topics.catalogue, topics.events)
        for number in range(topics.partitions)
    ]
    worker = make_worker(settings, EMBEDDED_WORKER, EmbeddedOutputs(log), now_ms)
    try:
        await worker.assigned(keyed)
        # Examples are written once there is a graph; answers nobody waits for.
        await worker.models.announced(
            [r for r in log.read(topics.models, 0, 0, MODELS) if r.key == b"static"]
        )
        for topic, number in keyed:
            at = worker.partitions.position(topic, number) or 0
            while records := log.read(topic, number, at, settings.worker.batch):
                await worker.handle(records)
                at = records[-1].offset + 1
        await worker.revoked(keyed)
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
    }
