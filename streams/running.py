"""Running an app as a process: signals, the stop, the exit status."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable

from streams.app import WorkerApp
from streams.positions import PositionError
from streams.rights import explained_refusal

log = logging.getLogger(__name__)


async def serve(
    app: WorkerApp,
    *,
    on_stop: Callable[[], None] = lambda: None,
    stop: asyncio.Event | None = None,
) -> int:
    """Run an app until SIGTERM or SIGINT, or until it fails; return the exit status of the process.

    0: stopped by a signal; the batch in hand was finished and on_revoked called before the group
       was left. A second signal ends the process at once.
    1: it failed; the reason is in the log and in `app.crash_reason`.

    To be called in the event loop of the main thread. on_stop: called when the stop begins, by a
    signal or a failure. stop: stops the app in the place of a signal, for a process that runs
    several apps and takes the signals itself.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event() if stop is None else stop
    signals = (signal.SIGTERM, signal.SIGINT) if stop is None else ()

    def ask() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        asked.set()

    for number in signals:
        loop.add_signal_handler(number, ask)
    beating = asyncio.ensure_future(app.pulse.keep("the event loop"))
    running = asyncio.ensure_future(_run(app))
    # A crash while the app starts does not end the start.
    ends = {running, *map(asyncio.ensure_future, (asked.wait(), app.wait_for_crash()))}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        on_stop()
        await app.stop()
    finally:
        for task in (*ends, beating):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        for number in signals:
            loop.remove_signal_handler(number)
    if app.crash_reason is not None:
        reason = app.crash_reason
        # Written for people; of other errors the kind says more than their text.
        told = str(reason) if isinstance(reason, PositionError) else repr(reason)
        log.error("%s stopped: %s", app.group, explained_refusal(app.user, reason) or told)
        return 1
    return 0


async def _run(app: WorkerApp) -> None:
    try:
        await app.start()
        await app.wait()
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # A start that a stop interrupts fails, which is no failure of the app.
        if app.crash_reason is None and not app.should_stop:
            # aiokafka cancels its own futures when it fails; this task was not cancelled.
            app.crash_reason = (
                error
                if isinstance(error, Exception)
                else RuntimeError(f"the start was interrupted: {error!r}")
            )
        raise
