"""The demo in one process, around the embedded log."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import psutil

from agents.apps.embedded import EmbeddedRoles
from agents.outputs import EmbeddedOutputs, Outputs
from segue.demo.runtime import Appended, Progress
from segue.roles import make_train, make_worker
from segue.settings import Settings
from streams import EmbeddedLog, LogRecord, bulk_write, create_topics, end_offsets, topics

__all__ = ["EmbeddedRuntime", "embedded_runtime"]


class EmbeddedRuntime:
    """All roles in this process, around the embedded log."""

    def __init__(self, settings: Settings, name: str, log: EmbeddedLog) -> None:
        """Make the roles; `embedded_runtime` starts and stops them."""
        self.settings = settings
        self.name = name
        self._log = log
        self._outputs = EmbeddedOutputs(log)
        self.worker = make_worker(settings, "worker-1", self._outputs)
        self.train = make_train(
            settings, "trainer-1", self._outputs,
            read_models=lambda: self.read(settings.topics.models, {}),
        )  # fmt: skip
        self.roles = EmbeddedRoles(log, settings.topics, self.worker, self.train, settings.worker)

    async def write(
        self, topic: str, records: Iterable[tuple[bytes, bytes]], progress: Progress
    ) -> int:
        """Write records in bulk."""
        return await bulk_write(
            self._log, topic, self.settings.topics.partitions, records, progress
        )

    async def append(self, topic: str, key: bytes | None, value: bytes) -> Appended:
        """Write one record now."""
        partition, offset = self._log.append(topic, key, value)
        timestamp = self._log.read(topic, partition, offset, 1)[0].timestamp

        async def place() -> tuple[int, int, int]:
            return partition, offset, timestamp

        return place

    async def waiting(self) -> int:
        """Records that the worker has still to apply."""
        names = self.settings.topics
        self.check()
        keyed = (names.events, names.catalogue, names.users)
        return sum(
            end - (self.worker.partitions.position(topic, partition) or 0)
            for topic, partitions in end_offsets(self._log, keyed).items()
            for partition, end in partitions.items()
        )

    def makes_examples(self, generation: int) -> bool:
        """Tell whether the worker knows of a static bundle, and so makes examples."""
        return self.worker.models.static_generation == generation

    def serves(self, generation: int) -> bool:
        """Tell whether the worker answers with a dynamic bundle or a newer one."""
        serving = self.worker.models.recommender
        return serving is not None and serving.bundle.generation >= generation

    async def examples_waiting(self) -> int:
        """Records that the trainer has still to read."""
        return self.roles.unread(self.settings.topics.examples)

    async def checkpoint(self) -> None:
        """Checkpoint every partition."""
        await self.worker.checkpoint()

    async def read(self, topic: str, first: dict[int, int]) -> list[LogRecord]:
        """Return the records of a topic from given offsets to the present end."""
        found: list[LogRecord] = []
        for partition, end in (await self.ends(topic)).items():
            at = first.get(partition, 0)
            while at < end:
                records = self._log.read(topic, partition, at, 10_000)
                found.extend(records)
                at = records[-1].offset + 1 if records else end
        return found

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic."""
        return end_offsets(self._log, [topic])[topic]

    def outputs(self) -> "contextlib.AbstractAsyncContextManager[Outputs]":
        """Outputs for announcements."""
        return contextlib.nullcontext(self._outputs)

    def check(self) -> None:
        """Raise what a role died of."""
        self.roles.check()

    def processes(self) -> list[psutil.Process]:
        """None beside this one."""
        return []


@asynccontextmanager
async def embedded_runtime(settings: Settings, name: str) -> AsyncIterator[EmbeddedRuntime]:
    """Open the embedded log and run all roles beside the caller."""
    with EmbeddedLog(settings.folder / "embedded-log") as log:
        create_topics(log, topics(settings.topics))
        runtime = EmbeddedRuntime(settings, name, log)
        async with runtime.roles:
            yield runtime
