"""An erasure holds for every topic of events, in whatever order they are read."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from agents import Worker, WorkerSettings, erased, forgetting
from agents.apps.replay import Replay
from agents.erased import ErasedUsers
from agents.erasure import copies_of
from agents.forgetting import apply_records
from agents.outputs import EmbeddedOutputs
from agents.working.leftovers import LEFTOVER_DAYS, remove_leftovers
from state import ArtifactStore, PartitionState, StateSettings
from state.database import mark_damaged
from static_layer import TextEncoder
from streams import (
    AdminError,
    EmbeddedLog,
    Event,
    EventRules,
    Held,
    LogRecord,
    Receipt,
    Source,
    SourceSettings,
    TopicSettings,
    UnreachableError,
    User,
    create_topics,
    decode,
    delete_topics,
    encode,
    erasure_value,
    event_decoders,
    held_offsets,
    topics,
)
from streams.rekeying import RekeyedEvent
from streams.topics import TopicDefinition
from tests.agents.definition import counting_events, defined_dump, files_with
from tests.agents.worlds import NOW, Clock
from tests.state.conftest import SCRATCH
from tests.state.dumps import Dump, dump
from tests.state.streams_of_events import tried

DAY_MS = 86_400_000
TOPICS = TopicSettings(partitions=1)
OWN, PLAYER, CLICKS = TOPICS.events, "player", "clicks"
SOURCES = (SourceSettings(topic=PLAYER), SourceSettings(topic=CLICKS, keyed_by_user=False))
STATE = StateSettings(delta_room=1 << 12)
USERS = [f"{name}-5d41402abc4b2a76" for name in ("ann", "bob", "cyd")]
CLOCK = "clock"


class World:
    """A worker that reads Segue's own topic and a source in place, on the embedded log."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.lives = folder, Clock(), 0
        self.log = EmbeddedLog(folder / "log", clock=self.clock)
        create_topics(self.log, topics(TOPICS))
        for name in (PLAYER, CLICKS):
            self.log.create_topic(TopicDefinition(name=name, partitions=1))
        self.settings = WorkerSettings(keep_checkpoints=2)
        self.worker: Worker | None = None
        self.pauses: list[float] = []

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def start(self) -> Worker:
        self.worker = Worker(
            settings=self.settings,
            state=STATE,
            topics=TOPICS,
            rules=EventRules(),
            store=ArtifactStore(str(self.folder / "store")),
            folder=self.folder / f"worker-{self.lives}",
            encoder=TextEncoder,
            outputs=EmbeddedOutputs(self.log),
            clock_ms=self.clock,
            sources=SOURCES,
            pause=self.pause,
            log=self.log,
        )
        await self.worker.assigned([(topic, 0) for topic in self.worker.topics])
        return self.worker

    def kill(self) -> None:
        """End the worker without a commit, like a kill."""
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def close(self) -> None:
        self.kill()
        self.log.close()

    def write(self, topic: str, user: str, item: str, *, days_ago: int = 0) -> Event:
        self.clock.ms += 1
        event = Event(
            user_id=user, item_id=item, item_type="podcast", kind="stream",
            timestamp=NOW - days_ago * DAY_MS,
        )  # fmt: skip
        self.log.append(topic, event.key, encode(event))
        return event

    def erase(self, user: str, *, named: bool = True) -> Source:
        """named: as `segue erase` writes it; else as any producer may."""
        self.clock.ms += 1
        value = erasure_value(self.log, user, SOURCES) if named else None
        partition, offset = self.log.append(OWN, user.encode(), value)
        return Source(topic=OWN, partition=partition, offset=offset)

    async def read(self, topic: str, count: int = 1_000) -> None:
        """Have the worker read the next records of a topic."""
        assert self.worker is not None
        position = self.worker.partitions.position(topic, 0) or 0
        if records := self.log.read(topic, 0, position, count):
            await self.worker.handle(records)

    async def read_all(self, *names: str) -> None:
        for topic in names or (TOPICS.users, PLAYER, OWN):
            await self.read(topic)

    @property
    def state(self) -> PartitionState:
        assert self.worker is not None
        return self.worker.partitions[0]

    def items(self, user: str) -> int:
        return len(self.state.history(user))

    def records(self, topic: str) -> list[LogRecord]:
        return list(self.log.read(topic, 0, 0, 10_000))

    async def replayed(self, *order: str) -> Dump:
        """What a replay makes of the whole log, the topics read in this order."""
        known = ErasedUsers(TOPICS, self.log, SOURCES)
        await known.read()
        folder = self.folder / "replay"
        shutil.rmtree(folder, ignore_errors=True)
        made = Replay(
            folder, 0, settings=self.settings, state=STATE, topics=TOPICS, rules=EventRules(),
            sources=SOURCES, erased=known,
        )  # fmt: skip
        for topic in order or (TOPICS.users, OWN, PLAYER):
            if records := self.records(topic):
                await made.handle(records)
        made.finish()
        found = dump(made.state)
        made.close()
        return replace(found, demand={})

    def counting(self) -> list[Event]:
        """The definition: the events that no erasure of their user covers."""
        records = {topic: self.records(topic) for topic in (OWN, PLAYER)}
        return counting_events(records, OWN, 0, EventRules())

    def defined(self) -> Dump:
        """The state of the events that count and of no others."""
        return defined_dump(self.folder / "defined", self.counting(), STATE)

    def files_with(self, user: str) -> list[str]:
        return files_with(self.folder, user)

    async def checkpoint_until_quiet(self) -> None:
        assert self.worker is not None
        for _ in range(self.settings.keep_checkpoints + 3):
            self.clock.ms += 1
            if not await self.worker.checkpoint():
                return
        raise AssertionError("checkpoints go on without end")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.close()


ANN, BOB, _ = USERS


async def test_a_source_read_in_place_brings_no_erased_user_back(world):
    """The tutorial's setup: the source's records outlive the erasure, whoever reads them."""
    await world.start()
    for item in "abc":
        world.write(PLAYER, ANN, item)
        world.write(PLAYER, BOB, item)
    await world.read_all()
    source = world.erase(ANN)
    await world.read_all()
    assert (world.items(ANN), world.items(BOB)) == (0, 3)
    for order in ((OWN, PLAYER), (PLAYER, OWN)):
        replayed = await world.replayed(*order)
        assert {*replayed.histories} == {BOB}
        assert replayed.differences(world.defined()) == []
    # An empty disk, no checkpoint, and the source read first.
    world.kill()
    world.lives += 1
    await world.start()
    await world.read_all(PLAYER)
    assert (world.items(ANN), world.items(BOB)) == (0, 3)
    await world.read_all()
    assert replace(dump(world.state), demand={}).differences(world.defined()) == []
    [receipt, *_] = [decode(Receipt, r.value or b"") for r in world.records(TOPICS.receipts)]
    assert receipt.source == source
    assert receipt.count_from == {f"{PLAYER}/0": 6, f"{CLICKS}/0": 0}


async def test_the_log_may_have_dropped_the_erasure_before_the_sources_records(world):
    """Retention of Segue's topic is ours, that of the source its owner's."""
    await world.start()
    for item in "abc":
        world.write(PLAYER, ANN, item)
    world.erase(ANN)
    await world.read_all()
    world.kill()
    world.lives += 1
    await world.start()
    world.state.pass_over(OWN, world.log.end_offset(OWN, 0))
    await world.read_all(PLAYER)
    assert world.items(ANN) == 0
    assert ANN.encode() not in b"".join(r.value or b"" for r in world.records(TOPICS.erasures))


async def test_a_state_that_can_no_longer_read_the_erasure_forgets_when_it_is_opened(
    world, monkeypatch
):
    """It was made before; the erasure is known by the topic of erasures alone."""
    await world.start()
    for item in "abc":
        world.write(PLAYER, ANN, item)
        world.write(PLAYER, BOB, item)
    await world.read_all()
    await world.worker.commit()
    world.kill()
    world.erase(ANN)
    world.write(PLAYER, ANN, "new")
    behind, world.lives = world.lives, 7
    await world.start()
    await world.read_all()
    world.kill()
    world.lives = behind
    await world.start()
    assert world.items(ANN) == 3, "the erasure is in the log, and says whether there was a history"
    world.kill()

    def gone(log: EmbeddedLog, names: tuple[str, ...]) -> dict[tuple[str, int], Held]:
        found = held_offsets(log, names)
        return found | {
            p: replace(part, first=part.end) for p, part in found.items() if p[0] == OWN
        }

    monkeypatch.setattr(forgetting, "held_offsets", gone)
    await world.start()
    assert (world.items(ANN), world.items(BOB)) == (0, 3)
    await world.read_all(PLAYER)
    assert world.items(ANN) == 1
    await world.worker.checkpoint()
    await world.read_all()
    assert replace(dump(world.state), demand={}).differences(world.defined()) == []


@pytest.mark.parametrize("named", [True, False])
async def test_records_behind_the_erasure_count_even_if_they_were_read_before_it(world, named):
    await world.start()
    world.write(PLAYER, ANN, "old")
    world.erase(ANN, named=named)
    world.write(PLAYER, ANN, "new")
    await world.read_all(PLAYER)
    assert world.items(ANN) == 2, "the worker does not know yet"
    before = world.state.counts
    await world.read_all(OWN)
    assert [e.item_id for e in world.counting()] == ["new"]
    assert world.items(ANN) == 1
    assert sum(world.state.counts.values()) == sum(before.values()) + 1, "counted once each"
    assert replace(dump(world.state), demand={}).differences(world.defined()) == []
    assert (await world.replayed()).differences(world.defined()) == []


async def test_a_record_delivered_again_below_the_position_is_passed_over(world):
    """Rewound records of an erased user make no state, no answer and no dead letter."""
    await world.start()
    world.write(PLAYER, ANN, "a")
    bad = encode(Event(user_id=ANN, item_id="x", item_type="podcast", kind="stream", timestamp=5))
    world.log.append(PLAYER, ANN.encode(), bad)
    world.log.append(PLAYER, ANN.encode(), b'{"user_id": "' + ANN.encode() + b'"')
    world.write(OWN, BOB, "a")
    world.erase(ANN)
    await world.read_all(OWN)
    touched = await world.worker._ingest(world.records(PLAYER))
    assert touched.user_id == []
    assert world.items(ANN) == 0
    assert [r.key for r in world.records(TOPICS.dead_letters)] == []
    assert world.state.positions[PLAYER] == 3


async def test_events_that_are_rekeyed_after_the_erasure_are_known_by_their_source(world):
    await world.start()
    world.log.append(CLICKS, None, b"{}")
    world.erase(ANN)
    world.log.append(CLICKS, None, b"{}")
    for offset, item in enumerate(("old", "new")):
        event = RekeyedEvent(
            user_id=ANN, item_id=item, item_type="podcast", kind="stream", timestamp=NOW,
            source=Source(topic=CLICKS, partition=0, offset=offset),
        )  # fmt: skip
        world.log.append(OWN, ANN.encode(), encode(event))
    await world.read_all()
    assert world.items(ANN) == 1
    assert len((await world.replayed()).histories[ANN]) == 1


async def test_a_topic_that_was_created_again_has_other_offsets(world):
    """Those that an erasure names are of the topic as it was; new records count."""
    await world.start()
    for item in "abc":
        world.write(PLAYER, ANN, item)
    world.erase(ANN)
    await world.read_all()
    world.kill()
    delete_topics(world.log, [PLAYER])
    world.log.create_topic(TopicDefinition(name=PLAYER, partitions=1))
    world.write(PLAYER, ANN, "new")
    known = ErasedUsers(TOPICS, world.log, SOURCES)
    await known.read()
    [record] = world.records(PLAYER)
    assert not known.covered(record, ANN)


async def test_attributes_from_before_the_erasure_do_not_come_back(world):
    """Even without the record on the users topic that a complete erasure has."""
    await world.start()
    world.log.append(TOPICS.users, ANN.encode(), encode(User(user_id=ANN, country="SE")))
    world.erase(ANN)
    await world.read_all(OWN)
    await world.read_all()
    assert world.state.user(ANN) == {}
    assert (await world.replayed(OWN, TOPICS.users)).users == {}


@pytest.mark.parametrize("ending", ["damaged", "other-log", "other-settings"])
async def test_a_state_that_was_put_aside_is_removed_with_the_bytes_of_the_erased(world, ending):
    await world.start()
    world.write(OWN, ANN, "a")
    await world.read_all()
    aside = world.folder / "worker-0" / "state" / f"00000.{ending}"
    aside.mkdir()
    (aside / "000009.sst").write_bytes(ANN.encode())
    world.erase(ANN)
    await world.read_all()
    await world.checkpoint_until_quiet()
    assert world.files_with(ANN) == []


class Silent:
    """A broker that does not answer some questions before it answers one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
        self.failures, self.really = 0, getattr(module, name)
        monkeypatch.setattr(module, name, self)

    def __call__(self, *arguments):
        if self.failures:
            self.failures -= 1
            raise UnreachableError("no answer")
        return self.really(*arguments)


async def test_a_worker_that_is_assigned_partitions_waits_for_a_silent_broker(world, monkeypatch):
    """Without the erasures it may not read; it does not end either."""
    await world.start()
    for item in "abc":
        world.write(PLAYER, ANN, item)
    world.erase(ANN)
    await world.read_all()
    world.kill()
    world.lives += 1
    silent = Silent(monkeypatch, erased, "partition_counts")
    silent.failures = 5
    await world.start()
    assert world.pauses == [1, 2, 4, 8, 10]
    await world.read_all(PLAYER)
    assert world.items(ANN) == 0


async def test_a_broker_that_refuses_is_not_asked_again(world, monkeypatch):
    def refused(*_arguments):
        raise AdminError("not authorized")

    monkeypatch.setattr(erased, "partition_counts", refused)
    with pytest.raises(AdminError, match="not authorized"):
        await world.start()
    assert world.pauses == []


async def test_records_behind_an_erasure_are_read_until_the_broker_answers(world, monkeypatch):
    await world.start()
    world.write(PLAYER, ANN, "old")
    world.erase(ANN)
    world.write(PLAYER, ANN, "new")
    await world.read_all(PLAYER)
    silent = Silent(monkeypatch, forgetting, "held_offsets")
    silent.failures = 3
    await world.read_all(OWN)
    assert world.pauses == [1, 2, 4]
    assert world.items(ANN) == 1


async def test_a_reader_that_does_not_wait_has_not_changed_its_state(world, monkeypatch):
    """The console reads on from the state's position after a lost connection."""
    await world.start()
    world.write(PLAYER, ANN, "old")
    world.erase(ANN)
    world.write(PLAYER, ANN, "new")
    await world.read_all(PLAYER)
    state, known = world.state, ErasedUsers(TOPICS, world.log, SOURCES)
    decoders, records = event_decoders(OWN, SOURCES, EventRules()), world.records(OWN)
    events, _ = decoders[OWN](records)
    silent = Silent(monkeypatch, forgetting, "held_offsets")
    silent.failures = 1
    with pytest.raises(UnreachableError):
        await apply_records(known, state, decoders, records, events)
    assert (world.items(ANN), state.position(OWN)) == (2, None)
    await apply_records(known, state, decoders, records, events)
    assert (world.items(ANN), state.position(OWN)) == (1, 1)


def test_states_that_are_not_in_use_go_after_a_week(tmp_path):
    for name in (
        "00000", "00001", "00000.damaged", "00001.damaged", "00001.checkpoint", "other",
        "00000.other-log", "00001.other-log",
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "CURRENT").write_text("x")
    made = max(path.stat().st_mtime for path in tmp_path.rglob("*")) * 1000
    assert remove_leftovers(tmp_path, {0}, int(made + LEFTOVER_DAYS * DAY_MS - 60_000)) == []
    removed = remove_leftovers(tmp_path, {0}, int(made + LEFTOVER_DAYS * DAY_MS + 60_000))
    assert [path.name for path in removed] == [
        "00000.damaged", "00000.other-log", "00001", "00001.checkpoint", "00001.damaged",
        "00001.other-log",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"00000", "other"}


def test_the_receipt_names_every_topic_and_source(world):
    named = {copy.place for copy in copies_of(TOPICS, SOURCES)}
    # Topics that hold nothing of users, or users' counts alone.
    without = {TOPICS.catalogue, TOPICS.models, TOPICS.demand, TOPICS.policies}
    own = {definition.name for definition in topics(TOPICS)} - without
    assert {f"topic {name}" for name in (*own, PLAYER, CLICKS)} <= named
    days = {copy.place: copy.days for copy in copies_of(TOPICS, SOURCES)}
    assert days[f"topic {TOPICS.events}"] == 100
    assert days[f"topic {PLAYER}"] is None


class ErasureMachine(RuleBasedStateMachine):
    """Whatever happens, the state is what its definition says, and no file holds the erased."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World(Path(tempfile.mkdtemp(dir=SCRATCH)))
        # The time that erased events told is told by somebody else.
        self.world.write(OWN, CLOCK, "a")
        self.run(self.world.start())
        self.end: Callable[[], None] = self.it_commits

    @initialize(end=st.sampled_from(["quiet", "killed", "damaged"]))
    def begins(self, end: str) -> None:
        """end: what happens between the last commit of an erasure and its compaction."""
        ends = {"killed": self.it_is_killed, "damaged": self.a_file_is_found_damaged}
        self.end = ends.get(end, self.it_commits)

    def run(self, work) -> None:
        self.runner.run(work)

    @rule(
        topic=st.sampled_from([OWN, PLAYER, PLAYER]),
        user=st.sampled_from(USERS),
        items=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4),
        days_ago=st.integers(0, 60),
    )
    def events_come(self, topic: str, user: str, items: list[str], days_ago: int) -> None:
        for item in items:
            self.world.write(topic, user, item, days_ago=days_ago)

    @rule(user=st.sampled_from(USERS), named=st.booleans())
    def a_user_is_erased(self, user: str, named: bool) -> None:
        self.world.erase(user, named=named)

    @rule(topic=st.sampled_from([OWN, PLAYER]), count=st.integers(1, 12))
    def the_worker_reads(self, topic: str, count: int) -> None:
        self.run(self.world.read(topic, count))

    @rule()
    def it_commits(self) -> None:
        self.run(self.world.worker.commit())

    @rule()
    def it_checkpoints(self) -> None:
        self.world.clock.ms += 1
        self.run(self.world.worker.checkpoint())

    @rule()
    def it_is_killed(self) -> None:
        self.world.kill()
        self.run(self.world.start())

    @rule()
    def its_memory_goes_to_files(self) -> None:
        """RocksDB writes what it holds in memory into a file, as it does by itself."""
        self.world.state.database.flush()

    @rule()
    def a_file_is_found_damaged(self) -> None:
        """The state is put aside, and made again from a checkpoint and the log."""
        folder = self.world.state.folder
        self.world.kill()
        mark_damaged(folder, "a file is damaged")
        self.run(self.world.start())
        assert folder.with_name(f"{folder.name}.damaged").is_dir()

    @rule()
    def it_is_killed_while_it_erases(self) -> None:
        """The receipt and the record of the erasure are written; the commit is not."""
        world = self.world
        state, commit = world.state, world.state.commit
        state.commit = _dies
        try:
            self.run(world.read(OWN))
        except _Killed:
            pass
        finally:
            state.commit = commit
        self.it_is_killed()

    @rule()
    def its_disk_is_lost(self) -> None:
        self.world.kill()
        shutil.rmtree(self.world.folder / f"worker-{self.world.lives}", ignore_errors=True)
        self.world.lives += 1
        self.run(self.world.start())

    @rule(order=st.permutations([OWN, PLAYER]))
    def a_replay_is_what_the_definition_says(self, order: list[str]) -> None:
        async def replays() -> Dump:
            return await self.world.replayed(*order)

        assert self.runner.run(replays()).differences(self.world.defined()) == []

    def teardown(self) -> None:
        world = self.world
        try:
            self.run(world.read_all(PLAYER, OWN))
            assert replace(dump(world.state), demand={}).differences(world.defined()) == []
            self.run(world.replayed())
            self.its_memory_goes_to_files()
            self.it_commits()
            self.end()
            self.run(world.read_all(PLAYER, OWN))
            self.run(world.checkpoint_until_quiet())
            stay = {event.user_id for event in world.counting()}
            for user in set(USERS) - stay:
                assert world.files_with(user) == []
        finally:
            world.close()
            self.runner.close()
            shutil.rmtree(world.folder)


class _Killed(Exception):
    """The process died."""


def _dies() -> None:
    raise _Killed


TestErasure = ErasureMachine.TestCase
TestErasure.settings = tried(1 / 10, steps=25)
