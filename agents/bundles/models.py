"""The bundle that a worker serves: fetched and warmed up in the background, then swapped."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from agents.bundles.announcements import newest_announcements
from agents.bundles.announcing import fetch_dynamic
from agents.bundles.launched import Launched, encoded
from agents.bundles.rows import FollowedRows
from agents.bundles.text_encoders import TextEncoders
from agents.demand import take_demand
from agents.patience import UNTIL_THERE, Pause, patiently
from dynamic_layer import (
    BundleRows,
    CorruptBundle,
    InForce,
    ListSettings,
    LivePopularity,
    Ranking,
    Recommender,
    ShownCounts,
    UserState,
    answered,
    default_lists,
)
from state import ArtifactStore, CorruptArtifact
from static_layer import TextEncoder, TextModelError
from streams import DEFAULT_CHANNEL, Item, LogRecord, ModelAnnouncement

__all__ = ["Models"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Models:
    """Follows the models topic and the catalogue; holds the recommender in use.

    A corrupt bundle is reported and not loaded; the previous one stays. Items whose
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
        shown: ShownCounts | None = None,
        use_head: bool = True,
        channel: str = DEFAULT_CHANNEL,
        in_force: InForce | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Fetch bundles into `scratch`; `encoder` is made when the first bundle comes.

        live, shown: sums of the partitions' counts; use_head: rank by a bundle's head if there is
        one; channel: whose announcements are followed; in_force: policies of lists; pause: waits
        for so many seconds between two attempts on the artifact store.
        """
        self._pause = pause
        self.channel = channel
        self._store = store
        self._scratch = scratch
        self._encoders = TextEncoders(encoder)
        self._live, self._shown = live, shown
        self._use_head, self._in_force = use_head, in_force
        self._encoder: TextEncoder | None = None  # of the bundle in use
        self._clock_ms = clock_ms
        self._swap = asyncio.Lock()
        # A recommender is not made for two threads: each use or change of it holds this.
        self._using = asyncio.Lock()
        self._launched = Launched()
        # Keys of items that were deleted and are still to be removed.
        self._leaving: set[int] = set()
        self.rows = FollowedRows(channel)
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
        """Name of the pinned bundle."""
        return self._pinned

    @property
    def newest(self) -> str | None:
        """Name of the bundle that the trainer published last."""
        return self._trained

    @property
    def generation(self) -> int | None:
        """Generation of the current bundle."""
        return self.recommender.bundle.generation if self.recommender else None

    @property
    def has_head(self) -> bool:
        """Whether the bundle in use has a head, and it is used."""
        return self.recommender is not None and self.recommender.has_head

    def learns_from(self, topic: str, partition: int, offset: int) -> bool:
        """Whether an event at this place can be trained on: it is later than a graph.

        topic: by its `log_name`, as in examples.
        """
        ends = self._graph_ends.get(topic, {})
        return self.static_generation is not None and offset >= ends.get(partition, 0)

    async def recommend(
        self,
        users: Sequence[UserState],
        lists: Callable[[Sequence[str]], Sequence[ListSettings]],
        now_ms: int,
        *,
        fewer: int = 1,
    ) -> tuple[int, list[dict[str, Ranking]]] | None:
        """Return the generation and each user's rankings; None while no bundle is loaded.

        lists: item types -> lists to make; fewer: see `Recommender.recommend`.
        """
        return await self.ask(
            lambda recommender: answered(
                recommender, users, lists(recommender.bundle.types), now_ms, fewer=fewer
            )
        )

    async def ask(self, question: Callable[[Recommender], T]) -> tuple[int, T] | None:
        """Return the generation and the result of a query to the current recommender.

        The query runs in another thread, one at a time. None while no bundle is loaded.
        """
        async with self._using:
            recommender = self.recommender
            if recommender is None:
                return None
            await self._remove_leaving()
            answer = await asyncio.to_thread(question, recommender)
            return recommender.bundle.generation, answer

    async def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the text vectors f32 [n, dt] of texts, in the space of the bundle in use.

        Raises TextModelError where the bundle's text model is not here.
        """
        encoder = self._encoder
        if encoder is None:
            raise TextModelError("the text model of the bundle in use is not here: see the log")
        return await asyncio.to_thread(encoder.encode, texts)

    @property
    def text_model(self) -> str | None:
        """Fingerprint of what encodes texts for the bundle in use; None where it is not here."""
        return self._encoder.fingerprint if self._encoder else None

    async def demand(self, records: Sequence[LogRecord]) -> None:
        """Take records of the demand topic, of any partition."""
        if self._live is not None:
            take_demand(self._live, records, self._shown)

    async def announced(self, records: Sequence[LogRecord]) -> None:
        """Process the newest announcement of each kind among records of the models topic.

        A pinned bundle is served until its record is deleted; then the trainer's newest bundle is
        served.
        """
        news = self.note(records)
        if static := news.get("static"):
            self.static_generation = static.generation
            self._graph_ends = await asyncio.to_thread(self._ends_of, static.name)
            logger.info("examples are made since static generation %d", static.generation)
        await self.follow()
        await self._serve_rows()

    def note(self, records: Sequence[LogRecord]) -> dict[str, ModelAnnouncement | None]:
        """Record which bundle to serve, without loading it; returns new announcements."""
        news = newest_announcements(records, self.channel)
        if "pinned" in news:
            self._pinned = pin.name if (pin := news["pinned"]) else None
        if dynamic := news.get("dynamic"):
            self._trained = dynamic.name
        return news

    @property
    def wanted(self) -> str | None:
        """Name of the bundle to serve."""
        return self._pinned or self._trained

    async def follow(self) -> None:
        """Load the bundle to serve, if it is not loaded.

        A pinned bundle that cannot be loaded is tried again with each announcement. If nothing is
        served until then, as after a restart, the trainer's newest bundle is.
        """
        wanted, newest = self.wanted, self._trained
        if wanted is None or wanted == self._wanted:
            return
        self._wanted = wanted if await self.load(wanted) else None
        nothing_served = self._wanted is None and self.recommender is None
        if nothing_served and newest not in (None, wanted) and await self.load(newest):
            logger.warning("%s is served: the pinned bundle %s cannot be loaded", newest, wanted)

    async def drop(self) -> None:
        """Stop serving: this channel's users get the bundle of another channel."""
        async with self._swap, self._using:
            self._wanted, self.recommender, self.serving = None, None, None

    async def load(self, name: str) -> bool:
        """Load and serve a dynamic bundle of the artifact store; returns whether it is served.

        Waits for a failing store; the previous bundle is served meanwhile.
        """
        try:
            recommender = await patiently(
                lambda: self._fetch(name), f"reading bundle {name}", UNTIL_THERE, self._pause
            )
            encoder = await asyncio.to_thread(self._warm_encoder, recommender)
        except (CorruptArtifact, CorruptBundle) as error:
            logger.error("bundle %s is not served: %s", name, error)
            return False
        async with self._swap:
            await self._add(recommender, encoder, self._launched.unknown(recommender))
            await self._change_rows(recommender, self._rows_for(recommender))
            async with self._using:
                await self._remove(recommender, self._launched.deleted)
                self.recommender, self.serving = recommender, name
                self._encoder = encoder
        logger.info("serving generation %d", recommender.bundle.generation)
        return True

    async def catalogue(self, entries: Sequence[Item]) -> None:
        """Take catalogue entries of any partition: deleted items go, then new ones come."""
        live = self.take(entries)
        await self.take_down()
        await self.bring(live)

    def take(self, entries: Sequence[Item]) -> set[int]:
        """Take catalogue entries; returns the keys to `bring`.

        No list that is begun from here on has a deleted item.
        """
        gone, live = self._launched.take(entries)
        self._leaving |= gone
        return live

    async def take_down(self) -> None:
        """Remove deleted items that were taken.

        Does not wait for a bundle that is loaded, for items that are embedded, or for changed rows.
        """
        async with self._using:
            await self._remove_leaving()

    async def _remove_leaving(self) -> None:
        """`take_down`; `_using` is held."""
        gone, self._leaving = self._leaving & self._launched.deleted, set()
        if self.recommender is not None:
            await self._remove(self.recommender, gone)

    async def bring(self, keys: set[int]) -> None:
        """Recommend items whose entries were taken, unless they were taken down since."""
        if not keys:
            return
        async with self._swap:
            current = self.recommender
            if current is not None:
                async with self._using:
                    back = keys - self._launched.deleted
                    current.restore_items(np.array(sorted(back), np.uint64))
                await self._add(current, self._encoder, self._launched.unknown(current, keys))

    @property
    def rows_checksum(self) -> int:
        """Checksum of the changed rows that are served; 0 without any."""
        return self.recommender.served_rows.checksum if self.recommender else 0

    async def rows_changed(self, records: Sequence[LogRecord]) -> None:
        """Take records of the rows topic; changed rows of the served bundle are served at once."""
        current = self.recommender
        changed = self.rows.take(records)
        if current is not None and current.bundle.made in changed:
            await self._serve_rows()

    async def _serve_rows(self) -> None:
        """Serve the rows that are known of the served bundle, if they are not served already."""
        async with self._swap:
            current = self.recommender
            if current is None:
                return
            rows = self._rows_for(current)
            if rows is not current.served_rows.changed:
                await self._change_rows(current, rows)

    def _rows_for(self, recommender: Recommender) -> BundleRows | None:
        """Return a bundle's changed rows; a pinned bundle is served as it was made."""
        return None if self._pinned else self.rows.of(recommender.bundle.made)

    async def _change_rows(self, recommender: Recommender, rows: BundleRows | None) -> None:
        """Serve rows; lists are made meanwhile."""
        try:
            await asyncio.to_thread(recommender.serve_rows, rows)
        except ValueError as error:
            logger.error(
                "rows of generation %d are not served: %s", recommender.bundle.generation, error
            )

    def _ends_of(self, static: str) -> dict[str, dict[int, int]]:
        """Topic -> partition -> next offset of a graph; empty if that cannot be read."""
        try:
            offsets = self._store.manifest("static", static).get("offsets", {})
        except (CorruptArtifact, OSError) as error:
            # The trainer asks again, of each example; here it only saves writing them.
            logger.warning("the end of the graph of %s is unknown: %s", static, error)
            return {}
        return {
            topic: {int(partition): offset for partition, offset in ends.items()}
            for topic, ends in offsets.items()
        }

    def _fetch(self, name: str) -> Recommender:
        current = self.recommender
        before = None if current is None else current.bundle
        bundle = fetch_dynamic(self._store, name, self._scratch, before)
        recommender = Recommender(
            bundle, self._live, shown=self._shown, use_head=self._use_head,
            in_force=self._in_force,
        )  # fmt: skip
        first = bundle.item_keys[:1]
        user = UserState(
            user_id="",
            history_item=first,
            history_time=np.zeros(len(first), np.int64),
            history_strong=np.ones(len(first), bool),
        )
        recommender.recommend([user], default_lists(bundle.types), self._clock_ms())
        return recommender

    async def _remove(self, recommender: Recommender, keys: AbstractSet[int]) -> None:
        """Remove items; `_using` is held."""
        if keys:
            # In a thread: changed rows that are served meanwhile may keep the index for a moment.
            await asyncio.to_thread(recommender.remove_items, np.array(sorted(keys), np.uint64))

    async def _add(
        self, recommender: Recommender, encoder: TextEncoder | None, items: dict[int, Item]
    ) -> None:
        """Embed items and add them; only adding them blocks answers.

        Without the bundle's own text model nothing is added: the items wait for a bundle that has
        them.
        """
        if encoder is None:
            return
        async for part in encoded(items, encoder):
            async with self._using:
                await asyncio.to_thread(recommender.add_items, part)
                gone = self._launched.deleted.intersection(part.item_keys.tolist())
                await self._remove(recommender, gone)

    def _warm_encoder(self, recommender: Recommender) -> TextEncoder | None:
        """Return the encoder for a bundle, loaded: no answer waits for the seconds that takes."""
        encoder = self._encoders.of(recommender.bundle.manifest)
        if encoder is not None and encoder is not self._encoder:
            encoder.encode(["warm up"])
        return encoder
