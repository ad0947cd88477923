"""Requests that wait until the replica has applied a record."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from console.batching import Overloaded
from streams.log_following import Place

__all__ = ["Applied"]


class Applied:
    """Tells requests when positions are reached."""

    def __init__(
        self, position: Callable[[str, int], int | None], most: int, seconds: float
    ) -> None:
        """position: next offset of (topic, partition) that is not applied.

        most: requests that may wait; seconds: that one waits.
        """
        self.seconds = seconds
        self._position = position
        self._most = most
        self._waiting: dict[Place, set[tuple[int, asyncio.Future[None]]]] = defaultdict(set)
        self._count = 0

    def __len__(self) -> int:
        """Requests that wait."""
        return self._count

    async def wait(self, place: Place, offset: int) -> bool:
        """Wait until the record at an offset is applied; returns False if it takes too long.

        Raises Overloaded.
        """
        if (self._position(*place) or 0) > offset:
            return True
        if self._count >= self._most:
            raise Overloaded(f"{self._most} requests wait for records already")
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (offset, reached)
        self._waiting[place].add(entry)
        self._count += 1
        try:
            await asyncio.wait_for(reached, self.seconds)
        except TimeoutError:
            return False
        finally:
            self._waiting[place].discard(entry)
            self._count -= 1
        return True

    def moved(self, place: Place) -> None:
        """Wake the requests whose records are applied now."""
        if not (waiting := self._waiting.get(place)):
            return
        position = self._position(*place) or 0
        for offset, reached in waiting:
            if position > offset and not reached.done():
                reached.set_result(None)
