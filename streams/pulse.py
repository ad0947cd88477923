"""Signs of life of the parts of a process that must keep running, for its liveness probe."""

import asyncio
import time
from collections.abc import Callable

SILENT_S = 30.0
"""A part that gave no sign for this long is taken to hang, in seconds. Single steps of a worker
(a large commit, a garbage collection) took up to some seconds."""
BEAT_S = 1.0


class Pulse:
    """Remembers when each part last gave a sign of life. May be used from any thread."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, silent_s: float = SILENT_S
    ) -> None:
        """Watch no part yet. clock: seconds, never set back."""
        self._clock = clock
        self._silent_s = silent_s
        self._last: dict[str, float] = {}

    def beat(self, part: str) -> None:
        """Note that a part runs."""
        self._last[part] = self._clock()

    async def keep(self, part: str) -> None:
        """Note every second that the event loop of a part runs, until cancelled.

        The part stays watched when this ends: a loop that has ended does not run either.
        """
        while True:
            self.beat(part)
            await asyncio.sleep(BEAT_S)

    def silent(self) -> dict[str, float]:
        """Parts that hang or have ended, with the seconds since their last sign of life."""
        now = self._clock()
        return {
            part: now - last
            for part, last in list(self._last.items())
            if now - last > self._silent_s
        }
