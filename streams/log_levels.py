"""What the Kafka clients call warnings and errors although it is the ordinary course of things."""

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


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """How often a message is ordinary: so many times within so many seconds.

    Beyond that it is shown, since the cause does not pass. The clients try again every 0.1 s.
    """

    times: int
    within_s: float = math.inf


# A broker closes connections: after its `connections.max.reauth.ms`, since aiokafka does not log in
# again on an open one, after its `connections.max.idle.ms`, and when it restarts. All connections
# of a process can be closed in the same second. The client connects again and repeats the request.
_LOST_CONNECTION = Allowance(times=30, within_s=60.0)

# (logger, beginning of the message's format) -> how often it is ordinary.
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
}


@dataclass
class Demotion:
    """A filter of the clients' loggers that lowers what is ordinary to INFO."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[tuple[str, str], deque[float]] = field(default_factory=dict)

    def __call__(self, record: logging.LogRecord) -> bool:
        """Lower the level of a record if it is ordinary; False where INFO is not shown."""
        if record.levelno < logging.WARNING:
            return True
        for (name, beginning), allowance in _ORDINARY.items():
            if record.name == name and str(record.msg).startswith(beginning):
                if self._is_too_often((name, beginning), allowance):
                    return True
                record.levelno, record.levelname = logging.INFO, "INFO"
                return logging.getLogger(name).isEnabledFor(logging.INFO)
        return True

    def _is_too_often(self, kind: tuple[str, str], allowance: Allowance) -> bool:
        now, seen = self.clock(), self._seen.setdefault(kind, deque(maxlen=allowance.times))
        too_often = len(seen) == allowance.times and now - seen[0] < allowance.within_s
        seen.append(now)
        return too_often


_demote = Demotion()


def demote_ordinary_warnings() -> None:
    """Log at INFO what rebalances, lost connections and new topics bring. May be called again."""
    for name in {name for name, _ in _ORDINARY}:
        logging.getLogger(name).addFilter(_demote)
