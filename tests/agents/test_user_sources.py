"""Users of another owner's topic, re-keyed: an erasure holds for what is copied after it."""

import json

import pytest

from agents import Worker
from agents.erasure import copies_of
from state import ArtifactStore
from static_layer import TextEncoder
from streams import UserSourceSettings, erasure_value, event_decoders
from streams.rekeying import Rekeyer
from streams.topics import TopicDefinition
from tests.agents.worlds import NOW, TOPICS, Bench, BenchOutputs

CRM = UserSourceSettings(topic="crm", attributes={"plan": "plan"})


class LogOutputs:
    """What `segue rekey` writes, in the embedded log."""

    def __init__(self, bench: Bench) -> None:
        self._log = bench.log

    async def send_many(self, topic, partition, records):
        for key, value in records:
            assert self._log.append(topic, key, value)[0] == partition

    async def flush(self): ...


class UserBench(Bench):
    """A worker whose users come from the CRM's topic."""

    def new_worker(self, name: str) -> Worker:
        if "crm" not in self.log.topics():
            self.log.create_topic(TopicDefinition(name="crm", partitions=1))
        self.copied = 0
        return Worker(
            settings=self.settings, state=self.state, topics=TOPICS, rules=self.rules,
            store=ArtifactStore(str(self.folder / "artifacts")), folder=self.folder / name,
            encoder=TextEncoder, outputs=BenchOutputs(self), clock_ms=self.clock,
            ticks_ms=self._ticks_ms, sources=(CRM,), log=self.log,
        )  # fmt: skip

    def crm(self, plan: str) -> None:
        self.clock.ms += 1_000
        self.log.append("crm", b"x", json.dumps({"user_id": "ann", "plan": plan}).encode())

    def erase(self) -> None:
        self.clock.ms += 1_000
        value = erasure_value(self.log, "ann", (CRM,))
        self.log.append(TOPICS.users, b"ann", None)
        self.log.append(TOPICS.events, b"ann", value)

    async def rekey(self) -> None:
        """Copy all of the CRM's topic, once more if it was copied before."""
        self.clock.ms += 1_000
        await Rekeyer((CRM,), self.rules, TOPICS, LogOutputs(self))(self.log.read("crm", 0, 0))

    def plan(self, worker: Worker | None = None) -> str | None:
        states = (worker or self.worker).partitions.states.values()
        found = [state.user("ann").get("attributes") for state in states]
        return next((one["plan"] for one in found if one), None)

    async def read(self, *order: str, worker: Worker | None = None) -> None:
        """Have a worker read topics to their ends, one after the other."""
        worker = worker or self.worker
        for topic in order:
            for number in range(TOPICS.partitions):
                at = worker.partitions.position(topic, number) or 0
                if records := self.log.read(topic, number, at):
                    await worker.handle(records)


@pytest.fixture
async def bench(tmp_path):
    found = UserBench(tmp_path)
    await found.worker.assigned(found.keyed)
    yield found
    found.worker.close()
    found.log.close()


ORDERS = [(TOPICS.users, TOPICS.events), (TOPICS.events, TOPICS.users)]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_copy_that_comes_after_the_erasure_brings_nothing_back(bench, order):
    bench.crm("pro")
    await bench.rekey()
    await bench.read(*order)
    assert bench.plan() == "pro"
    bench.erase()
    await bench.rekey()
    await bench.read(*order)
    assert bench.plan() is None
    # What the owner writes of the user later counts.
    bench.crm("free")
    await bench.rekey()
    await bench.read(*order)
    assert bench.plan() == "free"


@pytest.mark.parametrize("order", ORDERS)
async def test_an_empty_disk_reads_the_same(bench, order):
    bench.crm("pro")
    bench.erase()
    await bench.rekey()
    await bench.read(TOPICS.events, TOPICS.users)
    await bench.worker.commit()
    fresh = bench.new_worker("fresh")
    await fresh.assigned(bench.keyed)
    await bench.read(*order, worker=fresh)
    assert bench.plan(fresh) is None
    bench.crm("free")
    await bench.rekey()
    await bench.read(TOPICS.users, worker=fresh)
    await bench.read(TOPICS.users)
    assert (bench.plan(fresh), bench.plan()) == ("free", "free")
    fresh.close()


async def test_an_erasure_from_before_the_topic_was_read_holds_too(bench):
    bench.crm("pro")
    bench.log.append(TOPICS.events, b"ann", None)
    bench.clock.ms += 1_000
    await bench.read(TOPICS.events)
    await bench.rekey()
    await bench.read(TOPICS.users)
    assert bench.plan() is None


def test_the_topic_is_not_read_as_events_and_a_receipt_names_it():
    assert list(event_decoders(TOPICS.events, (CRM,), None)) == [TOPICS.events]
    places = {copy.place: copy.days for copy in copies_of(TOPICS, (CRM,))}
    assert places["topic crm"] is None
    assert NOW
