"""A new item on the catalogue's topic, events of users, and what an outside consumer sees then."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from segue.demo.kafka_runtime import KafkaRuntime
from streams import Event, Item, Recommendation, encode
from streams.log_record import now_ms

__all__ = ["DEPTHS", "Launch", "Watched", "Watcher"]

Name = tuple[str, str]
#: Places of a list in which an item counts as shown, and as within reach; the latter are asked for.
DEPTHS = (10, 100)
#: Seconds between two users' events, and of one user's two: once while the item may not be there.
STEP_S, AGAIN_S = 0.08, 2.2
#: Fans who go on after the item is deleted; seconds between their two events then.
STAYING, STAY_S = 4, 0.7
PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Launch:
    """An item that appears, and who is asked.

    alike: items of its topic, type and language. asked: user -> group; listens: user -> the items
    (type, id) of the two events.
    """

    item: Item
    alike: frozenset[Name]
    asked: dict[str, str]
    listens: dict[str, tuple[Name, Name]]


@dataclass(kw_only=True)
class Watched:
    """What was seen of a launch; seconds are since just before its record was sent.

    first_s:  depth -> when the first list, of anybody, with the item so far up was here.
    shown:    depth -> user -> when the first list with the item so far up was here.
    answered: users for whom there was any list in time.
    after_s:  of lists with the item that came after it was deleted, seconds since just before that.
    stayed:   fans who had been shown it and were answered after it was deleted.
    """

    launch: Launch
    started: float
    first_s: dict[int, float] = field(default_factory=dict)
    shown: dict[int, dict[str, float]] = field(default_factory=lambda: {d: {} for d in DEPTHS})
    answered: set[str] = field(default_factory=set)
    deleted: float | None = None
    after_s: list[float] = field(default_factory=list)
    stayed: int = 0

    def saw(self, answer: Recommendation, now: float) -> None:
        """Take note of a list that came."""
        name = (self.launch.item.item_type, self.launch.item.item_id)
        places = (p for p, i in enumerate(answer.items) if (i.item_type, i.item_id) == name)
        place = next(places, None)
        if self.deleted is not None:
            if place is not None:
                self.after_s.append(now - self.deleted)
            return
        asked = answer.user_id in self.launch.asked
        if asked:
            self.answered.add(answer.user_id)
        for depth in DEPTHS:
            if place is not None and place < depth:
                self.first_s.setdefault(depth, now - self.started)
                if asked:
                    self.shown[depth].setdefault(answer.user_id, now - self.started)


class Watcher:
    """Writes what is asked for and reads every list; use as an async context manager."""

    def __init__(self, runtime: KafkaRuntime, deadline_s: float) -> None:
        """Watch each item for `deadline_s`."""
        self._runtime, self._deadline_s = runtime, deadline_s
        kafka = runtime.settings.kafka.for_aiokafka()
        self._producer = AIOKafkaProducer(**kafka, linger_ms=0, acks="all")
        self._consumer = AIOKafkaConsumer(
            enable_auto_commit=False, **runtime.settings.kafka.for_consumer()
        )
        self._reading: asyncio.Task[None] | None = None
        self._watched: Watched | None = None
        # user -> offset of the latest event that an answer knows.
        self._known: dict[str, int] = {}

    async def __aenter__(self) -> "Watcher":
        topics = self._runtime.settings.topics
        await self._producer.start()
        await self._consumer.start()
        parts = [TopicPartition(topics.recommendations, n) for n in range(topics.partitions)]
        self._consumer.assign(parts)
        await self._consumer.seek_to_end(*parts)
        self._reading = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        await self._consumer.stop()
        await self._producer.stop()

    async def watch(self, launch: Launch) -> Watched:
        """Have an item appear, its users listen, and the item go."""
        self._runtime.check()
        catalogue, item = self._runtime.settings.topics.catalogue, launch.item
        watched = self._watched = Watched(launch=launch, started=time.monotonic())
        await self._producer.send_and_wait(catalogue, key=item.key, value=encode(item))
        for turn in range(2):
            for place, (user, listens) in enumerate(launch.listens.items()):
                due = watched.started + AGAIN_S * turn + STEP_S * place
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self._listen(user, listens[turn])
        await asyncio.sleep(max(0.0, watched.started + self._deadline_s - time.monotonic()))
        watched.deleted = time.monotonic()
        await self._producer.send_and_wait(catalogue, key=item.key, value=None)
        for turn in range(2):
            staying = {u: await self._listen(u, launch.listens[u][turn]) for u in self._staying()}
            if turn == 0:
                await asyncio.sleep(STAY_S)
        watched.stayed = await self._answered(staying)
        return watched

    def _staying(self) -> list[str]:
        return list(self._watched.shown[DEPTHS[-1]])[:STAYING] if self._watched else []

    async def _listen(self, user: str, item: Name) -> int:
        event = Event(
            user_id=user, item_id=item[1], item_type=item[0], kind="stream", timestamp=now_ms()
        )
        topic = self._runtime.settings.topics.events
        placed = await self._producer.send_and_wait(topic, key=event.key, value=encode(event))
        return int(placed.offset)

    async def _answered(self, waiting: dict[str, int]) -> int:
        """Wait until lists know these users' events; returns of how many they do."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            known = sum(self._known.get(user, -1) >= offset for user, offset in waiting.items())
            if known == len(waiting) or time.monotonic() > deadline:
                return known
            await asyncio.sleep(0.02)

    async def _read(self) -> None:
        decoder = msgspec.json.Decoder(Recommendation)
        async for record in self._consumer:
            if record.value is None:
                continue
            answer, now = decoder.decode(record.value), time.monotonic()
            if answer.source is not None:
                user = answer.user_id
                self._known[user] = max(self._known.get(user, -1), answer.source.offset)
            if self._watched is not None:
                self._watched.saw(answer, now)
