"""How often what is shown is taken, by position, over all items and users."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from console.replica import Replica
from dynamic_layer import wilson
from state import POSITIONS

__all__ = ["ClickThrough"]

#: Positions with a row of their own; all later positions share one row.
OWN_ROWS = 20
#: Newest buckets of the window that are added up: days, by default.
BUCKETS = 30
#: Shown and taken by position, int64 [POSITIONS + 1] each.
_Counts = tuple[NDArray[np.int64], NDArray[np.int64]]


class ClickThrough:
    """Adds up committed counts of the replica's states (`state.taken`).

    For one thread at a time, beside commits. A bucket is read again when a commit has changed it.
    """

    def __init__(self, replica: Replica) -> None:
        """Read from `replica`."""
        self._replica = replica
        self._read: dict[int, tuple[tuple[int, ...], _Counts]] = {}

    def view(self) -> dict[str, Any] | None:
        """Return the counts and rates by position; None where no impressions are read.

        hours: over which time after an impression it can be taken; buckets: how many are added up,
        bucket_ms long each. rows: position, "21 and on" or "unknown"; shown; taken; rate; low and
        high, its Wilson interval of 95 %.
        """
        settings = self._replica.state_settings
        if not settings.impressions:
            return None
        states = list(self._replica.partitions.states.values())
        newest = max((state.watermark for state in states), default=0)
        # Impressions move no watermark: the newest of them may lie in the bucket behind it.
        buckets = range(max(newest - BUCKETS + 1, 0), newest + 2)
        self._read = {bucket: kept for bucket, kept in self._read.items() if bucket in buckets}
        found = [self._of(bucket) for bucket in buckets]
        shown, taken = (
            sum(side, np.zeros(POSITIONS + 1, np.int64)) for side in zip(*found, strict=True)
        )
        parts = [(str(at), slice(at, at + 1)) for at in range(1, OWN_ROWS + 1)]
        parts += [(f"{OWN_ROWS + 1} and on", slice(OWN_ROWS + 1, None)), ("unknown", slice(1))]
        rows = [(name, int(shown[part].sum()), int(taken[part].sum())) for name, part in parts]
        return {
            "hours": settings.taken_hours,
            "buckets": BUCKETS,
            "bucket_ms": settings.window.bucket_ms,
            "rows": [_row(*row) for row in rows if row[1]],
        }

    def _of(self, bucket: int) -> _Counts:
        states = list(self._replica.partitions.states.values())
        # Noted before the read, so that a commit during the read causes another one.
        written = tuple(state.taken_written_in(bucket) for state in states)
        known = self._read.get(bucket)
        if known is None or known[0] != written:
            parts = [state.taken_by_position(bucket) for state in states]
            nothing = np.zeros(POSITIONS + 1, np.int64)
            shown, taken = (sum((part[side] for part in parts), nothing) for side in (0, 1))
            known = self._read[bucket] = (written, (shown, taken))
        return known[1]


def _row(position: str, shown: int, taken: int) -> dict[str, Any]:
    low, high = wilson(taken, shown)
    return {
        "position": position, "shown": shown, "taken": taken, "rate": taken / shown,
        "low": low, "high": high,
    }  # fmt: skip
