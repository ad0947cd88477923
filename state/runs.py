"""The adjacency runs of a partition: written by commits, merged in tiers, read by item.

A run is a file (`state.run_files`). The commit record lists the runs (`Runs`), so that no reader
has to list the folder.

`StateSettings.merge_runs` runs of a level become one of the next: an entry is rewritten once for
each level, and an item is read from a number of runs that grows with the logarithm of what was
written. A run of which more than half has left the window is rewritten without that.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from state.blocks import (
    Span,
    block_of,
    first_of,
    firsts_of,
    mantissa_for,
    packed,
    unpacked,
)
from state.deltas import U32, Cells, cells_of, count_buckets, room_for_items
from state.kernel import I32, Deltas
from state.run_files import RunFiles
from state.summing import merged, neighbours_in

__all__ = [
    "Merge",
    "Merging",
    "Run",
    "Runs",
    "crowded",
    "deltas_of",
    "neighbours",
    "read_runs",
    "write_deltas",
]

#: Entries that a merge sorts at once: so many stay in the cache of a core.
MERGE_ENTRIES = 100_000
#: Entries that a reader of everything has unpacked at once, about.
READ_ENTRIES = 1_000_000


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One run.

    number: unique within the partition; the name of its file.
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


def write_deltas(files: RunFiles, number: int, deltas: Deltas, first_live: int, items: int) -> Runs:
    """Write what a commit adds as run `number`; returns it, or nothing if there is nothing."""
    cells = cells_of(deltas, max(first_live, 0), items)
    if not len(cells.item):
        return ()
    least = int(cells.bucket.min())
    mantissa = mantissa_for(len(cells.item), items)
    writer = files.writer(number)
    writer.add(*packed(cells, least, mantissa))
    writer.finish()
    counts = np.zeros(int(cells.bucket.max()) - least + 1, np.int64)
    count_buckets(cells.bucket, least, counts)
    return (Run(number, 0, mantissa, least, tuple(counts.tolist())),)


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
    """One merge, part by part, so that no reader waits for all of it.

    The new run's file is written on the way; no commit record names it before it is whole, and
    readers see the old runs until then.
    """

    def __init__(
        self, files: RunFiles, due: Merge, number: int, *, items: int, first_live: int, last: int
    ) -> None:
        """Merge into run `number`; items and last are those in use, first_live drops buckets."""
        self.due = due
        self.number = number
        self._files = files
        self._items = items
        self._least = max(min(run.least for run in due.runs), first_live, 0)
        self._last = last
        self._mantissa = mantissa_for(due.entries, items)
        self._counts = np.zeros(max(last - self._least + 1, 1), np.int64)
        parts = max(
            -(-due.entries // MERGE_ENTRIES),
            -(-items // room_for_items(items, len(self._counts))),
        )
        self._parts = list(_parts(items, self._mantissa, parts))
        self._each = -(-due.entries // max(len(self._parts), 1))
        self._done = 0
        self._writer = files.writer(number)

    @property
    def finished(self) -> bool:
        """Whether every part is written."""
        return self._done == len(self._parts)

    def step(self) -> int:
        """Write the next part; returns about how many entries were read for it."""
        first, end = self._parts[self._done]
        self._done += 1
        spans = [_span(self._files, run, first, end) for run in self.due.runs]
        cells = merged(spans, first, end, self._least, self._last, self._items)
        if len(cells.item):
            self._writer.add(*packed(cells, self._least, self._mantissa))
            count_buckets(cells.bucket, self._least, self._counts)
        return self._each

    def abandon(self) -> None:
        """Give up what was written so far."""
        self._writer.abandon()

    def finish(self, runs: Runs) -> Runs:
        """Complete the new run; returns all runs with it in the place of those it was made of."""
        self._writer.finish()
        gone = {run.number for run in self.due.runs}
        counts = np.trim_zeros(self._counts, "b").tolist()
        mine = Run(self.number, self.due.into, self._mantissa, self._least, tuple(counts))
        others = tuple(run for run in runs if run.number not in gone)
        return (*others, mine) if counts else others


def _parts(items: int, mantissa: int, parts: int) -> Iterator[tuple[int, int]]:
    """Cut the item numbers into ranges of whole blocks."""
    blocks = block_of(max(items, 1) - 1, mantissa) + 1
    cuts = sorted({blocks * part // max(parts, 1) for part in range(parts)})
    yield from itertools.pairwise([*(first_of(cut, mantissa) for cut in cuts), items])


def _span(files: RunFiles, run: Run, first_item: int, end_item: int) -> Span:
    """The blocks of a run that may hold items in [first_item, end_item)."""
    first = block_of(first_item, run.mantissa)
    return _blocks(files, run, first, block_of(max(end_item, 1) - 1, run.mantissa) + 1)


def _blocks(files: RunFiles, run: Run, first: int, end: int) -> Span:
    file = files[run.number]
    blocks, starts = file.span(first, end)
    return Span(file.data, starts, firsts_of(blocks, run.mantissa), run.least)


def read_runs(files: RunFiles, runs: Runs, first_live: int) -> Iterator[Cells]:
    """The cells of all blocks, some at a time, without the buckets before `first_live`."""
    for run in runs:
        if run.last < first_live:
            continue
        blocks = files[run.number].blocks
        some = max(len(blocks) * READ_ENTRIES // max(run.entries, 1), 1)
        for at in range(0, len(blocks), some):
            part = blocks[at : at + some]
            cells = unpacked(_blocks(files, run, int(part[0]), int(part[-1]) + 1))
            if run.least < first_live:
                live = cells.bucket >= first_live
                cells = Cells(
                    cells.item[live], cells.neighbour[live], cells.bucket[live], cells.delta[live]
                )
            yield cells


def neighbours(
    files: RunFiles, runs: Runs, first_live: int, number: int, items: int
) -> tuple[U32, I32]:
    """Item numbers that were had together with item `number`, and the users of each pair."""
    spans = [_span(files, run, number, number + 1) for run in runs if run.last >= first_live]
    return neighbours_in(spans, number, first_live, items)


def deltas_of(files: RunFiles, runs: Runs, first_live: int, number: int) -> tuple[U32, I32, I32]:
    """Neighbour, bucket and delta of an item's cells in the window, run by run: not summed."""
    parts = []
    for run in runs:
        if run.last >= first_live:
            cells = unpacked(_span(files, run, number, number + 1))
            mine = (cells.item == number) & (cells.bucket >= first_live)
            parts.append((cells.neighbour[mine], cells.bucket[mine], cells.delta[mine]))
    nothing = (np.zeros(0, np.uint32), np.zeros(0, np.int32), np.zeros(0, np.int32))
    neighbour, bucket, delta = zip(nothing, *parts, strict=True)
    return np.concatenate(neighbour), np.concatenate(bucket), np.concatenate(delta)
