"""When a trainer begins to learn, and when it publishes."""

from collections.abc import Callable, Mapping
from typing import Any

from agents.settings import TrainerSettings
from dynamic_layer import TrainingStats

__all__ = ["Cadence"]

#: Growth of the examples at hand within `settle_s` below which training begins.
SETTLED = 1.1
#: Held-out examples with which the gate compares two bundles.
COMPARED = 256


class Cadence:
    """Knows what is new since the last bundle, and says when the next one is due.

    resting: nothing is left to learn; published_at: when a bundle was last announced or refused,
    ms, 0 before the first; news: examples that came since; adopted_at: when a static bundle was
    taken up on which none was published yet, ms, None without one.
    """

    def __init__(self, settings: TrainerSettings, clock_ms: Callable[[], int]) -> None:
        """clock_ms: the time."""
        self._settings, self._clock_ms = settings, clock_ms
        self.resting = True
        self.published_at, self.news = 0, 0
        self.adopted_at: int | None = None
        self._steps, self._pending = 0, 0
        self._said_resting = True
        self._seen_news, self._seen_at = 0, 0

    def still_reading(self) -> bool:
        """Whether the log of examples is still being read for the first time.

        Whoever trained meanwhile would give the first examples all of their epochs before the last
        ones are there, and the towers would remember the order in which they were read.
        """
        if self.published_at or self._steps:
            return False
        now = self._clock_ms()
        if now - self._seen_at < self._settings.settle_s * 1000:
            return True
        grown = self.news > SETTLED * self._seen_news
        self._seen_news, self._seen_at = self.news, now
        return grown

    def learned(self, stats: TrainingStats) -> None:
        """Note what a slice of training came to."""
        self._steps += stats.steps
        self._pending = stats.pending
        self.resting = stats.steps == 0

    def adopted(self) -> None:
        """Note that learning goes on with another static bundle."""
        self.adopted_at = self._clock_ms()

    def due(self, held_out: int) -> bool:
        """Whether there is something to publish, and the last bundle is old enough.

        held_out: examples by which the gate could compare. The first bundle waits until all that
        is there has been learnt: it has nothing to replace. The first on another static bundle is
        due as soon as the gate can compare it and nothing waits to be learned. When the trainer
        comes to rest, the last bundle says so: others wait for that.
        """
        if self.published_at == 0:
            return self.resting and self._steps > 0
        since, settings = self._clock_ms() - self.published_at, self._settings
        if self.adopted_at is not None:
            ready = held_out >= COMPARED and not self._pending
            return ready or self._clock_ms() - self.adopted_at >= settings.adopt_within_s * 1000
        if since < settings.publish_every_s * 1000:
            return False
        if self.resting:
            return self._steps > 0 or not self._said_resting
        return self._steps > 0 and self.news >= settings.min_examples

    def judged(self) -> None:
        """Note that a bundle was announced or refused: the next one needs news and time."""
        self.published_at, self.news, self._steps = self._clock_ms(), 0, 0
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
        """Go on where another was."""
        self.published_at, self.news = notes["published_at"], notes["news"]
        self._steps, self._said_resting = notes["steps_since"], notes["said_resting"]
        self.adopted_at = notes.get("adopted_at")
