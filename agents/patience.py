"""Work that must not block a role's event loop: in threads, and with pauses between attempts.

`monotonic_ms` is the clock of periodic work.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from state import Patience

__all__ = [
    "BRIEFLY",
    "ONCE",
    "UNTIL_ANSWERED",
    "UNTIL_THERE",
    "UPLOADS",
    "Aside",
    "Pause",
    "monotonic_ms",
    "patiently",
    "repeated",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

Pause = Callable[[float], Awaitable[None]]

#: Between attempts to upload a checkpoint. Within an attempt the store tries again itself.
UPLOADS = Patience(attempts=sys.maxsize, first_s=5.0, factor=2.0, most_s=300.0)
#: To open states or publish a bundle: some seconds, since a signal to end waits for it.
BRIEFLY = Patience(attempts=3, first_s=1.0, factor=2.0)
#: To read a bundle that is announced: what was served before is served meanwhile.
UNTIL_THERE = Patience(attempts=sys.maxsize, first_s=1.0, factor=2.0, most_s=60.0)
#: Between questions to a broker that does not answer: nothing can be read meanwhile.
UNTIL_ANSWERED = Patience(attempts=sys.maxsize, first_s=1.0, factor=2.0, most_s=10.0)
#: No second attempt: a command ends with a message instead.
ONCE = Patience(attempts=1)


async def patiently(
    work: Callable[[], T], what: str, patience: Patience, pause: Pause = asyncio.sleep
) -> T:
    """Call `work` in another thread until the artifact store answers.

    what: names the work in the log. Raises OSError after the last attempt.
    """
    return await repeated(lambda: asyncio.to_thread(work), what, patience, pause, OSError)


async def repeated(
    work: Callable[[], Awaitable[T]],
    what: str,
    patience: Patience,
    pause: Pause,
    retried: type[Exception],
) -> T:
    """Await `work` until it raises no `retried` error; raises the last attempt's error."""
    failures = 0
    while True:
        try:
            return await work()
        except retried as error:
            failures += 1
            if failures >= patience.attempts:
                raise
            seconds = patience.pause_s(failures)
            logger.error("%s failed, the next attempt is due in %g s: %s", what, seconds, error)
            await pause(seconds)


def monotonic_ms() -> int:
    """Milliseconds since an arbitrary start; only differences are meaningful."""
    return time.monotonic_ns() // 1_000_000


class Aside:
    """Does something in another thread, to its end even if the caller is cancelled."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._work: asyncio.Future[Any] | None = None

    async def __call__(self, work: Callable[[], T]) -> T:
        """Return what the work returns."""
        done = asyncio.ensure_future(asyncio.to_thread(work))
        self._work = done
        return await asyncio.shield(done)

    async def ended(self) -> bool:
        """Wait for the work that runs; return whether the last one came to a good end."""
        work = self._work
        if work is not None and not work.done():
            await asyncio.wait([work])
        return work is None or work.cancelled() or work.exception() is None
