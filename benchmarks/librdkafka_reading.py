"""What reading a record through librdkafka costs: consume, columns, the threads of the client.

    python -m benchmarks.librdkafka_reading 200000 --repeat 5

Starts a broker, fills a topic with listening events and reads it as a worker does, in one process,
in turns with the garbage collector as Python sets it and as workers set it. Microseconds of
processor time a record, median of the repetitions.
"""

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks.listening import Listening
from benchmarks.machine import broker_at
from segue.roles import spare_collections
from streams import KafkaSettings, TopicDefinition, bulk_write, create_topics
from streams.batches import POLL_RECORDS
from streams.librdkafka_columns import by_partition, message_columns
from streams.librdkafka_consumer import group_properties

__all__ = ["measure"]

TOPIC = "events"
PARTITIONS = 4


@contextmanager
def as_workers_collect() -> Iterator[None]:
    before = gc.get_threshold()
    gc.collect()
    spare_collections()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def read(kafka: KafkaSettings, records: int) -> dict[str, float]:
    """Read the topic once; microseconds a record by part.

    consume:  confluent-kafka's calls, which make an object of each record.
    columns:  the records of a fetch as columns.
    threads:  librdkafka's own threads: fetching, decompressing, checking.
    all:      the whole process.
    """
    properties: dict[str, Any] = group_properties(
        kafka, "reading", session_timeout_s=6, rebalance_timeout_s=60, max_fetch_bytes=4 << 20
    )
    consumer = Consumer({**properties, "enable.partition.eof": False})
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
    consume = columns = 0.0
    left = records
    process, thread = time.process_time(), time.thread_time()
    while left:
        begin = time.thread_time()
        first = consumer.poll(0.1)
        messages = [] if first is None else [first, *consumer.consume(POLL_RECORDS, 0)]
        fetched = time.thread_time()
        for place, found in by_partition(messages).items():
            left -= len(message_columns(place, found))
        consume += fetched - begin
        columns += time.thread_time() - fetched
    everything = time.process_time() - process
    threads = everything - (time.thread_time() - thread)
    consumer.close()
    parts = {"consume": consume, "columns": columns, "threads": threads, "all": everything}
    return {part: seconds / records * 1e6 for part, seconds in parts.items()}


def measure(kafka: KafkaSettings, records: int, repeat: int) -> dict[str, dict[str, float]]:
    """Return the medians by setting of the collector and part."""
    found: dict[str, list[dict[str, float]]] = {"Python's": [], "workers'": []}
    for _ in range(repeat):
        found["Python's"].append(read(kafka, records))
        with as_workers_collect():
            found["workers'"].append(read(kafka, records))
    return {
        setting: {part: round(statistics.median(run[part] for run in runs), 2) for part in runs[0]}
        for setting, runs in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--broker", help="host:port; default: start one for this run")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="segue-reading-") as scratch,
        broker_at(Path(scratch), arguments.broker) as address,
    ):
        kafka = KafkaSettings(bootstrap_servers=address)
        create_topics(kafka, [TopicDefinition(name=TOPIC, partitions=PARTITIONS)])
        events = Listening.generate(arguments.records, 1).records()
        asyncio.run(bulk_write(kafka, TOPIC, PARTITIONS, events, lambda _done: None))
        for setting, parts in measure(kafka, arguments.records, arguments.repeat).items():
            print(f"{setting} garbage collection:", parts)


if __name__ == "__main__":
    main()
