"""Bundles in the artifact store, the served one of each channel, and changes by the user.

Changes are records on the models topic, which workers, consoles and trainers follow.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agents.bundles.announcing import described
from agents.bundles.channels import Channels
from agents.bundles.choosing import TornBundle, UnknownBundle, choose
from agents.bundles.models import Models
from agents.bundles.names import channel_of, earlier
from console.writers import Writer
from state import ArtifactStore, CorruptArtifact
from streams import Log, ModelAnnouncement, Source, announcement_key, read_from

__all__ = ["Bundles", "NoBundleBefore", "UnknownChannel", "followed"]

logger = logging.getLogger(__name__)

#: Manifests of bundles that are remembered; a store keeps a handful.
MANIFESTS = 64


class UnknownChannel(LookupError):
    """No arm of the settings is served from this channel."""


class NoBundleBefore(ValueError):
    """There is no bundle that a channel could roll back to."""


def followed(channels: Channels) -> list[dict[str, Any]]:
    """The served bundle and users of each channel, as JSON values, default channel first."""
    arms, found = channels.arms, []
    for channel in channels.arms.settings.channels:
        own, serving = channels.following(channel), channels.serving(channel)
        found.append(
            {
                "channel": channel,
                "arms": [
                    {"name": arm.name, "share": arms.share(arm.name)}
                    for arm in arms.settings.arms
                    if arm.channel == channel
                ],
                "served": serving.serving,
                "generation": serving.generation,
                "lacks_bundle": channels.lacks(channel),
                "pinned": own.pinned,
                "newest": own.newest,
            }
        )
    return found


class Bundles:
    """The bundles of the artifact store, and their assignment to channels."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        channels: Channels,
        writer: Writer,
        log: Log,
        topic: str,
        scratch: Path,
        clock_ms: Callable[[], int],
    ) -> None:
        """topic: of the models, in the log; scratch: folder for the trial load of a bundle."""
        self._store, self._channels, self._writer = store, channels, writer
        self._topic, self._scratch, self._clock_ms = topic, scratch, clock_ms
        self._read = partial(read_from, log, topic)
        self._manifests: dict[str, dict[str, Any]] = {}
        self._choosing = asyncio.Lock()

    async def all(self) -> list[dict[str, Any]]:
        """Dynamic bundles in the artifact store with their properties, newest first."""
        return await asyncio.to_thread(self._rows)

    async def channels(self) -> list[dict[str, Any]]:
        """The served bundle and users of each channel, and the bundle of a rollback."""
        names = await asyncio.to_thread(self._store.names, "dynamic")
        found = followed(self._channels)
        for row in found:
            wanted = self._channels.following(row["channel"]).wanted
            row["before"] = next(iter(earlier(names, wanted)), None) if wanted else None
        return found

    async def pin(self, name: str, channel: str, by: str) -> Source:
        """Pin a bundle (of any channel) on a channel, independent of its trainer.

        See `choose`. Raises UnknownChannel, UnknownBundle, TornBundle.
        """
        self._follower(channel)

        def choice(name: str, generation: int) -> ModelAnnouncement:
            return ModelAnnouncement(
                kind="pinned", name=name, url=self._store.url, generation=generation,
                created_at=self._clock_ms(), metrics={}, channel=channel,
            )  # fmt: skip

        async with self._choosing:
            _, written = await choose(
                self._store, name, self._scratch, choice, self._read,
                partial(self._writer.append, self._topic),
            )  # fmt: skip
        logger.info("bundle %s was pinned on channel %s by %s", name, channel, by)
        return written

    async def unpin(self, channel: str, by: str) -> Source:
        """Remove a channel's pin: serve its trainer's newest bundle. Raises UnknownChannel."""
        self._follower(channel)
        logger.info("the pin of channel %s was removed by %s", channel, by)
        return await self._writer.append(self._topic, announcement_key("pinned", channel), None)

    async def rollback(self, channel: str, by: str) -> tuple[str, str, Source]:
        """Pin the complete bundle before the served one of a channel, of the same trainer.

        Returns the names of the previously served and of the pinned bundle. Raises
        UnknownChannel, and NoBundleBefore where there is none.
        """
        served = self._follower(channel).wanted
        if served is None:
            raise NoBundleBefore(f"channel {channel} has no bundle yet")
        names = await asyncio.to_thread(self._store.names, "dynamic")
        for name in earlier(names, served):
            try:
                return served, name, await self.pin(name, channel, by)
            except (TornBundle, UnknownBundle) as error:
                logger.warning("channel %s cannot roll back to %s: %s", channel, name, error)
        raise NoBundleBefore(
            f"there is no complete bundle before {served}: `trainer.keep_bundles` of them are kept"
        )

    def _follower(self, channel: str) -> Models:
        known = self._channels.arms.settings.channels
        if channel not in known:
            raise UnknownChannel(
                f"no arm of the settings has channel {channel!r}, only {', '.join(known)}"
            )
        return self._channels.following(channel)

    def _rows(self) -> list[dict[str, Any]]:
        said = followed(self._channels)
        found: list[dict[str, Any]] = []
        for name in self._store.names("dynamic")[::-1]:
            row = {
                "name": name,
                "channel": channel_of(name),
                "served_on": [row["channel"] for row in said if row["served"] == name],
                "pinned_on": [row["channel"] for row in said if row["pinned"] == name],
            }
            try:
                manifest = self._manifest(name)
            except CorruptArtifact as error:
                found.append(row | {"generation": None, "problem": str(error)})
                continue
            graph = {"static": manifest.get("static"), "types": manifest.get("types", [])}
            found.append(row | described(name, manifest) | graph)
        return found

    def _manifest(self, name: str) -> dict[str, Any]:
        """A bundle's manifest, which never changes. Raises CorruptArtifact."""
        if name not in self._manifests:
            if len(self._manifests) >= MANIFESTS:
                self._manifests.clear()
            self._manifests[name] = self._store.manifest("dynamic", name)
        return self._manifests[name]
