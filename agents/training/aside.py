"""Work with a trainer, in threads beside the event loop."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Aside"]

T = TypeVar("T")


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
