"""A console on the embedded log: items, listeners, two bundles, and a real server in a thread."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from agents.bundles.names import bundle_name
from agents.training.quality import Decision, QualityStore
from console import ConsoleSettings, TokenSettings
from console.settings import RIGHTS
from dynamic_layer import Asked, DynamicBundle, Row, Trainer
from dynamic_layer.measure.prequential import _date, _line
from segue.serving_console import open_console, server_config
from segue.settings import Settings
from state import StateSettings
from streams import (
    DEFAULT_CHANNEL,
    ActionSettings,
    DeadLetter,
    EmbeddedLog,
    Event,
    EventRules,
    Item,
    ModelAnnouncement,
    Reason,
    Recommendation,
    RecommendedItem,
    Source,
    SourceSettings,
    TopicSettings,
    User,
    create_topics,
    encode,
    topics,
)
from tests.dynamic_layer.worlds import DAY_MS, SMALL, TEXT, Items, make_examples, make_items
from tests.waiting import PATIENCE_S

NOW = 1_700_000_000_000 + 31 * DAY_MS
SEER, OWNER, STRANGER, SHOP = "see-people", "do-all", "nobody", "public-shop"
HEADERS = {"Authorization": f"Bearer {OWNER}"}


def _token(name: str, *rights: Any) -> TokenSettings:
    return TokenSettings(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), rights=rights)


class WordVectors:
    """Text vectors of the small world's width: the words' own, drawn by their hashes, added up."""

    fingerprint = "words"

    def encode(self, texts: list[str]) -> np.ndarray:
        rows = [sum(map(self._word, text.split()), np.zeros(TEXT)) for text in texts]
        norms = [max(np.linalg.norm(row), 1e-9) for row in rows]
        return np.array([r / n for r, n in zip(rows, norms, strict=True)], np.float32)

    @staticmethod
    def _word(word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return np.random.default_rng(seed).normal(size=TEXT)


@dataclass
class World:
    """What there is before the console starts."""

    folder: Path
    settings: Settings
    items: Items
    bundles: list[DynamicBundle]
    log: EmbeddedLog
    clock: Callable[[], int] = lambda: NOW
    users: list[str] = field(default_factory=list)

    def listen(self, user: str, *rows: int, kind: str = "stream", at: int = NOW) -> Source:
        """Append events of a user on items by row; returns the place of the last one."""
        for row in rows:
            event = Event(
                user_id=user, item_id=self.items.item_ids[row],
                item_type=self.items.item_types[row], kind=kind, timestamp=at,
            )  # fmt: skip
            topic = self.settings.topics.events
            partition, offset = self.log.append(topic, event.key, encode(event))
        return Source(topic=topic, partition=partition, offset=offset)

    def announce(
        self, bundle: DynamicBundle, channel: str = DEFAULT_CHANNEL, generation: int | None = None
    ) -> None:
        """Publish a bundle on a channel, under its own number or another, and say so."""
        generation = generation or bundle.generation
        name = bundle_name(generation, channel)
        folder = self.folder / name
        folder.mkdir()
        bundle.save(folder)
        store = self.settings.store()
        store.publish("dynamic", name, folder)
        record = ModelAnnouncement(
            kind="dynamic", name=name, url=store.url, generation=generation, created_at=NOW,
            metrics={"held_out_hr_at_10": 0.25, "examples": 6_000.0}, channel=channel,
        )  # fmt: skip
        self.log.append(self.settings.topics.models, record.key, encode(record))

    def measured(self, days: int, generations: int = 2) -> list[Row]:
        """Store what a trainer measured, the last day being today; returns the rows' names."""
        files, names = [], []
        for day in range(NOW // DAY_MS - days + 1, NOW // DAY_MS + 1):
            rows = [
                Row(day, item_type, generation, "default")
                for generation in range(1, generations + 1)
                for item_type in ("audiobook", "podcast")
            ]
            asked = {
                row: Asked(
                    examples=200, reciprocal_ranks=20.0,
                    hits=40.0 + day % 7 + row.generation + 12 * (row.item_type == "podcast"),
                    popularity_hits=30.0 - 6 * (row.item_type == "podcast"),
                    popularity_reciprocal_ranks=12.0,
                )
                for row in rows
            }  # fmt: skip
            files.append(self.folder / f"{_date(day)}.jsonl")
            files[-1].write_text("".join(_line(row, asked[row]) for row in rows))
            names += rows
        QualityStore(self.settings.store(), keep_days=100).put_days(files)
        return names

    def decided(self, generation: int, *reasons: str) -> None:
        """Store what the gate said of a bundle, as a trainer does."""
        quality = QualityStore(self.settings.store(), keep_days=100)
        quality.decided(decision(generation, *reasons))

    def answer(self, user: str, source: Source, generation: int) -> None:
        """Write an answer as a worker does."""
        record = Recommendation(
            user_id=user, list="mix", generation=generation, created_at=NOW, source=source,
            items=[RecommendedItem(item_id="i1", item_type="podcast", score=1.0)],
        )  # fmt: skip
        self.log.append(self.settings.topics.recommendations, record.key, encode(record))

    def refuse(self, reason: Reason, detail: str, payload: str) -> None:
        """Write a dead letter as a worker does."""
        source = Source(topic=self.settings.topics.events, partition=0, offset=0)
        letter = DeadLetter(
            reason=reason, detail=detail, source=source, payload=payload, encoding="utf-8",
            payload_bytes=len(payload),
        )  # fmt: skip
        self.log.append(self.settings.topics.dead_letters, letter.key, encode(letter))


def decision(generation: int, *reasons: str) -> Decision:
    """What the gate might say of a bundle."""
    return Decision(
        at=NOW, bundle=f"g{generation:09d}", generation=generation, static="static-1",
        reasons=list(reasons), held_out=2_048, served="g000000001", hr_at_10=0.21,
        served_hr_at_10=0.25,
    )  # fmt: skip


def make_bundles(items: Items, generations: int = 2) -> list[DynamicBundle]:
    trainer = Trainer(items, SMALL, seed=7, clock_ms=lambda: NOW)
    trainer.add(make_examples(items, 3_000))
    made = []
    for _ in range(generations):
        trainer.train(max_steps=25)
        made.append(trainer.publish())
    return made


def make_world(folder: Path, items: Items, bundles: list[DynamicBundle], **console: Any) -> World:
    """Twenty listeners, each of one topic; every item is in the catalogue."""
    tokens = (
        _token(SEER, "people"),
        _token(OWNER, *RIGHTS),
        _token(STRANGER),
        replace(_token(SHOP, "events"), public=True, user_prefix="anon-"),
    )
    settings = Settings(
        data=str(folder),
        topics=TopicSettings(partitions=2),
        events=EventRules(
            text_types=("query",),
            actions=(ActionSettings(kind="dislike", sign="negative"),),
        ),
        state=StateSettings(delta_room=1 << 12),
        sources=(SourceSettings(topic="segue.impressions", format="impressions"),),
        console=ConsoleSettings(port=0, tokens=tokens, **{"rate_per_s": 0.0, **console}),
    )
    log = EmbeddedLog(folder / "log", clock=lambda: NOW)
    create_topics(log, topics(settings.topics))
    world = World(folder=folder, settings=settings, items=items, bundles=bundles, log=log)
    for row, (item_type, item_id) in enumerate(zip(items.item_types, items.item_ids, strict=True)):
        item = Item(
            item_id=item_id, item_type=item_type, title=f"Title {row}",
            description=f"A story about topic {items.topic[row]}",
        )  # fmt: skip
        log.append(settings.topics.catalogue, item.key, encode(item))
    for number in range(20):
        user = f"user-{number:02d}"
        world.users.append(user)
        person = User(user_id=user, country=("DE", "US")[number % 2], birth_year=1980)
        log.append(settings.topics.users, person.key, encode(person))
        liked = np.flatnonzero(items.topic == number % 6)
        for day in range(3):
            world.listen(user, int(liked[(number + day) % len(liked)]), at=NOW - (3 - day) * DAY_MS)
    return world


@dataclass
class Served:
    """A console that listens."""

    address: str
    world: World
    loop: asyncio.AbstractEventLoop
    app: Any

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=PATIENCE_S, **more)


@contextmanager
def served(world: World) -> Iterator[Served]:
    """Serve a world on a free port, by a real server with a loop of its own."""
    started: dict[str, Any] = {}
    listening, ending = threading.Event(), threading.Event()

    async def serve() -> None:
        async with open_console(
            world.settings, "c", world.log, world.clock, encoder=WordVectors()
        ) as (app, following):
            config = server_config(world.settings.console, app)
            config.timeout_graceful_shutdown = 1
            server = uvicorn.Server(config)
            task = asyncio.ensure_future(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            started["served"] = Served(
                f"http://127.0.0.1:{port}", world, asyncio.get_running_loop(), app
            )
            listening.set()
            while not ending.is_set() and not following.done():
                await asyncio.sleep(0.02)
            server.should_exit = True
            await task
            if following.done():
                following.result()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            started["error"] = error
        finally:
            listening.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    listening.wait(PATIENCE_S)
    try:
        if "served" not in started:
            raise started.get("error") or TimeoutError("the console did not start in 60 s")
        yield started["served"]
    finally:
        ending.set()
        thread.join(PATIENCE_S)
    if "error" in started:
        raise started["error"]


def small_items() -> Items:
    return make_items()
