"""How fast records come out of Kafka: a plain Faust agent, aiokafka alone, Faust with batches.

    python benchmarks/transport.py [--records 1000000] [--broker HOST:PORT]

Starts a development broker unless one is given, fills a topic of 4 partitions with events of about
115 bytes, and reads it three ways, each in a fresh process on one core. Nothing is decoded: the
figure is what the transport leaves to the work itself. Also: records written through an Outbox.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust
import psutil
from aiokafka import AIOKafkaConsumer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from streams import KafkaSettings, TopicDefinition, bulk_write, create_topics
from streams.app import create_app
from streams.broker import DevelopmentBroker
from streams.distribution import POM
from streams.transport import Batch

ROOT = Path(__file__).parents[1]
PARTITIONS = 4
MAX_BATCH = 4096
PLAIN_RECORDS = 50_000
"""A plain agent is too slow to wait for more."""


class Stopwatch:
    """Counts records from the first one on and tells when all have come."""

    def __init__(self, expected: int) -> None:
        self.done = asyncio.Event()
        self._left = expected
        self._expected = expected
        self._begin = 0.0
        self._end = 0.0

    def count(self, records: int) -> None:
        self._begin = self._begin or time.perf_counter()
        self._left -= records
        if self._left <= 0:
            self._end = time.perf_counter()
            self.done.set()

    def rate(self) -> float:
        return self._expected / (self._end - self._begin)


async def aiokafka_getmany(address: str, topic: str, records: int) -> float:
    watch = Stopwatch(records)
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=address,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    ) as consumer:
        while not watch.done.is_set():
            for fetched in (await consumer.getmany(timeout_ms=1000)).values():
                watch.count(len(fetched))
    return watch.rate()


async def faust_batches(address: str, topic: str, records: int) -> float:
    watch = Stopwatch(records)
    kafka = KafkaSettings(bootstrap_servers=address)
    app = create_app(f"bench-{uuid.uuid4().hex}", kafka, batched={topic: MAX_BATCH})

    @app.batches(topic)
    async def count(batch: Batch) -> None:
        watch.count(len(batch))

    return await run(app, watch)


async def faust_plain(address: str, topic: str, records: int) -> float:
    watch = Stopwatch(min(records, PLAIN_RECORDS))
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            f"bench-{uuid.uuid4().hex}",
            broker=f"kafka://{address}",
            datadir=folder,
            web_enabled=False,
            topic_disable_leader=True,
            value_serializer="raw",
            key_serializer="raw",
        )

        @app.agent(app.topic(topic))
        async def count(stream: Any) -> None:
            async for _ in stream:
                watch.count(1)

        return await run(app, watch)


async def outbox(address: str, topic: str, records: int) -> float:
    count = min(records, 100_000)
    kafka = KafkaSettings(bootstrap_servers=address)
    app = create_app(f"bench-{uuid.uuid4().hex}", kafka, batched={topic: MAX_BATCH})
    await app.maybe_start_producer()
    box = app.outbox()
    value = json.dumps(
        {"user_id": "u", "items": [{"item_id": f"i{n}"} for n in range(20)]}
    ).encode()
    begin = time.perf_counter()
    for number in range(count):
        await box.send(topic, b"user-%d" % number, value)
        if number % 1000 == 0:
            await box.flush()
    await box.flush()
    rate = count / (time.perf_counter() - begin)
    await app.producer.stop()
    return rate


async def run(app: Any, watch: Stopwatch) -> float:
    await app.start()
    await watch.done.wait()
    await app.stop()
    return watch.rate()


WAYS: dict[str, Callable[[str, str, int], Any]] = {
    "plain Faust agent": faust_plain,
    "aiokafka getmany": aiokafka_getmany,
    "Faust with batches": faust_batches,
    "Outbox, flush every 1,000": outbox,
}


def fill(kafka: KafkaSettings, topic: str, records: int) -> None:
    created = TopicDefinition(name=topic, partitions=PARTITIONS, replication=1)
    create_topics(kafka, [created])

    def events() -> Any:
        for number in track(range(records), "filling the topic"):
            event = (
                f'{{"user_id":"user-{number % 5000}","item_id":"item-{number % 977}",'
                f'"item_type":"podcast","kind":"stream","timestamp":{1_760_000_000_000 + number}}}'
            )
            yield b"user-%d" % (number % 5000), event.encode()

    asyncio.run(bulk_write(kafka, topic, PARTITIONS, events(), compression=None))


def measure(way: str, address: str, topic: str, records: int) -> float:
    command = [sys.executable, __file__, "--way", way, "--topic", topic]
    options = ["--broker", address, "--records", str(records)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command + options, stdout=subprocess.PIPE, check=True, text=True, env=environment
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--broker", help="host:port; default: start one for this run")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--topic", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        rate = asyncio.run(WAYS[options.way](options.broker, options.topic, options.records))
        print(rate)
        return
    with tempfile.TemporaryDirectory() as folder:
        libs = ROOT / "var" / "kafka" / "libs"
        node = DevelopmentBroker(Path(folder), POM, libs=libs)
        address = options.broker or node.start()
        try:
            topic = f"bench-{uuid.uuid4().hex}"
            fill(KafkaSettings(bootstrap_servers=address), topic, options.records)
            table = Table("way", "records/s", title=f"{psutil.cpu_count()} cores")
            for way in WAYS:
                table.add_row(way, f"{measure(way, address, topic, options.records):,.0f}")
        finally:
            node.stop()
    Console().print(table)


if __name__ == "__main__":
    main()
