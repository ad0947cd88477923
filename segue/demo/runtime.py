"""Interface of the demo's runtimes."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

import psutil

from agents.outputs import Outputs
from segue.screen import errors
from segue.settings import Settings
from streams import Log, LogRecord

__all__ = ["POLL_S", "Appended", "DemoError", "Progress", "Runtime", "placed", "stoppable"]

T = TypeVar("T")

POLL_S = 0.2
#: Where a record went: partition, offset, and a wait for the log's own time of it (ms UTC).
Appended = Callable[[], Awaitable[tuple[int, int, int]]]
Progress = Callable[[int], None]


def placed(sent: Awaitable[Any]) -> Appended:
    """Return what waits for the place of a record that a producer of aiokafka sends."""

    async def place() -> tuple[int, int, int]:
        metadata = await sent
        return metadata.partition, metadata.offset, metadata.timestamp

    return place


class DemoError(RuntimeError):
    """The demo cannot continue; the message gives the reason and where to look."""


async def stoppable(job: Coroutine[Any, Any, T]) -> T:
    """Return what a job returns; SIGTERM ends it like Ctrl-C, so that nothing is left running.

    Raises DemoError after SIGTERM.
    """
    task = asyncio.ensure_future(job)
    asked = asyncio.Event()

    def end() -> None:
        asked.set()
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        return await task
    except asyncio.CancelledError as error:
        # The program ends with the threads that it started, which can take seconds.
        errors.print("stopping: the current step ends first", highlight=False)
        if not asked.is_set():
            raise
        raise DemoError("stopped by a signal; no process is left running") from error


class Runtime(Protocol):
    """Interface of a demo runtime."""

    name: str
    settings: Settings
    #: The time of what the roles announce, ms UTC.
    clock_ms: Callable[[], int]

    @property
    def log(self) -> Log:
        """Where the topics are."""

    async def write(
        self, topic: str, records: Iterable[tuple[bytes, bytes]], progress: Progress
    ) -> int:
        """Write records in bulk."""

    async def append(self, topic: str, key: bytes | None, value: bytes) -> Appended:
        """Write one record now; the result waits for its offset."""

    async def waiting(self) -> int:
        """Number of records of the keyed topics that the worker has not applied yet."""

    def makes_examples(self, generation: int) -> bool:
        """Return whether the worker knows a static bundle and makes examples."""

    def serves(self, generation: int) -> bool:
        """Return whether the worker answers with a dynamic bundle or a newer one."""

    def follows_policy(self, list_name: str, version: int) -> bool:
        """Return whether the worker makes a list by this version of its policy."""

    async def learn(self) -> None:
        """Start the trainer, which learns from the examples that the log holds.

        Not before all of them are there: what it learns must not depend on how fast they came.
        """

    async def examples_waiting(self) -> int:
        """Number of records of the examples topic that the trainer has not read yet."""

    async def checkpoint(self) -> None:
        """Checkpoint every partition at its current position, and wait."""

    async def read(self, topic: str, first: dict[int, int]) -> list[LogRecord]:
        """Return the records of a topic from given offsets to the current end."""

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic."""

    def outputs(self) -> "contextlib.AbstractAsyncContextManager[Outputs]":
        """Outputs for announcements."""

    def check(self) -> None:
        """Raise DemoError if a role has ended."""

    def processes(self) -> list[psutil.Process]:
        """Processes of the demo, except this one."""
