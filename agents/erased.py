"""Which records of erased users no longer count, known before the records are read.

Events of a user may lie in several topics, and a state reads them in no fixed order. An erasure
therefore says for each topic which records it covers (`covers`), and every reader of events
(worker, replay, console) reads the topic of erasures to its end first. A covered record is skipped
whenever it is read; `agents.forgetting` drops the user's records that a state has already applied.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

import msgspec
import numpy as np

from agents.patience import ONCE, Pause, repeated
from state import Patience
from state.batches import Bools
from streams import (
    AssumedImpression,
    DeadLetter,
    ErasedUser,
    ErasurePlace,
    EventBatch,
    Log,
    LogRecord,
    PersonalTopic,
    Source,
    TopicIdentity,
    TopicSettings,
    UnreachableError,
    held_offsets,
    readable,
    rekeyed,
    topic_identities,
)
from streams.admin import partition_counts
from streams.event_batch import Erasure
from streams.log_record import INT64_MAX
from streams.log_watch import hasty
from streams.record_columns import log_times
from streams.spans import Span, open_reader

__all__ = ["READ", "ErasedUsers", "covers", "logged_at", "user_hash"]

#: Records that are read at once.
READ = 4_096

T = TypeVar("T")


class _FromElsewhere(msgspec.Struct):
    """The part of a re-keyed event or user that says where it lay first, and when it came there."""

    source: Source | None = None
    source_time: int | None = None


def covers(
    erasure: ErasurePlace,
    topic: str,
    partition: int,
    offset: int,
    logged_at: int,
    *,
    same_topic: bool = True,
) -> bool:
    """Return whether an erasure covers its user's record at a place: the record does not count.

    In the partition of the erasure itself: all records before it. In a partition that it names:
    those below the offset that it names. Elsewhere: those that the log took no later (ms UTC).
    same_topic: whether the topic is still the one whose offsets the erasure names.
    """
    source = erasure.source
    if not same_topic:
        return logged_at <= erasure.logged_at
    if (source.topic, source.partition) == (topic, partition):
        return offset < source.offset
    first = erasure.count_from.get(f"{topic}/{partition}")
    return logged_at <= erasure.logged_at if first is None else offset < first


class ErasedUsers:
    """The erasures of a log, by the hashes of their users. One object for all partitions.

    Not thread-safe: one event loop.
    """

    def __init__(
        self,
        topics: TopicSettings,
        log: Log | None = None,
        sources: Iterable[PersonalTopic] = (),
        *,
        patience: Patience = ONCE,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Start empty; `read` reads the topic of erasures.

        log: None if there is none to read: then erasures are known only when they are read among
             the events.
        sources: topics of events and users beside Segue's own.
        patience, pause: how often a broker that does not answer is asked, and how to wait between.
        """
        self._topics = topics
        self._patience, self._pause = patience, pause
        # Each question is short, so that a stop need not wait for a silent broker.
        self.log = log if log is None or patience is ONCE else hasty(log)
        self._sources = tuple(sources)
        self._rekeyed = frozenset(source.topic for source in rekeyed(self._sources))
        self._ids: dict[str, str] = {}
        self._erasures: dict[bytes, tuple[ErasurePlace, ...]] = {}
        self._read_to: dict[int, int] = {}
        # For all users together, so that most batches need no look at their users.
        self._below: dict[str, int] = {}
        self._logged_to = -1
        self._names_rekeyed = False

    def __len__(self) -> int:
        """Number of users."""
        return len(self._erasures)

    async def read(self) -> None:
        """Read what the topic of erasures holds more than was read; raises AdminError.

        A log of an earlier version has no such topic: then no erasure is known.
        """
        log = self.log
        if log is not None:
            await self.asked(lambda: self._read(log), "reading erasures")

    async def asked(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        """Await `work`, which asks the broker; while the broker does not answer, again.

        what: names the work in the log. Raises AdminError.
        """
        return await repeated(
            lambda: _uninterrupted(work), what, self._patience, self._pause, UnreachableError
        )

    async def _read(self, log: Log) -> None:
        name = self._topics.erasures
        if not await asyncio.to_thread(partition_counts, log, (name,)):
            return
        names = (self._topics.events, *(source.topic for source in self._sources))
        found = await asyncio.to_thread(topic_identities, log, names)
        self.note_topics(found)
        held = await asyncio.to_thread(held_offsets, log, (name,))
        async with open_reader(log) as reader:
            for (topic, partition), part in held.items():
                first = max(self._read_to.get(partition, 0), part.first)
                span = Span(topic=topic, partition=partition, first=first, end=part.end)
                async for records in reader.read(span, READ):
                    for _, user in readable(ErasedUser, records):
                        self.take(user)
                self._read_to[partition] = part.end

    def note_topics(self, found: Mapping[str, TopicIdentity]) -> None:
        """Know topics by the ids that they have now: one that was created again has another."""
        self._ids |= {name: identity.id for name, identity in found.items() if identity.id}

    def take(self, user: ErasedUser) -> bool:
        """Add the erasures of a user; returns whether one of them was unknown."""
        found = bytes.fromhex(user.user_sha256)
        unknown = [self._add(found, erasure) for erasure in user.erasures]
        return any(unknown)

    def note(self, topic: str, partition: int, erasure: Erasure) -> None:
        """Add an erasure that was read in a topic of events."""
        source = Source(topic=topic, partition=partition, offset=erasure.offset)
        own = self._ids.get(topic)
        place = ErasurePlace(
            source=source,
            # Where the log does not say when it took the erasure, its place alone counts.
            logged_at=erasure.logged_at if erasure.logged_at < INT64_MAX else -1,
            count_from=dict(erasure.count_from),
            topic_ids={**erasure.topic_ids, **({topic: own} if own else {})},
        )
        self._add(user_hash(erasure.user_id.encode()), place)

    def items(self) -> Iterator[tuple[bytes, tuple[ErasurePlace, ...]]]:
        """Hashes of users (`user_hash`) and their erasures."""
        return iter(self._erasures.items())

    def of(self, user_id: str) -> ErasedUser:
        """Return all that is known of a user's erasures, as it is written."""
        found = user_hash(user_id.encode())
        return ErasedUser(user_sha256=found.hex(), erasures=self._erasures.get(found, ()))

    def before(self, ends: Mapping[tuple[str, int], int]) -> "ErasedUsers":
        """Return the erasures that lie below these offsets, by (topic, partition)."""
        kept = ErasedUsers(self._topics, self.log, self._sources)
        kept._ids = self._ids
        for user, erasures in self._erasures.items():
            for erasure in erasures:
                source = erasure.source
                if source.offset < ends.get((source.topic, source.partition), 0):
                    kept._add(user, erasure)
        return kept

    # Records

    def gone(self, records: Sequence[LogRecord], events: EventBatch) -> Bools | None:
        """Return which rows do not count, bool [n]; None if all do.

        records: of one partition, in offset order; events are among them.
        """
        if not self._may_cover(records):
            return None
        users = {user for user in set(events.user_id) if user_hash(user.encode()) in self._erasures}
        if not users:
            return None
        by_offset = {record.offset: record for record in records}
        gone = np.zeros(len(events), bool)
        for row, (user, offset) in enumerate(
            zip(events.user_id, events.offset.tolist(), strict=True)
        ):
            gone[row] = user in users and self.covered(by_offset[offset], user)
        return gone if gone.any() else None

    def covered(self, record: LogRecord, user_id: str) -> bool:
        """Return whether a user's record does not count."""
        if not self._erasures:
            return False
        erasures = self._erasures.get(user_hash(user_id.encode()), ())
        place = (record.topic, record.partition, record.offset, record.timestamp)
        return any(
            covers(erasure, *place, same_topic=self.is_of(erasure, record.topic))
            or self._covers_source(erasure, record)
            or self._covers_assumed(erasure, record)
            for erasure in erasures
        )

    def without(
        self, records: Sequence[LogRecord], letters: Sequence[DeadLetter]
    ) -> list[DeadLetter]:
        """Return the letters but for those of erased users' records, whose start they hold."""
        if not letters or not self._may_cover(records):
            return list(letters)
        by_offset = {record.offset: record for record in records}
        return [
            letter
            for letter in letters
            if not self.covered(record := by_offset[letter.source.offset], _key(record))
        ]

    def with_those_of(
        self, records: Sequence[LogRecord], events: EventBatch, gone: Bools | None
    ) -> Bools | None:
        """Know the erasures of a batch, and add to `gone` what they cover of its rows behind them.

        Rows before them are not added: they are applied and dropped in order, so that what is
        observed does not depend on how the log is cut into batches.
        """
        for erasure in events.erasures:
            self.note(records[0].topic, records[0].partition, erasure)
        last = {erasure.user_id: erasure.offset for erasure in events.erasures}
        behind = np.array(
            [
                offset > last.get(user, offset)
                for user, offset in zip(events.user_id, events.offset.tolist(), strict=True)
            ],
            bool,
        )
        now = self.gone(records, events) if behind.any() else None
        if now is None:
            return gone
        both: Bools = now & behind
        if gone is not None:
            both |= gone
        return both

    def is_of(self, erasure: ErasurePlace, topic: str) -> bool:
        """Whether a topic is the one that an erasure names, and none created again."""
        now = self._ids.get(topic)
        return not now or erasure.topic_ids.get(topic, now) == now

    # Inside

    def _add(self, user: bytes, erasure: ErasurePlace) -> bool:
        known = self._erasures.get(user, ())
        if any(_implies(other, erasure) for other in known):
            return False
        self._erasures[user] = (*(e for e in known if not _implies(erasure, e)), erasure)
        source = erasure.source
        for place, offset in (
            (f"{source.topic}/{source.partition}", source.offset),
            *erasure.count_from.items(),
        ):
            self._below[place] = max(self._below.get(place, 0), offset)
            self._names_rekeyed |= place.rpartition("/")[0] in self._rekeyed
        self._logged_to = max(self._logged_to, erasure.logged_at)
        return True

    def _may_cover(self, records: Sequence[LogRecord]) -> bool:
        """Whether any erasure may cover any of some records of one partition."""
        if not self._erasures or not records:
            return False
        first = records[0]
        return (
            first.offset < self._below.get(f"{first.topic}/{first.partition}", 0)
            or (self._names_rekeyed and first.topic == self._topics.events)
            or first.topic in (self._topics.users, self._topics.impressions)
            or int(log_times(records).min()) <= self._logged_to
        )

    def _covers_assumed(self, erasure: ErasurePlace, record: LogRecord) -> bool:
        """Whether an impression is assumed of a list that was made before the erasure was read."""
        place, events = erasure.source, self._topics.events
        if record.topic != self._topics.impressions or place.topic != events:
            return False
        try:
            made_at = msgspec.json.decode(record.value or b"", type=AssumedImpression).made_at
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        known = made_at is not None and place.partition == record.partition
        return known and self.is_of(erasure, events) and place.offset >= (made_at or 0)

    def _covers_source(self, erasure: ErasurePlace, record: LogRecord) -> bool:
        """Whether an erasure covers the record that a re-keyed event or user was made of."""
        if record.topic == self._topics.users:
            return logged_at(record) <= erasure.logged_at
        if not self._names_rekeyed or record.topic != self._topics.events:
            return False
        try:
            source = msgspec.json.decode(record.value or b"", type=_FromElsewhere).source
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        if source is None or source.topic not in self._rekeyed:
            return False
        first = erasure.count_from.get(f"{source.topic}/{source.partition}")
        same = self.is_of(erasure, source.topic)
        return same and first is not None and source.offset < first


def logged_at(record: LogRecord) -> int:
    """Return when the log took what a record of the users' topic says, ms UTC.

    Of a record that `segue rekey` wrote, when its owner's topic took it: it may be written again
    after an erasure.
    """
    if record.value is None or b'"source_time"' not in record.value:
        return record.timestamp
    try:
        there = msgspec.json.decode(record.value, type=_FromElsewhere).source_time
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return record.timestamp
    return record.timestamp if there is None else min(there, record.timestamp)


def user_hash(user: bytes) -> bytes:
    """Return the hash under which a user's erasures are known."""
    return sha256(user).digest()


async def _uninterrupted(work: Callable[[], Awaitable[T]]) -> T:
    """Await `work`; raises UnreachableError where its client cancels its own futures.

    aiokafka does so when a connection goes away.
    """
    try:
        return await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise UnreachableError("the connection was lost") from error


def _key(record: LogRecord) -> str:
    return (record.key or b"").decode(errors="replace")


def _implies(one: ErasurePlace, other: ErasurePlace) -> bool:
    """Whether every record that `other` covers is covered by `one`."""
    return (
        (one.source.topic, one.source.partition) == (other.source.topic, other.source.partition)
        and one.source.offset >= other.source.offset
        and one.logged_at >= other.logged_at
        and one.topic_ids == other.topic_ids
        and one.count_from.keys() == other.count_from.keys()
        and all(one.count_from[place] >= at for place, at in other.count_from.items())
    )
