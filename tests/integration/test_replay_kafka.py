"""A replay of a real broker's log: the same state as by the embedded log, and nothing written."""

import asyncio
import os
import random
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition

from agents import Worker
from agents.apps.kafka import KafkaOutputs, serve_worker
from segue.replaying import replay
from segue.roles import make_worker
from segue.settings import Settings, load_settings
from segue.state_folders import replays
from segue.times import log_point
from state import Missing, PartitionState
from state.compare import differences
from streams import (
    EmbeddedLog,
    Event,
    Item,
    PositionError,
    bulk_write,
    create_topics,
    delete_topics,
    encode,
    end_offsets,
    held_offsets,
    offsets_at,
    topics,
)
from streams.log_record import now_ms
from streams.spans import Span, open_reader
from tests.waiting import until, wait_until

pytestmark = pytest.mark.integration

PARTITIONS = 2


class World:
    """Topics of a name of their own, with events of two batches that lie apart in log time."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.settings = load_settings(
            None,
            {},
            [
                f"data={folder}",
                f"kafka.bootstrap_servers={broker}",
                f"topics.prefix=replay-{uuid.uuid4().hex[:8]}",
                f"topics.partitions={PARTITIONS}",
                "state.delta_room=4096",
                f"worker.group=group-{uuid.uuid4().hex[:8]}",
            ],
        )
        self.names = [topic.name for topic in topics(self.settings.topics)]
        self.events = self.settings.topics.events
        create_topics(self.settings.kafka, topics(self.settings.topics))
        self.log = EmbeddedLog(folder / "embedded")
        create_topics(self.log, topics(self.settings.topics))
        chance = random.Random(8)
        self.first_end = self.write(chance, 3_000)
        self.between = now_ms() + 5
        wait_until(lambda: now_ms() > self.between + 5, "the clock to go on")
        self.write(chance, 1_000)

    def write(self, chance: random.Random, events: int) -> dict[int, int]:
        """Write the same records to both logs; returns the end offsets of the events."""
        names = self.settings.topics
        items = [Item(item_id=f"i{n}", item_type="podcast", title=f"Title {n}") for n in range(50)]
        made = [
            Event(
                user_id=f"user-{chance.randrange(200)}",
                item_id=f"i{chance.randrange(50)}",
                item_type="podcast",
                kind="stream",
                timestamp=now_ms() - chance.randrange(80 * 86_400_000),
            )
            for _ in range(events)
        ]
        for topic, records in ((names.catalogue, items), (names.events, made)):
            for log in (self.settings.kafka, self.log):
                values = ((record.key, encode(record)) for record in records)
                asyncio.run(bulk_write(log, topic, PARTITIONS, values))
        return end_offsets(self.settings.kafka, [names.events])[names.events]

    def replay(self, log: Any, name: str, begin: str = "earliest", end: str = "latest") -> Any:
        return asyncio.run(
            replay(
                self.settings,
                log,
                name,
                begin=log_point(begin, now_ms(), end="earliest"),
                end=log_point(end, now_ms(), end="latest"),
                replace=False,
                now_ms=now_ms(),
                progress=lambda *_: None,
            )
        )

    def delete_before(self, offset: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.settings.kafka.bootstrap_servers)
        admin.delete_records({TopicPartition(self.events, 0): offset})
        admin.close()

    def close(self) -> None:
        self.log.close()
        delete_topics(self.settings.kafka, self.names)


@pytest.fixture
def world(broker: str, tmp_path: Path) -> Any:
    made = World(tmp_path, broker)
    yield made
    made.close()


def states(settings: Settings, name: str) -> list[PartitionState]:
    return [
        PartitionState(
            replays(settings) / name / f"{number:05d}", number, settings.state, read_only=True
        )
        for number in range(PARTITIONS)
    ]


def groups(broker: str) -> set[str]:
    admin = KafkaAdminClient(bootstrap_servers=broker)
    found = {group["group_id"] for group in admin.list_groups()}
    admin.close()
    return found


def test_kafka_and_the_embedded_log_give_one_state_and_nothing_is_written(
    world: World, broker: str
) -> None:
    ends, known = end_offsets(world.settings.kafka, world.names), groups(broker)
    assert world.replay(world.settings.kafka, "by-kafka")["events"] == 4_000
    assert world.replay(world.log, "by-embedded")["whole"]
    for mine, theirs in zip(
        states(world.settings, "by-kafka"), states(world.settings, "by-embedded"), strict=True
    ):
        assert [str(difference) for difference in differences(mine, theirs)] == []
        assert len(mine.history("user-1")) == len(theirs.history("user-1"))
        mine.close()
        theirs.close()
    assert end_offsets(world.settings.kafka, world.names) == ends
    # The broker may meanwhile have removed groups that earlier tests left empty.
    assert groups(broker) <= known


def test_a_time_is_an_offset_of_log_time(world: World) -> None:
    kafka = world.settings.kafka
    assert offsets_at(kafka, [world.events], world.between)[world.events] == world.first_end
    ends = end_offsets(kafka, [world.events])
    assert offsets_at(kafka, [world.events], now_ms() + 3_600_000) == ends
    assert offsets_at(kafka, [world.events], 0)[world.events] == dict.fromkeys(range(2), 0)
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(world.between // 1000))
    at = f"{at}.{world.between % 1000:03d}Z"
    assert world.replay(kafka, "later", begin=at)["events"] == 1_000
    assert world.replay(kafka, "earlier", end=at)["events"] == 3_000


def test_what_the_log_has_deleted_is_named(world: World) -> None:
    kafka = world.settings.kafka
    world.replay(kafka, "before")
    world.delete_before(100)
    assert held_offsets(kafka, [world.events])[world.events, 0].first == 100

    summary = world.replay(kafka, "after")
    assert not summary["whole"]
    assert summary["partitions"]["0"]["missing"] == {world.events: [(0, 100)]}

    async def read() -> None:
        async with open_reader(kafka) as reader:
            span = Span(topic=world.events, partition=0, first=50, end=200)
            async for _ in reader.read(span, 1_000):
                pass

    with pytest.raises(PositionError, match="offset 50, but the partition begins at offset 100"):
        asyncio.run(read())


def test_a_state_ahead_of_the_log_is_no_end_of_a_replay(world: World) -> None:
    world.replay(world.settings.kafka, "ahead")
    folder = replays(world.settings) / "ahead/00000"
    state = PartitionState(folder, 0, world.settings.state)
    state.pass_over(world.events, 1_000_000)
    state.commit()
    state.close()
    with pytest.raises(PositionError, match="1000000, but the partition ends"):
        world.replay(world.settings.kafka, "impossible", end="state=ahead")
    assert not (replays(world.settings) / "impossible").exists()


async def serve(world: World, *, accept_gap: bool) -> tuple[int, Worker]:
    """Run `segue worker`; stop it once it has read what there is."""
    outputs = KafkaOutputs()
    worker = make_worker(world.settings, "worker-1", outputs)
    ends = end_offsets(world.settings.kafka, [world.events])[world.events]
    settings = world.settings
    running = asyncio.ensure_future(
        serve_worker(
            worker, outputs, settings.kafka, settings.topics, settings.worker,
            accept_gap=accept_gap,
        )
    )  # fmt: skip

    def everything_is_read() -> bool:
        return all(worker.positions().get((world.events, n)) == end for n, end in ends.items())

    await until(
        lambda: running.done() or everything_is_read(),
        "the worker to end, or to read what there is",
    )
    if not running.done():
        os.kill(os.getpid(), signal.SIGTERM)
    return await running, worker


def test_a_worker_says_what_is_missing_and_ends_unless_the_gap_is_accepted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    home = world.settings.folder / "workers/worker-1/state/00000"
    state = PartitionState(home, 0, world.settings.state)
    state.apply_users(world.events, (), 100)
    state.commit()
    state.close()
    world.delete_before(500)

    status, worker = asyncio.run(serve(world, accept_gap=False))
    worker.close()
    assert status == 1
    said = f"{world.events}/0 goes on at offset 100, but the partition begins at offset 500"
    assert said in caplog.text
    assert "--accept-gap" in caplog.text

    status, worker = asyncio.run(serve(world, accept_gap=True))
    worker.close()
    assert status == 0
    assert "holds offsets 100 to 499" in caplog.text
    state = PartitionState(home, 0, world.settings.state, read_only=True)
    assert state.missing == (Missing(world.events, 100, 500),)
    state.close()
