"""Streams: topics, records, codecs, Kafka administration and security, the embedded log.

What other rooms use of it; the transport for Faust and the development broker are imported from
their own modules, for they are slow to load and needed by few.
"""

from streams.admin import (
    AdminError,
    Difference,
    Log,
    PartitionOffsets,
    TopicReport,
    create_topics,
    delete_topics,
    describe_topics,
    end_offsets,
    group_lag,
    held_offsets,
    offsets_at,
)
from streams.bulk import BulkWriteError, Partitioner, bulk_write
from streams.codec import (
    EventBatch,
    EventRules,
    RecordBatch,
    decode,
    decode_events,
    decode_items,
    decode_requests,
    decode_users,
    encode,
    encode_events,
)
from streams.dead_letters import count_reasons, dead_letter
from streams.embedded import (
    EmbeddedLog,
    EmbeddedLogError,
    LogLockedError,
    RecordTooLargeError,
    TopicExistsError,
    UnknownTopicError,
)
from streams.partition_log import CorruptLogError
from streams.partitioner import murmur2_partition
from streams.positions import Held, PositionError
from streams.records import (
    DeadLetter,
    Event,
    HoldingCheckpoint,
    Item,
    LogRecord,
    ModelAnnouncement,
    Reason,
    Receipt,
    Recommendation,
    RecommendedItem,
    Record,
    Request,
    Source,
    User,
    user_sha256,
)
from streams.security import KafkaSettings, SecurityError
from streams.topics import TopicDefinition, TopicSettings, topics

__all__ = [
    "AdminError",
    "BulkWriteError",
    "CorruptLogError",
    "DeadLetter",
    "Difference",
    "EmbeddedLog",
    "EmbeddedLogError",
    "Event",
    "EventBatch",
    "EventRules",
    "Held",
    "HoldingCheckpoint",
    "Item",
    "KafkaSettings",
    "Log",
    "LogLockedError",
    "LogRecord",
    "ModelAnnouncement",
    "PartitionOffsets",
    "Partitioner",
    "PositionError",
    "Reason",
    "Receipt",
    "Recommendation",
    "RecommendedItem",
    "Record",
    "RecordBatch",
    "RecordTooLargeError",
    "Request",
    "SecurityError",
    "Source",
    "TopicDefinition",
    "TopicExistsError",
    "TopicReport",
    "TopicSettings",
    "UnknownTopicError",
    "User",
    "bulk_write",
    "count_reasons",
    "create_topics",
    "dead_letter",
    "decode",
    "decode_events",
    "decode_items",
    "decode_requests",
    "decode_users",
    "delete_topics",
    "describe_topics",
    "encode",
    "encode_events",
    "end_offsets",
    "group_lag",
    "held_offsets",
    "murmur2_partition",
    "offsets_at",
    "topics",
    "user_sha256",
]
