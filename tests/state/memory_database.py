"""A twin of `state.database.Database` in memory: what a successor of RocksDB must preserve.

Nothing here is fast and nothing is on disk. Folders are names in a `Disks`, which outlives the
databases that are opened on it, as a disk outlives a process.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from state.database import DamagedState
from state.settings import StateSettings

__all__ = ["Disks", "MemoryBatch", "MemoryDatabase"]


@dataclass
class MemoryBatch:
    """Writes in order: a key, and its value or None where it is removed."""

    writes: list[tuple[bytes, bytes | None]] = field(default_factory=list)

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        self.writes.append((key, value))

    def delete(self, key: bytes) -> None:
        """Remove a key."""
        self.writes.append((key, None))


@dataclass
class Contents:
    """What one folder holds: values by key, and traces of what was removed or replaced."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    traces: list[tuple[bytes, bytes]] = field(default_factory=list)
    writer: "MemoryDatabase | None" = None


@dataclass
class Disks:
    """Folders, and what can happen to them between two openings."""

    folders: dict[Path, Contents] = field(default_factory=dict)
    damaged: set[Path] = field(default_factory=set)

    def open(
        self, folder: Path, settings: StateSettings, *, read_only: bool = False
    ) -> "MemoryDatabase":
        """Open a folder as `state.database.open_database` does.

        Raises DamagedState for a damaged folder. A folder has one writer at a time; readers see
        what was written when they opened.
        """
        del settings  # sizes of caches and buffers: they change no answer
        if folder in self.damaged:
            raise DamagedState(f"{folder}: damaged")
        contents = self.folders.get(folder)
        if read_only:
            if contents is None:
                raise OSError(f"{folder}: there is no database")
            return MemoryDatabase(self, folder, Contents(dict(contents.values)), read_only=True)
        contents = self.folders.setdefault(folder, Contents())
        if contents.writer is not None:
            raise OSError(f"{folder}: another writer holds the lock")
        contents.writer = MemoryDatabase(self, folder, contents, read_only=False)
        return contents.writer


class MemoryDatabase:
    """An open folder of `Disks`; the methods are those of `state.database.Database`."""

    def __init__(self, disks: Disks, folder: Path, contents: Contents, *, read_only: bool) -> None:
        """Open a folder's contents."""
        self._disks, self._contents, self._read_only = disks, contents, read_only
        self.folder = folder

    @overload
    def get(self, key: bytes) -> bytes | None: ...
    @overload
    def get(self, key: Sequence[bytes]) -> list[bytes | None]: ...
    def get(self, key: bytes | Sequence[bytes]) -> bytes | list[bytes | None] | None:
        """Every write is read from its return on; several keys are answered in their order."""
        values = self._contents.values
        return values.get(key) if isinstance(key, bytes) else [values.get(one) for one in key]

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys are ordered as bytes; writes that come after the first row are not seen."""
        rows = sorted(self._contents.values.items())
        return ((key, value) for key, value in rows if first <= key < end)

    def put(self, key: bytes, value: bytes) -> None:
        """As a batch of one."""
        self.write(MemoryBatch([(key, value)]))

    def batch(self) -> MemoryBatch:
        """Return an empty batch."""
        return MemoryBatch()

    def write(self, batch: MemoryBatch) -> None:
        """All or nothing, in order: of two writes to a key the later one counts.

        It is there for the next process from the return on, without `flush` and without `close`.
        """
        if self._read_only:
            raise OSError(f"{self.folder}: opened read-only")
        values = self._contents.values
        for key, value in batch.writes:
            if key in values:
                self._contents.traces.append((key, values.pop(key)))
            if value is not None:
                values[key] = value

    def flush(self) -> None:
        """Changes no answer: what was written is in files that `link_into` can link."""

    def rewrite(self, first: bytes, end: bytes) -> None:
        """No byte of a key or a value that was removed from [first, end) stays in the folder."""
        traces = self._contents.traces
        traces[:] = [(key, value) for key, value in traces if not first <= key < end]

    def obsolete_files(self) -> set[str]:
        """No file is left behind."""
        return set()

    def link_into(self, folder: Path) -> None:
        """The folder is a database with what is here now; later writes do not change it.

        It must not exist. What was removed here and not rewritten may be in it.
        """
        if folder in self._disks.folders:
            raise OSError(f"{folder}: exists")
        contents = Contents(dict(self._contents.values), list(self._contents.traces))
        self._disks.folders[folder] = contents

    def close(self) -> None:
        """Give the lock back; what was written stays."""
        if self._contents.writer is self:
            self._contents.writer = None
