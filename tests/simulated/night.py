"""One night: all roles in one process on the embedded log, with a seed's clock, disk and store."""

import random
from collections.abc import Callable
from pathlib import Path

from agents import Worker, WorkerSettings
from agents.experiments.arms import ExperimentSettings
from agents.outputs import EmbeddedOutputs
from streams import (
    Event,
    Impression,
    LogChanged,
    Request,
    ShownItem,
    Source,
    create_topics,
    encode,
    erasure_value,
    topics,
)
from streams.topics import TopicDefinition
from tests.agents.worlds import NOW
from tests.simulated.canaries import Canaries
from tests.simulated.catalogue import Catalogue
from tests.simulated.consoles import Console
from tests.simulated.faults import DEATHS, Fuse, Store, flip_byte, lose, tear_wal
from tests.simulated.learning import Learning
from tests.simulated.models import ModelsTopic
from tests.simulated.policies import ListPolicies
from tests.simulated.readings import Readings
from tests.simulated.recreation import Recreation
from tests.simulated.transactions import NightLog, Producers
from tests.simulated.workers import Life
from tests.simulated.worlds import (
    BAD,
    BY_USER,
    DAY,
    EXPERIMENTS,
    HOUR,
    ITEMS,
    PARTITIONS,
    PLAYER,
    SECOND,
    SOURCES,
    TOPICS,
    TYPES,
    USERS,
    WORKERS,
)


class Night:
    """What a seed makes happen. Everything is drawn; nothing waits and nothing is timed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        # What producers and users do does not depend on what becomes of the workers.
        self.draw, self.fate = random.Random(seed), random.Random(f"fate of {seed}")
        self.delivery = random.Random(f"delivery of {seed}")
        self.now = NOW
        self.elapsed = 0  # of the clock that never goes back
        self.fuse = Fuse()
        self.log = NightLog(folder / "log", self.clock)
        self.producers = Producers(self, random.Random(f"transactions of {seed}"))
        create_topics(self.log, topics(TOPICS))
        self.log.create_topic(TopicDefinition(name=PLAYER, partitions=PARTITIONS))
        self.store = Store(folder / "store", self.fuse, random.Random(f"store of {seed}"))
        # No user is dropped for having waited: each one with events must get lists.
        self.settings = WorkerSettings(
            keep_checkpoints=2, checkpoint_every_s=600, answer_within_s=1e9, shown_lists=("mix",)
        )
        self.lives: dict[int, Life] = {}
        self.committed: dict[tuple[str, int], int] = {}
        #: Place of a bad record -> its user.
        self.bad: dict[bytes, str] = {}
        #: User -> files that hold the user's id once the workers have done what there was to do.
        self.left_at_dawn: dict[str, list[str]] = {}
        #: User who was erased when nothing came any more, and all requests were answered.
        self.erased_last: str | None = None
        self.trace: list[str] = []
        #: What producers wrote: (topic, user, item or what it was).
        self.written: list[tuple[str, str, str]] = []
        #: What was wrong at some moment of the night.
        self.wrong: list[str] = []
        self.sure = EmbeddedOutputs(self.log)
        #: Topics of whose events examples are made.
        self.learned_topics = (TOPICS.events, PLAYER)
        #: With a canary in half of the nights.
        chosen = random.Random(f"canary of {seed}")
        self.experiments = EXPERIMENTS if chosen.random() < 0.5 else ExperimentSettings()
        self.catalogue = Catalogue(self, random.Random(f"catalogue of {seed}"))
        self.policies = ListPolicies(self, random.Random(f"policies of {seed}"))
        self.readings = Readings(self, self.fate)
        self.recreation = Recreation(self, random.Random(f"topics of {seed}"))
        self.models = ModelsTopic(self)
        self.learning = Learning(self, self.draw, random.Random(f"trainer of {seed}"))
        self.canaries = Canaries(self, chosen)
        self.console = Console(self, random.Random(f"console of {seed}"))

    # Time

    def clock(self) -> int:
        """The time, ms UTC."""
        return self.now

    def ticks(self) -> int:
        """Milliseconds since the night began."""
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        """Wait in the clock of the night."""
        self.now += int(seconds * 1000)
        self.elapsed += int(seconds * 1000)

    async def pause(self, seconds: float) -> None:
        """Wait in the clock of the night. An outage that a process waits for ends."""
        self.sleep(seconds)
        if self.store.away and self.delivery.random() < 0.1:
            self.note("the store is back")
            self.store.away = False

    # What happens

    def live(self, steps: int) -> None:
        """Let so many things happen."""
        happenings: list[tuple[int, Callable[[], None]]] = [
            (14, self.events_come), (5, self.a_list_is_shown), (2, self.something_bad_comes),
            (2, self.a_user_is_erased),
            (6, self.somebody_asks), (26, self.a_batch_is_read), (6, self.requests_are_read),
            (10, self.a_worker_ticks), (5, self.a_worker_commits), (5, self.a_worker_checkpoints),
            (4, self.a_worker_dies), (6, self.the_next_death_is_near), (8, self.partitions_move),
            (5, self.the_store_changes), (4, self.time_passes), (1, self.the_clock_is_set_back),
            (4, self.a_worker_hears_of_models),
            *self.learning.happenings(), *self.console.happenings(),
            *self.readings.happenings(), *self.catalogue.happenings(), *self.policies.happenings(),
            *self.recreation.happenings(), *self.producers.happenings(),
            *(self.canaries.happenings() if self.experiments.arms else ()),
        ]  # fmt: skip
        weights = [weight for weight, _ in happenings]
        for happening in self.draw.choices([call for _, call in happenings], weights, k=steps):
            self.now += 17
            self.elapsed += 17
            self.note(happening.__name__)
            happening()
            self.models.check()

    def complain(self, what: str) -> None:
        """Keep what is wrong now, whatever becomes of it."""
        line = f"after {self.elapsed / SECOND:.0f} s: {what}"
        self.note(f"WRONG: {what}")
        self.wrong.append(line)

    def note(self, what: str) -> None:
        """Keep for a person who examines a seed what happened."""
        self.trace.append(f"{self.elapsed / SECOND:9.0f} s  {what}")

    def run(self, life: Life, work: Callable[[], object]) -> object | None:
        """Do a worker's work to its end, or to the worker's."""
        try:
            return life.loop.whole(_whole(life.worker, work))
        except DEATHS as death:
            self.note(f"worker {life.number} dies: {type(death).__name__}")
            if isinstance(death, LogChanged):
                self.recreation.begin_again.add(life.number)
            self.dies(life)
            return None

    def dies(self, life: Life) -> None:
        """End a process; what it had not committed is gone."""
        life.worker.close()
        life.loop.close()
        self.fuse.out()
        del self.lives[life.number]

    def worker(self) -> Life | None:
        """Draw a process that runs."""
        return self.fate.choice(list(self.lives.values())) if self.lives else None

    def events_come(self) -> None:
        user, topic = self.draw.choice(USERS), self.draw.choice([TOPICS.events, PLAYER])
        late = self.draw.choice([0, 0, 0, HOUR, DAY, 40 * DAY, 120 * DAY])
        for item in self.draw.sample(ITEMS, self.draw.randint(1, 4)):
            self.write_event(topic, user, item, self.now - late)

    def write_event(self, topic: str, user: str, item: str, timestamp: int) -> None:
        event = Event(
            user_id=user, item_id=item, item_type=self.draw.choice(TYPES),
            kind=self.draw.choice(["stream", "follow", "dislike"]), timestamp=timestamp,
        )  # fmt: skip
        self.written.append((topic, user, item))
        self.producers.append(topic, event.key, encode(event))

    def a_list_is_shown(self) -> None:
        user, late = self.draw.choice(USERS), self.draw.choice([0, 0, HOUR, 40 * DAY, 120 * DAY])
        items = [
            ShownItem(item_id=item, item_type=self.draw.choice(TYPES), position=n)
            for n, item in enumerate(self.draw.sample(ITEMS, self.draw.randint(1, 4)), 1)
        ]
        shown = Impression(user_id=user, items=items, timestamp=self.now - late)
        self.written.append((TOPICS.impressions, user, "a list"))
        self.producers.append(TOPICS.impressions, shown.key, encode(shown))

    def something_bad_comes(self) -> None:
        topic, user = (
            self.draw.choice([TOPICS.events, PLAYER, TOPICS.impressions]),
            self.draw.choice(USERS),
        )
        value = self.draw.choice(BAD)
        if topic == TOPICS.events and not value:
            return  # there it is an erasure
        partition, offset = self.log.append(topic, user.encode(), value)
        self.bad[Source(topic=topic, partition=partition, offset=offset).place] = user

    def a_user_is_erased(self) -> None:
        user = self.draw.choice(USERS)
        value = erasure_value(self.log, user, SOURCES) if self.draw.random() < 0.8 else None
        self.written.append((TOPICS.events, user, "erasure"))
        self.producers.append(TOPICS.events, user.encode(), value)

    def somebody_asks(self) -> None:
        request = Request(user_id=self.draw.choice(USERS))
        self.written.append((TOPICS.requests, request.user_id, "request"))
        self.producers.append(TOPICS.requests, request.key, encode(request))

    def a_batch_is_read(self) -> None:
        if (life := self.worker()) is None or not life.owned:
            return
        topic = self.fate.choice([*life.worker.topics, TOPICS.events, PLAYER])
        partition = self.fate.choice(sorted(life.owned))
        again = self.fate.choice([0, 0, 0, 0, 2]) if topic in BY_USER else 0
        self.read(life, topic, partition, self.fate.randint(1, 12), again)

    def read(self, life: Life, topic: str, partition: int, count: int, again: int = 0) -> bool:
        """Deliver the next records, and some a second time; returns whether there were any.

        Offsets without a record behind them are reported, as the transports do.
        """
        at = life.read_to.get((topic, partition), 0)
        records = self.log.consumed(topic, partition, max(0, at - again), count + again)
        if records:
            at = life.read_to[topic, partition] = max(at, records[-1].offset + 1)
            self.run(life, lambda: life.worker.handle(records))
        reached = self.log.reached(topic, partition, at)
        if life.number not in self.lives or reached <= at:
            return bool(records)
        passed = self.run(life, lambda: life.worker.pass_empty(topic, partition, at, reached))
        if passed:
            life.read_to[topic, partition] = reached
        return bool(records) or bool(passed)

    def requests_are_read(self) -> None:
        life = self.worker()
        if life and life.owned and not life.worker.holds(TOPICS.requests):
            self.read(life, TOPICS.requests, self.fate.choice(sorted(life.owned)), 8)

    def a_worker_ticks(self) -> None:
        if life := self.worker():
            self.run(life, life.worker.tick)

    def a_worker_hears_of_models(self) -> None:
        """It reads what is announced, and loads the bundle that is in force there."""
        count = self.fate.choice([1, 2, 100])
        if life := self.worker():
            self.run(life, lambda: life.hear(count))

    def a_worker_commits(self) -> None:
        if life := self.worker():
            self.commit(life)

    def commit(self, life: Life) -> None:
        """Commit, and have the group know the places, as the transport does."""
        positions = self.run(life, life.worker.commit)
        if isinstance(positions, dict):
            self.committed |= positions

    def a_worker_checkpoints(self) -> None:
        if life := self.worker():
            self.run(life, life.worker.checkpoint)

    def a_worker_dies(self) -> None:
        """It dies between two records; its disk may be damaged, or lost."""
        if (life := self.worker()) is None:
            return
        self.dies(life)
        fate = self.fate.random()
        states = life.states()
        if fate < 0.2 and states:
            self.note(f"write-ahead log torn: {tear_wal(self.fate.choice(states), self.fate)}")
        elif fate < 0.35 and states:
            self.note(f"table damaged: {flip_byte(self.fate.choice(states), self.fate)}")
        elif fate < 0.5:
            self.note(f"disk of worker {life.number} lost")
            lose(life.folder)

    def the_next_death_is_near(self) -> None:
        """A process dies inside of something, after a few more calls of log or store."""
        self.fuse.light(self.fate.randint(0, 12))

    def partitions_move(self) -> None:
        """The group balances: dead workers may come back, and partitions change hands."""
        for number in range(WORKERS):
            if number not in self.lives and self.fate.random() < 0.7:
                self.begins(number)
        if not self.lives:
            return
        owners = {part: self.fate.choice(sorted(self.lives)) for part in range(PARTITIONS)}
        for life in list(self.lives.values()):
            self.revoke(life, {part for part in life.owned if owners[part] != life.number})
        for part, number in owners.items():
            if (life := self.lives.get(number)) and part not in life.owned:
                self.assign(life, part)

    def begins(self, number: int) -> None:
        """Start a process; most of them have read all topics before their first partition."""
        life = self.lives[number] = Life(self, number)
        if self.fate.random() < 0.6:
            self.run(life, life.hear_all)
        elif self.fate.random() < 0.5:
            self.run(life, lambda: life.read_policies(100))

    def revoke(self, life: Life, parts: set[int]) -> None:
        if not parts:
            return
        given = [(topic, part) for part in sorted(parts) for topic in life.worker.topics]

        async def leaves() -> dict[tuple[str, int], int]:
            last = await life.worker.revoked(given)
            await life.worker.uploaded()
            return dict(last.positions)

        positions = self.run(life, leaves)
        if isinstance(positions, dict):
            self.committed |= positions
            life.owned -= parts
            life.read_to = {at: to for at, to in life.read_to.items() if at[1] not in parts}

    def assign(self, life: Life, part: int) -> None:
        given, log = [(topic, part) for topic in life.worker.topics], self.recreation.found(life)
        self.run(life, lambda: life.worker.assigned(given, log, begin_again=life.begin_again))
        if life.number not in self.lives or part not in life.worker.partitions.states:
            return
        life.owned.add(part)
        for topic in life.worker.topics:
            position = life.worker.partitions.position(topic, part) or 0
            life.read_to[topic, part] = position - life.worker.partitions.rewind(topic, part)
        life.read_to[TOPICS.requests, part] = self.committed.get((TOPICS.requests, part), 0)

    def the_store_changes(self) -> None:
        self.store.away = not self.store.away and self.fate.random() < 0.6
        self.store.torn = self.fate.choice([0.0, 0.0, 0.1])
        self.store.slow_s = self.fate.choice([0.0, 0.0, 0.0, 2.0])

    def time_passes(self) -> None:
        self.sleep(self.draw.choice([1, 60, 3_600, 6 * 3_600]))

    def the_clock_is_set_back(self) -> None:
        self.now -= self.draw.choice([SECOND, HOUR])

    def ends(self) -> None:
        """Close everything."""
        for life in self.lives.values():
            life.worker.close()
            life.loop.close()
        self.console.close()
        self.learning.close()
        self.log.close()


async def _whole(worker: Worker, work: Callable[[], object]) -> object:
    """Await work, and what it began beside it: then one thing happens at a time."""
    try:
        return await work()  # type: ignore[misc]
    finally:
        beside = worker._checkpointing
        if beside is not None:
            worker._checkpointing = None
            await beside
