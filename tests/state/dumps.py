"""All of a partition's state in its canonical form: equal dumps are equal states."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from state import database
from state.actions import ACTIONS
from state.canonical import (
    Entry,
    actions_view,
    history_entries,
    pair_counts,
    records,
    showings_view,
    shown_view,
    taken_counts,
)
from state.partition import PartitionState
from state.shown import SHOWN
from state.taken import SHOWINGS


@dataclass(frozen=True, kw_only=True)
class Dump:
    """State of a partition, independent of batches, order of arrival and storage.

    watermark: greatest bucket seen.
    histories: user -> entries (item key, time, strong time, visits low, visits high), newest
               first; users without live entries are left out.
    pairs:     (bucket, lesser item key, greater item key) -> users, without zeros.
    users, catalogue: latest records by key.
    demand:    (bucket, item key) -> events of the graph kinds, over all markets: which market an
               event is counted in depends on the order of two topics.
    actions:   user -> (kind, item key) -> time of the latest event, of the kinds that are kept.
    shown:     user -> item key -> time of the latest impression, and (bucket, impressions,
               with ASSUMED added where some are).
    showings:  user -> (item key, ms UTC, position or ACTED, list) of showings and events,
               ascending.
    taken:     (bucket, item key, position) -> showings, and how many of them were taken.
    """

    watermark: int
    histories: dict[str, tuple[Entry, ...]]
    pairs: dict[tuple[int, int, int], int]
    users: dict[str, bytes]
    catalogue: dict[bytes, bytes]
    demand: dict[tuple[int, int], int] = field(default_factory=dict)
    actions: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)
    shown: dict[str, dict[int, tuple[int, tuple[tuple[int, int], ...]]]] = field(
        default_factory=dict
    )
    showings: dict[str, tuple[tuple[int, int, int, int], ...]] = field(default_factory=dict)
    taken: dict[tuple[int, int, int], tuple[int, int]] = field(default_factory=dict)

    def differences(self, other: "Dump", limit: int = 10) -> list[str]:
        """First differences between two states, for people; empty if they are equal."""
        found: list[str] = []
        if self.watermark != other.watermark:
            found.append(f"watermark: {self.watermark} and {other.watermark}")
        for name in (entry.name for entry in fields(self) if entry.name != "watermark"):
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
            for bucket, a, b, count in zip(*(x.tolist() for x in pair_counts(state)), strict=True)
        },
        users={user.decode(): value for user, value in records(state, database.USERS)},
        catalogue=dict(records(state, database.CATALOGUE)),
        demand=demand_counts(state),
        actions={
            user.decode(): found
            for user, stored in records(state, ACTIONS)
            if (found := actions_view(state, stored))
        },
        shown={
            user.decode(): own
            for user, stored in records(state, SHOWN)
            if (own := shown_view(state, stored))
        },
        showings={
            user.decode(): rows
            for user, stored in records(state, SHOWINGS)
            if (rows := showings_view(state, user, stored))
        },
        taken=taken_counts(state),
    )


def demand_counts(state: PartitionState) -> dict[tuple[int, int], int]:
    """The counts of live popularity by bucket and item key, over all markets."""
    found: Counter[tuple[int, int]] = Counter()
    for block in state.demand():
        for key, count in zip(block.keys.tolist(), block.counts.tolist(), strict=True):
            found[block.bucket, key] += count
    return dict(found)
