"""The adjacency runs of a partition: written by commits, merged in tiers, read by item.

Key  b"p" + run (u64) + block (u32), big-endian: a run is one range. The commit record holds which
runs there are (`Runs`), so that nobody has to look; blocks of other runs are what a merge left
behind when its process died, and are dropped when the state is opened.

`StateSettings.merge_runs` runs of a level become one of the next: an entry is rewritten once for
each level, and an item is read from a number of runs that grows with the logarithm of what was
written. A run of which more than half has left the window is rewritten without that.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from rocksdict import Rdict, WriteBatch

from state import database
from state.blocks import (
    Value,
    block_of,
    first_of,
    mantissa_for,
    merged,
    neighbours_in,
    packed,
    unpack_block,
)
from state.deltas import U32, Cells, cells_of, room_for_items
from state.kernel import I32, Deltas

__all__ = ["Merge", "Merging", "Run", "Runs", "crowded", "expire", "forget_unknown",
           "neighbours", "read_runs", "write_deltas"]  # fmt: skip

PREFIX = b"p"
#: Entries that a merge sorts at once: so many stay in the cache of a core.
MERGE_ENTRIES = 100_000

_KEY = struct.Struct(">cQI")


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One run.

    number: unique within the partition.
    level:  how often its entries have been merged.
    mantissa: how its items are cut into blocks, see `state.blocks`.
    least:  its first bucket.
    counts: directed entries of each bucket from the first on, as written.
    """

    number: int
    level: int
    mantissa: int
    least: int
    counts: tuple[int, ...]

    @property
    def entries(self) -> int:
        """Directed entries, as written."""
        return sum(self.counts)

    @property
    def last(self) -> int:
        """Its last bucket."""
        return self.least + len(self.counts) - 1

    def live(self, first_live: int) -> int:
        """Directed entries of the buckets from `first_live` on."""
        return sum(self.counts[max(first_live - self.least, 0) :])


#: The runs of a partition, oldest first.
Runs = tuple[Run, ...]


def run_key(run: int, block: int) -> bytes:
    """Key of a block."""
    return _KEY.pack(PREFIX, run, block)


def expire(batch: WriteBatch, runs: Runs, first_live: int) -> Runs:
    """Drop the runs that lie before `first_live` altogether; returns those that stay."""
    for run in runs:
        if run.last < first_live:
            _drop(batch, run)
    return tuple(run for run in runs if run.last >= first_live)


def forget_unknown(source: Rdict, batch: WriteBatch, runs: Runs) -> None:
    """Drop the blocks of runs that no commit record names."""
    known = sorted(run.number for run in runs)
    for before, behind in itertools.pairwise([-1, *known, 2**64 - 1]):
        first, end = run_key(before + 1, 0), run_key(behind, 0)
        if next(database.scan(source, first, end), None):
            batch.delete_range(first, end)


def write_deltas(
    batch: WriteBatch, number: int, deltas: Deltas, first_live: int, items: int
) -> Runs:
    """Write what a commit adds as run `number`; returns it, or nothing if there is nothing."""
    cells = cells_of(deltas, max(first_live, 0), items)
    if not len(cells.item):
        return ()
    least = int(cells.bucket.min())
    mantissa = mantissa_for(len(cells.item), items)
    for block, value in packed(cells, least, mantissa):
        batch.put(run_key(number, block), value)
    counts = np.bincount(cells.bucket - least).tolist()
    return (Run(number, 0, mantissa, least, tuple(counts)),)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Runs that are due to become one of level `into`, or one that is to be rewritten."""

    runs: Runs
    into: int

    @property
    def entries(self) -> int:
        """Directed entries to read."""
        return sum(run.entries for run in self.runs)


def crowded(runs: Runs, fan_in: int, first_live: int) -> list[Merge]:
    """Merges that are due, the cheapest first."""
    levels: dict[int, list[Run]] = {}
    for run in runs:
        levels.setdefault(run.level, []).append(run)
    due = [
        Merge(runs=tuple(same), into=level + 1)
        for level, same in levels.items()
        if len(same) >= fan_in
    ]
    # What is merged anyway loses what has expired on the way.
    taken = {run.number for merge in due for run in merge.runs}
    due += [
        Merge(runs=(run,), into=run.level)
        for run in runs
        if run.number not in taken and 2 * run.live(first_live) < run.entries
    ]
    return sorted(due, key=lambda merge: merge.entries)


class Merging:
    """One merge, part by part, so that nobody has to wait for all of it.

    Parts are written as they are done, under a run that no commit record names yet. Readers see
    the old runs until `finish` is written, which also drops these.
    """

    def __init__(
        self, source: Rdict, due: Merge, number: int, *, items: int, first_live: int, last: int
    ) -> None:
        """Merge into run `number`; items and last are those in use, first_live drops buckets."""
        self.due = due
        self._source = source
        self._number = number
        self._items = items
        self._first_live = max(first_live, 0)
        self._least = max(min(run.least for run in due.runs), self._first_live)
        self._last = last
        self._mantissa = mantissa_for(due.entries, items)
        self._counts = np.zeros(max(last - self._least + 1, 1), np.int64)
        parts = max(
            -(-due.entries // MERGE_ENTRIES),
            -(-items // room_for_items(items, max(last - self._least + 1, 1))),
        )
        self._parts = list(_parts(items, self._mantissa, parts))
        self._each = -(-due.entries // max(len(self._parts), 1))
        self._done = 0

    @property
    def finished(self) -> bool:
        """Whether every part is written."""
        return self._done == len(self._parts)

    def step(self) -> int:
        """Write the next part; returns about how many entries were read for it."""
        first, end = self._parts[self._done]
        self._done += 1
        values = [
            value for run in self.due.runs for value in _scan_run(self._source, run, first, end)
        ]
        if values:
            cells = merged(values, first, end, self._least, self._last, self._items)
            batch = WriteBatch(raw_mode=True)
            for block, value in packed(cells, self._least, self._mantissa):
                batch.put(run_key(self._number, block), value)
            self._source.write(batch)
            self._counts += np.bincount(cells.bucket - self._least, minlength=len(self._counts))
        return self._each

    def abandon(self, batch: WriteBatch) -> None:
        """Drop what was written so far."""
        batch.delete_range(run_key(self._number, 0), run_key(self._number + 1, 0))

    def finish(self, batch: WriteBatch, runs: Runs) -> Runs:
        """Drop the merged runs; returns all runs with the new one in their place."""
        gone = {run.number for run in self.due.runs}
        for run in self.due.runs:
            _drop(batch, run)
        counts = np.trim_zeros(self._counts, "b").tolist()
        mine = Run(self._number, self.due.into, self._mantissa, self._least, tuple(counts))
        others = tuple(run for run in runs if run.number not in gone)
        return (*others, mine) if counts else others


def _drop(batch: WriteBatch, run: Run) -> None:
    batch.delete_range(run_key(run.number, 0), run_key(run.number + 1, 0))


def _parts(items: int, mantissa: int, parts: int) -> Iterator[tuple[int, int]]:
    """Cut the item numbers into ranges of whole blocks."""
    blocks = block_of(max(items, 1) - 1, mantissa) + 1
    cuts = sorted({blocks * part // max(parts, 1) for part in range(parts)})
    yield from itertools.pairwise([*(first_of(cut, mantissa) for cut in cuts), items])


def _scan_run(
    source: Rdict, run: Run, first_item: int = 0, end_item: int | None = None
) -> Iterator[Value]:
    """(first item, least bucket, value) of a run's blocks that may hold items of a range.

    The items in [first_item, end_item); end_item: None is the end of the run.
    """
    rows = database.scan(
        source,
        run_key(run.number, block_of(first_item, run.mantissa)),
        run_key(run.number + 1, 0)
        if end_item is None
        else run_key(run.number, block_of(max(end_item, 1) - 1, run.mantissa) + 1),
    )
    for key, value in rows:
        yield first_of(_KEY.unpack(key)[2], run.mantissa), run.least, value


def read_runs(source: Rdict, runs: Runs, first_live: int) -> Iterator[Cells]:
    """The cells of every block, without the buckets before `first_live`."""
    for run in runs:
        if run.last < first_live:
            continue
        for value in _scan_run(source, run):
            cells = unpack_block(*value)
            if run.least < first_live:
                live = cells.bucket >= first_live
                cells = Cells(
                    cells.item[live], cells.neighbour[live], cells.bucket[live], cells.delta[live]
                )
            yield cells


def neighbours(
    source: Rdict, runs: Runs, first_live: int, number: int, items: int
) -> tuple[U32, I32]:
    """Item numbers that were had together with item `number`, and the users of each pair."""
    live = [run for run in runs if run.last >= first_live]
    blocks = [block_of(number, run.mantissa) for run in live]
    found: Sequence[bytes | None] = source.get(
        [run_key(run.number, block) for run, block in zip(live, blocks, strict=True)]
    )
    values = [
        (first_of(block, run.mantissa), run.least, value)
        for run, block, value in zip(live, blocks, found, strict=True)
        if value is not None
    ]
    return neighbours_in(values, number, first_live, items)
