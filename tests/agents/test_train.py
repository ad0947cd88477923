"""When the trainer begins to train, and when it publishes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from agents import TrainerSettings
from agents.train import Train
from agents.training.cadence import Cadence
from agents.training.publishing import announced_figures
from dynamic_layer import DynamicSettings, TrainingStats
from state import ArtifactStore
from streams import ModelAnnouncement, TopicSettings, encode


class Towers:
    """Counts slices of training; every batch that is added is worth its number of examples."""

    slices = 0
    memories: ClassVar = {"holdout": ()}

    def add(self, examples: int, _witness: object) -> SimpleNamespace:
        return SimpleNamespace(accepted=examples)

    def train(self, max_steps: int | None, max_seconds: float) -> SimpleNamespace:
        self.slices += 1
        return TrainingStats(steps=1, examples=1, seconds=0.0, loss=0.0, pending=0)


def trainer(folder: Path, clock: SimpleNamespace, settings: TrainerSettings) -> Train:
    return Train(
        settings=settings,
        dynamic=DynamicSettings(),
        topics=TopicSettings(),
        store=ArtifactStore(str(folder / "store")),
        folder=folder,
        outputs=None,
        clock_ms=lambda: clock.ms,
        ticks_ms=lambda: clock.ms,
    )


async def test_training_begins_when_the_log_of_examples_has_been_read(tmp_path):
    clock = SimpleNamespace(ms=1_000_000)
    train = trainer(tmp_path, clock, TrainerSettings(settle_s=2.0))
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


async def test_training_does_not_begin_before_the_log_is_read_however_slowly_it_comes(tmp_path):
    """On a busy machine seconds pass between two reads: that must not look like the end."""
    clock = SimpleNamespace(ms=1_000_000)
    train = trainer(tmp_path, clock, TrainerSettings(settle_s=2.0, checkpoint_every_s=1e6))
    left = 5
    train.begin_when(lambda: left == 0)
    towers = train._trainer = Towers()

    async def wait(seconds: int) -> None:
        for _ in range(seconds):
            await train.step()
            clock.ms += 1_000

    while left:
        train._take(towers, 100)
        await wait(20)
        assert towers.slices == 0
        left -= 1
    await wait(5)
    assert towers.slices > 0


async def test_a_log_that_ends_early_does_not_hold_training_up_for_ever(tmp_path, caplog):
    clock = SimpleNamespace(ms=1_000_000)
    cadence = Cadence(TrainerSettings(settle_s=2.0), lambda: clock.ms, lambda: clock.ms)
    cadence.news = 500
    waited = 0
    while cadence.still_reading(caught_up=False):
        clock.ms += 1_000
        waited += 1
    assert 60 <= waited < 70
    assert "before the log has been read" in caplog.text


def test_a_prequential_figure_is_announced_with_its_number_of_questions():
    metrics = {"prequential_hr_at_10": 1.0, "prequential_examples": 2.0, "steps": 9.0}
    assert announced_figures(metrics) == {"prequential_hr_at_10": 1.0, "prequential_examples": 2.0}


async def test_the_age_of_the_newest_static_bundle_is_shown_even_if_it_is_not_adopted(tmp_path):
    """A job of its own makes them and is gone: an alert can only ask the trainer."""
    train = Train(
        settings=TrainerSettings(),
        dynamic=DynamicSettings(),
        topics=TopicSettings(),
        store=ArtifactStore(str(tmp_path / "store")),  # does not hold the bundle
        folder=tmp_path,
        outputs=None,
        clock_ms=lambda: 9_000_000,
    )

    def shown() -> float | None:
        return train.tally.registry.get_sample_value("segue_static_bundle_timestamp_seconds")

    def announced(kind: str, at: int) -> SimpleNamespace:
        made = ModelAnnouncement(
            kind=kind, name="gone", url="", generation=at, created_at=at, metrics={}
        )
        return SimpleNamespace(
            topic="segue.models", partition=0, offset=at, timestamp=at, key=made.key,
            value=encode(made),
        )  # fmt: skip

    assert shown() == 0
    await train.announced([announced("static", 5_000_000), announced("static", 6_500_000)])
    assert shown() == 6_500
    await train.announced([announced("dynamic", 8_000_000)])
    assert shown() == 6_500


def after_a_bundle(clock: SimpleNamespace) -> Cadence:
    """A trainer's that published its first bundle just now, and has come to rest."""
    cadence = Cadence(TrainerSettings(adopt_within_s=600.0), lambda: clock.ms, lambda: clock.ms)
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
    again = Cadence(TrainerSettings(), lambda: clock.ms, lambda: clock.ms)
    again.recall(json.loads(json.dumps(cadence.notes())))
    assert again.notes() == cadence.notes()
    assert again.due(held_out=256)
    earlier = {name: value for name, value in cadence.notes().items() if name != "adopted_at"}
    again.recall(earlier)
    assert not again.due(held_out=256), "checkpoints of earlier versions know of none"


def test_a_trainer_that_finds_nothing_to_learn_says_so():
    def trained(steps):
        return TrainingStats(steps=steps, examples=steps, seconds=0.0, loss=0.0, pending=0)

    cadence = Cadence(TrainerSettings(), lambda: 1_000, lambda: 1_000)
    assert not cadence.starved, "before training began nothing is known"
    cadence.learned(trained(0))
    assert (cadence.starved, cadence.steps_done) == (True, 0)
    cadence.learned(trained(3))
    cadence.learned(trained(0))
    assert (cadence.starved, cadence.steps_done) == (False, 3)
    cadence.judged()
    assert not cadence.starved
    assert cadence.steps_done == 3
