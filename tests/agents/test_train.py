"""When the trainer begins to train, and when it publishes."""

from types import SimpleNamespace

from agents import TrainerSettings
from agents.train import Train
from dynamic_layer import DynamicSettings
from state import ArtifactStore
from streams import TopicSettings


class Towers:
    """Counts slices of training; every batch that is added is worth its number of examples."""

    slices = 0

    def add(self, examples: int, _witness: object) -> SimpleNamespace:
        return SimpleNamespace(accepted=examples)

    def train(self, max_seconds: float) -> SimpleNamespace:
        self.slices += 1
        return SimpleNamespace(steps=1)


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
