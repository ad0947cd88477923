"""A parent process that leaves the group for a worker that died.

A group waits for the session timeout before it gives away the partitions of a member that is
silent. The parent of a worker knows at once that it has ended, however it ended, and tells the
group. The worker is started as a child by the same command line; it tells the parent its id in the
group through a pipe.
"""

import asyncio
import ctypes
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.security import KafkaSettings

__all__ = ["member_reporter", "stop_on_signals", "supervise"]

logger = logging.getLogger(__name__)

#: Names the pipe to the parent in the environment of the child. Not a setting.
PIPE = "_SEGUE_MEMBER_PIPE"
_STOP = (signal.SIGTERM, signal.SIGINT)
_FORWARDED = (*_STOP, signal.SIGHUP, signal.SIGUSR1)
_PR_SET_PDEATHSIG = 1


def supervise(
    kafka: "KafkaSettings", arguments: Sequence[str], leave: Callable[..., None] | None = None
) -> int:
    """Run this Python with these arguments as a child; returns its exit status.

    Signals are passed on; a second signal to stop kills the child. If the child does not end by
    itself with status 0, its member leaves the group. leave: called with `kafka`, the group and
    the member's id.
    """
    reading, writing = os.pipe()
    child: subprocess.Popen[bytes] | None = None
    early: list[signal.Signals] = []
    stopping = False

    def forward(number: int, _: FrameType | None) -> None:
        nonlocal stopping
        again, stopping = stopping and number in _STOP, stopping or number in _STOP
        sent = signal.SIGKILL if again else signal.Signals(number)
        if child is None:
            early.append(sent)
        else:
            child.send_signal(sent)

    for number in _FORWARDED:
        # Of nohup, or a shell: what is ignored stays so.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    child = subprocess.Popen(  # noqa: S603 the same command line
        [sys.executable, *arguments],
        pass_fds=(writing,),
        env={**os.environ, PIPE: str(writing)},
        # An interrupt at the terminal reaches it once: from here.
        process_group=0,
    )
    for waiting in early:
        child.send_signal(waiting)
    os.close(writing)
    leave = leave or _client()
    # It ends when the child does, and with it the last holder of the other end.
    with os.fdopen(reading) as lines:
        last = [line.split() for line in lines][-1:]
    status = child.wait()
    if status != 0 and last and len(last[0]) == 2:
        group, member = last[0]
        logger.warning("the worker ended with status %d: %s leaves %s", status, member, group)
        leave(kafka, group, member)
    return status if status >= 0 else 128 - status


def _client() -> Callable[..., None]:
    """Import the client while the worker starts: at its end there is no time for it."""
    from streams.offsets import remove_member
    from streams.reach import AdminError

    def leave(kafka: "KafkaSettings", group: str, member: str) -> None:
        try:
            remove_member(kafka, group, member)
        except AdminError as error:
            logger.warning("the group waits for the session timeout: %s", error)

    return leave


def member_reporter() -> Callable[[str, str], None] | None:
    """Return what tells the parent (group, member) of this process; None if it has no such parent.

    On Linux, this process is asked to end (SIGTERM) if the parent is killed, or was before.
    """
    pipe = int(os.environ.pop(PIPE, "-1"))
    if pipe < 0:
        return None
    os.set_inheritable(pipe, False)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        parent = select.poll()
        parent.register(pipe, 0)
        if parent.poll(0):  # its end of the pipe is closed
            signal.raise_signal(signal.SIGTERM)

    def report(group: str, member: str) -> None:
        try:
            os.write(pipe, f"{group} {member}\n".encode())
        except OSError as error:
            logger.warning("the parent process is gone: %s", error)

    return report


def stop_on_signals(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """Return what the signals to stop set, in a child: it may get each of them twice.

    systemd sends them to parent and child, and the parent passes its own on. Without a parent a
    second one ends a process at once.
    """
    stop = asyncio.Event()
    for number in _STOP:
        loop.add_signal_handler(number, stop.set)
    return stop
