"""Transitions: which items users went on to within a session, counted over stored histories.

A history keeps one row for each item, with the time of the user's latest event on it. An item that
the user came back to therefore counts at its last place alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from state import database
from state.database import Database
from state.items import ItemNumbers
from state.kernel import COLUMNS, I64, ITEM, NONE, STRONG
from state.packing import unpack, unpacked_lengths
from state.settings import StateSettings

__all__ = ["STEPS", "Transitions", "read_transitions"]

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
F32 = npt.NDArray[np.float32]

#: Items after one that count as its continuation, and what each is worth against the one before.
STEPS, STEP_DECAY = 6, 0.6
#: Greatest time between an item and its continuation, ms.
SESSION_MS = 3_600_000
_USERS = 16_384  # histories read at once
_LEAST = 1 << 20  # pairs that are gathered at least before they are added to the sum


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """How often users went from one item on to another within a session.

    item_keys: uint64 [n], ascending, one for a row.
    source, target: int32 [m] row numbers, each ordered pair once, sorted by (source, target).
    count:     float32 [m]; a transition over j items counts `STEP_DECAY ** j`.
    """

    item_keys: U64
    source: I32
    target: I32
    count: F32

    @classmethod
    def sum(cls, parts: Sequence["Transitions"]) -> "Transitions":
        """Return the sum of the partitions' counts: the count over all users."""
        source = [part.item_keys[part.source] for part in parts]
        target = [part.item_keys[part.target] for part in parts]
        count = [part.count for part in parts]
        return cls.from_keys(
            np.concatenate([np.zeros(0, np.uint64), *source]),
            np.concatenate([np.zeros(0, np.uint64), *target]),
            np.concatenate([np.zeros(0, np.float32), *count]),
        )

    @classmethod
    def from_keys(cls, source: U64, target: U64, count: F32) -> "Transitions":
        """Sum counts by ordered pair of item keys, [m] each."""
        item_keys, rows = np.unique(np.concatenate([source, target]), return_inverse=True)
        n = max(len(item_keys), 1)
        pair, total = _summed(rows[: len(source)] * n + rows[len(source) :], count)
        return cls(
            item_keys=item_keys,
            source=(pair // n).astype(np.int32),
            target=(pair % n).astype(np.int32),
            count=total.astype(np.float32),
        )


def read_transitions(
    source: Database,
    items: ItemNumbers,
    settings: StateSettings,
    watermark: int,
    session_ms: int = SESSION_MS,
) -> Transitions:
    """Count the transitions of a partition's users, over the window that ends at `watermark`.

    source: committed state. session_ms: greatest time between an item and its continuation.
    Graph-making events alone count. Memory: 16 bytes for each ordered pair that occurs.
    """
    first_ms = max(settings.window.first_live(watermark), 0) * settings.window.bucket_ms
    decay = np.array([STEP_DECAY**step for step in range(STEPS)], np.float32)
    n = max(len(items), 1)
    parts, gathered = [(np.zeros(0, np.int64), np.zeros(0, np.float64))], 0
    for rows, starts in _histories(source):
        room = len(rows) * STEPS
        codes, counts = np.empty(room, np.int64), np.empty(room, np.float32)
        used = _transitions(rows, starts, first_ms, session_ms, decay, n, codes, counts)
        parts.append(_summed(codes[:used], counts[:used]))
        gathered += len(parts[-1][0])
        # Whenever the sum has doubled: adding each part to it would sort it again and again.
        if gathered > max(_LEAST, len(parts[0][0])):
            parts, gathered = [_joined(parts)], 0
    pair, total = _joined(parts)
    keys = items.keys
    return Transitions.from_keys(keys[pair // n], keys[pair % n], total.astype(np.float32))


def _joined(
    parts: Sequence[tuple[I64, npt.NDArray[np.float64]]],
) -> tuple[I64, npt.NDArray[np.float64]]:
    return _summed(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _summed(pair: I64, count: npt.NDArray[np.floating]) -> tuple[I64, npt.NDArray[np.float64]]:
    """Return the distinct numbers, ascending, and the sum of the counts of each."""
    unique, place = np.unique(pair, return_inverse=True)
    return unique, np.bincount(place, count, len(unique)).astype(np.float64)


def _histories(source: Database) -> Iterator[tuple[I64, I64]]:
    """Yield rows of many histories [r, COLUMNS], and where each begins and the last ends."""
    stored: list[bytes] = []
    for _, value in source.scan(database.HISTORY, database.after(database.HISTORY)):
        stored.append(value)
        if len(stored) == _USERS:
            yield _unpacked(stored)
            stored = []
    if stored:
        yield _unpacked(stored)


def _unpacked(stored: Sequence[bytes]) -> tuple[I64, I64]:
    data = np.frombuffer(b"".join(stored), np.uint8)
    ends = np.cumsum([len(value) for value in stored])
    begins = ends - [len(value) for value in stored]
    lengths = unpacked_lengths(data, begins, ends)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.zeros((int(starts[-1]), COLUMNS), np.int64)
    unpack(data, begins, lengths, rows, starts[:-1])
    return rows, starts


@njit(cache=True)
def _transitions(
    rows: I64,
    starts: I64,
    first_ms: int,
    session_ms: int,
    decay: F32,
    items: int,
    codes: I64,
    counts: F32,
) -> int:
    """Write source * items + target and the count of each transition; return how many there are."""
    used = 0
    longest = 0
    for user in range(len(starts) - 1):
        longest = max(longest, starts[user + 1] - starts[user])
    item, when = np.empty(longest, np.int64), np.empty(longest, np.int64)
    for user in range(len(starts) - 1):
        length = 0
        for row in range(starts[user], starts[user + 1]):
            time = rows[row, STRONG]
            if time == NONE or time < first_ms:
                continue
            # Newest first, as the rows nearly are: they are sorted by the latest event of any kind.
            place = length
            while place > 0 and when[place - 1] < time:
                when[place], item[place] = when[place - 1], item[place - 1]
                place -= 1
            when[place], item[place] = time, rows[row, ITEM]
            length += 1
        for later in range(length):
            for step in range(len(decay)):
                earlier = later + 1 + step
                if earlier >= length or when[later] - when[earlier] > session_ms:
                    break
                codes[used] = item[earlier] * items + item[later]
                counts[used] = decay[step]
                used += 1
    return used
