"""Who and what is new, on a real broker with a worker process."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents import announce
from agents.outputs import ProducerOutputs
from dynamic_layer import Trainer
from evaluation.reproduction.models import CatalogueItems
from segue.roles import make_encoder
from segue.searching import search_view
from segue.settings import Settings, write_settings
from simulation.lexicon import topics as lexicon
from state import item_key
from streams import (
    Event,
    EventRules,
    Item,
    KafkaSettings,
    Recommendation,
    Request,
    TopicSettings,
    User,
    create_topics,
    decode,
    encode,
    topics,
)
from tests.dynamic_layer.worlds import DAY_MS, SMALL, START_MS, make_examples
from tests.waiting import PATIENCE_S, end_of

ROOT = Path(__file__).parents[2]
TOPICS, EACH = (0, 5, 10, 16, 31, 35), 8
DISCOVER = "discover-podcast"


def about(topic: int, number: int) -> str:
    """Words of a topic, others with each number."""
    words = lexicon()[TOPICS[topic]].words["en"]
    return " ".join(words[(number + 3 * place) % len(words)] for place in range(5))


def podcasts() -> list[Item]:
    """Items of six topics in turns; the number of an item tells its topic."""
    return [
        Item(item_id=f"p{n}", item_type="podcast", title=about(n % 6, n // 6))
        for n in range(len(TOPICS) * EACH)
    ]


def queries() -> list[Item]:
    """One query of each topic, as a static job makes items of them: the text is the title."""
    texts = [about(topic, 0).rsplit(" ", 2)[0].lower() for topic in range(6)]
    return [Item(item_id=text, item_type="query", title=text) for text in texts]


def topics_of(found: Recommendation) -> list[int]:
    return [int(item.item_id[1:]) % 6 for item in found.items if item.item_id[1:].isdigit()]


class Served(NamedTuple):
    """Settings of a worker process that answers, and why it ended, should it have."""

    settings: Settings
    ended: Callable[[], str]


class Outside:
    """A producer, and a consumer of the recommendations, as anybody has them."""

    def __init__(self, served: Served, producer: Any, consumer: Any) -> None:
        self.settings, self._ended = served
        self._producer, self._consumer = producer, consumer
        self._lists: list[Recommendation] = []

    async def write(self, topic: str, record: Any, *, delete: bool = False) -> int:
        """Write a record, or that it is gone; returns its offset."""
        name = getattr(self.settings.topics, topic)
        value = None if delete else encode(record)
        placed = await self._producer.send_and_wait(name, key=record.key, value=value)
        return int(placed.offset)

    async def listen(self, user: str, item_id: str, item_type: str = "podcast") -> int:
        event = Event(
            user_id=user, item_id=item_id, item_type=item_type, kind="stream",
            timestamp=time.time_ns() // 1_000_000,
        )  # fmt: skip
        return await self.write("events", event)

    async def first(
        self,
        wanted: Callable[[Recommendation], bool],
        ask: Callable[[], Awaitable[Any]],
        *,
        every: float = 0.3,
    ) -> Recommendation:
        """The first list that is wanted; `ask` is awaited at once and every so many seconds."""
        deadline, asked, seen = time.monotonic() + PATIENCE_S, 0.0, 0
        while (now := time.monotonic()) < deadline:
            if now - asked >= every:
                asked = now
                await ask()
            for records in (await self._consumer.getmany(timeout_ms=20)).values():
                self._lists += [decode(Recommendation, record.value) for record in records]
            assert not (why := self._ended()), f"no list, for the worker ended: {why}"
            while self._lists:
                seen += 1
                if wanted(found := self._lists.pop(0)):
                    return found
        raise AssertionError(f"none of {seen} lists was the one awaited for {PATIENCE_S:g} s")


@asynccontextmanager
async def outside_of(served: Served) -> AsyncIterator[Outside]:
    settings = served.settings
    kafka = settings.kafka.for_aiokafka()
    async with (
        AIOKafkaProducer(**kafka) as producer,
        AIOKafkaConsumer(enable_auto_commit=False, **kafka) as consumer,
    ):
        name = settings.topics.recommendations
        places = [TopicPartition(name, n) for n in range(settings.topics.partitions)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        yield Outside(served, producer, consumer)


async def publish(settings: Settings, items: list[Item]) -> None:
    """Announce a bundle that was trained for a moment on listeners of one topic each."""
    encoder = make_encoder(settings)
    keys = np.array([item_key(item.item_type, item.item_id) for item in items], np.uint64)
    none = [None] * len(items)
    static = CatalogueItems(
        item_keys=keys, item_ids=[item.item_id for item in items],
        item_types=[item.item_type for item in items], languages=none, genres=none,
        titles=[item.title for item in items], text=encoder.encode([i.title or "" for i in items]),
        hgnn=np.zeros((len(items), 1), np.float32),
    )  # fmt: skip
    encoder.close()
    now = time.time_ns() // 1_000_000
    world: Any = SimpleNamespace(item_keys=keys, topic=np.arange(len(items)) % 6)  # of queries, too
    examples = make_examples(world, 1_500)
    shift = now - DAY_MS - START_MS - 30 * DAY_MS
    examples = replace(
        examples, timestamp=examples.timestamp + shift, history_time=examples.history_time + shift
    )
    trainer = Trainer(static, replace(SMALL, use_hgnn=False), seed=1, clock_ms=lambda: now)
    trainer.add(examples)
    trainer.train()
    async with ProducerOutputs(settings.kafka) as outputs:
        await announce(
            trainer.publish(), "g1", {}, store=settings.store(),
            scratch=settings.folder / "publish", outputs=outputs, topics=settings.topics,
            now_ms=now, keep=1,
        )  # fmt: skip


@pytest.fixture(scope="module")
def served(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    import asyncio  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("newcomers")
    settings = Settings(
        data=str(folder),
        kafka=KafkaSettings(bootstrap_servers=broker),
        topics=TopicSettings(prefix="newcomers", partitions=2),
    )
    settings = replace(
        settings,
        worker=replace(settings.worker, group="newcomers"),
        events=EventRules(text_types=("query",)),
    )
    write_settings(settings, folder / "segue.toml")
    create_topics(settings.kafka, topics(settings.topics))
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "segue", "worker", "--config", str(folder / "segue.toml")],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        found = Served(settings, end_of(worker, (folder / "worker.log").read_text))
        asyncio.run(_until_answered(found))
        yield found
        assert worker.poll() is None, (folder / "worker.log").read_text()[-3000:]
    finally:
        worker.terminate()
        worker.wait(PATIENCE_S)


async def _until_answered(served: Served) -> None:
    items = podcasts()
    await publish(served.settings, items + queries())
    async with outside_of(served) as outside:
        for item in items:
            await outside.write("catalogue", item)

        async def ask() -> None:
            await outside.listen("first", "p0")

        await outside.first(lambda found: found.user_id == "first", ask, every=2)


@pytest.mark.integration
async def test_a_new_item_reaches_a_fan_without_training_and_goes_when_deleted(
    served: Served,
) -> None:
    new = Item(item_id="new", item_type="podcast", title=f"{about(4, 1)} {about(4, 4)}")

    def holds(found: Recommendation) -> bool:
        return any(item.item_id == "new" for item in found.items)

    async with outside_of(served) as outside:
        for number in (4, 10, 16):
            await outside.listen("fan", f"p{number}")

        async def listens() -> None:
            await outside.listen("fan", "p4")

        await outside.write("catalogue", new)
        shown = await outside.first(
            lambda found: found.user_id == "fan" and found.list == DISCOVER and holds(found),
            listens,
        )
        assert shown.generation == 1

        await outside.write("catalogue", new, delete=True)
        await outside.first(
            lambda found: found.user_id == "fan" and found.list == DISCOVER and not holds(found),
            listens,
        )
        # From then on nobody is shown it, whoever is nearest to it.
        last, after = await outside.listen("fan", "p22"), []

        def knows(found: Recommendation) -> bool:
            after.append(found)
            return found.source is not None and found.source.offset >= last

        await outside.first(knows, listens)
        assert not any(holds(found) for found in after)


@pytest.mark.integration
async def test_one_event_makes_a_list_personal(served: Served) -> None:
    lists = {}
    async with outside_of(served) as outside:
        for topic in (1, 3):
            user = f"listener-{topic}"

            async def listens(user: str = user, topic: int = topic) -> None:
                await outside.listen(user, f"p{topic}")

            def own(found: Recommendation, user: str = user) -> bool:
                return found.user_id == user and found.list == DISCOVER

            lists[topic] = await outside.first(own, listens)
    for topic, found in lists.items():
        # Seven others of the topic are there for ten places.
        assert topics_of(found).count(topic) >= 6
        assert topics_of(found)[:5] == [topic] * 5


@pytest.mark.integration
async def test_who_types_a_query_is_understood_by_it_and_others_are_suggested_it(
    served: Served,
) -> None:
    query = queries()[5].item_id
    async with outside_of(served) as outside:

        async def types() -> None:
            await outside.listen("typist", f"  {query.upper()}  ", "query")

        async def listens() -> None:
            await outside.listen("reader", "p5")

        def of(user: str, name: str) -> Callable[[Recommendation], bool]:
            return lambda found: found.user_id == user and found.list == name

        found = await outside.first(of("typist", DISCOVER), types)
        assert topics_of(found)[:5] == [5] * 5
        # Typed in another way it is the same item, and the typist has had it.
        suggested = await outside.first(of("typist", "discover-query"), types)
        assert query not in [item.item_id for item in suggested.items]
        suggested = await outside.first(of("reader", "discover-query"), listens)
        assert suggested.items[0].item_id == query

    words = about(5, 3)
    found_items = (await search_view(served.settings, words, k=9))["items"]
    assert {item["item_type"] for item in found_items} == {"podcast", "query"}
    ids = [item["item_id"] for item in found_items]
    own = [name for name in ids if name == query or (name[1:].isdigit() and int(name[1:]) % 6 == 5)]
    assert len(own) >= 7
    only = await search_view(served.settings, words, ["query"], 3)
    assert only["items"][0]["title"] == query
    with pytest.raises(ValueError, match=r"types of podcast, query; got film"):
        await search_view(served.settings, words, ["film"])


@pytest.mark.integration
async def test_who_has_no_event_gets_what_the_market_has_now_new_items_included(
    served: Served,
) -> None:
    hits = {"DE": Item(item_id="hit", item_type="podcast", title=about(2, 2))}
    async with outside_of(served) as outside:
        for country in ("DE", "US"):
            for number in range(5):
                user = User(user_id=f"{country}-{number}", country=country)
                await outside.write("users", user)
            await outside.write("users", User(user_id=f"newborn-{country}", country=country))
        await outside.write("catalogue", hits["DE"])

        async def played_and_asked() -> None:
            for number in range(5):
                for _ in range(20):
                    await outside.listen(f"DE-{number}", "hit")
                    await outside.listen(f"US-{number}", "p47")
            for country in ("DE", "US"):
                await outside.write("requests", Request(user_id=f"newborn-{country}"))

        for country, item_id in (("DE", "hit"), ("US", "p47")):

            def leads(
                found: Recommendation, user: str = f"newborn-{country}", first: str = item_id
            ) -> bool:
                return (
                    found.user_id == user
                    and found.list == DISCOVER
                    and found.items[0].item_id == first
                )

            found = await outside.first(leads, played_and_asked, every=1)
            assert found.items[0].score > found.items[1].score
