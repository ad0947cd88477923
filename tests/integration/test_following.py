"""Places of a real log that are followed up to limits which others move."""

import asyncio
from collections.abc import Callable

import pytest

from streams.log_following import follow
from streams.security import KafkaSettings
from tests.integration.conftest import fill

pytestmark = pytest.mark.integration


async def test_records_wait_in_front_of_a_limit_and_none_is_left_out(
    broker: str, new_topic: Callable[..., str]
) -> None:
    topic = new_topic("events", partitions=2)
    for number in range(2):
        await fill(broker, topic, number, (b"%d" % n for n in range(100)))
    # Partition 1 must not hold back partition 0, and the other way round.
    limits, found = {(topic, 0): 30, (topic, 1): 0}, {0: list[int](), 1: list[int]()}
    steps = iter([{(topic, 1): 7}, {(topic, 0): 100}, {(topic, 1): 100}])

    def reached() -> bool:
        return all(len(found[number]) == end for (_, number), end in limits.items())

    def ended() -> bool:
        if reached():
            step = next(steps, None)
            if step is None:
                return True
            limits.update(step)
        return False

    async with asyncio.timeout(30):
        async for records in follow(
            KafkaSettings(bootstrap_servers=broker),
            dict.fromkeys(limits, 0), 20, below=lambda place: limits[place], ended=ended,
        ):  # fmt: skip
            found[records[0].partition] += [record.offset for record in records]
            assert records[-1].offset < limits[topic, records[0].partition]
    assert found == {0: list(range(100)), 1: list(range(100))}
