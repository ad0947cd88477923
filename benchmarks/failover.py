"""How long a partition has no answers when its worker is killed and another one has a warm standby.

    segue bench recovery --standby --json var/bench-failover.json

Two workers (`worker.standby`, `--supervised`) share the partitions while events come at a steady
rate. Again and again one of them is killed with SIGKILL. For each of its partitions the time ends
when the first answer to an event that was written after the kill is on the recommendations topic.
Then the worker is started again, and both are left alone until each follows what the other owns.
"""

import asyncio
import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents import announce
from agents.outputs import ProducerOutputs
from benchmarks.latency_workers import BenchWorker, worker
from benchmarks.machine import broker_at, cpu_model, measured
from benchmarks.trained_world import World, bundle_of
from segue.screen import console
from segue.settings import Settings, write_settings
from streams import Event, KafkaSettings, Source, create_topics, encode, topics

__all__ = ["run", "show"]

LOOK_S = 0.25
PATIENCE_S = 180.0
ITEMS, USERS, HISTORY, LEARNED = 2_000, 20_000, 10, 500
OPTIONS = ("--supervised", "--set", "worker.standby=true")
WRITE = 1_000


class _Answer(msgspec.Struct):
    """What is read of a recommendation."""

    source: Source | None = None


_ANSWERS = msgspec.json.Decoder(_Answer)


def run(events: int, repeat: int, rate: int, seed: int, file: Path) -> dict[str, Any]:
    """Measure and write the report to `file`."""
    return measured(file, partial(_measure, events, repeat, rate, seed))


def show(report: dict[str, Any]) -> None:
    """Print the report in two lines."""
    runs = ", ".join(f"{seconds:.2f}" for seconds in report["runs_s"])
    console.print(
        f"{report['events']:,} events of state, {report['rate']:,} events/s, {report['machine']}\n"
        f"s from the kill until every partition of the killed worker had an answer to a later "
        f"event: median {report['seconds']:.2f} ({runs})",
        highlight=False,
    )


def _measure(events: int, repeat: int, rate: int, seed: int, scratch: Path) -> dict[str, Any]:
    with broker_at(scratch / "kafka", os.environ.get("KAFKA_BOOTSTRAP_SERVERS")) as address:
        settings = Settings(data=str(scratch), kafka=KafkaSettings(bootstrap_servers=address))
        write_settings(settings, scratch / "segue.toml")
        create_topics(settings.kafka, topics(settings.topics))
        world = World.draw(items=ITEMS, users=USERS, history=HISTORY, seed=seed)
        failover = _Failover(settings, scratch, world, rate, seed)
        runs = asyncio.run(failover.run(events, repeat))
    return {
        "machine": cpu_model(),
        "cores": os.cpu_count(),
        "events": events,
        "rate": rate,
        "seconds": statistics.median(max(run) for run in runs),
        "runs_s": [max(run) for run in runs],
        "partitions_s": runs,
    }


class _Failover:
    """Writes events, reads answers, kills workers: all on one loop."""

    def __init__(
        self, settings: Settings, scratch: Path, world: World, rate: int, seed: int
    ) -> None:
        self._settings, self._scratch, self._world = settings, scratch, world
        self._rate, self._draw = rate, np.random.default_rng(seed)
        # By partition: the first event after the kill, and when an answer to a later one came.
        self._since: dict[int, int] = {}
        self._came: dict[int, float] = {}
        self._ends: dict[int, int] = {}

    async def run(self, events: int, repeat: int) -> list[list[float]]:
        """Return for each kill the seconds of each partition of the killed worker."""
        kafka, name = self._settings.kafka, self._settings.topics.recommendations
        few = replace(self._world, histories=self._world.histories[:LEARNED])
        bundle = await asyncio.to_thread(bundle_of, few, 1, head=False)
        async with ProducerOutputs(kafka) as outputs:
            await announce(
                bundle, "g000000001", {}, store=self._settings.store(),
                scratch=self._scratch / "publish", outputs=outputs,
                topics=self._settings.topics, now_ms=time.time_ns() // 1_000_000, keep=2,
            )  # fmt: skip
        async with (
            AIOKafkaProducer(**kafka.for_aiokafka(), linger_ms=5, acks=1) as producer,
            AIOKafkaConsumer(enable_auto_commit=False, **kafka.for_consumer()) as consumer,
        ):
            for _ in range(events // WRITE):
                await self._send(producer, WRITE)
            places = [TopicPartition(name, n) for n in range(self._settings.topics.partitions)]
            consumer.assign(places)
            await consumer.seek_to_end(*places)
            beside = [
                asyncio.ensure_future(self._write(producer)),
                asyncio.ensure_future(self._read(consumer)),
            ]
            try:
                return await self._kills(repeat)
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)

    async def _kills(self, repeat: int) -> list[list[float]]:
        runs, stacks = [], [ExitStack(), ExitStack()]
        workers = [self._start(stack, number) for number, stack in enumerate(stacks)]
        try:
            for number in range(repeat):
                await self._until_warm(workers)
                killed = number % 2
                runs.append(await self._kill(workers[killed]))
                stacks[killed].close()
                workers[killed] = self._start(stacks[killed], killed)
        finally:
            for stack in stacks:
                stack.close()
        return runs

    def _start(self, stack: ExitStack, number: int) -> BenchWorker:
        name = f"worker-{number + 1}"
        return stack.enter_context(worker(self._scratch, name, *OPTIONS, may_die=True))

    async def _until_warm(self, workers: list[BenchWorker]) -> None:
        """Wait until both have partitions, follow each other's, and answer all of them."""
        numbers = self._settings.topics.partitions

        def warm() -> bool:
            try:
                followed = [one.counter("segue_standby_partitions") for one in workers]
                lag = sum(one.counter("segue_standby_lag_records") for one in workers)
                waiting = sum(one.counter("segue_waiting_users") for one in workers)
                owned = [one.partitions() for one in workers]
            except (OSError, StopIteration):
                return False
            return (
                all(owned) and len(owned[0] | owned[1]) == numbers and sum(followed) == numbers
                and lag < 10 * self._rate and waiting < self._rate
            )  # fmt: skip

        deadline = time.monotonic() + PATIENCE_S
        while True:
            if await asyncio.to_thread(warm):
                # They are warm, and a moment later still: it was no moment within a rebalance.
                await asyncio.sleep(3.0)
                if await asyncio.to_thread(warm):
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the workers were not ready within {PATIENCE_S:g} s")
            await asyncio.sleep(LOOK_S)

    async def _kill(self, victim: BenchWorker) -> list[float]:
        owned = await asyncio.to_thread(victim.partitions)
        self._came, self._since = {}, {}
        at = victim.kill()
        self._since = {number: self._ends[number] for number in owned}
        deadline = at + PATIENCE_S
        while owned - self._came.keys():
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer of partitions {sorted(owned - self._came.keys())}")
            await asyncio.sleep(0.01)
        return [self._came[number] - at for number in sorted(owned)]

    async def _write(self, producer: AIOKafkaProducer) -> None:
        started, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - started) * self._rate) - sent
            if due:
                await self._send(producer, due)
            sent += due
            await asyncio.sleep(0.02)

    async def _send(self, producer: AIOKafkaProducer, count: int) -> None:
        """Write events of users who are drawn; know the ends of the partitions."""
        now_ms, topic, items = time.time_ns() // 1_000_000, self._settings.topics.events, ITEMS
        listed = self._world.items
        users = self._draw.integers(USERS, size=count).tolist()
        rows = self._draw.integers(items, size=count).tolist()
        sent = []
        for user, row in zip(users, rows, strict=True):
            event = Event(
                user_id=f"u{user}", item_id=listed.item_ids[row], item_type=listed.item_types[row],
                kind="stream", timestamp=now_ms,
            )  # fmt: skip
            sent.append(await producer.send(topic, encode(event), key=event.key))
        for placed in await asyncio.gather(*sent):
            end = placed.offset + 1
            self._ends[placed.partition] = max(end, self._ends.get(placed.partition, 0))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=100)
            now = time.monotonic()
            for records in fetched.values():
                for record in records:
                    source = _ANSWERS.decode(record.value).source if record.value else None
                    if source and source.offset >= self._since.get(source.partition, 1 << 62):
                        self._came.setdefault(source.partition, now)
