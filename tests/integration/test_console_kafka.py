"""The console on a real broker: lists of what was applied, an erasure, a rollback."""

import uuid
from dataclasses import replace

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from segue.serving_console import open_console
from state import compile_kernels
from streams import KafkaSettings, create_topics, topics
from tests.console.worlds import (
    HEADERS,
    NOW,
    WordVectors,
    World,
    make_bundles,
    make_world,
    small_items,
)
from tests.waiting import until

pytestmark = pytest.mark.integration


async def copied(world: World, kafka: KafkaSettings, prefix: str) -> None:
    """Write what lies in the world's log to Kafka, in order."""
    async with AIOKafkaProducer(**kafka.for_aiokafka()) as producer:
        for topic in world.log.topics():
            for number in range(world.log.partitions(topic)):
                for record in world.log.read(topic, number, 0, 100_000):
                    await producer.send(
                        topic.replace("segue", prefix, 1), record.value, record.key, number
                    )
        await producer.flush()


async def test_a_console_follows_kafka_and_changes_it_by_records(broker, tmp_path):
    compile_kernels()
    items = small_items()
    world = make_world(tmp_path, items, make_bundles(items))
    for bundle in world.bundles:
        world.announce(bundle)
    prefix = f"console-{uuid.uuid4().hex[:8]}"
    kafka = KafkaSettings(bootstrap_servers=broker)
    names = replace(world.settings.topics, prefix=prefix)
    settings = replace(world.settings, kafka=kafka, topics=names, sources=())
    create_topics(kafka, topics(names))
    await copied(world, kafka, prefix)
    world.log.close()
    async with (
        open_console(settings, "c", clock_ms=lambda: NOW, encoder=WordVectors()) as (
            app,
            following,
        ),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://console", headers=HEADERS
        ) as client,
        AIOKafkaProducer(**kafka.for_aiokafka()) as producer,
    ):

        async def generation(wanted: int) -> bool:
            assert not following.done()
            answer = await client.get("/ready")
            return answer.status_code == 200 and answer.json()["generation"] == wanted

        await until(lambda: generation(2), "the console to be ready")
        known = (await client.get("/v1/user?user=user-03")).json()
        assert known["entries"] == 3

        event = b'{"user_id":"new","item_id":"i1","item_type":"podcast","kind":"stream"'
        placed = await producer.send_and_wait(
            names.events, event + b',"timestamp":%d}' % NOW, b"new"
        )

        async def listed() -> bool:
            body = (await client.get("/v1/recommendations?user=new")).json()
            return body["position"] > placed.offset and not body["cold"]

        await until(listed, "the event in the list")

        erasing = (await client.delete("/v1/user?user=user-03")).json()

        async def erased() -> bool:
            return bool((await client.get(erasing["receipt"])).json()["applied_here"])

        await until(erased, "the erasure")
        assert (await client.get("/v1/user?user=user-03")).json()["entries"] == 0

        assert (await client.put("/v1/pin", json={"name": "g000000001"})).status_code == 202
        await until(lambda: generation(1), "the rollback")
        assert (await client.delete("/v1/pin")).status_code == 202
        await until(lambda: generation(2), "the newest again")
