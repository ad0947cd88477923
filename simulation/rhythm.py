"""Day and week rhythm: the map between clock time and the audience's activity."""

import numpy as np
import numpy.typing as npt

from simulation.settings import DAY_MS

HOUR_MS = DAY_MS // 24
HOURLY = np.array(
    [2, 1, 1, 1, 1, 2, 4, 7, 8, 6, 5, 5, 6, 6, 5, 5, 6, 8, 9, 8, 7, 7, 6, 4], dtype=np.float64
)
"""Relative demand by hour of the day, UTC: commuting and evening peaks (ours)."""

DAILY = np.array([1.05, 1.0, 1.0, 1.05, 1.1, 0.95, 0.85])
"""Relative demand by day of the week, Monday first (ours)."""

_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


class Rhythm:
    """Maps a span of clock time to activity in [0, 1] and back, hour by hour."""

    def __init__(self, start_ms: int, end_ms: int) -> None:
        """Lay the rhythm over [start_ms, end_ms), ms UTC."""
        hours = np.arange(start_ms // HOUR_MS, -(-end_ms // HOUR_MS))
        demand = HOURLY[hours % 24] * DAILY[(hours // 24 + _EPOCH_WEEKDAY) % 7]
        edges = np.append(hours, hours[-1] + 1) * HOUR_MS
        clipped = np.clip(edges, start_ms, end_ms)
        lived = demand * np.diff(clipped)
        self._time = clipped.astype(np.float64)
        self._activity = np.concatenate([[0.0], np.cumsum(lived)]) / lived.sum()

    def activity(self, time_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Share of the span's activity before each time, f64 in [0, 1]."""
        return np.asarray(np.interp(time_ms, self._time, self._activity))

    def time_ms(self, activity: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Inverse of `activity`, ms UTC; activity in [0, 1]."""
        return np.asarray(np.interp(activity, self._activity, self._time)).astype(np.int64)
