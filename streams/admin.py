"""Administration: creating topics, and how far the log and its readers have come.

Each function takes settings of a Kafka cluster, or an embedded log, and does the same to either.
They block; an event loop calls them by asyncio.to_thread.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from streams.embedded import EmbeddedLog
from streams.positions import Held
from streams.security import KafkaSettings
from streams.topics import TopicDefinition

Log = KafkaSettings | EmbeddedLog
PartitionOffsets = dict[str, dict[int, int]]

# Kafka answers some requests before all of it knows; we ask again after this long.
POLL_SECONDS = 0.1
_COORDINATOR_NOT_READY = (
    CoordinatorNotAvailableError,
    CoordinatorLoadInProgressError,
    NotCoordinatorError,
)


class AdminError(RuntimeError):
    """Kafka does not answer, or refuses; the message says where and what."""


class UnreachableError(AdminError):
    """Kafka does not answer now; it may soon."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One setting of a topic that exists: what was asked for and what was found."""

    wanted: str
    found: str


@dataclass(frozen=True, kw_only=True)
class TopicReport:
    """What create_topics did.

    created and unchanged: names of topics. differing: by topic, the settings that are not as
    asked for, by Kafka's names (and "partitions", "replication"); nothing of them was changed.
    """

    created: tuple[str, ...]
    unchanged: tuple[str, ...]
    differing: dict[str, dict[str, Difference]]


def create_topics(log: Log, definitions: Iterable[TopicDefinition]) -> TopicReport:
    """Create the topics that do not exist yet, and report how the others differ.

    Idempotent, also when two processes do it at once. Never changes a topic that exists: what
    must be done about a difference is for a person to decide. Raises AdminError.
    """
    wanted = {definition.name: definition for definition in definitions}
    created = _create(log, wanted)
    found = describe_topics(log, wanted.keys() - created)
    differing = {
        name: difference
        for name, definition in wanted.items()
        if name in found and (difference := _differences(definition, found[name]))
    }
    return TopicReport(
        created=tuple(name for name in wanted if name in created),
        unchanged=tuple(n for n in wanted if n not in created and n not in differing),
        differing=differing,
    )


def delete_topics(log: Log, names: Iterable[str]) -> None:
    """Delete topics and their records; names that do not exist are passed over.

    Returns when they are gone, so that they can be created anew. Raises AdminError.
    """
    names = set(names)
    if isinstance(log, EmbeddedLog):
        for name in names & log.topics().keys():
            log.delete_topic(name)
        return
    with _client(log) as client:
        existing = sorted(names & set(client.list_topics()))
        if existing:
            client.delete_topics(existing)
        deadline = time.monotonic() + log.request_timeout_ms / 1000
        while left := names & set(client.list_topics()):
            if time.monotonic() > deadline:
                raise AdminError(f"topics are still there after deletion: {sorted(left)}")
            time.sleep(POLL_SECONDS)


def describe_topics(log: Log, names: Iterable[str]) -> dict[str, TopicDefinition]:
    """Return the topics of these names as they are; names that do not exist are left out."""
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {name: topic for name, topic in log.topics().items() if name in names}
    if not names:
        return {}
    with _client(log) as client:
        partitions = _partitions(client, names)
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in partitions]
        if not resources:
            return {}
        configs = client.describe_configs(resources, config_filter="all")["topic"]
    return {
        name: _definition(name, rows, {key: row["value"] for key, row in configs[name].items()})
        for name, rows in partitions.items()
    }


def partition_counts(log: Log, names: Iterable[str]) -> dict[str, int]:
    """Return how many partitions topics have; names that do not exist are left out.

    Asks for nothing but that: to describe a topic whole takes the right to see its settings.
    """
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {name: topic.partitions for name, topic in log.topics().items() if name in names}
    if not names:
        return {}
    with _client(log) as client:
        return {name: len(rows) for name, rows in _partitions(client, names).items()}


def end_offsets(log: Log, names: Iterable[str]) -> PartitionOffsets:
    """Return by topic and partition the offset that the next record will have.

    Raises AdminError, or UnknownTopicError of the embedded log, when a topic does not exist.
    """
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {
            name: {part: log.end_offset(name, part) for part in range(log.partitions(name))}
            for name in names
        }
    with _client(log) as client:
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
    with _client(log) as client:
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
    with _client(log) as client:
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
    with _client(kafka) as client:
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


def group_positions(kafka: KafkaSettings, group: str) -> dict[tuple[str, int], int]:
    """Return by (topic, partition) the next offset that a consumer group has committed."""
    with _client(kafka) as client:
        committed = _committed(client, group, kafka.request_timeout_ms)
    return {(place.topic, place.partition): at.offset for place, at in committed.items()}


@contextmanager
def _client(kafka: KafkaSettings) -> Iterator[Any]:
    try:
        client = KafkaAdminClient(**kafka.for_admin())
    except KafkaError as error:
        raise _kind(error)(
            f"no Kafka broker answers at {kafka.bootstrap_servers}: {error!r}. Is one running "
            f"there, and are security_protocol and credentials right?"
        ) from error
    try:
        yield client
    except KafkaError as error:
        raise _kind(error)(f"Kafka at {kafka.bootstrap_servers} refused: {error!r}") from error
    finally:
        client.close()


def _kind(error: KafkaError) -> type[AdminError]:
    return UnreachableError if getattr(error, "retriable", False) else AdminError


def _create(log: Log, wanted: Mapping[str, TopicDefinition]) -> set[str]:
    """Create what is missing and return the names of what was created."""
    if isinstance(log, EmbeddedLog):
        missing = wanted.keys() - log.topics().keys()
        return {name for name in sorted(missing) if log.create_topic(wanted[name])}
    created = set()
    with _client(log) as client:
        existing = set(client.list_topics())
        requests = {
            name: {
                "num_partitions": definition.partitions,
                "replication_factor": definition.replication,
                "configs": definition.settings,
            }
            for name, definition in wanted.items()
            if name not in existing
        }
        if requests:
            answer = client.create_topics(requests, raise_errors=False)
            for topic in answer["topics"]:
                failure = for_code(topic["error_code"])
                if topic["error_code"] == 0:
                    created.add(topic["name"])
                elif failure is not TopicAlreadyExistsError:
                    raise AdminError(
                        f"topic {topic['name']} cannot be created: {failure.__name__}: "
                        f"{topic.get('error_message')}"
                    )
            client.wait_for_topics(list(requests))
    return created


def _differences(wanted: TopicDefinition, found: TopicDefinition) -> dict[str, Difference]:
    pairs = {
        "partitions": (str(wanted.partitions), str(found.partitions)),
        "replication": (str(wanted.replication), str(found.replication)),
    }
    for name, value in wanted.settings.items():
        pairs[name] = (value, found.settings.get(name, ""))
    return {
        name: Difference(wanted=value, found=other)
        for name, (value, other) in pairs.items()
        if value != other
    }


def _definition(
    name: str, partitions: list[dict[str, Any]], config: dict[str, str]
) -> TopicDefinition:
    return TopicDefinition(
        name=name,
        partitions=len(partitions),
        replication=min(len(partition["replica_nodes"]) for partition in partitions),
        retention_ms=int(config.pop("retention.ms")),
        cleanup_policy=config.pop("cleanup.policy"),
        config=config,
    )


def _partitions(client: Any, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    described = client.describe_topics(list(names))
    errors = {topic["name"]: for_code(topic["error_code"]) for topic in described}
    hidden = sorted(n for n, error in errors.items() if error is TopicAuthorizationFailedError)
    if hidden:
        raise AdminError(f"this client lacks the right Describe on topic {', '.join(hidden)}")
    return {
        topic["name"]: topic["partitions"]
        for topic in described
        if errors[topic["name"]] is not UnknownTopicOrPartitionError
    }


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


def _offsets(client: Any, names: Iterable[str], spec: Any) -> PartitionOffsets:
    partitions = _partitions(client, names)
    if missing := sorted(set(names) - partitions.keys()):
        raise AdminError(f"there is no topic {', '.join(missing)}; create the topics first")
    wanted = {
        TopicPartition(name, row["partition_index"]): spec
        for name, rows in partitions.items()
        for row in rows
    }
    found: PartitionOffsets = {name: {} for name in names}
    for place, at in client.list_partition_offsets(wanted).items():
        found[place.topic][place.partition] = at.offset
    return found
