"""The bundle that a worker serves: fetched aside, warmed up, swapped by one reference."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from agents.bundles.announcements import newest_announcements
from agents.bundles.announcing import fetch_dynamic
from agents.demand import take_demand
from dynamic_layer import (
    CorruptBundle,
    ListSettings,
    LivePopularity,
    Ranking,
    Recommender,
    UserState,
    default_lists,
)
from state import ArtifactStore, CorruptArtifact, item_key
from static_layer import TextEncoder, catalogue_texts
from streams import DEFAULT_CHANNEL, Item, LogRecord, ModelAnnouncement, decode_items

__all__ = ["Models"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: New items that are embedded at once.
FRESH_BATCH = 256


class Models:
    """Follows the models topic and the catalogue; holds the recommender in use.

    A bundle that is torn or corrupt is reported and not loaded; the one before stays. Items whose
    catalogue entry is newer than the bundle are embedded here (HGNN without edges, item tower)
    and can be recommended within seconds; deleted ones stop at once.
    """

    def __init__(
        self,
        store: ArtifactStore,
        scratch: Path,
        encoder: Callable[[], TextEncoder],
        clock_ms: Callable[[], int],
        live: LivePopularity | None = None,
        *,
        use_head: bool = True,
        channel: str = DEFAULT_CHANNEL,
    ) -> None:
        """Fetch bundles into `scratch`; `encoder` is made when the first new item comes.

        live: sum of the partitions' counts; use_head: rank by a bundle's head if it has one;
        channel: whose announcements are followed.
        """
        self.channel = channel
        self._store = store
        self._scratch = scratch
        self._make_encoder = encoder
        self._live, self._use_head = live, use_head
        self._encoder: TextEncoder | None = None
        self._warm = False
        self._clock_ms = clock_ms
        self._swap = asyncio.Lock()
        # A recommender is not made for two threads: whoever uses or changes it holds this.
        self._using = asyncio.Lock()
        self._waiting: dict[int, Item] = {}
        self._deleted: set[int] = set()
        # Names of bundles: the trainer's newest, one that a person chose instead, the one served.
        self._trained: str | None = None
        self._pinned: str | None = None
        self._wanted: str | None = None
        self.static_generation: int | None = None
        self._graph_ends: dict[str, dict[int, int]] = {}
        self.recommender: Recommender | None = None
        self.serving: str | None = None  # name of its bundle

    @property
    def pinned(self) -> str | None:
        """Name of the bundle that is to be served whatever the trainer publishes."""
        return self._pinned

    @property
    def newest(self) -> str | None:
        """Name of the bundle that the trainer published last."""
        return self._trained

    @property
    def generation(self) -> int | None:
        """Generation of the bundle in use."""
        return self.recommender.bundle.generation if self.recommender else None

    @property
    def has_head(self) -> bool:
        """Whether the bundle in use has a head, and it is used."""
        return self.recommender is not None and self.recommender.has_head

    def learns_from(self, topic: str, partition: int, offset: int) -> bool:
        """Tell whether an event at this place may be trained on: it came after a graph was made."""
        ends = self._graph_ends.get(topic, {})
        return self.static_generation is not None and offset >= ends.get(partition, 0)

    async def recommend(
        self,
        users: Sequence[UserState],
        lists: Callable[[Sequence[str]], Sequence[ListSettings]],
        now_ms: int,
        *,
        hurry: bool = False,
    ) -> tuple[int, list[dict[str, Ranking]]] | None:
        """Return the generation and each user's rankings; None while no bundle is loaded.

        lists: item types -> lists to make; hurry: without the ranking head.
        """
        return await self.ask(
            lambda recommender: recommender.recommend(
                users, lists(recommender.bundle.types), now_ms, hurry=hurry
            )
        )

    async def ask(self, question: Callable[[Recommender], T]) -> tuple[int, T] | None:
        """Return the generation and what a question to the recommender in use came to.

        It is asked in another thread, one question at a time. None while no bundle is loaded.
        """
        async with self._using:
            recommender = self.recommender
            if recommender is None:
                return None
            answer = await asyncio.to_thread(question, recommender)
            return recommender.bundle.generation, answer

    async def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the text vectors f32 [n, dt] of texts, in the space of new items' texts."""
        return await asyncio.to_thread(self._texts, texts)

    async def demand(self, records: Sequence[LogRecord]) -> None:
        """Take records of the demand topic, of any partition."""
        if self._live is not None:
            take_demand(self._live, records)

    async def announced(self, records: Sequence[LogRecord]) -> None:
        """Take the newest announcement of each kind among records of the models topic.

        A pinned bundle is served, whatever the trainer publishes, until its record is deleted;
        then the trainer's newest is.
        """
        news = self.note(records)
        if static := news.get("static"):
            self.static_generation = static.generation
            self._graph_ends = await asyncio.to_thread(self._ends_of, static.name)
            logger.info("examples are made since static generation %d", static.generation)
        await self.follow()

    def note(self, records: Sequence[LogRecord]) -> dict[str, ModelAnnouncement | None]:
        """Take note of which bundle is to be served, and load nothing; returns what is new."""
        news = newest_announcements(records, self.channel)
        if "pinned" in news:
            self._pinned = pin.name if (pin := news["pinned"]) else None
        if dynamic := news.get("dynamic"):
            self._trained = dynamic.name
        return news

    @property
    def wanted(self) -> str | None:
        """Name of the bundle that is to be served."""
        return self._pinned or self._trained

    async def follow(self) -> None:
        """Serve the bundle that is to be served, if it is not."""
        wanted = self.wanted
        if wanted is not None and wanted != self._wanted:
            self._wanted = wanted if await self.load(wanted) else None

    async def drop(self) -> None:
        """Serve nothing any more: this channel's users are served what another one has loaded."""
        async with self._swap, self._using:
            self._wanted, self.recommender, self.serving = None, None, None

    async def load(self, name: str) -> bool:
        """Load and serve a dynamic bundle of the artifact store; returns whether it is served."""
        try:
            recommender = await asyncio.to_thread(self._fetch, name)
            if not self._warm:
                # Loading the encoder takes seconds in which nobody should be waiting for answers.
                await asyncio.to_thread(lambda: self._texts(["warm up"]))
                self._warm = True
        except (CorruptArtifact, CorruptBundle) as error:
            logger.error("bundle %s is not served: %s", name, error)
            return False
        async with self._swap:
            self._waiting = {
                key: item
                for key, item in self._waiting.items()
                if not recommender.knows(np.array([key], np.uint64))[0]
            }
            await self._remove(recommender, self._deleted)
            await self._add(recommender, self._waiting)
            async with self._using:
                self.recommender, self.serving = recommender, name
        logger.info("serving generation %d", recommender.bundle.generation)
        return True

    async def catalogue(self, records: Sequence[LogRecord]) -> None:
        """Take catalogue entries of any partition: new items come, deleted ones go."""
        items = {item_key(i.item_type, i.item_id): i for i in decode_items(records)[0].records}
        async with self._swap:
            current = self.recommender
            gone = {key for key, item in items.items() if item.deleted}
            live = {key: item for key, item in items.items() if not item.deleted}
            self._deleted = (self._deleted | gone) - live.keys()
            for key in gone:
                self._waiting.pop(key, None)
            if current is None:
                self._waiting.update(live)
                return
            known = dict(
                zip(live, current.knows(np.array(list(live), np.uint64)).tolist(), strict=True)
            )
            new = {key: item for key, item in live.items() if not known[key]}
            self._waiting.update(new)
            await self._remove(current, gone)
            await self._add(current, new)

    def _ends_of(self, static: str) -> dict[str, dict[int, int]]:
        """Topic -> partition -> next offset of a graph; empty if that cannot be read."""
        try:
            offsets = self._store.manifest("static", static).get("offsets", {})
        except CorruptArtifact as error:
            # The trainer asks again, of each example; here it only saves writing them.
            logger.warning("where the graph of %s ends is not known: %s", static, error)
            return {}
        return {
            topic: {int(partition): offset for partition, offset in ends.items()}
            for topic, ends in offsets.items()
        }

    def _fetch(self, name: str) -> Recommender:
        bundle = fetch_dynamic(self._store, name, self._scratch)
        recommender = Recommender(bundle, self._live, use_head=self._use_head)
        nobody = np.zeros(0, np.int64)
        user = UserState(
            user_id="",
            history_item=bundle.item_keys[:1],
            history_time=nobody[:0] if not len(bundle.item_keys) else np.zeros(1, np.int64),
            history_strong=np.ones(min(1, len(bundle.item_keys)), bool),
        )
        recommender.recommend([user], default_lists(bundle.types), self._clock_ms())
        return recommender

    async def _remove(self, recommender: Recommender, keys: set[int]) -> None:
        if keys:
            async with self._using:
                recommender.remove_items(np.array(sorted(keys), np.uint64))

    async def _add(self, recommender: Recommender, items: dict[int, Item]) -> None:
        """Embed items and add them; only the adding keeps users waiting."""
        keys = list(items)
        for start in range(0, len(keys), FRESH_BATCH):
            chosen = keys[start : start + FRESH_BATCH]
            part = [items[key] for key in chosen]
            text = await asyncio.to_thread(self._vectors, part)
            async with self._using:
                await asyncio.to_thread(
                    recommender.add_items,
                    item_keys=np.array(chosen, np.uint64),
                    item_ids=[item.item_id for item in part],
                    item_types=[item.item_type for item in part],
                    languages=[item.language for item in part],
                    genres=[item.genres for item in part],
                    text=text,
                )

    def _vectors(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        frame = pl.DataFrame(
            {
                "item_type": [item.item_type for item in items],
                "title": [item.title for item in items],
                "description": [item.description for item in items],
                "genres": [item.genres for item in items],
            },
            schema_overrides={
                "title": pl.String(),
                "description": pl.String(),
                "genres": pl.List(pl.String()),
            },
        )
        return self._texts(catalogue_texts(frame)[0])

    def _texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if self._encoder is None:
            self._encoder = self._make_encoder()
        return self._encoder.encode(texts)
