"""The log of a night, to which producers of other owners write in transactions.

Kafka gives each record of a transaction an offset at once, and hands it out once the transaction is
committed. A commit or an abort writes a marker to each partition, which takes an offset too and is
handed to no consumer. Here both lie in the embedded log, and readers do not get them.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from streams import EmbeddedLog, KafkaSettings, Record
from streams.log_following import IDLE_S, PassEmpty

if TYPE_CHECKING:
    from tests.simulated.night import Night

Place = tuple[str, int]
_MARKER = b"marker of a transaction"
_ALL = 1 << 40


@dataclass
class _Part:
    """Offsets of markers and of aborted records; and of open transactions, by number, the first."""

    markers: set[int] = field(default_factory=set)
    aborted: set[int] = field(default_factory=set)
    first: dict[int, int] = field(default_factory=dict)


@dataclass
class Transaction:
    """An open transaction: its records so far, by partition and offset.

    Offsets are of the topic that was written to, and of none that has the same name later.
    """

    number: int
    records: list[tuple[_Part, int]] = field(default_factory=list)


class NightLog(EmbeddedLog):
    """An embedded log with transactions. `read` gives committed records, as `end_offset` does."""

    def __init__(self, folder: Path, clock: Callable[[], int]) -> None:
        self._parts: dict[Place, _Part] = {}
        super().__init__(folder, clock=clock)
        #: What Segue's consumers ask a broker for.
        self.committed_only = KafkaSettings().for_consumer()["isolation_level"] == "read_committed"

    def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        max_records: int = 1_000,
        max_bytes: int = 32 * 1024 * 1024,
    ) -> list[Record]:
        """Return committed records from an offset on, up to the first open transaction."""
        part = self._parts.get((topic, partition))
        if part is None:
            return super().read(topic, partition, offset, max_records, max_bytes)
        return self._read(part, topic, partition, offset, max_records, committed=True)

    def consumed(self, topic: str, partition: int, offset: int, count: int) -> list[Record]:
        """Return the next records as a consumer with Segue's settings gets them."""
        part = self._parts.get((topic, partition))
        if part is None or self.committed_only:
            return self.read(topic, partition, offset, count)
        return self._read(part, topic, partition, offset, count, committed=False)

    def _read(
        self, part: _Part, topic: str, partition: int, offset: int, count: int, *, committed: bool
    ) -> list[Record]:
        hidden = part.markers | part.aborted if committed else part.markers
        end = min(part.first.values(), default=_ALL) if committed else _ALL
        found = super().read(topic, partition, offset, 1_000_000)
        return [one for one in found if one.offset < end and one.offset not in hidden][:count]

    def reached(self, topic: str, partition: int, offset: int) -> int:
        """Return the position of a consumer that has read up to an offset: the next record's."""
        following = self.consumed(topic, partition, offset, 1)
        return following[0].offset if following else self.end_offset(topic, partition)

    def end_offset(self, topic: str, partition: int) -> int:
        """Return the last stable offset: where the first open transaction begins, if any."""
        part = self._parts.get((topic, partition))
        open_ones = part.first.values() if part is not None else ()
        return min(open_ones, default=super().end_offset(topic, partition))

    def delete_topic(self, topic: str) -> None:
        """Remove a topic; transactions go on without it."""
        super().delete_topic(topic)
        self._parts = {place: part for place, part in self._parts.items() if place[0] != topic}

    # Of producers

    def append_in(
        self, transaction: "Transaction", topic: str, key: bytes, value: bytes | None
    ) -> tuple[int, int]:
        """Append a record of an open transaction; returns its partition and offset."""
        partition, offset = self.append(topic, key, value)
        part = self._parts.setdefault((topic, partition), _Part())
        part.first.setdefault(transaction.number, offset)
        transaction.records.append((part, offset))
        return partition, offset

    def end(self, transaction: "Transaction", *, commit: bool) -> None:
        """Commit a transaction or abort it: write a marker to each partition that it wrote to."""
        if not commit:
            for part, offset in transaction.records:
                part.aborted.add(offset)
        for place, part in self._parts.items():
            if part.first.pop(transaction.number, None) is not None:
                part.markers.add(self.append(place[0], b"", _MARKER, partition=place[1])[1])


class Producers:
    """Owners of other systems, who write some of their records in transactions, two at a time."""

    def __init__(self, night: "Night", draw: random.Random) -> None:
        self._night, self._draw = night, draw
        self._open: list[Transaction] = []
        self._begun = 0

    def happenings(self) -> list[tuple[int, Callable[[], None]]]:
        """What may happen, with how often it does."""
        return [(2, self.a_transaction_begins), (3, self.a_transaction_ends)]

    def append(self, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
        """Append a record, in most cases in a transaction if one is open."""
        if self._open and self._draw.random() < 0.7:
            return self._night.log.append_in(self._draw.choice(self._open), topic, key, value)
        return self._night.log.append(topic, key, value)

    def a_transaction_begins(self) -> None:
        """Its records come with what happens next."""
        if len(self._open) < 2:
            self._begun += 1
            self._open.append(Transaction(self._begun))

    def a_transaction_ends(self) -> None:
        """It is committed, or aborted by its owner or by the broker, for it took too long."""
        if self._open:
            ended = self._open.pop(self._draw.randrange(len(self._open)))
            commit = self._draw.random() < 0.5
            what = "committed" if commit else "aborted"
            self._night.note(f"transaction {what}: {len(ended.records)} records")
            self._night.log.end(ended, commit=commit)

    def all_end(self) -> None:
        """End what is open."""
        while self._open:
            self.a_transaction_ends()


def follower(log: NightLog) -> Callable[..., AsyncIterator[Sequence[Record]]]:
    """Return what a console follows events with: as `follow` does with Kafka."""

    async def follow(
        _log: object, positions: Mapping[Place, int], limit: int, passed: PassEmpty
    ) -> AsyncIterator[Sequence[Record]]:
        at = dict(positions)
        while True:
            moved = False
            for place in list(at):
                if records := log.consumed(*place, max(at[place], log.first_offset(*place)), limit):
                    yield records
                    at[place] = records[-1].offset + 1
                reached = log.reached(*place, at[place])
                if reached > at[place]:
                    await passed(place, at[place], reached)
                moved |= bool(records) or reached > at[place]
                at[place] = reached
            await asyncio.sleep(0 if moved else IDLE_S)

    return follow
