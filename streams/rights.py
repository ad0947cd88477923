"""Which rights on Kafka a role needs, and which of them its user lacks.

A broker with an authoriser refuses a request when it is made: a worker that may not write dead
letters runs for weeks, until the first bad record. So a role asks at its start what it may do.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import aiokafka.errors
import kafka.errors
from kafka import KafkaAdminClient
from kafka.errors import GroupAuthorizationFailedError, KafkaError

from streams.offsets import once_coordinated
from streams.security import KafkaSettings

logger = logging.getLogger(__name__)

READ, WRITE = "Read", "Write"
_GROUP_REFUSED = (
    GroupAuthorizationFailedError,
    aiokafka.errors.GroupAuthorizationFailedError,
)
_TOPIC_REFUSED = (
    kafka.errors.TopicAuthorizationFailedError,
    aiokafka.errors.TopicAuthorizationFailedError,
)


class MissingRight(RuntimeError):
    """The user of this process lacks rights on Kafka; the message names each."""


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What a role does on Kafka.

    read, write: topics. group: the consumer group that it joins; empty if it joins none.
    """

    read: frozenset[str] = frozenset()
    write: frozenset[str] = frozenset()
    group: str = ""

    @property
    def on_topics(self) -> dict[str, set[str]]:
        """Topic -> operations, by Kafka's names."""
        wanted: dict[str, set[str]] = {}
        for operation, names in ((READ, self.read), (WRITE, self.write)):
            for name in names:
                wanted.setdefault(name, set()).add(operation)
        return wanted


def require_rights(settings: KafkaSettings, rights: Rights) -> None:
    """Raise MissingRight where this user may not do what a role does.

    Asks nothing where clients do not log in: such a broker cannot tell users apart. A broker that
    cannot be reached, or does not say what is allowed, is passed over: the role finds out later.
    """
    if settings.security_protocol == "PLAINTEXT":
        return
    try:
        missing = missing_rights(settings, rights)
    except KafkaError as error:
        logger.warning("rights on Kafka are not known before the start: %r", error)
        return
    if missing:
        raise MissingRight(_told(settings.sasl_username, missing))


def missing_rights(settings: KafkaSettings, rights: Rights) -> list[str]:
    """Return what is missing, such as `Write on topic segue.examples`. Raises KafkaError."""
    client = KafkaAdminClient(**settings.for_admin())
    try:
        found = [*_on_topics(client, rights)]
        if rights.group and not _may_read(client, rights.group, settings.request_timeout_ms):
            found.append(f"{READ} on group {rights.group}")
    finally:
        client.close()
    return found


def explained_refusal(user: str, error: BaseException) -> str | None:
    """Return what right was missing when Kafka refused a request; None for any other error.

    user: who we are to Kafka.
    Kafka names the topic or the group, and not what was to be done with it.
    """
    names = ", ".join(str(part) for part in error.args) or "one of this role's"
    if isinstance(error, _GROUP_REFUSED):
        return _told(user, [f"{READ} on group {names}"])
    if isinstance(error, _TOPIC_REFUSED):
        return _told(user, [f"{READ} or {WRITE} on topic {names}"])
    return None


def _told(user: str, missing: Iterable[str]) -> str:
    user = user or "of this client's certificate"
    return (
        f"Kafka user {user} lacks the right {', '.join(missing)}; deploy/kafka/acls.sh grants each "
        "role what it needs"
    )


def _on_topics(client: KafkaAdminClient, rights: Rights) -> Iterable[str]:
    wanted = rights.on_topics
    described = {topic["name"]: topic for topic in client.describe_topics(sorted(wanted))}
    for name, operations in sorted(wanted.items()):
        topic = described.get(name, {})
        refused = topic.get("error_code") == kafka.errors.TopicAuthorizationFailedError.errno
        allowed = {str(operation).title() for operation in topic.get("authorized_operations") or ()}
        if topic.get("error_code") and not refused:
            continue  # there is no such topic, and that is for others to say
        for operation in sorted(operations):
            if refused or (allowed and operation not in allowed):
                yield f"{operation} on topic {name}"


def _may_read(client: KafkaAdminClient, group: str, timeout_ms: int) -> bool:
    """Whether the user may read a group, as far as Kafka tells.

    Of a group that has no members yet it tells only whether the user may see it.
    """
    try:
        found = once_coordinated(lambda: client.describe_groups([group]), timeout_ms)[group]
    except GroupAuthorizationFailedError:
        return False
    if GroupAuthorizationFailedError.__name__ in str(found.get("error")):
        return False
    allowed = {str(operation).title() for operation in found.get("authorized_operations") or ()}
    return not allowed or bool(found.get("error")) or READ in allowed
