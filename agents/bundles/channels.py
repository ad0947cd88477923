"""The served bundles, one per channel in use, and the assignment of users to them."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from agents.bundles.announcements import newest_shares
from agents.bundles.models import Models
from agents.experiments.arms import Arms, ExperimentSettings
from agents.patience import Pause
from agents.policies import PolicyBook
from dynamic_layer import ListSettings, LivePopularity, Ranking, ShownCounts, UserState
from state import ArtifactStore, item_key
from static_layer import TextEncoder
from streams import DEFAULT_CHANNEL, ItemCatalogue, LogRecord

__all__ = ["Channels", "Served"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A user's rankings by list, the generation that made them, and the user's arm if any.

    shortened: whether a head ranked fewer candidates, or none did, since others were waiting.
    """

    arm: str | None
    generation: int
    rankings: dict[str, Ranking]
    shortened: bool


class Channels:
    """Follows the models topic and the catalogue for all channels in use.

    A bundle is in memory once, even if several channels serve it. A channel without a complete
    bundle serves the bundle of the default channel. Each channel swaps one reference, as in
    `Models`.
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
        experiments: ExperimentSettings | None = None,
        pause: Pause = asyncio.sleep,
        items: ItemCatalogue | None = None,
    ) -> None:
        """As of `Models`; experiments: says which channels there are; items: takes the catalogue.

        By default the catalogue is Segue's own topic alone.
        """
        self.items, self._pause = items or ItemCatalogue(), pause
        self.arms = Arms(experiments or ExperimentSettings())
        self._shares: dict[str, float] = {}
        encoder = cache(encoder)
        self.policies = PolicyBook()
        self._models = {
            channel: Models(
                store,
                scratch if channel == DEFAULT_CHANNEL else scratch / channel,
                encoder,
                clock_ms,
                live,
                shown=shown,
                use_head=use_head,
                channel=channel,
                in_force=self.policies.in_force,
                pause=pause,
            )
            for channel in self.arms.settings.channels
        }
        self.default = self._models[DEFAULT_CHANNEL]
        # Next offset of each partition of the topics of items.
        self._catalogue_to: dict[tuple[str, int], int] = {}
        # Keys of items whose entries were taken and which no channel recommends yet.
        self._to_bring: set[int] = set()
        self._came, self._bring_turn = asyncio.Event(), asyncio.Lock()
        # Channel -> the channel whose bundle it serves.
        self._served_by: dict[str, str] = {}

    @property
    def possible(self) -> bool:
        """Whether lists can be made: a bundle is loaded, and policies are known."""
        return self.default.recommender is not None and self.policies.ready

    @property
    def learn_from_impressions(self) -> bool:
        """Whether there is a bundle, and the trainers of all bundles read impressions.

        All trainers read the same examples; one of an earlier version cannot read some with
        impressions.
        """
        bundles = [m.recommender.bundle for m in self._models.values() if m.recommender is not None]
        return bool(bundles) and all(bundle.learns_from_impressions for bundle in bundles)

    @property
    def others(self) -> Sequence[str]:
        """Channels beside the default one."""
        return [name for name in self._models if name != DEFAULT_CHANNEL]

    def following(self, channel: str) -> Models:
        """Return what follows a channel's own announcements. Raises KeyError for unknown ones."""
        return self._models[channel]

    def serving(self, channel: str) -> Models:
        """Return what serves a channel now."""
        found = self._models[self._served_by.get(channel, DEFAULT_CHANNEL)]
        return self.default if found.recommender is None else found

    def serving_user(self, user_id: str) -> Models:
        """Return what serves a user now."""
        return self.serving(self.arms.channel_of(self.arms.of(user_id)))

    def lacks(self, channel: str) -> bool:
        """Whether a channel has no servable bundle, and so serves the default channel's."""
        wanted = self._models[channel].wanted
        return wanted is None or (
            self.serving(channel) is self.default and wanted != self.default.wanted
        )

    async def announced(self, records: Sequence[LogRecord]) -> None:
        """Take records of the models topic; each channel loads what it is to serve.

        A channel that uses another channel's bundle loads its own before that one changes.
        """
        if not self.arms:
            await self.default.announced(records)
            return
        self._take_shares(records)
        self.default.note(records)
        by_bundle = {self.default.wanted: DEFAULT_CHANNEL}
        owners: dict[str, str] = {}
        for channel in self.others:
            self._models[channel].note(records)
            wanted = self._models[channel].wanted
            owners[channel] = DEFAULT_CHANNEL
            if wanted is not None:
                owners[channel] = by_bundle.setdefault(wanted, channel)
        alone = [channel for channel, owner in owners.items() if owner == channel]
        for channel in sorted(alone, key=lambda name: self._served_by.get(name) == name):
            await self._models[channel].follow()
            # Until it is loaded, and if it cannot be, users are served what they were before.
            if self._models[channel].recommender is not None:
                self._turn(channel, channel)
        await self.default.announced(records)
        for channel, owner in owners.items():
            if owner != channel:
                self._turn(channel, owner)
                await self._models[channel].drop()

    def _turn(self, channel: str, owner: str) -> None:
        if self._served_by.get(channel) != owner:
            what = "its own bundle" if channel == owner else f"the bundle of channel {owner}"
            logger.info("channel %s serves %s", channel, what)
        self._served_by[channel] = owner

    def _take_shares(self, records: Iterable[LogRecord]) -> None:
        news = newest_shares(records, self.arms.settings.salt)
        for arm, said in news.items():
            if said is None:
                self._shares.pop(arm, None)
            else:
                self._shares[arm] = said.share
                logger.info("arm %s has %.3f of the users", arm, said.share)
        if news:
            self.arms.take(self._shares)

    async def catalogue(self, records: Sequence[LogRecord]) -> None:
        """Take records of a topic of `items`: deleted items leave all channels at once.

        New items are left to `bring`: a takedown must not wait until others are embedded.
        Records that were taken before, as after a lost connection, are left out: what has left
        would be listed until its last record is read again.
        """
        if not records:
            return
        await self.items.prepare(records, self._pause)
        place = records[0].topic, records[0].partition
        taken = self._catalogue_to.get(place, 0)
        self._catalogue_to[place] = max(taken, records[-1].offset + 1)
        items = self.items.take([one for one in records if one.offset >= taken])
        self.policies.take_items(items)
        # In all of them before the first removal, which waits for the lists that are being made.
        for models in self._models.values():
            self._to_bring |= models.take(items)
        self._came.set()
        for models in self._models.values():
            await models.take_down()

    @property
    def brought(self) -> bool:
        """Whether all items whose entries were taken are recommended."""
        return not self._to_bring and not self._bring_turn.locked()

    async def bring(self) -> None:
        """Embed and recommend the items whose entries were taken, in all channels; takes seconds.

        Items that are taken down meanwhile are left out.
        """
        async with self._bring_turn:
            while self._to_bring:
                keys, self._to_bring = self._to_bring, set()
                for models in self._models.values():
                    await models.bring(keys)

    async def keep_bringing(self) -> None:
        """Call `bring` whenever entries were taken; a process runs it beside its readers."""
        while True:
            await self._came.wait()
            self._came.clear()
            await self.bring()

    async def rows(self, records: Sequence[LogRecord]) -> None:
        """Take records of the rows topic."""
        for models in self._models.values():
            await models.rows_changed(records)

    async def recommend(
        self,
        users: Sequence[UserState],
        lists: Callable[[Sequence[str]], Sequence[ListSettings]],
        now_ms: int,
        *,
        fewer: int = 1,
    ) -> list[Served] | None:
        """Return the served lists of each user; None while that is not `possible`.

        If the catalogue entry of an item in a list changes while the list is made, the list is made
        once more: on a busy machine a list may be late, but it holds no item that has left.
        lists: item types -> lists to make; fewer: see `Recommender.recommend`.
        """
        columns = self.policies.in_force.columns
        version = columns.version
        made = await self._recommend(users, lists, now_ms, fewer=fewer)
        if made is None or columns.version == version:
            return made
        changed = columns.changed_keys(version)
        stale = [place for place, served in enumerate(made) if _holds(served, changed)]
        if not stale:
            return made
        # The features that the head read were collected the first time.
        asked = [replace(users[place], watch=None) for place in stale]
        again = await self._recommend(asked, lists, now_ms, fewer=fewer)
        if again is None:
            return None
        for place, served in zip(stale, again, strict=True):
            made[place] = served
        return made

    async def _recommend(
        self,
        users: Sequence[UserState],
        lists: Callable[[Sequence[str]], Sequence[ListSettings]],
        now_ms: int,
        *,
        fewer: int,
    ) -> list[Served] | None:
        if not self.possible:
            return None
        arms = [self.arms.of(user.user_id) for user in users]
        places: dict[str, list[int]] = {}
        for place, arm in enumerate(arms):
            places.setdefault(self.serving(self.arms.channel_of(arm)).channel, []).append(place)
        found: dict[int, Served] = {}
        for channel, of_it in places.items():
            asked = [users[place] for place in of_it]
            # A channel may have lost its bundle since; the default one never does.
            models = self._models[channel]
            made = await models.recommend(asked, lists, now_ms, fewer=fewer)
            if made is None:
                models = self.default
                made = await models.recommend(asked, lists, now_ms, fewer=fewer)
            if made is None:
                return None
            generation, rankings = made
            shortened = fewer != 1 and models.has_head
            for place, ranked in zip(of_it, rankings, strict=True):
                found[place] = Served(
                    arm=arms[place],
                    generation=generation,
                    rankings=ranked,
                    shortened=shortened,
                )
        return [found[place] for place in range(len(users))]


def _holds(served: Served, changed: AbstractSet[int] | None) -> bool:
    """Whether a list of a user holds an item of these keys; None: of any."""
    return changed is None or any(
        item_key(*item) in changed
        for ranking in served.rankings.values()
        for item in zip(ranking.item_types, ranking.item_ids, strict=True)
    )
