"""One RocksDB in raw mode: how it is opened, read and written, and what its keys begin with.

RocksDB checks what it reads. Whatever it reports as corruption, on open, read or write, becomes
DamagedState here, and a mark in the folder says so: the next process that opens the state for
writing puts it aside and restores a checkpoint (docs/adr/0032-damaged-files.md).
"""

import contextlib
import logging
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, overload

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    CompactOptions,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
)
from rocksdict import Checkpoint as RocksCheckpoint

from state.settings import StateSettings

__all__ = [
    "CATALOGUE",
    "HISTORY",
    "ITEMS",
    "META",
    "USERS",
    "Batch",
    "DamagedState",
    "Database",
    "after",
    "mark_damaged",
    "open_database",
]

logger = logging.getLogger(__name__)

#: First byte of a key: what it holds. Co-interactions have their own module.
META, ITEMS, HISTORY, USERS, CATALOGUE = b"m", b"i", b"h", b"u", b"c"


#: File in a state's folder that says that RocksDB has found damage in it, and what it said.
MARK = "DAMAGED"
#: Files of which a folder with a state always has some.
PARTS = ("*.sst", "MANIFEST-*", "run-*.bin")
#: A file of RocksDB's own log has this size at most, and there are two at most.
ROCKS_LOG_BYTES = 256 << 10
#: Times that a reader opens a database while a table is missing: beside a reader, the writer's
#: compaction removes tables that the reader has just found in the manifest.
READ_ATTEMPTS = 5


class DamagedState(Exception):
    """A file of a state is not as it was written; the message names it."""


class Batch(Protocol):
    """Writes that take effect together, in their order."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove a key; one that is not there is no error."""
        ...


class Database:
    """An open RocksDB. Every method raises DamagedState where RocksDB reports corruption.

    What a successor of RocksDB must preserve is written down twice: as a twin in memory
    (tests/state/memory_database.py), and as a test that holds both to the same answers.
    """

    def __init__(self, rocks: Rdict, folder: Path, *, read_only: bool) -> None:
        """Wrap an open RocksDB; a read-only one leaves no mark in its folder."""
        self._rocks = rocks
        self._folder = folder
        self._read_only = read_only

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self._folder

    @overload
    def get(self, key: bytes) -> bytes | None: ...
    @overload
    def get(self, key: Sequence[bytes]) -> list[bytes | None]: ...
    def get(self, key: bytes | Sequence[bytes]) -> bytes | list[bytes | None] | None:
        """Value of a key, or values of several; None where there is none."""
        with self._checked():
            found: bytes | list[bytes | None] | None = self._rocks.get(key)
        return found

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in [first, end), ascending."""
        options = ReadOptions()
        options.set_iterate_lower_bound(first)
        options.set_iterate_upper_bound(end)
        rows = None
        try:
            with self._checked():
                rows = self._rocks.iter(options)
                rows.seek(first)
            while rows.valid():
                yield rows.key(), rows.value()
                rows.next()
            with self._checked():
                rows.status()
        finally:
            # It keeps the database open, and its lock: an error that is kept would keep both.
            del rows

    def put(self, key: bytes, value: bytes) -> None:
        """Write one value."""
        with self._checked():
            self._rocks.put(key, value)

    def batch(self) -> Batch:
        """Return an empty batch for `write`."""
        found: Batch = WriteBatch(raw_mode=True)
        return found

    def write(self, batch: Batch) -> None:
        """Write a batch, whole or not at all; it outlives the process from then on."""
        with self._checked():
            self._rocks.write(batch)

    def flush(self) -> None:
        """Write what is in memory to files."""
        with self._checked():
            self._rocks.flush()

    def rewrite(self, first: bytes, end: bytes) -> None:
        """Rewrite the files with keys in [first, end), without values and keys that were deleted.

        Forced: a file that overlaps no other is moved to the last level as it is otherwise, with
        the keys of its deletions.
        """
        options = CompactOptions()
        options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        with self._checked():
            self._rocks.compact_range(first, end, options)

    def obsolete_files(self) -> set[str]:
        """Return names of tables and manifests on the disk that are not read any more.

        RocksDB's own threads remove them a moment after a compaction or a flush has returned. The
        manifest before the last change names the keys of tables that the change removed.
        """
        with self._checked():
            live = {str(table["name"]).lstrip("/") for table in self._rocks.live_files()}
        live.add((self._folder / "CURRENT").read_text().strip())
        found = (path for kind in ("*.sst", "MANIFEST-*") for path in self._folder.glob(kind))
        return {path.name for path in found} - live

    def link_into(self, folder: Path) -> None:
        """Flush, and hard-link the files into a folder that does not exist."""
        with self._checked():
            RocksCheckpoint(self._rocks).create_checkpoint(str(folder))

    def close(self) -> None:
        """Close it; what was written stays. Damage that is met now is left to the next opening."""
        try:
            with self._checked():
                self._rocks.close()
        except DamagedState as error:
            logger.error("the database was closed without its last flush: %s", error)
            # It holds the lock until it is gone.
            del self._rocks

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not _is_damage(error):
                raise
            if not self._read_only:
                mark_damaged(self._folder, str(error))
            raise DamagedState(f"{self._folder}: {error}") from error


def open_database(folder: Path, settings: StateSettings, *, read_only: bool = False) -> Database:
    """Open the database of a partition, made when it is missing (unless read only).

    Raises DamagedState if a file is missing or not whole, or if damage was found earlier. A log
    (WAL) that is damaged is read up to the damage: the state is that of an earlier commit, which
    is whole. A reader may open it beside its writer.
    """
    if not read_only and (folder / MARK).exists():
        raise DamagedState(f"{folder}: {(folder / MARK).read_text()}")
    if not (folder / "CURRENT").exists() and any(any(folder.glob(part)) for part in PARTS):
        # RocksDB would make an empty database of the folder.
        raise DamagedState(f"{folder}: the file CURRENT is missing")
    options = Options(raw_mode=True)
    options.create_if_missing(not read_only)
    options.set_write_buffer_size(settings.write_buffer_bytes)
    options.set_max_write_buffer_number(2)
    options.set_max_background_jobs(1)
    options.set_compression_type(DBCompressionType.lz4())
    # Each flush adds some kilobytes to RocksDB's own log, which would grow until the next start.
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(ROCKS_LOG_BYTES)
    # A manifest names the first and last key of every file it ever listed, so a user's id could
    # outlive the user's erasure in it. Written again with each change, it names those that exist.
    options.set_max_manifest_file_size(1)
    options.set_max_total_wal_size(4 * settings.write_buffer_bytes)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(settings.block_cache_bytes))
    table.set_bloom_filter(10, block_based=False)
    options.set_block_based_table_factory(table)
    access = AccessType.read_only(False) if read_only else AccessType.read_write()
    for left in reversed(range(READ_ATTEMPTS if read_only else 1)):
        try:
            rocks = Rdict(str(folder), options, access_type=access)
            break
        except Exception as error:
            if left and _lacks_a_file(error):
                continue
            if _is_damage(error):
                raise DamagedState(f"{folder}: {error}") from error
            raise
    return Database(rocks, folder, read_only=read_only)


def mark_damaged(folder: Path, message: str) -> None:
    """Note in a state's folder that it is damaged, for the next process that opens it."""
    with contextlib.suppress(OSError):
        (folder / MARK).write_text(message)


def _is_damage(error: Exception) -> bool:
    """Whether an error of RocksDB says that a file is damaged or missing.

    A lock, a full disk or a lack of rights is no damage, even where RocksDB reports it as
    corruption because it happened while a file was being read.
    """
    text = str(error)
    if "IO error" in text:
        return _lacks_a_file(error)
    return text.startswith("Corruption")


def _lacks_a_file(error: Exception) -> bool:
    return "No such file or directory" in str(error)


def after(prefix: bytes) -> bytes:
    """First key behind all keys that begin with `prefix` (whose last byte is below 255)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def item_row_key(number: int) -> bytes:
    """Key of a dense item number."""
    return ITEMS + struct.pack(">I", number)
