"""Topics of other owners on a real broker: re-keyed through a kill, and looked at beforehand."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from typer.testing import CliRunner

from segue.cli import app
from streams import (
    DeadLetter,
    EventRules,
    KafkaSettings,
    RekeySettings,
    Source,
    SourceSettings,
    TimestampMapping,
    TopicDefinition,
    TopicSettings,
    ValueMapping,
    bulk_write,
    create_topics,
    decode,
    decode_events,
    delete_topics,
    end_offsets,
    group_lag,
    murmur2_partition,
    topics,
)
from streams.rekeying import RekeyedEvent
from streams.source_topics import NO_TOPIC
from tests.integration import rekey_process
from tests.integration.conftest import fill
from tests.waiting import PATIENCE_S, end_of, wait_until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PARTITIONS = 3
RECORDS = 4_000
"""By helping; every hundredth is bad."""


@pytest.fixture
def own(broker: str) -> Iterator[TopicSettings]:
    """Segue's topics under a name of their own."""
    kafka = KafkaSettings(bootstrap_servers=broker)
    settings = TopicSettings(prefix=f"segue-{uuid.uuid4().hex[:8]}", partitions=PARTITIONS)
    create_topics(kafka, topics(settings))
    yield settings
    delete_topics(kafka, [definition.name for definition in topics(settings)])


@pytest.fixture
def theirs(broker: str, own: TopicSettings) -> Iterator[tuple[str, str]]:
    """Two topics of somebody else, of two partitions and of one; known to the broker by now."""
    kafka = KafkaSettings(bootstrap_servers=broker)
    names = f"{own.prefix}-clicks", f"{own.prefix}-player"
    definitions = [
        TopicDefinition(name=name, partitions=count)
        for name, count in zip(names, (2, 1), strict=True)
    ]
    create_topics(kafka, definitions)
    yield names
    delete_topics(kafka, names)


def clicks(topic: str) -> SourceSettings:
    return SourceSettings(
        topic=topic,
        keyed_by_user=False,
        user_id="visitor.id",
        item_id="page",
        item_type=ValueMapping(default="post"),
        kind=ValueMapping(field="did", values={"open": "stream"}),
        timestamp=TimestampMapping(field="ts", unit="auto"),
    )


def click(number: int) -> bytes:
    did = "stumble" if number % 100 == 99 else "open"
    visitor = {"id": f"visitor-{number * 7919 % 83}"}
    return json.dumps({"visitor": visitor, "page": number, "did": did, "ts": 1.76e9}).encode()


class Rekeying:
    """Starts and ends processes that re-key one topic."""

    def __init__(self, broker: str, own: TopicSettings, topic: str, folder: Path) -> None:
        self.group = f"rekey-{own.prefix}"
        arguments = [msgspec.json.encode(text).decode() for text in (own, (clicks(topic),))]
        self._command = [sys.executable, rekey_process.__file__, broker, *arguments]
        self._log = folder / "rekey.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, settle_every_ms: int, die_after: int = 0) -> None:
        settings = RekeySettings(group=self.group, batch=40, settle_every_ms=settle_every_ms)
        text = msgspec.json.encode(settings).decode()
        command = [*self._command, text, f"--die-after={die_after}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self.end()

    def end(self) -> int:
        assert self._process is not None
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the process goes on: {self.output()}")
        self._process = None
        return status

    def ended(self) -> str:
        assert self._process is not None
        return end_of(self._process, self.output)()

    def output(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def rekeying(
    broker: str, own: TopicSettings, new_topic: Callable[..., str], tmp_path: Path
) -> Iterator[tuple[Rekeying, str]]:
    topic = new_topic("web.clicks", 2)
    rekeying = Rekeying(broker, own, topic, tmp_path)
    yield rekeying, topic
    rekeying.close()


def read(broker: str, topic: str) -> list[ConsumerRecord]:
    """All records of a topic, those of each partition in order."""

    async def all_of_it() -> list[ConsumerRecord]:
        kafka = KafkaSettings(bootstrap_servers=broker)
        ends = (await asyncio.to_thread(end_offsets, kafka, [topic]))[topic]
        found: list[ConsumerRecord] = []
        async with AIOKafkaConsumer(bootstrap_servers=broker) as consumer:
            for number, end in ends.items():
                tp = TopicPartition(topic, number)
                consumer.assign([tp])
                await consumer.seek_to_beginning(tp)
                while await consumer.position(tp) < end:
                    for records in (await consumer.getmany(timeout_ms=500)).values():
                        found += records
        return found

    return asyncio.run(all_of_it())


def test_a_kill_loses_no_event_and_keeps_the_order_of_each_user(
    broker: str, own: TopicSettings, rekeying: tuple[Rekeying, str]
) -> None:
    process, topic = rekeying

    def feed(first: int) -> None:
        values = [click(number) for number in range(first, first + RECORDS)]
        asyncio.run(fill(broker, topic, 0, values[::2]))
        asyncio.run(fill(broker, topic, 1, values[1::2]))

    def places_left() -> int:
        places = {decode(RekeyedEvent, r.value).source for r in read(broker, own.events)}
        letters = {decode(DeadLetter, r.value).source for r in read(broker, own.dead_letters)}
        return 2 * RECORDS - len(places | letters)

    feed(0)
    process.start(settle_every_ms=50, die_after=RECORDS // 2)
    assert process.end() == -signal.SIGKILL, process.output()
    assert places_left() > RECORDS
    feed(RECORDS)
    process.start(settle_every_ms=600_000)
    wait_until(lambda: places_left() == 0, "all records in the topics", ended=process.ended)
    assert process.stop() == 0, process.output()
    lag = group_lag(KafkaSettings(bootstrap_servers=broker), process.group, [topic])[topic]
    assert lag == {0: 0, 1: 0}, "what was settled at the end is not read again"

    events = read(broker, own.events)
    letters = [decode(DeadLetter, record.value) for record in read(broker, own.dead_letters)]
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for record in events:
        event = decode(RekeyedEvent, record.value)
        assert record.partition == murmur2_partition(event.key, PARTITIONS)
        assert record.key == event.key
        number = event.source.offset * 2 + event.source.partition
        assert (event.item_id, event.user_id) == (str(number), f"visitor-{number * 7919 % 83}")
        places[event.user_id, event.source.partition].append(number)
    good = {number for number in range(2 * RECORDS) if number % 100 != 99}
    assert {number for numbers in places.values() for number in numbers} == good
    for numbers in places.values():
        first_writings = list(dict.fromkeys(numbers))
        assert first_writings == sorted(first_writings)
    assert {letter.source for letter in letters} == {
        Source(topic=topic, partition=number % 2, offset=number // 2)
        for number in set(range(2 * RECORDS)) - good
    }
    assert {letter.reason for letter in letters} == {"unknown_kind"}
    for number in range(PARTITIONS):
        mine = [record for record in events if record.partition == number]
        batch, refused = decode_events(mine, EventRules())
        assert (len(batch), refused) == (len(mine), [])


def test_sources_check_shows_what_maps_what_fails_and_why(
    broker: str, theirs: tuple[str, str]
) -> None:
    unkeyed, narrow = theirs
    values = [click(number) for number in (1, 99, 2)]
    kafka = KafkaSettings(bootstrap_servers=broker)
    asyncio.run(bulk_write(kafka, unkeyed, 2, ((None, value) for value in values)))
    sources = [clicks(unkeyed), SourceSettings(topic=narrow), SourceSettings(topic="nowhere")]
    flags = [
        f"kafka.bootstrap_servers={broker}",
        f"topics.partitions={PARTITIONS}",
        f"sources={msgspec.json.encode(sources).decode()}",
    ]
    options = [option for flag in flags for option in ("--set", flag)]

    shown = CliRunner().invoke(app, ["sources", "check", "--json", *options])
    assert shown.exit_code == 4, shown.output
    found = {source["topic"]: source for source in json.loads(shown.output)}
    records = found[unkeyed]["records"]
    assert sorted(r["item_id"] for r in records if not r["reason"]) == ["1", "2"]
    (bad,) = [record for record in records if record["reason"]]
    assert bad["reason"] == "unknown_kind"
    assert bad["detail"] == "did: expected one of open, got 'stumble'"
    assert '"stumble"' in bad["payload"]
    assert "1 partitions and Segue's topics have 3" in found[narrow]["fault"]
    assert found["nowhere"]["fault"] == NO_TOPIC

    for_people = CliRunner().invoke(app, ["sources", "check", *options])
    assert for_people.exit_code == 4
    assert "expected one of open, got 'stumble'" in for_people.output
    assert "2 of 3 records map" in for_people.output

    flags[-1] = f"sources={msgspec.json.encode([clicks(unkeyed)]).decode()}"
    options = [option for flag in flags for option in ("--set", flag)]
    newest = CliRunner().invoke(app, ["sources", "check", "--json", "--limit", "1", *options])
    assert len(json.loads(newest.output)[0]["records"]) == 1

    flags[-1] = 'sources=[{"topic": "nowhere"}]'
    refused = CliRunner().invoke(app, ["worker", *(o for f in flags for o in ("--set", f))])
    assert refused.exit_code == 1
    assert "source nowhere: the topic does not exist" in refused.stderr


def test_sources_check_shows_items_and_users_and_suggests_the_settings_of_items(
    broker: str, theirs: tuple[str, str]
) -> None:
    products, people = theirs
    kafka = KafkaSettings(bootstrap_servers=broker)
    rows = [
        (b"k1", b'{"op": "u", "after": {"sku": 1, "name": "One", "stock": 3}}'),
        (b"k2", b'{"op": "d", "after": {"sku": 2}}'),
        (b"k1", None),
        (b"k3", b"{}"),
    ]
    asyncio.run(bulk_write(kafka, products, 2, rows))
    asyncio.run(bulk_write(kafka, people, 1, [(b"ann", b'{"user_id": "ann", "country": "AT"}')]))
    items = [
        {
            "topic": products,
            "item_id": "after.sku",
            "title": "after.name",
            "item_type": {"default": "product"},
            "deleted": {"field": "op", "values": ["d"]},
        },
        {"topic": "nowhere"},
    ]
    flags = [
        f"kafka.bootstrap_servers={broker}",
        f"item_sources={json.dumps(items)}",
        f"user_sources={json.dumps([{'topic': people}])}",
    ]
    options = [option for flag in flags for option in ("--set", flag)]
    shown = CliRunner().invoke(app, ["sources", "check", "--json", *options])
    assert shown.exit_code == 4, shown.output
    found = {source["topic"]: source for source in json.loads(shown.output)}
    by_item = {row["item_id"]: row for row in found[products]["records"] if row["item_id"]}
    assert (by_item["1"]["title"], by_item["2"]["deleted"]) == ("One", True)
    others = [row for row in found[products]["records"] if not row["item_id"]]
    assert sorted((row["removes"], row["reason"]) for row in others) == [
        (False, "missing_field"), (True, "")
    ]  # fmt: skip
    assert found["nowhere"]["fault"] == NO_TOPIC
    [ann] = found[people]["records"]
    assert (found[people]["of"], ann["user_id"], ann["country"]) == ("users", "ann", "AT")
    # An erasure goes by the times of a topic of users.
    assert (found[people]["create_time"], found[products]["create_time"]) == (True, False)
    printed = CliRunner().invoke(app, ["sources", "check", *options]).output
    assert "missing_field" in printed
    assert printed.count("keeps producer timestamps") == 1
    guess = ["sources", "check", "--items", products, *options]
    said = CliRunner().invoke(app, guess).output
    assert 'item_id = "after.sku"' in said
    assert '"stock" = "after.stock"' in said
