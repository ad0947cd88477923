"""What people change through the API: a user is erased, a bundle is pinned. All by records."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer

from agents.announcing import described
from agents.bundle_names import channel_of
from console.following import read_whole
from console.replica import Replica
from state import CorruptArtifact
from streams import (
    EmbeddedLog,
    KafkaSettings,
    LogRecord,
    ModelAnnouncement,
    Receipt,
    Source,
    decode,
    encode,
)

__all__ = ["EmbeddedWriter", "KafkaWriter", "Operations", "UnknownBundle", "Writer"]

logger = logging.getLogger(__name__)

#: Newest receipts of each partition that are kept to be shown.
RECEIPTS = 1_000
#: Manifests of bundles that are remembered; a store keeps a handful.
MANIFESTS = 64


class UnknownBundle(LookupError):
    """No bundle of this name is in the artifact store."""


class Writer(Protocol):
    """Where records are written, one at a time."""

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Write a record; returns its place once it is safe."""

    async def close(self) -> None:
        """Let go of the connection."""


class EmbeddedWriter:
    """Writes to the embedded log."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Write to `log`."""
        self._log = log

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Append a record."""
        partition, offset = self._log.append(topic, key, value)
        return Source(topic=topic, partition=partition, offset=offset)

    async def close(self) -> None:
        """Leave the log to its owner."""


class KafkaWriter:
    """Writes to Kafka; connects with the first record, since most consoles never write."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect when needed."""
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Write a record and wait for its acknowledgement. Raises KafkaError."""
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._kafka.for_aiokafka(), acks="all", enable_idempotence=True
                )
                await producer.start()
                self._producer = producer
        placed = await self._producer.send_and_wait(topic, key=key, value=value)
        return Source(topic=topic, partition=placed.partition, offset=placed.offset)

    async def close(self) -> None:
        """Close the connection."""
        if self._producer is not None:
            await self._producer.stop()


class Operations:
    """Writes what people ask for, and knows what came of it."""

    def __init__(self, replica: Replica, writer: Writer, clock_ms: Callable[[], int]) -> None:
        """Write through `writer`; learn of receipts by `receipts`."""
        self._replica = replica
        self._writer = writer
        self._clock_ms = clock_ms
        self._receipts: OrderedDict[bytes, Receipt] = OrderedDict()
        self._manifests: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        """Follow the receipts for ever."""
        topic = self._replica.topics.receipts
        await read_whole(self._replica.log, topic, self.receipts_came, newest=RECEIPTS)

    async def receipts_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the receipts topic."""
        for record in records:
            if record.value is not None and record.key is not None:
                self._receipts[record.key] = decode(Receipt, record.value)
        while len(self._receipts) > RECEIPTS * self._replica.topics.partitions:
            self._receipts.popitem(last=False)

    async def erase(self, user_id: str, by: str) -> tuple[Source, Source]:
        """Ask for a user's erasure; returns the places of both records: attributes, events.

        Attributes first: from the receipt on neither is there.
        """
        topics, key = self._replica.topics, user_id.encode()
        attributes = await self._writer.append(topics.users, key, None)
        events = await self._writer.append(topics.events, key, None)
        # Not whom: the log outlives the erasure.
        logger.info("an erasure was asked for by %s: %s", by, events.place.decode())
        return attributes, events

    def receipt(self, source: Source) -> Receipt | None:
        """The receipt of an erasure, once a worker has written it."""
        return self._receipts.get(source.place)

    def applied(self, source: Source) -> bool:
        """Whether this console's own replica is beyond a place."""
        at = self._replica.partitions.position(source.topic, source.partition)
        return at is not None and at > source.offset

    async def generations(self) -> list[dict[str, Any]]:
        """Dynamic bundles in the artifact store, the newest first, with what they are."""
        return await asyncio.to_thread(self._bundles)

    async def pin(self, name: str, by: str) -> Source:
        """Have a bundle served whatever the trainer publishes. Raises UnknownBundle."""
        store, now = self._replica.store, self._clock_ms()
        if name not in await asyncio.to_thread(store.names, "dynamic"):
            raise UnknownBundle(f"the artifact store holds no dynamic bundle {name!r}")
        manifest = await asyncio.to_thread(self._manifest, name)
        record = ModelAnnouncement(
            kind="pinned", name=name, url=store.url, generation=int(manifest["generation"]),
            created_at=now, metrics={},
        )  # fmt: skip
        logger.info("bundle %s was pinned by %s", name, by)
        return await self._writer.append(self._replica.topics.models, record.key, encode(record))

    async def unpin(self, by: str) -> Source:
        """Have the trainer's newest bundle served again."""
        logger.info("the pin was taken off by %s", by)
        return await self._writer.append(self._replica.topics.models, b"pinned", None)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._writer.close()

    def _bundles(self) -> list[dict[str, Any]]:
        names = self._replica.store.names("dynamic")[::-1]
        models, served = self._replica.models, self._replica.channels.names_served()
        found: list[dict[str, Any]] = []
        for name in names:
            try:
                manifest = self._manifest(name)
            except CorruptArtifact as error:
                found.append({"name": name, "generation": None, "problem": str(error)})
                continue
            row = described(name, manifest)
            found.append(
                row
                | {
                    "static": manifest.get("static"),
                    "types": manifest.get("types", []),
                    "channel": channel_of(name),
                    "served": name in served,
                    "pinned": name == models.pinned,
                }
            )
        return found

    def _manifest(self, name: str) -> dict[str, Any]:
        """A bundle's manifest, which never changes. Raises CorruptArtifact."""
        if name not in self._manifests:
            if len(self._manifests) >= MANIFESTS:
                self._manifests.clear()
            self._manifests[name] = self._replica.store.manifest("dynamic", name)
        return self._manifests[name]
