"""Which bundles the models topic tells workers to serve."""

from collections.abc import Awaitable, Callable, Sequence

from agents.bundles.announcements import announced_names, newest_announcements
from streams import LogRecord, ModelAnnouncement, announcement_key

__all__ = ["FollowedBundles"]


class FollowedBundles:
    """Names of the bundles that are announced: of one channel, and of all that a store must keep.

    pinned: the one that a person has fixed, until the pin is removed; trained: the newest one.
    """

    def __init__(
        self,
        channel: str,
        read_models: Callable[[], Awaitable[Sequence[LogRecord]]] | None = None,
    ) -> None:
        """read_models: reads the whole models topic; None where it cannot be read."""
        self._channel, self._read_models = channel, read_models
        self._wanted: dict[bytes, str | None] = {}  # by all channels, by key of the models topic
        self.pinned: str | None = None
        self.trained: str | None = None

    def take(self, records: Sequence[LogRecord]) -> ModelAnnouncement | None:
        """Take records of the models topic; return the newest static bundle among them."""
        news = newest_announcements(records, self._channel)
        self._wanted |= announced_names(records)
        if "pinned" in news:
            self.pinned = pin.name if (pin := news["pinned"]) else None
        if dynamic := news.get("dynamic"):
            self.trained = dynamic.name
        return news.get("static")

    @property
    def served(self) -> str | None:
        """The bundle that the channel's workers serve; that of the default one without its own."""
        pinned, trained = (announcement_key(kind) for kind in ("pinned", "dynamic"))
        own = self.pinned or self.trained
        return own or self._wanted.get(pinned) or self._wanted.get(trained)

    async def not_to_prune(self) -> set[str | None]:
        """Names of the bundles that some channel serves or may go back to.

        Reads the topic: after a restart, or just after a person pinned a bundle, its announcements
        may not have arrived here yet. Raises what the reading raises.
        """
        wanted = set(self._wanted.values())
        if self._read_models is not None:
            wanted |= set(announced_names(await self._read_models()).values())
        return wanted
