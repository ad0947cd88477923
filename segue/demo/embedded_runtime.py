"""The demo in one process, on the embedded log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from agents.apps.embedded import IDLE_S, EmbeddedRoles
from agents.outputs import EmbeddedOutputs, Outputs
from agents.patience import monotonic_ms
from segue.demo.one_process import OneProcess
from segue.demo.runtime import Appended
from segue.roles import make_train, make_worker
from segue.settings import Settings
from streams import EmbeddedLog, create_topics, end_offsets, topics
from streams.log_record import now_ms

__all__ = ["EmbeddedRuntime", "embedded_runtime"]


class EmbeddedRuntime(OneProcess):
    """All roles in this process, on the embedded log."""

    log: EmbeddedLog

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
        self._outputs = EmbeddedOutputs(log)
        worker = make_worker(settings, "worker-1", self._outputs, clock_ms, log=log)
        train = make_train(
            settings, "trainer-1", self._outputs, clock_ms,
            read_models=lambda: self.read(settings.topics.models, {}), ticks_ms=ticks_ms,
        )  # fmt: skip
        super().__init__(settings, name, log, worker, train, clock_ms=clock_ms, idle_s=idle_s)
        self.roles = EmbeddedRoles(
            log, settings.topics, self.worker, self.train, settings.worker,
            learning=False, idle_s=idle_s,
        )  # fmt: skip

    async def append(self, topic: str, key: bytes | None, value: bytes) -> Appended:
        """Write one record now."""
        partition, offset = self.log.append(topic, key, value)
        timestamp = self.log.read(topic, partition, offset, 1)[0].timestamp

        async def place() -> tuple[int, int, int]:
            return partition, offset, timestamp

        return place

    async def learn(self) -> None:
        """Start the trainer."""
        self.roles.learn()

    async def learn_up_to_now(self) -> None:
        """Train on all that the log holds, publish what is due, and wait until it is served.

        For a trainer that does not train by itself: `EmbeddedRoles.learn`.
        """
        names = self.settings.topics
        reads = (names.examples, names.demand, names.catalogue, names.models)
        while any(self.roles.unread(topic) for topic in reads):
            self.check()
            await asyncio.sleep(self._idle_s)
        while await self.train.step():
            pass
        await self._read_by_worker(names.models, names.rows)

    async def examples_waiting(self) -> int:
        """Number of records that the trainer has not read yet."""
        return self.roles.unread(self.settings.topics.examples)

    async def unread_by_worker(self, topic: str) -> int:
        """Number of records that the worker has not read of a topic that all processes read."""
        return self.roles.unread_by_worker(topic)

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic; the log is in this process."""
        return end_offsets(self.log, [topic])[topic]

    def outputs(self) -> AbstractAsyncContextManager[Outputs]:
        """Outputs for announcements."""
        return contextlib.nullcontext(self._outputs)

    def check(self) -> None:
        """Raise the error that ended a role."""
        self.roles.check()


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
