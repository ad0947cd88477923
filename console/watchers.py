"""Connections to the event stream; new clients are never refused."""

from collections import Counter
from dataclasses import dataclass

__all__ = ["Watcher", "Watchers"]


@dataclass(eq=False)
class Watcher:
    """One connection. client: an address, or a token's name if `known`."""

    client: str
    known: bool
    ended: bool = False


class Watchers:
    """Connections to the event stream, at most `most`.

    When all places are taken, one is ended for the newcomer: the oldest connection of the client
    with the most of them. Clients with a token come last, so that anonymous connections, however
    many, neither refuse nor end theirs.
    """

    def __init__(self, most: int) -> None:
        """most: at least 1."""
        self._most = most
        self._open: list[Watcher] = []  # the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, client: str, *, known: bool) -> Watcher:
        """Add a connection."""
        if len(self._open) >= self._most:
            held = Counter((watcher.known, watcher.client) for watcher in self._open)
            # Of equals the first, which is the oldest.
            ended = max(self._open, key=lambda w: (not w.known, held[w.known, w.client]))
            ended.ended = True
            self.leave(ended)
        watcher = Watcher(client, known)
        self._open.append(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Remove a connection that is closed; one that was ended is removed already."""
        if watcher in self._open:
            self._open.remove(watcher)
