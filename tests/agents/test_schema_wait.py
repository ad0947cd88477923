"""Avro events whose schemas a registry has: what waits for it, and what does not."""

import asyncio
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from agents import Worker, WorkerSettings
from agents.outputs import EmbeddedOutputs
from state import ArtifactStore, StateSettings
from static_layer import TextEncoder
from streams import (
    AvroSettings,
    EmbeddedLog,
    Event,
    EventRules,
    Record,
    SourceError,
    create_topics,
    encode,
    topics,
)
from streams.rekeying import Rekeyer
from streams.schema_wait import SCHEMAS_S, SchemaWait
from tests.agents.worlds import NOW, TOPICS
from tests.streams.test_avro import PLAYED, SCHEMA, played, wire
from tests.streams.test_codec import RULES
from tests.waiting import until, within_patience

SOURCE = replace(PLAYED, avro=AvroSettings(registry="http://r"))


class Registry:
    """Answers of a registry, each given when a test lets it; None: it is away."""

    def __init__(self) -> None:
        self.may_answer = threading.Semaphore(0)
        self.away = 0
        self.asked = 0
        self.loop = threading.get_ident()

    def fetch(self, _url: str) -> str:
        assert threading.get_ident() != self.loop, "the event loop waits for the registry"
        self.asked += 1
        assert self.may_answer.acquire(timeout=60)
        if self.away:
            self.away -= 1
            raise SourceError("away")
        return json.dumps(SCHEMA)


@pytest.fixture
def registry(monkeypatch):
    found = Registry()
    monkeypatch.setattr("streams.avro._Schemas._fetch", lambda _, url: found.fetch(url))
    yield found
    for _ in range(10):
        found.may_answer.release()


@pytest.fixture
def world(tmp_path, registry):
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    log = EmbeddedLog(tmp_path / "log")
    create_topics(log, topics(TOPICS))
    worker = Worker(
        settings=WorkerSettings(), state=StateSettings(delta_room=1 << 12), topics=TOPICS,
        rules=EventRules(), store=ArtifactStore(str(tmp_path / "artifacts")),
        folder=tmp_path / "w", encoder=TextEncoder, outputs=EmbeddedOutputs(log),
        clock_ms=lambda: NOW, sources=(SOURCE,), pause=pause,
    )  # fmt: skip
    yield SimpleNamespace(worker=worker, log=log, paused=paused, registry=registry)
    worker.close()
    log.close()


def batch(*offsets: int, number: int = 7) -> list[Record]:
    """Records of Avro, each of an item of its own."""
    return [
        Record("played", 0, at, NOW, b"ann", wire(played(track=f"t{at}", played_at=NOW), number))
        for at in offsets
    ]


def own(offset: int) -> list[Record]:
    event = Event(user_id="ann", item_id="x", item_type="song", kind="stream", timestamp=NOW)
    return [Record(TOPICS.events, 0, offset, NOW, event.key, encode(event))]


async def test_other_topics_go_on_while_a_registry_is_slow_or_away(world, caplog):
    worker, registry = world.worker, world.registry
    await worker.assigned([("played", 0), (TOPICS.events, 0)])
    registry.away = 2
    await within_patience(worker.handle(batch(0, 1)))
    await within_patience(worker.handle(batch(2)))
    assert worker.holds("played")
    assert not worker.holds(TOPICS.events)
    await within_patience(worker.handle(own(0)))
    await worker.commit()
    await worker.tick()
    assert worker.positions()[TOPICS.events, 0] == 1
    assert not worker.positions().get(("played", 0))
    assert not await worker.pass_empty("played", 0, 3, 9)
    for _ in range(3):
        registry.may_answer.release()
    await until(lambda: not worker.holds("played"), "the schema")
    assert world.paused == [SCHEMAS_S] * 2
    assert caplog.text.count("played is read on when its schemas can be read: away") == 2
    assert worker.partitions.position("played", 0) == 3
    assert await worker.pass_empty("played", 0, 3, 9)
    # It is asked once of a schema.
    await worker.handle(batch(9))
    assert registry.asked == 3
    assert worker.partitions.position("played", 0) == 10
    assert worker.tally.registry.get_sample_value("segue_events_applied_total") == 5


async def test_batches_behind_one_that_waits_keep_their_order(world, monkeypatch):
    worker, registry = world.worker, world.registry
    await worker.assigned([("played", 0)])
    registry.may_answer.release()
    await worker.handle(batch(0))
    await until(lambda: not worker.holds("played"), "the first schema")
    taken, handle = [], worker._ingest.__call__

    async def ingest(records):
        taken.append([record.offset for record in records])
        return await handle(records)

    monkeypatch.setattr(type(worker._ingest), "__call__", lambda _, records: ingest(records))
    await worker.handle(batch(1, number=8))
    await worker.handle(batch(2))  # its schema is known
    assert taken == []
    registry.may_answer.release()
    await until(lambda: not worker.holds("played"), "the second schema")
    assert taken == [[1], [2]]


async def test_a_partition_that_is_given_up_leaves_its_records_to_the_next_owner(world):
    worker, registry = world.worker, world.registry
    await worker.assigned([("played", 0)])
    await worker.handle(batch(0))
    await within_patience(worker.revoked([("played", 0)]))
    assert not worker.holds("played")
    await worker.assigned([("played", 0)])
    assert not worker.partitions.position("played", 0)
    await worker.handle(batch(0, 1))
    registry.may_answer.release()
    registry.may_answer.release()
    await until(lambda: not worker.holds("played"), "the schema")
    assert worker.partitions.position("played", 0) == 2
    assert worker.tally.registry.get_sample_value("segue_events_applied_total") == 2


async def test_records_that_cannot_be_applied_end_the_worker(world, monkeypatch):
    worker, registry = world.worker, world.registry
    await worker.assigned([("played", 0)])

    async def refuse(_records):
        raise OSError("the disk is full")

    monkeypatch.setattr(type(worker._ingest), "__call__", lambda _, records: refuse(records))
    await worker.handle(batch(0))
    registry.may_answer.release()

    async def ended() -> bool:
        try:
            await worker.tick()
        except OSError as error:
            return str(error) == "the disk is full"
        return False

    await until(ended, "the error")


async def test_rekeying_waits_for_schemas_beside_the_event_loop(registry):
    sent = []

    class Sent:
        async def send_many(self, topic, _partition, records):
            sent.extend((topic, len(records)) for _ in range(bool(records)))

        async def flush(self): ...

    unkeyed = replace(SOURCE, keyed_by_user=False, ignore=("NEXT",))
    rekeyer = Rekeyer([unkeyed], RULES, TOPICS, Sent())
    wait = SchemaWait(rekeyer.decoders, rekeyer, asyncio.Lock())
    records = [
        *batch(0),
        Record("played", 0, 1, NOW, None, wire(played(action="NEXT", played_at=NOW))),
    ]
    assert wait.takes(records)
    assert await rekeyer.settle() == {}
    assert not await rekeyer.pass_empty("played", 0, 2, 3)
    registry.may_answer.release()
    await until(lambda: not wait.holds("played"), "the schema")
    assert await rekeyer.settle() == {("played", 0): 2}
    # An ignored kind is told by the same schema.
    assert registry.asked == 1
    assert sent == [(TOPICS.events, 1)]
    assert not wait.takes(records)
