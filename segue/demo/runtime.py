"""What the demo needs of its surroundings, whatever they are."""

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import psutil

from agents.outputs import Outputs
from segue.settings import Settings
from streams import LogRecord

__all__ = ["POLL_S", "Appended", "DemoError", "Progress", "Runtime"]

POLL_S = 0.2
#: Where a record went: partition, offset, and a wait for the log's own time of it (ms UTC).
Appended = Callable[[], Awaitable[tuple[int, int, int]]]
Progress = Callable[[int], None]


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and where to look."""


class Runtime(Protocol):
    """What the demo needs of its surroundings."""

    name: str
    settings: Settings

    async def write(
        self, topic: str, records: Iterable[tuple[bytes, bytes]], progress: Progress
    ) -> int:
        """Write records in bulk."""

    async def append(self, topic: str, key: bytes | None, value: bytes) -> Appended:
        """Write one record now; the result waits for its place in the log."""

    async def waiting(self) -> int:
        """Records of the keyed topics that the worker has still to apply."""

    def makes_examples(self, generation: int) -> bool:
        """Tell whether the worker knows of a static bundle, and so makes examples."""

    def serves(self, generation: int) -> bool:
        """Tell whether the worker answers with a dynamic bundle or a newer one."""

    async def examples_waiting(self) -> int:
        """Records of the examples topic that the trainer has still to read."""

    async def checkpoint(self) -> None:
        """Have every partition checkpointed at its present position, and wait for it."""

    async def read(self, topic: str, first: dict[int, int]) -> list[LogRecord]:
        """Return the records of a topic from given offsets to the present end."""

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic."""

    def outputs(self) -> "contextlib.AbstractAsyncContextManager[Outputs]":
        """Outputs for announcements."""

    def check(self) -> None:
        """Raise DemoError if a role has died."""

    def processes(self) -> list[psutil.Process]:
        """Processes that belong to the demo, this one excepted."""
