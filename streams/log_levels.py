"""What the Kafka clients call warnings although it is the ordinary course of things."""

import logging

# (logger, beginning of the message): seen at every rebalance, or while a topic or group is new.
_ORDINARY = (
    ("aiokafka.consumer.group_coordinator", "Heartbeat failed for group"),
    ("aiokafka.consumer.group_coordinator", "Group Coordinator Request failed"),
    ("aiokafka.consumer.group_coordinator", "OffsetCommit failed for group"),
    ("aiokafka.producer.sender", "Got error produce response on topic-partition"),
)


def demote_ordinary_warnings() -> None:
    """Log at INFO what the clients repair by themselves. Calling it again changes nothing."""
    for name in {name for name, _ in _ORDINARY}:
        logging.getLogger(name).addFilter(_demote)


def _demote(record: logging.LogRecord) -> bool:
    """Lower the level of an ordinary warning; False where INFO is not shown."""
    if record.levelno != logging.WARNING:
        return True
    for name, beginning in _ORDINARY:
        if record.name == name and str(record.msg).startswith(beginning):
            record.levelno, record.levelname = logging.INFO, "INFO"
            return logging.getLogger(name).isEnabledFor(logging.INFO)
    return True
