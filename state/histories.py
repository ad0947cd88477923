"""Histories of users: one as arrays, and those of a partition.

A partition's are unpacked in an arena while they are hot, and packed in RocksDB.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from state import database
from state.database import Batch, Database
from state.kernel import COLUMNS, I64, ITEM, NONE, STRONG, TIME, U64, VISITS, live_rows
from state.names import NameTable, utf8_of
from state.packing import pack, packed_bytes, rows_of, unpack, unpacked_lengths
from state.settings import StateSettings

__all__ = ["Histories", "History"]

LEAST_ROOM = 4


class Histories:
    """Histories by user. A user that has events gets a slot: a place in one table of rows.

    rows [r, COLUMNS], starts [s], lengths [s]: the arena, see `state.kernel`; slot s has its rows
    at `starts[s]`, newest first. A slot that outgrows its place moves to the end. After a commit
    that leaves the arena greater than `cache_bytes` the slots are moved together; if what they
    hold fills more than half of that, all are given up instead, since everything is in RocksDB
    then.
    """

    def __init__(self, source: Database, cache_bytes: int, cap: int) -> None:
        """Read from an open database; cap: entries of a history at most."""
        self._database = source
        self.limit(cache_bytes)
        self._cap = cap
        self._used: int
        self._give_up()

    def limit(self, cache_bytes: int) -> None:
        """Keep at most so many bytes between two commits, from the next commit on."""
        self._most_rows = cache_bytes // (8 * COLUMNS)

    def slots(self, users: Sequence[str]) -> I64:
        """Slots for the users of a batch of events, with capacity for one more row for each event.

        Returns int64 [n], one for each event.
        """
        known = len(self._users)
        slots = self._users.numbers(utf8_of(users))
        self._load(known)
        self._touched[slots] = True
        more = _rows_needed(slots, self._counts, self.lengths, self._room, self._cap)
        self._grow(more)
        self._used = _make_room(
            slots, self._counts, self.rows, self.starts, self.lengths, self._room, self._cap,
            self._used,
        )  # fmt: skip
        return slots

    def of(self, user: str) -> I64:
        """Rows of a user as of now: int64 [n, COLUMNS]."""
        slot = self._users.find(user)
        if slot is not None:
            start = int(self.starts[slot])
            return self.rows[start : start + int(self.lengths[slot])].copy()
        stored = self._database.get(database.HISTORY + user.encode())
        return rows_of(stored) if stored else np.zeros((0, COLUMNS), np.int64)

    def forget(self, user: str) -> None:
        """Drop the history of a user; the next commit deletes it."""
        (slot,) = self.slots([user]).tolist()
        start = int(self.starts[slot])
        self.rows[start : start + int(self.lengths[slot])] = 0
        self.lengths[slot] = 0

    def write(self, batch: Batch) -> None:
        """Put the histories that events have touched since the last commit into a batch."""
        touched = np.flatnonzero(self._touched[: len(self._users)])
        lengths = self.lengths[touched]
        out = np.empty(packed_bytes(lengths), np.uint8)
        ends = pack(self.rows, self.starts[touched], lengths, out)
        packed = out[: ends[-1] if len(ends) else 0].tobytes()
        prefix, begin = database.HISTORY, 0
        for user, length, end in zip(
            self._users.names(touched), lengths.tolist(), ends.tolist(), strict=True
        ):
            if length:
                batch.put(prefix + user, packed[begin:end])
            else:
                batch.delete(prefix + user)
            begin = end

    def written(self) -> None:
        """Note that the batch was written."""
        self._touched[: len(self._users)] = False
        if self._used > self._most_rows:
            room = self.lengths[: len(self._users)] + LEAST_ROOM
            if 2 * int(room.sum()) > self._most_rows:
                self._give_up()
            else:
                self._move_together(room)

    def _give_up(self) -> None:
        # The number of a user is the slot.
        self._users = NameTable()
        self._used = 0
        self.rows: I64 = np.empty((1024, COLUMNS), np.int64)
        self.starts: I64 = np.zeros(1024, np.int64)
        self.lengths: I64 = np.zeros(1024, np.int64)
        self._room: I64 = np.zeros(1024, np.int64)
        # Events of a batch by slot; zeros between two batches.
        self._counts: I64 = np.zeros(1024, np.int64)
        self._touched: npt.NDArray[np.bool_] = np.zeros(1024, bool)

    def _move_together(self, room: I64) -> None:
        """Give the slots these places, one behind the other."""
        n, starts = len(room), np.cumsum(room) - room
        rows = np.empty((2 * int(room.sum()), COLUMNS), np.int64)
        _copy(self.rows, self.starts[:n], self.lengths[:n], rows, starts)
        self.rows, self._used = rows, int(room.sum())
        self.starts[:n], self._room[:n] = starts, room

    def _load(self, first: int) -> None:
        """Fill the slots from `first` on, which are new, with what RocksDB has of their users."""
        end = len(self._users)
        if end == first:
            return
        while end > len(self.starts):
            self.starts, self.lengths, self._room, self._counts = (
                np.concatenate([a, np.zeros_like(a)])
                for a in (self.starts, self.lengths, self._room, self._counts)
            )
            self._touched = np.concatenate([self._touched, np.zeros_like(self._touched)])
        prefix = database.HISTORY
        users = self._users.names(np.arange(first, end))
        found = self._database.get([prefix + user for user in users])
        stored = [packed or b"" for packed in found]
        data = np.frombuffer(b"".join(stored), np.uint8)
        ends = np.cumsum(np.fromiter(map(len, stored), np.int64, len(stored)))
        begins = np.concatenate([[0], ends[:-1]])
        lengths = unpacked_lengths(data, begins, ends)
        room = np.minimum(lengths + LEAST_ROOM, max(self._cap + 1, LEAST_ROOM))
        room = np.maximum(room, lengths)
        self._grow(int(room.sum()))
        starts = self._used + np.cumsum(room) - room
        unpack(data, begins, lengths, self.rows, starts)
        self.starts[first:end], self.lengths[first:end] = starts, lengths
        self._room[first:end] = room
        self._used += int(room.sum())

    def _grow(self, more: int) -> None:
        """Make sure that so many rows are free behind those in use."""
        if self._used + more > len(self.rows):
            rows = np.empty((2 * len(self.rows) + more, COLUMNS), np.int64)
            rows[: self._used] = self.rows[: self._used]
            self.rows = rows


@njit(cache=True)
def _copy(rows: I64, starts: I64, lengths: I64, into: I64, places: I64) -> None:
    """Copy the rows of every slot to its new place."""
    for slot in range(len(starts)):
        for row in range(lengths[slot]):
            for column in range(COLUMNS):
                into[places[slot] + row, column] = rows[starts[slot] + row, column]


@njit(cache=True)
def _rows_needed(slots: I64, counts: I64, lengths: I64, room: I64, cap: int) -> int:
    """Count the events of each slot; returns the rows that moving the crowded slots takes."""
    for event in range(len(slots)):
        counts[slots[event]] += 1
    more = 0
    for event in range(len(slots)):
        slot = slots[event]
        if counts[slot] > 0 and min(lengths[slot] + counts[slot], cap + 1) > room[slot]:
            more += min(2 * (lengths[slot] + counts[slot]), cap + 1)
            # Once for each slot: the sign says that it was counted, and is what moves it.
            counts[slot] = -counts[slot]
    return more


@njit(cache=True)
def _make_room(
    slots: I64, counts: I64, rows: I64, starts: I64, lengths: I64, room: I64, cap: int, used: int
) -> int:
    """Move crowded slots behind the rows in use; returns the rows in use then. counts: to zeros."""
    for event in range(len(slots)):
        slot = slots[event]
        if counts[slot] < 0:
            wanted = min(2 * (lengths[slot] - counts[slot]), cap + 1)
            # Number by number: assigning a row takes numba three seconds more to compile.
            for row in range(lengths[slot]):
                for column in range(COLUMNS):
                    rows[used + row, column] = rows[starts[slot] + row, column]
            starts[slot], room[slot] = used, wanted
            used += wanted
        counts[slot] = 0
    return used


@dataclass(frozen=True, kw_only=True)
class History:
    """What a user had inside the window, newest first (by time, ties by item key).

    item_keys:   uint64 [n].
    time:        int64 [n], ms UTC of the latest event of any kind.
    strong_time: int64 [n], ms UTC of the latest graph-making event; -1 if there was none.
    visits:      uint64 [n, 2], bitmap of the buckets with an event; bit k of word w is the bucket
                 64 w + k before the entry's latest one.
    """

    item_keys: U64
    time: I64
    strong_time: I64
    visits: U64

    @classmethod
    def of_rows(cls, rows: I64, keys: U64, settings: StateSettings, watermark: int) -> "History":
        """Read stored rows as of a watermark; `keys` maps dense item numbers to item keys."""
        window = settings.window
        live = live_rows(
            rows,
            window.bucket_ms,
            window.first_live(watermark),
            settings.history_cap,
        )
        return cls(
            item_keys=keys[live[:, ITEM]],
            time=live[:, TIME],
            strong_time=live[:, STRONG],
            visits=live[:, VISITS:].astype(np.uint64),
        )

    @property
    def strong(self) -> npt.NDArray[np.bool_]:
        """Which entries have a graph-making event, bool [n]."""
        strong: npt.NDArray[np.bool_] = self.strong_time != NONE
        return strong

    def __len__(self) -> int:
        return len(self.item_keys)
