"""Declared actions: when a user last did what to an item, by kind of event.

A history tells strong events from others and no more. For the kinds that `StateSettings.actions`
names, the state also keeps the time of the user's latest event of each kind on each item: a
maximum, so that order and duplicates do not matter. What a kind means (its sign, whether it makes
an item known) is looked up when it is read, so that it can change while the state stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from state.batches import Bools, Seen
from state.database import Batch, Database
from state.histories import History
from state.kernel import I64, NONE, U64
from state.names import in_set
from state.settings import StateSettings
from state.user_records import UserRecords

__all__ = ["ACTIONS", "LastActions", "Marks", "Reactions", "marks_of"]

#: First byte of the keys of these times.
ACTIONS = b"a"

#: Kind of event -> item number -> time of the latest event, ms UTC.
Marks = dict[str, dict[int, int]]


@dataclass(frozen=True, kw_only=True)
class Reactions:
    """What a user's actions say of items, as the settings read them now.

    disliked: u64 [x], keys of the items that a negative action rejects, latest first.
    known:    bool [h], which entries of the history are of items that the user knows.
    liked:    bool [h], which entries are not disliked.
    """

    disliked: U64
    known: Bools
    liked: Bools


class LastActions:
    """The latest actions of one partition's users; changes wait in memory for the next commit.

    For each user and kind it keeps the `history_cap` items with the latest events inside the
    window (ties by item key).
    """

    def __init__(self, source: Database, settings: StateSettings) -> None:
        """Read from an open database."""
        self._settings = settings
        self._marked = frozenset(settings.marked_kinds)
        self._negative = settings.kinds_of_sign("negative")
        self._positive = settings.kinds_of_sign("positive")
        self._users = UserRecords(source, ACTIONS, marks_of)

    @property
    def is_kept(self) -> bool:
        """Whether any kind is kept."""
        return bool(self._marked)

    def are_negative(self, kinds: Sequence[str]) -> Bools:
        """Return which events are of a negative kind, bool [n]."""
        return in_set(kinds, self._negative)

    def of(self, user: str) -> Marks:
        """Latest actions of a user, those that have left the window included."""
        return self._users.of(user)

    def forget(self, user: str) -> None:
        """Drop the actions of a user; the next commit deletes them."""
        self._users.forget(user)

    def apply(
        self, users: Sequence[str], kinds: Sequence[str], items: I64, times: I64, counted: Bools,
        first_ms: I64, chosen: Bools, seen: Seen,
    ) -> Seen:  # fmt: skip
        """Note the events of a batch; returns observations without the items disliked by then.

        items, times [n]: item numbers and ms UTC; counted [n]: events that are in the state;
        first_ms [n]: beginning of the window after each event; chosen [n]: observed events.
        """
        marked = in_set(kinds, self._marked) & counted
        observed = chosen & counted if self._negative else np.zeros(len(kinds), bool)
        rows = np.flatnonzero(marked | observed)
        self._users.load({users[row] for row in rows.tolist()})
        dropped = np.zeros(len(seen.item), bool)
        for row, is_mark, is_observed, item, time, oldest in zip(
            rows.tolist(), marked[rows].tolist(), observed[rows].tolist(), items[rows].tolist(),
            times[rows].tolist(), first_ms[rows].tolist(), strict=True,
        ):  # fmt: skip
            marks = self._users.of(users[row])
            if is_observed and not self._negative.isdisjoint(marks):
                part = slice(int(seen.starts[row]), int(seen.starts[row + 1]))
                strong = dict(
                    zip(seen.item[part].tolist(), seen.strong[part].tolist(), strict=True)
                )
                rejected = self._rejected(marks, strong, oldest)
                if rejected:
                    dropped[part] = np.isin(seen.item[part], list(rejected))
            if is_mark:
                of_kind = marks.setdefault(kinds[row], {})
                of_kind[item] = max(of_kind.get(item, time), time)
                self._users.touch(users[row])
        return seen.without(dropped) if dropped.any() else seen

    def reactions(self, user: str, history: History, numbers: I64, keys: U64, first_ms: int
                  ) -> Reactions:  # fmt: skip
        """Return what a user's actions say of items now.

        numbers [h]: item numbers of the history's entries; keys: of the partition's item numbers.
        """
        marks = self._live(self.of(user), first_ms, keys)
        strong = dict(zip(numbers.tolist(), history.strong_time.tolist(), strict=True))
        rejected = self._rejected(marks, strong, first_ms)
        latest = sorted(rejected, key=lambda n: (rejected[n], int(keys[n])), reverse=True)
        known = [
            self._settings.makes_known([kind for kind in marks if number in marks[kind]], time)
            for number, time in zip(numbers.tolist(), history.strong_time.tolist(), strict=True)
        ]
        return Reactions(
            disliked=keys[np.array(latest, np.int64)],
            known=np.array(known, bool),
            liked=~np.isin(numbers, latest),
        )

    def write(self, batch: Batch, first_ms: int, keys: U64) -> None:
        """Put what has changed into the batch of a commit."""
        self._users.write(batch, lambda marks: _pack(self._live(marks, first_ms, keys)))

    def written(self) -> None:
        """Note that the batch was written."""
        self._users.written()

    def live_marks(self, stored: bytes, first_ms: int, keys: U64) -> Marks:
        """Return stored actions that are inside the window."""
        return self._live(marks_of(stored), first_ms, keys)

    def _rejected(
        self, marks: Marks, strong: Mapping[int, int], first_ms: int
    ) -> dict[int, int]:  # fmt: skip
        """Return item number -> time of the negative action, of items without a later positive one.

        strong: item number -> time of the latest graph-making event, NONE without one.
        """
        rejected: dict[int, int] = {}
        for kind in self._negative.intersection(marks):
            for item, time in marks[kind].items():
                if time >= first_ms:
                    rejected[item] = max(rejected.get(item, time), time)
        positive = [marks[kind] for kind in self._positive.intersection(marks)]
        return {
            item: time
            for item, time in rejected.items()
            if time >= strong.get(item, NONE)
            and all(time >= times.get(item, NONE) for times in positive)
        }

    def _live(self, marks: Marks, first_ms: int, keys: U64) -> Marks:
        """Return the actions that count: inside the window, and of each kind the latest."""
        cap, live = self._settings.history_cap, Marks()
        for kind, times in marks.items():
            own = {item: time for item, time in times.items() if time >= first_ms}
            if len(own) > cap:
                latest = sorted(own, key=lambda item: (own[item], int(keys[item])), reverse=True)
                own = {item: own[item] for item in latest[:cap]}
            if own:
                live[kind] = own
        return live


def marks_of(stored: bytes) -> Marks:
    """Read what `_pack` wrote; nothing of no bytes."""
    if not stored:
        return {}
    packed = msgspec.msgpack.decode(stored, type=dict[str, tuple[bytes, bytes]])
    return {
        kind: dict(
            zip(np.frombuffer(items, "<i8").tolist(), np.frombuffer(times, "<i8").tolist(),
                strict=True)
        )
        for kind, (items, times) in packed.items()
    }  # fmt: skip


def _pack(marks: Marks) -> bytes:
    """Pack actions: kind -> item numbers and times, both little-endian int64; b"" for none."""
    if not marks:
        return b""
    packed = {
        kind: (
            np.array([*marks[kind].keys()], "<i8").tobytes(),
            np.array([*marks[kind].values()], "<i8").tobytes(),
        )
        for kind in sorted(marks)
    }
    return msgspec.msgpack.encode(packed)
