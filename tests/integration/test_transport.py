"""Batches through each transport: in order, complete, from the store's positions."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from kafka import KafkaAdminClient

from streams.app import WorkerApp, create_app
from streams.batches import Batch
from streams.faust_app import FaustApp
from streams.offsets import group_notes, remove_member
from streams.outbox import DeliveryError, Outgoing
from streams.partitioner import murmur2_partition
from streams.positions import PositionError
from streams.running import serve
from streams.security import KafkaSettings
from tests.integration.conftest import fill
from tests.waiting import crash_of, until, within_patience

pytestmark = pytest.mark.integration

NewTopic = Callable[..., str]


@asynccontextmanager
async def running(app: WorkerApp) -> AsyncIterator[WorkerApp]:
    await within_patience(app.start())
    try:
        yield app
    finally:
        await within_patience(app.stop())


def new_app(
    kafka: KafkaSettings, topic: str, group: str | None = None, **options: Any
) -> WorkerApp:
    options.setdefault("batched", {topic: 1000})
    name = group or f"group-{uuid.uuid4().hex[:8]}"
    return create_app(name, kafka, **options)


class Reader:
    """Collects batches and tells when each partition was read up to an end."""

    def __init__(self, app: WorkerApp, topic: str, ends: dict[int, int]) -> None:
        self._app = app
        self.batches: list[Batch] = []
        self.done = asyncio.Event()
        reached: dict[int, int] = {}

        @app.batches(topic)
        async def collect(batch: Batch) -> None:
            self.batches.append(batch)
            reached[batch.partition] = batch.next_offset
            if reached == ends:
                self.done.set()

    def offsets(self, partition: int) -> list[int]:
        return [r.offset for batch in self.batches for r in batch if r.partition == partition]

    async def finished(self) -> None:
        await until(self.done.is_set, "the last records", ended=crash_of(self._app))


async def test_batches_arrive_in_order_with_nothing_lost_or_doubled(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("many", partitions=4)
    for partition in range(4):
        await fill(broker, topic, partition, (b"%d" % n for n in range(50_000)))

    app = new_app(kafka, topic)
    reader = Reader(app, topic, dict.fromkeys(range(4), 50_000))
    async with running(app):
        await reader.finished()

    assert all(0 < len(batch) <= 1000 for batch in reader.batches)
    assert all(len({record.partition for record in batch}) == 1 for batch in reader.batches)
    for partition in range(4):
        assert reader.offsets(partition) == list(range(50_000))
    record = reader.batches[0][0]
    assert (record.key, record.value, record.topic) == (b"0", b"0", topic)
    assert record.timestamp > 1_600_000_000_000


async def test_reading_starts_at_the_stores_positions_whatever_the_group_committed(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("restart", partitions=3)
    for partition in range(3):
        await fill(broker, topic, partition, (b"%d" % n for n in range(500)))
    group = f"group-{uuid.uuid4().hex[:8]}"

    first = new_app(kafka, topic, group)
    reader = Reader(first, topic, dict.fromkeys(range(3), 500))
    async with running(first):
        await reader.finished()
        assert await first.commit_positions({(topic, 0): 500, (topic, 1): 250, (topic, 2): 100})

    positions = {0: 17, 1: None, 2: 499}
    second = new_app(kafka, topic, group, positions=lambda _, partition: positions[partition])
    reader = Reader(second, topic, dict.fromkeys(range(3), 500))
    async with running(second):
        await reader.finished()

    assert reader.offsets(0) == list(range(17, 500))
    assert reader.offsets(1) == list(range(500))
    assert reader.offsets(2) == [499]


async def test_committed_offsets_follow_the_store_for_lag_monitoring(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("lag", partitions=2)
    for partition in range(2):
        await fill(broker, topic, partition, (b"%d" % n for n in range(300)))
    app = new_app(kafka, topic)
    reader = Reader(app, topic, {0: 300, 1: 300})
    admin = KafkaAdminClient(bootstrap_servers=broker)

    def committed() -> dict[int, int]:
        offsets = admin.list_group_offsets(app.group)[app.group]
        return {tp.partition: entry.offset for tp, entry in offsets.items()}

    async with running(app):
        await reader.finished()
        assert await app.commit_positions({(topic, 0): 120, (topic, 1): 130})
        assert committed() == {0: 120, 1: 130}
        assert await app.commit_positions({(topic, 0): 300, (topic, 1): 300})
        assert not await app.commit_positions({("not-ours", 0): 1})
    # Stopping commits nothing of its own, neither less nor more.
    assert committed() == {0: 300, 1: 300}
    assert not await app.commit_positions({(topic, 0): 1})
    admin.close()


@pytest.mark.parametrize("kafka", ["faust", "classic", "librdkafka"], indirect=True)
async def test_another_process_has_a_member_leave_its_group(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic, group = new_topic("events"), f"group-{uuid.uuid4().hex[:8]}"
    await fill(broker, topic, 0, [b"0"])
    app = new_app(kafka, topic, group, session_timeout_s=30.0)
    reader = Reader(app, topic, {0: 1})
    async with running(app):
        await reader.finished()
        member = await app.member()
        assert await asyncio.to_thread(remove_member, kafka, group, member)
    assert not await asyncio.to_thread(remove_member, kafka, group, member)


async def test_a_topic_without_a_store_goes_on_where_the_group_committed(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("requests", partitions=2)
    for partition in range(2):
        await fill(broker, topic, partition, (b"%d" % n for n in range(300)))
    group = f"group-{uuid.uuid4().hex[:8]}"
    closing = {(topic, 0): 300, (topic, 1): 250}

    async def on_revoked(_: set[tuple[str, int]]) -> None:
        assert await first.commit_closed(closing, {0: "last", 1: "last"})

    first = new_app(kafka, topic, group, from_group={topic}, on_revoked=on_revoked)
    reader = Reader(first, topic, {0: 300, 1: 300})
    async with running(first):
        await reader.finished()
        assert await first.commit_positions({(topic, 0): 120, (topic, 1): 130}, {1: "note"})
        found = await asyncio.to_thread(group_notes, kafka, group)
        assert found == {(topic, 0): "", (topic, 1): "note"}

    held: set[str] = {topic}
    second = new_app(kafka, topic, group, from_group={topic}, hold=held.__contains__)
    reader = Reader(second, topic, {0: 301, 1: 300})
    async with running(second):
        await fill(broker, topic, 0, [b"300"])
        await asyncio.wait({asyncio.ensure_future(reader.done.wait())}, timeout=1)
        assert reader.batches == [], "what is held stays in the log"
        held.clear()
        await reader.finished()
    assert (reader.offsets(0), reader.offsets(1)) == ([300], list(range(250, 300)))
    # What was not committed is read again.
    third = new_app(kafka, topic, group, from_group={topic})
    reader = Reader(third, topic, {0: 301, 1: 300})
    async with running(third):
        await reader.finished()
    assert (reader.offsets(0), reader.offsets(1)) == ([300], list(range(250, 300)))


@pytest.mark.parametrize("kafka", ["faust", "librdkafka", "classic"], indirect=True)
async def test_the_last_commit_before_a_rebalance_says_where_the_next_owner_reads_on(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("requests", partitions=2)
    for partition in range(2):
        await fill(broker, topic, partition, (b"%d" % n for n in range(50)))
    group = f"group-{uuid.uuid4().hex[:8]}"
    accepted: list[bool] = []

    async def on_revoked(partitions: set[tuple[str, int]]) -> None:
        accepted.append(await first.commit_closed({(topic, 0): 50, (topic, 1): 50}))

    first = new_app(kafka, topic, group, from_group={topic}, on_revoked=on_revoked)
    reader = Reader(first, topic, {0: 50, 1: 50})
    async with running(first):
        await reader.finished()
        second = new_app(kafka, topic, group, from_group={topic})
        batches: list[Batch] = []

        @second.batches(topic)
        async def collect(batch: Batch) -> None:
            batches.append(batch)

        async with running(second):
            await until(lambda: first.open_partitions and second.open_partitions, "two shares")
            for partition in range(2):
                await fill(broker, topic, partition, [b"more"])
            both = [reader.batches, batches]
            await until(
                lambda: all(found and found[-1][-1].offset == 50 for found in both),
                "the last record of both partitions",
            )
    assert accepted[0], "the group takes it while it rebalances"
    assert [record.offset for batch in batches for record in batch] == [50]
    assert len([r for batch in reader.batches for r in batch]) == 101


async def test_a_group_that_committed_beyond_a_recreated_topic_begins_at_its_first_record(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("anew")
    await fill(broker, topic, 0, [b"1", b"2"])
    group = f"group-{uuid.uuid4().hex[:8]}"
    first = new_app(kafka, topic, group, from_group={topic})
    reader = Reader(first, topic, {0: 2})
    async with running(first):
        await reader.finished()
        assert await first.commit_positions({(topic, 0): 500})
    second = new_app(kafka, topic, group, from_group={topic})
    reader = Reader(second, topic, {0: 2})
    async with running(second):
        await reader.finished()
    assert reader.offsets(0) == [0, 1]


async def test_a_record_of_five_megabytes_passes_among_small_ones(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("large", max_message_bytes="8388608")
    large = b"x" * 5_000_000
    await fill(broker, topic, 0, [b"before", large, b"after"])

    app = new_app(kafka, topic)
    reader = Reader(app, topic, {0: 3})
    async with running(app):
        await reader.finished()

    values = [record.value for batch in reader.batches for record in batch]
    assert values == [b"before", large, b"after"]


async def test_written_records_keep_their_order_however_they_are_written(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    events, answers = new_topic("events"), new_topic("answers", partitions=3)
    app = new_app(kafka, events)
    Reader(app, events, {})
    async with running(app):
        outbox = app.outbox()
        for number in range(1000):
            await outbox.send(answers, b"user", b"answer %d" % number)
        # More than a batch of bytes, and single records before and behind it.
        many = [b"answer %d" % number for number in range(1000, 2500)]
        headers = (("because", b"asked"),)
        await outbox.send_many(answers, [Outgoing(b"user", v, headers) for v in many])
        for number in range(2500, 3000):
            await outbox.send(answers, b"user", b"answer %d" % number)
        await outbox.send(answers, b"user", None, timestamp_ms=1_700_000_000_000)
        await outbox.flush()

    async with AIOKafkaConsumer(
        answers, bootstrap_servers=broker, auto_offset_reset="earliest"
    ) as consumer:
        written = [await within_patience(anext(consumer)) for _ in range(3001)]
    assert [r.value for r in written] == [*(b"answer %d" % n for n in range(3000)), None]
    assert {record.key for record in written} == {b"user"}
    assert {record.partition for record in written} == {murmur2_partition(b"user", 3)}
    assert {r.headers for r in written[1000:2500]} == {(("because", b"asked"),)}
    assert written[-1].timestamp == 1_700_000_000_000


async def test_ordinary_agents_of_faust_live_beside_batches(
    broker: str, new_topic: NewTopic
) -> None:
    events, requests = new_topic("events"), new_topic("requests")
    app = new_app(KafkaSettings(bootstrap_servers=broker), events)
    reader = Reader(app, events, {0: 2000})
    assert isinstance(app, FaustApp)
    asked = asyncio.Event()

    @app.agent(app.topic(requests))
    async def answer(stream: Any) -> None:
        async for _ in stream.events():
            asked.set()

    async with running(app):
        await fill(broker, events, 0, (b"%d" % n for n in range(2000)))
        await app.send(requests, key=b"user", value=b"answer")
        await reader.finished()
        await within_patience(asked.wait())


async def test_a_flush_tells_that_a_record_was_refused(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    events, small = new_topic("events"), new_topic("small", max_message_bytes="1000")
    app = new_app(kafka, events)
    Reader(app, events, {})
    async with running(app):
        outbox = app.outbox()
        await outbox.send(small, b"key", b"fits")
        await outbox.flush()
        # Random bytes: the limit is for the batch as it was compressed.
        await outbox.send(small, b"key", uuid.uuid4().bytes * 1 + bytes(range(256)) * 8)
        await outbox.send(small, b"key", b"".join(uuid.uuid4().bytes for _ in range(200)))
        with pytest.raises(DeliveryError, match=r"TooLarge|TOO_LARGE"):
            await outbox.flush()


async def test_a_handler_that_raises_stops_the_app_and_is_given_the_batch_again(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("fails", partitions=1)
    await fill(broker, topic, 0, (b"%d" % n for n in range(3000)))
    group = f"group-{uuid.uuid4().hex[:8]}"
    seen: list[int] = []
    closed: list[set[tuple[str, int]]] = []

    async def on_revoked(partitions: set[tuple[str, int]]) -> None:
        closed.append(partitions)

    first = new_app(kafka, topic, group, on_revoked=on_revoked)

    @first.batches(topic)
    async def fail(batch: Batch) -> None:
        if batch[0].offset >= 1000:
            raise ValueError("disk full")
        seen.append(batch.next_offset)

    assert await within_patience(serve(first)) == 1
    assert isinstance(first.crash_reason, ValueError)
    assert seen == [1000]
    assert closed == []

    second = new_app(kafka, topic, group, positions=lambda *_: seen[-1])
    reader = Reader(second, topic, {0: 3000})
    async with running(second):
        await reader.finished()
    assert reader.offsets(0) == list(range(1000, 3000))


async def test_a_store_ahead_of_its_log_is_refused(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("anew")
    await fill(broker, topic, 0, [b"1", b"2"])
    app = new_app(kafka, topic, positions=lambda *_: 500)
    Reader(app, topic, {})

    assert await within_patience(serve(app)) == 1
    assert isinstance(app.crash_reason, PositionError)
    assert "500" in str(app.crash_reason)
