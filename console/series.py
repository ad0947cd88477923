"""Figures of the last minutes, hour and day, in steps that a chart can show."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["RANGES", "Second", "Series", "percentile"]

#: Seconds that a chart shows -> seconds of one of its points.
RANGES = {300: 1, 3_600: 15, 86_400: 300}
#: Latencies of a second that are kept for longer steps, at most, evenly chosen.
SAMPLED = 200


@dataclass(frozen=True, kw_only=True)
class Second:
    """What happened in a second.

    time: when it ended, seconds UTC; late: ms from event to recommendation; lag: records that
    workers have not applied, None if unknown.
    """

    time: int
    events: int
    answers: int
    refused: int
    late: tuple[int, ...]
    lag: int | None


def percentile(values: Sequence[int], percent: int) -> float | None:
    """Percentile of values, rounded to a tenth; None without values.

    >>> percentile([10, 20, 30], 50), percentile([], 95)
    (20.0, None)
    """
    return round(float(np.percentile(values, percent)), 1) if values else None


@dataclass
class _Step:
    """The sum of the seconds of one point."""

    seconds: int = 0
    time: int = 0
    events: int = 0
    answers: int = 0
    refused: int = 0
    late: list[int] = field(default_factory=list)
    lag: int | None = None

    def add(self, second: Second, *, sampled: int) -> None:
        self.seconds += 1
        self.time = second.time
        self.events += second.events
        self.answers += second.answers
        self.refused += second.refused
        self.late += second.late[:: max(1, len(second.late) // sampled)]
        if second.lag is not None:
            self.lag = max(self.lag or 0, second.lag)

    def point(self) -> dict[str, Any]:
        """Rates per second, p95 of the latencies, and the greatest lag."""
        return {
            "time": self.time,
            "events": round(self.events / self.seconds, 2),
            "answers": round(self.answers / self.seconds, 2),
            "refused": self.refused,
            "p95_ms": percentile(self.late, 95),
            "lag": self.lag,
        }


class Series:
    """Sums seconds to the points of each range of `RANGES`."""

    def __init__(self) -> None:
        """No second has passed."""
        self.shortest = min(RANGES)
        self._points: dict[int, deque[dict[str, Any]]] = {
            shown: deque(maxlen=shown // step) for shown, step in RANGES.items()
        }
        self._open = {shown: _Step() for shown in RANGES}

    def add(self, second: Second) -> None:
        """Add a second to every range."""
        for shown, step in RANGES.items():
            of = self._open[shown]
            of.add(second, sampled=len(second.late) or 1 if step == 1 else SAMPLED)
            if of.seconds == step:
                self._points[shown].append(of.point())
                self._open[shown] = _Step()

    def points(self, shown: int) -> list[dict[str, Any]]:
        """Points of a range, oldest first; the newest can be of a step that still runs."""
        of = self._open[shown]
        return [*self._points[shown], *([of.point()] if of.seconds else [])]
