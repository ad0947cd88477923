"""Where the demo runs: processes around a real Kafka, or all roles in one process."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.embedded import EmbeddedRoles
from agents.outputs import EmbeddedOutputs, Outputs, ProducerOutputs
from segue.commands.kafka import broker_of, pom_file
from segue.roles import make_train, make_worker
from segue.settings import Settings, write_settings
from state import Checkpoints
from streams import (
    EmbeddedLog,
    KafkaSettings,
    LogRecord,
    bulk_write,
    create_topics,
    delete_topics,
    describe_topics,
    end_offsets,
    group_lag,
    topics,
)
from streams.broker import DevelopmentBroker
from streams.distribution import JarsUnavailableError, JavaMissingError, MavenMissingError

__all__ = ["Appended", "DemoError", "EmbeddedRuntime", "KafkaRuntime", "Runtime", "open_runtime"]

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


@asynccontextmanager
async def open_runtime(
    settings: Settings, choice: str, *, keep: bool
) -> AsyncIterator["KafkaRuntime | EmbeddedRuntime"]:
    """Open the surroundings: Kafka that is named, else a local one, else the embedded log.

    choice: `auto`, `kafka` or `embedded`. keep: leave Kafka and the roles running at the end.
    Raises DemoError when Kafka was asked for and cannot be had.
    """
    stop_kept(settings)
    shutil.rmtree(settings.folder, ignore_errors=True)
    settings.folder.mkdir(parents=True)
    if choice == "embedded":
        async with _embedded(settings, "the embedded log") as runtime:
            yield runtime
        return
    named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    broker: DevelopmentBroker | None = None
    if named:
        settings = _named_kafka(settings, named)
        name = f"Kafka at {named}"
    else:
        broker = DevelopmentBroker(
            settings.folder / "kafka", pom_file(), libs=settings.folder.parent / "kafka" / "libs"
        )
        try:
            address = await asyncio.to_thread(broker.start)
        except (JavaMissingError, MavenMissingError, JarsUnavailableError) as error:
            if choice == "kafka":
                raise DemoError(str(error)) from error
            async with _embedded(settings, f"the embedded log, since {error}") as runtime:
                yield runtime
            return
        settings = replace(settings, kafka=replace(settings.kafka, bootstrap_servers=address))
        name = f"a local Apache Kafka at {address}"
    kafka = KafkaRuntime(settings, name)
    finished = False
    try:
        await kafka.start()
        yield kafka
        finished = True
    finally:
        await kafka.close()
        if not (keep and finished):
            kafka.stop()
            if broker:
                await asyncio.to_thread(broker.stop)


def stop_kept(settings: Settings) -> bool:
    """Stop what an earlier `segue demo --keep` left running; returns whether there was anything."""
    kept = settings.folder / "processes.json"
    found = False
    if kept.exists():
        for entry in json.loads(kept.read_text()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(entry["pid"])
                if process.create_time() == entry["started"]:
                    found = True
                    _end(process)
        kept.unlink()
    broker = broker_of(settings)
    return broker.stop() or found


class KafkaRuntime:
    """A worker and a trainer as processes of their own, around Kafka."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Describe it; `start` starts it."""
        self.settings = settings
        self.name = name
        self._kafka: KafkaSettings = settings.kafka
        self._config = settings.folder / "segue.toml"
        self._roles: dict[str, subprocess.Popen[bytes]] = {}
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Create the topics and start the roles."""
        write_settings(self.settings, self._config)
        await asyncio.to_thread(create_topics, self._kafka, topics(self.settings.topics))
        for role in ("worker", "trainer"):
            log = (self.settings.folder / f"{role}.log").open("wb")
            command = [sys.executable, "-m", "segue", role, "--config", str(self._config)]
            with log:
                self._roles[role] = subprocess.Popen(  # noqa: S603
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        started = [
            {"pid": p.pid, "started": psutil.Process(p.pid).create_time()}
            for p in self._roles.values()
        ]
        (self.settings.folder / "processes.json").write_text(json.dumps(started))
        self._producer = AIOKafkaProducer(**self._kafka.for_aiokafka(), acks="all", linger_ms=2,
                                          max_request_size=9_000_000)  # fmt: skip
        await self._producer.start()

    async def close(self) -> None:
        """Close this process's own connections."""
        if self._producer:
            await self._producer.stop()

    def stop(self) -> None:
        """Stop the roles and wait for their end."""
        for role in self._roles.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                _end(psutil.Process(role.pid))
            role.wait()
        (self.settings.folder / "processes.json").unlink(missing_ok=True)

    async def write(
        self, topic: str, records: Iterable[tuple[bytes, bytes]], progress: Progress
    ) -> int:
        """Write records in bulk."""
        return await bulk_write(
            self._kafka, topic, self.settings.topics.partitions, records, progress
        )

    async def append(self, topic: str, key: bytes | None, value: bytes) -> Appended:
        """Write one record now."""
        if self._producer is None:
            raise DemoError("the runtime has not been started")
        sent = await self._producer.send(topic, value=value, key=key)

        async def place() -> tuple[int, int, int]:
            metadata = await sent
            return metadata.partition, metadata.offset, metadata.timestamp

        return place

    async def waiting(self) -> int:
        """Records that the worker has still to apply, by the group's commits."""
        names = self.settings.topics
        keyed = [names.events, names.catalogue, names.users]
        return await self._lag(self.settings.worker.group, keyed)

    async def examples_waiting(self) -> int:
        """Records that the trainer has still to read."""
        return await self._lag(self.settings.trainer.group, [self.settings.topics.examples])

    async def checkpoint(self) -> None:
        """Ask the worker by signal, and wait until the artifact store has it."""
        names = self.settings.topics
        ends = await asyncio.to_thread(end_offsets, self._kafka, [names.events])
        self._roles["worker"].send_signal(signal.SIGUSR1)
        checkpoints = Checkpoints(self.settings.store())
        while not _covered(checkpoints, names.events, ends[names.events]):
            self.check()
            await asyncio.sleep(POLL_S)

    async def read(self, topic: str, first: dict[int, int]) -> list[LogRecord]:
        """Return the records of a topic from given offsets to the present end."""
        ends = await self.ends(topic)
        wanted = {p: end for p, end in ends.items() if first.get(p, 0) < end}
        found: list[LogRecord] = []
        if not wanted:
            return found
        async with AIOKafkaConsumer(
            enable_auto_commit=False, auto_offset_reset="earliest", **self._kafka.for_aiokafka()
        ) as consumer:
            partitions = {TopicPartition(topic, p): end for p, end in wanted.items()}
            consumer.assign(list(partitions))
            for tp in partitions:
                consumer.seek(tp, first.get(tp.partition, 0))
            while True:
                positions = [await consumer.position(tp) for tp in partitions]
                if all(at >= end for at, end in zip(positions, partitions.values(), strict=True)):
                    return found
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found.extend(records)

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic."""
        return (await asyncio.to_thread(end_offsets, self._kafka, [topic]))[topic]

    def outputs(self) -> ProducerOutputs:
        """Outputs for announcements."""
        return ProducerOutputs(self._kafka)

    def check(self) -> None:
        """Raise DemoError if a role has died."""
        for role, process in self._roles.items():
            if process.poll() is not None:
                log = self.settings.folder / f"{role}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                status = process.returncode
                raise DemoError(f"the {role} ended with status {status}; {log} ends with\n{tail}")

    def processes(self) -> list[psutil.Process]:
        """The roles and the local broker."""
        found = []
        broker = DevelopmentBroker(self.settings.folder / "kafka", pom_file()).status()
        for pid in [*(p.pid for p in self._roles.values()), *([broker.pid] if broker.pid else [])]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    async def _lag(self, group: str, names: list[str]) -> int:
        self.check()
        lag = await asyncio.to_thread(group_lag, self._kafka, group, names)
        return sum(sum(partitions.values()) for partitions in lag.values())


class EmbeddedRuntime:
    """All roles in this process, around the embedded log."""

    def __init__(self, settings: Settings, name: str, log: EmbeddedLog) -> None:
        """Make the roles; `_embedded` starts and stops them."""
        self.settings = settings
        self.name = name
        self._log = log
        self._outputs = EmbeddedOutputs(log)
        self.worker = make_worker(settings, "worker-1", self._outputs)
        self.train = make_train(settings, "trainer-1", self._outputs)
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
async def _embedded(settings: Settings, name: str) -> AsyncIterator[EmbeddedRuntime]:
    with EmbeddedLog(settings.folder / "embedded-log") as log:
        create_topics(log, topics(settings.topics))
        runtime = EmbeddedRuntime(settings, name, log)
        async with runtime.roles:
            yield runtime


def _named_kafka(settings: Settings, address: str) -> Settings:
    """Settings for somebody's own Kafka: topics that are there already are never touched."""
    settings = replace(settings, kafka=replace(settings.kafka, bootstrap_servers=address))
    if describe_topics(settings.kafka, [t.name for t in topics(settings.topics)]):
        prefix = f"{settings.topics.prefix}-demo"
        settings = replace(settings, topics=replace(settings.topics, prefix=prefix))
        delete_topics(settings.kafka, [t.name for t in topics(settings.topics)])
    stamp = int(time.time())
    return replace(
        settings,
        worker=replace(settings.worker, group=f"{settings.worker.group}-demo-{stamp}"),
        trainer=replace(settings.trainer, group=f"{settings.trainer.group}-demo-{stamp}"),
    )


def _covered(checkpoints: Checkpoints, topic: str, ends: dict[int, int]) -> bool:
    """Whether each partition's furthest checkpoint holds the topic up to its end."""
    for partition, end in ends.items():
        if not end:
            continue
        names = checkpoints.names(partition)
        if not names:
            return False
        if checkpoints.manifest(partition, names[-1]).positions.get(topic, 0) < end:
            return False
    return True


def _end(process: psutil.Process) -> None:
    process.terminate()
    try:
        process.wait(30)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()


def config_of(settings: Settings) -> Path:
    """Settings file of a demo, for other commands."""
    return settings.folder / "segue.toml"
