"""Worker and trainer in this process: what steps ask of them, whatever the log."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

import psutil

from agents import Train, Worker
from agents.outputs import Outputs
from segue.demo.runtime import Appended, Progress
from segue.settings import Settings
from streams import Log, LogRecord, bulk_write, end_offsets, read_from

__all__ = ["OneProcess"]


class OneProcess(ABC):
    """A `Runtime` whose roles are objects of this process.

    idle_s: pause before a condition is looked at again, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        log: Log,
        worker: Worker,
        train: Train,
        *,
        clock_ms: Callable[[], int],
        idle_s: float,
    ) -> None:
        """worker, train: the roles, which a subclass starts and stops."""
        self.settings, self.name, self.log = settings, name, log
        self.worker, self.train = worker, train
        self.clock_ms, self._idle_s = clock_ms, idle_s

    async def write(
        self, topic: str, records: Iterable[tuple[bytes, bytes]], progress: Progress
    ) -> int:
        """Write records in bulk."""
        return await bulk_write(self.log, topic, self.settings.topics.partitions, records, progress)

    @abstractmethod
    async def append(self, topic: str, key: bytes | None, value: bytes) -> Appended:
        """Write one record now."""

    async def waiting(self) -> int:
        """Number of records that the worker has not applied yet."""
        names = self.settings.topics
        self.check()
        return sum(
            end - (self.worker.partitions.position(topic, partition) or 0)
            for topic, ends in [
                (topic, await self.ends(topic))
                for topic in (names.events, names.catalogue, names.users)
            ]
            for partition, end in ends.items()
        )

    def makes_examples(self, generation: int) -> bool:
        """Return whether the worker knows a static bundle and makes examples."""
        return self.worker.models.static_generation == generation

    def serves(self, generation: int) -> bool:
        """Return whether the worker answers with a dynamic bundle or a newer one."""
        serving = self.worker.models.recommender
        return serving is not None and serving.bundle.generation >= generation

    def follows_policy(self, list_name: str, version: int) -> bool:
        """Return whether the worker makes a list by this version of its policy."""
        return self.worker.channels.policies.versions.get(list_name) == version

    @abstractmethod
    async def learn(self) -> None:
        """Start the trainer."""

    @abstractmethod
    async def examples_waiting(self) -> int:
        """Number of records that the trainer has not read yet."""

    async def checkpoint(self) -> None:
        """Checkpoint every partition."""
        await self.worker.checkpoint()

    async def settled(self) -> None:
        """Wait until the worker serves with all events and items of the log, demand included."""
        while await self.waiting():
            await asyncio.sleep(self._idle_s)
        await self.worker.commit()  # publishes the counts of demand
        names = self.settings.topics
        await self._read_by_worker(names.demand, names.catalogue)
        while not self.worker.channels.brought:
            self.check()
            await asyncio.sleep(self._idle_s)

    async def between_answers(self) -> None:
        """Wait until the worker makes and writes no list, so that the clock may be set."""
        while self.worker.answering:
            self.check()
            await asyncio.sleep(self._idle_s)

    async def _read_by_worker(self, *topics: str) -> None:
        """Wait until the worker has read topics that every process reads whole."""
        while any([await self.unread_by_worker(topic) for topic in topics]):
            self.check()
            await asyncio.sleep(self._idle_s)

    @abstractmethod
    async def unread_by_worker(self, topic: str) -> int:
        """Number of records that the worker has not read of a topic that all processes read."""

    async def read(self, topic: str, first: dict[int, int]) -> list[LogRecord]:
        """Return the records of a topic from given offsets to the current end."""
        return await read_from(self.log, topic, first)

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic."""
        return (await asyncio.to_thread(end_offsets, self.log, [topic]))[topic]

    @abstractmethod
    def outputs(self) -> AbstractAsyncContextManager[Outputs]:
        """Outputs for announcements."""

    @abstractmethod
    def check(self) -> None:
        """Raise the error that ended a role."""

    def processes(self) -> list[psutil.Process]:
        """No other processes."""
        return []
