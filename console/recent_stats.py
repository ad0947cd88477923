"""Statistics of the last minutes by second: events, answers and latency."""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from console.replica import Replica
from console.series import Second, Series, percentile
from streams import Recommendation, Source

__all__ = ["RecentStats"]

#: Seconds over which latencies and served generations are summed.
LATE_S = 60
#: Arms and generations that are shown, those with the most answers.
SHOWN_BUNDLES = 8
#: Answers of a second whose events are looked up, at most; a page needs no more.
LOOKED_UP = 2_000


class RecentStats:
    """Counts seconds. Nothing here is kept beyond the last day, or a restart."""

    def __init__(self, replica: Replica, clock_ms: Callable[[], int]) -> None:
        """Read from a replica."""
        self._replica = replica
        self._clock_ms = clock_ms
        self.lags: dict[int, int] = {}
        self.series = Series()
        self._answers = 0
        self._events = 0
        self._refused = 0
        # By arm and generation: channels number theirs apart.
        self._bundles: Counter[tuple[str, int]] = Counter()
        # (log time of the answer, place of its event); a worker may be ahead of this replica.
        self._open: list[tuple[int, Source]] = []
        self._late: deque[tuple[int, ...]] = deque(maxlen=LATE_S)
        self._served: deque[Counter[tuple[str, int]]] = deque(maxlen=LATE_S)

    def answered(self, logged_at: int, answer: Recommendation) -> None:
        """Take an answer of a worker; logged_at: when the log took it, ms UTC."""
        self._answers += 1
        self._bundles[answer.arm or "", answer.generation] += 1
        if answer.source is not None and len(self._open) < LOOKED_UP:
            self._open.append((logged_at, answer.source))

    def tick(self) -> None:
        """Close a second."""
        times, late, still_open = self._replica.log_times, [], []
        for logged_at, source in self._open:
            event_at = times.of(source.topic, source.partition, source.offset)
            if event_at is not None:
                late.append(max(0, logged_at - event_at))
            elif not self._applied(source):
                still_open.append((logged_at, source))
        self._open = still_open[-LOOKED_UP:]
        tally = self._replica.tally
        events, refused = tally.records, sum(tally.dead_letters.values())
        if not self._replica.caught_up:
            # What the log already held did not happen now.
            self._events, self._refused = events, refused
        self._late.append(tuple(late))
        self._served.append(self._bundles)
        self.series.add(
            Second(
                time=self._clock_ms() // 1_000, events=events - self._events,
                answers=self._answers, refused=refused - self._refused, late=tuple(late),
                lag=sum(self.lags.values()) if self.lags else None,
            )
        )  # fmt: skip
        self._events, self._refused, self._answers = events, refused, 0
        self._bundles = Counter()

    def now_ms(self) -> int:
        """The time, ms UTC."""
        return self._clock_ms()

    def view(self) -> dict[str, Any]:
        """The last minutes as JSON values."""
        late = [ms for second in self._late for ms in second]
        served: Counter[tuple[str, int]] = sum(self._served, Counter())
        tally, states = self._replica.tally, self._replica.partitions.states
        places = {number: self._replica.event_positions(number) for number in sorted(states)}
        return {
            "time": self._clock_ms(),
            "seconds": self.series.points(self.series.shortest),
            "latency_ms": {
                "answers": len(late),
                **{f"p{p}": percentile(late, p) for p in (50, 95, 99)},
            },
            "served": [
                {"arm": arm, "generation": generation, "count": count}
                for (arm, generation), count in served.most_common(SHOWN_BUNDLES)
            ],
            "records": tally.records,
            "applied": tally.applied,
            "refused": sum(tally.dead_letters.values()),
            "partitions": [
                {
                    "partition": number,
                    **place,
                    "workers_lag": self.lags.get(number),
                    "last_applied_ms": self._replica.log_times.newest(place["topic"], number),
                }
                for number, place in places.items()
            ],
        }

    def _applied(self, source: Source) -> bool:
        at = self._replica.partitions.position(source.topic, source.partition)
        return at is None or at > source.offset
