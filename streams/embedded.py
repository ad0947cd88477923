"""The embedded log: Kafka's topics, partitions and offsets in a folder, for one process.

For machines without Java and for tests. A record that `append` returned the offset of survives
the death of the process; `sync` and `close` make it survive the loss of power too. A record that
was written by halves is cut off when the log is opened.
"""

import fcntl
import itertools
import json
import os
import shutil
import threading
import uuid
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.log_record import Record, now_ms
from streams.partition_log import PartitionLog
from streams.partitioner import murmur2_partition
from streams.topics import ACCEPTED_BYTES, DAY_MS, TopicDefinition

Clock = Callable[[], int]

#: File of a topic with the offsets that groups committed: {group: {partition: next offset}}.
COMMITTED = "committed.json"

# As long as Kafka keeps them: a reader that was away for a day still learns of deletions.
TOMBSTONES_STAY_MS = DAY_MS


class EmbeddedLogError(RuntimeError):
    """The embedded log cannot do what was asked; the message says why and what to do."""


class LogLockedError(EmbeddedLogError):
    """Another process, or another object of this one, has the log open."""


class UnknownTopicError(EmbeddedLogError):
    """The topic or partition does not exist."""


class TopicExistsError(EmbeddedLogError):
    """The topic exists with other settings."""


class RecordTooLargeError(EmbeddedLogError):
    """The record is longer than the topic accepts."""


class EmbeddedLog:
    """Topics in a folder. Use as a context manager, or call close.

    folder:        where the segments live; created when missing.
    clock:         the log's own time in ms UTC. Timestamps of a partition never go back, even if
                   the clock does.
    segment_bytes: length at which a new segment file begins.

    Compacted topics are compacted when the log is opened: of each key the last record stays.
    Retention by time is not applied. Safe to use from several threads.
    Raises LogLockedError when the folder is open elsewhere, CorruptLogError when a segment that
    was closed long ago is damaged.
    """

    def __init__(
        self, folder: Path, *, clock: Clock = now_ms, segment_bytes: int = 64 * 1024 * 1024
    ) -> None:
        """Open the log, cut torn tails and compact."""
        self._folder = folder
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._guard = threading.RLock()
        self._topics: dict[str, TopicDefinition] = {}
        self._ids: dict[str, str] = {}
        self._partitions: dict[str, list[PartitionLog]] = {}
        self._without_key = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            for settings in sorted(folder.glob("*/topic.json")):
                described = json.loads(settings.read_text())
                topic_id = described.pop("id", "")
                definition = TopicDefinition(**described)
                self._describe(definition, topic_id or str(uuid.uuid4()), write=not topic_id)
                self._open_topic(definition)
        except BaseException:
            self.close()
            raise

    def create_topic(self, definition: TopicDefinition) -> bool:
        """Create a topic and return True, or False if it is there already.

        Raises TopicExistsError when it is there with another number of partitions or policy.
        """
        with self._guard:
            found = self._topics.get(definition.name)
            if found is None:
                folder = self._folder / definition.name
                folder.mkdir()
                self._describe(definition, str(uuid.uuid4()))
                self._open_topic(definition)
                return True
            wanted = (definition.partitions, definition.cleanup_policy)
            if (found.partitions, found.cleanup_policy) != wanted:
                raise TopicExistsError(
                    f"topic {definition.name} exists with {found.partitions} partitions and "
                    f"cleanup {found.cleanup_policy}; asked for {wanted[0]} and {wanted[1]}"
                )
            return False

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None = None,
        partition: int | None = None,
    ) -> tuple[int, int]:
        """Add a record and return its partition and offset.

        timestamp: the log's time for it, default the clock's. partition: default by the key as
        Kafka does it, and in turn for records without a key.
        Raises UnknownTopicError; RecordTooLargeError; ValueError for a compacted topic without
        key; OSError when the disk is full, and then nothing was added.
        """
        with self._guard:
            if partition is None:
                partition = self._partition_of(topic, key)
            offset = self.append_many(topic, partition, [(key, value)], timestamp)
            return partition, offset

    def append_many(
        self,
        topic: str,
        partition: int,
        records: Sequence[tuple[bytes | None, bytes | None]],
        timestamp: int | None = None,
    ) -> int:
        """Add keys and values to one partition, all or none, and return the first one's offset."""
        with self._guard:
            log = self._partition_log(topic, partition)
            definition = self._topics[topic]
            limit = int(definition.config.get("max.message.bytes", ACCEPTED_BYTES))
            for key, value in records:
                if key is None and definition.cleanup_policy == "compact":
                    raise ValueError(f"topic {topic} is compacted: its records need keys")
                if len(key or b"") + len(value or b"") > limit:
                    raise RecordTooLargeError(
                        f"topic {topic} accepts records of {limit} bytes, "
                        f"got one of {len(key or b'') + len(value or b'')}"
                    )
            return log.append(records, self._clock() if timestamp is None else timestamp)

    def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        max_records: int = 1_000,
        max_bytes: int = 32 * 1024 * 1024,
    ) -> list[Record]:
        """Return records from an offset on, in order; an empty list at the end.

        The limits cut the list, but one record is always returned if there is one. The next
        offset to read is the last record's plus one.
        Raises UnknownTopicError; CorruptLogError when the file was damaged.
        """
        with self._guard:
            return self._partition_log(topic, partition).read(offset, max_records, max_bytes)

    def first_offset(self, topic: str, partition: int) -> int:
        """Return the first offset that the partition still holds."""
        with self._guard:
            return self._partition_log(topic, partition).first_offset

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int:
        """Return the offset of the first record at or after a log time; the end if there is none.

        timestamp: ms UTC.
        """

        def reached(offset: int) -> bool:
            record = self.read(topic, partition, offset, 1)
            return not record or record[0].timestamp >= timestamp

        offsets = range(self.first_offset(topic, partition), self.end_offset(topic, partition))
        return offsets.start + bisect_left(offsets, True, key=reached)

    def end_offset(self, topic: str, partition: int) -> int:
        """Return the offset that the partition's next record will have."""
        with self._guard:
            return self._partition_log(topic, partition).end_offset

    def commit(self, group: str, positions: Mapping[tuple[str, int], int]) -> None:
        """Store the next offsets that a group reads, by (topic, partition).

        They are deleted with their topic. Raises UnknownTopicError.
        """
        with self._guard:
            for topic in {topic for topic, _ in positions}:
                self._logs(topic)
                file = self._folder / topic / COMMITTED
                groups = json.loads(file.read_text()) if file.exists() else {}
                offsets = groups.setdefault(group, {})
                offsets.update({str(n): at for (of, n), at in positions.items() if of == topic})
                aside = file.with_suffix(".new")
                aside.write_text(json.dumps(groups))
                aside.replace(file)

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        """Return the next offset that a group committed for a partition; None if it has none."""
        with self._guard:
            self._partition_log(topic, partition)
            file = self._folder / topic / COMMITTED
            groups = json.loads(file.read_text()) if file.exists() else {}
            offset: int | None = groups.get(group, {}).get(str(partition))
            return offset

    def topics(self) -> dict[str, TopicDefinition]:
        """Return the topics by name."""
        with self._guard:
            return dict(self._topics)

    def topic_id(self, topic: str) -> str:
        """Return the id of a topic, which one that is created again does not share."""
        with self._guard:
            self._logs(topic)
            return self._ids[topic]

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises UnknownTopicError."""
        with self._guard:
            return len(self._logs(topic))

    def delete_topic(self, topic: str) -> None:
        """Remove a topic and its records. Raises UnknownTopicError."""
        with self._guard:
            for log in self._logs(topic):
                log.close()
            del self._partitions[topic], self._topics[topic], self._ids[topic]
            # The description goes first: without it, what is left is no topic.
            (self._folder / topic / "topic.json").unlink()
            shutil.rmtree(self._folder / topic)

    def sync(self) -> None:
        """Have everything appended so far written to the disk itself."""
        with self._guard:
            for logs in self._partitions.values():
                for log in logs:
                    log.sync()

    def close(self) -> None:
        """Write everything to the disk and let go of the folder. May be called again."""
        with self._guard:
            if self._lock < 0:
                return
            try:
                for logs in self._partitions.values():
                    for log in logs:
                        log.sync()
                        log.close()
            finally:
                self._partitions.clear()
                self._topics.clear()
                self._ids.clear()
                os.close(self._lock)
                self._lock = -1

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log."""
        self.close()

    def _describe(self, definition: TopicDefinition, topic_id: str, *, write: bool = True) -> None:
        """Note a topic's id; with `write`, store it with the definition."""
        self._ids[definition.name] = topic_id
        if write:
            # Written aside: a topic exists once its whole description does.
            folder = self._folder / definition.name
            aside = folder / "topic.json.new"
            aside.write_text(json.dumps({**asdict(definition), "id": topic_id}, indent=1))
            aside.replace(folder / "topic.json")

    def _open_topic(self, definition: TopicDefinition) -> None:
        compacted = definition.cleanup_policy == "compact"
        logs: list[PartitionLog] = []
        self._topics[definition.name] = definition
        self._partitions[definition.name] = logs
        for partition in range(definition.partitions):
            folder = self._folder / definition.name / str(partition)
            log = PartitionLog(
                definition.name,
                partition,
                folder,
                segment_bytes=self._segment_bytes,
                compacted=compacted,
            )
            logs.append(log)
            if compacted:
                log.compact(self._clock() - TOMBSTONES_STAY_MS)

    def _logs(self, topic: str) -> list[PartitionLog]:
        if self._lock < 0:
            raise EmbeddedLogError(f"the log in {self._folder} is closed")
        if topic not in self._partitions:
            known = ", ".join(self._partitions) or "none"
            raise UnknownTopicError(f"there is no topic {topic}; create it first. Known: {known}")
        return self._partitions[topic]

    def _partition_log(self, topic: str, partition: int) -> PartitionLog:
        logs = self._logs(topic)
        if not 0 <= partition < len(logs):
            raise UnknownTopicError(
                f"topic {topic} has partitions 0 to {len(logs) - 1}, there is no {partition}"
            )
        return logs[partition]

    def _partition_of(self, topic: str, key: bytes | None) -> int:
        partitions = len(self._logs(topic))
        if key is None:
            return next(self._without_key) % partitions
        return murmur2_partition(key, partitions)


def _lock(folder: Path) -> int:
    """Return the open lock file; the operating system frees it when the process dies."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise LogLockedError(
            f"the log in {folder} is open elsewhere: only one process may use it; stop that one"
        ) from None
    return lock
