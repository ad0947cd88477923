"""Channels: who is served which bundle, from whom, and what the records say of it."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs

from agents import Worker, WorkerSettings
from agents.bundles.announcements import newest_announcements
from agents.bundles.announcing import announce
from agents.bundles.names import bundle_name
from agents.experiments.arms import ArmSettings, CanarySettings, ExperimentSettings
from agents.outputs import EmbeddedOutputs
from dynamic_layer import DynamicBundle, ExampleBatch, ItemNames, Ranking
from state import ArtifactStore, StateSettings
from streams import (
    ArmShare,
    Item,
    LogRecord,
    ModelAnnouncement,
    Recommendation,
    Record,
    announcement_key,
    decode,
    encode,
)
from tests.agents.worlds import NOW, TOPICS, Bench, bench
from tests.console.worlds import WordVectors, make_bundles, small_items
from tests.waiting import until

NEXT = "next"
ARMS = ExperimentSettings(
    salt="s",
    arms=(
        ArmSettings(name="old", share=0.4),
        ArmSettings(name="new", share=0.4, channel=NEXT),
        ArmSettings(name="cage", share=0.2, channel=NEXT, canary=CanarySettings(first=0.1)),
    ),
)
ITEMS = small_items()


@pytest.fixture(scope="module")
def bundles() -> list[DynamicBundle]:
    """Generations 1 to 3; the last two are alike."""
    first, second = make_bundles(ITEMS, 2)
    return [first, second, replaced(second, 3)]


class Channelled(Bench):
    """A worker with an experiment, and announcements by hand."""

    def new_worker(self, name: str) -> Worker:
        return Worker(
            settings=self.settings,
            state=StateSettings(delta_room=1 << 12),
            topics=TOPICS,
            rules=self.rules,
            store=self.store,
            folder=self.folder / name,
            encoder=WordVectors,
            outputs=EmbeddedOutputs(self.log),
            clock_ms=self.clock,
            ticks_ms=self.clock,
            experiments=ARMS,
        )

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(str(self.folder / "artifacts"))

    async def publish(self, bundle: DynamicBundle, channel: str = "default", **more) -> str:
        """Announce a bundle as a trainer does; the worker hears of it."""
        name = bundle_name(bundle.generation, channel)
        first = self.log.end_offset(TOPICS.models, 0)
        await announce(
            bundle, name, {}, store=self.store, scratch=self.folder / "made",
            outputs=EmbeddedOutputs(self.log), topics=TOPICS, now_ms=NOW, keep=2,
            channel=channel, **more,
        )  # fmt: skip
        await self.worker.channels.announced(self.log.read(TOPICS.models, 0, first))
        return name

    async def say(self, record: ModelAnnouncement | ArmShare) -> None:
        await self.worker.channels.announced([as_record(record)])

    async def pin(self, name: str, channel: str) -> None:
        await self.say(
            ModelAnnouncement(
                kind="pinned", name=name, url="", generation=1, created_at=NOW, metrics={},
                channel=channel,
            )
        )  # fmt: skip

    def generation(self, channel: str) -> int | None:
        return self.worker.channels.serving(channel).generation


def as_record(record, value: bytes | None = None) -> LogRecord:
    return Record(
        topic=TOPICS.models, partition=0, offset=0, timestamp=NOW, key=record.key,
        value=value or encode(record),
    )  # fmt: skip


def share(of: float, salt: str = "s") -> ArmShare:
    return ArmShare(
        arm="cage", salt=salt, share=of, state="growing", started_at=NOW, changed_at=NOW,
        after_generation=0, reasons=["a test"],
    )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Channelled]:
    found = Channelled(tmp_path)
    try:
        yield found
    finally:
        found.worker.close()
        found.log.close()


async def test_records_carry_the_arm_and_the_generation_that_its_channel_serves(world, bundles):
    await world.publish(bundles[0])
    await world.publish(bundles[1], NEXT)
    await world.say(share(0.1))
    await world.worker.assigned(world.keyed)
    users = [f"user-{n}" for n in range(40)]
    for user in users:
        row = len(user) + int(user[5:])
        world.listen(user, ITEMS.item_ids[row], item_type=ITEMS.item_types[row])
    await world.drain()
    while await world.worker.tick():
        pass
    found = [decode(Recommendation, value) for value in world.records(TOPICS.recommendations)]
    arms = world.worker.channels.arms
    assert {answer.user_id for answer in found} == set(users)
    assert {answer.arm for answer in found} == {"old", "new", "cage"}
    for answer in found:
        assert answer.arm == arms.of(answer.user_id)
        assert answer.generation == (1 if answer.arm == "old" else 2)
        assert answer.items
    counted = world.worker.tally.registry.get_sample_value
    for arm in ("old", "new", "cage"):
        written = counted("segue_arm_recommendations_total", {"arm": arm})
        assert written == sum(answer.arm == arm for answer in found)


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Channelled]:
    """A worker that answers twenty at once, with fewer candidates while as many more wait."""
    found = Channelled(tmp_path, settings=WorkerSettings(answer_users=20, head_waiting=20))
    try:
        yield found
    finally:
        found.worker.close()
        found.log.close()


async def test_users_with_fewer_candidates_are_counted_by_arm(hasty):
    world = hasty

    async def lists(users, *_, fewer):
        empty = Ranking(names=ItemNames(), rows=[], scores=np.zeros(0), by_head=fewer == 1)
        return 1, [{"mix": empty} for _ in users]

    bundle = SimpleNamespace(generation=1)
    for channel in ("default", NEXT):
        models = world.worker.channels._models[channel]
        models.recommend = lists
        models.recommender = SimpleNamespace(has_head=channel == NEXT, bundle=bundle)
    world.worker.channels._turn(NEXT, NEXT)
    await world.worker.assigned(world.keyed)
    for number in range(60):
        world.listen(f"user-{number}", "i1")
    await world.drain()
    while await world.worker.tick():
        pass
    said = [decode(Recommendation, value) for value in world.records(TOPICS.recommendations)]
    without = Counter(one.arm for one in said if not one.by_head)
    assert set(without) == {"old", "new"}, "no share of the canary was announced"
    counted = world.worker.tally.registry.get_sample_value
    metric = "segue_arm_answers_shortened_total"
    assert counted(metric, {"arm": "new"}) == without["new"]
    assert counted("segue_answers_shortened_total") == without["new"]
    for arm in ("old", "cage"):
        assert counted(metric, {"arm": arm}) == 0, "its bundle has no head"


async def test_examples_say_the_users_arm_and_nothing_else_of_who_they_are(world, bundles):
    world.worker.models.static_generation = 1
    await world.worker.assigned(world.keyed)
    for n in range(30):
        world.listen(f"user-{n}", "i1")
    await world.drain()
    batches = [ExampleBatch.unpack(value) for value in world.records(TOPICS.examples)]
    arms = world.worker.channels.arms
    told = sorted(arm for batch in batches for arm in batch.arm)
    assert told == sorted(arms.of(f"user-{n}") for n in range(30))
    assert not any(b"user-" in value for value in world.records(TOPICS.examples))


async def test_a_channel_without_a_bundle_serves_the_default_ones_and_says_so(world, bundles):
    await world.publish(bundles[0])
    lacks = world.worker.tally.registry.get_sample_value
    assert world.generation(NEXT) == 1
    assert lacks("segue_channel_lacks_bundle", {"channel": NEXT}) == 1
    await world.publish(bundles[1], NEXT)
    assert (world.generation("default"), world.generation(NEXT)) == (1, 2)
    assert lacks("segue_channel_lacks_bundle", {"channel": NEXT}) == 0
    assert lacks("segue_channel_served_generation", {"channel": NEXT}) == 2


async def test_a_torn_bundle_leaves_a_channel_what_it_had(world, bundles):
    await world.publish(bundles[0])
    await world.publish(bundles[1], NEXT)
    await world.pin("g000000099-next", NEXT)
    assert (world.generation("default"), world.generation(NEXT)) == (1, 2)


async def test_a_bundle_that_two_channels_want_is_loaded_once(world, bundles):
    channels = world.worker.channels
    first = await world.publish(bundles[0])
    await world.publish(bundles[1], NEXT)
    own = channels._models[NEXT]
    assert own.recommender is not None
    await world.pin(first, NEXT)
    assert channels.serving(NEXT) is channels.default
    assert own.recommender is None, "its own is let go"
    # The pinned bundle stays with the channel when the default one moves on.
    await world.publish(bundles[2])
    assert (world.generation("default"), world.generation(NEXT)) == (3, 1)
    served = {channels.serving(name).serving for name in ("default", NEXT)}
    assert served == {bundle_name(3), first}


async def test_who_leaves_anothers_bundle_is_never_served_what_that_one_moves_on_to(world, bundles):
    first = await world.publish(bundles[0])
    await world.pin(first, NEXT)
    seen: list[int | None] = []
    load = world.worker.models.load

    async def watched(name: str) -> bool:
        done = await load(name)
        seen.append(world.generation(NEXT))
        return done

    world.worker.models.load = watched
    await world.publish(bundles[1])
    assert seen == [1]


async def test_a_pin_holds_for_its_channel_alone(world, bundles):
    await world.publish(bundles[0])
    held = await world.publish(bundles[1], NEXT)
    await world.pin(held, NEXT)
    await world.publish(bundles[2], NEXT)
    await world.publish(bundles[2])
    assert (world.generation("default"), world.generation(NEXT)) == (3, 2)
    key = announcement_key("pinned", NEXT)
    lifted = Record(
        topic=TOPICS.models, partition=0, offset=9, timestamp=NOW, key=key, value=None
    )  # fmt: skip
    await world.worker.channels.announced([lifted])
    assert world.generation(NEXT) == 3


async def test_a_worker_that_starts_without_its_pinned_bundle_serves_the_newest(world, bundles):
    held = await world.publish(bundles[0])
    newest = await world.publish(bundles[1])
    world.store.delete("dynamic", held)
    channels = world.new_worker("another").channels
    pin = ModelAnnouncement(
        kind="pinned", name=held, url="", generation=1, created_at=NOW, metrics={}
    )
    await channels.announced([as_record(pin), *world.log.read(TOPICS.models, 0, 0)])
    assert channels.default.serving == newest
    assert channels.default.wanted == held, "it is tried again with the next announcement"
    await world.publish(bundles[0], wanted=lambda: asyncio.sleep(0, [held]))
    await channels.announced([as_record(pin)])
    assert channels.default.serving == held


async def test_pruning_leaves_what_another_channel_serves(world, bundles):
    names = [await world.publish(replaced(bundles[0], n), NEXT) for n in (1, 2)]
    for n in (1, 2, 3):
        await world.publish(replaced(bundles[0], n), wanted=lambda: asyncio.sleep(0, names))
    assert world.store.names("dynamic") == [
        "g000000001-next", "g000000002", "g000000002-next", "g000000003",
    ]  # fmt: skip
    await world.publish(replaced(bundles[0], 3), NEXT, wanted=lambda: asyncio.sleep(0, names[:1]))
    assert names[0] in world.store.names("dynamic"), "somebody wants it"
    assert names[1] in world.store.names("dynamic"), "the last two of a channel stay"


def replaced(bundle: DynamicBundle, generation: int) -> DynamicBundle:
    return replace(bundle, manifest=bundle.manifest | {"generation": generation})


async def test_canaries_shares_are_those_announced_of_this_experiment(world):
    arms = world.worker.channels.arms
    assert arms.share("cage") == 0
    await world.say(share(0.15))
    assert arms.share("cage") == pytest.approx(0.15)
    assert arms.share("old") == pytest.approx(0.45)
    await world.say(share(0.2, salt="of another one"))
    assert arms.share("cage") == 0
    shown = world.worker.tally.registry.get_sample_value
    assert shown("segue_arm_share_ratio", {"arm": "old"}) == pytest.approx(0.6)


async def test_takedowns_do_not_wait_for_items_that_are_embedded(world, bundles, monkeypatch):
    """Neither those of the same batch, in any channel, nor of later ones, also of new items."""
    channels, words = world.worker.channels, WordVectors.encode
    await world.publish(bundles[0])
    await world.publish(bundles[1], NEXT)
    embedding, embedded = threading.Event(), threading.Event()

    def encode_slowly(self, texts):
        embedding.set()
        assert embedded.wait(30)
        return words(self, texts)

    monkeypatch.setattr(WordVectors, "encode", encode_slowly)
    new = Item(item_id="new", item_type=ITEMS.item_types[0], title="new")
    known = [
        Item(item_id=name, item_type=kind)
        for name, kind in zip(ITEMS.item_ids[:2], ITEMS.item_types[:2], strict=True)
    ]

    def entry(offset: int, item: Item, *, deleted: bool) -> LogRecord:
        said = structs.replace(item, deleted=deleted)
        return Record(
            topic=TOPICS.catalogue, partition=0, offset=offset, timestamp=NOW, key=said.key,
            value=encode(said),
        )  # fmt: skip

    batch = [entry(0, new, deleted=False), entry(1, known[0], deleted=True)]
    served = [channels.following(channel).recommender for channel in ("default", NEXT)]
    before = [len(one._index) for one in served]
    bringing = asyncio.create_task(channels.keep_bringing())
    try:
        # Batches of one topic come one after the other: a reader waits until the first is taken.
        async with asyncio.timeout(30):
            await channels.catalogue(batch)
        assert await asyncio.to_thread(embedding.wait, 30)
        assert not channels.brought
        assert [len(one._index) for one in served] == [size - 1 for size in before]
        await channels.catalogue([entry(2, known[1], deleted=True), entry(3, new, deleted=True)])
        assert [len(one._index) for one in served] == [size - 2 for size in before]
        embedded.set()
        await until(lambda: channels.brought, "the end of the embedding")
    finally:
        embedded.set()
        bringing.cancel()
        await asyncio.gather(bringing, return_exceptions=True)
    assert [len(one._index) for one in served] == [size - 2 for size in before]


async def test_a_takedown_counts_in_all_channels_while_one_makes_lists(world, bundles):
    channels = world.worker.channels
    await world.publish(bundles[0])
    await world.publish(bundles[1], NEXT)
    first, other = channels.default, channels.following(NEXT)
    size = len(other.recommender._index)
    gone = Item(item_id=ITEMS.item_ids[0], item_type=ITEMS.item_types[0], deleted=True)
    record = Record(
        topic=TOPICS.catalogue, partition=0, offset=0, timestamp=NOW, key=gone.key,
        value=encode(gone),
    )  # fmt: skip
    async with first._using:  # as while lists are made
        taking = asyncio.create_task(channels.catalogue([record]))
        await until(lambda: channels.policies.in_force.columns.version, "the takedown")
        _, held = await other.ask(lambda recommender: len(recommender._index))
    assert held == size - 1
    await taking
    assert len(first.recommender._index) == size - 1


async def test_keys_of_later_versions_say_nothing(world, bundles):
    unknown = Record(
        topic=TOPICS.models, partition=0, offset=0, timestamp=NOW, key=b"moods/x", value=b"{}"
    )
    await world.worker.channels.announced([unknown])
    assert newest_announcements([unknown]) == {}


async def test_without_an_experiment_records_and_examples_are_as_they_were(tmp_path):
    said = ModelAnnouncement(
        kind="dynamic", name="g1", url="u", generation=1, created_at=1, metrics={}
    )
    assert encode(said) == (
        b'{"kind":"dynamic","name":"g1","url":"u","generation":1,"created_at":1,"metrics":{}}'
    )
    answer = Recommendation(user_id="ann", list="mix", items=[], generation=1, created_at=1)
    assert b"arm" not in encode(answer)
    with bench(tmp_path / "b") as b:
        b.worker.models.static_generation = 1
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        await b.drain()
        [packed] = [value for value in b.records(TOPICS.examples) if value]
        assert packed[4:6] == b"\x01\x00", "the version that earlier trainers read"
        assert ExampleBatch.unpack(packed).arm is None
