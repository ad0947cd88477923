"""All roles in this process on Kafka, by one clock: the apps of `segue worker` and `trainer`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from agents.apps.kafka import KafkaOutputs, serve_trainer, serve_worker
from agents.outputs import ProducerOutputs
from segue.demo.one_process import OneProcess
from segue.demo.runtime import Appended, DemoError, placed
from segue.roles import make_train, make_worker
from segue.settings import Settings
from state import compile_kernels
from streams import LogRecord, create_topics, delete_topics, topics

__all__ = ["KafkaInProcess", "kafka_in_process"]

#: Pause before a condition is looked at again, in seconds: each look asks the broker.
IDLE_S = 0.05


class KafkaInProcess(OneProcess):
    """Worker and trainer as apps of this process's event loop, on topics of a Kafka."""

    def __init__(self, settings: Settings, name: str, clock_ms: Callable[[], int]) -> None:
        """Create the roles; `kafka_in_process` starts and stops them."""
        self._worker_outputs, self._train_outputs = KafkaOutputs(), KafkaOutputs()
        kafka = settings.kafka
        super().__init__(
            settings, name, kafka,
            make_worker(settings, "worker-1", self._worker_outputs, clock_ms, log=kafka),
            make_train(
                settings, "trainer-1", self._train_outputs, clock_ms,
                read_models=lambda: self.read(settings.topics.models, {}),
            ),
            clock_ms=clock_ms, idle_s=IDLE_S,
        )  # fmt: skip
        self._kafka = kafka
        self._producer = AIOKafkaProducer(**kafka.for_aiokafka(), acks="all",
                                          max_request_size=9_000_000)  # fmt: skip
        self._stopping = {"worker": asyncio.Event(), "trainer": asyncio.Event()}
        self._roles: dict[str, asyncio.Task[int]] = {}
        # Next offset of each partition of the topics that every process reads whole.
        self._taken: dict[tuple[str, int], int] = {}

    async def start(self) -> None:
        """Start the worker on topics that are there."""
        await self._producer.start()
        self._roles["worker"] = asyncio.ensure_future(
            serve_worker(
                self.worker, self._worker_outputs, self._kafka, self.settings.topics,
                self.settings.worker, stop=self._stopping["worker"], taken=self._note,
            )
        )  # fmt: skip

    async def stop(self) -> None:
        """Stop the roles as a signal would, and close their states."""
        try:
            for role in ("trainer", "worker"):
                await self.end(role)
        finally:
            self.worker.close()
            await self._producer.stop()

    async def end(self, role: str) -> None:
        """Stop a role, if it runs, and wait for its end."""
        if (task := self._roles.pop(role, None)) is not None:
            self._stopping[role].set()
            await task

    def _note(self, records: Sequence[LogRecord]) -> None:
        last = records[-1]
        place = last.topic, last.partition
        self._taken[place] = max(self._taken.get(place, 0), last.offset + 1)

    async def append(self, topic: str, key: bytes | None, value: bytes) -> Appended:
        """Write one record now."""
        return placed(await self._producer.send(topic, value=value, key=key))

    async def learn(self) -> None:
        """Start the trainer."""
        self._roles["trainer"] = asyncio.ensure_future(
            serve_trainer(
                self.train, self._train_outputs, self._kafka, self.settings.topics,
                self.settings.trainer, stop=self._stopping["trainer"],
            )
        )  # fmt: skip

    async def examples_waiting(self) -> int:
        """Number of records that the trainer has not read yet."""
        topic = self.settings.topics.examples
        return sum(
            end - (self.train.position(topic, number) or 0)
            for number, end in (await self.ends(topic)).items()
        )

    async def unread_by_worker(self, topic: str) -> int:
        """Number of records that the worker has not read of a topic that all processes read."""
        ends = await self.ends(topic)
        return sum(max(0, end - self._taken.get((topic, n), 0)) for n, end in ends.items())

    def outputs(self) -> ProducerOutputs:
        """Outputs for announcements."""
        return ProducerOutputs(self._kafka)

    def check(self) -> None:
        """Raise DemoError if a role has ended."""
        for role, task in self._roles.items():
            if task.done():
                raise DemoError(f"the {role} ended with status {task.result()}; the log says why")


@asynccontextmanager
async def kafka_in_process(
    settings: Settings, name: str, clock_ms: Callable[[], int]
) -> AsyncIterator[KafkaInProcess]:
    """Run all roles on topics of their own, which are removed at the end.

    settings: with names of topics and groups that no other uses. clock_ms: the time of every role,
    ms UTC; that of the log is the broker's.
    """
    compile_kernels()  # in the first batch it could outlast the worker's session
    own = topics(settings.topics)
    await asyncio.to_thread(create_topics, settings.kafka, own)
    runtime = KafkaInProcess(settings, name, clock_ms)
    try:
        await runtime.start()
        yield runtime
    finally:
        try:
            await runtime.stop()
        finally:
            await asyncio.to_thread(delete_topics, settings.kafka, [one.name for one in own])
