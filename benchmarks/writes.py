"""Events over HTTP: how many a second of one core's time, by the size of a batch.

    python -m benchmarks.writes [--kafka ADDRESS] [--seconds 3]

The API's routes run in this process, called without a socket, and write to the embedded log, or to
Kafka. Counted is the processor time of this process, so that other work on the machine changes
little. The last column compares with the decoder alone, on the same rows: a ratio that holds on
other machines. The console also applies what it reads back: 8 to 13 us an event, measured by
`segue bench throughput`.
"""

import argparse
import asyncio
import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from console import ConsoleMetrics, EmbeddedWriter, KafkaWriter, TokenSettings, Writes
from console.app import api_routes
from console.guard import Tokens
from console.settings import WriteSettings
from streams import EmbeddedLog, EventRules, KafkaSettings, TopicSettings, create_topics, topics
from streams.checked_rows import check_events
from streams.log_record import now_ms

TOKEN = "bench"  # noqa: S105 of an app that lives for some seconds
BATCHES = (1, 10, 100, 1_000)


def rows(count: int) -> list[bytes]:
    """Return events of so many users."""
    return [
        json.dumps(
            {"user_id": f"user-{n:06d}", "item_id": f"item-{n % 97}", "item_type": "podcast",
             "kind": "stream", "timestamp": now_ms()}
        ).encode()
        for n in range(count)
    ]  # fmt: skip


async def spent(work: Callable[[], Awaitable[None]], seconds: float) -> float:
    """Return the processor seconds of one run of `work`, over at least `seconds` of them."""
    await work()
    begun, runs = time.process_time(), 0
    while time.process_time() - begun < seconds:
        await work()
        runs += 1
    return (time.process_time() - begun) / runs


async def measure(
    writer: EmbeddedWriter | KafkaWriter, names: TopicSettings, seconds: float
) -> None:
    """Print a line for each size of a batch."""
    app = api_routes()
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    app.state.tokens = Tokens((TokenSettings(name="b", sha256=digest, rights=("events",)),))
    app.state.writes = Writes(
        writer, names, EventRules(), WriteSettings(), now_ms, ConsoleMetrics()
    )
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://bench", headers=headers
    ) as client:
        for size in BATCHES:
            values = rows(size)
            body = b"[" + b",".join(values) + b"]"

            async def post(body: bytes = body) -> None:
                answer = await client.post("/v1/events", content=body)
                answer.raise_for_status()

            async def check(values: list[bytes] = values) -> None:
                check_events(values, EventRules(), now_ms())

            wall = time.perf_counter()
            whole, alone = await spent(post, seconds), await spent(check, seconds / 3)
            print(
                f"{size:5d} a request: {size / whole:9,.0f} events/s of a core "
                f"({1e6 * whole / size:6.1f} us an event), {whole / alone:6.1f} times the decoder; "
                f"{time.perf_counter() - wall:.0f} s in all"
            )
    await writer.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kafka", help="address of a broker; default: the embedded log")
    parser.add_argument("--seconds", type=float, default=3.0, help="processor seconds a size")
    asked = parser.parse_args()
    names = TopicSettings(prefix=f"bench-{uuid.uuid4().hex[:8]}")
    if asked.kafka:
        kafka = KafkaSettings(bootstrap_servers=asked.kafka)
        create_topics(kafka, topics(names))
        asyncio.run(measure(KafkaWriter(kafka), names, asked.seconds))
        return
    with tempfile.TemporaryDirectory() as folder, EmbeddedLog(Path(folder)) as log:
        create_topics(log, topics(names))
        asyncio.run(measure(EmbeddedWriter(log), names, asked.seconds))


if __name__ == "__main__":
    main()
