"""Whether a Kafka broker answers at all, asked before a client is made.

The clients try for as long as a request may take, forty seconds by default, and log every attempt.
A command ends with one line after ANSWER_S instead; a role that runs for months waits for
PATIENCE_S when it starts.
"""

import logging
import queue
import socket
import ssl
import struct
import threading
import time

from streams.security import KafkaSettings, SecurityError

log = logging.getLogger(__name__)

ANSWER_S = 3.0
"""Longest wait for a first answer, in seconds, name resolution included."""
PATIENCE_S = 30.0
"""Longest wait of a role for its first answer, in seconds; and of anyone for a broker that has
answered this process before, since it is slow rather than absent."""
RETRY_S = 0.5
# ApiVersions, version 0, of correlation 1: a broker answers it before anyone logs in.
_REQUEST = struct.pack(">hhih", 18, 0, 1, -1)


class AdminError(RuntimeError):
    """Kafka does not answer, or refuses; the message says where and what."""


class UnreachableError(AdminError):
    """Kafka does not answer now; it may soon."""


#: Addresses of which a broker has answered this process.
_answered: set[str] = set()


def require_broker(kafka: KafkaSettings, *, answer_s: float | None = None) -> None:
    """Return as soon as one of the bootstrap servers answers a request.

    answer_s: longest wait, in seconds. By default ANSWER_S; after the first answer PATIENCE_S, or
    the request timeout if that is shorter.

    Raises UnreachableError within that time if none answers, at once if all refuse the connection;
    SecurityError for unusable certificates. Does not check rights: it does not log in.
    """
    if answer_s is None:
        known = kafka.bootstrap_servers in _answered
        answer_s = min(PATIENCE_S, kafka.request_timeout_ms / 1000) if known else ANSWER_S
    _ask_all(kafka, answer_s)
    _answered.add(kafka.bootstrap_servers)


def wait_for_broker(kafka: KafkaSettings, *, patience_s: float | None = None) -> None:
    """Return when one of the bootstrap servers answers; for a role that starts.

    Tries again where connections are refused or closed. Logs a warning if no broker answers within
    ANSWER_S or at the first try. Raises UnreachableError after `patience_s` seconds (by default
    PATIENCE_S), and SecurityError for unusable certificates.
    """
    deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    warned = False
    while True:
        left = deadline - time.monotonic()
        try:
            # The first try is short, so that a log says early what the role waits for.
            require_broker(kafka, answer_s=max(0.1, left if warned else min(ANSWER_S, left)))
        except UnreachableError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            if not warned:
                log.warning("waiting up to %.0f s more for a broker: %s", left, error)
                warned = True
            time.sleep(min(RETRY_S, left))
        else:
            return


def _ask_all(kafka: KafkaSettings, answer_s: float) -> None:
    context = kafka.ssl_context()
    found: queue.Queue[str | None] = queue.Queue()

    def ask(address: str) -> None:
        try:
            _ask(address, context, answer_s)
        except (OSError, SecurityError) as error:
            place = f"{address}: " if len(kafka.servers) > 1 else ""
            found.put(f"{place}{_reason(error)}")
        else:
            found.put(None)

    # In threads, since the resolver of names has no timeout; those that hang are left behind.
    for address in kafka.servers:
        threading.Thread(target=ask, args=(address,), daemon=True).start()
    deadline = time.monotonic() + answer_s
    failures: list[str] = []
    while len(failures) < len(kafka.servers):
        try:
            failure = found.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            failures.append(f"no answer within {answer_s:g} s")
            break
        if failure is None:
            return
        failures.append(failure)
    raise UnreachableError(
        f"no Kafka broker answers at {kafka.bootstrap_servers} ({'; '.join(failures)}). Check the "
        "address and security_protocol"
    )


def _ask(address: str, context: ssl.SSLContext | None, answer_s: float) -> None:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.create_connection((host, int(port)), timeout=answer_s) as plain:
        if context is None:
            _exchange(plain)
        else:
            with context.wrap_socket(plain, server_hostname=host) as secure:
                _exchange(secure)


def _exchange(connection: socket.socket) -> None:
    connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
    answer = b""
    while len(answer) < 8:
        part = connection.recv(8 - len(answer))
        if not part:
            raise ConnectionError("closed the connection without an answer")
        answer += part
    if struct.unpack(">ii", answer)[1] != 1:
        raise ConnectionError("does not answer as a Kafka broker")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or repr(error)
