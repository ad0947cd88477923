"""A canary in its trainer: what it reads, what it announces, and that a restart changes nothing."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest

from agents.experiments.arms import ArmSettings, CanarySettings, ExperimentSettings
from agents.training.canaries import Canaries, Canary
from agents.training.quality import Decision, QualityStore
from agents.training.train_tally import TrainTally
from dynamic_layer import Asked, Row
from dynamic_layer.measure.prequential import _date, _line
from state import ArtifactStore
from streams import ArmShare, ModelAnnouncement, Record, TopicSettings, decode, encode

TOPICS = TopicSettings()
LOOK_MS = 60_000
DAY = 20_000
ARMS = ExperimentSettings(
    arms=(
        ArmSettings(name="old", share=0.7),
        ArmSettings(
            name="new", channel="next", share=0.3,
            canary=CanarySettings(first=0.1, step=0.1, every_s=60, questions=100, margin=0.2),
        ),
    )
)  # fmt: skip


class World:
    """A models topic, a store, and a clock; the canary's trainer may be restarted."""

    def __init__(self, tmp_path) -> None:
        self.folder = tmp_path
        self.store = ArtifactStore(str(tmp_path / "store"))
        self.clock = SimpleNamespace(ms=DAY * 86_400_000)
        self.tally = TrainTally()
        self.models: list[Record] = []
        self.fails = False
        self.canary = self.started()

    def started(self) -> Canary:
        [found] = Canaries(
            ARMS, "next", store=self.store, topics=TOPICS, outputs=self, tally=self.tally,
            clock_ms=lambda: self.clock.ms, ticks_ms=lambda: self.clock.ms, read_models=self.read,
        ).canaries  # fmt: skip
        return found

    async def read(self):
        if self.fails:
            raise OSError("the log is away")
        return self.models

    async def send(self, topic, key, value, _=None) -> None:
        assert topic == TOPICS.models
        self.models.append(
            Record(topic=topic, partition=0, offset=0, timestamp=0, key=key, value=value)
        )

    async def flush(self) -> None:
        pass

    @property
    def shares(self) -> list[ArmShare]:
        return [decode(ArmShare, r.value) for r in self.models if r.key == b"share/new"]

    async def look(self) -> float:
        """Look a minute later; returns the share in force."""
        self.clock.ms += LOOK_MS
        await self.canary.look()
        return self.shares[-1].share if self.shares else 0.0

    async def published(self, generation: int, *reasons: str) -> None:
        name = f"g{generation:09d}-next"
        QualityStore(self.store, keep_days=9, channel="next").decided(
            Decision(
                at=self.clock.ms, bundle=name, generation=generation, static="s", reasons=reasons,
                held_out=9, served=None, hr_at_10=None, served_hr_at_10=None,
            )
        )  # fmt: skip
        if not reasons:
            said = ModelAnnouncement(
                kind="dynamic", name=name, url="", generation=generation, created_at=0, metrics={},
                channel="next",
            )  # fmt: skip
            await self.send(TOPICS.models, said.key, encode(said))

    def measured(self, channel: str, arm: str, hits: int, of: int, generation: int = 1) -> None:
        """The rows of a channel's day are replaced, as a trainer replaces them."""
        row = Row(DAY, "podcast", generation, arm)
        file = self.folder / f"{_date(DAY)}.jsonl"
        file.write_text(_line(row, Asked(examples=of, hits=hits)))
        QualityStore(self.store, keep_days=9, channel=channel).put_days([file])


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


async def test_it_grows_while_it_is_as_good_to_its_greatest_share(world):
    assert await world.look() == 0.0, "its channel has no bundle"
    await world.published(1)
    assert await world.look() == 0.1
    assert await world.look() == 0.1, "nothing was measured"
    world.measured("default", "old", 3_000, 10_000)
    world.measured("next", "new", 1_500, 5_000)
    assert await world.look() == pytest.approx(0.2)
    assert await world.look() == pytest.approx(0.3)
    assert await world.look() == pytest.approx(0.3)
    assert [said.share for said in world.shares] == pytest.approx([0.1, 0.2, 0.3])
    assert world.tally.registry.get_sample_value(
        "segue_canary_share_ratio", {"arm": "new"}
    ) == pytest.approx(0.3)


async def test_it_looks_once_a_minute(world):
    await world.published(1)
    assert await world.look() == 0.1
    world.models.clear()
    world.clock.ms += LOOK_MS - 1
    await world.canary.look()
    assert not world.models


async def test_a_restart_goes_on_with_the_share_in_force(world):
    await world.published(1)
    await world.look()
    world.measured("default", "old", 3_000, 10_000)
    world.measured("next", "new", 1_500, 5_000)
    assert await world.look() == pytest.approx(0.2)
    world.canary = world.started()
    assert await world.look() == pytest.approx(0.2), "nothing was asked since"
    world.measured("default", "old", 3_060, 10_200)
    world.measured("next", "new", 1_530, 5_100)
    assert await world.look() == pytest.approx(0.3)
    assert {said.started_at for said in world.shares} == {world.shares[0].started_at}


async def test_it_falls_and_stays_until_a_person_restarts_it(world, caplog):
    await world.published(1)
    await world.look()
    world.measured("default", "old", 3_000, 10_000)
    world.measured("next", "new", 500, 5_000)
    with caplog.at_level(logging.ERROR):
        assert await world.look() == 0.0
    assert "canary new falls from 0.100" in caplog.text
    assert "HR@10 0.1000 against 0.3000" in world.shares[-1].reasons[0]
    stopped = world.tally.registry.get_sample_value("segue_canary_stopped", {"arm": "new"})
    assert stopped == 1
    world.measured("next", "new", 2_500, 5_000)
    world.canary = world.started()
    assert await world.look() == 0.0
    assert len(world.shares) == 2, "what is no news is not announced"

    again = replace_share(world.shares[-1], state="growing", share=0.1, after_generation=1)
    await world.send(TOPICS.models, again.key, encode(again))
    world.measured("next", "new", 500, 5_000)
    assert await world.look() == 0.1, "what was measured before the restart is forgiven"
    await world.published(2)
    world.measured("next", "new", 500, 5_000, generation=2)
    assert await world.look() == 0.0, "what comes after it is not"


async def test_a_long_good_past_hides_no_bad_bundle(world):
    await world.published(1)
    await world.look()
    world.measured("default", "old", 30_000, 100_000)
    world.measured("next", "new", 30_000, 100_000)
    assert await world.look() == pytest.approx(0.2)
    world.measured("default", "old", 30_300, 101_000)
    world.measured("next", "new", 30_010, 100_500)
    assert await world.look() == 0.0
    assert "by the newest 1500 questions of both" in world.shares[-1].reasons[0]


async def test_a_restarted_trainer_takes_no_step_before_it_knows_what_is_recent(world):
    await world.published(1)
    await world.look()
    world.measured("default", "old", 30_000, 100_000)
    world.measured("next", "new", 30_000, 100_000)
    assert await world.look() == pytest.approx(0.2)
    world.measured("default", "old", 30_300, 101_000)
    world.measured("next", "new", 30_010, 100_500)
    world.canary = world.started()
    assert await world.look() == pytest.approx(0.2)
    world.measured("default", "old", 30_600, 102_000)
    world.measured("next", "new", 30_020, 101_000)
    assert await world.look() == 0.0


def replace_share(said: ArmShare, **more) -> ArmShare:
    return ArmShare(**{name: getattr(said, name) for name in said.__struct_fields__} | more)


async def test_a_refused_publication_holds_it(world):
    await world.published(1)
    await world.look()
    world.measured("default", "old", 3_000, 10_000)
    world.measured("next", "new", 1_500, 5_000)
    await world.published(2, "recall")
    assert await world.look() == 0.1
    for generation in (3, 4, 5):
        await world.published(generation)
    assert await world.look() == pytest.approx(0.2)


async def test_what_cannot_be_read_leaves_the_share(world, caplog):
    await world.published(1)
    await world.look()
    world.fails = True
    with caplog.at_level(logging.WARNING):
        assert await world.look() == 0.1
    assert "canary new keeps its share: the log is away" in caplog.text


def test_each_channels_trainer_decides_on_its_own_canaries_alone(world):
    common = {
        "store": world.store, "topics": TOPICS, "outputs": world, "tally": world.tally,
        "clock_ms": lambda: 0,
    }  # fmt: skip
    assert Canaries(ARMS, "default", read_models=world.read, **common).canaries == []
    fixed = replace(ARMS, arms=(ARMS.arms[0], ArmSettings(name="new", channel="next", share=0.3)))
    assert Canaries(fixed, "next", read_models=world.read, **common).canaries == []
    assert Canaries(ARMS, "next", read_models=None, **common).canaries == []
