"""A worker that follows partitions of another one, and takes them over, on the embedded log."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager

import numpy as np
import pytest

from agents.apps.replay import Replay
from agents.standby import AGAIN_MS, SETTLE_MS, followed_to
from dynamic_layer import ItemNames, Ranking
from state import DamagedState
from streams import (
    EmbeddedLog,
    EventRules,
    Item,
    LogChanged,
    create_topics,
    delete_topics,
    encode,
    topic_identities,
    topics,
)
from streams.offsets import Committed
from streams.partitioner import murmur2_partition
from tests.agents.worlds import TOPICS, answer_by, bench
from tests.state.dumps import dump

ANN = murmur2_partition(b"ann", TOPICS.partitions)
PLACE = (TOPICS.events, ANN)


class Answers:
    """Makes one list for each user, at once."""

    recommender = static_generation = object()

    async def recommend(self, users, lists, now_ms, *, fewer):
        ranking = Ranking(
            names=ItemNames(ids=["a"], types=["podcast"]), rows=[0], scores=np.ones(1)
        )
        return 1, [{"mix": ranking} for _ in users]


class Owners:
    """What the broker says of the workers that own partitions."""

    def __init__(self, b) -> None:
        self.b = b

    async def topics_now(self, names):
        return topic_identities(self.b.log, names)

    async def committed(self, _group):
        counts = self.b.worker.counts()
        return {
            place: Committed(offset, json.dumps(counts[place[1]]))
            for place, offset in self.b.worker.positions().items()
            if place[1] in counts
        }


class World:
    """An owner, and a worker whose standby follows it."""

    def __init__(self, b) -> None:
        self.b, self.worker = b, b.new_worker("s", standby=True)
        self.standby = self.worker.standby
        self.owners = Owners(b)

    async def follow(self):
        """Follow as far as the owner is, and commit."""
        self.b.ticks.ms += SETTLE_MS
        await self.standby.look(self.owners)
        await self.standby.follow(ended=lambda: self.standby.lag() == 0)
        self.b.ticks.ms += self.b.settings.commit_every_ms
        await self.standby.look(self.owners)

    async def answered(self):
        """Have the owner apply all there is, answer its users and commit."""
        await self.b.drain()
        while await self.b.worker.tick() or len(self.b.worker._recommend):
            self.b.ticks.ms += 1_000
        await self.b.worker.commit()

    def position(self, topic=TOPICS.events):
        return self.standby._copies.partitions.position(topic, ANN)

    async def take_over(self):
        """Kill the owner; the other worker opens its partitions and reads on."""
        self.b.worker.close()
        await self.worker.assigned(self.b.keyed, topic_identities(self.b.log, self.worker.topics))
        return self.worker.partitions.position(*PLACE)


@asynccontextmanager
async def world(folder, **options):
    with bench(folder, **options) as b:
        answer_by(b.worker, Answers())
        found = World(b)
        try:
            await b.worker.assigned(b.keyed, topic_identities(b.log, b.worker.topics))
            yield found
        finally:
            found.worker.close()


async def defined(b, folder):
    """The state by definition: of all records of the partition."""
    replay = Replay(
        folder, ANN, settings=b.settings, state=b.state, topics=TOPICS, rules=EventRules(),
        clock_ms=b.clock,
    )  # fmt: skip
    for topic in (TOPICS.users, TOPICS.catalogue, TOPICS.events):
        if records := b.log.read(topic, ANN, 0, 1_000_000):
            await replay.handle(records)
    replay.state.commit()
    found = dump(replay.state)
    replay.state.close()
    return found


def test_a_standby_follows_as_far_as_users_are_answered():
    note = json.dumps({"applied": 90, "refused": 10, "behind": 30})
    found = {
        ("events", 0): Committed(100, note),
        ("events", 1): Committed(100, '{"applied": 100, "refused": 0}'),
        ("events", 2): Committed(100, ""),
        ("catalogue", 0): Committed(7, note),
    }
    assert followed_to(found, {"events"}) == {("events", 0): 70, ("catalogue", 0): 7}


async def test_what_the_owner_has_not_committed_is_neither_lost_nor_counted_twice(tmp_path):
    async with world(tmp_path) as w:
        b = w.b
        item = Item(item_id="a", item_type="podcast", title="A")
        b.log.append(TOPICS.catalogue, item.key, encode(item))
        b.listen("ann", *(f"i{n}" for n in range(30)))
        await w.answered()
        await w.follow()
        assert (w.position(), w.standby.lag()) == (30, 0)
        # Applied by the owner, and lost with it: so are the dead letter and the users to answer.
        b.listen("ann", *(f"i{n}" for n in range(10)))
        b.log.append(TOPICS.events, b"ann", b"{")
        await b.drain()
        await w.follow()
        assert w.position() == 30
        assert await w.take_over() == 30
        await b.drain(w.worker)
        await w.worker.commit()
        assert len(w.worker._recommend) == 1
        assert {letter.source.offset for letter in b.letters()} == {40}
        assert dump(w.worker.partitions[ANN]) == await defined(b, tmp_path / "defined")
        assert w.standby.followed == frozenset()


async def test_users_who_wait_for_an_answer_are_answered_after_the_take_over(tmp_path):
    async with world(tmp_path) as w:
        b = w.b
        b.listen("ann", "a", "b")
        await w.answered()
        b.listen("ann", "c", "d")
        await b.drain()
        await b.worker.commit()
        await w.follow()
        assert (b.worker.positions()[PLACE], w.position()) == (4, 2)
        assert await w.take_over() == 2
        await b.drain(w.worker)
        assert len(w.worker._recommend) == 1


async def test_a_standby_begins_from_a_checkpoint(tmp_path):
    async with world(tmp_path) as w:
        b = w.b
        b.listen("ann", *(f"i{n}" for n in range(20)))
        await w.answered()
        await b.worker.checkpoint()
        b.ticks.ms += SETTLE_MS
        await w.standby.look(w.owners)
        assert w.position() == 20


async def test_an_erased_user_is_on_no_disk_of_the_standby(tmp_path):
    async with world(tmp_path) as w:
        b = w.b
        b.listen("ann", "a", "b")
        b.listen("bob", "a", "b")
        await w.answered()
        await w.follow()
        folder = tmp_path / "s" / "state" / f"{ANN:05d}"
        assert any(b"ann" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
        b.log.append(TOPICS.events, b"ann", None)
        await w.answered()
        await w.follow()
        assert w.position() == 5
        w.standby.close()
        left = [path for path in folder.rglob("*") if path.is_file()]
        assert left and not [path for path in left if b"ann" in path.read_bytes()]


async def test_a_topic_that_was_created_again_is_not_followed(tmp_path, caplog):
    async with world(tmp_path) as w:
        b = w.b
        b.listen("ann", *(f"old{n}" for n in range(5)))
        await w.answered()
        await w.follow()
        delete_topics(b.log, [TOPICS.events])
        create_topics(b.log, topics(TOPICS))
        b.listen("ann", *(f"new{n}" for n in range(9)))
        with caplog.at_level(logging.ERROR):
            await w.standby.look(w.owners)
        assert w.standby.followed == frozenset()
        assert "another topic of this name" in caplog.text
        # The worker that takes it over says so, and holds the state as it was.
        with pytest.raises(LogChanged, match="another topic of this name"):
            await w.take_over()


async def test_a_partition_whose_records_are_gone_is_tried_again_and_stops_no_one(tmp_path, caplog):
    async with world(tmp_path) as w:
        b = w.b
        b.log.close()
        b.log = EmbeddedLog(tmp_path / "log", clock=b.clock, segment_bytes=500)
        w.standby._log = b.log
        b.listen("ann", *(f"i{n}" for n in range(5)))
        await w.answered()
        await w.follow()
        await w.standby.release({ANN})
        w.standby.left({ANN})
        b.listen("ann", *(f"i{n}" for n in range(30)))
        await w.answered()
        b.log.close()
        for segment in sorted((tmp_path / "log" / TOPICS.events / str(ANN)).glob("*.log"))[:-1]:
            segment.unlink()
        b.log = w.standby._log = EmbeddedLog(tmp_path / "log", clock=b.clock)
        b.ticks.ms += SETTLE_MS
        with caplog.at_level(logging.ERROR):
            await w.standby.look(w.owners)
        assert ANN not in w.standby.followed
        assert f"does not follow partition {ANN}" in caplog.text
        # A checkpoint that is further is enough.
        await b.worker.checkpoint()
        await w.standby.look(w.owners)
        assert ANN not in w.standby.followed
        b.ticks.ms += AGAIN_MS
        await w.standby.look(w.owners)
        assert (ANN in w.standby.followed, w.position()) == (True, 35)


async def test_a_partition_whose_commit_fails_is_given_up_for_a_while(tmp_path, monkeypatch):
    def damaged():
        raise DamagedState("a file is not as it was written")

    async with world(tmp_path) as w:
        b = w.b
        b.listen("ann", "a")
        await w.answered()
        await w.follow()
        b.listen("ann", "b")
        await w.answered()
        await w.standby.look(w.owners)
        await w.standby.follow(ended=lambda: w.standby.lag() == 0)
        monkeypatch.setattr(w.standby._copies.partitions[ANN], "commit", damaged)
        b.ticks.ms += b.settings.commit_every_ms
        await w.standby.look(w.owners)
        assert w.standby.followed == frozenset(range(TOPICS.partitions)) - {ANN}


async def test_what_is_followed_is_touched_in_its_turn_alone_while_another_state_is_opened(
    tmp_path, monkeypatch
):
    async with world(tmp_path) as w:
        b, standby, held = w.b, w.standby, []
        b.listen("ann", "a")
        await w.answered()
        await w.follow()
        await standby.release({ANN})
        standby.left({ANN})
        other = min(standby.followed)
        monkeypatch.setattr(
            standby._copies.partitions[other],
            "set_made_from",
            lambda *_: held.append(standby._turn.locked()),
        )
        await w.follow()
        assert ANN in standby.followed
        assert held and all(held)


async def test_offsets_without_records_are_passed_after_a_commit(tmp_path):
    async with world(tmp_path) as w:
        w.b.listen("ann", "a")
        await w.answered()
        await w.follow()
        async with w.standby._turn:
            passing = asyncio.ensure_future(w.standby._pass_empty(PLACE, 1, 2))
            await asyncio.sleep(0)
            assert w.position() == 1
        await passing
        assert w.position() == 2


async def test_what_was_taken_over_is_followed_again_when_it_is_left(tmp_path):
    async with world(tmp_path) as w:
        b, number = w.b, TOPICS.partitions
        b.listen("ann", "a")
        await w.answered()
        await w.standby.look(w.owners)
        assert w.standby.followed == frozenset(), "most partitions come back within a rebalance"
        await w.follow()
        assert w.standby.followed == frozenset(range(number))
        mine = [place for place in b.keyed if place[1] == ANN]
        await w.worker.assigned(mine)
        assert w.standby.followed == frozenset(range(number)) - {ANN}
        await w.worker.revoked(mine)
        await w.standby.look(w.owners)
        assert ANN not in w.standby.followed
        await w.follow()
        assert ANN in w.standby.followed


async def test_the_sweep_leaves_what_is_followed(tmp_path):
    async with world(tmp_path) as w:
        w.b.listen("ann", "a")
        await w.answered()
        await w.follow()
        w.b.clock.ms += 30 * 86_400_000
        await w.worker.tick()
        await w.worker._checkpointing
        assert (tmp_path / "s" / "state" / f"{ANN:05d}").is_dir()


async def test_metrics_show_what_is_followed(tmp_path):
    async with world(tmp_path) as w:
        w.b.listen("ann", "a", "b")
        await w.answered()
        w.b.ticks.ms += SETTLE_MS
        await w.standby.look(w.owners)
        value = w.worker.tally.registry.get_sample_value
        assert value("segue_standby_partitions") == TOPICS.partitions
        assert value("segue_standby_lag_records") == 2
