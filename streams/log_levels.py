"""What the Kafka clients call warnings and errors although it is the ordinary course of things."""

import logging
from collections import Counter

# (logger, beginning of the message's format) -> how often in a process it is ordinary; beyond that
# it is shown, for then it does not pass. The clients try again every 0.1 s.
_ORDINARY = {
    ("aiokafka.consumer.group_coordinator", "Heartbeat failed for group %s because"): 1_000_000,
    ("aiokafka.consumer.group_coordinator", "OffsetCommit failed for group %s due to group"): 1000,
    ("aiokafka.consumer.group_coordinator", "Group Coordinator Request failed"): 50,
    ("aiokafka.producer.sender", "Got error produce response on topic-partition"): 50,
}
_seen: Counter[tuple[str, str]] = Counter()


def demote_ordinary_warnings() -> None:
    """Log at INFO what every rebalance, new group or new topic brings. May be called again."""
    for name, _ in _ORDINARY:
        logging.getLogger(name).addFilter(_demote)


def _demote(record: logging.LogRecord) -> bool:
    """Lower the level of what is ordinary; False where INFO is not shown."""
    if record.levelno < logging.WARNING:
        return True
    for kind, times in _ORDINARY.items():
        name, beginning = kind
        if record.name == name and str(record.msg).startswith(beginning):
            _seen[kind] += 1
            if _seen[kind] > times:
                return True
            record.levelno, record.levelname = logging.INFO, "INFO"
            return logging.getLogger(name).isEnabledFor(logging.INFO)
    return True
