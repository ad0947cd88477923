"""A replica of the workers' states: what the API answers from.

State is a pure function of a prefix of its partition: the same records and code give the same
state. A console restores the workers' checkpoints, follows the log from there, and answers from its
own copy; it joins no group, and writes to no topic and no checkpoint.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agents import Tally, WorkerSettings
from agents.bundles.channels import Channels
from agents.erased import ErasedUsers
from agents.experiments.arms import ExperimentSettings
from agents.patience import UNTIL_ANSWERED, repeated
from agents.state_copies import StateCopies, to_the_end
from agents.working.partitions import user_state
from console.applied_erasures import AppliedErasures
from console.waiting import Applied
from dynamic_layer import UserState
from state import ArtifactStore, Checkpoints, PartitionState, StateSettings
from static_layer import TextEncoder
from streams import (
    EmbeddedLog,
    EventRules,
    Held,
    ItemCatalogue,
    ItemSourceSettings,
    LogRecord,
    PersonalTopic,
    TopicIdentity,
    TopicSettings,
    held_offsets,
    murmur2_partition,
    topic_identities,
)
from streams.log_following import Log, Place, follow, for_ever, read_all_whole, read_whole
from streams.log_watch import LogWatch, SameTopics, check_again
from streams.sources import SourceError

__all__ = ["LogTimes", "Replica"]

#: Log times of the newest records of a place that are remembered.
REMEMBERED = 20_000


class LogTimes:
    """Log times of the newest records of some places, as they are applied."""

    def __init__(self) -> None:
        """Nothing was applied yet."""
        # Place -> offset of the newest record, and the times of it and of those before.
        self._newest: dict[tuple[str, int], tuple[int, deque[int]]] = {}

    def applied(self, records: Sequence[LogRecord]) -> None:
        """Remember records of one place, not empty, in offset order."""
        place = records[0].topic, records[0].partition
        _, times = self._newest.get(place, (0, deque(maxlen=REMEMBERED)))
        times.extend(record.timestamp for record in records)
        self._newest[place] = records[-1].offset, times

    def of(self, topic: str, partition: int, offset: int) -> int | None:
        """When the log took a record, ms UTC; None if it is not among the newest."""
        last, times = self._newest.get((topic, partition), (0, deque()))
        back = last - offset
        return times[-1 - back] if 0 <= back < len(times) else None

    def newest(self, topic: str, partition: int) -> int | None:
        """When the log took the newest record of a place that was applied since the start."""
        _, times = self._newest.get((topic, partition), (0, deque()))
        return times[-1] if times else None


#: Records between two commits while much is to be read.
COMMIT_RECORDS = 50_000
COMMIT_S = 1.0
LOOK_S = 0.1
#: Between two searches for old states that were put aside.
SWEEP_S = 3_600.0


class Replica:
    """All partitions' states, current with the log, and the bundle that the workers serve.

    Use as an async context manager around `run`. Everything happens on one event loop; `turn` is
    held while states change, and for consistent reads of several values.
    """

    def __init__(
        self,
        *,
        log: Log,
        settings: WorkerSettings,
        state: StateSettings,
        topics: TopicSettings,
        rules: EventRules,
        store: ArtifactStore,
        folder: Path,
        encoder: Callable[[], TextEncoder],
        clock_ms: Callable[[], int],
        sources: Sequence[PersonalTopic] = (),
        item_sources: Sequence[ItemSourceSettings] = (),
        apply: int = 256,
        ready_lag: int = 1_000,
        waiting: int = 512,
        at_least_s: float = 2.0,
        experiments: ExperimentSettings | None = None,
    ) -> None:
        """Keep states and scratch files below `folder`; apply at most `apply` records at once.

        waiting: requests that wait for a record to be applied, at most; at_least_s: for so long.
        """
        self.log = log
        self.topics = topics
        self.sources = tuple(sources)
        self.tally = Tally()
        self.log_times = LogTimes()
        self.turn = asyncio.Lock()
        self.store = store
        self.state_settings = state
        self._clock_ms = clock_ms
        self._apply = apply
        self._ready_lag = ready_lag
        self._erased = ErasedUsers(topics, log, sources)
        self._applied_erasures = AppliedErasures(folder / "erasures", self._erased)
        self._copies = StateCopies(
            settings=settings, state=state, topics=topics, rules=rules, sources=self.sources,
            checkpoints=Checkpoints(store), folder=folder / "state", clock_ms=clock_ms,
            erased=self._erased, tally=self.tally, withdraw=self._applied_erasures.note,
        )  # fmt: skip
        self._events, self._keyed = self._copies.events, self._copies.keyed
        self.partitions = self._copies.partitions
        self.applied = Applied(self.partitions.position, waiting, at_least_s)
        self.channels = Channels(
            store, folder / "bundles", encoder, clock_ms, experiments=experiments,
            items=ItemCatalogue(topics, item_sources),
        )  # fmt: skip
        self.models = self.channels.default
        self._held: dict[Place, Held] = {}
        self._caught_up = False
        self._uncommitted = 0

    async def __aenter__(self) -> "Replica":
        """Open every partition's state, from the newest checkpoint where that is further.

        Raises PositionError if the log does not hold what a state needs next, or is another one
        than the workers' states were made from.
        """
        # Erasures are known before a record of an erased user is read.
        await self._erased.read()
        await asyncio.to_thread(self._applied_erasures.read)
        held = await asyncio.to_thread(held_offsets, self.log, self._keyed)
        found = await asyncio.to_thread(topic_identities, self.log, self._keyed)
        self._held = dict(held)
        try:
            await self._copies.open(held, found, begin_again=True)
        except BaseException:
            self.partitions.close_all()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self.turn:
            self._applied_erasures.write()
            for state in self.partitions.states.values():
                state.commit()
            self.partitions.close_all()

    async def run(self) -> None:
        """Follow events, catalogue, users and models continuously; raises the errors of reading."""
        policies = self.channels.policies
        policies.wait()
        jobs = [
            asyncio.ensure_future(job)
            for job in (
                for_ever(self._follow_keyed, self._keyed[-1]),
                read_whole(self.log, self.topics.models, self.channels.announced),
                read_whole(self.log, self.topics.rows, self.channels.rows, optional=True),
                *read_all_whole(
                    self.log, self.channels.items.topics, self.channels.catalogue,
                    policies.catalogue_read.set,
                ),
                self.channels.keep_bringing(),
                read_whole(
                    self.log,
                    self.topics.policies,
                    policies.take,
                    caught_up=policies.policies_read.set,
                    optional=True,
                ),
                self._commit_now_and_then(),
                self._check_log(),
                self._remove_leftovers(),
            )
        ]  # fmt: skip
        try:
            await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    # What it knows

    @property
    def caught_up(self) -> bool:
        """Whether the states have reached, and committed, what the log held at the opening."""
        return self._caught_up

    @property
    def ready(self) -> bool:
        """Whether answers can be given: caught up, a bundle loaded and warmed, policies known."""
        return self.caught_up and self.channels.possible

    def lag(self) -> int:
        """Records of the log at opening that are not applied yet."""
        return sum(
            max(0, part.end - (self.partitions.position(*place) or part.first))
            for place, part in self._held.items()
        )

    def state_of(self, user_id: str) -> PartitionState:
        """The state of the partition in which a user's events lie."""
        return self.partitions[murmur2_partition(user_id.encode(), self.topics.partitions)]

    async def user(self, user_id: str) -> UserState:
        """What is known of a user now, as a recommender reads it."""
        async with self.turn:
            return user_state(self.state_of(user_id), user_id)

    def position_of(self, user_id: str) -> dict[str, Any]:
        """Partition of a user, and `event_positions` of it."""
        partition = self.state_of(user_id).partition
        return {"partition": partition, **self.event_positions(partition)}

    def event_positions(self, partition: int) -> dict[str, Any]:
        """Next offsets of the topics of events in a partition, as members of an answer.

        positions: all of them, by topic. topic, position: of the topic of events; where nothing of
        it is applied, of the source in place that is furthest.
        """
        state = self.partitions[partition]
        positions = {topic: state.position(topic) or 0 for topic in self._events}
        topic = self.topics.events
        if not positions[topic]:
            topic = max(positions, key=lambda name: positions[name])
        return {"topic": topic, "position": positions[topic], "positions": positions}

    def follows(self, topic: str, partition: int) -> bool:
        """Whether records of a partition of users or events are applied here."""
        of_users = topic == self.topics.users or topic in self._events
        return of_users and (topic, partition) in self._held

    # Following

    async def _follow_keyed(self) -> None:
        positions = {place: self.partitions.position(*place) or 0 for place in self._held}
        async for records in follow(self.log, positions, self._apply, self._pass_empty):
            topic, partition = records[0].topic, records[0].partition
            await repeated(
                partial(self._copies.prepare, records), f"reading schemas of {topic}",
                UNTIL_ANSWERED, asyncio.sleep, SourceError,
            )  # fmt: skip
            async with self.turn:
                state = await self._copies.apply(records)
                if topic in self._events:
                    self.log_times.applied(records)
                self._uncommitted += len(records)
                if state.erasing or self._uncommitted >= COMMIT_RECORDS:
                    await self._commit()
            self.applied.moved((topic, partition))
            # Requests have their turn, however fast the log can be read.
            await asyncio.sleep(0)

    async def _check_log(self) -> None:
        if isinstance(self.log, EmbeddedLog):
            return  # no other process can have it open
        watch, same = LogWatch(self.log), SameTopics()

        async def check() -> None:
            found = await watch.topics_now(self._keyed)
            await self.note_log(found)
            same.check((await watch.topics_now(self.channels.items.watched)).values())

        try:
            await check_again(check)
        finally:
            await watch.close()

    async def note_log(self, found: Mapping[str, TopicIdentity]) -> None:
        """Compare the topics as they are now with those that the states were made from.

        Raises LogChanged if they are others.
        """
        self._copies.check_topology(found)
        async with self.turn:
            self._erased.note_topics(found)
            await to_the_end(partial(self.partitions.note_log, found))

    async def _remove_leftovers(self) -> None:
        while True:
            await to_the_end(self.partitions.remove_leftovers)
            await asyncio.sleep(SWEEP_S)

    async def _pass_empty(self, place: Place, first: int, end: int) -> None:
        topic, partition = place
        async with self.turn:
            self.partitions[partition].pass_empty(topic, first, end)
        self._uncommitted += 1
        self.applied.moved(place)

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_S if self._caught_up else LOOK_S)
            reached = self.lag() <= self._ready_lag
            if self._uncommitted and (reached or self._caught_up):
                async with self.turn:
                    await self._commit()
            self._caught_up = self._caught_up or reached

    async def _commit(self) -> None:
        """Commit every state that changed, in another thread; `turn` is held."""
        self._uncommitted = 0
        await to_the_end(self._applied_erasures.write)
        await self._copies.commit()
