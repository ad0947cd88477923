"""A worker that reads impressions: counted in the state, erased with the user, never answered."""

import random

import pytest

from agents import Worker, WorkerSettings
from agents.outputs import EmbeddedOutputs
from agents.working.ahead import refuse_ahead
from agents.working.partitions import user_state
from state import ArtifactStore, StateSettings, Window, item_key
from state.dump import dump
from static_layer import TextEncoder
from streams import (
    EmbeddedLog,
    Event,
    EventRules,
    Impression,
    ShownItem,
    SourceSettings,
    TopicSettings,
    create_topics,
    decode_impressions,
    encode,
    topics,
)
from streams.erasing import erasure_value
from streams.records import Record

NOW = 1_800_000_000_000
TOPICS = TopicSettings(partitions=1)
SHOWN = SourceSettings(topic=TOPICS.impressions, format="impressions")


class OneWorker:
    """A worker of one partition that reads events and impressions."""

    def __init__(self, folder) -> None:
        self.now = NOW
        self.log = EmbeddedLog(folder / "log", clock=lambda: self.now)
        create_topics(self.log, topics(TOPICS))
        self.folder, self.lives = folder, 0
        self.worker = self.new()

    def new(self) -> Worker:
        self.lives += 1
        return Worker(
            settings=WorkerSettings(), state=StateSettings(delta_room=1 << 12), topics=TOPICS,
            rules=EventRules(), store=ArtifactStore(str(self.folder / "artifacts")),
            folder=self.folder / f"worker-{self.lives}", encoder=TextEncoder,
            outputs=EmbeddedOutputs(self.log), clock_ms=lambda: self.now, sources=(SHOWN,),
            log=self.log,
        )  # fmt: skip

    def show(self, user: str, *items: str) -> None:
        shown = [ShownItem(item_id=i, item_type="p", position=n) for n, i in enumerate(items, 1)]
        record = Impression(user_id=user, items=shown, timestamp=self.now)
        self.log.append(TOPICS.impressions, record.key, encode(record))

    def listen(self, user: str, item: str) -> None:
        event = Event(user_id=user, item_id=item, item_type="p", kind="stream", timestamp=self.now)
        self.log.append(TOPICS.events, event.key, encode(event))

    def erase(self, user: str, *, named: bool) -> None:
        value = erasure_value(self.log, user, [SHOWN]) if named else None
        self.log.append(TOPICS.events, user.encode(), value)

    async def read(self, order: list[str], worker: Worker | None = None):
        """Read the topics to their ends in this order; returns the state."""
        worker = worker or self.worker
        await worker.assigned([(topic, 0) for topic in worker.topics])
        for topic in order:
            at = worker.partitions.position(topic, 0) or 0
            while records := self.log.read(topic, 0, at, 3):
                await worker.handle(records)
                at = records[-1].offset + 1
        return worker.partitions[0]

    def close(self) -> None:
        self.worker.close()
        self.log.close()


@pytest.fixture
def one(tmp_path):
    made = OneWorker(tmp_path)
    yield made
    made.close()


BOTH = [TOPICS.events, TOPICS.impressions]


async def test_impressions_are_counted_and_ask_for_no_list(one):
    one.listen("ann", "a")
    one.show("ann", "a", "b")
    one.show("ann", "b")
    state = await one.read(BOTH)
    user = user_state(state, "ann")
    counts = dict(zip(user.shown.items.tolist(), user.shown.count.tolist(), strict=True))
    assert counts == {item_key("p", "a"): 1, item_key("p", "b"): 2}
    assert user.history_item.tolist() == [item_key("p", "a")]
    assert state.counts == {"applied": 3, "refused": 0}
    assert len(one.worker._recommend) == 1, "of ann, for the event alone"
    assert user_state(state, "bob").shown is None


async def test_what_is_shown_alone_makes_nobody_wait(one):
    one.show("ann", "a")
    await one.read(BOTH)
    assert len(one.worker._recommend) == 0


@pytest.mark.parametrize("named", [True, False])
async def test_an_erasure_covers_impressions_whichever_topic_is_read_first(one, named):
    """Those before it go, whether they were read before or after it; later ones stay."""
    one.show("ann", "old")
    one.show("bob", "old")
    one.now += 1_000
    one.erase("ann", named=named)
    one.now += 1_000
    one.show("ann", "new")
    found = []
    for order in (BOTH, BOTH[::-1]):
        worker = one.new()
        state = await one.read(order, worker)
        shown = dump(state).shown
        assert {user: [*items] for user, items in shown.items()} == {
            "ann": [item_key("p", "new")], "bob": [item_key("p", "old")],
        }  # fmt: skip
        found.append(dump(state))
        worker.close()
    assert found[0].differences(found[1]) == []


async def test_any_interleaving_gives_one_state(one):
    draw = random.Random(4)
    for _ in range(40):
        one.now += draw.randrange(86_400_000)
        user, items = draw.choice(["ann", "bob"]), draw.sample("abcdefgh", 3)
        one.show(user, *items) if draw.random() < 0.6 else one.listen(user, items[0])
    first = dump(await one.read(BOTH))
    worker = one.new()
    await worker.assigned([(topic, 0) for topic in worker.topics])
    at = dict.fromkeys(BOTH, 0)
    while left := [t for t in BOTH if at[t] < one.log.end_offset(t, 0)]:
        topic = draw.choice(left)
        records = one.log.read(topic, 0, at[topic], draw.randrange(1, 6))
        await worker.handle(records)
        at[topic] = records[-1].offset + 1
    assert first.differences(dump(worker.partitions[0])) == []
    assert sum(n for items in first.shown.values() for _, by in items.values() for _, n in by) > 60
    worker.close()


def test_a_record_far_ahead_of_the_clock_is_one_dead_letter():
    """Where the log does not vouch for the time."""
    items = [ShownItem(item_id=i, item_type="p", position=1) for i in "abc"]
    records = [
        Record("shown", 0, offset, -1, b"ann", encode(Impression(user_id="ann", items=items,
                                                                  timestamp=at)))
        for offset, at in enumerate((NOW, NOW + 90 * 86_400_000, NOW))
    ]  # fmt: skip
    rules = EventRules()
    events, letters = decode_impressions(records, rules)
    assert (len(events), letters) == (9, [])
    kept, refused = refuse_ahead(
        events, records, watermark=NOW // 86_400_000, window=Window(), rules=rules, now_ms=NOW
    )
    assert kept.offset.tolist() == [0, 0, 0, 2, 2, 2]
    assert [letter.source.offset for letter in refused] == [1]
