"""The adjacency runs of a partition: written by commits, merged in tiers, read by item.

Key  b"p" + bucket (u32) + run (u64) + block (u32), big-endian: a bucket is one range, and so is a
run within it. The commit record holds which runs there are (`Runs`), so that nobody has to look.

`StateSettings.merge_runs` runs of a level become one of the next: an entry is rewritten once for
each level, and a bucket has a number of runs that grows with the logarithm of what was written.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from rocksdict import Rdict, WriteBatch

from state import database
from state.adjacency import (
    I32,
    U32,
    block_of,
    first_of,
    mantissa_for,
    merged_blocks,
    packed_blocks,
    summed,
    unpack_block,
)
from state.kernel import Fold

__all__ = ["Merge", "Run", "Runs", "crowded", "expire", "merge", "neighbours",
           "read_runs", "write_fold"]  # fmt: skip

PREFIX = b"p"
#: Entries that a merge sums at once: the table for so many stays in the cache of a core.
MERGE_ENTRIES = 100_000

_KEY = struct.Struct(">cIQI")


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One run of one bucket.

    number: unique within the partition.
    level:  how often its entries have been merged.
    mantissa: how its items are cut into blocks, see `state.adjacency`.
    entries: directed entries, as written.
    """

    number: int
    level: int
    mantissa: int
    entries: int


#: Bucket -> its runs, oldest first.
Runs = dict[int, tuple[Run, ...]]


def run_key(bucket: int, run: int, block: int) -> bytes:
    """Key of a block."""
    return _KEY.pack(PREFIX, bucket, run, block)


def bucket_prefix(bucket: int) -> bytes:
    """First key of a bucket; the range [prefix(b), prefix(b + 1)) is the bucket."""
    return PREFIX + struct.pack(">I", bucket)


def expire(batch: WriteBatch, runs: Runs, first_live: int) -> Runs:
    """Drop the buckets before `first_live`; returns the runs that stay."""
    expired = [bucket for bucket in runs if bucket < first_live]
    if expired:
        batch.delete_range(bucket_prefix(min(expired)), bucket_prefix(first_live))
    return {bucket: mine for bucket, mine in runs.items() if bucket >= first_live}


def write_fold(
    batch: WriteBatch, runs: Runs, number: int, fold: Fold, first_live: int, items: int
) -> Runs:
    """Write what a commit adds as run `number` of each bucket it touches; returns all runs."""
    runs = dict(runs)
    for bucket, mantissa, blocks in packed_blocks(fold, first_live, items):
        entries = 0
        for block, n, value in blocks:
            batch.put(run_key(bucket, number, block), value)
            entries += n
        runs[bucket] = (*runs.get(bucket, ()), Run(number, 0, mantissa, entries))
    return runs


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Runs of one bucket and level that are due to become one.

    entries: directed entries to read.
    """

    bucket: int
    level: int
    runs: tuple[Run, ...]
    entries: int


def crowded(runs: Runs, fan_in: int) -> list[Merge]:
    """Merges that are due, the cheapest first."""
    due = []
    for bucket, mine in runs.items():
        levels: dict[int, list[Run]] = {}
        for run in mine:
            levels.setdefault(run.level, []).append(run)
        for level, same in levels.items():
            if len(same) >= fan_in:
                entries = sum(run.entries for run in same)
                due.append(Merge(bucket=bucket, level=level, runs=tuple(same), entries=entries))
    return sorted(due, key=lambda merge: merge.entries)


def merge(
    batch: WriteBatch, source: Rdict, runs: Runs, due: Merge, number: int, items: int
) -> Runs:
    """Write one run in place of several; returns all runs."""
    mantissa = mantissa_for(due.entries, items)
    entries = 0
    for first, end in _parts(items, mantissa, -(-due.entries // MERGE_ENTRIES)):
        values = [
            block for run in due.runs for block in _scan_run(source, due.bucket, run, first, end)
        ]
        for block, n, value in merged_blocks(values, mantissa, first, end) if values else ():
            batch.put(run_key(due.bucket, number, block), value)
            entries += n
    for run in due.runs:
        batch.delete_range(
            run_key(due.bucket, run.number, 0), run_key(due.bucket, run.number + 1, 0)
        )
    gone = set(due.runs)
    mine = tuple(run for run in runs[due.bucket] if run not in gone)
    if entries:
        mine = (*mine, Run(number, due.level + 1, mantissa, entries))
    others = {bucket: theirs for bucket, theirs in runs.items() if bucket != due.bucket}
    return {**others, due.bucket: mine} if mine else others


def _parts(items: int, mantissa: int, parts: int) -> Iterator[tuple[int, int]]:
    """Cut the item numbers into ranges of whole blocks."""
    blocks = block_of(max(items, 1) - 1, mantissa) + 1
    cuts = sorted({blocks * part // max(parts, 1) for part in range(parts)})
    yield from itertools.pairwise([*(first_of(cut, mantissa) for cut in cuts), items])


def _scan_run(
    source: Rdict, bucket: int, run: Run, first_item: int = 0, end_item: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """(first item, value) of a run's blocks that may hold items in [first_item, end_item).

    end_item: None is the end of the run.
    """
    rows = database.scan(
        source,
        run_key(bucket, run.number, block_of(first_item, run.mantissa)),
        run_key(bucket, run.number + 1, 0)
        if end_item is None
        else run_key(bucket, run.number, block_of(max(end_item, 1) - 1, run.mantissa) + 1),
    )
    for key, value in rows:
        yield first_of(_KEY.unpack(key)[3], run.mantissa), value


def read_runs(
    source: Rdict, runs: Runs, first_live: int
) -> Iterator[tuple[int, tuple[U32, U32, I32]]]:
    """(bucket, (item, neighbour, delta)) of every block of the live buckets."""
    for bucket, mine in runs.items():
        if bucket < first_live:
            continue
        for run in mine:
            for first_item, value in _scan_run(source, bucket, run):
                yield bucket, unpack_block(first_item, value)


def neighbours(source: Rdict, runs: Runs, first_live: int, number: int) -> tuple[U32, I32]:
    """Item numbers that were had together with item `number`, and the users of each pair."""
    places = [
        (bucket, run, block_of(number, run.mantissa))
        for bucket, mine in runs.items()
        if bucket >= first_live
        for run in mine
    ]
    found: Sequence[bytes | None] = source.get(
        [run_key(bucket, run.number, block) for bucket, run, block in places]
    )
    values = [
        (first_of(block, run.mantissa), value)
        for (_, run, block), value in zip(places, found, strict=True)
        if value is not None
    ]
    _, other, users = summed(values, number, number + 1)
    return other, users
