"""A daemon thread for calls that block: a client that hangs never keeps the process from ending."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

__all__ = ["ClientThread"]

P = ParamSpec("P")
Result = TypeVar("Result")
_Call = Callable[[], None]


class ClientThread:
    """Makes calls one after the other, in the order in which they were asked for.

    confluent-kafka locks a client for the whole of a call: a call from another thread would wait
    for the end of a poll, and may not end.
    """

    def __init__(self, name: str) -> None:
        """Start the thread; it ends with `end` or with the process."""
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        # Not made while a call waits for the app, which may wait for the others.
        self._put_off: deque[_Call | None] = deque()
        self._patient: set[_Call] = set()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(
        self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Call a function in the thread; returns what it returns and raises what it raises.

        A call whose caller is cancelled is made nevertheless, once it has begun.
        """
        return await self._asked(function, args, kwargs, patient=False)

    async def call_last(
        self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Do what `call` does, but never inside of `wait_for_app`."""
        return await self._asked(function, args, kwargs, patient=True)

    def wait_for_app(self, done: concurrent.futures.Future[Result]) -> Result:
        """Return the app's answer, inside of a call; others are made meanwhile."""
        done.add_done_callback(lambda _: self._calls.put(_nothing))
        while not done.done():
            call = self._calls.get()
            if call is None or call in self._patient:
                self._put_off.append(call)
            else:
                call()
        return done.result()

    async def _asked(
        self, function: Callable[..., Result], args: Any, kwargs: Any, *, patient: bool
    ) -> Result:
        loop = asyncio.get_running_loop()
        promise: asyncio.Future[Result] = loop.create_future()

        def make() -> None:
            if promise.cancelled():
                return
            result: Any = None
            error: BaseException | None = None
            try:
                result = function(*args, **kwargs)
            except BaseException as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any more
                loop.call_soon_threadsafe(_settle, promise, result, error)

        if patient:
            self._patient.add(make)
        self._calls.put(make)
        return await promise

    def end(self) -> None:
        """End the thread after the calls that were asked for."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._put_off.popleft() if self._put_off else self._calls.get()) is not None:
            self._patient.discard(call)
            call()


def _nothing() -> None:
    """Wake the thread."""


def _settle(promise: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if promise.done():
        return
    if error is None:
        promise.set_result(result)
    else:
        promise.set_exception(error)
