"""Records as a log hands them out: their places, times and ids; and the time now."""

import time
from typing import Annotated, NamedTuple, Protocol

from msgspec import Meta, Struct

MAX_ID_BYTES = 256


INT64_MAX = 2**63 - 1


Id = Annotated[
    str, Meta(min_length=1, max_length=MAX_ID_BYTES, description="At most 256 bytes, no NUL.")
]


Timestamp = Annotated[int, Meta(ge=0, le=INT64_MAX, description="Milliseconds since 1970, UTC.")]


Offset = Annotated[int, Meta(ge=0, le=INT64_MAX)]


#: Names of arms and channels: they stand in keys, metrics' labels and names of files.
NAME_PATTERN = "^[a-z0-9][a-z0-9_-]{0,31}$"


Name = Annotated[
    str,
    Meta(pattern=NAME_PATTERN, description="At most 32 of a-z, 0-9, _ and -, not - or _ first."),
]


#: The channel of bundles that everybody is served from who is in no experiment.
DEFAULT_CHANNEL = "default"


ItemTypeName = Id


CREATE_TIME = 0
"""Kafka's type of a record's time that its producer has set, not the broker."""


class LogRecord(Protocol):
    """A record as a log hands it out; aiokafka's ConsumerRecord and our Record are both one.

    timestamp is the log's own (ms UTC), negative where it has none; key and value are None when
    absent. timestamp_type is CREATE_TIME where a producer has set the timestamp.
    """

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def timestamp_type(self) -> int | None: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


class Record(NamedTuple):
    """A record of the embedded log, with the fields of LogRecord."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def timestamp_type(self) -> int:
        """LogAppendTime: the embedded log's own clock has set the timestamp."""
        return 1


class Source(Struct, frozen=True, kw_only=True):
    """The place of a record in the log."""

    topic: str
    partition: Offset
    offset: Offset

    @property
    def place(self) -> bytes:
        """As a key: topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}".encode()


def now_ms() -> int:
    """Return the time of the system's clock in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
