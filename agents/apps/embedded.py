"""All roles in one process on the embedded log: the same objects, without Kafka."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from agents.settings import WorkerSettings
from agents.train import Train
from agents.worker import Worker
from streams import (
    EmbeddedLog,
    Held,
    LogRecord,
    PositionError,
    TopicSettings,
    topic_identities,
)

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
        *,
        learning: bool = True,
        idle_s: float = IDLE_S,
    ) -> None:
        """Drive `worker` and `train` from `log`.

        learning: False leaves `train` for `learn`. idle_s: pause of a reader at the end of its
        topic, in seconds.
        """
        self._log = log
        self._topics = topics
        self._worker = worker
        self._train = train
        self._batch = settings.batch
        self._group = settings.group
        self._committed: Mapping[tuple[str, int], int] = {}
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._learning, self._idle_s = learning, idle_s
        # Next offset of each partition of the topics that every process reads whole.
        self._worker_at: dict[str, dict[int, int]] = {}
        self._train_at: dict[str, dict[int, int]] = {}
        self._assigned = [
            (topic, number) for topic in worker.topics for number in range(topics.partitions)
        ]

    async def __aenter__(self) -> "EmbeddedRoles":
        await self._worker.assigned(
            self._assigned, topic_identities(self._log, self._worker.topics)
        )
        await self._train.assigned()
        self._check_positions()
        channels = self._worker.channels
        policies = channels.policies
        policies.wait()
        items_read = {name: asyncio.Event() for name in channels.items.topics}
        reads: list[tuple[str, Take, asyncio.Event | None]] = [
            (self._topics.models, channels.announced, None),
            *((name, channels.catalogue, read) for name, read in items_read.items()),
            (self._topics.demand, self._worker.models.demand, None),
            (self._topics.policies, policies.take, policies.policies_read),
            (self._topics.rows, channels.rows, None),
        ]
        jobs = [
            self._keyed(), self._worker.run(self._stopping), self._wait_for_items(items_read),
            self._bring_items(),
        ]  # fmt: skip
        for topic, take, read in reads:
            if topic in self._log.topics():
                at = self._worker_at.setdefault(topic, dict.fromkeys(self._numbers(topic), 0))
                jobs.append(self._pump(topic, take, at, read))
            elif read is not None:  # not in logs of earlier versions
                read.set()
        self._tasks = [asyncio.ensure_future(job) for job in jobs]
        if self._learning:
            self.learn()
        return self

    def learn(self, *, by_itself: bool = True) -> None:
        """Let the trainer read and train; it begins once it has read what the log holds.

        by_itself: False lets it only read; it is trained by calls of `Train.step`.
        """
        names = self._topics
        self._train.begin_when(
            lambda: self.unread(names.examples) == self.unread(names.demand) == 0,
            lambda: not any(map(self.unread, self._worker.channels.items.topics)),
        )
        reads: list[tuple[str, Take]] = [
            (names.models, self._train.announced),
            (names.demand, self._train.demand),
            *((name, self._train.catalogue) for name in self._worker.channels.items.topics),
            (names.examples, self._train.examples_came),
        ]
        jobs = [self._train.run(self._stopping)] if by_itself else []
        for topic, take in reads:
            at = self._train_at.setdefault(topic, dict.fromkeys(self._numbers(topic), 0))
            jobs.append(self._pump(topic, take, at))
        self._tasks += [asyncio.ensure_future(job) for job in jobs]

    def _numbers(self, topic: str) -> range:
        return range(self._log.partitions(topic))

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        failed = await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            self._commit((await self._worker.revoked(self._assigned)).positions)
            await self._worker.uploaded()
        finally:
            self._worker.close()
            await self._train.close()
        for error in failed:
            if isinstance(error, BaseException):
                raise error

    def unread(self, topic: str) -> int:
        """Number of records of a topic that the trainer has not read yet."""
        return self._left(topic, self._train_at.get(topic, {}))

    def unread_by_worker(self, topic: str) -> int:
        """Number of records of a topic, such as demand, that the worker has not read yet."""
        return self._left(topic, self._worker_at.get(topic, {}))

    def _left(self, topic: str, at: Mapping[int, int]) -> int:
        return sum(self._log.end_offset(topic, n) - at.get(n, 0) for n in self._numbers(topic))

    def check(self) -> None:
        """Raise the error of a failed task, if any."""
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
            self._train_at[self._topics.examples] = self._examples_from()
        except PositionError:
            self._worker.close()
            raise

    def _examples_from(self) -> dict[int, int]:
        """The trainer's next offset in each partition; deleted records are skipped."""
        topic = self._topics.examples
        held = [Held.by_embedded(self._log, topic, part) for part in self._numbers(topic)]
        self._train.read.begin(topic_identities(self._log, [topic]), held)
        return {
            part.partition: part.start(
                self._train.position(topic, part.partition),
                self._train.passed_over,
                accept_gap=True,
            )
            for part in held
        }

    async def _keyed(self) -> None:
        """Read the states' topics from their positions, and requests from the group's."""
        states = self._worker.partitions
        at = {
            place: max(
                (states.position(*place) or 0) - states.rewind(*place),
                self._log.first_offset(*place),
            )
            for place in self._assigned
        }
        for number in range(self._log.partitions(self._topics.requests)):
            place = self._topics.requests, number
            committed = self._log.committed(self._group, *place)
            at[place] = Held.by_embedded(self._log, *place).nearest(committed)
        while not self._stopping.is_set():
            moved = False
            for (topic, number), offset in at.items():
                if self._worker.holds(topic):
                    continue
                records = self._log.read(topic, number, offset, self._batch)
                if records:
                    await self._worker.handle(records)
                    at[topic, number] = records[-1].offset + 1
                    moved = True
            self._commit(self._worker.positions())
            await asyncio.sleep(0 if moved else self._idle_s)

    def _commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Commit the positions of requests; those of other topics are in the states."""
        now = {place: at for place, at in positions.items() if place[0] == self._topics.requests}
        if now and now != self._committed:
            self._log.commit(self._group, now)
            self._committed = now

    async def _wait_for_items(self, read: Mapping[str, asyncio.Event]) -> None:
        """Have lists made once all topics of items are read."""
        while not all(one.is_set() for one in read.values()) and not self._stopping.is_set():
            await asyncio.sleep(self._idle_s)
        self._worker.channels.policies.catalogue_read.set()

    async def _bring_items(self) -> None:
        """Have new items of the catalogue recommended; their entries are read on meanwhile."""
        while not self._stopping.is_set():
            await self._worker.channels.bring()
            await asyncio.sleep(self._idle_s)

    async def _pump(
        self, topic: str, take: Take, at: dict[int, int], read: asyncio.Event | None = None
    ) -> None:
        """Have all records of a topic taken.

        at: next offset of each partition, kept up to date; read: set once all is taken.
        """
        numbers = self._numbers(topic)
        limit = 32 if topic == self._topics.examples else self._batch
        while not self._stopping.is_set():
            moved = False
            for number in numbers:
                records = self._log.read(topic, number, at[number], limit)
                if records:
                    await take(records)
                    at[number] = records[-1].offset + 1
                    moved = True
            if read is not None and not moved:
                read.set()
            await asyncio.sleep(0 if moved else self._idle_s)
