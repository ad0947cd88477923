"""Topics written by transactions: aborted and open ones are never read, markers leave no lag."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams import KafkaSettings, end_offsets, group_lag, held_offsets, read_from
from streams.app import WorkerApp, create_app
from streams.batches import Batch
from streams.broadcast import Broadcast
from streams.log_following import follow
from streams.spans import Span, open_reader
from tests.waiting import PATIENCE_S, crash_of, lives, until, within_patience

pytestmark = pytest.mark.integration

NewTopic = Callable[..., str]


@asynccontextmanager
async def transactions(broker: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=broker,
        transactional_id=f"t-{uuid.uuid4().hex[:8]}",
        transaction_timeout_ms=600_000,  # a busy machine must not end the open one
    )
    async with producer:
        yield producer


async def write(
    producer: AIOKafkaProducer, topic: str, values: Sequence[bytes], *, commit: bool
) -> None:
    await producer.begin_transaction()
    for value in values:
        await producer.send_and_wait(topic, key=b"k", value=value, partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())


async def three_kinds(broker: str, topic: str, open_one: AIOKafkaProducer) -> None:
    """Committed (0 to 2, marker 3), aborted (4 to 6, marker 7), committed (8, marker 9), open."""
    async with transactions(broker) as producer:
        await write(producer, topic, [b"c0", b"c1", b"c2"], commit=True)
        await write(producer, topic, [b"a0", b"a1", b"a2"], commit=False)
        await write(producer, topic, [b"c3"], commit=True)
    await open_one.begin_transaction()
    await open_one.send_and_wait(topic, key=b"k", value=b"open", partition=0)


COMMITTED = [b"c0", b"c1", b"c2", b"c3"]


class Store:
    """Applied values and the position of one partition."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.values: list[bytes | None] = []
        self._ended = lives

    def app(self, kafka: KafkaSettings, topic: str) -> WorkerApp:
        app = create_app(
            f"group-{uuid.uuid4().hex[:8]}",
            kafka,
            batched={topic: 100},
            positions=lambda *_: self.position,
            pass_empty=self.pass_empty,
        )

        @app.batches(topic)
        async def take(batch: Batch) -> None:
            self.values += [record.value for record in batch]
            self.position = batch.next_offset

        self._ended = crash_of(app)
        return app

    async def pass_empty(self, _topic: str, _partition: int, first: int, end: int) -> bool:
        assert (self.position or 0) >= first, "what lies before is applied"
        self.position = end
        return True

    async def reach(self, position: int) -> None:
        await until(
            lambda: (self.position or 0) >= position, f"position {position}", ended=self._ended
        )


async def test_a_worker_applies_committed_records_and_has_no_lag_behind_markers(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic, store = new_topic("transactions"), Store()
    async with transactions(broker) as open_one:
        await three_kinds(broker, topic, open_one)
        app = store.app(kafka, topic)
        await within_patience(app.start())
        try:
            await store.reach(10)
            assert store.values == COMMITTED
            await until(
                lambda: app.commit_positions({(topic, 0): store.position or 0}), "the commit"
            )
            lag = await asyncio.to_thread(group_lag, kafka, app.group, [topic])
            assert lag == {topic: {0: 0}}

            # An open transaction is applied once it is committed, and an aborted one never.
            await open_one.commit_transaction()
            await store.reach(12)
            await write(open_one, topic, [b"a3"], commit=False)
            await store.reach(14)
            assert store.values == [*COMMITTED, b"open"]
        finally:
            await within_patience(app.stop())


async def test_every_other_reader_sees_the_same_records_and_the_same_end(
    broker: str, new_topic: NewTopic
) -> None:
    topic, kafka = new_topic("transactions"), KafkaSettings(bootstrap_servers=broker)
    async with transactions(broker) as open_one:
        await three_kinds(broker, topic, open_one)
        place = (topic, 0)
        ends = await asyncio.to_thread(end_offsets, kafka, [topic])
        held = await asyncio.to_thread(held_offsets, kafka, [topic])
        assert ends == {topic: {0: 10}}
        assert (held[place].first, held[place].end) == (0, 10)

        # `segue replay`
        async with open_reader(kafka) as reader:
            span = Span(topic=topic, partition=0, first=0, end=held[place].end)
            assert [r.value async for batch in reader.read(span, 100) for r in batch] == COMMITTED
        # `segue recommend`, `segue status`
        found = await read_from(kafka, topic)
        assert [record.value for record in found] == COMMITTED
        # announcements, the catalogue of lists, live popularity
        assert await first_of(Broadcast(kafka=kafka, topic=topic), 4) == COMMITTED
        # the console's replica
        passed: list[tuple[Any, int, int]] = []

        async def note(place: Any, first: int, end: int) -> None:
            passed.append((place, first, end))

        reading = follow(kafka, {place: 0}, 100, note)
        seen = asyncio.ensure_future(first_of(reading, 5))
        await until(lambda: passed and passed[-1][2] >= 10, "the end to be passed")
        assert all(end - first > 0 for _, first, end in passed)
        await open_one.commit_transaction()
        assert await within_patience(seen) == [*COMMITTED, b"open"]


async def first_of(reading: Any, count: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    async with asyncio.timeout(PATIENCE_S):
        async for records in reading:
            found += [record.value for record in records]
            if len(found) >= count:
                break
    return found
