"""How fast one core re-keys: a topic that is not keyed by user, mapped and written under its users.

    python benchmarks/rekey.py [--records 1000000] [--users 200000] [--runs 3] [--json FILE]

Starts a development broker unless one is given, fills a topic of 4 partitions with nested JSON of
about 190 bytes, and runs `segue rekey` on it in a fresh process that is pinned to one core: fetch,
decode, map, check, encode, partition, compress, send. Events per second by the clock, from the
first batch to the last acknowledgement; and by the processor time of the process, which a busy
machine distorts less. Then what mapping alone costs beside reading our own form.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from streams import (
    Event,
    EventRules,
    KafkaSettings,
    Record,
    RekeySettings,
    SourceSettings,
    TimestampMapping,
    TopicDefinition,
    TopicSettings,
    ValueMapping,
    bulk_write,
    create_topics,
    encode,
    end_offsets,
    event_decoder,
    topics,
)
from streams.broker import DevelopmentBroker
from streams.distribution import POM
from streams.rekey_app import serve_rekey

ROOT = Path(__file__).parents[1]
PARTITIONS = 4
NOW = 1_760_000_000_000
BATCH = 4096


def source(topic: str) -> SourceSettings:
    return SourceSettings(
        topic=topic,
        keyed_by_user=False,
        user_id="payload.user.id",
        item_id="payload.content.id",
        item_type=ValueMapping(
            field="payload.content.class", values={"show": "podcast", "book": "audiobook"}
        ),
        kind=ValueMapping(field="action", values={"play": "stream", "sub": "follow"}),
        timestamp=TimestampMapping(field="occurred_at", unit="s"),
    )


def activities(records: int, users: int) -> Iterator[bytes]:
    draw = random.Random(1)  # noqa: S311 not for secrets
    for number in range(records):
        at = NOW / 1000 + number / 1e6
        yield (
            f'{{"event_id":"{number:032x}","action":"play","occurred_at":{at},'
            f'"payload":{{"user":{{"id":"user-{draw.randrange(users):07d}","plan":"premium"}},'
            f'"content":{{"id":"item-{number % 9973}","class":"show"}}}}}}'
        ).encode()


async def rekey(address: str, topics: TopicSettings, topic: str, records: int) -> None:
    """Re-key a topic to its end in this process, on one core; print what it took."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    kafka, registry = KafkaSettings(bootstrap_servers=address), CollectorRegistry()
    group = RekeySettings(group=topics.prefix)
    running = asyncio.ensure_future(
        serve_rekey(kafka, topics, (source(topic),), EventRules(), group, registry)
    )

    def done() -> float:
        return registry.get_sample_value("segue_events_rekeyed_total") or 0

    while not done():
        await asyncio.sleep(0.001)
    first, begin, used = done(), time.perf_counter(), processor_seconds()
    while done() < records:
        await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)  # its end waits for the last acknowledgement
    end, spent = time.perf_counter(), processor_seconds() - used
    if await running:
        raise SystemExit(1)
    print(
        json.dumps({"clock": (records - first) / (end - begin), "cpu": (records - first) / spent})
    )


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(address: str, records: int, users: int) -> dict[str, float]:
    kafka = KafkaSettings(bootstrap_servers=address)
    own = TopicSettings(prefix=f"bench-{uuid.uuid4().hex[:8]}", partitions=PARTITIONS)
    topic = f"activity-{own.prefix}"
    create_topics(kafka, [*topics(own), TopicDefinition(name=topic, partitions=PARTITIONS)])
    values = ((None, value) for value in activities(records, users))
    asyncio.run(bulk_write(kafka, topic, PARTITIONS, values))
    command = [sys.executable, __file__, "--child", msgspec.json.encode(own).decode(), topic]
    done = subprocess.run(
        [*command, "--broker", address, "--records", str(records)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    written = sum(end_offsets(kafka, [own.events])[own.events].values())
    if written < records:
        raise SystemExit(f"expected {records} re-keyed events in the topic, found {written}")
    return dict(json.loads(done.stdout))


def microseconds(decode: Callable[[Any], Any], records: list[Record]) -> float:
    """Least time for one record, decoded in a batch."""
    best = min(_timed(decode, records) for _ in range(20))
    return best / len(records) * 1e6


def _timed(decode: Callable[[Any], Any], records: list[Record]) -> float:
    begin = time.perf_counter()
    decode(records)
    return time.perf_counter() - begin


def mapping_costs() -> dict[str, float]:
    theirs = [
        Record("t", 0, offset, NOW, None, value)
        for offset, value in enumerate(activities(BATCH, 3000))
    ]
    events, _ = event_decoder(source("t"), EventRules())(theirs)
    ours = []
    for row in range(len(events)):
        event = Event(
            user_id=events.user_id[row], item_id=events.item_id[row],
            item_type=events.item_type[row], kind=events.kind[row],
            timestamp=int(events.timestamp[row]),
        )  # fmt: skip
        ours.append(Record("t", 0, row, NOW, event.key, encode(event)))
    native = event_decoder(SourceSettings(topic="t"), EventRules())
    return {
        "mapped JSON": microseconds(event_decoder(source("t"), EventRules()), theirs),
        "our own form": microseconds(native, ours),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--broker", help="host:port; default: start one for this run")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        own = msgspec.json.decode(options.child[0], type=TopicSettings)
        asyncio.run(rekey(options.broker, own, options.child[1], options.records))
        return
    with tempfile.TemporaryDirectory() as folder:
        libs = ROOT / "var" / "kafka" / "libs"
        node = DevelopmentBroker(Path(folder), POM, libs=libs)
        address = options.broker or node.start()
        try:
            runs = [measure(address, options.records, options.users) for _ in range(options.runs)]
        finally:
            node.stop()
    costs = mapping_costs()
    table = Table("run", "events/s by the clock", "events/s by processor time")
    for number, run in enumerate(runs, 1):
        table.add_row(str(number), f"{run['clock']:,.0f}", f"{run['cpu']:,.0f}")
    Console().print(table)
    for name, cost in costs.items():
        Console().print(f"decoding {name}: {cost:.2f} µs an event")
    if options.json:
        figures = {"records": options.records, "runs": runs, "decode_microseconds": costs}
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
