"""A client for Kafka's administration, whose errors are AdminError."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import (
    KafkaError,
)

from streams.reach import AdminError, UnreachableError, require_broker
from streams.security import KafkaSettings


@contextmanager
def admin_client(kafka: KafkaSettings) -> Iterator[Any]:
    """Connect a client, and close it in the end. Raises AdminError for all errors of Kafka's."""
    client = connected(kafka)
    try:
        with refusals(kafka):
            yield client
    finally:
        client.close()


def connected(kafka: KafkaSettings) -> Any:
    """Return a client that is connected; close it. Raises AdminError."""
    require_broker(kafka)
    try:
        return KafkaAdminClient(**kafka.for_admin())
    except KafkaError as error:
        raise _kind(error)(
            f"no Kafka broker answers at {kafka.bootstrap_servers}: {error!r}. Check that a "
            f"broker runs there, and that security_protocol and credentials are correct."
        ) from error


@contextmanager
def refusals(kafka: KafkaSettings) -> Iterator[None]:
    """Raise AdminError for an error of Kafka's."""
    try:
        yield
    except KafkaError as error:
        raise _kind(error)(f"Kafka at {kafka.bootstrap_servers} refused: {error!r}") from error


def _kind(error: KafkaError) -> type[AdminError]:
    return UnreachableError if getattr(error, "retriable", False) else AdminError
