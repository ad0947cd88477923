"""Schemas of Avro records: read in a thread, while the records that need them wait.

A schema registry that is slow or away stops the reading of the topics whose schemas it has, and
nothing else: not the event loop, not other topics.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from streams.log_record import LogRecord
from streams.sources import SourceError

if TYPE_CHECKING:
    from streams.avro import AvroReader

__all__ = ["ReadsSchemas", "SchemaWait", "fetch_unknown", "schemas_known"]

logger = logging.getLogger(__name__)

Pause = Callable[[float], Awaitable[None]]
Records = TypeVar("Records", bound=Sequence[LogRecord])

#: Seconds until a schema registry that did not answer is asked again.
SCHEMAS_S = 5.0


class ReadsSchemas:
    """A decoder of records that may be Avro; `avro` reads them then."""

    avro: "AvroReader | None" = None

    def unknown_schemas(self, records: Iterable[LogRecord]) -> set[int]:
        """Return the schemas that are to be fetched before these records are decoded."""
        return self.avro.unknown(record.value for record in records) if self.avro else set()

    def fetch_schemas(self, numbers: Iterable[int]) -> None:
        """Read schemas; blocks. Raises SourceError where a registry does not answer."""
        if self.avro:
            self.avro.fetch(numbers)


async def fetch_unknown(decoder: object, records: Sequence[LogRecord]) -> None:
    """Read the schemas that a decoder needs for records, in a thread.

    Raises SourceError where a registry does not answer.
    """
    if isinstance(decoder, ReadsSchemas) and (unknown := decoder.unknown_schemas(records)):
        await asyncio.to_thread(decoder.fetch_schemas, unknown)


async def schemas_known(decoder: object, records: Sequence[LogRecord], pause: Pause) -> None:
    """`fetch_unknown`; a registry that does not answer is asked until it does.

    pause: waits for so many seconds.
    """
    while True:
        try:
            await fetch_unknown(decoder, records)
        except SourceError as error:
            logger.warning(
                "%s is read on when its schemas can be read: %s", records[0].topic, error
            )
            await pause(SCHEMAS_S)
        else:
            return


class SchemaWait(Generic[Records]):
    """Batches whose schemas are not here yet: they are applied, in their order, once they are.

    Guaranteed: a partition's batches are applied in the order in which they came, each once, and
    none is left out unless its partition was given up (`forget`).
    """

    def __init__(
        self,
        decoders: Mapping[str, object],
        apply: Callable[[Records], Awaitable[None]],
        turn: asyncio.Lock,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """decoders: by topic. apply: takes a batch while `turn` is held. pause: as above."""
        self._decoders, self._apply = decoders, apply
        self._turn, self._pause = turn, pause
        self._waiting: dict[tuple[str, int], deque[Records]] = {}
        self._jobs: dict[str, asyncio.Task[None]] = {}

    def holds(self, topic: str) -> bool:
        """Whether batches of a topic wait: further ones are to stay in the log."""
        return any(name == topic for name, _ in self._waiting)

    def takes(self, records: Records) -> bool:
        """Take a batch that is to wait: for its schemas, or for batches before it.

        Returns False for one that can be applied now.
        """
        topic, place = records[0].topic, (records[0].topic, records[0].partition)
        decoder = self._decoders.get(topic)
        if not isinstance(decoder, ReadsSchemas):
            return False
        if place not in self._waiting and not decoder.unknown_schemas(records):
            return False
        self._waiting.setdefault(place, deque()).append(records)
        job = self._jobs.get(topic)
        if job is None or job.done():
            self.check()
            self._jobs[topic] = asyncio.ensure_future(self._read(topic, decoder))
        return True

    def forget(self, places: Iterable[tuple[str, int]]) -> None:
        """Drop the batches of partitions that are given up: they are read again elsewhere."""
        for place in places:
            self._waiting.pop(place, None)

    def check(self) -> None:
        """Raise the error with which batches could not be applied, if any."""
        for job in self._jobs.values():
            if job.done() and not job.cancelled():
                job.result()

    def close(self) -> None:
        """Drop all batches."""
        self._waiting.clear()
        for job in self._jobs.values():
            job.cancel()

    async def _read(self, topic: str, decoder: ReadsSchemas) -> None:
        while waiting := [place for place in self._waiting if place[0] == topic]:
            for place in waiting:
                if batches := self._waiting.get(place):
                    await schemas_known(decoder, batches[0], self._pause)
                    await self._apply_first(place, batches)

    async def _apply_first(self, place: tuple[str, int], batches: deque[Records]) -> None:
        async with self._turn:
            # The partition may have been given up meanwhile, and even have come back.
            if self._waiting.get(place) is batches:
                await self._apply(batches.popleft())
                if not batches:
                    self._waiting.pop(place, None)
