"""The canonical form of a partition's state: equal dumps are equal states.

Dense item numbers, the cut into runs and what is purged lazily depend on how the stream was cut
into batches. The dump does not: it holds what the definition in DESIGN.md defines and no more.
"""

from dataclasses import dataclass
from typing import Any

from state import database
from state.history import History
from state.partition import PartitionState
from state.runs import read_runs

__all__ = ["Dump", "dump"]

Entry = tuple[int, int, int, int, int]


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
    source, keys = state.database, state.items.keys
    histories = {}
    for key, _ in database.scan(source, database.HISTORY, database.after(database.HISTORY)):
        user = key[len(database.HISTORY) :].decode()
        entries = _entries(state.history(user))
        if entries:
            histories[user] = entries
    pairs: dict[tuple[int, int, int], int] = {}
    first = state.settings.window.first_live(state.watermark)
    for bucket, (items, neighbours, deltas) in read_runs(source, state.runs, first):
        for a, b, delta in zip(
            keys[items].tolist(), keys[neighbours].tolist(), deltas.tolist(), strict=True
        ):
            if a <= b:
                pairs[bucket, a, b] = pairs.get((bucket, a, b), 0) + delta
    return Dump(
        watermark=state.watermark,
        histories=histories,
        pairs={pair: count for pair, count in pairs.items() if count},
        users={
            k[len(database.USERS) :].decode(): v
            for k, v in database.scan(source, database.USERS, database.after(database.USERS))
        },
        catalogue={
            k[len(database.CATALOGUE) :]: v
            for k, v in database.scan(
                source, database.CATALOGUE, database.after(database.CATALOGUE)
            )
        },
    )


def _entries(history: History) -> tuple[Entry, ...]:
    return tuple(
        (int(k), int(t), int(s), int(v[0]), int(v[1]))
        for k, t, s, v in zip(
            history.item_keys, history.time, history.strong_time, history.visits, strict=True
        )
    )
