"""Events of topics that are not keyed by user, and users, written once more under their users.

One definition for Kafka, the embedded log and the tests; `streams.rekey_app` runs it on Kafka.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from msgspec import structs
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Metric

from streams.codec import encode
from streams.event_batch import EventRules
from streams.log_record import LogRecord, Source
from streams.mapping import EventDecoder, event_decoder
from streams.partitioner import murmur2_partitions
from streams.records import DeadLetter, Event, User
from streams.source_topics import MissingTopics
from streams.sources import PersonalTopic, SourceSettings, rekeyed
from streams.topics import TopicSettings
from streams.user_sources import UserDecoder, UserSourceSettings

KeyValue = tuple[bytes, bytes]


class RekeyedEvent(Event, frozen=True, kw_only=True):
    """An event with the place it was read from; written again, it is equal, and changes nothing."""

    source: Source


class RekeyedUser(User, frozen=True, kw_only=True):
    """What is known of a user, with the place it was read from, and the log's time there."""

    source: Source
    source_time: int


class ManyOutputs(Protocol):
    """Where many records go at once; order is kept within a partition."""

    async def send_many(self, topic: str, partition: int, records: Sequence[KeyValue]) -> None:
        """Take records for a partition."""

    async def flush(self) -> None:
        """Wait until everything sent so far is stored; raises if anything was refused."""


class Rekeyer:
    """Writes events, and what is known of users, under their users into Segue's own topics.

    Guaranteed: a record of a position below `settled` is in Segue's own topic or in that of dead
    letters. The events of one user that come from one partition keep their order; where some are
    written again, the first writings do. Every record written names the place it came from.
    """

    def __init__(
        self,
        sources: Iterable[PersonalTopic],
        rules: EventRules,
        topics: TopicSettings,
        outputs: ManyOutputs,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Re-key those sources that need it. Raises SourceError for one that cannot be decoded."""
        wanted = rekeyed(sources)
        self._decoders: dict[str, EventDecoder] = {
            source.topic: event_decoder(source, rules)
            for source in wanted
            if isinstance(source, SourceSettings)
        }
        self._user_decoders = {
            source.topic: UserDecoder(source)
            for source in wanted
            if isinstance(source, UserSourceSettings)
        }
        self._topics = topics
        self._outputs = outputs
        self._read: dict[tuple[str, int], int] = {}
        self._settled: dict[tuple[str, int], int] = {}
        self.events = self.users = 0
        self.dead_letters: Counter[str] = Counter()
        registry = registry or CollectorRegistry()
        self.missing = MissingTopics(registry)
        self._written = Metric("segue_events_rekeyed", "Events re-keyed.", registry=registry)
        self._users_written = Metric(
            "segue_users_rekeyed", "Records of users re-keyed.", registry=registry
        )
        self._refused = Metric(
            "segue_rekey_refused", "Records refused while re-keying.", ["reason"], registry=registry
        )

    @property
    def decoders(self) -> Mapping[str, object]:
        """What decodes the records, by topic."""
        return {**self._decoders, **self._user_decoders}

    @property
    def source_topics(self) -> tuple[str, ...]:
        """The topics that are re-keyed."""
        return (*self._decoders, *self._user_decoders)

    @property
    def settled(self) -> dict[tuple[str, int], int]:
        """Next offsets by (topic, partition); all that lies below is stored."""
        return dict(self._settled)

    async def __call__(self, records: Sequence[LogRecord]) -> None:
        """Send what one partition's records say; it is safe when `settle` has returned."""
        topic, partition = records[0].topic, records[0].partition
        if topic in self._user_decoders:
            letters = await self._send_users(records)
        else:
            letters = await self._send_events(records)
        await self._send(
            self._topics.dead_letters,
            [letter.key for letter in letters],
            [encode(letter) for letter in letters],
        )
        for letter in letters:
            self.dead_letters[letter.reason.value] += 1
            self._refused.labels(letter.reason.value).inc()
        self._read[topic, partition] = records[-1].offset + 1

    async def _send_users(self, records: Sequence[LogRecord]) -> list[DeadLetter]:
        users, letters = self._user_decoders[records[0].topic](records)
        values = [
            encode(
                RekeyedUser(
                    **structs.asdict(user), source=place_of(record), source_time=record.timestamp
                )
            )
            for record, user in users
        ]
        await self._send(self._topics.users, [user.key for _, user in users], values)
        self.users += len(values)
        self._users_written.inc(len(values))
        return letters

    async def _send_events(self, records: Sequence[LogRecord]) -> list[DeadLetter]:
        topic, partition = records[0].topic, records[0].partition
        events, letters = self._decoders[topic](records)
        keys = [user.encode() for user in events.user_id]
        rows = zip(
            *(events.user_id, events.item_id, events.item_type, events.kind),
            *(events.timestamp.tolist(), events.offset.tolist()),
            strict=True,
        )
        values = [
            encode(
                RekeyedEvent(
                    user_id=user, item_id=item, item_type=of_type, kind=kind, timestamp=when,
                    source=Source(topic=topic, partition=partition, offset=offset),
                )
            )
            for user, item, of_type, kind, when, offset in rows
        ]  # fmt: skip
        await self._send(self._topics.events, keys, values)
        self.events += len(values)
        self._written.inc(len(values))
        return letters

    async def pass_empty(self, topic: str, partition: int, first: int, end: int) -> bool:
        """Go on at `end`: no offset from `first` up to it holds a record.

        Returns False while a record before `first` has not been sent yet.
        """
        place = topic, partition
        read = max(self._read.get(place, 0), self._settled.get(place, 0))
        if read < first:
            return False
        self._read[place] = max(read, end)
        return True

    async def settle(self) -> dict[tuple[str, int], int]:
        """Wait until everything sent is stored; returns `settled`."""
        read = dict(self._read)
        await self._outputs.flush()
        self._settled |= {place: at for place, at in read.items() if place in self._read}
        return self.settled

    def begin(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Take over partitions at the positions that were settled for them."""
        self._settled |= positions

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Give partitions up."""
        for place in partitions:
            self._read.pop(place, None)
            self._settled.pop(place, None)

    async def _send(self, topic: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        partition = murmur2_partitions(keys, self._topics.partitions)
        for number in np.unique(partition).tolist():
            rows = np.flatnonzero(partition == number).tolist()
            await self._outputs.send_many(topic, number, [(keys[r], values[r]) for r in rows])


def place_of(record: LogRecord) -> Source:
    """Return the place of a record."""
    return Source(topic=record.topic, partition=record.partition, offset=record.offset)
