"""Impressions: how often each user was shown each item, by bucket of the window, and when last.

Counts are integers and a function of the records applied, as those of live popularity are: what the
log has twice counts twice, a record that is read again counts once. Impressions do not move the
watermark, and enter no history, count or example.

A user's impressions have a floor: the first bucket that counts. It is the first one from which on
the user was shown at most `SHOWN_PER_ENTRY * history_cap` different items, so it only grows, and
what is forgotten does not depend on the order in which impressions arrive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numba
import numpy as np

from state import database
from state.batches import Bools
from state.database import Batch, Database
from state.kernel import I64, U64
from state.settings import StateSettings
from state.sorting import kth_smallest, order_of
from state.user_records import UserRecords

__all__ = [
    "ASSUMED",
    "ASSUMED_KIND",
    "READ",
    "SHOWN",
    "SHOWN_KIND",
    "SHOWN_PER_ENTRY",
    "Shown",
    "ShownBefore",
    "ShownItems",
    "UserShown",
    "shown_of",
]

#: First byte of the keys of these counts.
SHOWN = b"s"
#: Kinds of the rows of a batch that are impressions; no event can have them. Assumed are those of
#: lists that were written: all of a bucket together count once.
SHOWN_KIND, ASSUMED_KIND = "segue:shown", "segue:assumed"
#: In a stored count: that there are assumed impressions beside those that it counts.
ASSUMED = 1 << 32
#: Different items that are remembered of a user, for each entry that a history can have.
SHOWN_PER_ENTRY = 8
#: Items of a user, those shown last, that a ranking head reads impressions of.
READ = 128


class UserShown(NamedTuple):
    """Impressions of one user.

    floor: first bucket that counts. rows: int64 [c, 4], ascending by item and bucket: item number,
    bucket, impressions (plus `ASSUMED` where some were assumed), and a time. In the last row of an
    item that is the time of its latest impression, ms UTC.
    """

    floor: int
    rows: I64

    def live(self, first: int, most: int) -> "UserShown":
        """Return what counts: buckets from `first` on, and of at most so many items."""
        return UserShown(*_live(self.rows, self.floor, first, most))


@dataclass(frozen=True, kw_only=True)
class ShownItems:
    """What a user was shown inside the window, a row for each item and bucket.

    items: u64 [s], item keys; begin: i64 [s], ms UTC at which the bucket begins; count: i64 [s].
    bucket_ms: length of a bucket.
    """

    items: U64
    begin: I64
    count: I64
    bucket_ms: int = 86_400_000

    def __len__(self) -> int:
        return len(self.items)

    def before(self, at_ms: int) -> "ShownBefore":
        """Return what was shown in buckets that had ended by `at_ms`, of the newest `READ` items.

        A bucket that goes on is left out: it has the list that the user now chooses from.
        """
        items, end, total = _by_item(
            self.items, self.begin + self.bucket_ms, self.count, np.int64(at_ms)
        )
        if len(items) > READ:
            newest = np.sort(np.lexsort((items, -end))[:READ])
            items, end, total = items[newest], end[newest], total[newest]
        return ShownBefore(items=items, end=end, count=total)


@dataclass(frozen=True, kw_only=True)
class ShownBefore:
    """What a user was shown before a bucket of the window, a row for each item.

    items: u64 [s], item keys, ascending; end: i64 [s], ms UTC at which the last bucket ended in
    which the item was shown; count: i64 [s], impressions in all buckets.
    """

    items: U64
    end: I64
    count: I64


class Shown:
    """Impressions of one partition's users; changes wait in memory for the next commit."""

    def __init__(self, source: Database, settings: StateSettings) -> None:
        """Read from an open database."""
        self._window = settings.window
        self._most = SHOWN_PER_ENTRY * settings.history_cap
        self._users = UserRecords(source, SHOWN, shown_of)
        self.any = any(True for _ in source.scan(SHOWN, database.after(SHOWN)))

    def apply(
        self, users: Sequence[str], items: I64, times: I64, counted: Bools, assumed: Bools
    ) -> None:
        """Count impressions: item numbers and ms UTC, int64 [n]; counted, assumed: bool [n]."""
        rows_of: dict[str, list[int]] = {}
        for row in np.flatnonzero(counted).tolist():
            rows_of.setdefault(users[row], []).append(row)
        self._users.load(rows_of)
        buckets = times // self._window.bucket_ms
        for user, rows in rows_of.items():
            floor, held = self._users.of(user)
            added = _added(held, floor, np.array(rows), items, buckets, times, assumed)
            self._users.put(user, UserShown(floor, added))
        self.any |= bool(rows_of)

    def of(self, user: str, first: int, keys: U64) -> ShownItems:
        """Return what a user was shown in the buckets from `first` on; keys: by item number."""
        if not self.any:
            return _NOTHING
        number, bucket, count, _ = self._users.of(user).live(first, self._most).rows.T
        count = count % ASSUMED + count // ASSUMED
        length = self._window.bucket_ms
        return ShownItems(items=keys[number], begin=bucket * length, count=count, bucket_ms=length)

    def has(self, user: str) -> bool:
        """Whether there is anything of a user, inside the window or not."""
        return self.any and bool(len(self._users.of(user).rows))

    def forget(self, user: str) -> None:
        """Drop the impressions of a user; the next commit deletes them."""
        self._users.forget(user)

    def write(self, batch: Batch, first: int) -> None:
        """Put what has changed into the batch of a commit; first: bucket of the window."""
        self._users.write(batch, lambda shown: _pack(shown.live(first, self._most)))

    def written(self) -> None:
        """Note that the batch was written."""
        self._users.written()

    def live(self, stored: bytes, first: int) -> UserShown:
        """Return what counts of stored impressions."""
        return shown_of(stored).live(first, self._most)


@numba.njit(cache=True, nogil=True)
def _by_item(items: U64, end: I64, count: I64, at_ms: np.int64) -> tuple[U64, I64, I64]:
    """Return items, ascending, the greatest end of each, and its counts in all; by `at_ms`.

    Rows of an item that stand together, as a state has them, are joined before they are sorted.
    """
    keys, last, total = np.empty_like(items), np.empty_like(end), np.empty_like(count)
    found = 0
    for row in range(len(items)):
        if end[row] > at_ms:
            continue
        if not found or keys[found - 1] != items[row]:
            keys[found], last[found], total[found] = items[row], end[row], 0
            found += 1
        last[found - 1] = max(last[found - 1], end[row])
        total[found - 1] += count[row]
    order = order_of(keys[:found])
    keys, last, total = keys[:found][order], last[:found][order], total[:found][order]
    kept = 0
    for row in range(found):
        if kept and keys[kept - 1] == keys[row]:
            last[kept - 1] = max(last[kept - 1], last[row])
            total[kept - 1] += total[row]
        else:
            keys[kept], last[kept], total[kept] = keys[row], last[row], total[row]
            kept += 1
    return keys[:kept], last[:kept], total[:kept]


_NOTHING = ShownItems(
    items=np.zeros(0, np.uint64), begin=np.zeros(0, np.int64), count=np.zeros(0, np.int64)
)


def shown_of(stored: bytes) -> UserShown:
    """Read what `_pack` wrote; nothing of no bytes."""
    if not stored:
        return UserShown(0, _NO_ROWS)
    floor, packed = msgspec.msgpack.decode(stored, type=tuple[int, tuple[bytes, bytes, bytes]])
    sizes, last, cells = (np.frombuffer(part, "<i8") for part in packed)
    item, size = sizes.reshape(-1, 2).T
    rows = np.empty((size.sum(), 4), np.int64)
    rows[:, 0], rows[:, 1:3], rows[:, 3] = (
        np.repeat(item, size), cells.reshape(-1, 2), np.repeat(last, size)
    )  # fmt: skip
    keys = _keys(rows[:, 0], rows[:, 1])
    if (keys[1:] < keys[:-1]).any():  # earlier versions wrote them in the order of arrival
        rows = rows[np.argsort(keys)]
    return UserShown(floor, rows)


def _pack(shown: UserShown) -> bytes:
    """Pack impressions: floor; item numbers and buckets of each; last times; buckets and counts.

    No bytes where nothing counts and nothing was forgotten.
    """
    rows = shown.rows
    if not len(rows) and not shown.floor:
        return b""
    ends = np.flatnonzero(np.append(rows[1:, 0] != rows[:-1, 0], True))[: len(rows)]
    sizes = np.stack([rows[ends, 0], np.diff(ends, prepend=-1)], axis=1)
    parts = (part.astype("<i8").tobytes() for part in (sizes, rows[ends, 3], rows[:, 1:3]))
    return msgspec.msgpack.encode((shown.floor, tuple(parts)))


@numba.njit(cache=True, nogil=True)
def _keys(item: I64, bucket: I64) -> I64:
    """Return numbers that order rows by item and bucket; both are below 2^31."""
    return (item << 32) | bucket


@numba.njit(cache=True, nogil=True)
def _added(
    rows: I64, floor: int, of: I64, items: I64, buckets: I64, times: I64, assumed: Bools
) -> I64:
    """Return a user's rows with the impressions `of` a batch counted, from bucket `floor` on."""
    of = of[buckets[of] >= floor]
    new = _keys(items[of], buckets[of])
    old = _keys(rows[:, 0], rows[:, 1])
    merged, n, at = np.empty((len(rows) + len(of), 4), np.int64), 0, 0
    for place in order_of(new):
        key, row = new[place], of[place]
        while at < len(rows) and old[at] <= key:
            n, at = _copied(rows, at, merged, n)
        if not n or merged[n - 1, 0] != items[row] or merged[n - 1, 1] != buckets[row]:
            merged[n, 0], merged[n, 1], merged[n, 2], merged[n, 3] = (
                items[row], buckets[row], 0, times[row]
            )  # fmt: skip
            n += 1
        if assumed[row]:
            merged[n - 1, 2] |= ASSUMED
        else:
            merged[n - 1, 2] += 1
        merged[n - 1, 3] = max(merged[n - 1, 3], times[row])
    while at < len(rows):
        n, at = _copied(rows, at, merged, n)
    return merged[:n]


@numba.njit(cache=True, nogil=True)
def _copied(rows: I64, at: int, into: I64, n: int) -> tuple[int, int]:
    """Copy a row; return the next places in both tables.

    Column by column: numba takes five seconds to compile `into[n] = rows[at]`.
    """
    for column in range(rows.shape[1]):
        into[n, column] = rows[at, column]
    return n + 1, at + 1


@numba.njit(cache=True, nogil=True)
def _live(rows: I64, floor: int, first: int, most: int) -> tuple[int, I64]:
    """Return the floor for at most so many items, and the rows from it and `first` on."""
    latest, n = np.empty(len(rows), np.int64), 0
    for row in range(len(rows)):
        if row and rows[row, 0] == rows[row - 1, 0]:
            n -= 1
        latest[n] = rows[row, 1]
        n += 1
    if n > most:
        floor = max(floor, kth_smallest(latest[:n], n - most - 1) + 1)
    return floor, rows[rows[:, 1] >= max(floor, first)]


_NO_ROWS = np.zeros((0, 4), np.int64)
