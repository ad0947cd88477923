"""The worker: applies records to its partitions, answers users, commits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agents.answers import Answers
from agents.bundles.channels import Channels
from agents.catalog import Catalog
from agents.demand import live_popularity, news_of_demand, shown_counts
from agents.erased import ErasedUsers
from agents.erasure import Withdraw
from agents.experiments.arms import ExperimentSettings
from agents.forgetting import drop_unread
from agents.ingest import Ingest
from agents.outputs import Outputs
from agents.patience import BRIEFLY, UNTIL_ANSWERED, UPLOADS, Pause, patiently
from agents.recommend import Recommend
from agents.requests import Requests
from agents.settings import WorkerSettings
from agents.ticks import monotonic_ms
from agents.working.partitions import Partitions, Snapshot
from agents.working.tally import Tally
from agents.working.tracing import Traces
from state import ArtifactStore, Checkpoints, DamagedState, StateSettings
from static_layer import TextEncoder
from streams import (
    EventRules,
    Log,
    LogRecord,
    SourceSettings,
    TopicIdentity,
    TopicSettings,
    check_partitions,
    event_decoders,
)

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

#: Time between two looks for folders of states that are no longer used.
SWEEP_EVERY_MS = 3_600_000
#: Time after which counts of earlier days are told to others; those of today are with each commit.
TELL_EVERY_MS = 60_000


class LastPositions(NamedTuple):
    """Where partitions ended: as `Worker.positions` and `Worker.counts`."""

    positions: dict[tuple[str, int], int]
    counts: dict[int, dict[str, int]]


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
        sources: Sequence[SourceSettings] = (),
        traces: Traces | None = None,
        experiments: ExperimentSettings | None = None,
        ticks_ms: Callable[[], int] = monotonic_ms,
        pause: Pause = asyncio.sleep,
        log: Log | None = None,
    ) -> None:
        """Keep state and scratch files below `folder`; read sources that are keyed by user too.

        clock_ms: the time, ms UTC, for what is written down. ticks_ms: when periodic work is due;
        it never goes back. pause: waits for so many seconds between two attempts on the artifact
        store or on the broker. log: erasures are read from it before any other record; without a
        log they are known only when the worker meets them.
        """
        self._pause = pause
        self.tally = tally or Tally()
        self.tally.store.watch(store)
        self._settings = settings
        self._topics = topics
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
        self._assignments = 0
        # One upload at a time. Taken before the turn, and never waited for by a rebalance.
        self._uploading = asyncio.Lock()
        self._leaving: set[asyncio.Future[None]] = set()
        self._failed_uploads = 0  # in a row
        self._checkpointing: asyncio.Future[None] | None = None
        self._committed_at: dict[int, int] = {}
        self._handled_at: dict[int, int] = {}
        self._told_at: dict[int, int] = {}
        self._checkpointed_at: dict[int, int] = {}
        self._swept_at: int | None = None
        # Partitions to checkpoint: their state changed, or an older checkpoint holds an erased user
        # and stays until newer ones have pushed it out.
        self._dirty: set[int] = set()
        self._counts: dict[int, dict[str, int]] = {}
        # Next offset that this worker has to read, by (topic, partition) of events.
        self._read_to: dict[tuple[str, int], int] = {}

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
            await patiently(
                lambda: self.partitions.open(given), "opening states", BRIEFLY, self._pause
            )
            if log is not None:
                self._check_topology(log)
                if begin_again:
                    await asyncio.to_thread(self.partitions.begin_again, log)
                await asyncio.to_thread(self.partitions.note_log, log)
            for partition in sorted(self.partitions.states.keys() - before):
                self._committed_at[partition] = now
                self._checkpointed_at[partition] = now
                self._counts[partition] = self.partitions[partition].counts
                self.tally.opened(partition, self._clock_ms())
                for topic in self._ingest.decoders:
                    position = self.partitions.position(topic, partition) or 0
                    rewind = self.partitions.rewind(topic, partition)
                    self._read_to[topic, partition] = position - rewind
                state = self.partitions[partition]
                await drop_unread(self._erased, state, self._ingest.decoders)
                # Whether an older checkpoint holds an erased user is seen after the next one: the
                # store is not asked while the group waits.
                if state.erased or state.uncompacted:
                    self._dirty.add(partition)

    async def check_log(self, ask: Callable[[], Awaitable[Mapping[str, TopicIdentity]]]) -> None:
        """Raise LogChanged unless the topics are those that are being read; see `assigned`.

        ask: returns the topics as they are now. An answer from before an assignment says nothing of
        the states that the assignment has opened; it has checked them itself.
        """
        before = self._assignments
        log = await ask()
        async with self._turn:
            if before == self._assignments:
                self._check_topology(log)
                self.partitions.check_log(log)

    def _check_topology(self, log: Mapping[str, TopicIdentity]) -> None:
        for identity in log.values():
            check_partitions(identity, self._topics.partitions, f"{self._topics.prefix}.")

    async def revoked(self, partitions: Iterable[tuple[str, int]]) -> LastPositions:
        """Commit and close the state of partitions; returns where they ended.

        It waits for no upload: what is not in a checkpoint yet is uploaded afterwards, from a
        snapshot. If that fails, the next owner reads it from the log.
        """
        async with self._turn:
            partitions = list(partitions)
            leaving = {number for _, number in partitions} & self.partitions.states.keys()
            await self._commit(leaving, all_of_it=True)
            left = await asyncio.to_thread(self._snapshots, sorted(leaving & self._dirty))
            positions, counts = self.positions(), self.counts()
            closed = self.partitions.close(partitions)
            self._recommend.forget(closed)
            self._requests.forget(closed)
            for partition in closed:
                del self._counts[partition]
                self.tally.closed(partition)
            self._dirty &= self.partitions.states.keys()
        if left:
            upload = asyncio.ensure_future(self._upload_left(left))
            self._leaving.add(upload)
            upload.add_done_callback(self._leaving.discard)
        return LastPositions(
            {place: offset for place, offset in positions.items() if place[1] in closed},
            {number: counts[number] for number in closed},
        )

    async def uploaded(self) -> None:
        """Wait for the uploads of partitions that were revoked."""
        await asyncio.gather(*self._leaving)

    # Records

    async def handle(self, records: Sequence[LogRecord]) -> None:
        """Apply records of one partition of one of `topics`, or queue requests."""
        topic, partition = records[0].topic, records[0].partition
        if topic == self._topics.requests:
            async with self._turn:
                await self._requests.add(records)
                self._handled_at[partition] = self._ticks_ms()
            return
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
            self._handled_at[partition] = self._ticks_ms()
            state = self.partitions[partition]
            if state.pending > self._settings.commit_deltas or state.erasing:
                await self._commit({partition})

    async def pass_empty(self, topic: str, partition: int, first: int, end: int) -> bool:
        """Go on behind offsets that hold no record to apply; see `PartitionState.pass_empty`."""
        async with self._turn:
            if topic == self._topics.requests:
                passed = self._requests.pass_empty(partition, first, end)
            else:
                passed = self.partitions[partition].pass_empty(topic, first, end)
            if passed:
                if self._read_to.get((topic, partition)) == first:
                    self._read_to[topic, partition] = end
                self._handled_at[partition] = self._ticks_ms()
            return passed

    def holds(self, topic: str) -> bool:
        """Whether records of a topic are to stay in the log for now."""
        return topic == self._topics.requests and self._requests.full

    # Rhythm

    @property
    def answering(self) -> bool:
        """Whether lists of users whose history changed are being made or written."""
        return self._recommend.answering

    async def tick(self) -> bool:
        """Do what is due: answers, commits, checkpoints. Returns whether more is due at once."""
        # Reading histories takes a moment; ingestion goes on while the lists are made.
        more = await self._answer_requests()
        async with self._turn:
            taken = self._recommend.take()
        if taken is not None:
            await self._recommend.answer(taken)
            more = more or len(taken.asked) == self._settings.answer_users
        now = self._ticks_ms()
        if self._due(now):
            async with self._turn:
                await self._commit(self._due(now))
        if self._checkpointing is None:
            self._checkpointing = asyncio.ensure_future(
                self._checkpoint_due(now, frozenset(self.partitions.states))
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
            self._handled_at[partition] = self._ticks_ms()
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
            await self._commit(set(self.partitions.states), all_of_it=True)
        return self.positions()

    async def checkpoint(self) -> list[str]:
        """Checkpoint every open partition that changed; ingestion goes on during the uploads.

        Returns the names of the checkpoints; one that fails is counted and tried again later.
        """
        names = [await self._try_checkpoint(partition) for partition in sorted(self._dirty)]
        return [name for name in names if name is not None]

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
        """Events applied and records refused by partition, as of the last commit."""
        return dict(self._counts)

    def close(self) -> None:
        """Close every state; uncommitted work is dropped and will be read again."""
        self.partitions.close_all()

    def _forget_user(self, user: str) -> None:
        """Drop pending output for an erased user."""
        self._recommend.withdraw(user)
        self._requests.withdraw(user)
        self._answers.withdraw(user)

    async def _tell_demand(self, number: int, *, all_of_it: bool) -> None:
        now = self._ticks_ms()
        if now - self._told_at.setdefault(number, now) >= TELL_EVERY_MS:
            all_of_it = True
        if all_of_it:
            self._told_at[number] = now
        for key, value in news_of_demand(self.partitions.states[number], all_of_it=all_of_it):
            await self._outputs.send(self._topics.demand, key, value)

    async def _commit(self, numbers: set[int], *, all_of_it: bool = False) -> None:
        # Before the flush: an answer that is sent while it lasts may not be safe after it.
        changed = {number for number in numbers if self._note_unanswered(number)}
        answered = self._requests.next_offsets(numbers)
        for number in numbers:
            await self._tell_demand(number, all_of_it=all_of_it)
        if numbers:
            await self._outputs.flush()
        self._requests.flushed(answered)
        for number in numbers:
            state = self.partitions.states[number]
            if number in changed or state.positions != state.committed or state.telling:
                state.commit()
            self._counts[number] = state.counts
            self._committed_at[number] = self._ticks_ms()
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
        """Record in a state how far back the waiting users are; returns whether that changed."""
        state, news = self.partitions.states[number], False
        for topic in self._ingest.decoders:
            position, first = state.position(topic) or 0, self._read_to[topic, number]
            waiting = self._recommend.unanswered(topic, number)
            if waiting is not None:
                first = min(waiting, first)
            behind = min(position - first, self._settings.answer_backlog)
            news = state.set_behind(topic, behind) or news
        return news

    async def _checkpoint_due(self, now: int, in_use: Container[int]) -> None:
        """Sweep and checkpoint; in_use: states that were open when this became due.

        This may start after the worker has closed, while another worker opens the states.
        """
        if self._swept_at is None or now - self._swept_at >= SWEEP_EVERY_MS:
            self._swept_at = now
            await asyncio.to_thread(self.partitions.remove_leftovers, in_use)
        for partition in sorted(self._dirty):
            age = now - self._checkpointed_at.get(partition, now)
            if age >= self._settings.checkpoint_every_s * 1000:
                await self._try_checkpoint(partition)

    async def _try_checkpoint(self, partition: int) -> str | None:
        """Checkpoint a partition; None if it was revoked meanwhile, or if the store failed.

        After a failure the partition is due again, with a pause that grows with each failure.
        """
        try:
            name = await self._checkpoint(partition)
        except OSError as error:
            self._failed_uploads += 1
            pause_s = UPLOADS.pause_s(self._failed_uploads)
            every_ms = self._settings.checkpoint_every_s * 1000
            self.tally.checkpoint_failed()
            logger.error(
                "the checkpoint of partition %d failed, the next attempt is due in %g s: %s",
                partition, min(pause_s, every_ms / 1000), error,
            )  # fmt: skip
            if partition in self.partitions.states:
                self._dirty.add(partition)
                due = self._ticks_ms() + min(1000 * pause_s, every_ms)
                self._checkpointed_at[partition] = int(due - every_ms)
            return None
        self._failed_uploads = 0
        return name

    async def _checkpoint(self, partition: int) -> str | None:
        """Checkpoint a partition; None if it was revoked meanwhile."""
        async with self._uploading:
            async with self._turn:
                if partition not in self.partitions.states:
                    return None
                await self._commit({partition})
                snapshot = await asyncio.to_thread(self.partitions.snapshot, partition)
                self._checkpointed_at[partition] = self._ticks_ms()
                self._dirty.discard(partition)
                erased = self.partitions[partition].erased
            name = await asyncio.to_thread(self.partitions.upload, snapshot)
            self.tally.checkpointed(partition, self._clock_ms())
            holds = await asyncio.to_thread(self.partitions.holds_erased, partition, erased)
            if holds and partition in self.partitions.states:
                self._dirty.add(partition)
            return name

    def _snapshots(self, partitions: Sequence[int]) -> list[Snapshot]:
        """Snapshots of partitions that are revoked; what is missing the next owner reads again."""
        found = []
        for partition in partitions:
            if self.partitions[partition].uncompacted:
                continue  # to rewrite the files takes too long here
            try:
                found.append(self.partitions.snapshot(partition))
            except (OSError, DamagedState) as error:
                logger.error("partition %d is revoked without a snapshot: %s", partition, error)
        return found

    async def _upload_left(self, snapshots: Sequence[Snapshot]) -> None:
        """Upload snapshots of partitions that another worker has now; each is tried once."""
        async with self._uploading:
            for snapshot in snapshots:
                try:
                    await asyncio.to_thread(self.partitions.upload_left, snapshot)
                except (OSError, DamagedState) as error:
                    self.tally.checkpoint_failed()
                    logger.error(
                        "partition %d was revoked and not uploaded; its next owner reads the rest "
                        "from the log: %s", snapshot.manifest.partition, error,
                    )  # fmt: skip
