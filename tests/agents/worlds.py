"""A worker on the embedded log, with a clock that tests move."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents import Worker, WorkerSettings
from agents.outputs import EmbeddedOutputs
from state import ArtifactStore, StateSettings
from static_layer import TextEncoder
from streams import (
    DeadLetter,
    EmbeddedLog,
    Event,
    EventRules,
    TopicSettings,
    create_topics,
    decode,
    encode,
    topics,
)
from streams.outbox import Outgoing

NOW = 1_800_000_000_000
TOPICS = TopicSettings(partitions=2)


class Clock:
    """Milliseconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


class BenchOutputs:
    """Writes into the log that a bench has now: tests close it and open it again."""

    def __init__(self, found: "Bench") -> None:
        self._bench = found

    async def send(self, topic: str, key: bytes | None, value: bytes | None, _: Any = None) -> None:
        await EmbeddedOutputs(self._bench.log).send(topic, key, value)

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        await EmbeddedOutputs(self._bench.log).send_many(topic, records)

    async def flush(self) -> None:
        await EmbeddedOutputs(self._bench.log).flush()


class Bench:
    """One worker, its log and its clock."""

    def __init__(
        self,
        folder: Path,
        settings: WorkerSettings | None = None,
        rules: EventRules | None = None,
        state: StateSettings | None = None,
    ) -> None:
        self.state = state or StateSettings(delta_room=1 << 12)
        # The system's time, and how much of it passes: the same until a test parts the two.
        self.clock = self.ticks = Clock()
        self.rules = rules or EventRules()
        self.folder = folder
        self.settings = settings or WorkerSettings()
        self.log = EmbeddedLog(folder / "log", clock=self.clock)
        create_topics(self.log, topics(TOPICS))
        self.worker = self.new_worker("w")

    def new_worker(self, name: str, *, standby: bool = False) -> Worker:
        return Worker(
            settings=replace(self.settings, standby=standby),
            log=self.log if standby else None,
            state=self.state,
            topics=TOPICS,
            rules=self.rules,
            store=ArtifactStore(str(self.folder / "artifacts")),
            folder=self.folder / name,
            encoder=TextEncoder,
            outputs=BenchOutputs(self),
            clock_ms=self.clock,
            ticks_ms=self._ticks_ms,
        )

    def _ticks_ms(self) -> int:
        return self.ticks()

    @property
    def keyed(self) -> list[tuple[str, int]]:
        names = (TOPICS.events, TOPICS.catalogue, TOPICS.users)
        return [(name, number) for name in names for number in range(TOPICS.partitions)]

    def listen(
        self, user: str, *items: str, kind: str = "stream", item_type: str = "podcast"
    ) -> None:
        for item in items:
            event = Event(
                user_id=user, item_id=item, item_type=item_type, kind=kind, timestamp=self.clock.ms
            )
            self.log.append(TOPICS.events, event.key, encode(event))

    async def drain(self, worker: Worker | None = None, batch: int = 100) -> None:
        """Have a worker apply everything that is in the log."""
        worker = worker or self.worker
        moved = True
        while moved:
            moved = False
            for topic, number in self.keyed:
                at = worker.partitions.position(topic, number) or 0
                records = self.log.read(topic, number, at, batch)
                if records:
                    await worker.handle(records)
                    moved = True

    def letters(self) -> list[DeadLetter]:
        return [
            decode(DeadLetter, record.value or b"")
            for number in range(TOPICS.partitions)
            for record in self.log.read(TOPICS.dead_letters, number, 0)
        ]

    def records(self, topic: str) -> list[bytes]:
        return [
            record.value or b""
            for number in range(self.log.partitions(topic))
            for record in self.log.read(topic, number, 0)
        ]


@contextmanager
def bench(
    folder: Path,
    settings: WorkerSettings | None = None,
    rules: EventRules | None = None,
    state: StateSettings | None = None,
) -> Iterator[Bench]:
    found = Bench(folder, settings, rules, state)
    try:
        yield found
    finally:
        found.worker.close()
        found.log.close()


def answer_by(worker: Worker, models: Any) -> None:
    """Have a worker answer by a stand-in for what it serves."""
    models.channel = "default"
    worker.channels._models["default"] = worker.channels.default = models
