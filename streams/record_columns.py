"""Records of one partition as columns over one buffer; a record is made when it is asked for."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from streams.log_record import LogRecord

__all__ = [
    "ABSENT",
    "FIELDS",
    "HEADERS",
    "KEY",
    "KEY_BYTES",
    "OFFSET",
    "TIME",
    "TIME_TYPE",
    "VALUE",
    "VALUE_BYTES",
    "KafkaRecord",
    "RecordColumns",
    "columns_of",
    "joined",
    "log_times",
    "packed_headers",
]

Headers = Sequence[tuple[str, bytes | None]]

#: Columns of the table: the offset; the log timestamp (ms UTC) and timestamp type, ABSENT where it
#: has none; where key and value begin in the buffer, and their lengths (ABSENT if null); where the
#: headers begin, ABSENT without any.
OFFSET, TIME, TIME_TYPE, KEY, KEY_BYTES, VALUE, VALUE_BYTES, HEADERS = range(8)
FIELDS = 8
ABSENT: Final = -1
_PLACES = [KEY, VALUE, HEADERS]


class KafkaRecord(NamedTuple):
    """One record of a Kafka topic, a `LogRecord` with headers."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class RecordColumns(Sequence[KafkaRecord]):
    """Records of one partition in offset order.

    data:  the bytes in which keys, values and headers lie.
    table: int64 [n, FIELDS], a row for each record.

    Also a sequence of records; each access to one makes it again.
    """

    __slots__ = ("data", "partition", "table", "topic")

    def __init__(self, topic: str, partition: int, data: bytes, table: NDArray[np.int64]) -> None:
        """Take over the columns."""
        self.topic = topic
        self.partition = partition
        self.data = data
        self.table = table

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.table)

    @overload
    def __getitem__(self, at: int) -> KafkaRecord: ...
    @overload
    def __getitem__(self, at: slice) -> "RecordColumns": ...
    def __getitem__(self, at: int | slice) -> "KafkaRecord | RecordColumns":
        """Return one record, or some as columns over the same buffer."""
        if isinstance(at, slice):
            return RecordColumns(self.topic, self.partition, self.data, self.table[at])
        return self._record(self.table[at].tolist())

    def __iter__(self) -> Iterator[KafkaRecord]:
        """Make the records one after the other."""
        return map(self._record, self.table.tolist())

    def take(self, rows: NDArray[Any]) -> list[KafkaRecord]:
        """Make the records of some rows: their numbers, or bool [n]."""
        return list(map(self._record, self.table[rows].tolist()))

    @property
    def offsets(self) -> NDArray[np.int64]:
        """int64 [n]."""
        return self.table[:, OFFSET]

    def with_headers(self) -> list[KafkaRecord]:
        """Make those records that have headers."""
        return self.take(self.table[:, HEADERS] != ABSENT)

    def _record(self, row: list[int]) -> KafkaRecord:
        offset, time, time_type, key, key_bytes, value, value_bytes, headers = row
        data = self.data
        return KafkaRecord(
            self.topic,
            self.partition,
            offset,
            time,
            time_type,
            None if key_bytes < 0 else data[key : key + key_bytes],
            None if value_bytes < 0 else data[value : value + value_bytes],
            () if headers < 0 else _headers(data, headers),
        )


def log_times(records: Sequence[LogRecord]) -> NDArray[np.int64]:
    """Return the log's own times of records, ms UTC: int64 [n]."""
    if isinstance(records, RecordColumns):
        return records.table[:, TIME]
    return np.fromiter((record.timestamp for record in records), np.int64, len(records))


def columns_of(topic: str, partition: int, records: Iterable[Any]) -> RecordColumns:
    """Return records that are objects (with or without `headers`) as columns."""
    parts: list[bytes] = []
    rows: list[list[int]] = []
    at = 0
    for record in records:
        # The oldest format has no timestamps.
        row = [record.offset, *(_known(record.timestamp), _known(record.timestamp_type))]
        for part in (record.key, record.value):
            row += [at, ABSENT if part is None else len(part)]
            parts.append(part or b"")
            at += len(parts[-1])
        packed = packed_headers(getattr(record, "headers", ()))
        rows.append([*row, at if packed else ABSENT])
        parts.append(packed)
        at += len(packed)
    table = np.array(rows, np.int64).reshape(-1, FIELDS)
    return RecordColumns(topic, partition, b"".join(parts), table)


def _known(number: int | None) -> int:
    return ABSENT if number is None else number


def joined(parts: Sequence[RecordColumns]) -> RecordColumns:
    """Return several columns of one partition, at least one, as one."""
    if len(parts) == 1:
        return parts[0]
    table = np.concatenate([part.table for part in parts])
    begin = np.cumsum([0, *(len(part.data) for part in parts[:-1])])
    table[:, _PLACES] += np.repeat(begin, [len(part) for part in parts])[:, None]
    table[np.concatenate([part.table[:, HEADERS] for part in parts]) < 0, HEADERS] = ABSENT
    data = b"".join(part.data for part in parts)
    return RecordColumns(parts[0].topic, parts[0].partition, data, table)


def _headers(data: bytes, at: int) -> Headers:
    """Read headers in the form of Kafka's message format v2: a count, then names and values."""
    count, at = _varint(data, at)
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        length, at = _varint(data, at)
        name = data[at : at + length].decode(errors="replace")
        length, at = _varint(data, at + length)
        found.append((name, None if length < 0 else data[at : at + length]))
        at += max(length, 0)
    return tuple(found)


def packed_headers(headers: Headers) -> bytes:
    """Headers in the same form; nothing without any."""
    if not headers:
        return b""
    parts = [_as_varint(len(headers))]
    for name, value in headers:
        parts += [_as_varint(len(name.encode())), name.encode()]
        parts += [_as_varint(ABSENT if value is None else len(value)), value or b""]
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at


def _as_varint(number: int) -> bytes:
    """A number below 2^31 as a zigzag varint."""
    rest, out = (number << 1) ^ (number >> 31), bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)
