"""A worker that reads several events topics: any interleaving of them gives one state."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from agents import Worker, WorkerSettings
from agents.apps.replay import Replay
from agents.outputs import EmbeddedOutputs
from state import ArtifactStore, StateSettings
from static_layer import TextEncoder
from streams import (
    DeadLetter,
    EmbeddedLog,
    Event,
    EventRules,
    Record,
    SourceSettings,
    TimestampMapping,
    TopicSettings,
    ValueMapping,
    create_topics,
    decode,
    encode,
    topics,
)
from tests.state.dumps import Dump, dump
from tests.streams.foreign import NOW, foreign_record

DAY_MS = 86_400_000
TOPICS = TopicSettings(partitions=1)
PLAYER = SourceSettings(
    topic="player",
    user_id="who.id",
    item_id="what",
    item_type=ValueMapping(default="podcast"),
    kind=ValueMapping(field="did", values={"play": "stream", "sub": "follow"}),
    timestamp=TimestampMapping(field="at", unit="iso"),
)
SHOP = SourceSettings(topic="shop", timestamp=TimestampMapping(field="at", unit="s"))


def events(seed: int, count: int) -> list[Event]:
    draw = random.Random(seed)
    return [
        Event(
            user_id=f"u{draw.randrange(8)}",
            item_id=f"i{draw.randrange(30)}",
            item_type="podcast",
            kind=draw.choice(["stream", "follow"]),
            timestamp=NOW - draw.randrange(60 * DAY_MS),
        )
        for _ in range(count)
    ]


def in_shape_of(source: SourceSettings, events: Sequence[Event]) -> list[Record]:
    return [
        Record(
            *(source.topic, 0, offset, NOW, event.key),
            json.dumps(foreign_record(source, event)).encode(),
        )
        for offset, event in enumerate(events)
    ]


class OneWorker:
    """A worker of one partition that reads our own topic, the player's and the shop's."""

    def __init__(self, folder: Path) -> None:
        self.log = EmbeddedLog(folder / "log")
        create_topics(self.log, topics(TOPICS))
        self.worker = Worker(
            settings=WorkerSettings(),
            state=StateSettings(delta_room=1 << 12),
            topics=TOPICS,
            rules=EventRules(),
            store=ArtifactStore(str(folder / "artifacts")),
            folder=folder / "worker",
            encoder=TextEncoder,
            outputs=EmbeddedOutputs(self.log),
            clock_ms=lambda: NOW,
            sources=(PLAYER, SHOP),
        )

    async def state_after(self, batches: Sequence[Sequence[Record]]) -> Dump:
        await self.worker.assigned([(topic, 0) for topic in self.worker.topics])
        for batch in batches:
            await self.worker.handle(batch)
        return dump(self.worker.partitions[0])

    def letters(self) -> list[DeadLetter]:
        return [
            decode(DeadLetter, record.value or b"")
            for record in self.log.read(TOPICS.dead_letters, 0, 0)
        ]

    def close(self) -> None:
        self.worker.close()
        self.log.close()


@pytest.fixture
def workers(tmp_path):
    made = []

    def make() -> OneWorker:
        made.append(OneWorker(tmp_path / str(len(made))))
        return made[-1]

    yield make
    for one in made:
        one.close()


def interleaved(seed: int, streams: Sequence[Sequence[Record]]) -> list[Sequence[Record]]:
    """Cut each stream into batches and mix the streams; each keeps its own order."""
    draw = random.Random(seed)
    left = [list(stream) for stream in streams]
    batches = []
    while any(left):
        stream = draw.choice([stream for stream in left if stream])
        length = draw.randrange(1, 40)
        batches.append(stream[:length])
        del stream[:length]
    return batches


async def test_several_sources_in_any_interleaving_give_the_state_of_one(workers):
    mixed = events(seed=3, count=300)
    ours, players, shops = mixed[:100], mixed[100:200], mixed[200:]
    own = [
        Record(TOPICS.events, 0, offset, NOW, event.key, encode(event))
        for offset, event in enumerate(mixed)
    ]
    expected = await workers().state_after([own])
    assert len(expected.pairs) > 100
    streams = [own[: len(ours)], in_shape_of(PLAYER, players), in_shape_of(SHOP, shops)]
    for seed in range(3):
        found = await workers().state_after(interleaved(seed, streams))
        assert expected.differences(found) == []


async def test_a_replay_reads_the_same_sources(workers, tmp_path):
    streams = [in_shape_of(PLAYER, events(1, 50)), in_shape_of(SHOP, events(2, 50))]
    expected = await workers().state_after(streams)
    replay = Replay(
        *(tmp_path / "replay", 0), settings=WorkerSettings(),
        state=StateSettings(delta_room=1 << 12), topics=TOPICS, rules=EventRules(),
        sources=(PLAYER, SHOP),
    )  # fmt: skip
    for stream in reversed(streams):
        await replay.handle(stream)
    replay.finish()
    assert expected.differences(dump(replay.state)) == []
    replay.close()


async def test_a_worker_goes_on_in_each_source_where_its_commit_was(workers):
    one = workers()
    streams = [in_shape_of(PLAYER, events(1, 20)), in_shape_of(SHOP, events(2, 30))]
    await one.state_after(streams)
    await one.worker.commit()
    assert one.worker.positions() == {("player", 0): 20, ("shop", 0): 30}


async def test_bad_records_of_a_source_are_dead_letters_with_their_place(workers):
    one = workers()
    good = in_shape_of(PLAYER, events(1, 2))
    unkeyed = good[1]._replace(offset=5, key=b"somebody else")
    await one.state_after([[good[0], unkeyed, good[1]._replace(offset=6)]])
    assert [(letter.source.topic, letter.source.offset) for letter in one.letters()] == [
        ("player", 5)
    ]
    assert one.worker.partitions[0].counts == {"applied": 2, "refused": 1}
