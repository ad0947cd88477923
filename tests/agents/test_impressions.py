"""A worker that reads impressions: counted in the state, erased with the user, never answered."""

import itertools
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from agents import Worker, WorkerSettings
from agents.demand import live_popularity, shown_counts, take_demand
from agents.outputs import EmbeddedOutputs
from agents.working.ahead import refuse_ahead
from agents.working.partitions import user_state
from dynamic_layer import (
    DemandRecord,
    DynamicBundle,
    ExampleBatch,
    ItemNames,
    Ranking,
    Recommender,
)
from state import ArtifactStore, StateSettings, Window, item_key
from static_layer import TextEncoder
from streams import (
    AssumedImpression,
    EmbeddedLog,
    Event,
    EventRules,
    Impression,
    ShownItem,
    SourceSettings,
    TopicSettings,
    create_topics,
    decode,
    decode_impressions,
    encode,
    topics,
)
from streams.log_record import Record
from streams.source_topics import erasure_value
from tests.dynamic_layer.headed import headed
from tests.state.dumps import dump

NOW = 1_800_000_000_000
TOPICS = TopicSettings(partitions=1)
STATE = StateSettings(delta_room=1 << 12, impressions=True)
SHOWN = SourceSettings(topic=TOPICS.impressions, format="impressions")


class OneWorker:
    """A worker of one partition that reads events and impressions."""

    def __init__(self, folder) -> None:
        self.now = NOW
        self.log = EmbeddedLog(folder / "log", clock=lambda: self.now)
        create_topics(self.log, topics(TOPICS))
        self.folder, self.lives = folder, 0
        self.worker = self.new()

    def new(self, **settings) -> Worker:
        self.lives += 1
        return Worker(
            settings=WorkerSettings(**settings), state=STATE, topics=TOPICS,
            rules=EventRules(), store=ArtifactStore(str(self.folder / "artifacts")),
            folder=self.folder / f"worker-{self.lives}", encoder=TextEncoder,
            outputs=EmbeddedOutputs(self.log), clock_ms=lambda: self.now, sources=(SHOWN,),
            log=self.log,
        )  # fmt: skip

    def show(self, user: str, *items: str, item_type: str = "p") -> None:
        places = enumerate(items, 1)
        shown = [ShownItem(item_id=i, item_type=item_type, position=n) for n, i in places]
        record = Impression(user_id=user, items=shown, timestamp=self.now)
        self.log.append(TOPICS.impressions, record.key, encode(record))

    def listen(self, user: str, item: str, item_type: str = "p") -> None:
        event = Event(
            user_id=user, item_id=item, item_type=item_type, kind="stream", timestamp=self.now
        )
        self.log.append(TOPICS.events, event.key, encode(event))

    def erase(self, user: str, *, named: bool) -> None:
        value = erasure_value(self.log, user, [SHOWN]) if named else None
        self.log.append(TOPICS.events, user.encode(), value)

    def told(self, *items: str) -> list[tuple[int, int]]:
        """How often items were shown and taken, by what all workers are told."""
        counts, live = shown_counts(STATE), live_popularity(STATE)
        take_demand(live, self.log.read(TOPICS.demand, 0, 0, 10_000), counts)
        shown, taken = counts.of(np.array([item_key("p", i) for i in items], np.uint64))
        return [*zip(shown.tolist(), taken.tolist(), strict=True)]

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


async def test_examples_hold_what_the_log_says_was_shown_before_their_day(one):
    """Of users whose history is whole; replayed from the log, record by record."""
    worker = one.new(example_history=3, whole_share=0.5)
    worker.models.static_generation = 1
    worker.models.recommender = Recommender(headed().bundle)
    draw, day, log = random.Random(7), STATE.window.bucket_ms, []
    for _ in range(400):
        one.now += draw.randrange(day // 3)
        user, items = draw.choice(["ann", "bob"]), draw.sample("abcdefgh", 3)
        what = draw.choices(["show", "listen", "erase"], [10, 8, 1])[0]
        log.append((what, user, items, one.now))
        match what:
            case "show":
                one.show(user, *items)
            case "listen":
                one.listen(user, items[0])
            case "erase":
                one.erase(user, named=True)
                one.now += 1  # the log keeps an order by time between its topics
        await one.read(BOTH, worker)
    events = [number for number, row in enumerate(log) if row[0] != "show"]
    records = one.log.read(TOPICS.examples, 0, 0, 10_000)
    seen, cut = 0, 0
    for record in records:
        batch = ExampleBatch.unpack(record.value)
        assert (record.value[4:6] == b"\x01\x00") == (batch.shown is None), "as earlier versions"
        for row, offset in enumerate(batch.offset.tolist()):
            number = events[offset]
            what, user, _, time = log[number]
            assert what == "listen"
            past = [one for one in log[:number] if one[1] == user]
            erased = [at for at, one in enumerate(past) if one[0] == "erase"]
            past = past[max(erased, default=-1) + 1 :]
            expected = {}
            if (
                len({items[0] for kind, _, items, _ in past if kind == "listen"})
                <= np.diff(batch.indptr)[row]
            ):
                for kind, _, items, at in past:
                    end = (at // day + 1) * day
                    for item in items if kind == "show" and end <= time else ():
                        key = item_key("p", item)
                        expected[key] = (expected.get(key, (0,))[0] + 1, end)
                seen += bool(expected)
            else:
                cut += 1
            found = {}
            if batch.shown is not None:
                own = slice(batch.shown.indptr[row], batch.shown.indptr[row + 1])
                columns = (batch.shown.item, batch.shown.count, batch.shown.end)
                rows = zip(*(column[own].tolist() for column in columns), strict=True)
                found = {key: (count, end) for key, count, end in rows}
            assert found == expected
    assert seen > 50
    assert cut > 20
    worker.close()


def of_earlier_version() -> DynamicBundle:
    """A bundle of a trainer that does not know of impressions in examples."""
    bundle = headed().bundle
    settings = bundle.manifest["settings"]
    ranking = {k: v for k, v in settings["ranking"].items() if k != "shown_half_lives_days"}
    return replace(bundle, manifest=bundle.manifest | {"settings": settings | {"ranking": ranking}})


@pytest.mark.parametrize("bundle", [None, of_earlier_version])
async def test_examples_have_no_impressions_while_a_trainer_may_not_read_them(one, bundle):
    """So workers and trainers may be upgraded in any order."""
    worker = one.new(whole_share=1.0)
    worker.models.static_generation = 1
    worker.models.recommender = Recommender(bundle()) if bundle else None
    one.show("ann", "a", "b")
    one.now += STATE.window.bucket_ms
    one.listen("ann", "c")
    await one.read(BOTH, worker)
    worker.models.recommender = Recommender(headed().bundle)
    one.listen("ann", "d")
    await one.read(BOTH, worker)
    before, after = one.log.read(TOPICS.examples, 0, 0, 10)
    assert before.value[4:6] == b"\x01\x00"
    assert ExampleBatch.unpack(before.value).shown is None
    assert ExampleBatch.unpack(after.value).shown is not None
    worker.close()


async def test_all_workers_are_told_what_was_shown_and_taken(one):
    one.show("ann", "a", "b")
    one.show("bob", "b", "a")
    one.now += 60_000
    one.listen("bob", "b")
    one.show("ann", "a")
    await one.read(BOTH)
    await one.worker.commit()
    assert one.told("a", "b", "unknown") == [(2, 0), (2, 1), (0, 0)]
    # The next day, a worker that is killed between telling and its commit, and an erasure.
    one.now += 86_400_000
    one.show("ann", "b")
    one.listen("ann", "b")
    await one.read(BOTH)
    one.worker.partitions[0].commit = dict
    await one.worker.commit()
    one.worker.close()
    one.worker = one.new()
    await one.read(BOTH)
    await one.worker.commit()
    assert one.told("a", "b") == [(2, 0), (3, 2)]
    one.erase("bob", named=True)
    await one.read(BOTH)
    await one.worker.commit()
    assert one.told("a", "b") == [(1, 0), (2, 1)]
    # What a worker hears is what its lists are made with.
    await one.worker.models.demand(one.log.read(TOPICS.demand, 0, 0, 10_000))
    heard = one.worker.models._shown.of(np.array([item_key("p", "b")], np.uint64))
    assert [count.tolist() for count in heard] == [[2], [1]]


class Lists:
    """A stand-in for a bundle: everybody gets the same two items."""

    def __init__(self, worker: Worker) -> None:
        worker.models.recommender = SimpleNamespace(
            has_head=False, bundle=SimpleNamespace(learns_from_impressions=True)
        )
        worker.models.recommend = self.recommend

    async def recommend(self, users, lists, now_ms, *, fewer=1):
        names = ItemNames(ids=["a", "b"], types=["p", "p"])
        made = Ranking(names=names, rows=[1, 0], scores=np.ones(2, np.float32))
        return 1, [{"mix": made, "other": made} for _ in users]


async def test_a_list_that_counts_as_shown_is_an_impression_once_a_day(one):
    worker = one.new(shown_lists=("mix",), answer_every_ms=0)
    Lists(worker)
    one.listen("ann", "x")
    state = await one.read(BOTH, worker)
    for _ in range(3):
        one.now += 1_000
        one.listen("ann", "b")
        await one.read(BOTH, worker)
        await worker.tick()
    state = await one.read(BOTH, worker)
    written = one.log.read(TOPICS.impressions, 0, 0, 100)
    assert len(written) == 3
    assert {decode(AssumedImpression, record.value).list_id for record in written} == {"mix"}
    found = state.shown("ann")
    assert dict(zip(found.items.tolist(), found.count.tolist(), strict=True)) == {
        item_key("p", "b"): 1, item_key("p", "a"): 1
    }  # fmt: skip
    await worker.commit()
    assert one.told("b", "a")[1] == (1, 0)
    worker.close()


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]])
async def test_a_list_that_was_made_before_an_erasure_was_read_leaves_no_impression(one, order):
    """It comes to the log behind the erasure."""
    one.listen("ann", "x")
    worker = one.new(shown_lists=("mix",), answer_every_ms=0)
    Lists(worker)
    await one.read(BOTH, worker)
    one.now += 1_000
    one.erase("ann", named=True)
    one.now += 1_000
    await worker.tick()
    assert one.log.end_offset(TOPICS.impressions, 0) == 1
    state = await one.read(order, worker)
    assert len(state.shown("ann")) == 0
    assert dump(state).showings == {}
    # One that is made after it counts.
    one.listen("ann", "x")
    await one.read(BOTH, worker)
    one.now += 600_000
    await worker.tick()
    assert len((await one.read(BOTH, worker)).shown("ann")) == 2
    again = one.new()
    assert dump(await one.read(BOTH[::-1], again)).differences(dump(state)) == []
    worker.close(), again.close()


def test_counts_leave_with_the_window_and_come_in_any_order():
    day = STATE.window.bucket_ms
    setting = replace(STATE, window=Window(buckets=2))
    cells = [(3, 10, 4, "shown"), (3, 12, 5, "shown"), (3, 12, 2, "taken"), (4, 13, 7, "shown")]
    packed = [
        DemandRecord(
            partition=0, bucket=bucket, bucket_ms=day, records=records,
            keys=np.array([9, 9], np.uint64), markets=np.array([1, 2]),
            counts=np.array([count - 1, 1]), counts_of=of,
        ).pack()
        for bucket, records, count, of in cells
    ]  # fmt: skip
    for order in itertools.permutations(packed):
        counts, live = shown_counts(setting), live_popularity(setting)
        take_demand(live, [Record("demand", 0, 0, NOW, b"", value) for value in order], counts)
        assert [n.tolist() for n in counts.of(np.array([9, 1], np.uint64))] == [[12, 0], [2, 0]]
        assert live.rows() == 0
        later = DemandRecord.unpack(packed[3])
        assert counts.put(replace(later, bucket=5))
        assert [n.tolist() for n in counts.of(np.array([9], np.uint64))] == [[14], [0]]
        assert not counts.put(replace(later, bucket=3))


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
