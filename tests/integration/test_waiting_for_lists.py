"""`segue recommend` says what is missing while it waits for lists."""

import asyncio
import uuid
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer

from segue import user_view as module
from segue.settings import Settings
from streams import KafkaSettings, ModelAnnouncement, create_topics, encode, topics

pytestmark = pytest.mark.integration


async def announce(settings, kind):
    said = ModelAnnouncement(kind=kind, generation=1, name="one", url="", created_at=1, metrics={})
    async with AIOKafkaProducer(**settings.kafka.for_aiokafka()) as producer:
        await producer.send_and_wait(settings.topics.models, key=said.key, value=encode(said))


def test_a_list_that_does_not_come_is_explained(broker, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLD_EVERY_S", 0.0)
    plain = Settings(data=str(tmp_path), kafka=KafkaSettings(bootstrap_servers=broker))
    names = replace(plain.topics, prefix=f"waits-{uuid.uuid4().hex[:8]}")
    settings = replace(plain, topics=names)
    create_topics(settings.kafka, topics(names))

    def told():
        said = []
        found = asyncio.run(module.user_view(settings, "anna", 1.0, said.append))
        assert found["lists"] == {}
        return said[-1]

    assert "no static bundle is published" in told()
    asyncio.run(announce(settings, "static"))
    assert "the trainer has not published a bundle yet" in told()
    asyncio.run(announce(settings, "dynamic"))
    assert "no worker has answered" in told()
