"""The limit of the throughput benchmark: records taken out of a topic, and nothing done with them.

    python -m benchmarks.drain BROKER TOPIC

Prints when it begins to fetch and when all records have come, then waits for SIGTERM.
"""

import asyncio
import json
import signal
import sys
import time

from aiokafka import AIOKafkaConsumer

from streams import KafkaSettings, end_offsets

FETCH_BYTES = 4 << 20


async def drain(broker: str, topic: str) -> None:
    """Take what the topic has now."""
    kafka = KafkaSettings(bootstrap_servers=broker)
    left = total = sum(end_offsets(kafka, [topic])[topic].values())
    options = {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": FETCH_BYTES}
    async with AIOKafkaConsumer(topic, **kafka.for_consumer(), **options) as consumer:
        print(json.dumps({"started": time.time_ns() // 1_000_000}), flush=True)
        while left:
            left -= sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
    print(json.dumps({"events": total, "at": time.time_ns() // 1_000_000}), flush=True)


if __name__ == "__main__":
    asyncio.run(drain(*sys.argv[1:3]))
    signal.pause()
