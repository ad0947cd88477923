"""How often what is shown is taken, by position and by list, over all items and users."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from console.replica import Replica
from dynamic_layer import wilson
from state import POSITIONS
from streams import list_code

__all__ = ["ClickThrough"]

#: Positions with a row of their own; all later positions share one row.
OWN_ROWS = 20
#: Newest buckets of the window that are added up: days, by default.
BUCKETS = 30


class _Counts(NamedTuple):
    """Shown and taken by position, int64 [POSITIONS + 1] each, and by the list's number."""

    shown: NDArray[np.int64]
    taken: NDArray[np.int64]
    shown_of: Mapping[int, int]
    taken_of: Mapping[int, int]


class ClickThrough:
    """Adds up committed counts of the replica's states (`state.taken`).

    For one thread at a time, beside commits. A bucket is read again when a commit has changed it.
    """

    def __init__(self, replica: Replica, lists: Callable[[], Iterable[str]]) -> None:
        """Read from `replica`. lists: names of the lists that there are."""
        self._replica, self._lists = replica, lists
        self._read: dict[int, tuple[tuple[int, ...], _Counts]] = {}

    def view(self) -> dict[str, Any] | None:
        """Return the counts and rates by position; None where no impressions are read.

        hours: over which time after an impression it can be taken; buckets: how many are added up,
        bucket_ms long each. rows: position, "21 and on" or "unknown"; shown; taken; rate; low and
        high, its Wilson interval of 95 %. lists: the same with `list` in the place of the position,
        None for impressions of other lists, or that do not say of which they are.
        """
        settings = self._replica.state_settings
        if not settings.impressions:
            return None
        states = list(self._replica.partitions.states.values())
        newest = max((state.watermark for state in states), default=0)
        # Impressions move no watermark: the newest of them may lie in the bucket behind it.
        buckets = range(max(newest - BUCKETS + 1, 0), newest + 2)
        self._read = {bucket: kept for bucket, kept in self._read.items() if bucket in buckets}
        found = _summed([self._of(bucket) for bucket in buckets])
        parts = [(str(at), slice(at, at + 1)) for at in range(1, OWN_ROWS + 1)]
        parts += [(f"{OWN_ROWS + 1} and on", slice(OWN_ROWS + 1, None)), ("unknown", slice(1))]
        rows = [
            (name, int(found.shown[part].sum()), int(found.taken[part].sum()))
            for name, part in parts
        ]
        return {
            "hours": settings.taken_hours,
            "buckets": BUCKETS,
            "bucket_ms": settings.window.bucket_ms,
            "rows": [{"position": row[0], **_rate(*row[1:])} for row in rows if row[1]],
            "lists": [
                {"list": name, **_rate(shown, taken)}
                for name, shown, taken in self._by_list(found)
                if shown
            ],
        }

    def _by_list(self, found: _Counts) -> list[tuple[str | None, int, int]]:
        """Return name, shown and taken of the lists that there are, and of all others together."""
        rows: list[tuple[str | None, int, int]] = []
        for name in sorted({*self._lists()}):
            code = list_code(name)
            rows.append((name, found.shown_of.get(code, 0), found.taken_of.get(code, 0)))
        shown = int(found.shown.sum()) - sum(row[1] for row in rows)
        taken = int(found.taken.sum()) - sum(row[2] for row in rows)
        return [*rows, (None, shown, taken)]

    def _of(self, bucket: int) -> _Counts:
        states = list(self._replica.partitions.states.values())
        # Noted before the read, so that a commit during the read causes another one.
        written = tuple(state.taken.written_in(bucket) for state in states)
        known = self._read.get(bucket)
        if known is None or known[0] != written:
            parts = []
            for state in states:
                of_lists = state.taken.by_list(bucket)
                parts.append(
                    _Counts(
                        *state.taken.by_position(bucket),
                        {number: shown for number, (shown, _) in of_lists.items()},
                        {number: taken for number, (_, taken) in of_lists.items()},
                    )
                )
            known = self._read[bucket] = (written, _summed(parts))
        return known[1]


def _summed(parts: Iterable[_Counts]) -> _Counts:
    shown, taken = np.zeros((2, POSITIONS + 1), np.int64)
    shown_of, taken_of = Counter[int](), Counter[int]()
    for part in parts:
        shown, taken = shown + part.shown, taken + part.taken
        shown_of.update(part.shown_of)
        taken_of.update(part.taken_of)
    return _Counts(shown, taken, shown_of, taken_of)


def _rate(shown: int, taken: int) -> dict[str, Any]:
    low, high = wilson(taken, shown)
    return {"shown": shown, "taken": taken, "rate": taken / shown, "low": low, "high": high}
