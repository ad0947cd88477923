"""Partitions whose state is open: their batches, openings and closings take turns."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from streams.batches import Batch, BatchHandler, BatchReading, Hooks, Partitions, Place
from streams.log_source import concerning

__all__ = ["OpenPartitions"]


class OpenPartitions:
    """The partitions of an app whose state is open.

    One thing happens at a time: a batch is handled, or partitions are opened or closed. What raises
    stops the app (`fail`): no later batch is handed over, and nothing is closed any more, as if the
    process had been killed.
    """

    def __init__(
        self, hooks: Hooks, reading: BatchReading, fail: Callable[[Exception], Awaitable[None]]
    ) -> None:
        """Begin with none. fail: stops the app with this error."""
        self._hooks = hooks
        self._reading = reading
        self._fail = fail
        self._turn = asyncio.Lock()
        self.places: Partitions = set()
        self.failed = False

    async def handle(self, handler: BatchHandler, batch: Batch) -> None:
        """Have a batch applied, unless it is void by now."""
        async with self._turn:
            if self.failed or not self._reading.is_current(batch):
                return
            with concerning(batch):
                try:
                    await handler(batch)
                except Exception as error:
                    await self.fail(error)
                except asyncio.CancelledError as error:
                    if _is_cancelled():
                        raise
                    # A future of the handler was cancelled. Faust would end its agent silently.
                    await self.fail(RuntimeError(f"a handler was interrupted: {error!r}"))

    async def open(
        self,
        assigned: Callable[[], Iterable[Place] | None],
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Open what is assigned and not open yet; raises what the opening raises.

        assigned: asked when it is its turn; None if partitions were revoked meanwhile.
        then:     awaited before anything else has its turn.
        """
        async with self._turn:
            found = assigned()
            if found is None or self.failed:
                return
            gained = {(topic, number) for topic, number in found} - self.places
            try:
                if gained:
                    await self._hooks.on_assigned(set(gained))
                    self.places |= gained
                if then is not None:
                    await then()
            except Exception as error:
                await self.fail(error)
                raise

    async def close(self, places: Iterable[Place] | None = None) -> None:
        """Close partitions (None: all), when no handler is running."""
        async with self._turn:
            closing = set(self.places) if places is None else self.places & set(places)
            self._reading.void(places)
            self.places -= closing
            if not closing or self.failed:
                return
            try:
                await self._hooks.on_revoked(closing)
            except Exception as error:
                await self.fail(error)

    async def pass_empty(self, place: Place, first: int, end: int, epoch: int) -> bool:
        """Have the store go on behind offsets without records; False while it is busy.

        epoch: number of the seek after which they were found.
        """
        if self._turn.locked():
            return False  # what lies before is still being applied; the next fetch asks again
        async with self._turn:
            if self.failed or not self._reading.is_at(place, epoch):
                return False
            return await self._hooks.pass_empty(*place, first, end)

    async def fail(self, error: Exception) -> None:
        """Stop the app as if the process had been killed."""
        self.failed = True
        await self._fail(error)


def _is_cancelled() -> bool:
    """Return whether the current task is cancelled, and not a future that it waits for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
