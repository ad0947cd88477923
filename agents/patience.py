"""Retries for a failing artifact store or broker, without blocking the role."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from state import Patience

__all__ = [
    "BRIEFLY",
    "ONCE",
    "UNTIL_ANSWERED",
    "UNTIL_THERE",
    "UPLOADS",
    "Pause",
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
