"""Administration of topics: creating, comparing, describing, and which ones they are.

Each function takes settings of a Kafka cluster, or an embedded log, and does the same to either.
They block; an event loop calls them by asyncio.to_thread.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from streams.admin_client import admin_client
from streams.embedded import EmbeddedLog
from streams.positions import TopicIdentity
from streams.reach import AdminError, UnreachableError
from streams.security import KafkaSettings
from streams.topics import TopicDefinition

Log = KafkaSettings | EmbeddedLog

# Kafka answers some requests before all of it knows; we ask again after this long.
POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One setting of a topic that exists: what was asked for and what was found."""

    wanted: str
    found: str


@dataclass(frozen=True, kw_only=True)
class TopicReport:
    """What create_topics did, or what compare_topics found.

    created, unchanged, and missing (of compare_topics alone): names of topics. differing: by topic,
    the settings that are not as asked for, by Kafka's names (and "partitions", "replication");
    nothing of them was changed.
    """

    created: tuple[str, ...]
    unchanged: tuple[str, ...]
    differing: dict[str, dict[str, Difference]]
    missing: tuple[str, ...] = ()


def create_topics(log: Log, definitions: Iterable[TopicDefinition]) -> TopicReport:
    """Create the topics that do not exist yet, and report how the others differ.

    Idempotent, also when two processes do it at once. Never changes a topic that exists: what
    must be done about a difference is for a person to decide. Raises AdminError.
    """
    wanted = {definition.name: definition for definition in definitions}
    created = _create(log, wanted)
    others = compare_topics(log, [wanted[name] for name in wanted if name not in created])
    return TopicReport(
        created=tuple(name for name in wanted if name in created),
        unchanged=(*others.unchanged, *others.missing),
        differing=others.differing,
    )


def compare_topics(log: Log, definitions: Iterable[TopicDefinition]) -> TopicReport:
    """Report which topics are missing and how those that exist differ. Raises AdminError."""
    wanted = {definition.name: definition for definition in definitions}
    found = describe_topics(log, wanted)
    differing = {
        name: difference
        for name, definition in wanted.items()
        if name in found and (difference := _differences(definition, found[name]))
    }
    return TopicReport(
        created=(),
        unchanged=tuple(n for n in wanted if n in found and n not in differing),
        differing=differing,
        missing=tuple(name for name in wanted if name not in found),
    )


def delete_topics(log: Log, names: Iterable[str]) -> None:
    """Delete topics and their records; names that do not exist are ignored.

    Returns when they are gone, so that they can be created again. Raises AdminError.
    """
    names = set(names)
    if isinstance(log, EmbeddedLog):
        for name in names & log.topics().keys():
            log.delete_topic(name)
        return
    with admin_client(log) as client:
        existing = sorted(names & set(client.list_topics()))
        if existing:
            client.delete_topics(existing)
        deadline = time.monotonic() + log.request_timeout_ms / 1000
        while left := names & set(client.list_topics()):
            if time.monotonic() > deadline:
                raise AdminError(f"topics are still there after deletion: {sorted(left)}")
            time.sleep(POLL_SECONDS)


def add_partitions(kafka: KafkaSettings, name: str, partitions: int) -> None:
    """Give a topic more partitions where it is; no record moves. Raises AdminError.

    Returns when the brokers say so: a role that starts next must not see the number before.
    """
    with admin_client(kafka) as client:
        client.create_partitions({name: partitions})
        deadline = time.monotonic() + kafka.request_timeout_ms / 1000
        while (found := len(partitions_of(client, [name]).get(name, ()))) < partitions:
            if time.monotonic() > deadline:
                raise AdminError(f"topic {name} has {found} partitions still, not {partitions}")
            time.sleep(POLL_SECONDS)


def set_topic_config(kafka: KafkaSettings, name: str, setting: str, value: str) -> None:
    """Set one setting of a topic, by Kafka's name. Raises AdminError."""
    with admin_client(kafka) as client:
        client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, configs={setting: value})]
        )


def describe_topics(log: Log, names: Iterable[str]) -> dict[str, TopicDefinition]:
    """Return the topics of these names as they are; names that do not exist are omitted.

    Raises AdminError, also where this client may not see a topic's settings.
    """
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {name: topic for name, topic in log.topics().items() if name in names}
    if not names:
        return {}
    with admin_client(log) as client:
        partitions = partitions_of(client, names)
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in partitions]
        if not resources:
            return {}
        configs = client.describe_configs(resources, config_filter="all")["topic"]
    return {
        name: _definition(name, rows, {key: row["value"] for key, row in configs[name].items()})
        for name, rows in partitions.items()
    }


def partition_counts(log: Log, names: Iterable[str]) -> dict[str, int]:
    """Return how many partitions topics have; names that do not exist are omitted.

    Asks for nothing but that: to describe a topic whole takes the right to see its settings.
    """
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {name: topic.partitions for name, topic in log.topics().items() if name in names}
    if not names:
        return {}
    with admin_client(log) as client:
        return {name: len(rows) for name, rows in partitions_of(client, names).items()}


def topic_identities(log: Log, names: Iterable[str]) -> dict[str, TopicIdentity]:
    """Return which topics these names stand for now; names that do not exist are omitted."""
    names = sorted(set(names))
    if isinstance(log, EmbeddedLog):
        return {
            name: TopicIdentity(topic=name, id=log.topic_id(name), partitions=topic.partitions)
            for name, topic in log.topics().items()
            if name in names
        }
    if not names:
        return {}
    with admin_client(log) as client:
        return _identities(client, names)


def identities_by(client: Any, names: Iterable[str]) -> dict[str, TopicIdentity]:
    """Answer `topic_identities` by a client that is connected."""
    return _identities(client, sorted(set(names)))


def _identities(client: Any, names: Iterable[str]) -> dict[str, TopicIdentity]:
    return {
        name: TopicIdentity(topic=name, id=_topic_id(row), partitions=len(row["partitions"]))
        for name, row in _described(client, names).items()
    }


def producer_timed(log: Log, names: Iterable[str]) -> list[str]:
    """Return which of these topics keep the times that their producers set (CreateTime).

    A wrong clock of a producer is a wrong time in the log then. Topics that do not exist, and those
    whose settings this client may not see, are left out. Raises UnreachableError.
    """
    try:
        found = describe_topics(log, names)
    except UnreachableError:
        raise
    except AdminError:
        return []
    return sorted(
        name
        for name, topic in found.items()
        if topic.config.get("message.timestamp.type") == "CreateTime"
    )


def _topic_id(described: Mapping[str, Any]) -> str:
    """The id of a topic as text; empty if the broker gives none."""
    found = str(described.get("topic_id") or "")
    return "" if found.strip("0-") == "" else found


def _create(log: Log, wanted: Mapping[str, TopicDefinition]) -> set[str]:
    """Create what is missing and return the names of what was created."""
    if isinstance(log, EmbeddedLog):
        missing = wanted.keys() - log.topics().keys()
        return {name for name in sorted(missing) if log.create_topic(wanted[name])}
    created = set()
    with admin_client(log) as client:
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
    # The client passes over the refusal of a broker and gives no settings.
    if missing := {"retention.ms", "cleanup.policy"} - config.keys():
        raise AdminError(
            f"topic {name}: the broker does not tell {', '.join(sorted(missing))}; this client "
            "needs the right DescribeConfigs"
        )
    return TopicDefinition(
        name=name,
        partitions=len(partitions),
        replication=min(len(partition["replica_nodes"]) for partition in partitions),
        retention_ms=int(config.pop("retention.ms")),
        cleanup_policy=config.pop("cleanup.policy"),
        config=config,
    )


def partitions_of(client: Any, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return what a connected client knows of topics' partitions; missing topics are omitted."""
    return {name: row["partitions"] for name, row in _described(client, names).items()}


def _described(client: Any, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what the cluster knows of topics; names that do not exist are omitted."""
    described = client.describe_topics(list(names))
    errors = {topic["name"]: for_code(topic["error_code"]) for topic in described}
    hidden = sorted(n for n, error in errors.items() if error is TopicAuthorizationFailedError)
    if hidden:
        raise AdminError(f"this client lacks the right Describe on topic {', '.join(hidden)}")
    return {
        topic["name"]: topic
        for topic in described
        if errors[topic["name"]] is not UnknownTopicOrPartitionError
    }
