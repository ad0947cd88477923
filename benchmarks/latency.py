"""From the event on its topic to the recommendation on its topic, on a real broker.

    segue bench latency --json var/bench-latency.json

Workers (--workers) answer with a bundle of towers that learned from users of the same world, since
how long a search takes depends on how vectors lie (`trained_world`). This process writes events at
a steady rate and reads the recommendations like any other consumer; an event's latency ends when
the first recommendation that knows it has arrived here, or with the measurement where none has.
Meanwhile the bundle is swapped. Broker, workers and this process share the machine.
"""

import asyncio
import os
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents import announce
from agents.outputs import ProducerOutputs
from benchmarks.latency_workers import SHORTENED, BenchWorker, processor_s, worker
from benchmarks.machine import broker_at, cpu_model, measured
from benchmarks.trained_world import World, bundle_of
from dynamic_layer import DynamicBundle
from segue.screen import console
from segue.settings import Settings, write_settings
from state import ArtifactStore
from streams import Event, KafkaSettings, ModelAnnouncement, Source, create_topics, encode, topics
from streams.outbox import filled
from streams.partitioner import murmur2_partitions

__all__ = ["LatencyPlan", "run", "show"]

PATIENCE_S = 120.0
DRAIN_S = 10.0
TICK_S = 0.02
BATCH_BYTES = 256 * 1024
_NO_HEADERS: list[tuple[str, bytes]] = []


@dataclass(frozen=True, kw_only=True)
class LatencyPlan:
    """What is measured.

    rate: events/s; items of two types and users in all; warm_s: seconds of events before it counts;
    swap_s: between two bundles; head: whether the bundle's head ranks; history: different events of
    a user; learned_users: whose events the towers learned from; workers: processes that share the
    partitions.
    """

    rate: int = 2_000
    seconds: float = 120.0
    items: int = 100_000
    users: int = 20_000
    warm_s: float = 20.0
    swap_s: float = 30.0
    head: bool = True
    history: int = 30
    learned_users: int = 5_000
    workers: int = 1
    seed: int = 1


class _Answer(msgspec.Struct):
    """What is read of a recommendation."""

    user_id: str
    generation: int
    source: Source | None = None


_ANSWERS = msgspec.json.Decoder(_Answer)


def run(plan: LatencyPlan, file: Path) -> dict[str, Any]:
    """Measure and write the report to `file`."""
    return measured(file, partial(_measure, plan))


def show(report: dict[str, Any]) -> None:
    """Print the report in a few lines."""
    latency = ", ".join(f"{name} {value:,.0f} ms" for name, value in report["latency_ms"].items())
    head = "with" if report["head"] else "without"
    rate = f"{report['events_per_second']:,.0f} events/s"
    busy = ", ".join(f"{what} {cores:.2f}" for what, cores in report["cores_in_use"].items())
    console.print(
        f"{report['machine']}, {report['cores']} cores: {rate}, "
        f"{report['items']:,} items, {report['swaps']} swaps, {report['workers']} workers,"
        f" {head} ranking head\n"
        f"event to recommendation: {latency}; {report['recommendations']:,} recommendations, "
        f"{report['unanswered']:,} of {report['events']:,} events without; "
        f"{report['users_with_fewer_candidates']:,} users with fewer candidates\n"
        f"cores in use: {busy}",
        highlight=False,
    )


def _measure(plan: LatencyPlan, scratch: Path) -> dict[str, Any]:
    with broker_at(scratch / "kafka", os.environ.get("KAFKA_BOOTSTRAP_SERVERS")) as address:
        kafka = KafkaSettings(bootstrap_servers=address)
        base = Settings(data=str(scratch), kafka=kafka)
        settings = replace(base, worker=replace(base.worker, ranking_head=plan.head))
        write_settings(settings, scratch / "segue.toml")
        create_topics(kafka, topics(settings.topics))
        world = World.draw(items=plan.items, users=plan.users, history=plan.history, seed=plan.seed)
        few = replace(world, histories=world.histories[: plan.learned_users])
        bundle = bundle_of(few, plan.seed, head=plan.head)
        with ExitStack() as running:
            workers = [
                running.enter_context(worker(scratch, f"worker-{number}"))
                for number in range(plan.workers)
            ]
            return asyncio.run(_Measurement(plan, settings, bundle, world, workers).run())


class _Measurement:
    """Writes events, reads answers, swaps bundles: all at once, on one loop."""

    def __init__(
        self,
        plan: LatencyPlan,
        settings: Settings,
        bundle: DynamicBundle,
        world: World,
        workers: list[BenchWorker],
    ) -> None:
        self._workers = workers
        self._plan, self._settings, self._bundle, self._world = plan, settings, bundle, world
        self._store: ArtifactStore = settings.store()
        self._generation = 1
        # What each user listens to, over and over.
        self._listens = [cycle(rows) for rows in world.histories.tolist()]
        # user -> (offset, when it was sent): events that no answer knows yet.
        self._open: dict[str, list[tuple[int, float]]] = defaultdict(list)
        # user -> (offset of the latest event that an answer knows, when it came).
        self._answered: dict[str, tuple[int, float]] = {}
        self._sent = 0
        self._delays: list[float] = []
        self._answers = 0
        self._generations: set[int] = set()
        self._counting = False

    async def run(self) -> dict[str, Any]:
        """Return the figures."""
        plan, kafka = self._plan, self._settings.kafka
        await self._announce()
        name = self._settings.topics.recommendations
        async with (
            AIOKafkaProducer(
                # In small batches thousands of events wait for each other when a core is missing.
                **kafka.for_aiokafka(),
                linger_ms=2,
                acks=1,
                max_batch_size=BATCH_BYTES,
            ) as producer,  # fmt: skip
            AIOKafkaConsumer(enable_auto_commit=False, **kafka.for_consumer()) as consumer,
        ):
            partitions = range(self._settings.topics.partitions)
            places = [TopicPartition(name, number) for number in partitions]
            consumer.assign(places)
            await consumer.seek_to_end(*places)
            reading = asyncio.ensure_future(self._read(consumer))
            await self._until_served(producer)
            swapping = asyncio.ensure_future(self._swap())
            await self._write(producer, plan.warm_s)
            self._counting, self._answers = True, 0
            self._generations.clear()
            before, started = processor_s(), time.monotonic()
            shortened = self._shortened()
            await self._write(producer, plan.seconds)
            took, after = time.monotonic() - started, processor_s()
            shortened = self._shortened() - shortened
            deadline = time.monotonic() + DRAIN_S
            while any(self._open.values()) and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
            for task in (swapping, reading):
                task.cancel()
            await asyncio.gather(swapping, reading, return_exceptions=True)
        # Who waits still counts with the time waited so far: left out, they would flatter.
        now = time.monotonic()
        waited = [now - sent for events in self._open.values() for _, sent in events]
        p50, p95, p99 = np.percentile([*self._delays, *waited] or [np.nan], [50, 95, 99])
        return {
            "machine": cpu_model(),
            "cores": os.cpu_count(),
            "head": plan.head,
            "workers": plan.workers,
            "items": plan.items,
            "users": plan.users,
            "seconds": round(took, 1),
            "events": self._sent,
            "events_per_second": round(self._sent / took, 1),
            "latency_ms": {
                "p50": round(1000 * p50, 1),
                "p95": round(1000 * p95, 1),
                "p99": round(1000 * p99, 1),
            },
            "unanswered": len(waited),
            "recommendations": self._answers,
            "users_with_fewer_candidates": shortened,
            "swaps": max(0, len(self._generations) - 1),
            "cores_in_use": {
                what: round((seconds - before.get(what, 0.0)) / took, 2)
                for what, seconds in after.items()
            },
        }

    def _shortened(self) -> int:
        """Users whose lists the workers ranked from fewer candidates since they started."""
        return sum(int(worker.counter(SHORTENED)) for worker in self._workers)

    async def _announce(self) -> None:
        """Publish the bundle under the next generation and say so."""
        settings, now_ms = self._settings, time.time_ns() // 1_000_000
        manifest = self._bundle.manifest | {"generation": self._generation}
        async with ProducerOutputs(settings.kafka) as outputs:
            if self._generation == 1:
                # Workers write examples from the first static bundle on: that is work, too.
                static = ModelAnnouncement(
                    kind="static", name="none", url=self._store.url, generation=1,
                    created_at=now_ms, metrics={},
                )  # fmt: skip
                await outputs.send(settings.topics.models, static.key, encode(static))
            await announce(
                replace(self._bundle, manifest=manifest), f"g{self._generation:09d}", {},
                store=self._store, scratch=settings.folder / "publish", outputs=outputs,
                topics=settings.topics, now_ms=now_ms, keep=2,
            )  # fmt: skip
        self._generation += 1

    async def _swap(self) -> None:
        while True:
            await asyncio.sleep(self._plan.swap_s)
            await self._announce()

    async def _until_served(self, producer: AIOKafkaProducer) -> None:
        """Send an event now and then until there is an answer."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers:
            # An answer needs an event; the worker may still be starting.
            await self._send(producer, ["first"], [0])
            await asyncio.sleep(0.5)
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer within {PATIENCE_S:g} s")

    async def _write(self, producer: AIOKafkaProducer, seconds: float) -> None:
        """Send events at the rate; what could not be sent in time is sent at once."""
        plan, started, sent = self._plan, time.monotonic(), 0
        rng = np.random.default_rng([plan.seed, int(seconds)])
        pending: set[asyncio.Future[None]] = set()
        while (now := time.monotonic() - started) < seconds:
            due = int(now * plan.rate) - sent
            rows = rng.integers(plan.users, size=due).tolist()
            items = [next(self._listens[row]) for row in rows]
            if due:
                users = [f"u{row}" for row in rows]
                task = asyncio.ensure_future(self._send(producer, users, items))
                pending.add(task)
                task.add_done_callback(pending.discard)
            sent += due
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*pending)

    async def _send(self, producer: AIOKafkaProducer, users: list[str], items: list[int]) -> None:
        """Send an event for each user, those of a partition together: this process must be light.

        An event's time begins before its batch is made.
        """
        now_ms, at, counts = time.time_ns() // 1_000_000, time.monotonic(), self._counting
        self._sent += counts * len(users)
        parts: dict[int, list[tuple[str, Event]]] = defaultdict(list)
        keys, partitions = [user.encode() for user in users], self._settings.topics.partitions
        places, listed = murmur2_partitions(keys, partitions).tolist(), self._world.items
        for user, item, place in zip(users, items, places, strict=True):
            event = Event(
                user_id=user, item_id=listed.item_ids[item], item_type=listed.item_types[item],
                kind="stream", timestamp=now_ms,
            )  # fmt: skip
            parts[place].append((user, event))
        topic = self._settings.topics.events
        for partition, events in parts.items():
            rows = ((event.key, encode(event), _NO_HEADERS) for _, event in events)
            names = iter([user for user, _ in events])
            for batch, held in filled(producer.create_batch, rows):
                placed = await (await producer.send_batch(batch, topic, partition=partition))
                if counts:
                    self._placed(list(islice(names, held)), placed.offset, at)

    def _placed(self, users: list[str], first: int, at: float) -> None:
        """Note events that were stored, one behind the other from an offset on."""
        for offset, user in enumerate(users, first):
            # The answer may have been here before the acknowledgement.
            answered, came = self._answered.get(user, (-1, 0.0))
            if answered >= offset:
                self._delays.append(came - at)
            else:
                self._open[user].append((offset, at))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=200)
            now = time.monotonic()
            for records in fetched.values():
                self._came([record.value for record in records if record.value], now)

    def _came(self, answers: list[bytes], now: float) -> None:
        """Match answers that came to the events that they know."""
        for answer in map(_ANSWERS.decode, answers):
            self._answers += 1
            self._generations.add(answer.generation)
            if answer.source is None:
                continue
            user, offset = answer.user_id, answer.source.offset
            if offset > self._answered.get(user, (-1, 0.0))[0]:
                self._answered[user] = (offset, now)
            if waiting := self._open.pop(user, None):
                self._delays += [now - at for sent, at in waiting if sent <= offset]
                if left := [event for event in waiting if event[0] > offset]:
                    self._open[user] = left
