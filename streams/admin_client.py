"""A client for Kafka's administration, whose errors are AdminError."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka.errors import (
    KafkaError,
)

from streams.reach import AdminError, UnreachableError, require_broker
from streams.security import KafkaSettings

T = TypeVar("T")


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


class KeptClient:
    """Asks over a connection that stays open, for questions that are asked often.

    Opening a connection costs about seven times what a question costs (15 and 2 ms of CPU). May
    be used by several threads; a question waits for the one before it.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect with the first question."""
        self._kafka = kafka
        self._lock = threading.Lock()
        self._client: Any = None

    def ask(self, question: Callable[[Any], T]) -> T:
        """Return what a question returns of the connected client. Raises AdminError.

        A connection that no longer works (the broker was restarted, a session has ended) is opened
        again once.
        """
        with self._lock:
            if self._client is not None:
                try:
                    return question(self._client)
                except KafkaError:
                    self._close()
            with refusals(self._kafka):
                self._client = connected(self._kafka)
                try:
                    return question(self._client)
                except KafkaError:
                    self._close()
                    raise

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
