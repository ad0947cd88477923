"""The canonical form of a partition's state: equal dumps are equal states.

Dense item numbers, the cut into runs and what is purged lazily depend on how the stream was cut
into batches. The dump does not: it holds what the definition in DESIGN.md defines and no more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from state import database
from state.history import History
from state.kernel import I64, U64
from state.packing import rows_of
from state.partition import PartitionState
from state.runs import read_runs

__all__ = [
    "Dump",
    "Entry",
    "dump",
    "entries_of",
    "grouped",
    "history_entries",
    "live_buckets",
    "pair_counts",
    "records",
    "stored_deltas",
]

Entry = tuple[int, int, int, int, int]

_NO_KEYS = np.zeros(0, np.uint64)


@dataclass(frozen=True, kw_only=True)
class Dump:
    """State of a partition, independent of batches, order of arrival and storage.

    watermark: greatest bucket seen.
    histories: user -> entries (item key, time, strong time, visits low, visits high), newest
               first; users without live entries are left out.
    pairs:     (bucket, lesser item key, greater item key) -> users, without zeros.
    users, catalogue: latest records by key.
    """

    watermark: int
    histories: dict[str, tuple[Entry, ...]]
    pairs: dict[tuple[int, int, int], int]
    users: dict[str, bytes]
    catalogue: dict[bytes, bytes]

    def differences(self, other: "Dump", limit: int = 10) -> list[str]:
        """First differences between two states, for people; empty if they are equal."""
        found: list[str] = []
        if self.watermark != other.watermark:
            found.append(f"watermark: {self.watermark} and {other.watermark}")
        for name in ("histories", "pairs", "users", "catalogue"):
            mine: dict[Any, Any] = getattr(self, name)
            theirs: dict[Any, Any] = getattr(other, name)
            for key in sorted(mine.keys() | theirs.keys(), key=repr):
                if mine.get(key) != theirs.get(key):
                    found.append(f"{name}[{key!r}]: {mine.get(key)!r} and {theirs.get(key)!r}")
                if len(found) >= limit:
                    return found
        return found


def dump(state: PartitionState) -> Dump:
    """Commit a state and read all of it."""
    state.commit()
    return Dump(
        watermark=state.watermark,
        histories={
            user.decode(): entries
            for user, stored in records(state, database.HISTORY)
            if (entries := history_entries(state, stored))
        },
        pairs={
            (bucket, a, b): count
            for bucket in live_buckets(state)
            for a, b, count in zip(*(x.tolist() for x in pair_counts(state, bucket)), strict=True)
        },
        users={user.decode(): value for user, value in records(state, database.USERS)},
        catalogue=dict(records(state, database.CATALOGUE)),
    )


def records(state: PartitionState, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key without its prefix, stored value) of one kind of rows, ascending; committed only."""
    for key, value in database.scan(state.database, prefix, database.after(prefix)):
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


def live_buckets(state: PartitionState) -> range:
    """The buckets of the window that ends at the state's watermark."""
    return range(max(state.settings.window.first_live(state.watermark), 0), state.watermark + 1)


def stored_deltas(state: PartitionState, bucket: int) -> int:
    """How many entries the adjacency runs of a bucket have; what reading all of it would hold."""
    return sum(run.entries for run in state.runs.get(bucket, ()))


def pair_counts(
    state: PartitionState, bucket: int, first: int = 0, last: int = 2**64 - 1
) -> tuple[U64, U64, I64]:
    """Lesser item key, greater item key and users of the pairs of a bucket, ascending, no zeros.

    first, last: read only pairs whose lesser key lies between these, both included. Keys are
    hashes, so that an n-th of their range holds at most two n-ths of the pairs.
    """
    keys = state.items.keys
    parts: list[tuple[U64, U64, I64]] = [(_NO_KEYS, _NO_KEYS, np.zeros(0, np.int64))]
    runs = {bucket: state.runs.get(bucket, ())}
    for _, (item, neighbour, delta) in read_runs(state.database, runs, bucket):
        a, b = keys[item], keys[neighbour]
        # Both directions are stored; one is enough here.
        chosen = (a <= b) & (a >= np.uint64(first)) & (a <= np.uint64(last))
        parts.append((a[chosen], b[chosen], delta[chosen].astype(np.int64)))
    return _summed(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _summed(a: U64, b: U64, count: I64) -> tuple[U64, U64, I64]:
    """Sum counts by (a, b), ascending, and drop the zeros."""
    order, starts = grouped(a, b)
    a, b = a[order][starts], b[order][starts]
    count = np.add.reduceat(count[order], starts) if len(starts) else count
    return a[count != 0], b[count != 0], count[count != 0]


def grouped(a: U64, b: U64) -> tuple[I64, I64]:
    """Order of the rows by (a, b), and where in this order each distinct (a, b) begins."""
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    changes = np.append(True, (a[1:] != a[:-1]) | (b[1:] != b[:-1]))[: len(a)]
    return order, np.flatnonzero(changes)
