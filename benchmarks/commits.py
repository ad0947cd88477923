"""When a consumer group committed what: read from the broker's own log, after the fact.

A job is not asked how far it is: whoever asks often enough to be exact disturbs what he measures.
"""

import asyncio
import struct
from dataclasses import dataclass

from streams import KafkaSettings
from streams.broadcast import Broadcast

__all__ = ["Commit", "group_commits"]

OFFSETS_TOPIC = "__consumer_offsets"
_OFFSET_COMMIT = (0, 1)
"""Versions of a key that name an offset; others name a group."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A group's next offset in a partition, and the time (ms UTC) at which the broker got it."""

    at_ms: int
    partition: int
    offset: int


async def group_commits(kafka: KafkaSettings, group: str, topic: str) -> list[Commit]:
    """Return all commits of a group on a topic, oldest first."""
    found: list[Commit] = []
    everything = Broadcast(kafka=kafka, topic=OFFSETS_TOPIC)

    async def read() -> None:
        async for records in everything:
            for record in records:
                place = _place(record.key)
                if record.value and place and place[:2] == (group, topic):
                    (offset,) = struct.unpack_from(">q", record.value, 2)
                    found.append(Commit(at_ms=record.timestamp, partition=place[2], offset=offset))

    reading = asyncio.ensure_future(read())
    caught_up = asyncio.ensure_future(everything.caught_up.wait())
    done, _ = await asyncio.wait({reading, caught_up}, return_when=asyncio.FIRST_COMPLETED)
    for task in (reading, caught_up):
        task.cancel()
    await asyncio.gather(reading, caught_up, return_exceptions=True)
    if reading in done:
        reading.result()
    return sorted(found, key=lambda commit: commit.at_ms)


def _place(key: bytes | None) -> tuple[str, str, int] | None:
    """Group, topic and partition that a record of the offsets topic is about."""
    if key is None:
        return None
    (version,) = struct.unpack_from(">h", key)
    if version not in _OFFSET_COMMIT:
        return None
    names, at = [], 2
    for _ in range(2):
        (length,) = struct.unpack_from(">h", key, at)
        names.append(key[at + 2 : at + 2 + length].decode())
        at += 2 + length
    (partition,) = struct.unpack_from(">i", key, at)
    return names[0], names[1], partition
