"""What a crash run is about: its settings, its models, and a writer that does not rest."""

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents import TrainerSettings, WorkerSettings, announce
from agents.bundles.names import bundle_name
from agents.outputs import ProducerOutputs
from console import ConsoleSettings
from dynamic_layer import DynamicBundle, GateSettings, Trainer
from segue.roles import make_encoder
from segue.settings import Settings
from simulation import faults
from state import StateSettings
from static_layer import StaticBundle, StaticSettings, TextSettings
from static_layer.bundle import FORMAT, item_frame
from static_layer.text_cache import VectorCache
from streams import (
    DEFAULT_CHANNEL,
    Event,
    Item,
    KafkaSettings,
    SourceSettings,
    TopicSettings,
    User,
    encode,
)
from streams.log_record import now_ms
from tests.dynamic_layer.worlds import SMALL, Items, make_examples, make_items

__all__ = [
    "ROW_FLAGS", "Writer", "crash_settings", "make_world", "publish_models", "state_topics",
    "static_bundle",
]  # fmt: skip

DAY_MS = 86_400_000
FIRST = "g000000001"
FIRST_OF: Mapping[str, int] = {DEFAULT_CHANNEL: 1}
ITEMS, USERS = 400, 400
EXAMPLES = 2_000
#: The trainer sends changed rows often, and bundles less often than `crash_settings` says.
ROW_FLAGS = (
    "trainer.rows_every_steps=3", "trainer.rows_within_s=0.5", "trainer.rows_threshold=0.02",
    "trainer.publish_every_s=4.0",
)  # fmt: skip
#: Records per second, and how long the writer rests between two helpings.
RATE, PAUSE_S = 80, 0.1
REMEMBERED = 2_000
#: Share of records that are written again, are bad, are about a user, about an item.
AGAIN, BAD, ABOUT_USER, ABOUT_ITEM = 0.06, 0.02, 0.02, 0.01


def crash_settings(
    folder: Path, address: str, brokers: int = 1, console: ConsoleSettings | None = None
) -> Settings:
    """Settings that put many commits, checkpoints and rebalances into a short run."""
    return Settings(
        data=str(folder),
        artifacts=str(folder / "artifacts"),
        kafka=KafkaSettings(bootstrap_servers=address),
        topics=TopicSettings(partitions=4, replication=brokers),
        sources=(SourceSettings(topic=TopicSettings().impressions, format="impressions"),),
        console=console or ConsoleSettings(),
        # Small buffers: write-ahead logs and table files change hands often.
        state=StateSettings(
            write_buffer_bytes=1 << 20, block_cache_bytes=4 << 20, delta_room=1 << 14
        ),
        static=StaticSettings(text=TextSettings(cache=str(folder / "text-vectors.db"))),
        # Swaps all the time; how good a bundle is, is no concern of this run.
        dynamic=replace(SMALL, gate=GateSettings(max_loss=1.0, min_coverage=0.0)),
        trainer=TrainerSettings(
            slice_s=0.1,
            settle_s=0.5,
            publish_every_s=2.0,
            min_examples=20,
            checkpoint_every_s=1.0,
            keep_bundles=3,
            threads=1,
        ),
        worker=WorkerSettings(
            batch=64,
            commit_every_ms=50,
            checkpoint_every_s=2.0,
            session_timeout_s=2.0,
            rebalance_timeout_s=20.0,
        ),
    )


def state_topics(settings: Settings) -> tuple[str, ...]:
    """Topics that workers keep state of."""
    names = settings.topics
    return names.catalogue, names.users, names.events, *(one.topic for one in settings.sources)


def make_world(seed: int) -> Items:
    """Return the items of the run."""
    return make_items(ITEMS, seed=seed)


async def publish_models(
    settings: Settings, items: Items, seed: int, first: Mapping[str, int] = FIRST_OF
) -> None:
    """Publish and announce a static bundle, and two-towers trained for some seconds on it.

    Workers answer with them at once, and make examples; trainers go on with bundles of their own.
    first: number of the first bundle of each channel.
    """
    static = static_bundle(items)
    made: list[tuple[StaticBundle | DynamicBundle, str, str]] = [
        (static, static.name, DEFAULT_CHANNEL)
    ]
    for channel, generation in first.items():
        trainer = Trainer(
            static, settings.dynamic, seed=seed, first_generation=generation, clock_ms=now_ms
        )
        trainer.add(make_examples(items, EXAMPLES, seed=seed))
        await asyncio.to_thread(trainer.train)
        made.append((trainer.publish(), bundle_name(generation, channel), channel))
    encoder = make_encoder(settings)
    # The text with which workers warm up: with it known, none of them loads the text model.
    cache = VectorCache(Path(settings.static.text.cache))
    cache.add({encoder.key("warm up"): np.zeros(1, np.float32)})
    cache.close()
    encoder.close()
    async with ProducerOutputs(settings.kafka) as outputs:
        for bundle, name, channel in made:
            await announce(
                bundle, name, {}, store=settings.store(), scratch=settings.folder / "scratch",
                outputs=outputs, topics=settings.topics, now_ms=now_ms(), keep=1, channel=channel,
            )  # fmt: skip


def static_bundle(items: Items) -> StaticBundle:
    """Return the items as what a static job would have made of an empty state."""
    order = np.argsort(items.item_keys)
    table = pl.DataFrame(
        {
            "item_key": items.item_keys,
            "item_id": items.item_ids,
            "item_type": items.item_types,
            "title": items.titles,
            "language": items.languages,
            "genres": items.genres,
        }
    )[order]
    manifest = {
        "format": FORMAT, "name": FIRST, "generation": 1, "created_at": now_ms(), "offsets": {},
    }  # fmt: skip
    n = len(order)
    return StaticBundle(
        item_frame(table, np.zeros(n, np.int64), np.ones(n, np.bool_)),
        items.text[order],
        items.hgnn[order],
        items.model,
        manifest,
    )


class Writer:
    """Writes events, users and catalogue entries until told to stop: some twice, some bad.

    What is written follows from the seed, when it is written does not. It may write a record twice
    where a broker goes away; the log says what was written, nobody else.
    """

    def __init__(self, settings: Settings, items: Items, seed: int, rate: int = RATE) -> None:
        """Write to the topics of `settings`; rate: records a second."""
        self._rate = rate
        self._settings = settings
        self._items = items
        self._draw = random.Random(f"{seed}/writer")
        self._recent: deque[tuple[str, bytes | None, bytes]] = deque(maxlen=REMEMBERED)
        self._repeat = 0
        self.stopping = asyncio.Event()

    def repeat(self, records: int) -> int:
        """Have the newest records rewritten, in their order; returns how many."""
        self._repeat = min(records, len(self._recent))
        return self._repeat

    async def run(self) -> None:
        """Write until `stopping` is set, and wait for what is on its way."""
        kafka = self._settings.kafka.for_aiokafka()
        async with AIOKafkaProducer(**kafka, acks="all", linger_ms=5) as producer:
            topics = self._settings.topics
            for row in range(len(self._items.item_ids)):
                await self._send(producer, topics.catalogue, *self._item(row))
            while not self.stopping.is_set():
                if self._repeat:
                    again, self._repeat = list(self._recent)[-self._repeat :], 0
                    for record in again:
                        await self._send(producer, *record)
                for _ in range(int(self._rate * PAUSE_S)):
                    record = self.next_record()
                    self._recent.append(record)
                    await self._send(producer, *record)
                await asyncio.sleep(PAUSE_S)
            await producer.flush()

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, key: bytes | None, value: bytes
    ) -> None:
        try:
            placed = await producer.send(topic, value=value, key=key)
        except KafkaError:
            return  # the broker is away, and the record is not in the log: nobody will miss it
        placed.add_done_callback(lambda sent: sent.cancelled() or sent.exception())

    def next_record(self) -> tuple[str, bytes | None, bytes]:
        """Draw a record: topic, key, value."""
        topics, dice = self._settings.topics, self._draw.random()
        if dice < AGAIN and self._recent:
            return self._draw.choice(self._recent)
        dice -= AGAIN
        if dice < BAD:
            number = self._draw.randrange(8)
            *_, bad = faults(
                number + 1, now_ms(), item_type="podcast",
                seed=self._draw.randrange(1 << 30), huge_bytes=100_000,
            )  # fmt: skip
            return topics.events, bad.key, bad.value
        dice -= BAD
        if dice < ABOUT_USER:
            user = User(user_id=self._user(), country=self._draw.choice(("SE", "DE", "US")))
            return topics.users, user.key, encode(user)
        dice -= ABOUT_USER
        if dice < ABOUT_ITEM:
            return topics.catalogue, *self._item(self._draw.randrange(len(self._items.item_ids)))
        row = int(len(self._items.item_ids) * self._draw.random() ** 2)
        event = Event(
            user_id=self._user(),
            item_id=self._items.item_ids[row],
            item_type=self._items.item_types[row],
            kind=self._draw.choices(("stream", "follow", "preview"), (8, 1, 1))[0],
            timestamp=now_ms() - self._lateness(),
        )
        return topics.events, event.key, encode(event)

    def _user(self) -> str:
        return f"user-{int(USERS * self._draw.random() ** 2):04d}"

    def _lateness(self) -> int:
        """Most events come at once, some days late, a few behind the window."""
        dice = self._draw.random()
        if dice < 0.8:
            return 0
        days = self._draw.uniform(0, 20) if dice < 0.98 else self._draw.uniform(60, 120)
        return int(days * DAY_MS)

    def _item(self, row: int) -> tuple[bytes, bytes]:
        item = Item(
            item_id=self._items.item_ids[row],
            item_type=self._items.item_types[row],
            title=f"Title {row}, edition {self._draw.randrange(1_000)}",
        )
        return item.key, encode(item)
