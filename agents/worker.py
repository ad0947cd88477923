"""The worker: applies records to its partitions, answers users, commits."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from agents.answers import Answers
from agents.bundles.channels import Channels
from agents.catalog import Catalog
from agents.commits import Commits, LastPositions
from agents.demand import live_popularity, shown_counts
from agents.erased import ErasedUsers
from agents.erasure import Withdraw
from agents.experiments.arms import ExperimentSettings
from agents.forgetting import drop_unread
from agents.ingest import Ingest
from agents.outputs import Outputs
from agents.patience import BRIEFLY, UNTIL_ANSWERED, Pause, monotonic_ms, patiently
from agents.recommend import Recommend
from agents.requests import Requests
from agents.settings import WorkerSettings
from agents.standby import Standby
from agents.state_copies import StateCopies
from agents.working.checkpointing import Checkpointing
from agents.working.partitions import Partitions
from agents.working.tally import Tally
from agents.working.tracing import Traces
from state import ArtifactStore, Checkpoints, StateSettings
from static_layer import TextEncoder
from streams import (
    EventRules,
    ItemCatalogue,
    ItemSourceSettings,
    Log,
    LogRecord,
    PersonalTopic,
    TopicIdentity,
    TopicSettings,
    check_topology,
    event_decoders,
)
from streams.schema_wait import SchemaWait

__all__ = ["Worker"]


class Worker:
    """What `segue worker` does, without Kafka: driven by Faust, by the embedded log, by tests.

    Guaranteed: the examples and dead letters of a batch are acknowledged before the state that
    produced them is committed, so that a crash repeats them and never loses them; so are the counts
    of live popularity that a commit marks as published. A commit also notes how far back the users
    lie who still wait for an answer: after a crash or a rebalance the records from there on are
    read again, which changes no state, and their users are answered, some of them twice. Requests
    are answered in order; the offset of a request is below the one in `positions` only once its
    answer is stored. One batch or commit runs at a time; lists are made and checkpoints uploaded
    beside them. A failing artifact store does not block: checkpoints are retried.
    """

    def __init__(
        self,
        *,
        settings: WorkerSettings,
        state: StateSettings,
        topics: TopicSettings,
        rules: EventRules,
        store: ArtifactStore,
        folder: Path,
        encoder: Callable[[], TextEncoder],
        outputs: Outputs,
        clock_ms: Callable[[], int],
        tally: Tally | None = None,
        sources: Sequence[PersonalTopic] = (),
        item_sources: Sequence[ItemSourceSettings] = (),
        traces: Traces | None = None,
        experiments: ExperimentSettings | None = None,
        ticks_ms: Callable[[], int] = monotonic_ms,
        pause: Pause = asyncio.sleep,
        log: Log | None = None,
    ) -> None:
        """Keep state and scratch files below `folder`; read sources that are keyed by user too.

        item_sources: topics of items of other owners; they are read whole and not into the state.
        clock_ms: the time, ms UTC, for what is written down. ticks_ms: when periodic work is due;
        it never goes back. pause: waits for so many seconds between two attempts on the artifact
        store or on the broker. log: erasures are read from it before all other records.
        """
        self._pause = pause
        self.tally = tally or Tally()
        self.tally.store.watch(store)
        self._settings = settings
        self._topics = topics
        self._impressions = state.impressions
        self._outputs = outputs
        self._clock_ms = clock_ms
        self._ticks_ms = ticks_ms
        decoders = event_decoders(topics.events, sources, rules)
        # Catalogue and users first: a reader in this order knows the items of events.
        self.topics = (topics.users, topics.catalogue, *decoders)
        self.partitions = Partitions(
            folder / "state", state, self.topics,
            Checkpoints(store, keep=settings.keep_checkpoints), clock_ms,
        )  # fmt: skip
        live = live_popularity(state, settings.demand_hours)
        self.channels = Channels(
            store, folder / "bundles", encoder, clock_ms, live, shown=shown_counts(state),
            use_head=settings.ranking_head, experiments=experiments, pause=pause,
            items=ItemCatalogue(topics, item_sources),
        )  # fmt: skip
        self.models = self.channels.default
        self._erased = ErasedUsers(topics, log, sources, patience=UNTIL_ANSWERED, pause=pause)
        self._catalog = Catalog(topics, self.partitions, outputs, self.tally, self._erased)
        self._answers = Answers(
            settings, topics, self.partitions, self.channels, outputs, self.tally, clock_ms,
            traces,
        )  # fmt: skip
        self._recommend = Recommend(settings, self._answers, self.tally, ticks_ms)
        self._requests = Requests(settings, topics, self._answers, outputs, self.tally, clock_ms)
        self.tally.watch(
            generation=lambda: self.models.generation,
            waiting=lambda: len(self._recommend),
            requests=lambda: len(self._requests),
        )
        self.tally.watch_channels(self.channels)
        self.tally.watch_rows(self.channels, clock_ms)
        self.channels.items.refused = self.tally.items_refused
        self.channels.items.key_forgotten = self.tally.item_key_forgotten
        self.tally.watch_policies(self.channels.policies)
        withdraw = Withdraw(
            settings, topics, sources, self.partitions, self._forget_user, outputs, self._erased,
            clock_ms,
        )  # fmt: skip
        self._ingest = Ingest(
            settings, topics, decoders, self.partitions, outputs, self.tally, self._erased,
            withdraw, rules, clock_ms, traces, self.channels.arms,
        )  # fmt: skip
        self._turn = asyncio.Lock()
        self._schemas = SchemaWait(decoders, self._handle, self._turn, pause)
        self._assignments = 0
        self.standby: Standby | None = None
        if settings.standby and log is not None:
            copies = StateCopies(
                settings=settings, state=state, topics=topics, rules=rules, sources=sources,
                checkpoints=Checkpoints(store), folder=folder / "state", clock_ms=clock_ms,
                erased=self._erased, tally=Tally(),
            )  # fmt: skip
            self.standby = Standby(
                copies, self.partitions, settings, numbers=topics.partitions, log=log,
                erased=self._erased, ticks_ms=ticks_ms, pause=pause,
            )  # fmt: skip
            self.tally.watch_standby(self.standby)
        self._commits = Commits(
            settings, topics, self.partitions, self._recommend, self._requests, outputs, ticks_ms,
            decoders,
        )  # fmt: skip
        self._checkpoints = Checkpointing(
            settings, self.partitions, self.tally, clock_ms, ticks_ms, turn=self._turn,
            commit=self._commits.commit,
        )  # fmt: skip
        self._checkpointing: asyncio.Future[None] | None = None

    # Partitions come and go

    async def assigned(
        self,
        partitions: Iterable[tuple[str, int]],
        log: Mapping[str, TopicIdentity] | None = None,
        *,
        begin_again: bool = False,
    ) -> None:
        """Open the state of partitions.

        log: the topics as they are now. Raises LogChanged if a state was made from others, or if
            they have other numbers of partitions than the settings say; OSError if a state is not
            on this disk and the artifact store fails for long.
        begin_again: set aside states of earlier topics instead.
        """
        async with self._turn:
            self._assignments += 1
            # Erasures are known before a record of an erased user is read.
            await self._erased.read()
            now, before = self._ticks_ms(), set(self.partitions.states)
            given = list(partitions)
            if self.standby:
                await self.standby.release({n for topic, n in given if topic in self.topics})
            await patiently(
                lambda: self.partitions.open(given), "opening states", BRIEFLY, self._pause
            )
            if log is not None:
                check_topology(log, self._topics)
                if begin_again:
                    await asyncio.to_thread(self.partitions.begin_again, log)
                await asyncio.to_thread(self.partitions.note_log, log)
            for partition in sorted(self.partitions.states.keys() - before):
                self._commits.opened(partition, now)
                self._checkpoints.opened(partition, now)
                self.tally.opened(partition, self._clock_ms())
                state = self.partitions[partition]
                await drop_unread(self._erased, state, self._ingest.decoders)
                # Whether an older checkpoint holds an erased user is seen after the next one: the
                # store is not asked while the group waits.
                if state.erased or state.uncompacted:
                    self._checkpoints.changed.add(partition)
            if self.standby:
                self.standby.settled()

    async def check_log(self, ask: Callable[[], Awaitable[Mapping[str, TopicIdentity]]]) -> None:
        """Raise LogChanged unless the topics are those that are being read; see `assigned`.

        ask: returns the topics as they are now. An answer from before an assignment says nothing of
        the states that the assignment has opened; it has checked them itself.
        """
        before = self._assignments
        log = await ask()
        async with self._turn:
            if before == self._assignments:
                check_topology(log, self._topics)
                # A topic of which nothing is read yet may be another one than at the assignment.
                self._erased.note_topics(log)
                await asyncio.to_thread(self.partitions.note_log, log)

    async def revoked(self, partitions: Iterable[tuple[str, int]]) -> LastPositions:
        """Commit and close the state of partitions; returns where they ended.

        It waits for no upload: what is not in a checkpoint yet is uploaded afterwards, from a
        snapshot. If that fails, the next owner reads it from the log.
        """
        async with self._turn:
            partitions = list(partitions)
            self._schemas.forget(partitions)
            leaving = {number for _, number in partitions} & self.partitions.states.keys()
            await self._commits.commit(leaving, all_of_it=True)
            left = await asyncio.to_thread(self._checkpoints.snapshots, leaving)
            positions, counts = self.positions(), self.counts()
            closed = self.partitions.close(partitions)
            self._recommend.forget(closed)
            self._requests.forget(closed)
            for partition in closed:
                self._commits.closed(partition)
                self.tally.closed(partition)
            self._checkpoints.closed()
            if self.standby:
                self.standby.left(closed)
        self._checkpoints.upload_left(left)
        return LastPositions(
            {place: offset for place, offset in positions.items() if place[1] in closed},
            {number: counts[number] for number in closed},
        )

    async def uploaded(self) -> None:
        """Wait for the uploads of partitions that were revoked."""
        await self._checkpoints.left_uploaded()

    # Records

    async def handle(self, records: Sequence[LogRecord]) -> None:
        """Apply records of one partition once their schemas are known; requests are queued."""
        if not self._schemas.takes(records):
            async with self._turn:
                await self._handle(records)

    async def _handle(self, records: Sequence[LogRecord]) -> None:
        """`handle` records whose schemas are known; `_turn` is held."""
        topic, partition = records[0].topic, records[0].partition
        if topic == self._topics.requests:
            await self._requests.add(records)
            self._commits.handled(partition)
            return
        if topic in self._ingest.decoders:
            self._ingest.learning = self.models.learns_from(
                self.partitions[partition].log_name(topic), partition, records[-1].offset
            )
            self._ingest.with_shown = self._impressions and self.channels.learn_from_impressions
            self._recommend.touch(await self._ingest(records))
            self._commits.read_to[topic, partition] = records[-1].offset + 1
        elif topic == self._topics.catalogue:
            await self._catalog.items(records)
        elif topic == self._topics.users:
            await self._catalog.users(records)
        else:
            raise ValueError(f"a worker does not read topic {topic}")
        self._checkpoints.changed.add(partition)
        self._commits.handled(partition)
        state = self.partitions[partition]
        if state.pending > self._settings.commit_deltas or state.erasing:
            await self._commits.commit({partition})

    async def pass_empty(self, topic: str, partition: int, first: int, end: int) -> bool:
        """Go on behind offsets that hold no record to apply; see `PartitionState.pass_empty`."""
        async with self._turn:
            if topic == self._topics.requests:
                passed = self._requests.pass_empty(partition, first, end)
            else:
                passed = self.partitions[partition].pass_empty(topic, first, end)
            if passed:
                if self._commits.read_to.get((topic, partition)) == first:
                    self._commits.read_to[topic, partition] = end
                self._commits.handled(partition)
            return passed

    def holds(self, topic: str) -> bool:
        """Whether records of a topic are to stay in the log for now."""
        full = topic == self._topics.requests and self._requests.full
        return full or self._schemas.holds(topic)

    # Rhythm

    @property
    def answering(self) -> bool:
        """Whether lists of users whose history changed are being made or written."""
        return self._recommend.answering

    async def tick(self) -> bool:
        """Do what is due: answers, commits, checkpoints. Returns whether more is due at once."""
        # Reading histories takes a moment; ingestion goes on while the lists are made.
        self._schemas.check()
        more = await self._answer_requests()
        async with self._turn:
            taken = self._recommend.take()
        if taken is not None:
            await self._recommend.answer(taken)
            more = more or len(taken.asked) == self._settings.answer_users
        now = self._ticks_ms()
        if self._commits.due(now):
            async with self._turn:
                await self._commits.commit(self._commits.due(now))
        if self._checkpointing is None:
            followed = self.standby.in_use if self.standby else frozenset()
            self._checkpointing = asyncio.ensure_future(
                self._checkpoints.due(now, followed | self.partitions.states.keys())
            )
        elif self._checkpointing.done():
            self._checkpointing.result()
            self._checkpointing = None
        return more

    async def _answer_requests(self) -> bool:
        """Answer a round of requests; returns whether more wait that can be answered at once."""
        async with self._turn:
            asked = self._requests.take(self.partitions.states.keys())
        if asked is None:
            return False
        went_on = await self._requests.answer(asked)
        for partition in went_on:
            self._commits.handled(partition)
        return bool(went_on) and len(asked.asked) == self._settings.answer_users

    async def run(self, stopping: asyncio.Event) -> None:
        """Run periodic work until `stopping` is set.

        Between two rounds of answers lies a pause, so that users who come together are answered
        together, unless a full round left others waiting.
        """
        while not stopping.is_set():
            if not await self.tick():
                await asyncio.sleep(self._settings.answer_pause_ms / 1000)

    async def commit(self) -> dict[tuple[str, int], int]:
        """Flush outputs and commit every open partition; returns the next offsets."""
        async with self._turn:
            await self._commits.commit(set(self.partitions.states), all_of_it=True)
        return self.positions()

    async def checkpoint(self) -> list[str]:
        """Tell all counts of demand, and checkpoint every open partition that changed.

        Ingestion goes on during the uploads. Returns their names; one that fails is tried again.
        """
        await self.commit()
        return await self._checkpoints.all_that_changed()

    def positions(self) -> dict[tuple[str, int], int]:
        """Committed next offsets by (topic, partition).

        Those of requests are where a successor reads on; the others show the lag only.
        """
        return self._requests.positions() | {
            (topic, number): offset
            for number, state in list(self.partitions.states.items())
            for topic, offset in state.committed.items()
        }

    def counts(self) -> dict[int, dict[str, int]]:
        """See `Commits.counts`."""
        return dict(self._commits.counts)

    def close(self) -> None:
        """Close every state; uncommitted work is dropped and will be read again."""
        self._schemas.close()
        self.partitions.close_all()
        if self.standby:
            self.standby.close()

    def _forget_user(self, user: str) -> None:
        """Drop pending output for an erased user."""
        self._recommend.withdraw(user)
        self._requests.withdraw(user)
        self._answers.withdraw(user)
