"""The demo on Kafka: the worker and the trainer are separate processes."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable

import psutil
from aiokafka import AIOKafkaProducer

from agents.outputs import ProducerOutputs
from segue.compose import without_settings
from segue.demo.kept import end_process, forget, keep
from segue.demo.runtime import POLL_S, Appended, DemoError, Progress, placed
from segue.settings import Settings, write_settings
from state import Checkpoints
from streams import (
    KafkaSettings,
    Log,
    LogRecord,
    bulk_write,
    create_topics,
    end_offsets,
    group_lag,
    read_from,
    topics,
)
from streams.broker import DevelopmentBroker
from streams.distribution import POM
from streams.log_record import now_ms

__all__ = ["KafkaRuntime"]


class KafkaRuntime:
    """Worker and trainer as separate processes, on Kafka."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Set up; `start` starts the roles."""
        self.settings = settings
        self.name = name
        self.clock_ms = now_ms
        self.log: Log = settings.kafka
        self._kafka: KafkaSettings = settings.kafka
        self._config = settings.folder / "segue.toml"
        self._roles: dict[str, subprocess.Popen[bytes]] = {}
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Create the topics and start the worker."""
        write_settings(self.settings, self._config)
        await asyncio.to_thread(create_topics, self._kafka, topics(self.settings.topics))
        self._start("worker")
        self._producer = AIOKafkaProducer(**self._kafka.for_aiokafka(), acks="all", linger_ms=2,
                                          max_request_size=9_000_000)  # fmt: skip
        await self._producer.start()

    def _start(self, role: str) -> None:
        """Start a role, and record its process so that it can be stopped later."""
        log = (self.settings.folder / f"{role}.log").open("wb")
        command = [sys.executable, "-m", "segue", role, "--config", str(self._config)]
        with log:
            self._roles[role] = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=without_settings(os.environ),
            )
        keep(self.settings.folder, [process.pid for process in self._roles.values()])

    async def learn(self) -> None:
        """Start the trainer."""
        self._start("trainer")

    async def close(self) -> None:
        """Close this process's own connections."""
        if self._producer:
            await self._producer.stop()

    def stop(self) -> None:
        """Stop the roles and wait until they have ended."""
        for role in self._roles.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                end_process(psutil.Process(role.pid))
            role.wait()
        forget(self.settings.folder)

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
        return placed(await self._producer.send(topic, value=value, key=key))

    async def waiting(self) -> int:
        """Number of records that the worker has not applied yet, by the group's commits."""
        names = self.settings.topics
        keyed = [names.events, names.catalogue, names.users]
        return await self._lag(self.settings.worker.group, keyed)

    def makes_examples(self, generation: int) -> bool:
        """Return whether the worker knows a static bundle, by its log."""
        return f"since static generation {generation}" in self._worker_log()

    def serves(self, generation: int) -> bool:
        """Return whether the worker answers with a dynamic bundle or a newer one, by its log."""
        served = re.findall(r"serving generation (\d+)", self._worker_log())
        return bool(served) and int(served[-1]) >= generation

    def follows_policy(self, list_name: str, version: int) -> bool:
        """Return whether the worker makes a list by this version of its policy, by its log."""
        return f"version {version} of the policy of {list_name} is in force" in self._worker_log()

    async def examples_waiting(self) -> int:
        """Number of records that the trainer has not read yet."""
        return await self._lag(self.settings.trainer.group, [self.settings.topics.examples])

    async def checkpoint(self) -> None:
        """Signal the worker, and wait until the artifact store has the checkpoint."""
        names = self.settings.topics
        ends = await asyncio.to_thread(end_offsets, self._kafka, [names.events])
        self._roles["worker"].send_signal(signal.SIGUSR1)
        checkpoints = Checkpoints(self.settings.store())
        while not _covered(checkpoints, names.events, ends[names.events]):
            self.check()
            await asyncio.sleep(POLL_S)

    async def read(self, topic: str, first: dict[int, int]) -> list[LogRecord]:
        """Return the records of a topic from given offsets to the current end."""
        return await read_from(self.settings.kafka, topic, first)

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic."""
        return (await asyncio.to_thread(end_offsets, self._kafka, [topic]))[topic]

    def outputs(self) -> ProducerOutputs:
        """Outputs for announcements."""
        return ProducerOutputs(self._kafka)

    def check(self) -> None:
        """Raise DemoError if a role has ended."""
        for role, process in self._roles.items():
            if process.poll() is not None:
                log = self.settings.folder / f"{role}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                status = process.returncode
                raise DemoError(f"the {role} ended with status {status}; {log} ends with\n{tail}")

    def processes(self) -> list[psutil.Process]:
        """The roles and the local broker."""
        found = []
        broker = DevelopmentBroker(self.settings.folder / "kafka", POM).status()
        for pid in [*(p.pid for p in self._roles.values()), *([broker.pid] if broker.pid else [])]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def _worker_log(self) -> str:
        return (self.settings.folder / "worker.log").read_text(errors="replace")

    async def _lag(self, group: str, names: list[str]) -> int:
        self.check()
        lag = await asyncio.to_thread(group_lag, self._kafka, group, names)
        return sum(sum(partitions.values()) for partitions in lag.values())


def _covered(checkpoints: Checkpoints, topic: str, ends: dict[int, int]) -> bool:
    """Whether each partition's newest checkpoint holds the topic up to its end."""
    for partition, end in ends.items():
        if not end:
            continue
        names = checkpoints.names(partition)
        if not names:
            return False
        if checkpoints.manifest(partition, names[-1]).positions.get(topic, 0) < end:
            return False
    return True
