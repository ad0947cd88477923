"""Writes over HTTP to a real broker, by a console that is killed meanwhile."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import uuid

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from console import ConsoleSettings, TokenSettings
from segue.settings import Settings, write_settings
from streams import KafkaSettings, TopicSettings, create_topics, topics
from tests.waiting import PATIENCE_S, end_of, wait_until

pytestmark = pytest.mark.integration

TOKEN = "shop"  # noqa: S105 - of this test
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
SENDERS, ROWS = 4, 7


async def everything(kafka: KafkaSettings, topic: str, partitions: int) -> dict[str, bytes]:
    """Return the values of a topic by topic/partition/offset."""
    async with AIOKafkaConsumer(**kafka.for_consumer(), enable_auto_commit=False) as consumer:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: dict[str, bytes] = {}
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    found[f"{topic}/{place.partition}/{record.offset}"] = record.value
        return found


def send(address: str, sender: int, answered: list) -> None:
    """Send events, ROWS a request, until the console is gone."""
    with httpx.Client(base_url=address, headers=HEADERS, timeout=PATIENCE_S) as client:
        for number in range(100_000):
            rows = [
                {"user_id": f"u{sender}-{number}-{row}", "item_id": "i", "item_type": "a",
                 "kind": "stream", "timestamp": 1_700_000_000_000}
                for row in range(ROWS)
            ]  # fmt: skip
            try:
                answer = client.post("/v1/events", json=rows)
            except httpx.HTTPError:
                return
            assert answer.status_code == 202, answer.text
            answered.append((rows, answer.json()))


def test_every_answered_record_is_in_the_log_when_a_console_is_killed(broker, tmp_path):
    kafka = KafkaSettings(bootstrap_servers=broker)
    names = TopicSettings(prefix=f"writes-{uuid.uuid4().hex[:8]}", partitions=3)
    create_topics(kafka, topics(names))
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    token = TokenSettings(name="shop", sha256=digest, rights=("events",))
    settings = Settings(
        data=str(tmp_path), kafka=kafka, topics=names,
        console=ConsoleSettings(port=0, rate_per_s=0.0, tokens=(token,)),
    )  # fmt: skip
    write_settings(settings, tmp_path / "segue.toml")
    command = [sys.executable, "-m", "segue", "console", "--config", str(tmp_path / "segue.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as console:
        try:
            # The console's start imports much, and takes its time on a busy machine.
            address = console.stdout.readline().removeprefix("console: ").split("/#")[0].strip()
            answered: list = []
            senders = [
                threading.Thread(target=send, args=(address, number, answered))
                for number in range(SENDERS)
            ]
            for sender in senders:
                sender.start()
            ended = end_of(console, lambda: "what it said is above")
            wait_until(lambda: len(answered) >= 60, "60 answers", ended=ended, every_s=0.005)
        finally:
            os.kill(console.pid, signal.SIGKILL)
        for sender in senders:
            sender.join(PATIENCE_S)
    held = asyncio.run(everything(kafka, names.events, names.partitions))
    users = [json.loads(value)["user_id"] for value in held.values()]
    sent = {row["user_id"] for rows, _ in answered for row in rows}
    assert sent <= set(users)
    assert len(users) == len(set(users))
    # At most one request of each sender came in without an answer.
    assert len(users) <= (len(answered) + SENDERS) * ROWS
    for rows, body in answered:
        assert body["accepted"] == len(rows) == ROWS
        mine = {row["user_id"] for row in rows}
        assert {json.loads(held[place])["user_id"] for place in body["at_least"]} <= mine
