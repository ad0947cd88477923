"""Waits with one deadline: minutes, because the machine may be busy with other work.

A deadline that is not reached costs nothing. pytest's own limit for a test (`timeout` in
pyproject.toml) is longer, so that a wait ends first and says what it waited for.
"""

import asyncio
import inspect
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from streams.app import WorkerApp

PATIENCE_S = 300.0
#: For a process that runs a whole demo, or a part of the command line that trains.
LONG_S = 800.0
LOOK_EVERY_S = 0.02

Found = TypeVar("Found")


def lives() -> str:
    """The other side of a wait that has none, or none that can end."""
    return ""


class _Wait:
    """One wait: fails once the other side ended, or after PATIENCE_S."""

    def __init__(self, what: str, ended: Callable[[], str]) -> None:
        self._what, self._ended = what, ended
        self._deadline = time.monotonic() + PATIENCE_S
        self._why = ""

    def go_on(self) -> None:
        """Called after each look at a condition that does not hold."""
        # The other side may do what is awaited and end: a last look comes after its end.
        assert not self._why, f"waited for {self._what}, but the other side ended: {self._why}"
        self._why = self._ended()
        late = time.monotonic() > self._deadline
        assert not late, f"waited {PATIENCE_S:g} s in vain for {self._what}"


def wait_until(
    condition: Callable[[], object],
    what: str,
    *,
    ended: Callable[[], str] = lives,
    every_s: float = LOOK_EVERY_S,
) -> None:
    """Return as soon as the condition holds; fail after PATIENCE_S.

    `ended` says why the other side ended, and is empty while it lives.
    """
    wait, pause = _Wait(what, ended), threading.Event()
    while not condition():
        wait.go_on()
        pause.wait(every_s)


async def until(
    condition: Callable[[], object], what: str, *, ended: Callable[[], str] = lives
) -> None:
    """`wait_until` in a loop; the condition may be a coroutine function."""
    wait = _Wait(what, ended)
    while not (await found if inspect.isawaitable(found := condition()) else found):
        wait.go_on()
        await asyncio.sleep(LOOK_EVERY_S)


def crash_of(app: "WorkerApp") -> Callable[[], str]:
    """For `ended`: why an app crashed, once it did."""
    return lambda: repr(app.crash_reason) if app.crash_reason else ""


async def within_patience(work: Awaitable[Found]) -> Found:
    """What the work returns; raises TimeoutError after PATIENCE_S, at the line that waits."""
    return await asyncio.wait_for(work, PATIENCE_S)


def end_of(
    process: "subprocess.Popen[bytes] | subprocess.Popen[str]", said: Callable[[], str]
) -> Callable[[], str]:
    """For `ended`: a process's status and the end of what it said, once it ended."""

    def why() -> str:
        status = process.poll()
        return "" if status is None else f"status {status}\n{said()[-3000:]}"

    return why
