"""An event loop in the clock of a night: no thread, no socket, and nothing waits for real."""

import asyncio
import math
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(AssertionError):
    """Every task waits for something that no task will do."""


class _Waiting:
    """What a loop has instead of sockets: where nothing else is to be done, time passes."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck("every task waits, and none for a time")
        if timeout > 0:
            # The clock has whole milliseconds.
            self._sleep(math.ceil(timeout * 1000) / 1000)
        return []


def _except_kills(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what no task has asked for, but not that a process was killed."""
    if isinstance(context.get("exception"), Exception | None):
        loop.default_exception_handler(context)


class NightLoop(asyncio.BaseEventLoop):
    """The tasks of one process. What it gives to other threads runs here, as a task's turn would.

    So one seed has one order of all calls, whatever the machine does. Where all tasks wait for a
    time, it comes at once.
    """

    def __init__(self, ticks_ms: Callable[[], int], sleep: Callable[[float], None]) -> None:
        """ticks_ms: time that never goes back; sleep: lets so many seconds pass."""
        super().__init__()
        self._ticks_ms = ticks_ms
        self._selector = _Waiting(sleep)
        # `asyncio.all_tasks` goes through those of all processes, after each happening.
        self._own_tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.set_task_factory(self._task)
        self.set_exception_handler(_except_kills)

    def time(self) -> float:
        """Seconds since the night began."""
        return self._ticks_ms() / 1000

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call `func` in a turn of its own."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                found = func(*args)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(found)

        self.call_soon(work)
        return future

    def whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end; what it began and did not wait for is given up, as at an exit."""
        try:
            return self.run_until_complete(work)
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Cancel the tasks that are left, and have them end."""
        left = [task for task in self._own_tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    def _task(self, _loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=self, **more)
        self._own_tasks.add(task)
        return task

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no threads to wake."""
