"""When a trainer starts to learn, and when it publishes."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from agents.patience import monotonic_ms
from agents.settings import TrainerSettings
from dynamic_layer import TrainingStats

__all__ = ["Cadence"]

#: Growth of the examples at hand within `settle_s` below which training begins.
SETTLED = 1.1
#: Held-out examples with which the gate compares two bundles.
COMPARED = 256
#: Time without a new example after which a log that is not read to its end is not waited for.
SILENT_MS = 60_000

logger = logging.getLogger(__name__)


class Cadence:
    """Tracks new examples since the last bundle, and decides when the next one is due.

    resting: nothing is left to learn; published_at: when a bundle was last announced or refused,
    ms, 0 before the first; news: examples that came since; adopted_at: when a static bundle was
    taken up on which none was published yet, ms, None without one.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        clock_ms: Callable[[], int],
        ticks_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        """clock_ms: the time, ms UTC; ticks_ms: how much of it has passed, which never goes back.

        The moments that checkpoints hold are times; while the process lives, ticks are compared.
        """
        self._settings, self._clock_ms, self._ticks_ms = settings, clock_ms, ticks_ms
        self.resting = True
        self.published_at, self.news = 0, 0
        self.adopted_at: int | None = None
        self._published_tick, self._adopted_tick = 0, 0
        self._steps, self._pending = 0, 0
        self._said_resting = True
        self._seen_news, self._seen_at = 0, 0
        self._moved_news, self._moved_at, self._gave_up = 0, 0, False
        self._began = False
        self.steps_done = 0

    @property
    def starved(self) -> bool:
        """Whether training began and found nothing to learn: no first bundle comes of that."""
        return self._began and self.resting and not (self._steps or self.published_at)

    def still_reading(self, *, caught_up: bool = True) -> bool:
        """Whether the log of examples is still being read for the first time.

        caught_up: whether all that the log held at the start has been taken. Until then training
        waits, however slowly it is read: how busy a machine is must not decide what the first
        bundle learns from. Only a log from which nothing comes for a minute is not waited for.

        Training during this time would spend all epochs on the first examples before the last ones
        are read, and the towers would depend on the read order.
        """
        if self.published_at or self._steps:
            return False
        now = self._ticks_ms()
        if self.news != self._moved_news or not self._moved_at:
            self._moved_news, self._moved_at = self.news, now
        if not caught_up:
            if now - self._moved_at < SILENT_MS:
                return True
            if not self._gave_up:
                logger.warning("training begins before the log has been read: nothing more comes")
            self._gave_up = True
        if now - self._seen_at < self._settings.settle_s * 1000:
            return True
        grown = self.news > SETTLED * self._seen_news
        self._seen_news, self._seen_at = self.news, now
        return grown

    def learned(self, stats: TrainingStats) -> None:
        """Note what a slice of training came to."""
        self._began = True
        self.steps_done += stats.steps
        self._steps += stats.steps
        self._pending = stats.pending
        self.resting = stats.steps == 0

    def adopted(self) -> None:
        """Record that learning continues with another static bundle."""
        self.adopted_at, self._adopted_tick = self._clock_ms(), self._ticks_ms()

    def due(self, held_out: int) -> bool:
        """Whether there is something to publish, and the last bundle is old enough.

        held_out: examples by which the gate could compare. The first bundle waits until all that
        is there has been learnt: it has nothing to replace. The first on another static bundle is
        due as soon as the gate can compare it and nothing waits to be learned. When the trainer
        comes to rest, the last bundle says so: others wait for that.
        """
        if self.published_at == 0:
            return self.resting and self._steps > 0
        now, settings = self._ticks_ms(), self._settings
        if self.adopted_at is not None:
            ready = held_out >= COMPARED and not self._pending
            return ready or now - self._adopted_tick >= settings.adopt_within_s * 1000
        if now - self._published_tick < settings.publish_every_s * 1000:
            return False
        if self.resting:
            return self._steps > 0 or not self._said_resting
        return self._steps > 0 and self.news >= settings.min_examples

    def judged(self) -> None:
        """Record an announced or refused bundle: the next one needs new examples and time."""
        self.published_at, self._published_tick = self._clock_ms(), self._ticks_ms()
        self.news, self._steps = 0, 0
        self.adopted_at, self._said_resting = None, self.resting

    def notes(self) -> dict[str, Any]:
        """Return what a checkpoint holds of this, as JSON values."""
        return {
            "published_at": self.published_at,
            "news": self.news,
            "steps_since": self._steps,
            "said_resting": self._said_resting,
            "adopted_at": self.adopted_at,
        }

    def recall(self, notes: Mapping[str, Any]) -> None:
        """Restore the saved state."""
        self.published_at, self.news = notes["published_at"], notes["news"]
        self._steps, self._said_resting = notes["steps_since"], notes["said_resting"]
        self.adopted_at = notes.get("adopted_at")
        self._published_tick = self._tick_of(self.published_at)
        self._adopted_tick = self._tick_of(self.adopted_at or 0)

    def _tick_of(self, at_ms: int) -> int:
        """The tick of a time that another process noted; a time of the future counts as now."""
        return self._ticks_ms() - max(self._clock_ms() - at_ms, 0)
