"""Chooses a bundle for a channel by a record, without a trainer pruning it meanwhile.

A trainer announces which bundles it is about to prune, reads the models topic, and leaves those
that are pinned. A choice is written first and read back: if one of the announcements lies before
it, the bundle is lost and the choice is taken back; otherwise the trainer reads the choice. The
models topic has one partition, so that one of the two comes first.
"""

from asyncio import to_thread
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from agents.bundles.announcements import announcement_of, leaving_bundles
from agents.bundles.announcing import fetch_dynamic
from dynamic_layer import CorruptBundle
from state import ArtifactStore, CorruptArtifact
from streams import LogRecord, ModelAnnouncement, encode

__all__ = ["Choice", "TornBundle", "UnknownBundle", "choose"]

T = TypeVar("T")

Choice = Callable[[str, int], ModelAnnouncement]
"""Returns the record that chooses a bundle, from its name and generation."""
Read = Callable[[], Awaitable[Sequence[LogRecord]]]
"""Reads the whole models topic."""
Append = Callable[[bytes, bytes | None], Awaitable[T]]
"""Writes a key and a value to the models topic, and returns where."""


class UnknownBundle(LookupError):
    """No bundle of this name is in the artifact store."""


class TornBundle(ValueError):
    """A bundle is incomplete, or is being pruned: workers could not serve it."""


async def choose(
    store: ArtifactStore, name: str, scratch: Path, choice: Choice, read: Read, append: Append[T]
) -> tuple[ModelAnnouncement, T]:
    """Write the record that chooses a bundle; return it and what `append` returned.

    scratch: folder for the trial load. The bundle is first fetched and loaded here, because workers
    refuse a corrupt bundle and keep the current one. Raises UnknownBundle, TornBundle; then the
    choice before is in force.
    """
    names = await to_thread(store.names, "dynamic")
    if name not in names:
        there = ", ".join(names) or "none"
        raise UnknownBundle(
            f"the artifact store holds no dynamic bundle {name!r}; there are: {there}"
        )
    said = choice(name, await to_thread(_generation, store, name, scratch))
    value, records = encode(said), list(await read())
    before = _newest(records, said.key)
    written = await append(said.key, value)
    records = list(await read())
    own = next((n for n, one in _numbered(records, said.key) if one.value == value), len(records))
    if name in leaving_bundles(records[:own]) or not await to_thread(_is_there, store, name):
        # Only this choice: another person's may be in force by now.
        if _newest(records, said.key) == value:
            await append(said.key, before)
        raise TornBundle(f"{name} is being removed from the artifact store: choose a newer bundle")
    return said, written


def _numbered(records: Sequence[LogRecord], key: bytes) -> list[tuple[int, LogRecord]]:
    """Return the records of a key with their places, the last first."""
    return [(n, one) for n, one in enumerate(records) if one.key == key][::-1]


def _newest(records: Sequence[LogRecord], key: bytes) -> bytes | None:
    """Return the newest value of a key that can be read; None for none."""
    for _, record in _numbered(records, key):
        if record.value is None or announcement_of(record) is not None:
            return record.value
    return None


def _is_there(store: ArtifactStore, name: str) -> bool:
    return name in store.names("dynamic")


def _generation(store: ArtifactStore, name: str, scratch: Path) -> int:
    """Fetch and load a bundle; return its generation. Raises TornBundle."""
    try:
        return fetch_dynamic(store, name, scratch).generation
    except (CorruptArtifact, CorruptBundle) as error:
        raise TornBundle(f"{name} is incomplete: {error}") from error
