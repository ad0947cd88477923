"""How far the log, and the groups that read it, have come.

Each function takes settings of a Kafka cluster, or an embedded log. They block; an event loop calls
them by asyncio.to_thread.
"""

import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.admin import MemberToRemove, OffsetSpec
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    NoError,
    NotCoordinatorError,
    UnknownMemberIdError,
    for_code,
)
from kafka.protocol.consumer.offsets import IsolationLevel

from streams.admin import POLL_SECONDS, Log, partitions_of
from streams.admin_client import admin_client
from streams.embedded import EmbeddedLog
from streams.positions import Held
from streams.reach import AdminError
from streams.security import KafkaSettings

PartitionOffsets = dict[str, dict[int, int]]
_COORDINATOR_NOT_READY = (
    CoordinatorNotAvailableError,
    CoordinatorLoadInProgressError,
    NotCoordinatorError,
)


class Committed(NamedTuple):
    """Next offset that a group has committed of a partition, and the note with it."""

    offset: int
    note: str


def end_offsets(log: Log, names: Iterable[str]) -> PartitionOffsets:
    """Return by topic and partition the offset behind the last record that can be read.

    In Kafka that is the last stable offset: what lies behind it belongs to open transactions.
    Raises AdminError, or UnknownTopicError of the embedded log, when a topic does not exist.
    """
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {
            name: {part: log.end_offset(name, part) for part in range(log.partitions(name))}
            for name in names
        }
    with admin_client(log) as client:
        return _offsets(client, names, OffsetSpec.LATEST)


def held_offsets(log: Log, names: Iterable[str]) -> dict[tuple[str, int], Held]:
    """Return by (topic, partition) which offsets the log holds; raises as `end_offsets` does."""
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {
            (name, part): Held.by_embedded(log, name, part)
            for name in names
            for part in range(log.partitions(name))
        }
    with admin_client(log) as client:
        first = _offsets(client, names, OffsetSpec.EARLIEST)
        ends = _offsets(client, names, OffsetSpec.LATEST)
    return {
        (name, part): Held(topic=name, partition=part, first=first[name][part], end=end)
        for name, by_partition in ends.items()
        for part, end in by_partition.items()
    }


def offsets_at(log: Log, names: Iterable[str], timestamp: int) -> PartitionOffsets:
    """Return by topic and partition the offset of the first record at or after a log time.

    timestamp: ms UTC. Where no record is that late it is the end offset.
    """
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {
            name: {
                part: log.offset_at(name, part, timestamp) for part in range(log.partitions(name))
            }
            for name in names
        }
    with admin_client(log) as client:
        # Asked first: a record that comes in between must not fall between the two answers.
        ends = _offsets(client, names, OffsetSpec.LATEST)
        found = _offsets(client, names, timestamp)
    return {
        name: {part: at if at >= 0 else ends[name][part] for part, at in by_partition.items()}
        for name, by_partition in found.items()
    }


def group_lag(kafka: KafkaSettings, group: str, names: Iterable[str]) -> PartitionOffsets:
    """Return by topic and partition how many records a consumer group has still to read.

    Where the group has committed nothing, that is all records there are. Only as good as the
    group's commits: the truth about applied records is in the state.
    """
    names = sorted(set(names))
    with admin_client(kafka) as client:
        ends = _offsets(client, names, OffsetSpec.LATEST)
        starts = _offsets(client, names, OffsetSpec.EARLIEST)
        committed = _committed(client, group, kafka.request_timeout_ms)
    read = {(place.topic, place.partition): at.offset for place, at in committed.items()}
    return {
        name: {
            partition: max(0, end - max(read.get((name, partition), 0), starts[name][partition]))
            for partition, end in by_partition.items()
        }
        for name, by_partition in ends.items()
    }


def group_notes(kafka: KafkaSettings, group: str) -> dict[tuple[str, int], str]:
    """Return by (topic, partition) the note that a consumer group committed with its offset."""
    with admin_client(kafka) as client:
        committed = _committed(client, group, kafka.request_timeout_ms)
    return {tuple(place): _note(at) for place, at in committed.items()}


def group_positions(kafka: KafkaSettings, group: str) -> dict[tuple[str, int], int]:
    """Return by (topic, partition) the next offset that a consumer group has committed."""
    with admin_client(kafka) as client:
        committed = _committed(client, group, kafka.request_timeout_ms)
    return {(place.topic, place.partition): at.offset for place, at in committed.items()}


def committed_by(client: Any, group: str) -> dict[tuple[str, int], Committed]:
    """Return what a group has committed, by a client that is connected."""
    found: dict[Any, Any] = client.list_group_offsets(group).get(group, {})
    return {tuple(place): Committed(at.offset, _note(at)) for place, at in found.items()}


def remove_member(kafka: KafkaSettings, group: str, member: str) -> bool:
    """Have a member leave its group, as if it did so itself; False if it is none any more.

    Raises AdminError.
    """
    leaving = MemberToRemove(member_id=member)
    with admin_client(kafka) as client:
        [error] = client.remove_group_members(group, [leaving]).values()
        if error not in (NoError, UnknownMemberIdError):
            raise error
    return error is NoError


def _note(at: Any) -> str:
    # confluent-kafka commits the zero byte at the end of a C string, too.
    return (at.metadata or "").rstrip("\0")


def group_members(kafka: KafkaSettings, group: str) -> list[str]:
    """Return the client ids of a group's members; raises AdminError."""
    if kafka.transport == "librdkafka":
        # kafka-python describes groups of the classic protocol only, others as if they were empty.
        from streams.librdkafka_log import members_of  # noqa: PLC0415 an extra

        return members_of(kafka, group)
    with admin_client(kafka) as client:
        found = once_coordinated(lambda: _described(client, group), kafka.request_timeout_ms)
    return sorted(member["client_id"] for member in found)


def _described(client: Any, group: str) -> Any:
    """Return a group's members. The library puts the error into the text of the answer."""
    found = client.describe_groups([group])[group]
    if code := re.match(r"\[Error (\d+)\]", found["error"] or ""):
        error = for_code(int(code[1]))
        if error is not GroupIdNotFoundError:
            raise error(found["error"])
    return found["members"]


def _offsets(client: Any, names: Iterable[str], spec: Any) -> PartitionOffsets:
    partitions = partitions_of(client, names)
    if missing := sorted(set(names) - partitions.keys()):
        raise AdminError(f"there is no topic {', '.join(missing)}; create the topics first")
    wanted = {
        TopicPartition(name, row["partition_index"]): spec
        for name, rows in partitions.items()
        for row in rows
    }
    found: PartitionOffsets = {name: {} for name in names}
    for place, at in client.list_partition_offsets(
        wanted, isolation_level=IsolationLevel.READ_COMMITTED
    ).items():
        found[place.topic][place.partition] = at.offset
    return found


def _committed(client: Any, group: str, timeout_ms: int) -> dict[Any, Any]:
    found: dict[str, dict[Any, Any]] = once_coordinated(
        lambda: client.list_group_offsets(group), timeout_ms
    )
    return found.get(group, {})


def once_coordinated(ask: Callable[[], Any], timeout_ms: int) -> Any:
    """Ask something about a group, again while the cluster makes what it keeps groups in.

    A new cluster makes its topic of committed offsets when it is first asked for one.
    """
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        try:
            return ask()
        except _COORDINATOR_NOT_READY:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
