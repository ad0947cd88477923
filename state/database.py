"""One RocksDB in raw mode: how it is opened, scanned and what its keys begin with."""

import struct
from collections.abc import Iterator
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
)

from state.settings import StateSettings

__all__ = ["CATALOGUE", "HISTORY", "ITEMS", "META", "USERS", "after", "open_database", "scan"]

#: First byte of a key: what it holds. Co-interactions have their own module.
META, ITEMS, HISTORY, USERS, CATALOGUE = b"m", b"i", b"h", b"u", b"c"


def open_database(folder: Path, settings: StateSettings, *, read_only: bool = False) -> Rdict:
    """Open the database of a partition, made when it is missing (unless read only)."""
    options = Options(raw_mode=True)
    options.create_if_missing(not read_only)
    options.set_write_buffer_size(settings.write_buffer_bytes)
    options.set_max_write_buffer_number(2)
    options.set_max_background_jobs(1)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    # A manifest names the first and last key of every file it ever listed, so a user's id could
    # outlive the user's erasure in it. Written anew with each change, it names those that exist.
    options.set_max_manifest_file_size(1)
    options.set_max_total_wal_size(4 * settings.write_buffer_bytes)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(settings.block_cache_bytes))
    table.set_bloom_filter(10, block_based=False)
    options.set_block_based_table_factory(table)
    access = AccessType.read_only(False) if read_only else AccessType.read_write()
    return Rdict(str(folder), options, access_type=access)


def scan(database: Rdict, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values in [first, end), ascending."""
    options = ReadOptions()
    options.set_iterate_lower_bound(first)
    options.set_iterate_upper_bound(end)
    rows = database.iter(options)
    rows.seek(first)
    while rows.valid():
        yield rows.key(), rows.value()
        rows.next()
    rows.status()


def after(prefix: bytes) -> bytes:
    """First key behind all keys that begin with `prefix` (whose last byte is below 255)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def item_row_key(number: int) -> bytes:
    """Key of a dense item number."""
    return ITEMS + struct.pack(">I", number)
