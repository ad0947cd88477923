"""Changed item rows from a trainer to workers: through bundles, crashes, pins and refusals."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agents import TrainerSettings
from agents.bundles.models import Models
from agents.train import Train
from agents.training.continuing import Continuity
from dynamic_layer import NewItems, RowDelta, Trainer
from state import ArtifactStore, item_key
from streams import LogRecord, ModelAnnouncement, Record, TopicSettings, encode
from tests.dynamic_layer.worlds import SMALL, TEXT, make_examples, make_items

ITEMS = make_items()
TOPICS = TopicSettings(partitions=2)
DYNAMIC = replace(SMALL, batch_size=32, replay=replace(SMALL.replay, epochs=1.0))


class Topics:
    """The log: what the trainer writes, by topic."""

    def __init__(self) -> None:
        self.records: dict[str, list[LogRecord]] = {TOPICS.models: [], TOPICS.rows: []}

    async def send(self, topic: str, key: bytes | None, value: bytes | None, _=None) -> None:
        written = self.records.setdefault(topic, [])
        written.append(
            Record(topic=topic, partition=0, offset=len(written), timestamp=0, key=key, value=value)
        )

    async def flush(self) -> None:
        pass

    @property
    def rows(self) -> list[LogRecord]:
        return self.records[TOPICS.rows]

    @property
    def models(self) -> list[LogRecord]:
        return self.records[TOPICS.models]


class World:
    """A trainer whose clock a test moves, its log, and its store."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, items=ITEMS, dynamic=DYNAMIC,
        **settings,
    ) -> None:  # fmt: skip
        async def static_bundle(_self, name):
            return items

        monkeypatch.setattr(Continuity, "static_bundle", static_bundle)
        monkeypatch.setattr(Models, "_warm_encoder", lambda *_: None)
        self.folder, self.topics, self.items, self.dynamic = folder, Topics(), items, dynamic
        self.store = ArtifactStore(str(folder / "store"))
        self.clock = SimpleNamespace(ms=1_000_000)
        self.settings = {
            "settle_s": 0.0, "checkpoint_every_s": 1e6, "publish_every_s": 1e6,
            "judge_within_s": 0.0, "rows_every_steps": 5, "rows_within_s": 1e6,
        } | settings  # fmt: skip
        self.fed = 0
        self.examples: list[LogRecord] = []
        self.train = self.started()

    def started(self) -> Train:
        return Train(
            settings=TrainerSettings(**self.settings), dynamic=self.dynamic, topics=TOPICS,
            store=self.store, folder=self.folder, outputs=self.topics,
            clock_ms=lambda: self.clock.ms, ticks_ms=lambda: self.clock.ms,
        )  # fmt: skip

    async def crash(self) -> None:
        """Start the trainer from its last checkpoint; what is announced it reads again."""
        self.train = self.started()
        await self.begin()
        await self.train.announced(self.topics.models)

    async def begin(self) -> "World":
        await self.train.assigned()
        if self.train._static is None:
            await self.train._adopt("static-1")
        return self

    async def learn(self, examples: int = 1_000) -> None:
        """Take new examples, and learn all of them."""
        batch = make_examples(self.items, examples, first_offset=self.fed, seed=self.fed)
        record = Record(
            topic=TOPICS.examples, partition=0, offset=self.fed, timestamp=0, key=None,
            value=batch.pack(),
        )  # fmt: skip
        self.fed += examples
        self.examples.append(record)
        await self.train.examples_came([record])
        await self.rest()

    async def rest(self) -> None:
        """Train until nothing is left to learn."""
        self.clock.ms += 1_000
        idle = 0
        while idle < 3:  # the first steps look whether the log has been read
            idle = 0 if await self.train.step() else idle + 1
            self.clock.ms += 1

    @property
    def trainer(self) -> Trainer:
        assert self.train._trainer is not None
        return self.train._trainer

    async def worker(self, name: str) -> Models:
        """A worker that starts now."""
        models = Models(self.store, self.folder / name, lambda: None, lambda: self.clock.ms)
        await models.announced(self.topics.models)
        await models.rows_changed(self.topics.rows)
        return models

    async def pin(self, worker: Models, name: str | None) -> None:
        said = ModelAnnouncement(
            kind="pinned", name=name or "", url="", generation=0, created_at=0, metrics={}
        )
        value = None if name is None else encode(said)
        await worker.announced(
            [Record(topic=TOPICS.models, partition=0, offset=9, timestamp=0, key=said.key,
                    value=value)]
        )  # fmt: skip


def served(worker: Models) -> np.ndarray:
    """What the index of a worker holds, f32 [n, d + 1]."""
    assert worker.recommender is not None
    return worker.recommender.served_vectors(np.arange(len(worker.recommender.keys)))


def own(worker: Models) -> np.ndarray:
    """What its bundle holds."""
    bundle = worker.recommender.bundle
    return np.concatenate([bundle.vectors, bundle.bias[:, None]], axis=1)


async def test_workers_serve_what_the_trainer_has_learned_since_the_bundle(tmp_path, monkeypatch):
    world = await World(tmp_path, monkeypatch).begin()
    await world.learn()
    assert len(world.topics.models) == 1
    worker = await world.worker("a")
    assert not world.topics.rows
    for _ in range(3):
        before = len(world.topics.rows)
        await world.learn()
        assert len(world.topics.rows) > before
        await worker.rows_changed(world.topics.rows[before:])
    assert len(world.topics.models) == 1
    _, vectors, bias = world.trainer.item_rows(worker.recommender.bundle)
    found = served(worker)
    apart = np.linalg.norm(found[:, :-1] - vectors, axis=1) / DYNAMIC.towers.temperature
    assert (apart + np.abs(found[:, -1] - bias)).max() <= 0.25 + 0.02
    assert np.abs(found - own(worker)).max() > 0.05
    # What ranks is what the index holds.
    assert worker.recommender.made == (1, RowDelta.unpack(world.topics.rows[-1].value).sequence)
    late = await world.worker("b")
    np.testing.assert_array_equal(served(late), found)
    assert world.train.tally.registry.get_sample_value("segue_row_deltas_sent_total") == len(
        world.topics.rows
    )


async def test_what_is_sent_does_not_depend_on_the_speed_of_the_machine(tmp_path, monkeypatch):
    sent = []
    for name, slice_s in (("slow", 1e-6), ("fast", 60.0)):
        world = await World(tmp_path / name, monkeypatch, slice_s=slice_s).begin()
        for _ in range(3):
            await world.learn()
        rows = [RowDelta.unpack(record.value) for record in world.topics.rows]
        sent.append([(one.keys.tolist(), one.vectors.tolist(), one.bias.tolist()) for one in rows])
    assert len(sent[0]) > 4
    assert sent[0] == sent[1]


async def test_rows_are_sent_late_rather_than_never(tmp_path, monkeypatch):
    world = await World(
        tmp_path, monkeypatch, rows_every_steps=10**9, rows_within_s=0.0, slice_s=1e-6
    ).begin()
    await world.learn()
    await world.learn()
    assert len(world.topics.rows) > 4


async def test_by_default_no_rows_are_sent(tmp_path, monkeypatch):
    world = await World(
        tmp_path, monkeypatch, rows_every_steps=TrainerSettings().rows_every_steps
    ).begin()
    await world.learn()
    await world.learn()
    assert len(world.topics.models) == 1
    assert not world.topics.rows


async def test_a_trainer_that_crashed_takes_up_with_rows_that_replace_the_earlier_ones(
    tmp_path, monkeypatch
):
    world = await World(tmp_path, monkeypatch, checkpoint_every_s=0.5).begin()
    await world.learn()
    worker = await world.worker("a")
    await world.learn()
    await worker.rows_changed(world.topics.rows)
    first = len(world.topics.rows)
    await world.crash()
    await world.learn()
    assert RowDelta.unpack(world.topics.rows[first].value).follows == 0
    await worker.rows_changed(world.topics.rows[first:])
    late = await world.worker("b")
    assert (late.generation, worker.generation) == (1, 1)
    np.testing.assert_array_equal(served(late), served(worker))


async def test_a_new_bundle_voids_the_rows_of_the_one_before(tmp_path, monkeypatch):
    world = await World(tmp_path, monkeypatch).begin()
    await world.learn()
    worker = await world.worker("a")
    await world.learn()
    await worker.rows_changed(world.topics.rows)
    world.clock.ms += 10**10
    await world.learn()
    assert len(world.topics.models) == 2
    await worker.announced(world.topics.models)
    assert worker.generation == 2
    np.testing.assert_array_equal(served(worker), own(worker))
    # Rows of the next bundle may come before its announcement.
    behind = Models(world.store, tmp_path / "c", lambda: None, lambda: 0)
    await behind.announced(world.topics.models[:1])
    await world.learn()
    await behind.rows_changed(world.topics.rows)
    await behind.announced(world.topics.models)
    await worker.rows_changed(world.topics.rows)
    assert (served(worker) != own(worker)).any()
    np.testing.assert_array_equal(served(behind), served(worker))


async def test_a_pinned_bundle_is_served_as_it_was_made(tmp_path, monkeypatch):
    world = await World(tmp_path, monkeypatch).begin()
    await world.learn()
    await world.learn()
    worker = await world.worker("a")
    changed = served(worker)
    assert (changed != own(worker)).any()
    await world.pin(worker, worker.serving)
    np.testing.assert_array_equal(served(worker), own(worker))
    await world.pin(worker, None)
    np.testing.assert_array_equal(served(worker), changed)


async def test_after_a_refused_bundle_the_one_before_is_served_as_it_was_judged(
    tmp_path, monkeypatch
):
    world = await World(tmp_path, monkeypatch).begin()
    await world.learn()
    worker = await world.worker("a")
    await world.learn()
    assert world.topics.rows
    monkeypatch.setattr(
        "agents.training.publishing.judge",
        lambda *_: SimpleNamespace(
            reasons=["worse"], held_out=0, hr_at_10=0.0, served_hr_at_10=0.0, best=False
        ),
    )
    world.clock.ms += 10**10
    await world.learn()
    await worker.rows_changed(world.topics.rows)
    np.testing.assert_array_equal(served(worker), own(worker))
    sent = len(world.topics.rows)
    await world.learn()
    assert len(world.topics.rows) == sent, "what was refused is not sent row by row"


async def test_rows_of_items_that_came_later_wait_for_them(tmp_path, monkeypatch):
    new = NewItems(
        item_keys=np.array([item_key("podcast", "n1")], np.uint64), item_ids=["n1"],
        item_types=["podcast"], languages=["en"], genres=[None],
        text=np.ones((1, TEXT), np.float32) / TEXT**0.5, titles=["New"],
    )  # fmt: skip
    world = await World(tmp_path, monkeypatch).begin()
    await world.learn()
    early, late = await world.worker("a"), await world.worker("b")
    early.recommender.add_items(new)
    added = served(early)[-1]
    world.trainer.grow(new)
    examples = make_examples(ITEMS, 400, first_offset=world.fed, seed=5)
    examples.target[:] = new.item_keys[0]
    world.trainer.add(examples)
    world.fed += 400
    await world.learn()
    for worker in (early, late):
        await worker.rows_changed(world.topics.rows)
    late.recommender.add_items(new)
    np.testing.assert_array_equal(served(early), served(late))
    assert np.abs(served(late)[-1] - added).max() > 0.05
    await world.pin(early, early.serving)
    np.testing.assert_array_equal(served(early)[-1], added)
