"""Every reader gets everything from the beginning and knows when it has caught up."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from streams.broadcast import Broadcast
from streams.reach import AdminError, UnreachableError
from streams.security import KafkaSettings
from tests.integration.conftest import fill
from tests.waiting import PATIENCE_S, within_patience

pytestmark = pytest.mark.integration

NewTopic = Callable[..., str]


async def until(event: asyncio.Event, following: Coroutine[None, None, None]) -> None:
    """Run the coroutine until the event; fail with it, should it fail first."""
    task, waiting = asyncio.create_task(following), asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    assert event.is_set()
    task.cancel()


async def test_all_partitions_are_read_from_the_beginning_by_every_reader(
    broker: str, new_topic: NewTopic
) -> None:
    topic = new_topic("models", partitions=3)
    for partition in range(3):
        await fill(broker, topic, partition, (b"%d" % n for n in range(1000)))

    async def read() -> dict[int, list[int]]:
        offsets: dict[int, list[int]] = {0: [], 1: [], 2: []}
        broadcast = Broadcast(kafka=KafkaSettings(bootstrap_servers=broker), topic=topic)

        async def follow() -> None:
            async for records in broadcast:
                assert not broadcast.caught_up.is_set()
                offsets[records[0].partition] += [record.offset for record in records]

        await until(broadcast.caught_up, follow())
        return offsets

    for offsets in await asyncio.gather(read(), read()):
        assert offsets == {partition: list(range(1000)) for partition in range(3)}


async def test_records_written_later_arrive_after_catching_up(
    broker: str, new_topic: NewTopic
) -> None:
    topic = new_topic("models")
    await fill(broker, topic, 0, [b"old"])
    broadcast = Broadcast(kafka=KafkaSettings(bootstrap_servers=broker), topic=topic)
    seen: list[tuple[bytes, bool]] = []

    async def follow() -> None:
        async for records in broadcast:
            seen.extend((record.value, broadcast.caught_up.is_set()) for record in records)
            if len(seen) == 2:
                return

    async def write_later() -> None:
        await broadcast.caught_up.wait()
        await fill(broker, topic, 0, [b"new"])

    await within_patience(asyncio.gather(follow(), write_later()))

    assert seen == [(b"old", False), (b"new", True)]


async def test_an_empty_topic_is_caught_up_at_once(broker: str, new_topic: NewTopic) -> None:
    broadcast = Broadcast(kafka=KafkaSettings(bootstrap_servers=broker), topic=new_topic("models"))

    async def follow() -> None:
        async for _ in broadcast:
            pytest.fail("there is nothing to read")

    await until(broadcast.caught_up, follow())


async def test_a_missing_topic_is_named(broker: str) -> None:
    with pytest.raises(AdminError, match="no-such-topic"):
        kafka = KafkaSettings(bootstrap_servers=broker)
        async for _ in Broadcast(kafka=kafka, topic="no-such-topic"):
            pass


async def test_a_broker_that_is_away_may_come_back_and_a_topic_that_is_missing_does_not(
    broker: str,
) -> None:
    away = KafkaSettings(bootstrap_servers="127.0.0.1:1", request_timeout_ms=1_000)
    with pytest.raises(UnreachableError, match="no Kafka broker answers"):
        await anext(aiter(Broadcast(kafka=away, topic="models")))
    with pytest.raises(AdminError, match="no topic") as missing:
        kafka = KafkaSettings(bootstrap_servers=broker)
        await anext(aiter(Broadcast(kafka=kafka, topic="never-made")))
    assert not isinstance(missing.value, UnreachableError)
