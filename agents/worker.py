"""The worker: a room's worth of agents around the partitions it was given."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from agents.bundles.channels import Channels
from agents.catalog import Catalog
from agents.demand import live_popularity, news_of_demand
from agents.erasure import Withdraw
from agents.experiments.arms import ExperimentSettings
from agents.ingest import Ingest
from agents.outputs import Outputs
from agents.recommend import Recommend
from agents.settings import WorkerSettings
from agents.working.partitions import Partitions
from agents.working.tally import Tally
from agents.working.tracing import Traces
from state import ArtifactStore, Checkpoints, StateSettings
from static_layer import TextEncoder
from streams import EventRules, LogRecord, SourceSettings, TopicSettings, event_decoders

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

#: Time after which counts of earlier days are told to others; those of today are with each commit.
TELL_EVERY_MS = 60_000


class Worker:
    """What `segue worker` does, without Kafka: driven by Faust, by the embedded log, by tests.

    Guaranteed: the examples and dead letters of a batch are acknowledged before the state that
    produced them is committed, so that a crash repeats them and never loses them; so are the counts
    of live popularity that a commit says were told. A commit also
    notes how far back the users lie who still wait for an answer: after a crash or a rebalance
    the records from there on are read again, which changes no state, and their users are
    answered, some of them twice. One batch or commit runs at a time; lists are made and
    checkpoints uploaded beside them.
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
        sources: Sequence[SourceSettings] = (),
        traces: Traces | None = None,
        experiments: ExperimentSettings | None = None,
    ) -> None:
        """Keep state and scratch files below `folder`; read sources that are keyed by user too."""
        self.tally = tally or Tally()
        self._settings = settings
        self._topics = topics
        self._outputs = outputs
        self._clock_ms = clock_ms
        decoders = event_decoders(topics.events, sources, rules)
        # Catalogue and users first: whoever goes through them in order knows the items of events.
        self.topics = (topics.users, topics.catalogue, *decoders)
        self.partitions = Partitions(
            folder / "state", state, self.topics,
            Checkpoints(store, keep=settings.keep_checkpoints), clock_ms,
        )  # fmt: skip
        live = live_popularity(state, settings.demand_hours)
        self.channels = Channels(
            store, folder / "bundles", encoder, clock_ms, live,
            use_head=settings.ranking_head, experiments=experiments,
        )  # fmt: skip
        self.models = self.channels.default
        self._catalog = Catalog(topics, self.partitions, outputs, self.tally)
        self._recommend = Recommend(
            settings, topics, self.partitions, self.channels, outputs, self.tally, clock_ms,
            traces,
        )  # fmt: skip
        self.tally.watch(
            generation=lambda: self.models.generation, waiting=lambda: len(self._recommend)
        )
        self.tally.watch_channels(self.channels)
        withdraw = Withdraw(settings, topics, self.partitions, self._recommend, outputs, clock_ms)
        self._ingest = Ingest(
            settings, topics, decoders, self.partitions, outputs, self.tally, withdraw,
            traces, self.channels.arms,
        )  # fmt: skip
        self._turn = asyncio.Lock()
        # One upload at a time, since snapshots share a scratch folder. Taken before the turn.
        self._uploading = asyncio.Lock()
        self._checkpointing: asyncio.Future[None] | None = None
        self._committed_at: dict[int, int] = {}
        self._handled_at: dict[int, int] = {}
        self._told_at: dict[int, int] = {}
        self._checkpointed_at: dict[int, int] = {}
        # Partitions to checkpoint: their state changed, or an older checkpoint holds an erased user
        # and stays until newer ones have pushed it out.
        self._dirty: set[int] = set()
        # Next offset that this worker has to read, by (topic, partition) of events.
        self._read_to: dict[tuple[str, int], int] = {}

    # Partitions come and go

    async def assigned(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Open the state of partitions."""
        async with self._turn:
            now = self._clock_ms()
            for partition in await asyncio.to_thread(self.partitions.open, list(partitions)):
                self._committed_at[partition] = now
                self._checkpointed_at[partition] = now
                self.tally.opened(partition, now)
                for topic in self._ingest.decoders:
                    position = self.partitions.position(topic, partition) or 0
                    rewind = self.partitions.rewind(topic, partition)
                    self._read_to[topic, partition] = position - rewind
                if await asyncio.to_thread(self.partitions.holds_erased, partition):
                    self._dirty.add(partition)

    async def revoked(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Commit, checkpoint and close the state of partitions."""
        async with self._uploading, self._turn:
            partitions = list(partitions)
            leaving = {number for _, number in partitions} & self.partitions.states.keys()
            await self._commit(leaving, all_of_it=True)
            for partition in leaving & self._dirty:
                manifest = self.partitions.snapshot(partition)
                await asyncio.to_thread(self.partitions.upload, manifest)
            closed = self.partitions.close(partitions)
            self._recommend.forget(closed)
            for partition in closed:
                self.tally.closed(partition)
            self._dirty &= self.partitions.states.keys()

    # Records

    async def handle(self, records: Sequence[LogRecord]) -> None:
        """Apply records of one partition of one of `topics`."""
        topic, partition = records[0].topic, records[0].partition
        async with self._turn:
            if topic in self._ingest.decoders:
                self._ingest.learning = self.models.learns_from(
                    topic, partition, records[-1].offset
                )
                self._recommend.touch(await self._ingest(records))
                self._read_to[topic, partition] = records[-1].offset + 1
            elif topic == self._topics.catalogue:
                await self._catalog.items(records)
            elif topic == self._topics.users:
                await self._catalog.users(records)
            else:
                raise ValueError(f"a worker does not read topic {topic}")
            self._dirty.add(partition)
            self._handled_at[partition] = self._clock_ms()
            state = self.partitions[partition]
            if state.pending > self._settings.commit_deltas or state.erasing:
                await self._commit({partition})

    async def handle_requests(self, records: Sequence[LogRecord]) -> None:
        """Answer requests of one partition."""
        async with self._turn:
            asked = await self._recommend.requests(records)
        await self._recommend.answer_requests(asked)

    # Rhythm

    async def tick(self) -> bool:
        """Do what is due: answers, commits, checkpoints. Returns whether more is due at once."""
        # Reading histories takes a moment; ingestion goes on while the lists are made.
        async with self._turn:
            taken = self._recommend.take()
        await self._recommend.answer(taken)
        now = self._clock_ms()
        if self._due(now):
            async with self._turn:
                await self._commit(self._due(now))
        if self._checkpointing is None:
            self._checkpointing = asyncio.ensure_future(self._checkpoint_due(now))
        elif self._checkpointing.done():
            self._checkpointing.result()
            self._checkpointing = None
        return len(taken) == self._settings.answer_users

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the rhythm until `stopping` is set.

        Between two rounds of answers lies a pause, so that users who come together are answered
        together, unless a full round left others waiting.
        """
        while not stopping.is_set():
            if not await self.tick():
                await asyncio.sleep(self._settings.answer_pause_ms / 1000)

    async def commit(self) -> dict[tuple[str, int], int]:
        """Flush outputs and commit every open partition; returns the next offsets."""
        async with self._turn:
            await self._commit(set(self.partitions.states), all_of_it=True)
        return self.positions()

    async def checkpoint(self) -> list[str]:
        """Checkpoint every open partition that changed; ingestion goes on during the uploads."""
        return [
            name
            for partition in sorted(self._dirty)
            if (name := await self._checkpoint(partition)) is not None
        ]

    def positions(self) -> dict[tuple[str, int], int]:
        """Committed next offsets by (topic, partition), for lag monitoring."""
        return {
            (topic, number): offset
            for number, state in list(self.partitions.states.items())
            for topic, offset in state.committed.items()
        }

    def close(self) -> None:
        """Close every state; uncommitted work is dropped and will be read again."""
        self.partitions.close_all()

    async def _tell_demand(self, number: int, *, all_of_it: bool) -> None:
        now = self._clock_ms()
        if now - self._told_at.setdefault(number, now) >= TELL_EVERY_MS:
            all_of_it = True
        if all_of_it:
            self._told_at[number] = now
        for key, value in news_of_demand(self.partitions.states[number], all_of_it=all_of_it):
            await self._outputs.send(self._topics.demand, key, value)

    async def _commit(self, numbers: set[int], *, all_of_it: bool = False) -> None:
        # Before the flush: an answer that is sent while it lasts may not be safe after it.
        changed = {number for number in numbers if self._note_unanswered(number)}
        for number in numbers:
            await self._tell_demand(number, all_of_it=all_of_it)
        if numbers:
            await self._outputs.flush()
        for number in numbers:
            state = self.partitions.states[number]
            if number in changed or state.positions != state.committed or state.telling:
                state.commit()
            self._committed_at[number] = self._clock_ms()
            self._handled_at.pop(number, None)

    def _due(self, now: int) -> set[int]:
        """Open partitions to commit: the last commit is long ago, or nothing more comes."""
        settings = self._settings
        return {
            number
            # A copy: partitions are opened in another thread.
            for number in list(self.partitions.states)
            if now - self._committed_at.get(number, now) >= settings.commit_every_ms
            or (
                number in self._handled_at
                and now - self._handled_at[number] >= settings.commit_quiet_ms
            )
        }

    def _note_unanswered(self, number: int) -> bool:
        """Tell a state how far back the users lie who wait; returns whether that is news."""
        state, news = self.partitions.states[number], False
        for topic in self._ingest.decoders:
            position, first = state.position(topic) or 0, self._read_to[topic, number]
            waiting = self._recommend.unanswered(topic, number)
            if waiting is not None:
                first = min(waiting, first)
            behind = min(position - first, self._settings.answer_backlog)
            news = state.set_behind(topic, behind) or news
        return news

    async def _checkpoint_due(self, now: int) -> None:
        for partition in sorted(self._dirty):
            age = now - self._checkpointed_at.get(partition, now)
            if age >= self._settings.checkpoint_every_s * 1000:
                await self._checkpoint(partition)

    async def _checkpoint(self, partition: int) -> str | None:
        """Checkpoint a partition; None if it was revoked meanwhile."""
        async with self._uploading:
            async with self._turn:
                if partition not in self.partitions.states:
                    return None
                await self._commit({partition})
                manifest = await asyncio.to_thread(self.partitions.snapshot, partition)
                self._checkpointed_at[partition] = self._clock_ms()
                self._dirty.discard(partition)
            name = await asyncio.to_thread(self.partitions.upload, manifest)
            self.tally.checkpointed(partition, self._clock_ms())
            async with self._turn:
                if partition in self.partitions.states and await asyncio.to_thread(
                    self.partitions.holds_erased, partition
                ):
                    self._dirty.add(partition)
            return name
