"""A limit for the stop of a process: what has not ended by then is given up."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

LIMIT_S = 8.0
"""Seconds that a stop may take, uploads excepted. Measured stops take less than three; Docker kills
after ten."""
_STEP_S = 0.1


def never() -> bool:
    """Return False: nothing is excepted from the limit."""
    return False


class StopLimit:
    """Ends the process with status 1 when a stop takes longer than a limit.

    The last resort, for a stop that hangs: in a client that a dead broker keeps waiting, in a
    handler, in a thread of the pool. State and outputs are made for SIGKILL, so that an end without
    a last commit repeats work and loses none.

    excepted: returns True while something runs whose time does not count, such as an upload.
    """

    def __init__(
        self,
        excepted: Callable[[], bool] = never,
        *,
        limit_s: float = LIMIT_S,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        """Prepare a limit; it counts from `begin` on."""
        self._excepted = excepted
        self._limit_s = limit_s
        self._end = end
        self._begun = False

    def begin(self) -> None:
        """Count from now on, once; returns at once."""
        if not self._begun:
            self._begun = True
            main = threading.get_ident()
            threading.Thread(
                target=self._watch, args=(main,), name="stop limit", daemon=True
            ).start()

    def _watch(self, main: int) -> None:
        pause, spent, before = threading.Event(), 0.0, time.monotonic()
        while spent < self._limit_s:
            pause.wait(_STEP_S)
            now = time.monotonic()
            if not self._excepted():
                spent += now - before
            before = now
        log.error(
            "the stop did not end within %g s (main thread: %s); the process ends without it, and "
            "the next start continues from the last commit", self._limit_s, _where(main),
        )  # fmt: skip
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._end(1)


def end_on_signal() -> None:
    """End the process at once on SIGTERM and SIGINT, until an app handles them.

    For the start of a role, which holds nothing yet. As the first process of a container, one
    without a handler would not even notice SIGTERM.
    """

    def end(number: int, _frame: Any) -> None:
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _where(thread: int) -> str:
    """Place in the code where a thread is."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "has ended"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
