"""Record batches as columns: the records, and the errors, of aiokafka's own reader."""

import inspect
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import assume, given
from hypothesis import strategies as st

from streams.record_batches import ColumnFetcher, MessageSet, PartitionColumns, consumer_records
from streams.record_columns import columns_of, joined

TP = TopicPartition("events", 3)
#: Of the byte that names the version of the format, in a batch.
VERSION_AT = 16
HEADERS = [("traceparent", b"00-1"), ("empty", b""), ("null", None), ("n\u00e4me", b"\xff")]
KeyValue = tuple[bytes | None, bytes | None]


@dataclass(frozen=True)
class Made:
    """A batch to be made. compression: Kafka's number of it; control: key of a control batch."""

    records: list[tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]]
    compression: int = 0
    producer: int = -1
    transactional: bool = False
    control: int | None = None
    log_append_time: int | None = None
    skipped: int = 0
    """Offsets of the batch behind its last record, as compaction leaves them."""
    gaps: list[int] = field(default_factory=list)


def raw(made: Made, base: int) -> tuple[bytes, int]:
    """The bytes of a batch from offset `base` on, and the offset behind it."""
    # Control batches are never compressed.
    compression = made.compression if made.records and made.control is None else 0
    builder = DefaultRecordBatchBuilder(
        2, compression, int(made.transactional), made.producer, 0, 0, 1 << 24
    )
    records = made.records
    if made.control is not None:
        records = [(struct.pack(">hh", 0, made.control), b"\0" * 6, 0, [])]
    place = 0
    for number, (key, value, time, headers) in enumerate(records):
        place += made.gaps[number] if number < len(made.gaps) else 0
        builder.append(place, time, key, value, headers)
        place += 1
    data = bytearray(builder.build())
    data[:8] = struct.pack(">q", base)
    (attributes,) = struct.unpack_from(">h", data, 21)
    if made.control is not None:
        attributes |= DefaultRecordBase.CONTROL_MASK
    if made.log_append_time is not None:
        attributes |= DefaultRecordBase.TIMESTAMP_TYPE_MASK
        struct.pack_into(">q", data, 35, made.log_append_time)
    struct.pack_into(">h", data, 21, attributes)
    struct.pack_into(">i", data, 23, place - 1 + made.skipped)
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
    return bytes(data), base + place + made.skipped


def message_set(batches: Sequence[Made], base: int = 100) -> bytes:
    parts = []
    for made in batches:
        part, base = raw(made, base)
        parts.append(part)
    return b"".join(parts)


def by_aiokafka(data: bytes, first: int, aborted: Any, most: int) -> tuple[list[Any], int, str]:
    reader = PartitionRecords(
        TP, MemoryRecords(data), aborted, first, None, None, True, READ_COMMITTED
    )
    found, error = [], ""
    try:
        for record in reader:
            found.append(record)
            if len(found) == most:
                break
    except (CorruptRecordException, SystemError):  # the second for versions of 128 and more
        error = "corrupt"
    return found, reader.next_fetch_offset, error


def by_columns(
    data: bytes, first: int, aborted: Any, most: int, at_once: int
) -> tuple[list[Any], int, str]:
    reader = PartitionColumns(
        TP, MessageSet(data), aborted, first, None, None, True, READ_COMMITTED
    )
    found: list[Any] = []
    try:
        while len(found) < most:
            columns = reader.take(min(at_once, most - len(found)))
            if columns is None:
                assert reader.exhausted
                break
            found += consumer_records(columns)
    except CorruptRecordException:
        return found, reader.next_fetch_offset, "corrupt"
    return found, reader.next_fetch_offset, ""


keys = st.none() | st.binary(max_size=300)
records = st.tuples(
    keys, keys, st.integers(0, 2**42), st.lists(st.sampled_from(HEADERS), max_size=3)
)
batches = st.builds(
    Made,
    st.lists(records, max_size=12),
    compression=st.sampled_from([0, 0, 1, 2, 3, 4]),
    producer=st.sampled_from([-1, 5, 6]),
    transactional=st.booleans(),
    control=st.sampled_from([None, None, None, 0, 1]),
    log_append_time=st.sampled_from([None, None, 2**41]),
    skipped=st.integers(0, 3),
    gaps=st.lists(st.integers(0, 3), max_size=12),
)


@given(
    st.lists(batches, max_size=6), st.integers(0, 12), st.integers(1, 40), st.integers(1, 9),
    st.lists(st.tuples(st.sampled_from([5, 6]), st.integers(100, 130)), max_size=2),
)  # fmt: skip
def test_columns_hold_the_records_that_aiokafka_reads(
    made: list[Made], behind: int, most: int, at_once: int, aborted: list[tuple[int, int]]
) -> None:
    data, first = message_set(made), 100 + behind
    expected, next_offset, error = by_aiokafka(data, first, aborted, 10**6)

    found, reached, raised = by_columns(data, first, aborted, 10**6, at_once)

    assert (found, reached, raised) == (expected, next_offset, error)
    some, _, _ = by_columns(data, first, aborted, most, at_once)
    assert some == expected[:most]


@given(st.lists(batches, min_size=1, max_size=3), st.data())
def test_damaged_bytes_are_refused_as_by_aiokafka(made: list[Made], data: st.DataObject) -> None:
    """But for versions of the format: see `test_an_unknown_version_of_the_format_is_refused`."""
    parts = [message_set([one]) for one in made]
    versions = {sum(map(len, parts[:n])) + VERSION_AT for n in range(len(parts))}
    good = bytearray(message_set(made))
    place = data.draw(st.integers(12, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    assume(place not in versions or good[place] <= 2)
    expected, _, error = by_aiokafka(bytes(good), 100, [], 10**6)

    found, _, raised = by_columns(bytes(good), 100, [], 10**6, 10**6)

    assert raised == error
    if not error:
        assert found == expected


@pytest.mark.parametrize("length", [-(2**31), -13, -12, -1, 0, 4, 5, 20, 40, 48])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_length_that_has_no_room_for_a_header_is_refused(length: int, version: int) -> None:
    first = message_set([Made([(b"k", b"v", 1, [])])])
    damaged = bytearray(message_set([Made([(b"k", b"w", 1, [])])], 101))
    damaged[VERSION_AT] = version
    damaged[8:12] = struct.pack(">i", length)

    found, reached, raised = by_columns(first + bytes(damaged), 100, [], 10**6, 1)

    assert ([record.value for record in found], reached, raised) == ([b"v"], 101, "corrupt")


@pytest.mark.parametrize("version", range(3, 256))
def test_an_unknown_version_of_the_format_is_refused(version: int) -> None:
    """The CRC does not cover the version. aiokafka reads those below 128 as version 2."""
    first, second = (
        message_set([Made([(b"k", value, 1, [])])], base)
        for base, value in ((100, b"v"), (101, b"w"))
    )
    damaged = bytearray(second)
    damaged[VERSION_AT] = version

    found, reached, raised = by_columns(first + bytes(damaged), 100, [], 10**6, 1)

    assert ([record.value for record in found], reached, raised) == ([b"v"], 101, "corrupt")
    found, _, error = by_aiokafka(bytes(damaged), 101, [], 10**6)
    assert ([record.value for record in found], error) == (
        ([b"w"], "") if version < 128 else ([], "corrupt")
    )


@given(st.lists(records, min_size=1, max_size=6), st.data())
def test_records_that_do_not_fill_their_batch_are_refused(
    some: list[Any], data: st.DataObject
) -> None:
    """The CRC is right, the records are not: as a broken producer would write them."""
    good = bytearray(raw(Made(some), 0)[0])
    place = data.draw(st.integers(61, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    struct.pack_into(">I", good, 17, calc_crc32c(bytes(good[21:])))
    try:
        expected, _, error = by_aiokafka(bytes(good), -(2**62), [], 10**6)
    except (MemoryError, OverflowError, UnicodeDecodeError):
        return
    found, _, raised = by_columns(bytes(good), -(2**62), [], 10**6, 10**6)
    if error:
        # aiokafka decodes names of headers when it reads them, we when they are asked for.
        assert raised == error or b"\xef\xbf\xbd" in repr(found).encode()
    else:
        assert [r.value for r in found] == [r.value for r in expected]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("compression", [0, 1, 2])
def test_older_formats_are_read(magic: int, compression: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, compression, 1 << 20)
    for offset in range(5):
        builder.append(offset, 1_000 + offset, b"k", None if offset == 2 else b"v%d" % offset)
    data = bytes(builder.build())

    found, reached, _ = by_columns(data, 2, [], 10**6, 2)

    expected, next_offset, _ = by_aiokafka(data, 2, [], 10**6)
    assert [(r.offset, r.key, r.value) for r in found] == [
        (r.offset, r.key, r.value) for r in expected
    ]
    assert reached == next_offset


def test_a_batch_that_is_cut_off_is_left_for_the_next_fetch() -> None:
    data = message_set([Made([(b"k", b"v", 1, [])]), Made([(b"k", b"w", 2, [])])])

    found, reached, _ = by_columns(data[:-1], 100, [], 10**6, 10)

    assert ([record.value for record in found], reached) == ([b"v"], 101)


@given(st.lists(records, max_size=8), st.lists(records, max_size=8))
def test_records_survive_being_made_columns_and_joined(first: list[Any], second: list[Any]) -> None:
    parts = []
    for base, some in ((0, first), (20, second)):
        data = raw(Made(some), base)[0]
        found, _, _ = by_aiokafka(data, base, [], 10**6)
        parts.append((columns_of("events", 3, found), found))

    both = joined([columns for columns, _ in parts])

    assert consumer_records(both) == [record for _, found in parts for record in found]
    assert both[-1:].take(both[-1:].offsets >= 0) == list(both[-1:])
    assert [r.offset for r in both.with_headers()] == [r.offset for r in both if r.headers]


def test_the_fetcher_is_aiokafkas_with_other_classes() -> None:
    """Its two methods name the classes for which ours stand; an update may change that."""
    source = inspect.getsource(Fetcher._proc_fetch_request)
    assert "MemoryRecords(part_data[-1])" in source
    assert "PartitionRecords(" in source
    assert "FetchResult(" in source
    assert "is FetchResult" in inspect.getsource(Fetcher.fetched_records)
    names = ColumnFetcher._proc_fetch_request.__globals__
    assert names["PartitionRecords"] is PartitionColumns
    assert names["MemoryRecords"] is MessageSet
