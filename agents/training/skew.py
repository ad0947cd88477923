"""Compares what workers' heads read with what training reads, and reports differences."""

import logging
from collections import deque
from collections.abc import Callable

from agents.training.train_tally import TrainTally
from dynamic_layer import (
    DynamicBundle,
    ExampleBatch,
    Popularity,
    ServedFeatures,
    Skew,
    SkewCheck,
    tolerance_of,
)

__all__ = ["Skews"]

logger = logging.getLogger(__name__)

#: Compared lists that the metric shows the greatest difference of.
RECENT = 64
#: Lists that wait to be compared; more are dropped and counted.
WAITING = 256
#: Minimum time between two lines in the log, in milliseconds.
REPORT_EVERY_MS = 60_000


class Skews:
    """Queues served lists, compares them, sets metrics and logs the worst feature."""

    def __init__(self, check: SkewCheck, tally: TrainTally, ticks_ms: Callable[[], int]) -> None:
        """ticks_ms: monotonic time in ms."""
        self._check, self._tally, self._ticks_ms = check, tally, ticks_ms
        self._waiting: deque[tuple[ServedFeatures, int]] = deque()
        self._recent: deque[dict[str, float]] = deque(maxlen=RECENT)
        self._shown: set[str] = set()
        self._reported_at: int | None = None

    def serve(self, bundle: DynamicBundle | None) -> None:
        """Compare the answers by another bundle."""
        self._check.serve(bundle)

    def remember(self, batch: ExampleBatch) -> None:
        """Remember new examples, some of whose answers will come."""
        self._check.remember(batch)

    def take(self, served: ServedFeatures, log_ms: int) -> None:
        """Queue a list of an answer; log_ms: when the log took it, ms UTC."""
        if len(self._waiting) == WAITING:
            self._waiting.popleft()
            self._tally.skew_lists.labels("dropped").inc()
        self._waiting.append((served, log_ms))

    @property
    def due(self) -> bool:
        """Whether lists wait."""
        return bool(self._waiting)

    def ask(self, popularity: Popularity) -> None:
        """Compare what waits. popularity: counts from which training reads demand."""
        while self._waiting:
            served, log_ms = self._waiting.popleft()
            skew = self._check.compare(served, log_ms, popularity)
            self._tally.skew_lists.labels(skew.outcome).inc()
            if skew.outcome == "compared":
                self._recent.append(skew.differences)
                self._report(served, skew)
        self._show()

    def _show(self) -> None:
        """Set the metric to the greatest difference of each feature, in tolerances."""
        worst: dict[str, float] = {}
        for differences in self._recent:
            for name, value in differences.items():
                worst[name] = max(worst.get(name, 0.0), value / tolerance_of(name))
        for gone in self._shown - worst.keys():
            self._tally.skew.remove(gone)
        for name, value in worst.items():
            self._tally.skew.labels(name).set(value)
        self._shown = set(worst)

    def _report(self, served: ServedFeatures, skew: Skew) -> None:
        if not skew.found:
            return
        self._tally.skew_lists.labels("skewed").inc()
        now = self._ticks_ms()
        if self._reported_at is not None and now - self._reported_at < REPORT_EVERY_MS:
            return
        self._reported_at = now
        name, value = next(iter(skew.found.items()))
        logger.error(
            "training-serving skew: feature %s differs by %.3g deviations (tolerance %g), %d"
            " features in all; answer to %s/%d offset %d, generation %d",
            name, value, tolerance_of(name), len(skew.found),
            served.topic, served.partition, served.offset, served.generation,
        )  # fmt: skip
