"""How fast records come out of Kafka: plain Faust, aiokafka alone, and batches by each transport.

    python benchmarks/transport.py [--records 1000000] [--rounds 3] [--broker HOST:PORT]

Starts a development broker unless one is given, fills a topic of 4 partitions with events of about
115 bytes, and reads it four ways, each in a fresh process on one core. Nothing is decoded: the
figure is what the transport leaves to the work itself. Also: records written through an Outbox.
The ratio is to Faust with batches, or to its Outbox, in the same round.
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
from functools import partial
from pathlib import Path
from typing import Any, Literal

import faust
import psutil
from aiokafka import AIOKafkaConsumer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segue.roles import spare_collections
from streams import KafkaSettings, TopicDefinition, bulk_write, create_topics
from streams.app import create_app
from streams.batches import Batch
from streams.broker import DevelopmentBroker
from streams.distribution import POM

ROOT = Path(__file__).parents[1]
PARTITIONS = 4
MAX_BATCH = 4096
Transport = Literal["faust", "librdkafka"]
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


async def batches(transport: Transport, address: str, topic: str, records: int) -> float:
    watch = Stopwatch(records)
    kafka = KafkaSettings(bootstrap_servers=address, transport=transport)
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


async def outbox(transport: Transport, address: str, topic: str, records: int) -> float:
    count = min(records, 100_000)
    kafka = KafkaSettings(bootstrap_servers=address, transport=transport)
    app = create_app(f"bench-{uuid.uuid4().hex}", kafka, batched={topic: MAX_BATCH})

    value = json.dumps(
        {"user_id": "u", "items": [{"item_id": f"i{n}"} for n in range(20)]}
    ).encode()
    # Not started: nothing is read meanwhile. Faust's producer is a service of its own.
    if isinstance(app, faust.App):
        await app.maybe_start_producer()
    box = app.outbox()
    begin = time.perf_counter()
    for number in range(count):
        await box.send(topic, b"user-%d" % number, value)
        if number % 1000 == 0:
            await box.flush()
    await box.flush()
    rate = count / (time.perf_counter() - begin)
    if isinstance(app, faust.App):
        await app.producer.stop()
    else:
        await app.stop()
    return rate


async def run(app: Any, watch: Stopwatch) -> float:
    await app.start()
    await watch.done.wait()
    await app.stop()
    return watch.rate()


#: Each with the way that it is compared with.
WAYS: dict[str, tuple[Callable[[str, str, int], Any], str]] = {
    "plain Faust agent": (faust_plain, "Faust with batches"),
    "aiokafka getmany": (aiokafka_getmany, "Faust with batches"),
    "Faust with batches": (partial(batches, "faust"), "Faust with batches"),
    "librdkafka with batches": (partial(batches, "librdkafka"), "Faust with batches"),
    "Outbox of Faust": (partial(outbox, "faust"), "Outbox of Faust"),
    "Outbox of librdkafka": (partial(outbox, "librdkafka"), "Outbox of Faust"),
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
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--broker", help="host:port; default: start one for this run")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--topic", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        spare_collections()  # as workers do
        rate = asyncio.run(WAYS[options.way][0](options.broker, options.topic, options.records))
        print(rate)
        return
    with tempfile.TemporaryDirectory() as folder:
        libs = ROOT / "var" / "kafka" / "libs"
        node = DevelopmentBroker(Path(folder), POM, libs=libs)
        address = options.broker or node.start()
        try:
            topic = f"bench-{uuid.uuid4().hex}"
            fill(KafkaSettings(bootstrap_servers=address), topic, options.records)
            names = [f"round {n}: records/s, ratio" for n in range(1, options.rounds + 1)]
            table = Table("way", *names, title=f"{psutil.cpu_count()} cores")
            rounds = [
                {way: measure(way, address, topic, options.records) for way in WAYS}
                for _ in range(options.rounds)
            ]
            for way, (_, other) in WAYS.items():
                cells = (f"{rates[way]:,.0f}  {rates[way] / rates[other]:.2f}" for rates in rounds)
                table.add_row(way, *cells)
        finally:
            node.stop()
    Console().print(table)


if __name__ == "__main__":
    main()
