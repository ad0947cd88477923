"""A consumer of librdkafka, whose partitions begin where the app says.

Rebalances are called back from inside of `fetch`, `keep_alive` and `close`, which one thread calls.
A partition that is assigned is paused until `begin` seeks it: what librdkafka would read by itself,
from the group's committed offset, is never handed out.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.batches import HEARTBEAT_S, Partitions, Place
from streams.consumer_thread import FETCH_BYTES, FETCH_WAIT_MS
from streams.librdkafka_columns import by_partition, message_columns
from streams.log_levels import LIBRDKAFKA
from streams.record_columns import RecordColumns
from streams.security import ISOLATION, KafkaSettings

__all__ = ["Fetched", "GroupError", "LibrdkafkaConsumer", "group_properties"]

log = logging.getLogger(LIBRDKAFKA)

# librdkafka reads ahead of us. Its own limits (64 MB, a pause of a second when they are reached)
# are those of programs that never stop to think.
_AHEAD_KB = 8 * 1024
_AHEAD_PAUSE_MS = 10
_SEEK_S = 5.0
_SEEK_AGAIN_S = 0.01

#: Errors of a group that do not pass by themselves.
_LASTING = {
    KafkaError._FATAL,
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.UNSUPPORTED_ASSIGNOR,
    KafkaError.GROUP_MAX_SIZE_REACHED,
    KafkaError.GROUP_ID_NOT_FOUND,
}


class GroupError(RuntimeError):
    """The group refuses this member for good; the message says what the broker said."""


@dataclass
class Fetched:
    """What one fetch brings.

    records: by partition, in offset order.
    reached: next offset to fetch of partitions of which all before it was handed out.
    """

    records: dict[Place, RecordColumns] = field(default_factory=dict)
    reached: dict[Place, int] = field(default_factory=dict)


def group_properties(
    kafka: KafkaSettings,
    group: str,
    *,
    session_timeout_s: float,
    rebalance_timeout_s: float,
    max_fetch_bytes: int,
) -> dict[str, Any]:
    """Return librdkafka's properties of a member of a group; see `streams.app.create_app`."""
    session_ms = int(session_timeout_s * 1000)
    protocols: dict[str, dict[str, Any]] = {
        # The broker says how long a session lasts, and how often members are heard.
        "consumer": {"group.remote.assignor": "range"},
        "classic": {
            "partition.assignment.strategy": "range",
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": min(session_ms // 4, int(1000 * HEARTBEAT_S)),
        },
    }
    return kafka.for_librdkafka() | {
        "group.id": group,
        "group.protocol": kafka.group_protocol,
        # `range` keeps equal partition numbers of topics together.
        **protocols[kafka.group_protocol],
        # Also how long the group waits for this member in a rebalance.
        "max.poll.interval.ms": max(int(rebalance_timeout_s * 1000), session_ms),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A position that is gone is noticed by the jump; see `streams.batches`.
        "auto.offset.reset": "earliest",
        "isolation.level": ISOLATION,
        "enable.partition.eof": True,
        "check.crcs": True,
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        "fetch.min.bytes": FETCH_BYTES,
        "max.partition.fetch.bytes": max_fetch_bytes,
        "queued.max.messages.kbytes": _AHEAD_KB,
        "fetch.queue.backoff.ms": _AHEAD_PAUSE_MS,
        "topic.metadata.refresh.interval.ms": 5_000,
        "reconnect.backoff.max.ms": 1_000,
        "log.connection.close": False,
    }


class LibrdkafkaConsumer:
    """Reads topics as a member of a group. All methods are called in one thread.

    assigned: the partitions of this member that are not about to be given away, each with the
              number of its assignment.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Collection[str],
        on_assigned: Callable[[Partitions], None],
        on_revoked: Callable[[Partitions], None],
    ) -> None:
        """Prepare a member that has not joined.

        on_assigned, on_revoked: called in the thread of `fetch`. Partitions are given away when
        `on_revoked` has returned.
        """
        self._properties = dict(properties)
        self._group: str = properties["group.id"]
        # The consumer protocol changes a part of the assignment, `range` in the classic one all.
        self._incremental = properties["group.protocol"] == "consumer"
        self._topics = list(topics)
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._made: Consumer | None = None
        self.assigned: dict[Place, int] = {}
        self._assignments = 0
        # Those, and the ones that are being closed before they are given away.
        self._owned: Partitions = set()
        self._not_begun: Partitions = set()
        self._paused: Partitions = set()
        # Handed out by `keep_alive`, which hands out nothing.
        self._left: list[Message] = []

    def open(self) -> None:
        """Join the group; partitions come with a later `fetch`."""
        self._made = Consumer({**self._properties, "error_cb": self._told}, logger=log)
        self._made.subscribe(
            self._topics,
            on_assign=self._assign,
            on_revoke=self._revoke,
            on_lost=self._revoke,
        )

    def fetch(self, most: int, timeout: float, hold: Collection[str]) -> Fetched:
        """Return what has come, at most so many records; waits for the first one.

        timeout: in seconds. hold: topics whose records stay in the log for now.
        Raises GroupError, or what aiokafka raises where a right is missing.
        """
        self._pause({place for place in self.assigned if place[0] in hold} | self._not_begun)
        messages, self._left = self._left, []
        first = self._consumer.poll(0 if messages else timeout)
        if first is not None:
            messages += [first, *self._consumer.consume(most, 0)]
        return self._sorted(messages)

    def keep_alive(self) -> None:
        """Stay a member while the app takes nothing: nothing is fetched, rebalances happen."""
        self._pause(set(self.assigned))
        message = self._consumer.poll(0)
        if message is not None:
            self._left.append(message)

    def begin(self, target: Mapping[Place, int], of: Mapping[Place, int]) -> set[Place]:
        """Read partitions from offsets on; returns those that are read.

        of: number of the assignment that a target belongs to; those of others are left out.
        Raises KafkaException.
        """
        begun = {place for place in target if self.assigned.get(place) == of[place]}
        for place in begun:
            self._seek(TopicPartition(*place, target[place]))
        self._not_begun -= begun
        return begun

    def _seek(self, to: TopicPartition) -> None:
        deadline = time.monotonic() + _SEEK_S
        while True:
            try:
                self._consumer.seek(to)
            except KafkaException as error:
                # The assignment, which was asked for a moment ago, is not in force yet.
                if error.args[0].code() != KafkaError._STATE or time.monotonic() > deadline:
                    raise
                time.sleep(_SEEK_AGAIN_S)
            else:
                return

    def commit(self, offsets: Mapping[Place, int], notes: Mapping[int, str]) -> bool:
        """Commit what is not given away yet; False when the group does not accept it.

        notes: by partition number, stored with its offsets. Waits for the answer, while librdkafka
        goes on to read ahead: an answer to be called back would wait for the next `fetch`.
        """
        entries = [
            TopicPartition(*place, offset, notes.get(place[1], ""))
            for place, offset in offsets.items()
            if place in self._owned
        ]
        if not entries:
            return False
        try:
            answer = self._consumer.commit(offsets=entries, asynchronous=False)
        except KafkaException as error:
            log.info("offsets are not committed, the next commit covers them: %s", error)
            return False
        return all(entry.error is None for entry in answer)

    def member(self) -> str:
        """Return the id of this member in its group; empty while it is in none."""
        return self._consumer.memberid() or ""

    def close(self) -> None:
        """Leave the group and close the connections; `on_revoked` is called for what is left."""
        if self._made is not None:
            self._made.close()

    @property
    def _consumer(self) -> Consumer:
        if self._made is None:
            raise GroupError("the consumer has not joined its group yet")
        return self._made

    def _assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        # Where it begins does not matter: it is paused before a record is handed out, then sought.
        begin = [TopicPartition(entry.topic, entry.partition, 0) for entry in partitions]
        if self._incremental:
            consumer.incremental_assign(begin)
        else:
            consumer.assign(begin)
        places = _places(begin)
        self._assignments += 1
        self.assigned |= dict.fromkeys(places, self._assignments)
        self._owned |= places
        self._not_begun |= places
        self._pause(self._paused | places)
        self._on_assigned(places)

    def _revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        places = _places(partitions)
        self.assigned = {at: n for at, n in self.assigned.items() if at not in places}
        self._on_revoked(places)
        self._owned -= places
        self._not_begun -= places
        self._paused -= places
        if self._incremental:
            consumer.incremental_unassign(list(partitions))
        else:
            consumer.unassign()

    def _pause(self, wanted: Partitions) -> None:
        """Have these partitions paused, and no others."""
        stop, go_on = wanted - self._paused, self._paused - wanted
        self._paused = set(wanted)
        if stop:
            self._consumer.pause([TopicPartition(*place) for place in stop])
        if go_on:
            self._consumer.resume([TopicPartition(*place) for place in go_on])

    def _sorted(self, messages: Sequence[Message]) -> Fetched:
        fetched = Fetched()
        if any(map(Message.error, messages)):
            records = []
            for message in messages:
                error = message.error()
                if error is None:
                    records.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    fetched.reached[message.topic(), message.partition()] = message.offset()
                else:
                    self._raise(error, message.topic())
            messages = records
        for place, found in by_partition(messages).items():
            fetched.records[place] = message_columns(place, found)
        return fetched

    def _told(self, error: KafkaError) -> None:
        """Take note of an error of the client as a whole."""
        self._raise(error, None)

    def _raise(self, error: KafkaError, topic: str | None) -> None:
        """Raise for an error that does not pass by itself; log any other."""
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise TopicAuthorizationFailedError(*(topic,) if topic else ())
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise GroupAuthorizationFailedError(self._group)
        if error.fatal() or error.code() in _LASTING:
            raise GroupError(
                f"group {self._group} does not take this member: {error.str()}. All members of a "
                "group use the same kafka.transport and kafka.group_protocol; a broker before "
                'Kafka 4.0 needs kafka.group_protocol = "classic"'
            )
        log.warning("%s [%s] %s", error.name(), self._group, error.str())


def _places(partitions: Iterable[TopicPartition]) -> Partitions:
    return {(entry.topic, entry.partition) for entry in partitions}
