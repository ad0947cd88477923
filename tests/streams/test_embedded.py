import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import (
    CorruptLogError,
    EmbeddedLog,
    EmbeddedLogError,
    LogLockedError,
    Partitioner,
    Record,
    RecordTooLargeError,
    TopicDefinition,
    TopicExistsError,
    UnknownTopicError,
    bulk_write,
    murmur2_partition,
)
from streams.bulk import BulkWriteError
from streams.topics import DAY_MS

EVENTS = TopicDefinition(name="events", partitions=3)
MODELS = TopicDefinition(name="models", partitions=1, cleanup_policy="compact")
NOW = 1_000 * DAY_MS


def opened(folder: Path, *definitions: TopicDefinition, **options: object) -> EmbeddedLog:
    log = EmbeddedLog(folder, **{"clock": lambda: NOW, **options})
    for definition in definitions:
        log.create_topic(definition)
    return log


def read_all(log: EmbeddedLog, topic: str, partition: int = 0, step: int = 7) -> list[Record]:
    found: list[Record] = []
    while records := log.read(topic, partition, found[-1].offset + 1 if found else 0, step):
        found += records
    return found


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def segments(folder: Path, topic: str, partition: int = 0) -> list[Path]:
    return sorted((folder / topic / str(partition)).glob("*.log"))


def test_a_group_finds_the_offsets_that_it_committed_until_the_topic_is_gone(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        assert log.committed("workers", "events", 0) is None
        log.commit("workers", {("events", 0): 5, ("events", 2): 7})
        log.commit("workers", {("events", 0): 3})
        log.commit("others", {("events", 0): 9})
        with pytest.raises(UnknownTopicError):
            log.commit("workers", {("nothing", 0): 1})
    with opened(tmp_path) as log:
        assert [log.committed("workers", "events", n) for n in range(3)] == [3, None, 7]
        assert log.committed("others", "events", 0) == 9
        log.delete_topic("events")
        log.create_topic(EVENTS)
        assert log.committed("workers", "events", 0) is None


def test_records_are_read_as_they_were_appended(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        assert log.append("events", b"k", b"v", partition=1) == (1, 0)
        assert log.append("events", None, None, partition=1, timestamp=NOW + 5) == (1, 1)
        assert log.append("events", b"", b"", partition=1) == (1, 2)
        assert log.read("events", 1, 0) == [
            Record("events", 1, 0, NOW, b"k", b"v"),
            Record("events", 1, 1, NOW + 5, None, None),
            # The log's time never goes back, even when the clock does.
            Record("events", 1, 2, NOW + 5, b"", b""),
        ]
        assert log.end_offset("events", 1) == 3
        assert log.end_offset("events", 0) == 0


def test_reading_stops_at_the_limits_and_at_the_end(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        log.append_many("events", 0, [(None, b"x" * 100)] * 50)
        assert [r.offset for r in log.read("events", 0, 10, max_records=3)] == [10, 11, 12]
        assert len(log.read("events", 0, 0, max_bytes=250)) == 2
        assert len(log.read("events", 0, 0, max_bytes=1)) == 1
        assert log.read("events", 0, 50) == []
        assert log.read("events", 0, 99) == []


def test_records_of_any_length_up_to_the_limit_are_kept(tmp_path):
    large = bytes(range(256)) * 20_000
    with opened(tmp_path, EVENTS, segment_bytes=1_000_000) as log:
        log.append("events", b"a", large, partition=0)
        log.append("events", b"b", b"small", partition=0)
        with pytest.raises(RecordTooLargeError, match="8388608"):
            log.append("events", b"c", b"x" * 8_388_608, partition=0)
        assert values(read_all(log, "events")) == [large, b"small"]


@settings(max_examples=30, deadline=None)
@given(
    batches=st.lists(
        st.lists(
            st.tuples(st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=300)),
            min_size=1,
            max_size=9,
        ),
        max_size=12,
    ),
    reopen=st.sets(st.integers(0, 11)),
)
def test_a_log_that_is_closed_and_opened_holds_the_same_records(tmp_path_factory, batches, reopen):
    folder = tmp_path_factory.mktemp("log")
    log = opened(folder, EVENTS, segment_bytes=500)
    expected = []
    for number, batch in enumerate(batches):
        assert log.append_many("events", 0, batch) == len(expected)
        expected += batch
        if number in reopen:
            log.close()
            log = opened(folder, segment_bytes=500)
    with log:
        records = read_all(log, "events")
        assert [(record.key, record.value) for record in records] == expected
        assert [record.offset for record in records] == list(range(len(expected)))
        middle = len(expected) // 2
        assert log.read("events", 0, middle, 99_999) == records[middle:]


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 20, 31, 32, 39])
def test_a_record_written_by_halves_is_cut_off_and_kept_aside(tmp_path, keep):
    with opened(tmp_path, EVENTS) as log:
        log.append("events", b"key", b"whole", partition=0)
        size = segments(tmp_path, "events")[0].stat().st_size
        log.append("events", b"key", b"halved", partition=0)
    segment = segments(tmp_path, "events")[0]
    torn = segment.read_bytes()[size : size + keep]
    assert size + keep < segment.stat().st_size
    segment.write_bytes(segment.read_bytes()[: size + keep])
    with opened(tmp_path) as log:
        assert values(read_all(log, "events")) == [b"whole"]
        assert log.append("events", b"key", b"next", partition=0) == (0, 1)
        assert values(read_all(log, "events")) == [b"whole", b"next"]
    if keep:
        assert segment.with_suffix(".torn").read_bytes() == torn


def test_times_do_not_go_back_behind_a_segment_without_records(tmp_path):
    """A process may end between the file of a segment and its first record."""
    with opened(tmp_path, EVENTS, clock=lambda: 50) as log:
        log.append("events", None, b"before", partition=0)
    (tmp_path / "events" / "0" / f"{1:020d}.log").touch()
    with opened(tmp_path, clock=lambda: 10) as log:
        log.append("events", None, b"after", partition=0)
        records = read_all(log, "events")
    assert values(records) == [b"before", b"after"]
    assert [record.timestamp for record in records] == [50, 50]


def test_a_segment_ends_with_the_record_that_fills_it(tmp_path):
    with opened(tmp_path / "one", EVENTS) as log:
        log.append("events", None, b"same length", partition=0)
    size = segments(tmp_path / "one", "events")[0].stat().st_size
    with opened(tmp_path / "more", EVENTS, segment_bytes=2 * size) as log:
        for _ in range(5):
            log.append("events", None, b"same length", partition=0)
    assert [path.stem.lstrip("0") for path in segments(tmp_path / "more", "events")] == [
        "", "2", "4",
    ]  # fmt: skip


def test_blocks_of_zeros_after_a_power_loss_are_cut_off(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        log.append("events", b"key", b"whole", partition=0)
    with segments(tmp_path, "events")[0].open("ab") as file:
        file.write(bytes(4096))
    with opened(tmp_path) as log:
        assert values(read_all(log, "events")) == [b"whole"]


@pytest.mark.parametrize("byte", [0, 5, 9, 17, 25, 29, 33, 40])
def test_damage_in_a_closed_segment_is_an_error_that_names_the_file(tmp_path, byte):
    with opened(tmp_path, EVENTS, segment_bytes=50) as log:
        for _ in range(4):
            log.append("events", b"key", b"0123456789", partition=0)
    first, *others = segments(tmp_path, "events")
    assert others
    data = bytearray(first.read_bytes())
    data[byte] ^= 0x40
    first.write_bytes(data)
    with opened(tmp_path) as log, pytest.raises(CorruptLogError, match=first.name):
        log.read("events", 0, 0)


def test_damage_after_opening_is_an_error_not_a_silent_end(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        log.append_many("events", 0, [(b"key", b"0123456789")] * 3)
        segment = segments(tmp_path, "events")[0]
        data = bytearray(segment.read_bytes())
        data[-1] ^= 1
        segment.write_bytes(data)
        with pytest.raises(CorruptLogError, match=segment.name):
            log.read("events", 0, 0)


def test_a_full_disk_leaves_no_half_batch(tmp_path, monkeypatch):
    with opened(tmp_path, EVENTS) as log:
        log.append("events", b"k", b"before", partition=0)
        monkeypatch.setattr("streams.segment.os.pwrite", writes_some_then_fails())
        with pytest.raises(OSError, match="No space"):
            log.append_many("events", 0, [(b"k", b"a"), (b"k", b"b")])
        monkeypatch.undo()
        assert log.append("events", b"k", b"after", partition=0) == (0, 1)
    with opened(tmp_path) as log:
        assert values(read_all(log, "events")) == [b"before", b"after"]


def writes_some_then_fails() -> Callable[[int, bytes, int], int]:
    real, calls = os.pwrite, count()

    def pwrite(file: int, data: bytes, position: int) -> int:
        if next(calls):
            raise OSError(28, "No space left on device")
        return real(file, data[: len(data) // 2], position)

    return pwrite


def test_one_process_at_a_time(tmp_path):
    with opened(tmp_path), pytest.raises(LogLockedError, match=str(tmp_path)):
        EmbeddedLog(tmp_path)
    opened(tmp_path).close()


def test_a_closed_log_says_so(tmp_path):
    log = opened(tmp_path, EVENTS)
    log.close()
    log.close()
    with pytest.raises(EmbeddedLogError, match="closed"):
        log.read("events", 0, 0)


def test_unknown_topics_and_partitions_are_named(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        with pytest.raises(UnknownTopicError, match=r"no topic evnets.*events"):
            log.append("evnets", b"k", b"v")
        with pytest.raises(UnknownTopicError, match="0 to 2"):
            log.read("events", 3, 0)


def test_creating_a_topic_again_changes_nothing(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        log.append("events", b"k", b"v", partition=0)
        assert log.create_topic(EVENTS) is False
        assert log.end_offset("events", 0) == 1
        with pytest.raises(TopicExistsError, match="3 partitions"):
            log.create_topic(TopicDefinition(name="events", partitions=4))


def test_a_deleted_topic_is_gone_and_can_be_created_anew(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        log.append("events", b"k", b"v", partition=0)
        log.delete_topic("events")
        assert log.create_topic(EVENTS)
        assert log.read("events", 0, 0) == []


# --- compaction ---


def test_opening_a_compacted_topic_keeps_the_last_record_of_each_key(tmp_path):
    with opened(tmp_path, MODELS, segment_bytes=100) as log:
        for number in range(20):
            log.append("models", b"static" if number % 2 else b"dynamic", b"%d" % number)
        assert len(read_all(log, "models")) == 20
    with opened(tmp_path, segment_bytes=100) as log:
        records = read_all(log, "models")
        assert [(r.offset, r.key, r.value) for r in records] == [
            (18, b"dynamic", b"18"),
            (19, b"static", b"19"),
        ]
        assert log.end_offset("models", 0) == 20
        assert log.append("models", b"static", b"20") == (0, 20)
        assert log.read("models", 0, 19, 1)[0].value == b"19"
    assert len(segments(tmp_path, "models")) <= 2


def test_a_key_that_came_once_stays_wherever_it_was(tmp_path):
    keys = [b"first", b"often", b"once", b"often"]
    with opened(tmp_path, MODELS) as log:
        for key in keys:
            log.append("models", key, key)
    with opened(tmp_path) as log:
        found = [(record.offset, record.key) for record in read_all(log, "models")]
    assert found == [(0, b"first"), (2, b"once"), (3, b"often")]


def test_deletions_stay_for_a_day_and_the_end_offset_for_ever(tmp_path):
    with opened(tmp_path, MODELS) as log:
        log.append("models", b"a", b"1")
        log.append("models", b"a", None)
        log.append("models", b"b", b"2")
        log.append("models", b"b", None)
    with opened(tmp_path, clock=lambda: NOW + DAY_MS) as log:
        assert [r.offset for r in read_all(log, "models")] == [1, 3]
    with opened(tmp_path, clock=lambda: NOW + DAY_MS + 1) as log:
        assert [r.offset for r in read_all(log, "models")] == [3]
        assert log.end_offset("models", 0) == 4


def test_a_compaction_that_was_interrupted_is_as_if_it_had_ended(tmp_path):
    with opened(tmp_path, MODELS, segment_bytes=60) as log:
        for number in range(6):
            log.append("models", b"static", b"%d" % number)
    before = {path: path.read_bytes() for path in segments(tmp_path, "models")}
    opened(tmp_path).close()
    compacted = segments(tmp_path, "models")[0]
    for path, data in before.items():
        if path != compacted:
            path.write_bytes(data)
    compacted.with_suffix(".new").write_bytes(b"half of another")
    with opened(tmp_path) as log:
        assert values(read_all(log, "models")) == [b"5"]
        assert log.end_offset("models", 0) == 6


def test_a_compacted_topic_needs_keys(tmp_path):
    with opened(tmp_path, MODELS) as log, pytest.raises(ValueError, match="need keys"):
        log.append("models", None, b"v")


# --- partitions ---

# Of Kafka's own UtilsTest.testMurmur2, as signed 32-bit numbers.
KAFKA_MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", KAFKA_MURMUR2)
def test_partitions_are_those_of_kafkas_murmur2(key):
    for partitions in (1, 3, 4, 1_000):
        expected = (KAFKA_MURMUR2[key] & 0x7FFFFFFF) % partitions
        assert murmur2_partition(key, partitions) == expected


@given(st.binary(), st.integers(1, 64))
def test_partitions_are_those_of_aiokafkas_default_partitioner(key, partitions):
    everything = list(range(partitions))
    expected = DefaultPartitioner()(key, everything, everything)
    assert murmur2_partition(key, partitions) == expected
    assert Partitioner(partitions)(key) == expected


def test_the_log_chooses_partitions_by_key_and_in_turn_without(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        for key in KAFKA_MURMUR2:
            assert log.append("events", key, b"")[0] == murmur2_partition(key, 3)
        assert [log.append("events", None, b"")[0] for _ in range(4)] == [0, 1, 2, 0]


# --- bulk ---


async def test_bulk_writing_puts_every_record_into_its_partition_in_order(tmp_path):
    records = [(b"user-%d" % (n % 17), b"%d" % n) for n in range(10_000)]
    seen: list[int] = []
    with opened(tmp_path, EVENTS) as log:
        assert await bulk_write(log, "events", 3, iter(records), seen.append) == 10_000
        for partition in range(3):
            assert values(read_all(log, "events", partition, 5_000)) == [
                value for key, value in records if murmur2_partition(key, 3) == partition
            ]
    assert seen == sorted(seen)
    assert seen[-1] == 10_000


async def test_bulk_writing_checks_the_topic_before_it_writes(tmp_path):
    with opened(tmp_path, EVENTS) as log:
        with pytest.raises(BulkWriteError, match="no topic evnets"):
            await bulk_write(log, "evnets", 3, [(b"k", b"v")])
        with pytest.raises(BulkWriteError, match="3 partitions, expected 4"):
            await bulk_write(log, "events", 4, [(b"k", b"v")])
        assert log.end_offset("events", 0) == 0
