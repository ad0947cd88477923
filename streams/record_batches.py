"""Kafka's record batches (message format v2) as columns, without an object for each record.

The bytes of a fetch go through one kernel. What decides whether a batch is handed out (CRC, control
batches, aborted transactions, offsets below the position) is as in aiokafka's own reader, whose
batch objects are asked for it. Older formats are read by aiokafka record by record.
"""

import struct
from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import Any, cast

import numpy as np
from aiokafka import ConsumerRecord, codec
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException, KafkaError, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from numba import njit
from numpy.typing import NDArray

from streams.record_columns import (
    ABSENT,
    FIELDS,
    HEADERS,
    KEY,
    OFFSET,
    TIME,
    TIME_TYPE,
    VALUE,
    RecordColumns,
    columns_of,
    joined,
)

__all__ = ["ColumnFetcher", "MessageSet", "PartitionColumns", "batch_columns", "consumer_records"]

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

_HEADER = DefaultRecordBase.HEADER_STRUCT
_LENGTH = struct.Struct(">i")
#: Offset and length stand before what the length counts.
_LENGTH_AT, _COUNTED_FROM, _MAGIC_AT = 8, 12, 16
#: Versions of the format. The last one alone has columns.
_OLDER, _OF_COLUMNS = (0, 1), 2
#: A batch of each version has at least so many bytes: its header, or a record of nothing.
_LEAST_BYTES = {0: 26, 1: 34, _OF_COLUMNS: _HEADER.size}
_DECODERS = {
    DefaultRecordBase.CODEC_GZIP: (codec.has_gzip, codec.gzip_decode),
    DefaultRecordBase.CODEC_SNAPPY: (codec.has_snappy, codec.snappy_decode),
    DefaultRecordBase.CODEC_LZ4: (codec.has_lz4, codec.lz4_decode),
    DefaultRecordBase.CODEC_ZSTD: (codec.has_zstd, codec.zstd_decode),
}
#: A record of the format has at least so many bytes.
_LEAST_RECORD = 7


class MessageSet:
    """The bytes that a fetch brings of one partition: batches one behind the other.

    In place of aiokafka's `MemoryRecords`, which does not give the bytes away.
    """

    def __init__(self, data: bytes) -> None:
        """Take over the bytes; an incomplete batch at the end is ignored."""
        self._data = memoryview(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        """Return how many bytes there are."""
        return len(self._data)

    def has_next(self) -> bool:
        """Tell whether a whole batch is left."""
        return self._end() is not None

    def next(self) -> memoryview:
        """Return the bytes of the next batch. Raises StopIteration if no whole one is left."""
        end = self._end()
        if end is None:
            raise StopIteration
        begin, self._at = self._at, end
        return self._data[begin:end]

    def _end(self) -> int | None:
        """Where the next batch ends; None unless it is whole."""
        if len(self._data) - self._at < _COUNTED_FROM:
            return None
        (length,) = _LENGTH.unpack_from(self._data, self._at + _LENGTH_AT)
        end = self._at + _COUNTED_FROM + int(length)
        return end if end <= len(self._data) else None


class PartitionColumns(PartitionRecords):
    """The records that a fetch brings of one partition, as columns.

    next_fetch_offset: where the next fetch begins when what was taken is applied.
    exhausted: whether all is taken.
    """

    def __init__(self, tp: Any, records: MessageSet, *args: Any) -> None:
        """Read batches as they are asked for."""
        super().__init__(tp, records, *args)
        self._batches = self._read()
        self._rest: tuple[RecordColumns, int] | None = None
        self._error: KafkaError | None = None
        self.exhausted = False

    def take(self, most: int) -> RecordColumns | None:
        """Return the next records, at most so many; None if there are no more.

        Raises CorruptRecordException for a batch that is damaged.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        parts: list[RecordColumns] = []
        found = 0
        while found < most:
            try:
                self._rest = self._rest or next(self._batches, None)
            except KafkaError as error:
                if not parts:
                    raise
                self._error = error  # for the next call: the records before it are good
                break
            if self._rest is None:
                self.exhausted = True
                break
            columns, behind = self._rest
            part = columns[: most - found]
            if len(part) == len(columns):
                self._rest, self.next_fetch_offset = None, behind
            else:
                self._rest = columns[len(part) :], behind
                self.next_fetch_offset = int(part.table[-1, OFFSET]) + 1
            if len(part):
                parts.append(part)
                found += len(part)
        return joined(parts) if parts else None

    def _read(self) -> Iterator[tuple[RecordColumns, int]]:
        """Yield the records of each batch from the position on, and the offset behind the batch."""
        while self._records.has_next():
            data = self._records.next()
            batch = _batch(data)
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"Invalid CRC - {self._tp}")
            if self._is_passed_over(batch):
                yield self._columns(data, batch, passed_over=True), batch.next_offset
                continue
            yield self._columns(data, batch), batch.next_offset

    def _is_passed_over(self, batch: Any) -> bool:
        """Whether a batch is a control batch, or of a transaction that was aborted."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                # An abort marker may come for a partition that has nothing else of it.
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)

    def _columns(self, data: memoryview, batch: Any, *, passed_over: bool = False) -> RecordColumns:
        topic, partition = self._tp
        if passed_over:
            return columns_of(topic, partition, ())
        if data[_MAGIC_AT] in _OLDER:
            columns = columns_of(topic, partition, batch)
            return columns[int(np.searchsorted(columns.offsets, self.next_fetch_offset)) :]
        return batch_columns(topic, partition, data, self.next_fetch_offset)


def _batch(data: memoryview) -> Any:
    """aiokafka's object for one batch: has its header, and reads older formats.

    Raises CorruptRecordException for a length that is too small for a header, and for a version
    that Kafka does not have, as Kafka's own client does: in format v2 the CRC covers neither.
    aiokafka reads versions from 3 to 127 as v2, and those from 128 on end it with a SystemError. It
    reads beyond the end of a batch that is too short, which can end the process.
    """
    magic = data[_MAGIC_AT] if len(data) > _MAGIC_AT else 0
    least = _LEAST_BYTES.get(magic)
    if least is None:
        raise CorruptRecordException(
            f"a record batch of format version {magic}; Kafka has the versions 0 to {_OF_COLUMNS}"
        )
    if len(data) < least:
        raise CorruptRecordException(f"a batch of {len(data)} bytes")
    return LegacyRecordBatch(data, magic) if magic in _OLDER else DefaultRecordBatch(data)


def batch_columns(topic: str, partition: int, batch: memoryview, first: int = 0) -> RecordColumns:
    """Return the records of one batch of format v2, which is whole, from offset `first` on.

    Raises CorruptRecordException unless its records fill it exactly, UnsupportedCodecError.
    """
    fields = _HEADER.unpack_from(batch)
    base_offset, attributes, first_time, last_time, count = (fields[i] for i in (0, 5, 7, 8, 12))
    if count == 0:  # compaction leaves such batches
        return columns_of(topic, partition, ())
    data = _uncompressed(batch[_HEADER.size :], attributes & DefaultRecordBase.CODEC_MASK)
    if count < 0 or count * _LEAST_RECORD > len(data):
        raise CorruptRecordException(f"{count} records in {len(data)} bytes")
    table = np.empty((count, FIELDS), np.int64)
    log_append = bool(attributes & DefaultRecordBase.TIMESTAMP_TYPE_MASK)
    end, kept = _read_records(np.frombuffer(data, np.uint8), base_offset, first_time, first, table)
    if end != len(data):
        raise CorruptRecordException(
            f"batch at offset {base_offset} of {topic}/{partition}: its records are damaged"
        )
    table[:, TIME_TYPE] = int(log_append)
    if log_append:
        table[:, TIME] = last_time
    return RecordColumns(topic, partition, data, table[:kept])


def consumer_records(records: RecordColumns) -> list[ConsumerRecord[bytes, bytes]]:
    """Make records as aiokafka hands them out."""
    return [
        ConsumerRecord(
            *(topic, partition, offset, time, time_type, key, value, None),
            *(ABSENT if part is None else len(part) for part in (key, value)),
            tuple(headers),
        )
        for topic, partition, offset, time, time_type, key, value, headers in records
    ]


def _uncompressed(data: memoryview, compression: int) -> bytes:
    if compression == DefaultRecordBase.CODEC_NONE:
        return data.tobytes()
    has, decode = _DECODERS.get(compression, (lambda: False, bytes))
    if not has():
        raise UnsupportedCodecError(f"no library for compression type {compression} of records")
    return bytes(decode(data.tobytes()))


@njit(cache=True)
def _varint(data: U8, at: int) -> tuple[np.int64, int]:
    """A zigzag varint and where it ends; -1 beyond the data or for one that is too long."""
    number, shift = np.uint64(0), np.uint64(0)
    while at < len(data) and shift < np.uint64(70):
        byte = data[at]
        at += 1
        number |= np.uint64(byte & 0x7F) << shift
        if byte < 0x80:
            half = np.int64(number >> np.uint64(1))
            return (half ^ -np.int64(number & np.uint64(1))), at
        shift += np.uint64(7)
    return np.int64(0), -1


@njit(cache=True)
def _read_records(  # noqa: PLR0911 each check ends it
    data: U8, base_offset: int, first_time: int, first: int, table: I64
) -> tuple[int, int]:
    """Fill the table with a batch's records from offset `first` on, one for each row or fewer.

    Returns where they end, -1 for damaged ones, and how many are in the table. Offsets only grow:
    a record that lies before one read is left out.

    Record: length, attributes, time, offset, key, value, headers; numbers are zigzag varints, time
    and offset as differences from the batch's first, a length of -1 means null.
    """
    at, row = 0, 0
    for _ in range(len(table)):
        length, at = _varint(data, at)
        if at < 0 or length < 0 or length > len(data) - at:
            return -1, 0
        end = at + length
        _, at = _varint(data, at)
        if at < 0:
            return -1, 0
        time, at = _varint(data, at)
        if at < 0:
            return -1, 0
        offset, at = _varint(data, at)
        if at < 0:
            return -1, 0
        offset += base_offset
        table[row, TIME], table[row, OFFSET] = first_time + time, offset
        for column in (KEY, VALUE):
            length, at = _varint(data, at)
            if at < 0 or length > end - at:
                return -1, 0
            table[row, column], table[row, column + 1] = at, max(length, ABSENT)
            at += max(length, 0)
        headers = at
        count, at = _varint(data, at)
        if at < 0 or count < 0:
            return -1, 0
        table[row, HEADERS] = headers if count else ABSENT
        for part in range(2 * count):
            length, at = _varint(data, at)
            if at < 0 or length > end - at or (length < 0 and part % 2 == 0):
                return -1, 0
            at += max(length, 0)
        if at != end:
            return -1, 0
        if offset >= first:
            row, first = row + 1, offset + 1
    return at, row


class _Fetched(FetchResult):
    """What a fetch brought of one partition: handed out as columns."""

    def getall(self, max_records: int | None = None) -> Sequence[Any]:
        """Return the next records, at most so many."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records: PartitionColumns = self._partition_records  # type: ignore[has-type]
        found = records.take(max_records or np.iinfo(np.int64).max)
        self._update_position()
        if records.exhausted:
            self._partition_records = None
        return [] if found is None else found


def _rebound(method: Any) -> Any:
    """A method of aiokafka's fetcher in which three names stand for the classes of this module."""
    names = {
        **vars(fetcher),
        "MemoryRecords": MessageSet,
        "PartitionRecords": PartitionColumns,
        "FetchResult": _Fetched,
    }
    function = cast("FunctionType", method)
    bound = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    bound.__kwdefaults__ = function.__kwdefaults__
    return bound


class ColumnFetcher(Fetcher):
    """aiokafka's fetcher, whose `fetched_records` returns columns by partition.

    Its methods are aiokafka's own, with other classes for what a fetch brings: aiokafka offers no
    place to say which. tests/streams/test_record_batches.py compares the two record by record.
    """

    _proc_fetch_request = _rebound(Fetcher._proc_fetch_request)
    fetched_records = _rebound(Fetcher.fetched_records)

    @classmethod
    def take_over(cls, running: Fetcher) -> None:
        """Make a fetcher one of these; it must not have fetched anything yet."""
        running.__class__ = cls
