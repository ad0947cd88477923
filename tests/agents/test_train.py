"""When the trainer begins to train, and when it publishes."""

import json
from types import SimpleNamespace
from typing import ClassVar

from agents import TrainerSettings
from agents.train import Train
from agents.training.cadence import Cadence
from dynamic_layer import DynamicSettings, TrainingStats
from state import ArtifactStore
from streams import TopicSettings


class Towers:
    """Counts slices of training; every batch that is added is worth its number of examples."""

    slices = 0
    memories: ClassVar = {"holdout": ()}

    def add(self, examples: int, _witness: object) -> SimpleNamespace:
        return SimpleNamespace(accepted=examples)

    def train(self, max_seconds: float) -> SimpleNamespace:
        self.slices += 1
        return TrainingStats(steps=1, examples=1, seconds=0.0, loss=0.0, pending=0)


async def test_training_begins_when_the_log_of_examples_has_been_read(tmp_path):
    clock = SimpleNamespace(ms=1_000_000)
    train = Train(
        settings=TrainerSettings(settle_s=2.0),
        dynamic=DynamicSettings(),
        topics=TopicSettings(),
        store=ArtifactStore(str(tmp_path / "store")),
        folder=tmp_path,
        outputs=None,
        clock_ms=lambda: clock.ms,
    )
    towers = train._trainer = Towers()
    for _ in range(5):  # a backlog: a thousand examples a second
        train._take(towers, 1_000)
        await train.step()
        clock.ms += 1_000
    assert towers.slices == 0
    for _ in range(4):  # live traffic: a few
        train._take(towers, 10)
        await train.step()
        clock.ms += 1_000
    assert towers.slices > 0
    before = towers.slices
    train._take(towers, 100_000)
    await train.step()
    assert towers.slices == before + 1, "from then on it never waits"


def after_a_bundle(clock: SimpleNamespace) -> Cadence:
    """A trainer's that published its first bundle just now, and has come to rest."""
    cadence = Cadence(TrainerSettings(adopt_within_s=600.0), lambda: clock.ms)
    cadence.learned(learned(steps=3))
    cadence.learned(learned(steps=0))
    assert cadence.due(held_out=0)
    cadence.judged()
    assert not cadence.due(held_out=10_000)
    return cadence


def learned(*, steps: int, pending: int = 0) -> TrainingStats:
    return TrainingStats(steps=steps, examples=steps, seconds=0.0, loss=0.0, pending=pending)


def test_the_first_bundle_on_a_new_static_one_is_due_when_it_can_be_judged():
    clock = SimpleNamespace(ms=1_000_000)
    cadence = after_a_bundle(clock)
    cadence.adopted()
    assert not cadence.due(held_out=255)
    assert cadence.due(held_out=256), "no matter how long ago the last bundle was"
    cadence.learned(learned(steps=5, pending=40))
    assert not cadence.due(held_out=256), "it would not be all that there was to learn"
    clock.ms += 599_999
    assert not cadence.due(held_out=0)
    clock.ms += 1
    assert cadence.due(held_out=0), "longer than that nobody waits"


def test_a_refused_bundle_is_followed_by_the_next_as_ever():
    clock = SimpleNamespace(ms=1_000_000)
    cadence = after_a_bundle(clock)
    cadence.adopted()
    cadence.judged()
    cadence.learned(learned(steps=5))
    cadence.news = 1_000
    assert not cadence.due(held_out=256)
    clock.ms += 60_000
    assert cadence.due(held_out=0)


def test_a_kill_forgets_no_adoption():
    clock = SimpleNamespace(ms=1_000_000)
    cadence = after_a_bundle(clock)
    cadence.adopted()
    again = Cadence(TrainerSettings(), lambda: clock.ms)
    again.recall(json.loads(json.dumps(cadence.notes())))
    assert again.notes() == cadence.notes()
    assert again.due(held_out=256)
    earlier = {name: value for name, value in cadence.notes().items() if name != "adopted_at"}
    again.recall(earlier)
    assert not again.due(held_out=256), "checkpoints of earlier versions know of none"
