"""The trainer and kills: it goes on where its last checkpoint was, and takes nothing twice."""

import asyncio
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from prometheus_client import generate_latest

from agents import TrainerSettings
from agents.bundles.announcements import newest_announcements
from agents.bundles.channels import Channels
from agents.bundles.text_encoders import TextEncoders
from agents.train import Train
from agents.training.continuing import Continuity
from agents.training.examples_read import ExamplesRead
from agents.training.growing import NewItemLearning
from agents.training.quality import QualityStore
from agents.training.train_tally import TrainTally
from dynamic_layer import Asked, ExampleBatch, Judgement, Row, hashed_share
from state import ArtifactStore, StoreUnavailable, item_key
from streams import (
    AdminError,
    Held,
    Item,
    ItemCatalogue,
    LogChanged,
    LogRecord,
    ModelAnnouncement,
    Record,
    TopicIdentity,
    TopicSettings,
    encode,
)
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


def records(n: int, topic: str | None = None) -> list[LogRecord]:
    """Records of the examples topic, of two partitions in turn; topic: of the events."""
    of = {"topic": topic} if topic else {}
    return [
        Record(
            topic=TOPICS.examples,
            partition=k % 2,
            offset=k // 2,
            timestamp=0,
            key=None,
            value=replace(
                today(
                    make_examples(ITEMS, 25, first_offset=25 * (k // 2), partition=k % 2, seed=k)
                ),
                **of,
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

    monkeypatch.setattr(Continuity, "static_bundle", static_bundle)
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
        ticks_ms=lambda: clock.ms,
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
    said = newest_announcements(train._outputs.announcements)["dynamic"]
    made = train._publisher._store.manifest("dynamic", said.name)["metrics"]
    assert made["held_out_hr_at_10"] == said.metrics["held_out_hr_at_10"], "a name, one number"
    killed = await began(process(tmp_path, monkeypatch, clock))
    assert killed.positions() == train.positions()
    assert killed._cadence.published_at == 0, (
        "it was not announced yet when the checkpoint was written"
    )


async def test_a_bundle_that_cannot_be_stored_stops_no_training(tmp_path, monkeypatch):
    clock, pauses = SimpleNamespace(ms=1_000_000), []
    train = await began(process(tmp_path, monkeypatch, clock))

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    def away(*_):
        raise StoreUnavailable("the network is down")

    async def until(done) -> None:
        for _ in range(400):
            await train.step()
            clock.ms += 10
            if done():
                return
        raise AssertionError("it did not come so far")

    train._publisher._pause = pause
    await train.examples_came(records(6))
    with monkeypatch.context() as broken:
        broken.setattr(train._publisher._store, "publish", away)
        await until(lambda: unpublished(train))
    assert pauses == [1.0, 2.0]
    assert TOPICS.models not in train._outputs.topics
    await train.examples_came(records(40)[6:])
    clock.ms += 70_000
    await until(lambda: TOPICS.models in train._outputs.topics)
    assert unpublished(train) == 1


def unpublished(train: Train) -> float:
    return train.tally.registry.get_sample_value("segue_bundles_unpublished_total")


async def test_a_trainer_waits_for_the_store_in_which_its_static_bundle_is(tmp_path, monkeypatch):
    clock, pauses = SimpleNamespace(ms=1_000_000), []
    train = await began(process(tmp_path, monkeypatch, clock))
    await train.examples_came(records(6))
    await train.close()
    again = process(tmp_path, monkeypatch, clock)
    really = again._continuity._store.names

    def away(kind):
        if len(pauses) < 5:
            raise StoreUnavailable("the network is down")
        return really(kind)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(again._continuity._store, "names", away)
    monkeypatch.setattr(again._continuity, "_pause", pause)
    await again.assigned()
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert again.positions() == train.positions()


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
    served = train._publisher.served
    assert len(train._trainer.holdout()) >= 256
    newer = make_items()
    newer.manifest = {"name": "static-2", "offsets": {}}
    shuffled = np.random.default_rng(1).permutation(len(newer.item_keys))
    newer.hgnn, newer.text = newer.hgnn[shuffled], newer.text[shuffled]
    monkeypatch.setattr(train._continuity, "static_bundle", lambda _: asyncio.sleep(0, newer))
    await train._adopt("static-2")
    await train.step()
    assert "is refused" in caplog.text
    assert "the served bundle has" in caplog.text
    published, refused = QualityStore(train._publisher._store, keep_days=9).decisions()
    assert published["reasons"] == []
    assert published["served"] is None
    assert "HR@10" in refused["reasons"][0]
    assert (refused["bundle"], refused["served"]) == ("g000000002", "g000000001")
    assert refused["hr_at_10"] < 0.9 * refused["served_hr_at_10"]
    assert train._publisher.served is served
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
        broken.setattr(train._continuity._checkpoints, "write", full)
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
    assert bundle is train._publisher.served, "what was just published need not be fetched"
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
    assert train._publisher.served is not None, "the next one is held against it"
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
    stored = QualityStore(train._publisher._store, keep_days=100)
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
        train._publisher._store = train._continuity._store = store
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
        # What leaves the store is announced beside it, and that it has left.
        [record, *leaving] = train._outputs.announcements
        suffix = b"" if channel == "default" else b"/next"
        assert record.key == b"dynamic" + suffix
        assert {one.key for one in leaving} <= {b"leaving" + suffix}
        assert json.loads(record.value)["name"] == name
    # Each pruned its own: the seventh is pinned by the other channel.
    assert store.names("dynamic") == ["g000000007", "g000000008", "g000000009-next"]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_pin_that_was_not_heard_of_yet_is_not_pruned(tmp_path, monkeypatch, answers):
    """Just after a restart, or after a person pinned it; nor is anything if nobody can say."""
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock, keep_bundles=1))
    store = ArtifactStore(str(tmp_path / "store"))
    for name in ("g000000001", "g000000002"):
        (tmp_path / "made" / name).mkdir(parents=True)
        store.publish("dynamic", name, tmp_path / "made" / name)
    train._trainer._generation = 3
    said = ModelAnnouncement(
        kind="pinned", name="g000000001", url="", generation=1, created_at=0, metrics={}
    )  # fmt: skip

    async def read() -> list[LogRecord]:
        if not answers:
            raise AdminError("the broker does not answer")
        return [
            Record(topic=TOPICS.models, partition=0, offset=0, timestamp=0, key=said.key,
                   value=encode(said))
        ]  # fmt: skip

    train._bundles._read_models = read
    await train.examples_came(records(20))
    while not train._outputs.announcements:
        await train.step()
        clock.ms += 100
    older = ["g000000001"] if answers else ["g000000001", "g000000002"]
    assert store.names("dynamic") == [*older, "g000000003"]


async def test_announcements_that_come_one_by_one_end_with_the_newest(tmp_path, monkeypatch):
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock))
    served = train._publisher

    async def fetched(name, _held):
        return SimpleNamespace(generation=int(name[1:]), manifest={}, made=(0, 0))

    monkeypatch.setattr(train._measure, "fetch", fetched)
    monkeypatch.setattr(
        train._measure, "serve", lambda name, _: setattr(train._measure, "serving", name)
    )
    monkeypatch.setattr(train._skews, "serve", lambda _: None)
    monkeypatch.setattr(train._rows, "serve", lambda *_: None)
    for generation in (1, 2):
        said = ModelAnnouncement(
            kind="dynamic", name=f"g{generation:09d}", url="", generation=generation,
            created_at=0, metrics={},
        )  # fmt: skip
        await train.announced([
            Record(topic=TOPICS.models, partition=0, offset=0, timestamp=0, key=said.key,
                   value=encode(said))
        ])  # fmt: skip
        assert served.served.generation == generation


class Texts:
    """An encoder whose vectors are those of known items."""

    fingerprint, settings = "f", None

    def matching(self, _recipe):
        return self

    def encode(self, texts):
        return np.asarray(ITEMS.text[: len(texts)])


def catalogue(*items: Item) -> list[LogRecord]:
    return [
        Record(
            topic=TOPICS.catalogue, partition=0, offset=n, timestamp=0, key=i.key, value=encode(i)
        )
        for n, i in enumerate(items)
    ]  # fmt: skip


async def test_items_of_the_catalogue_are_learned_and_kept_over_adoptions_and_restarts(
    tmp_path, monkeypatch
):
    clock = SimpleNamespace(ms=1_000_000)
    new = Item(item_id="launch", item_type="podcast", title="Launch")
    known = Item(item_id="i0", item_type=ITEMS.item_types[0], title="Known")
    film = Item(item_id="film", item_type="film", title="Of a type that the towers do not know")
    key = np.array([item_key("podcast", "launch")], np.uint64)
    read = False

    def started(items=ITEMS):
        train = process(tmp_path, monkeypatch, clock, items, publish_every_s=1e6)
        train._new_items._encoders = TextEncoders(Texts)
        train.begin_when(lambda: True, lambda: read)
        return train

    train = started()
    await train.catalogue(catalogue(new, known, film))  # before there is a static bundle
    await began(train)
    assert train._trainer.knows(key).all()
    log = records(12)
    await train.examples_came(log)
    for _ in range(20):
        await train.step()
        clock.ms += 100
    assert TOPICS.models not in train._outputs.topics, "the catalogue is not read yet"
    read = True
    while TOPICS.models not in train._outputs.topics:
        await train.step()
        clock.ms += 100
    assert key[0] in train._publisher.served.item_keys
    # The next static bundle does not have it either.
    later = replace(ITEMS, manifest=ITEMS.manifest | {"name": "static-2"})

    async def static_bundle(_self, name):
        return later if name == "static-2" else ITEMS

    monkeypatch.setattr(Continuity, "static_bundle", static_bundle)
    await train._adopt("static-2")
    assert train._trainer.knows(key).all()
    await train.close()
    # A kill: the catalogue is read again from its beginning.
    train = started(later)
    await train.assigned()
    assert not train._trainer.knows(key).any()
    await train.catalogue(catalogue(new, known, film))
    clock.ms += 10_000
    await train.step()
    assert train._trainer.knows(key).all()
    deleted = msgspec.structs.replace(new, deleted=True)
    await train.catalogue(catalogue(deleted))
    assert train._new_items._launched.unknown(train._trainer) == {item_key("film", "film"): film}, (
        "entries of the static bundle and deleted ones are forgotten"
    )


async def test_the_gate_asks_what_came_after_the_bundle_was_made(tmp_path, monkeypatch):
    clock, asked = SimpleNamespace(ms=1_000_000), []

    def judged(candidate, served, held_out, *_):
        questions = held_out.newest(len(held_out))
        asked.append((candidate.generation, served is not None, questions.offset.min()))
        return Judgement(reasons=[])

    monkeypatch.setattr("agents.training.publishing.judge", judged)
    monkeypatch.setattr("agents.training.pending.COMPARED", 8)
    train = await began(
        process(tmp_path, monkeypatch, clock, settle_s=2.0, publish_every_s=0.0, min_examples=1)
    )
    log = records(60)

    async def until(generation: int, *more: LogRecord) -> None:
        while asked[-1:] == [] or asked[-1][0] < generation:
            await train.step()
            clock.ms += 100
            if train._pending is not None and train._pending.bundle.generation == generation:
                await train.examples_came(more)
                more = ()

    await train.examples_came(log[:12])
    await until(1)
    assert asked == [(1, False, 0)], "there is nothing to compare with, nor to wait for"
    await train.examples_came(log[12:20])
    at = clock.ms
    await until(2, *log[20:40])
    assert asked[-1] == (2, True, min(e for r in log[20:40] for e in held_out_of(r)))
    assert clock.ms - at >= 30_000, "of the later ones there could have been more"
    await train.examples_came(log[40:44])
    at = clock.ms
    await until(3)
    assert asked[-1] == (3, True, 0), "nothing came: earlier ones are asked"
    assert clock.ms - at < 30_000


def held_out_of(record: LogRecord) -> list[int]:
    batch = ExampleBatch.unpack(record.value)
    held = hashed_share(batch.offset, DYNAMIC.replay.holdout_share) & batch.strong
    return batch.offset[held].tolist()


def identities(of: str, parts: int = 2) -> dict[str, TopicIdentity]:
    return {TOPICS.examples: TopicIdentity(topic=TOPICS.examples, id=of, partitions=parts)}


def held(*ends: int) -> list[Held]:
    return [
        Held(topic=TOPICS.examples, partition=n, first=0, end=end) for n, end in enumerate(ends)
    ]


async def test_examples_of_a_topic_that_was_created_again_are_learned_from(tmp_path, monkeypatch):
    """Their offsets begin at 0 again, below what the checkpoint has read of the earlier topic."""
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock))
    train.read.begin(identities("first"), held(50, 50))
    await train.examples_came(records(6))
    await train.close()
    again = await began(process(tmp_path, monkeypatch, clock))
    again.read.begin(identities("first"), held(50, 50))
    assert again.positions() == train.positions() != {}
    again.read.check(identities("first"))
    with pytest.raises(LogChanged, match=r"Start the trainer again"):
        again.read.check(identities("second"))
    again.read.begin(identities("second"), held(50, 50))
    assert again.positions() == {}
    before = again.examples
    await again.examples_came(records(6, "plays@2"))
    assert again.examples == 2 * before


async def test_a_partition_that_lost_its_newest_examples_is_read_on_from_its_end(
    tmp_path, monkeypatch
):
    clock = SimpleNamespace(ms=1_000_000)
    train = await began(process(tmp_path, monkeypatch, clock))
    await train.examples_came(records(6))
    read = dict(train.positions())
    train.read.begin(identities("only"), held(1, 50))
    assert train.position(TOPICS.examples, 0) == 1 < read[TOPICS.examples, 0]
    assert train.position(TOPICS.examples, 1) == read[TOPICS.examples, 1]


def test_a_broker_that_gives_no_id_for_a_time_does_not_make_the_id_forgotten():
    read = ExamplesRead()
    for found in ("first", ""):
        read.begin(identities(found), held(50, 50))
    with pytest.raises(LogChanged, match=r"Start the trainer again"):
        read.check(identities("second"))


async def test_a_catalogue_is_prepared_before_its_records_are_taken(tmp_path, monkeypatch):
    """Taking them would ask a schema registry while the event loop waits."""
    done = []

    async def prepare(_items, records, _pause):
        done.append(("prepared", len(records)))

    def take(_items, records):
        done.append(("taken", len(records)))
        return []

    monkeypatch.setattr(NewItemLearning, "possible", True)
    monkeypatch.setattr(ItemCatalogue, "prepare", prepare)
    monkeypatch.setattr(ItemCatalogue, "take", take)
    row = Record("x", 0, 0, 0, b"k", b"{}")
    train = process(tmp_path, monkeypatch, SimpleNamespace(ms=1_000_000))
    await train.catalogue([row])
    channels = Channels(
        ArtifactStore(str(tmp_path)), tmp_path, lambda: None, lambda: 0, items=ItemCatalogue()
    )
    await channels.catalogue([row])
    assert done == [("prepared", 1), ("taken", 1)] * 2
