"""The inner loop: events into histories and co-interaction deltas, over plain arrays.

A history is a table of int64 rows, newest first (by time, ties by item key). One row:

    ITEM     dense item number of this partition
    TIME     ms UTC of the user's latest event of any kind on the item
    STRONG   ms UTC of the latest graph-making event, or NONE
    VISITS   bitmap of the buckets with an event: bit k of the two words is bucket(TIME) - k

A capped history remembers exactly the events at or after its *threshold*, the (time, item key) of
its last row once it is full. The threshold only grows, so what a full history forgets does not
depend on the order in which events arrive (`docs/adr/0002-capped-histories.md`).
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from state.prefetching import prefetch

__all__ = [
    "COLUMNS",
    "ITEM",
    "NONE",
    "STRONG",
    "TIME",
    "VISITS",
    "apply_events",
    "erase_rows",
    "live_rows",
]

ITEM, TIME, STRONG, VISITS = 0, 1, 2, 3
COLUMNS = 5
NONE = -1
WORD = 64

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
#: A log of pair deltas: pairs uint64 (lesser item number << 32 | greater one), places int32
#: (bucket << 1 | 1 if the pair is taken back), and how many rows are in use, int64 [1].
Deltas = tuple[U64, I32, I64]


@njit(cache=True, inline="always")
def _note(deltas: Deltas, bucket: int, a: int, b: int, taken: int) -> None:
    """Append: the unordered pair (a, b) is counted once more in `bucket`, or once less."""
    pairs, places, used = deltas
    low, high = (a, b) if a < b else (b, a)
    at = used[0]
    pairs[at] = (np.uint64(low) << np.uint64(32)) | np.uint64(high)
    places[at] = bucket << 1 | taken
    used[0] = at + 1


#: Times below it are exact as floating-point numbers.
_EXACT = 1 << 53


@njit(cache=True, inline="always")
def _bucket(time: np.int64, bucket_ms: int, per_ms: float) -> np.int64:
    """time // bucket_ms, for a third of the price; per_ms is 1 / bucket_ms."""
    if time >= _EXACT:
        return time // bucket_ms
    bucket = np.int64(time * per_ms)
    rest = time - bucket * bucket_ms
    return bucket + np.int64(rest >= bucket_ms) - np.int64(rest < 0)


@njit(cache=True, inline="always")
def _older(time_a: int, key_a: np.uint64, time_b: int, key_b: np.uint64) -> bool:
    return bool(time_a < time_b or (time_a == time_b and key_a < key_b))


@njit(cache=True)
def _move_strong(
    rows: I64, length: int, at: int, new: int, bucket_ms: int, first_live: int, deltas: Deltas
) -> None:
    """Set the graph-making time of row `at` and write what that changes of the user's pairs."""
    per_ms = 1.0 / bucket_ms
    old = rows[at, STRONG]
    rows[at, STRONG] = new
    was = _bucket(old, bucket_ms, per_ms) if old != NONE else NONE
    now = _bucket(new, bucket_ms, per_ms) if new != NONE else NONE
    if was == now:
        return
    item = rows[at, ITEM]
    if was >= first_live:
        _note(deltas, was, item, item, 1)
    if now >= first_live:
        _note(deltas, now, item, item, 0)
    for other in range(length):
        if other == at or rows[other, STRONG] == NONE:
            continue
        theirs = _bucket(rows[other, STRONG], bucket_ms, per_ms)
        if theirs < first_live:
            continue
        before = min(was, theirs)
        after = min(now, theirs)
        if before == after:
            continue
        if before >= first_live:
            _note(deltas, before, item, rows[other, ITEM], 1)
        if after >= first_live:
            _note(deltas, after, item, rows[other, ITEM], 0)


@njit(cache=True)
def _shift_visits(rows: I64, at: int, by: int) -> None:
    """Age the bitmap by `by` buckets."""
    low, high = np.uint64(rows[at, VISITS]), np.uint64(rows[at, VISITS + 1])
    if by >= 2 * WORD:
        low, high = np.uint64(0), np.uint64(0)
    elif by >= WORD:
        low, high = np.uint64(0), low << np.uint64(by - WORD)
    elif by > 0:
        high = (high << np.uint64(by)) | (low >> np.uint64(WORD - by))
        low = low << np.uint64(by)
    rows[at, VISITS] = np.int64(low)
    rows[at, VISITS + 1] = np.int64(high)


@njit(cache=True)
def _mark_visit(rows: I64, at: int, back: int) -> None:
    """Set the bit `back` buckets before the row's latest bucket."""
    if back < WORD:
        rows[at, VISITS] = np.int64(np.uint64(rows[at, VISITS]) | (np.uint64(1) << np.uint64(back)))
    elif back < 2 * WORD:
        rows[at, VISITS + 1] = np.int64(
            np.uint64(rows[at, VISITS + 1]) | (np.uint64(1) << np.uint64(back - WORD))
        )


@njit(cache=True)
def _forget_below(
    rows: I64, length: int, keys: U64, bucket_ms: int, first_live: int, deltas: Deltas
) -> None:
    """Take back graph-making events that lie below the threshold of a full history."""
    time, key = rows[length - 1, TIME], keys[rows[length - 1, ITEM]]
    for at in range(length):
        strong = rows[at, STRONG]
        if strong != NONE and _older(strong, keys[rows[at, ITEM]], time, key):
            _move_strong(rows, length, at, NONE, bucket_ms, first_live, deltas)


@njit(cache=True)
def _apply_one(
    rows: I64,
    length: int,
    item: int,
    time: int,
    strong: bool,
    keys: U64,
    bucket_ms: int,
    first_live: int,
    cap: int,
    deltas: Deltas,
) -> int:
    """Apply one event to one history with capacity for one more row; returns the new length."""
    # Rows that left the window hold nothing that a later event could need.
    while length > 0 and rows[length - 1, TIME] < first_live * bucket_ms:
        length -= 1
    key = keys[item]
    full = length >= cap
    threshold_time, threshold_item = rows[length - 1, TIME], rows[length - 1, ITEM]
    if full and _older(time, key, threshold_time, keys[threshold_item]):
        return length

    at = 0
    while at < length and rows[at, ITEM] != item:
        at += 1
    if at == length:
        rows[at, ITEM] = item
        rows[at, TIME] = time
        rows[at, STRONG] = NONE
        rows[at, VISITS] = 1
        rows[at, VISITS + 1] = 0
        length += 1
    else:
        bucket = _bucket(time, bucket_ms, 1.0 / bucket_ms)
        latest = _bucket(rows[at, TIME], bucket_ms, 1.0 / bucket_ms)
        if bucket > latest:
            _shift_visits(rows, at, bucket - latest)
            _mark_visit(rows, at, 0)
        else:
            _mark_visit(rows, at, latest - bucket)
        rows[at, TIME] = max(rows[at, TIME], time)
    if strong and time > rows[at, STRONG]:
        _move_strong(rows, length, at, time, bucket_ms, first_live, deltas)

    # Keep the rows newest first: only this row may have moved, and only forwards.
    latest, strongest, low, high = (
        rows[at, TIME],
        rows[at, STRONG],
        rows[at, VISITS],
        rows[at, VISITS + 1],
    )
    while at > 0 and _older(rows[at - 1, TIME], keys[rows[at - 1, ITEM]], latest, key):
        for column in range(COLUMNS):
            rows[at, column] = rows[at - 1, column]
        at -= 1
    rows[at, ITEM], rows[at, TIME], rows[at, STRONG] = item, latest, strongest
    rows[at, VISITS], rows[at, VISITS + 1] = low, high

    if length > cap:
        _move_strong(rows, length, length - 1, NONE, bucket_ms, first_live, deltas)
        length -= 1
    last = length - 1
    if length == cap and (
        not full
        or _older(threshold_time, keys[threshold_item], rows[last, TIME], keys[rows[last, ITEM]])
    ):
        _forget_below(rows, length, keys, bucket_ms, first_live, deltas)
    return length


@njit(cache=True, inline="always")
def _most_deltas(rows: I64, length: int, cap: int) -> int:
    """Deltas that one event can write at most: its own move, an eviction, what is forgotten."""
    moves = 2
    if length + 1 >= cap:
        for at in range(length):
            moves += rows[at, STRONG] != NONE and rows[at, STRONG] != rows[at, TIME]
    return moves * (2 * cap + 2)


#: Events between the one that is applied and the one whose history is asked for.
_AHEAD = 6
#: Numbers of a line of a processor's cache.
_LINE = 8


@njit(cache=True, inline="always")
def _ask_ahead(rows: I64, starts: I64, lengths: I64, user: I64, event: int) -> None:
    """Have the histories of later events brought into the caches: they lie anywhere in memory."""
    later = event + 2 * _AHEAD
    if later < len(user):
        prefetch(starts, user[later])
        prefetch(lengths, user[later])
    later = event + _AHEAD
    if later < len(user) and user[later] != NONE:
        begin = starts[user[later]] * COLUMNS
        for at in range(begin, begin + lengths[user[later]] * COLUMNS, _LINE):
            prefetch(rows, at)


@njit(cache=True)
def apply_events(
    begin: int,
    rows: I64,
    starts: I64,
    lengths: I64,
    user: I64,
    item: I64,
    time: I64,
    strong: npt.NDArray[np.bool_],
    keys: U64,
    bucket_ms: int,
    window: int,
    cap: int,
    watermark: I64,
    deltas: Deltas,
    too_old: npt.NDArray[np.bool_],
    wanted: npt.NDArray[np.bool_],
    seen_starts: I64,
    seen_item: I64,
    seen_time: I64,
    seen_strong: I64,
    seen_cap: int,
    repeat: npt.NDArray[np.bool_],
) -> int:
    """Apply events `begin`.. in order; returns the event to go on with, n when all are applied.

    It stops early, between two events, when the log of deltas could overflow in the next one.

    rows [r, COLUMNS]: histories of the batch's users, user u at `starts[u]` with `lengths[u]` rows
        and capacity for as many more as it has events, in place.
    user, item, time, strong [n]: events in offset order; `keys[item]` is the item's 64-bit key.
        A user of NONE: the event was erased, and counts as the passing of time alone.
    watermark [1], too_old [n]: out; events at or below watermark - window change nothing.
    wanted [n]: events whose history *before* the event is copied to seen_*, newest first, at most
        `seen_cap` rows, never a row later than the event; `seen_starts[n + 1]`, `repeat[n]` out.
    """
    pairs, _, used = deltas
    n = len(user)
    for e in range(begin, n):
        _ask_ahead(rows, starts, lengths, user, e)
        u = user[e]
        mine = rows[starts[max(u, 0)] :]
        if u != NONE and used[0] + _most_deltas(mine, lengths[u], cap) > len(pairs):
            return e
        seen = seen_starts[e]
        bucket = _bucket(time[e], bucket_ms, 1.0 / bucket_ms)
        if bucket <= watermark[0] - window:
            too_old[e] = True
            seen_starts[e + 1] = seen
            continue
        watermark[0] = max(watermark[0], bucket)
        if u == NONE:
            seen_starts[e + 1] = seen
            continue
        first_live = max(watermark[0] - window + 1, 0)
        oldest_ms = first_live * bucket_ms
        if wanted[e]:
            for at in range(lengths[u]):
                if mine[at, ITEM] == item[e]:
                    met = mine[at, STRONG] if strong[e] else mine[at, TIME]
                    repeat[e] = met >= oldest_ms
                if mine[at, TIME] < oldest_ms:
                    break
                if mine[at, TIME] <= time[e] and seen - seen_starts[e] < seen_cap:
                    seen_item[seen] = mine[at, ITEM]
                    seen_time[seen] = mine[at, TIME]
                    seen_strong[seen] = mine[at, STRONG]
                    seen += 1
        seen_starts[e + 1] = seen
        lengths[u] = _apply_one(
            mine,
            lengths[u],
            item[e],
            time[e],
            strong[e],
            keys,
            bucket_ms,
            first_live,
            cap,
            deltas,
        )
    return n


@njit(cache=True)
def erase_rows(
    begin: int, rows: I64, length: int, bucket_ms: int, first_live: int, deltas: Deltas
) -> int:
    """Take back every live pair count of a history, the diagonal included, row by row.

    Returns the row to go on with, `length` when all is taken back: it stops early when the log
    of deltas could overflow in the next row. rows [>= length, COLUMNS]: graph-making times are
    cleared in place. first_live: first bucket inside the window, not negative.
    """
    pairs, _, used = deltas
    for at in range(begin, length):
        # A row is paired with itself and with those behind it: those before it are cleared.
        if used[0] + length - at > len(pairs):
            return at
        if rows[at, STRONG] != NONE:
            _move_strong(rows, length, at, NONE, bucket_ms, first_live, deltas)
    return length


@njit(cache=True)
def live_rows(rows: I64, bucket_ms: int, first_live: int, cap: int) -> I64:
    """The history as it is defined, whatever was purged lazily: [m, COLUMNS].

    Rows outside of the window are left out; graph-making times and visits outside of the window
    or below the threshold are cleared; the bucket of TIME and of STRONG always counts as a visit.
    """
    length = 0
    while length < len(rows) and rows[length, TIME] // bucket_ms >= first_live:
        length += 1
    live = rows[:length].copy()
    oldest = first_live
    if length >= cap:
        oldest = max(oldest, live[length - 1, TIME] // bucket_ms + 1)
    for at in range(length):
        latest = live[at, TIME] // bucket_ms
        # Bits of older buckets than `oldest` lie at or behind this position.
        keep = max(latest - oldest + 1, 0)
        low, high = np.uint64(live[at, VISITS]), np.uint64(live[at, VISITS + 1])
        if keep < WORD:
            low, high = low & ((np.uint64(1) << np.uint64(keep)) - np.uint64(1)), np.uint64(0)
        elif keep < 2 * WORD:
            high = high & ((np.uint64(1) << np.uint64(keep - WORD)) - np.uint64(1))
        live[at, VISITS], live[at, VISITS + 1] = np.int64(low), np.int64(high)
        _mark_visit(live, at, 0)
        if live[at, STRONG] // bucket_ms < first_live:
            live[at, STRONG] = NONE
        if live[at, STRONG] != NONE:
            _mark_visit(live, at, latest - live[at, STRONG] // bucket_ms)
    return live
