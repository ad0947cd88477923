"""Shown and taken: how often each item was shown at each position, and taken then.

A *showing* is the earliest impression of an item to a user in a bucket of the window; of several at
one time the one at the least position, and of these that of the list with the least number. It is
*taken* if the user has an event of the graph kinds on the item at the same time or at most
`taken_ms` later. So a list that is shown again, or that the log has twice, counts once a day, and
no count depends on the order in which records arrive.

Showings are also counted by list, as far as impressions name one: 0 is an unknown list.

For each user the state keeps the showings and the times of the events, since either may come first.
The counts are sums over the users: what is forgotten of a user is taken out of them. A user's rows
have a floor, the first bucket from which on there are at most `SHOWN_PER_ENTRY * history_cap`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from state.batches import Bools
from state.database import Batch, Database
from state.demand import MARKETS, Demand
from state.kernel import I64
from state.settings import StateSettings
from state.shown import SHOWN_PER_ENTRY
from state.user_records import UserRecords

__all__ = [
    "ACTED",
    "BY_LIST",
    "LISTS",
    "POSITIONS",
    "SHOWINGS",
    "SHOWN_COUNTS",
    "TAKEN_COUNTS",
    "ShownAndTaken",
    "UserRows",
    "lists_of_user",
    "rows_of_user",
    "with_lists",
]

#: First byte of the keys of users' rows; of the counts of showings; and of those that were taken.
SHOWINGS, SHOWN_COUNTS, TAKEN_COUNTS = b"w", b"n", b"t"
#: First byte of the keys of the lists of users' rows, apart from these, which earlier versions
#: read; and of the counts by list of showings, and of those that were taken.
LISTS = b"l"
BY_LIST = (b"N", b"T")
#: Positions from this one on are counted together; 0 is an unknown one.
POSITIONS = MARKETS - 1
#: Position in the rows of events.
ACTED = -1
_COLUMNS = 4
_STORED = 3  # columns of a user's record; the lists have one of their own


class UserRows(NamedTuple):
    """Showings and events of a user.

    floor: first bucket that counts. rows: int64 [n, 4], item number, ms UTC, position or ACTED, and
    list; ascending by item and time, showings before events of the same time. As stored, without
    the lists: int64 [n, 3].
    """

    floor: int
    rows: I64


class ShownAndTaken:
    """Showings and their counts in one partition; changes wait in memory for the next commit."""

    def __init__(self, source: Database, settings: StateSettings) -> None:
        """Read from an open database."""
        self._bucket_ms, self._within_ms = settings.window.bucket_ms, settings.taken_ms
        self._most = SHOWN_PER_ENTRY * settings.history_cap
        self._users = UserRecords(source, SHOWINGS, rows_of_user)
        self._lists = UserRecords(source, LISTS, lists_of_user)
        self.shown = Demand(source, SHOWN_COUNTS)
        self.taken = Demand(source, TAKEN_COUNTS)
        self._by_list = [Demand(source, prefix) for prefix in BY_LIST]
        self._added: list[tuple[list[str], I64]] = []

    def buckets(self) -> tuple[int, ...]:
        """Return the buckets that have stored counts."""
        return tuple(sorted({*self.shown.stored(), *self.taken.stored()}))

    def by_position(self, bucket: int) -> tuple[I64, I64]:
        """Return what was shown in a bucket, and of it taken, as of the last commit.

        Over all items: int64 [POSITIONS + 1] each.
        """
        found = []
        for counts in (self.shown, self.taken):
            _, position, number = counts.sums(bucket, bucket + 1)
            found.append(np.bincount(position, number, POSITIONS + 1).astype(np.int64))
        return found[0], found[1]

    def by_list(self, bucket: int) -> dict[int, tuple[int, int]]:
        """Return what was shown in a bucket, and of it taken, by list, as of the last commit."""
        shown, taken = (
            dict(zip(numbers.tolist(), counts.tolist(), strict=True))
            for numbers, _, counts in (one.sums(bucket, bucket + 1) for one in self._by_list)
        )
        return {number: (count, taken.get(number, 0)) for number, count in shown.items()}

    def add(
        self, users: Sequence[str], items: I64, times: I64, counted: Bools,
        positions: I64 | None = None, lists: I64 | None = None,
    ) -> None:  # fmt: skip
        """Note impressions at positions, or, without these, events of the graph kinds.

        items: numbers; times: ms UTC; positions, lists: int64 [n]. Rows count where `counted`,
        bool [n].
        """
        chosen = np.flatnonzero(counted)
        if len(chosen):
            rows = np.full((len(chosen), _COLUMNS), ACTED, np.int64)
            rows[:, 0], rows[:, 1], rows[:, 3] = items[chosen], times[chosen], 0
            if positions is not None:
                rows[:, 2] = np.clip(positions[chosen], 0, POSITIONS)
            if lists is not None:
                rows[:, 3] = lists[chosen]
            self._added.append(([users[row] for row in chosen.tolist()], rows))

    def gather(self, first: int) -> None:
        """Move what was added into the rows of its users and into the counts.

        first: bucket of the window; what lies before it goes.
        """
        if not self._added:
            return
        names = [name for users, _ in self._added for name in users]
        number = {name: n for n, name in enumerate(dict.fromkeys(names))}
        self._users.load(number)
        self._lists.load(number)
        held = [self._held(name) for name in number]
        old_user = np.repeat(np.arange(len(held)), [len(one.rows) for one in held])
        old = np.concatenate([one.rows for one in held])
        new_user = np.fromiter(map(number.__getitem__, names), np.int64, len(names))
        new = np.concatenate([rows for _, rows in self._added])
        self._added.clear()
        floor = np.array([one.floor for one in held], np.int64)
        # Of a user's items only those that came are put in order and counted again.
        again = _of_groups(_groups(old_user, old), _groups(new_user, new))
        user = np.concatenate([old_user[again], new_user])
        rows = np.concatenate([old[again], new])
        user, rows = self._distinct(*self._live(user, rows, np.maximum(floor, first)))
        counted = len(user)
        others = self._live(old_user[~again], old[~again], np.maximum(floor, first))
        user, rows = np.concatenate([user, others[0]]), np.concatenate([rows, others[1]])
        order = np.argsort(_groups(user, rows), kind="stable")
        user, rows, counted_again = user[order], rows[order], order < counted
        full = np.bincount(user, minlength=len(held)) > self._most
        for of in np.flatnonzero(full).tolist():
            buckets = np.sort(rows[user == of, 1] // self._bucket_ms)
            floor[of] = buckets[-self._most - 1] + 1
        again, counted_again = again | full[old_user], counted_again | full[user]
        if full.any():
            kept = rows[:, 1] // self._bucket_ms >= floor[user]
            user, rows, counted_again = user[kept], rows[kept], counted_again[kept]
        before, after = old[again], rows[counted_again]
        self._count(
            np.concatenate([old_user[again], user[counted_again] + len(held)]),
            np.concatenate([before, after]),
            np.repeat([-1, 1], [len(before), len(after)]),
            first,
        )
        ends = np.searchsorted(user, np.arange(len(held)), side="right").tolist()
        for name, begin, end, lowest in zip(number, [0, *ends], ends, floor.tolist(), strict=False):
            self._users.put(name, UserRows(lowest, rows[begin:end, :_STORED]))
            self._lists.put(name, rows[begin:end, _STORED])

    def _held(self, user: str) -> UserRows:
        """Return the rows of a user with their lists."""
        floor, rows = self._users.of(user)
        return UserRows(floor, with_lists(rows, self._lists.of(user)))

    def forget(self, user: str, first: int) -> None:
        """Take a user out of the counts, and drop the rows; the next commit deletes them."""
        self.gather(first)
        rows = self._held(user).rows
        self._count(np.zeros(len(rows), np.int64), rows, np.full(len(rows), -1), first)
        self._users.forget(user)
        self._lists.forget(user)

    def write(self, batch: Batch, first: int) -> None:
        """Put what has changed into the batch of a commit; first: bucket of the window."""
        self.gather(first)
        self._users.write(batch, _pack)
        self._lists.write(batch, _pack_lists)
        for counts in (self.shown, self.taken, *self._by_list):
            counts.write(batch, first)

    def written(self) -> None:
        """Note that the batch was written."""
        self._users.written()
        self._lists.written()
        for counts in (self.shown, self.taken, *self._by_list):
            counts.written()

    def _live(self, user: I64, rows: I64, first: I64) -> tuple[I64, I64]:
        """Return the rows in buckets from the user's first one on; first: int64 [users]."""
        live = rows[:, 1] // self._bucket_ms >= first[user]
        return user[live], rows[live]

    def _distinct(self, user: I64, rows: I64) -> tuple[I64, I64]:
        """Return the rows in order, without those that change nothing."""
        item, time, position, of = rows.T
        order = np.lexsort((of, position, position == ACTED, time, item, user))
        user, rows = user[order], rows[order]
        item, time, position, _ = rows.T
        acted = position == ACTED
        kept = np.zeros(len(rows), bool)
        for which, when in ((~acted, time // self._bucket_ms), (acted, time)):
            own = np.flatnonzero(which)
            new = np.ones(len(own), bool)
            for column in (user, item, when):
                new[1:] &= column[own[1:]] == column[own[:-1]]
            new[1:] = ~new[1:]
            kept[own[new]] = True
        return user[kept], rows[kept]

    def _count(self, user: I64, rows: I64, by: I64, first: int) -> None:
        """Add `by` of each row to the counts, for showings; a user's rows are in order."""
        n = len(rows)
        if not n:
            return
        item, time, position, of = rows.T
        acted = position == ACTED
        # The next event behind each row, if it is one of the same user on the same item.
        event = np.minimum.accumulate(np.where(acted, np.arange(n), n)[::-1])[::-1]
        there = np.minimum(event, n - 1)
        taken = (event < n) & (user[there] == user) & (item[there] == item)
        taken &= time[there] - time <= self._within_ms
        bucket = time // self._bucket_ms
        counted = ~acted & (bucket >= first)
        sides = (self.shown, self.taken), self._by_list, (counted, counted & taken)
        for counts, by_list, chosen in zip(*sides, strict=True):
            counts.change(bucket[chosen], item[chosen], position[chosen], by[chosen])
            named = chosen & (of > 0)
            nowhere = np.zeros(int(named.sum()), np.int64)
            by_list.change(bucket[named], of[named], nowhere, by[named])


def _groups(user: I64, rows: I64) -> I64:
    """Return a number for each row's user and item, both below 2^31, that orders them."""
    return (user << 32) | rows[:, 0]


def _of_groups(groups: I64, wanted: I64) -> Bools:
    """Return which rows, ascending by group, are of a wanted group: bool [n]."""
    wanted = np.unique(wanted)
    edges = (np.searchsorted(groups, wanted, side) for side in ("left", "right"))
    begins, ends = (np.bincount(edge, minlength=len(groups) + 1) for edge in edges)
    return np.cumsum(begins - ends)[: len(groups)] > 0


def rows_of_user(stored: bytes) -> UserRows:
    """Read what `_pack` wrote; nothing of no bytes."""
    if not stored:
        return UserRows(0, np.zeros((0, _STORED), np.int64))
    floor, items, times, positions = msgspec.msgpack.decode(
        stored, type=tuple[int, bytes, bytes, bytes]
    )
    columns = (
        np.frombuffer(column, dtype).astype(np.int64)
        for column, dtype in ((items, "<u4"), (times, "<i8"), (positions, "<i2"))
    )
    return UserRows(floor, np.stack([*columns], axis=1))


def _pack(user: UserRows) -> bytes:
    """Pack rows: floor, and the columns; no bytes where nothing counts or was forgotten."""
    if not len(user.rows) and not user.floor:
        return b""
    columns = zip(user.rows.T, ("<u4", "<i8", "<i2"), strict=True)
    packed = (np.ascontiguousarray(column, dtype).tobytes() for column, dtype in columns)
    return msgspec.msgpack.encode((user.floor, *packed))


def lists_of_user(stored: bytes) -> I64:
    """Read the lists of a user's rows; nothing of no bytes."""
    return np.frombuffer(stored, "<i4").astype(np.int64)


def with_lists(rows: I64, lists: I64) -> I64:
    """Return a user's rows, int64 [n, 3], with their lists, [n] or none where all are unknown."""
    known = lists if len(lists) else np.zeros(len(rows), np.int64)
    return np.column_stack([rows, known])


def _pack_lists(lists: I64) -> bytes:
    """Pack the lists of a user's rows; no bytes where all are unknown."""
    return lists.astype("<i4").tobytes() if lists.any() else b""
