"""Limits of what the Kafka clients log: ordinary events at INFO, repeats a few times a minute."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_COORDINATOR = "aiokafka.consumer.group_coordinator"
_FETCHER = "aiokafka.consumer.fetcher"
_SENDER = "aiokafka.producer.sender"
_CLIENT = "aiokafka"
LIBRDKAFKA = "streams.librdkafka"
"""Logger of librdkafka; its messages all come from one line of code, and begin with their kind."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """A number of messages within a number of seconds."""

    times: int
    within_s: float = math.inf


# A broker closes connections: after its `connections.max.reauth.ms`, since aiokafka does not log in
# again on an open one, after its `connections.max.idle.ms`, and when it restarts. All connections
# of a process can be closed in the same second. The client connects again and repeats the request.
_LOST_CONNECTION = Allowance(times=30, within_s=60.0)

# (logger, beginning of the message's format) -> how often it is ordinary. Beyond that it keeps its
# level, because the cause does not pass.
_ORDINARY = {
    (_COORDINATOR, "Heartbeat failed for group %s because"): Allowance(times=1_000_000),
    (_COORDINATOR, "OffsetCommit failed for group %s due to group"): Allowance(times=1000),
    (_COORDINATOR, "Group Coordinator Request failed"): Allowance(times=50),
    (_SENDER, "Got error produce response on topic-partition"): Allowance(times=50),
    (_COORDINATOR, "Error sending %s to node"): _LOST_CONNECTION,
    (_COORDINATOR, "Heartbeat send request failed"): _LOST_CONNECTION,
    (_COORDINATOR, "Marking the coordinator dead"): _LOST_CONNECTION,
    (_COORDINATOR, "LeaveGroup request failed"): _LOST_CONNECTION,
    (_FETCHER, "Failed fetch messages from"): _LOST_CONNECTION,
    (_FETCHER, "Failed fetch offsets from"): _LOST_CONNECTION,
    (_SENDER, "Got error produce response:"): _LOST_CONNECTION,
    (_SENDER, "Could not send"): _LOST_CONNECTION,
    (_CLIENT, "Unable to request metadata from node"): _LOST_CONNECTION,
    (_CLIENT, "Unable to update metadata from"): _LOST_CONNECTION,
    (LIBRDKAFKA, "FAIL ["): _LOST_CONNECTION,
    (LIBRDKAFKA, "_TRANSPORT ["): _LOST_CONNECTION,
    (LIBRDKAFKA, "_ALL_BROKERS_DOWN ["): _LOST_CONNECTION,
    # A new cluster makes what it keeps the ids of producers in.
    (LIBRDKAFKA, "GETPID ["): Allowance(times=50),
}


# A client tries again every 0.1 s while a broker is away: a million lines a day without a limit.
_SHOWN = Allowance(times=10, within_s=60.0)

_LOGGERS = (
    _CLIENT, _COORDINATOR, _FETCHER, _SENDER,
    "aiokafka.cluster", "aiokafka.conn", "aiokafka.consumer.consumer", "aiokafka.producer.producer",
    "kafka.admin.client", "kafka.cluster", "kafka.net.connection", "kafka.net.manager", LIBRDKAFKA,
)  # fmt: skip


@dataclass
class ClientMessages:
    """A filter of the clients' loggers: lowers what is ordinary to INFO and limits repeats.

    Messages of the same line of code are repeats, also where the line formats them itself. Of
    warnings and errors ten are shown in a minute. The next one that is shown says how many were
    left out.
    """

    clock: Callable[[], float] = time.monotonic
    _ordinary: dict[tuple[str, str], deque[float]] = field(default_factory=dict)
    _shown: dict[tuple[str, int], deque[float]] = field(default_factory=dict)
    _left_out: dict[tuple[str, int], int] = field(default_factory=dict)

    def __call__(self, record: logging.LogRecord) -> bool:
        """Return whether a record is shown. Its level and its text may be changed."""
        if record.levelno < logging.WARNING:
            return True
        text = record.getMessage() if record.name == LIBRDKAFKA else str(record.msg)
        for (name, beginning), allowance in _ORDINARY.items():
            if record.name == name and text.startswith(beginning):
                seen = self._ordinary.setdefault((name, beginning), deque(maxlen=allowance.times))
                often = self._is_too_often(seen, allowance)
                seen.append(self.clock())
                if often:
                    break
                record.levelno, record.levelname = logging.INFO, "INFO"
                return logging.getLogger(name).isEnabledFor(logging.INFO)
        return self._is_shown(record)

    def _is_shown(self, record: logging.LogRecord) -> bool:
        kind = (record.pathname, record.lineno)
        if record.name == LIBRDKAFKA and isinstance(record.args, tuple) and record.args:
            kind = (str(record.args[0]), 0)
        shown = self._shown.setdefault(kind, deque(maxlen=_SHOWN.times))
        if self._is_too_often(shown, _SHOWN):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        shown.append(self.clock())
        if left_out := self._left_out.pop(kind, 0):
            record.msg = f"{record.msg} ({left_out} more like this were not logged)"
        return True

    def _is_too_often(self, seen: deque[float], allowance: Allowance) -> bool:
        return len(seen) == allowance.times and self.clock() - seen[0] < allowance.within_s


_client_messages = ClientMessages()


def limit_client_messages() -> None:
    """Limit what the Kafka clients log. May be called again."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_client_messages)
