"""All roles in one process around the embedded log: the same objects, without Kafka."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from agents.settings import WorkerSettings
from agents.train import Train
from agents.worker import Worker
from streams import EmbeddedLog, Held, LogRecord, PositionError, TopicSettings

__all__ = ["EmbeddedRoles"]

IDLE_S = 0.02

Take = Callable[[Sequence[LogRecord]], Awaitable[None]]


class EmbeddedRoles:
    """Reads every topic for a worker and a trainer until it is stopped.

    Use as an async context manager: leaving it commits, checkpoints and closes the worker.
    Entering raises PositionError if the log does not hold what a state needs next.
    """

    def __init__(
        self,
        log: EmbeddedLog,
        topics: TopicSettings,
        worker: Worker,
        train: Train,
        settings: WorkerSettings,
    ) -> None:
        """Drive `worker` and `train` from `log`."""
        self._log = log
        self._topics = topics
        self._worker = worker
        self._train = train
        self._batch = settings.batch
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._examples_at: dict[int, int] = {}
        self._assigned = [
            (topic, number) for topic in worker.topics for number in range(topics.partitions)
        ]

    async def __aenter__(self) -> "EmbeddedRoles":
        await self._worker.assigned(self._assigned)
        await self._train.assigned()
        self._check_positions()
        reads: list[tuple[str, Take, bool]] = [
            (self._topics.models, self._worker.channels.announced, False),
            (self._topics.models, self._train.announced, False),
            (self._topics.catalogue, self._worker.channels.catalogue, False),
            (self._topics.demand, self._worker.models.demand, False),
            (self._topics.demand, self._train.demand, False),
            (self._topics.examples, self._train.examples_came, False),
            (self._topics.requests, self._worker.handle_requests, True),
        ]
        jobs = [self._keyed(), self._worker.run(self._stopping), self._train.run(self._stopping)]
        jobs += [self._pump(topic, take, from_end) for topic, take, from_end in reads]
        self._tasks = [asyncio.ensure_future(job) for job in jobs]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        failed = await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._worker.revoked(self._assigned)
        finally:
            self._worker.close()
            await self._train.close()
        for error in failed:
            if isinstance(error, BaseException):
                raise error

    def unread(self, topic: str) -> int:
        """Records of the examples topic that the trainer has still to take."""
        numbers = range(self._log.partitions(topic))
        return sum(self._log.end_offset(topic, n) - self._examples_at.get(n, 0) for n in numbers)

    def check(self) -> None:
        """Raise what a task died of, if one did."""
        for task in self._tasks:
            if task.done() and (error := task.exception()):
                raise error

    def _check_positions(self) -> None:
        """Close the worker and raise PositionError if the log lacks what is needed next."""
        try:
            for topic, number in self._assigned:
                Held.by_embedded(self._log, topic, number).start(
                    self._worker.partitions.position(topic, number),
                    self._worker.partitions.pass_over,
                )
            self._examples_at = self._examples_from()
        except PositionError:
            self._worker.close()
            raise

    def _examples_from(self) -> dict[int, int]:
        """Where the trainer goes on in each partition; what is gone is passed over."""
        topic = self._topics.examples
        return {
            number: Held.by_embedded(self._log, topic, number).start(
                self._train.position(topic, number), self._train.passed_over, accept_gap=True
            )
            for number in range(self._log.partitions(topic))
        }

    async def _keyed(self) -> None:
        """Read what belongs to the partitions' states from the positions they give."""
        states = self._worker.partitions
        at = {
            place: max(
                (states.position(*place) or 0) - states.rewind(*place),
                self._log.first_offset(*place),
            )
            for place in self._assigned
        }
        while not self._stopping.is_set():
            moved = False
            for topic, number in self._assigned:
                records = self._log.read(topic, number, at[topic, number], self._batch)
                if records:
                    await self._worker.handle(records)
                    at[topic, number] = records[-1].offset + 1
                    moved = True
            await asyncio.sleep(0 if moved else IDLE_S)

    async def _pump(self, topic: str, take: Take, from_end: bool) -> None:
        numbers = range(self._log.partitions(topic))
        at = {n: self._log.end_offset(topic, n) if from_end else 0 for n in numbers}
        examples = topic == self._topics.examples
        if examples:
            at = self._examples_at
        limit = 32 if examples else self._batch
        while not self._stopping.is_set():
            moved = False
            for number in numbers:
                records = self._log.read(topic, number, at[number], limit)
                if records:
                    await take(records)
                    at[number] = records[-1].offset + 1
                    moved = True
            await asyncio.sleep(0 if moved else IDLE_S)
