"""Log times of the newest records of each partition, to measure the latency of answers."""

from collections import deque
from collections.abc import Sequence

from streams import LogRecord

__all__ = ["LogTimes"]

#: Log times of the newest records of a place that are remembered.
REMEMBERED = 20_000


class LogTimes:
    """Log times of the newest records of some places, as they are applied."""

    def __init__(self) -> None:
        """Nothing was applied yet."""
        # Place -> offset of the newest record, and the times of it and of those before.
        self._newest: dict[tuple[str, int], tuple[int, deque[int]]] = {}

    def applied(self, records: Sequence[LogRecord]) -> None:
        """Remember records of one place, not empty, in offset order."""
        place = records[0].topic, records[0].partition
        _, times = self._newest.get(place, (0, deque(maxlen=REMEMBERED)))
        times.extend(record.timestamp for record in records)
        self._newest[place] = records[-1].offset, times

    def of(self, topic: str, partition: int, offset: int) -> int | None:
        """When the log took a record, ms UTC; None if it is not among the newest."""
        last, times = self._newest.get((topic, partition), (0, deque()))
        back = last - offset
        return times[-1 - back] if 0 <= back < len(times) else None

    def newest(self, topic: str, partition: int) -> int | None:
        """When the log took the newest record of a place that was applied since the start."""
        _, times = self._newest.get((topic, partition), (0, deque()))
        return times[-1] if times else None
