"""The canonical form of a partition's state, part by part: states with equal parts are equal.

Dense item numbers, the cut into runs and what is purged lazily depend on how the stream was cut
into batches. The canonical form does not: it holds what the definition in DESIGN.md defines and no
more.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import numpy as np

from state import database
from state.histories import History
from state.kernel import I64, U64
from state.packing import rows_of
from state.partition import PartitionState
from state.runs import read_runs
from state.taken import LISTS, lists_of_user, rows_of_user, with_lists

__all__ = [
    "Entry",
    "actions_view",
    "entries_of",
    "grouped",
    "history_entries",
    "pair_counts",
    "records",
    "showings_view",
    "shown_view",
    "stored_deltas",
    "taken_counts",
]

Entry = tuple[int, int, int, int, int]

_NO_KEYS = np.zeros(0, np.uint64)


def actions_view(state: PartitionState, stored: bytes) -> dict[tuple[str, int], int]:
    """Stored actions of a user by kind and item key; without those that left the window."""
    keys = state.items.keys
    return {
        (kind, int(keys[item])): time
        for kind, times in state.live_actions(stored).items()
        for item, time in times.items()
    }


def shown_view(
    state: PartitionState, stored: bytes
) -> dict[int, tuple[int, tuple[tuple[int, int], ...]]]:
    """Stored impressions of a user by item key; without those that left the window."""
    rows, keys = state.live_shown(stored).rows.tolist(), state.items.keys
    found = {}
    for item, own in groupby(rows, itemgetter(0)):
        cells = [*own]
        found[int(keys[item])] = cells[-1][3], tuple((b, n) for _, b, n, _ in cells)
    return found


def showings_view(
    state: PartitionState, user: bytes, stored: bytes
) -> tuple[tuple[int, int, int, int], ...]:
    """Stored showings and events of a user; without those that left the window."""
    lists = lists_of_user(state.database.get(LISTS + user) or b"")
    rows, window = with_lists(rows_of_user(stored).rows, lists), state.settings.window
    live = rows[rows[:, 1] // window.bucket_ms >= window.first_live(state.watermark)]
    keys = state.items.keys[live[:, 0]].tolist()
    return tuple(sorted(zip(keys, *live[:, 1:].T.tolist(), strict=True)))


def taken_counts(state: PartitionState) -> dict[tuple[int, int, int], tuple[int, int]]:
    """How often items were shown and taken, by bucket, item key and position."""
    counts: tuple[dict[tuple[int, int, int], int], ...] = ({}, {})
    for blocks, found in zip(state.taken.blocks(), counts, strict=True):
        for block in blocks:
            columns = (block.keys.tolist(), block.markets.tolist(), block.counts.tolist())
            found |= {(block.bucket, k, p): n for k, p, n in zip(*columns, strict=True)}
    shown, taken = counts
    return {key: (shown.get(key, 0), taken.get(key, 0)) for key in shown | taken}


def records(state: PartitionState, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key without its prefix, stored value) of one kind of rows, ascending; committed only."""
    for key, value in state.database.scan(prefix, database.after(prefix)):
        yield key[len(prefix) :], value


def history_entries(state: PartitionState, stored: bytes) -> tuple[Entry, ...]:
    """The live entries of a stored history, newest first, whatever is purged lazily."""
    return entries_of(
        History.of_rows(rows_of(stored), state.items.keys, state.settings, state.watermark)
    )


def entries_of(history: History) -> tuple[Entry, ...]:
    """A history's entries, newest first."""
    return tuple(
        (int(k), int(t), int(s), int(v[0]), int(v[1]))
        for k, t, s, v in zip(
            history.item_keys, history.time, history.strong_time, history.visits, strict=True
        )
    )


def stored_deltas(state: PartitionState) -> int:
    """How many entries the adjacency runs have; what reading all of them at once would hold."""
    return sum(run.entries for run in state.runs)


Counts = tuple[I64, U64, U64, I64]


def pair_counts(state: PartitionState, first: int = 0, last: int = 2**64 - 1) -> Counts:
    """Bucket, lesser item key, greater item key and users of all live pairs: ascending, no zeros.

    first, last: read only pairs whose lesser key lies between these, both included. Keys are
    hashes, so that an n-th of their range holds at most two n-ths of the pairs.
    """
    keys = state.items.keys
    oldest = max(state.settings.window.first_live(state.watermark), 0)
    nothing = np.zeros(0, np.int64)
    parts: list[Counts] = [(nothing, _NO_KEYS, _NO_KEYS, nothing)]
    for cells in read_runs(state.run_files, state.runs, oldest):
        a, b = keys[cells.item], keys[cells.neighbour]
        # Both directions are stored; one is enough here.
        chosen = (a <= b) & (a >= np.uint64(first)) & (a <= np.uint64(last))
        bucket, delta = (column[chosen].astype(np.int64) for column in (cells.bucket, cells.delta))
        parts.append((bucket, a[chosen], b[chosen], delta))
    bucket, a, b, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    order, starts = grouped(bucket, a, b)
    count = np.add.reduceat(count[order], starts) if len(starts) else count
    rows = order[starts][count != 0]
    return bucket[rows], a[rows], b[rows], count[count != 0]


def grouped(bucket: I64, a: U64, b: U64) -> tuple[I64, I64]:
    """Order of the rows by (bucket, a, b), and where in it each distinct one begins."""
    order = np.lexsort((b, a, bucket))
    changes = np.zeros(len(order), bool)
    changes[:1] = True
    for column in (bucket, a, b):
        changes[1:] |= column[order[1:]] != column[order[:-1]]
    return order, np.flatnonzero(changes)
