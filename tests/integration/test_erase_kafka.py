"""segue erase against a real broker: the records it writes, and the receipt that it finds."""

import asyncio
import uuid

import pytest

from agents.outputs import ProducerOutputs
from segue.erasing import erase_user
from segue.roles import make_worker
from segue.settings import load_settings
from streams import Event, create_topics, delete_topics, encode, read_from, topics

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(broker, tmp_path):
    found = load_settings(
        flags=[
            f"kafka.bootstrap_servers={broker}", f"data={tmp_path}", "topics.partitions=2",
            f"topics.prefix=erase-{uuid.uuid4().hex[:8]}",
        ]
    )  # fmt: skip
    wanted = topics(found.topics)
    create_topics(found.kafka, wanted)
    yield found
    delete_topics(found.kafka, [topic.name for topic in wanted])


async def test_the_receipt_of_a_worker_is_found_by_its_place(settings):
    names = settings.topics
    keyed = [(topic, n) for topic in (names.users, names.events) for n in range(names.partitions)]
    async with ProducerOutputs(settings.kafka) as outputs:
        for user in ("ann", "bob"):
            event = Event(
                user_id=user, item_id="a", item_type="podcast", kind="stream", timestamp=1
            )
            await outputs.send(names.events, event.key, encode(event))
        await outputs.flush()
        worker = make_worker(settings, "w", outputs)
        await worker.assigned(keyed)

        async def work() -> None:
            while True:
                for topic in (names.users, names.events):
                    first = {n: worker.partitions.position(topic, n) or 0 for n in (0, 1)}
                    records = await read_from(settings.kafka, topic, first)
                    for number in (0, 1):
                        if mine := [r for r in records if r.partition == number]:
                            await worker.handle(mine)
                await asyncio.sleep(0.05)

        working = asyncio.ensure_future(work())
        try:
            found = await erase_user(settings, "ann", 60.0)
            left = [s.history(u) for s in worker.partitions.states.values() for u in ("ann", "bob")]
        finally:
            working.cancel()
            await asyncio.wait([working])
            worker.close()
    assert found["receipt"]["held"] is True
    assert found["receipt"]["position"] == found["events"]["offset"] + 1
    assert sum(map(len, left)) == 1
    for topic in (names.users, names.events, names.recommendations):
        records = await read_from(settings.kafka, topic)
        assert [r.key for r in records if r.value is None] == [b"ann"], topic


async def test_without_a_worker_there_is_no_receipt_but_the_erasure_is_written(settings):
    found = await erase_user(settings, "ann", 0.0)
    assert found["receipt"] is None
    [record] = await read_from(settings.kafka, settings.topics.events)
    assert (record.key, record.value, record.offset) == (b"ann", None, found["events"]["offset"])
