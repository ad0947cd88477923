"""Administration, security settings and bulk writing against a real broker."""

import asyncio
import dataclasses
import socket
import uuid
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import (
    AdminError,
    BulkWriteError,
    EventRules,
    KafkaSettings,
    TopicSettings,
    bulk_write,
    create_topics,
    decode_events,
    delete_topics,
    describe_topics,
    encode_events,
    end_offsets,
    group_lag,
    group_members,
    murmur2_partition,
    topics,
)
from streams.admin import Difference

pytestmark = pytest.mark.integration

PARTITIONS = 3


@pytest.fixture
def kafka(broker: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=broker)


@pytest.fixture
def settings(kafka: KafkaSettings) -> Iterator[TopicSettings]:
    """Topics under a prefix of their own, created; they go when the test ends."""
    settings = TopicSettings(prefix=f"t{uuid.uuid4().hex[:8]}", partitions=PARTITIONS)
    create_topics(kafka, topics(settings))
    yield settings
    delete_topics(kafka, [definition.name for definition in topics(settings)])


def test_creating_topics_is_idempotent(kafka):
    settings = TopicSettings(prefix=f"t{uuid.uuid4().hex[:8]}", partitions=PARTITIONS)
    definitions = topics(settings)
    names = tuple(definition.name for definition in definitions)
    first = create_topics(kafka, definitions)
    assert (first.created, first.unchanged, first.differing) == (names, (), {})
    second = create_topics(kafka, definitions)
    assert (second.created, second.unchanged, second.differing) == ((), names, {})
    delete_topics(kafka, [*names, "never-existed"])
    assert describe_topics(kafka, names) == {}


def test_topics_are_as_they_were_defined(kafka, settings):
    definitions = {definition.name: definition for definition in topics(settings)}
    found = describe_topics(kafka, definitions)
    assert found.keys() == definitions.keys()
    for name, definition in definitions.items():
        assert found[name].partitions == definition.partitions
        assert definition.settings.items() <= found[name].settings.items()


def test_a_topic_that_differs_is_reported_and_left_alone(kafka, settings):
    events = topics(settings)[0]
    wanted = dataclasses.replace(events, partitions=9, retention_ms=1_000)
    report = create_topics(kafka, [wanted])
    assert report.created == report.unchanged == ()
    assert report.differing == {
        settings.events: {
            "partitions": Difference(wanted="9", found="3"),
            "retention.ms": Difference(wanted="1000", found=str(events.retention_ms)),
        }
    }
    assert create_topics(kafka, [events]).unchanged == (settings.events,)


def test_a_topic_that_kafka_refuses_is_named(kafka):
    impossible = dataclasses.replace(topics(TopicSettings())[0], name="no spaces", replication=1)
    with pytest.raises(AdminError, match="no spaces"):
        create_topics(kafka, [impossible])


async def test_bulk_written_events_are_read_from_the_partitions_of_kafkas_partitioner(
    kafka, settings
):
    count = 20_000
    users = [f"user-{n % 500}" for n in range(count)]
    records = encode_events(
        users,
        ["podcast"] * count,
        [f"p{n}" for n in range(count)],
        ["stream"] * count,
        range(count),
    )
    seen: list[int] = []
    written = await bulk_write(kafka, settings.events, PARTITIONS, records, seen.append)
    assert written == seen[-1] == count

    ends = (await asyncio.to_thread(end_offsets, kafka, [settings.events]))[settings.events]
    assert sum(ends.values()) == count
    consumer = AIOKafkaConsumer(**kafka.for_aiokafka(), auto_offset_reset="earliest")
    async with consumer:
        consumer.assign([TopicPartition(settings.events, p) for p in range(PARTITIONS)])
        read = {p: [] for p in range(PARTITIONS)}
        while any(len(read[p]) < ends[p] for p in read):
            for place, found in (await consumer.getmany(timeout_ms=1_000)).items():
                read[place.partition] += found
    for partition, found in read.items():
        batch, letters = decode_events(found, EventRules())
        assert letters == []
        assert {murmur2_partition(user.encode(), PARTITIONS) for user in batch.user_id} == {
            partition
        }
        numbers = [int(item[1:]) for item in batch.item_id]
        assert numbers == sorted(numbers)
        # Events of 1970 keep their own time in the value; the log has its own.
        assert min(record.timestamp for record in found) > 1_600_000_000_000


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "zstd"])
async def test_a_record_of_five_megabytes_is_accepted(kafka, settings, compression):
    records = [(b"u", b"small"), (b"u", bytes(5_000_000)), (None, b"without key"), (b"u", None)]
    written = await bulk_write(kafka, settings.events, PARTITIONS, records, compression=compression)
    assert written == 4
    ends = await asyncio.to_thread(end_offsets, kafka, [settings.events])
    assert sum(ends[settings.events].values()) == 4


async def test_bulk_writing_checks_the_topic_before_it_writes(kafka, settings):
    with pytest.raises(BulkWriteError, match="no topic"):
        await bulk_write(kafka, "nowhere", PARTITIONS, [(b"k", b"v")])
    with pytest.raises(BulkWriteError, match="3 partitions, expected 4"):
        await bulk_write(kafka, settings.events, 4, [(b"k", b"v")])


async def test_lag_is_what_a_group_has_not_committed(kafka, settings):
    group = f"{settings.prefix}-group"
    await bulk_write(kafka, settings.models, 1, [(b"static", b"%d" % n) for n in range(10)])
    lag = await asyncio.to_thread(group_lag, kafka, group, [settings.models])
    assert lag == {settings.models: {0: 10}}
    place = TopicPartition(settings.models, 0)
    consumer = AIOKafkaConsumer(**kafka.for_aiokafka(), group_id=group, enable_auto_commit=False)
    async with consumer:
        consumer.assign([place])
        await consumer.commit({place: 7})
    lag = await asyncio.to_thread(group_lag, kafka, group, [settings.models])
    assert lag == {settings.models: {0: 3}}


def test_an_unknown_topic_has_no_offsets(kafka):
    with pytest.raises(AdminError, match="no topic nowhere"):
        end_offsets(kafka, ["nowhere"])


def test_a_broker_that_is_not_there_is_named():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        kafka = KafkaSettings(bootstrap_servers=address, request_timeout_ms=1_000)
        with pytest.raises(AdminError, match=address):
            end_offsets(kafka, ["segue.events"])


async def test_the_members_of_a_group_are_named(kafka, settings):
    group = f"{settings.prefix}-group"
    assert await asyncio.to_thread(group_members, kafka, group) == []
    async with AIOKafkaConsumer(
        settings.events, group_id=group, **kafka.for_consumer() | {"client_id": "worker-7"}
    ) as consumer:
        await consumer.getmany(timeout_ms=0)
        assert await asyncio.to_thread(group_members, kafka, group) == ["worker-7"]
    assert await asyncio.to_thread(group_members, kafka, group) == []
