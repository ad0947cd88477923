"""Periodic work goes on when somebody sets the system's time back."""

import json
from types import SimpleNamespace

from agents import TrainerSettings, WorkerSettings
from agents.training.cadence import Cadence
from agents.working.waiting import TouchedUsers
from dynamic_layer import TrainingStats
from streams import murmur2_partition
from tests.agents.worlds import NOW, TOPICS, Clock, bench

HOUR = 3_600_000
OF_ANN = murmur2_partition(b"ann", TOPICS.partitions)


def part(b):
    """From now on the system's time and the time that passes are two clocks."""
    b.ticks = Clock()
    b.ticks.ms = b.clock.ms


def advance(b, ms):
    b.clock.ms += ms
    b.ticks.ms += ms


async def test_commits_and_checkpoints_go_on_after_the_clock_is_set_back(tmp_path):
    settings = WorkerSettings(commit_every_ms=1_000, commit_quiet_ms=500, checkpoint_every_s=60)
    with bench(tmp_path, settings) as b:
        part(b)
        await b.worker.assigned(b.keyed)
        b.clock.ms -= HOUR
        for events in range(1, 6):
            b.listen("ann", f"i{events}")
            await b.drain()
            advance(b, 1_000)
            await b.worker.tick()
            state = b.worker.partitions[OF_ANN]
            assert state.committed[TOPICS.events] == state.position(TOPICS.events) == events
        advance(b, 60_000)
        for _ in range(3):  # a look that is under way ends, is taken note of, and the next begins
            await b.worker.tick()
            if b.worker._checkpointing is not None:
                await b.worker._checkpointing
        assert b.worker.partitions.older_checkpoints(OF_ANN, TOPICS.events)


async def test_users_are_answered_after_the_clock_is_set_back(tmp_path):
    with bench(tmp_path) as b:
        part(b)
        await b.worker.assigned(b.keyed)
        recommend = b.worker._recommend
        b.worker.channels.default.recommender = object()

        def due(offset):
            recommend.touch(
                TouchedUsers(
                    topic=TOPICS.events, partition=1, user_id=["ann"], offset=[offset],
                    event_timestamp=[NOW], first=offset,
                )
            )  # fmt: skip
            taken = recommend.take()
            return [] if taken is None else [asked.touched.user_id for asked in taken.asked]

        assert due(0) == ["ann"]
        b.clock.ms -= HOUR
        assert due(1) == [], "answered just now"
        advance(b, b.settings.answer_every_ms)
        assert due(2) == ["ann"]


def test_the_trainer_publishes_after_the_clock_is_set_back():
    clock, ticks = SimpleNamespace(ms=NOW), SimpleNamespace(ms=1_000_000)
    cadence = Cadence(TrainerSettings(), lambda: clock.ms, lambda: ticks.ms)
    cadence.judged()
    cadence.learned(TrainingStats(steps=3, examples=3, seconds=0.0, loss=0.0, pending=0))
    cadence.news = 1_000
    clock.ms -= HOUR
    assert not cadence.due(held_out=0)
    ticks.ms += 60_000
    assert cadence.due(held_out=0)
    # A trainer that is started with the clock set back waits its usual time, not an hour.
    again = Cadence(TrainerSettings(), lambda: clock.ms, lambda: ticks.ms)
    again.recall(json.loads(json.dumps(cadence.notes())))
    again.news = 1_000
    again.learned(TrainingStats(steps=3, examples=3, seconds=0.0, loss=0.0, pending=0))
    assert not again.due(held_out=0)
    ticks.ms += 60_000
    assert again.due(held_out=0)
