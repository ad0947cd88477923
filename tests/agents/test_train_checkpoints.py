"""The trainer and kills: it goes on where its last checkpoint was, and takes nothing twice."""

import asyncio
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import generate_latest

from agents import TrainerSettings
from agents.train import Train
from agents.training.quality import QualityStore
from agents.training.train_tally import TrainTally
from dynamic_layer import Asked, ExampleBatch, Row
from state import ArtifactStore
from streams import LogRecord, ModelAnnouncement, Record, TopicSettings, encode
from tests.dynamic_layer.worlds import SMALL, START_MS, make_examples, make_items

ITEMS = make_items()
TOPICS = TopicSettings(partitions=2)
DYNAMIC = replace(SMALL, batch_size=32, replay=replace(SMALL.replay, epochs=1.0))


class Sent:
    """Outputs that are kept."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.announcements: list[LogRecord] = []

    async def send(self, topic: str, key: bytes | None, value: bytes | None, _=None) -> None:
        self.topics.append(topic)
        if topic == TOPICS.models:
            self.announcements.append(
                Record(topic=topic, partition=0, offset=0, timestamp=0, key=key, value=value)
            )

    async def flush(self) -> None:
        pass


def today(batch: ExampleBatch) -> ExampleBatch:
    """The same examples, all of one day."""
    moved = START_MS + np.arange(len(batch))
    before = np.repeat(moved, np.diff(batch.indptr))
    return replace(batch, timestamp=moved, history_time=before - 60_000)


def records(n: int) -> list[LogRecord]:
    """Records of the examples topic, of two partitions in turn."""
    return [
        Record(
            topic=TOPICS.examples,
            partition=k % 2,
            offset=k // 2,
            timestamp=0,
            key=None,
            value=today(
                make_examples(ITEMS, 25, first_offset=25 * (k // 2), partition=k % 2, seed=k)
            ).pack(),
        )
        for k in range(n)
    ]


def process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, items=ITEMS, **more
) -> Train:
    """A trainer that has just been started on the disk of this test."""

    async def static_bundle(_self, name):
        return items if name == items.manifest["name"] else None

    monkeypatch.setattr(Train, "_static_bundle", static_bundle)
    settings = {"settle_s": 0.0, "slice_s": 0.002, "checkpoint_every_s": 2.0}
    settings |= {"prequential_per_s": 1_000.0, **more}
    return Train(
        settings=TrainerSettings(**settings),
        dynamic=DYNAMIC,
        topics=TOPICS,
        store=ArtifactStore(str(tmp_path / "store")),
        folder=tmp_path,
        outputs=Sent(),
        clock_ms=lambda: clock.ms,
    )


async def began(train: Train, items=ITEMS) -> Train:
    """What its topics tell it first."""
    await train.assigned()
    if train._static is None:
        await train._adopt(items.manifest["name"])
    return train


def taken(train: Train) -> list[tuple[int, int]]:
    found = []
    for memory in train._trainer.memories.values():
        examples = memory.take(memory.numbers())
        found += list(zip(examples.source.tolist(), examples.offset.tolist(), strict=True))
    return sorted(found)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_kills_at_random_places_lose_no_record_and_take_none_twice(
    tmp_path, monkeypatch, seed
):
    rng, clock = random.Random(seed), SimpleNamespace(ms=1_000_000)
    log = records(24)
    train = await began(process(tmp_path, monkeypatch, clock))
    kills = went_back = 0
    while True:
        place = {n: train.position(TOPICS.examples, n) or 0 for n in (0, 1)}
        coming = [r for r in log if r.offset >= place[r.partition]][: rng.randint(1, 4)]
        if not coming:
            break
        # A batch is of one partition, and may begin with what was read already.
        first = coming[0].partition
        again = [r for r in log if r.partition == first and r.offset < place[first]][-1:]
        await train.examples_came([*again, *(r for r in coming if r.partition == first)])
        await train.step()
        clock.ms += rng.randint(100, 1_500)
        if rng.random() < 0.5 and kills < 6:
            kills += 1
            before = sum(train.positions().values())
            train = await began(process(tmp_path, monkeypatch, clock))
            went_back += sum(train.positions().values()) < before
    assert kills > 2
    whole = process(tmp_path / "whole", monkeypatch, clock)
    await began(whole)
    await whole.examples_came(log)
    assert taken(train) == taken(whole)
    assert train.examples == whole.examples
    assert went_back, "some kill came between two checkpoints"


async def test_a_trainer_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock))
    await train.examples_came(records(6))
    for _ in range(200):
        await train.step()
        clock.ms += 10
        if train._cadence.published_at:
            break
    assert train._cadence.published_at
    generation = train._trainer.publish().generation
    train._trainer._generation -= 1
    await train.close()
    again = await began(process(tmp_path, monkeypatch, clock))
    assert again.positions() == train.positions()
    assert again.examples == train.examples
    saved, restored = train._trainer.saved(), again._trainer.saved()
    assert saved.values == restored.values
    assert all((saved.arrays[name] == restored.arrays[name]).all() for name in saved.arrays)
    clock.ms += 600_000
    assert not await again.step(), "nothing is new, so nothing is learned or published"
    assert again._outputs.topics == []
    assert again._trainer.publish().generation == generation


async def test_what_a_bundle_learned_from_is_in_a_checkpoint_when_it_is_announced(
    tmp_path, monkeypatch
):
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock, checkpoint_every_s=1e9))
    await train.examples_came(records(6))
    for _ in range(200):
        await train.step()
        clock.ms += 10
        if TOPICS.models in train._outputs.topics:
            break
    killed = await began(process(tmp_path, monkeypatch, clock))
    assert killed.positions() == train.positions()
    assert killed._cadence.published_at == 0, (
        "it was not announced yet when the checkpoint was written"
    )


async def test_a_static_bundle_that_was_announced_meanwhile_is_adopted(tmp_path, monkeypatch):
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock))
    await train.examples_came(records(6))
    await train.close()
    newer = make_items(132)
    newer.manifest = {"name": "static-2", "offsets": {}}
    again = process(tmp_path, monkeypatch, clock, items=newer)
    (tmp_path / "store" / "static" / "static-2").mkdir(parents=True)
    (tmp_path / "store" / "static" / "static-2" / "manifest.json").write_text("{}")
    await again.assigned()
    assert again._static == "static-2", "the first one is gone from the store"
    assert again.positions() == train.positions()
    assert taken(again) == taken(train)
    assert again._trainer.publish().manifest["static"] == "static-2"


async def test_what_is_served_stays_until_a_bundle_on_the_new_vectors_is_as_good(
    tmp_path, monkeypatch, caplog
):
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock, adopt_within_s=0.0))
    log = records(140)
    await train.examples_came(log)
    while TOPICS.models not in train._outputs.topics:
        await train.step()
        clock.ms += 100
    served = train._served
    assert len(train._trainer.holdout()) >= 256
    newer = make_items()
    newer.manifest = {"name": "static-2", "offsets": {}}
    shuffled = np.random.default_rng(1).permutation(len(newer.item_keys))
    newer.hgnn, newer.text = newer.hgnn[shuffled], newer.text[shuffled]
    monkeypatch.setattr(train, "_static_bundle", lambda _: asyncio.sleep(0, newer))
    await train._adopt("static-2")
    await train.step()
    assert "is refused" in caplog.text
    assert "the served bundle has" in caplog.text
    published, refused = QualityStore(train._store, keep_days=9).decisions()
    assert published["reasons"] == []
    assert published["served"] is None
    assert "HR@10" in refused["reasons"][0]
    assert (refused["bundle"], refused["served"]) == ("g000000002", "g000000001")
    assert refused["hr_at_10"] < 0.9 * refused["served_hr_at_10"]
    assert train._served is served
    assert train._outputs.topics.count(TOPICS.models) == 1


async def test_an_announcement_from_before_the_checkpoint_is_no_news(tmp_path, monkeypatch):
    def announced(name: str, generation: int) -> LogRecord:
        record = ModelAnnouncement(
            kind="static", name=name, url="", generation=generation, created_at=0, metrics={}
        )
        return Record(
            topic=TOPICS.models, partition=0, offset=0, timestamp=0, key=record.key,
            value=encode(record),
        )  # fmt: skip

    clock = SimpleNamespace(ms=1_000_000)
    newer = make_items(132)
    newer.manifest = {"name": "static-2", "offsets": {}}
    train = process(tmp_path, monkeypatch, clock, items=newer)
    await train.announced([announced("static-2", 2)])
    await train.examples_came(records(4))
    await train.close()
    again = process(tmp_path, monkeypatch, clock, items=newer)
    adopted = []
    monkeypatch.setattr(again, "_adopt", lambda name: adopted.append(name) or asyncio.sleep(0))
    await again.announced([announced("static-1", 1)])
    await again.announced([announced("static-2", 2)])
    assert adopted == []
    await again.announced([announced("static-3", 3)])
    assert adopted == ["static-3"]


async def test_a_record_that_is_no_batch_is_a_dead_letter_once(tmp_path, monkeypatch):
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock))
    bad = [
        Record(topic=TOPICS.examples, partition=0, offset=n, timestamp=0, key=None, value=b"?")
        for n in range(2)
    ]
    await train.examples_came(bad)
    await train.examples_came(bad)
    assert train._outputs.topics == [TOPICS.dead_letters] * 2
    assert train.position(TOPICS.examples, 0) == 2


async def test_a_disk_that_is_full_stops_no_training(tmp_path, monkeypatch, caplog):
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock))
    await train.examples_came(records(2))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(train._checkpoints, "write", full)
        clock.ms += 10_000
        await train.step()
    assert "could not be written" in caplog.text
    clock.ms += 10_000
    await train.step()
    assert (await began(process(tmp_path, monkeypatch, clock))).positions() == train.positions()


async def test_what_is_served_is_measured_on_examples_before_they_are_learned(
    tmp_path, monkeypatch
):
    clock = SimpleNamespace(ms=1_000_000)
    log = records(30)
    train = await began(process(tmp_path, monkeypatch, clock, publish_every_s=1e6))
    await train.examples_came(log[:12])
    while TOPICS.models not in train._outputs.topics:
        await train.step()
        clock.ms += 100
    announcement = train._outputs.announcements[-1]
    await train.announced([announcement])
    bundle = train._measure._table._bundle
    assert bundle is train._served, "what was just published need not be fetched"
    assert bundle.manifest["unseen_from"] == {"segue.events": {"0": 150, "1": 150}}
    asked = 0
    for batch in (log[12:20], log[20:24]):
        clock.ms += 10_000
        await train.examples_came(batch)
        await train.step()
        asked += sum(
            int((e.strong & ~e.repeat).sum())
            for e in (ExampleBatch.unpack(record.value) for record in batch)
        )
        assert train._measure.asked == asked
    # A kill: the bundle comes from the store, and what is read again is not counted twice.
    await train.close()
    clock.ms += 10_000
    await train.examples_came(log[24:26])
    train = await began(process(tmp_path, monkeypatch, clock))
    await train.announced([announcement])
    assert train._served is not None, "the next one is held against it"
    assert train._measure.asked == asked
    clock.ms += 10_000
    await train.examples_came(log[24:26])
    await train.step()
    clock.ms += 10_000
    await train.step()
    rows = [
        json.loads(line)
        for path in (tmp_path / "prequential").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert sum(row["examples"] for row in rows) == train._measure.asked > asked
    # Whoever has the store, a console, reads the same.
    stored = QualityStore(train._store, keep_days=100)
    assert [row for day in stored.days() for row in stored.rows(day)] == sorted(
        rows, key=lambda row: row["day"]
    )
    series = {
        sample.labels["model"]: sample.value
        for metric in train.tally.registry.collect()
        for sample in metric.samples
        if sample.name == "segue_prequential_examples_total"
        and sample.labels["item_type"] == "podcast"
    }
    assert series["served"] == series["popularity"] > 0


def test_the_series_of_old_generations_go():
    tally = TrainTally()
    for generation in range(40):
        tally.asked(Row(1, "podcast", generation, "default"), Asked(examples=1))
    text = generate_latest(tally.registry).decode()
    assert 'generation="39"' in text
    assert len(set(re.findall(r'generation="(\d+)"', text))) == 4


async def test_a_trainer_on_a_channel_has_names_keys_and_generations_of_its_own(
    tmp_path, monkeypatch
):
    """Beside it is the default channel's trainer, on another disk and the same store."""
    clock = SimpleNamespace(ms=1_000_000)
    store, made = ArtifactStore(str(tmp_path / "both")), tmp_path / "made"
    made.mkdir()
    for name in ("g000000007", "g000000008-next"):
        store.publish("dynamic", name, made)
    for channel, name in (("default", "g000000008"), ("next", "g000000009-next")):
        folder = tmp_path / channel
        train = process(folder, monkeypatch, clock, channel=channel, keep_bundles=1)
        train._store = store
        await began(train)
        said = ModelAnnouncement(
            kind="pinned", name="g000000007", url="", generation=7, created_at=0, metrics={},
            channel="next",
        )  # fmt: skip
        await train.announced([
            Record(topic=TOPICS.models, partition=0, offset=0, timestamp=0, key=said.key,
                   value=encode(said))
        ])  # fmt: skip
        await train.examples_came(records(20))
        while not train._outputs.announcements:
            await train.step()
            clock.ms += 100
        [record] = train._outputs.announcements
        assert record.key == (b"dynamic" if channel == "default" else b"dynamic/next")
        assert json.loads(record.value)["name"] == name
    # Each pruned its own: the seventh is pinned by the other channel.
    assert store.names("dynamic") == ["g000000007", "g000000008", "g000000009-next"]
