"""The demo in one process, on the embedded log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import psutil

from agents.apps.embedded import IDLE_S, EmbeddedRoles
from agents.outputs import EmbeddedOutputs, Outputs
from agents.ticks import monotonic_ms
from segue.demo.runtime import Appended, Progress
from segue.roles import make_train, make_worker
from segue.settings import Settings
from streams import (
    EmbeddedLog,
    LogRecord,
    bulk_write,
    create_topics,
    end_offsets,
    read_from,
    topics,
)
from streams.wall_clock import now_ms

__all__ = ["EmbeddedRuntime", "embedded_runtime"]


class EmbeddedRuntime:
    """All roles in this process, on the embedded log."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        log: EmbeddedLog,
        clock_ms: Callable[[], int] = now_ms,
        idle_s: float = IDLE_S,
        ticks_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        """Create the roles; `embedded_runtime` starts and stops them."""
        self.settings = settings
        self.name = name
        self.log = log
        self.clock_ms, self._idle_s = clock_ms, idle_s
        self._outputs = EmbeddedOutputs(log)
        self.worker = make_worker(settings, "worker-1", self._outputs, clock_ms, log=log)
        self.train = make_train(
            settings, "trainer-1", self._outputs, clock_ms,
            read_models=lambda: self.read(settings.topics.models, {}), ticks_ms=ticks_ms,
        )  # fmt: skip
        self.roles = EmbeddedRoles(
            log, settings.topics, self.worker, self.train, settings.worker,
            learning=False, idle_s=idle_s,
        )  # fmt: skip

    async def write(
        self, topic: str, records: Iterable[tuple[bytes, bytes]], progress: Progress
    ) -> int:
        """Write records in bulk."""
        return await bulk_write(self.log, topic, self.settings.topics.partitions, records, progress)

    async def append(self, topic: str, key: bytes | None, value: bytes) -> Appended:
        """Write one record now."""
        partition, offset = self.log.append(topic, key, value)
        timestamp = self.log.read(topic, partition, offset, 1)[0].timestamp

        async def place() -> tuple[int, int, int]:
            return partition, offset, timestamp

        return place

    async def waiting(self) -> int:
        """Number of records that the worker has not applied yet."""
        names = self.settings.topics
        self.check()
        keyed = (names.events, names.catalogue, names.users)
        return sum(
            end - (self.worker.partitions.position(topic, partition) or 0)
            for topic, partitions in end_offsets(self.log, keyed).items()
            for partition, end in partitions.items()
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

    async def learn(self) -> None:
        """Start the trainer."""
        self.roles.learn()

    async def learn_up_to_now(self) -> None:
        """Train on all that the log holds, publish what is due, and wait until it is served.

        For a trainer that does not train by itself: `EmbeddedRoles.learn`.
        """
        names = self.settings.topics
        reads = (names.examples, names.demand, names.catalogue, names.models)
        await self._until(lambda: not any(self.roles.unread(topic) for topic in reads))
        while await self.train.step():
            pass
        served = (names.models, names.rows)
        await self._until(lambda: not any(self.roles.unread_by_worker(topic) for topic in served))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.check()
            await asyncio.sleep(self._idle_s)

    async def examples_waiting(self) -> int:
        """Number of records that the trainer has not read yet."""
        return self.roles.unread(self.settings.topics.examples)

    async def checkpoint(self) -> None:
        """Checkpoint every partition."""
        await self.worker.checkpoint()

    async def settled(self) -> None:
        """Wait until the worker serves with all events and items of the log, demand included."""
        while await self.waiting():
            await asyncio.sleep(self._idle_s)
        await self.worker.commit()  # publishes the counts of demand
        names = self.settings.topics
        reads = (names.demand, names.catalogue)
        await self._until(lambda: not any(self.roles.unread_by_worker(topic) for topic in reads))

    async def between_answers(self) -> None:
        """Wait until the worker makes and writes no list, so that the clock may be set."""
        await self._until(lambda: not self.worker.answering)

    async def read(self, topic: str, first: dict[int, int]) -> list[LogRecord]:
        """Return the records of a topic from given offsets to the current end."""
        return await read_from(self.log, topic, first)

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic."""
        return end_offsets(self.log, [topic])[topic]

    def outputs(self) -> "contextlib.AbstractAsyncContextManager[Outputs]":
        """Outputs for announcements."""
        return contextlib.nullcontext(self._outputs)

    def check(self) -> None:
        """Raise the error that ended a role."""
        self.roles.check()

    def processes(self) -> list[psutil.Process]:
        """No other processes."""
        return []


@asynccontextmanager
async def embedded_runtime(
    settings: Settings,
    name: str,
    clock_ms: Callable[[], int] = now_ms,
    idle_s: float = IDLE_S,
    ticks_ms: Callable[[], int] = monotonic_ms,
) -> AsyncIterator[EmbeddedRuntime]:
    """Open the embedded log and run all roles next to the caller.

    clock_ms: the time of the log and of every role, ms UTC. idle_s: pause of a reader at the end
    of its topic, in seconds. ticks_ms: by which the trainer's periodic work is due.
    """
    with EmbeddedLog(settings.folder / "embedded-log", clock=clock_ms) as log:
        create_topics(log, topics(settings.topics))
        runtime = EmbeddedRuntime(settings, name, log, clock_ms, idle_s, ticks_ms)
        async with runtime.roles:
            yield runtime
