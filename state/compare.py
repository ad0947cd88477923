"""Whether two states of a partition are equal, by merging sorted scans of both.

Equal means: equal canonical forms (`state.canonical`) at equal positions. Whatever their size, what
is held in memory is one history of each, `rows` pairs of each, and the items' numbers. The runs are
read once for each `rows` entries that they hold.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from state import database
from state.actions import ACTIONS
from state.canonical import (
    Counts,
    Entry,
    actions_view,
    grouped,
    history_entries,
    pair_counts,
    records,
    showings_view,
    shown_view,
    stored_deltas,
    taken_counts,
)
from state.kernel import NONE, WORD
from state.partition import PartitionState
from state.shown import ASSUMED, SHOWN
from state.taken import ACTED, SHOWINGS

__all__ = ["Difference", "differences", "entry_view"]

#: Pairs that are compared at once: about 500 MB for both sides.
ROWS = 8_000_000


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that two states of a partition do not agree on.

    part:        position, watermark, history, pair, demand, action, shown, showing, taken, user or
                 item.
    key:         what it is about: a topic; a user and an item; a bucket and two items; ..
    left, right: JSON values; None where a state has nothing.
    """

    partition: int
    part: str
    key: tuple[str, ...]
    left: Any
    right: Any

    def __str__(self) -> str:
        return (
            f"partition {self.partition}, {self.part} {' '.join(self.key)}: "
            f"{_text(self.left)} and {_text(self.right)}"
        ).replace("  ", " ")


def differences(
    left: PartitionState, right: PartitionState, *, rows: int = ROWS
) -> Iterator[Difference]:
    """What two committed states of one partition differ in; nothing if they are equal.

    Positions and the watermark come first: where these differ, so does much of what follows.
    """
    names = _Names(left, right)
    for part, key, mine, theirs in (
        *_positions(left, right),
        *_watermarks(left, right),
    ):
        yield Difference(partition=left.partition, part=part, key=key, left=mine, right=theirs)
    for part, found in (
        ("history", _histories(left, right, names)),
        ("pair", _pairs(left, right, names, rows)),
        ("demand", _demand(left, right, names)),
        ("action", _actions(left, right, names)),
        ("shown", _shown(left, right, names)),
        ("showing", _showings(left, right, names)),
        ("taken", _taken(left, right, names)),
        ("user", _records(left, right, database.USERS)),
        ("item", _records(left, right, database.CATALOGUE)),
    ):
        for key, mine, theirs in found:
            yield Difference(partition=left.partition, part=part, key=key, left=mine, right=theirs)


def entry_view(entry: Entry) -> dict[str, Any]:
    """A history entry as JSON values.

    time, strong_time: ISO 8601, UTC; strong_time is None without a graph-making event.
    visits:            the buckets in which the user came, counted back from that of `time`.
    """
    _, time, strong, low, high = entry
    bitmap = low | high << WORD
    return {
        "time": _iso(time),
        "strong_time": None if strong == NONE else _iso(strong),
        "visits": [back for back in range(bitmap.bit_length()) if bitmap >> back & 1],
    }


Found = Iterator[tuple[tuple[str, ...], Any, Any]]
Named = tuple[str, tuple[str, ...], Any, Any]


def _positions(left: PartitionState, right: PartitionState) -> Iterator[Named]:
    mine, theirs = left.committed, right.committed
    for topic in sorted(mine.keys() | theirs.keys()):
        # A topic of which nothing was applied may be named or not.
        if mine.get(topic, 0) != theirs.get(topic, 0):
            yield "position", (topic,), mine.get(topic, 0), theirs.get(topic, 0)


def _watermarks(left: PartitionState, right: PartitionState) -> Iterator[Named]:
    if left.watermark != right.watermark:
        yield "watermark", (), left.watermark, right.watermark


class _Names:
    """Names of items by their keys, looked up only for what differs."""

    def __init__(self, *states: PartitionState) -> None:
        self._states = states
        self._found: dict[int, str] | None = None

    def __getitem__(self, key: int) -> str:
        if self._found is None:
            self._found = {}
            for state in self._states:
                keys = state.items.keys[: len(state.items)].tolist()
                names = map("/".join, state.items.names())
                self._found |= zip(keys, names, strict=True)
        return self._found[key]


def _histories(left: PartitionState, right: PartitionState, names: _Names) -> Found:
    # Rows name items by number. Where the numbers are the same, equal bytes are equal histories.
    comparable = left.watermark == right.watermark and np.array_equal(
        left.items.keys[: len(left.items)], right.items.keys[: len(right.items)]
    )
    both = _merged(records(left, database.HISTORY), records(right, database.HISTORY))
    for user, mine, theirs in both:
        if comparable and mine == theirs:
            continue
        ours = {e[0]: e for e in history_entries(left, mine or b"")}
        others = {e[0]: e for e in history_entries(right, theirs or b"")}
        for key in dict.fromkeys((*ours, *others)):
            one, other = ours.get(key), others.get(key)
            if one != other:
                yield (
                    (user.decode(), names[key]),
                    one and entry_view(one),
                    other and entry_view(other),
                )


def _pairs(left: PartitionState, right: PartitionState, names: _Names, rows: int) -> Found:
    slices = 1 + max(stored_deltas(left), stored_deltas(right)) // rows
    edges = [2**64 * n // slices for n in range(slices + 1)]
    for first, end in itertools.pairwise(edges):
        sides = (pair_counts(state, first, end - 1) for state in (left, right))
        for bucket, a, b, one, other in _unequal(*sides):
            yield (str(bucket), names[a], names[b]), one or None, other or None


def _demand(left: PartitionState, right: PartitionState, names: _Names) -> Found:
    """Differences of live popularity, over all markets: these depend on another topic's order.

    Counts that begin at different offsets are not compared.
    """
    if left.demand_from != right.demand_from:
        return
    lefts, rights = left.demand(), right.demand()
    mine, theirs = next(lefts, None), next(rights, None)
    while mine or theirs:
        bucket = min(block.bucket for block in (mine, theirs) if block)
        sides = []
        for block in (mine, theirs):
            own = block if block and block.bucket == bucket else None
            keys = own.keys if own else np.zeros(0, np.uint64)
            counts = own.counts if own else np.zeros(0, np.int64)
            found, where = np.unique(keys, return_inverse=True)
            total = np.bincount(where, counts, len(found)).astype(np.int64)
            sides.append((np.full(len(found), bucket, np.int64), found, found, total))
        for _, item, _, one, other in _unequal(*sides):
            yield (str(bucket), names[item]), one or None, other or None
        mine = next(lefts, None) if mine and mine.bucket == bucket else mine
        theirs = next(rights, None) if theirs and theirs.bucket == bucket else theirs


def _actions(left: PartitionState, right: PartitionState, names: _Names) -> Found:
    """Differences of the latest actions, of kinds that are kept from the same offsets."""
    mine, theirs = left.actions_from, right.actions_from
    kinds = {kind for kind in mine.keys() & theirs.keys() if mine[kind] == theirs[kind]}
    for user, ours, others in _merged(records(left, ACTIONS), records(right, ACTIONS)):
        sides = tuple(
            {
                (kind, item): time
                for (kind, item), time in actions_view(state, stored or b"").items()
                if kind in kinds
            }
            for state, stored in ((left, ours), (right, others))
        )
        for kind, item in dict.fromkeys((*sides[0], *sides[1])):
            one, other = (side.get((kind, item)) for side in sides)
            if one != other:
                yield (
                    (user.decode(), kind, names[item]),
                    None if one is None else _iso(one),
                    None if other is None else _iso(other),
                )


def _shown(left: PartitionState, right: PartitionState, names: _Names) -> Found:
    """Differences of impressions: time of the latest one, and counts by bucket."""
    for user, ours, others in _merged(records(left, SHOWN), records(right, SHOWN)):
        mine, theirs = shown_view(left, ours or b""), shown_view(right, others or b"")
        for item in dict.fromkeys((*mine, *theirs)):
            one, other = (
                None
                if found is None
                else {
                    "last": _iso(found[0]),
                    "by_bucket": {bucket: _impressions(count) for bucket, count in found[1]},
                }
                for found in (mine.get(item), theirs.get(item))
            )
            if one != other:
                yield (user.decode(), names[item]), one, other


def _impressions(count: int) -> int | str:
    return count if count < ASSUMED else f"{count % ASSUMED} and assumed"


def _showings(left: PartitionState, right: PartitionState, names: _Names) -> Found:
    """Differences of users' showings and events, as far as these count in both states."""
    if left.taken.since is None or left.taken.since != right.taken.since:
        return
    for user, ours, others in _merged(records(left, SHOWINGS), records(right, SHOWINGS)):
        mine, theirs = (
            {*showings_view(state, user, stored or b"")}
            for state, stored in ((left, ours), (right, others))
        )
        for row in sorted(mine ^ theirs):
            key, time, position, of = row
            what = "an event" if position == ACTED else f"shown at position {position}"
            what += f" of list {of}" if of else ""
            one, other = (what if row in side else None for side in (mine, theirs))
            yield (user.decode(), names[key], _iso(time)), one, other


def _taken(left: PartitionState, right: PartitionState, names: _Names) -> Found:
    """Differences of how often items were shown and taken, by bucket and position."""
    if left.taken.since is None or left.taken.since != right.taken.since:
        return
    mine, theirs = taken_counts(left), taken_counts(right)
    for key in dict.fromkeys((*mine, *theirs)):
        if (one := mine.get(key)) != (other := theirs.get(key)):
            bucket, item, position = key
            yield (
                (str(bucket), names[item], str(position)),
                one and {"shown": one[0], "taken": one[1]},
                other and {"shown": other[0], "taken": other[1]},
            )


def _unequal(left: Counts, right: Counts) -> Iterator[tuple[int, int, int, int, int]]:
    """(bucket, a, b, left count, right count) of the pairs that do not have the same count."""
    if all(np.array_equal(mine, theirs) for mine, theirs in zip(left, right, strict=True)):
        return
    bucket = np.concatenate([left[0], right[0]])
    a, b = (np.concatenate([left[i], right[i]]) for i in (1, 2))
    order, starts = grouped(bucket, a, b)
    counts = np.zeros((len(a), 2), np.int64)
    counts[: len(left[3]), 0], counts[len(left[3]) :, 1] = left[3], right[3]
    counts = np.add.reduceat(counts[order], starts)
    at = np.flatnonzero(counts[:, 0] != counts[:, 1])
    rows = order[starts[at]]
    yield from zip(
        bucket[rows].tolist(), a[rows].tolist(), b[rows].tolist(),
        *counts[at].T.tolist(), strict=True,
    )  # fmt: skip


def _records(left: PartitionState, right: PartitionState, prefix: bytes) -> Found:
    for key, mine, theirs in _merged(records(left, prefix), records(right, prefix)):
        if mine != theirs:
            yield (
                (key.replace(b"\0", b"/").decode(),),
                mine and mine.decode(),
                theirs and theirs.decode(),
            )


Rows = Iterable[tuple[bytes, bytes]]


def _merged(left: Rows, right: Rows) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Join two ascending scans by key."""
    lefts, rights = iter(left), iter(right)
    mine, theirs = next(lefts, None), next(rights, None)
    while mine or theirs:
        if theirs is None or (mine and mine[0] < theirs[0]):
            assert mine  # noqa: S101 the loop's condition
            yield mine[0], mine[1], None
            mine = next(lefts, None)
        elif mine is None or theirs[0] < mine[0]:
            yield theirs[0], None, theirs[1]
            theirs = next(rights, None)
        else:
            yield mine[0], mine[1], theirs[1]
            mine, theirs = next(lefts, None), next(rights, None)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _text(value: Any) -> str:
    return "nothing" if value is None else str(value)
