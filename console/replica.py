"""A replica of the workers' states: what the API answers from.

State is a pure function of a prefix of its partition, so whoever applies the same records with the
same code holds the same state. A console restores the workers' checkpoints, follows the log from
there, and answers from its own copy; it joins no group, and writes to no topic and no checkpoint.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from agents import Tally, WorkerSettings
from agents.bundles.channels import Channels
from agents.catalog import Catalog
from agents.erasure import withdraw_nothing
from agents.experiments.arms import ExperimentSettings
from agents.ingest import Ingest
from agents.outputs import NoOutputs
from agents.working.partitions import Partitions, user_state
from console.following import Log, Place, follow, for_ever, read_whole
from console.log_times import LogTimes
from dynamic_layer import UserState
from state import ArtifactStore, Checkpoints, PartitionState, StateSettings
from static_layer import TextEncoder
from streams import (
    EventRules,
    Held,
    PositionError,
    SourceSettings,
    TopicSettings,
    event_decoders,
    held_offsets,
    murmur2_partition,
)

__all__ = ["Replica"]

logger = logging.getLogger(__name__)

#: Records between two commits while much is to be read.
COMMIT_RECORDS = 50_000
COMMIT_S = 1.0
LOOK_S = 0.1


class Replica:
    """All partitions' states, kept as far as the log is, and the bundle that the workers serve.

    Use as an async context manager around `run`. Everything happens on one event loop; `turn` is
    held while states change, and by whoever reads several things that must belong together.
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
        sources: Sequence[SourceSettings] = (),
        apply: int = 256,
        ready_lag: int = 1_000,
        experiments: ExperimentSettings | None = None,
    ) -> None:
        """Keep states and scratch files below `folder`; apply at most `apply` records at once."""
        self.log = log
        self.topics = topics
        self.tally = Tally()
        self.log_times = LogTimes()
        self.turn = asyncio.Lock()
        self.store = store
        self.state_settings = state
        self._clock_ms = clock_ms
        self._apply = apply
        self._ready_lag = ready_lag
        decoders = event_decoders(topics.events, sources, rules)
        self._events = tuple(decoders)
        self._keyed = (topics.users, topics.catalogue, *decoders)
        self.partitions = Partitions(
            folder / "state", state, self._keyed, Checkpoints(store), clock_ms
        )
        self.channels = Channels(
            store, folder / "bundles", encoder, clock_ms, experiments=experiments
        )
        self.models = self.channels.default
        nowhere = NoOutputs()
        self._catalog = Catalog(topics, self.partitions, nowhere, self.tally)
        self._ingest = Ingest(
            settings, topics, decoders, self.partitions, nowhere, self.tally, withdraw_nothing
        )
        self._held: dict[Place, Held] = {}
        self._caught_up = False
        self._uncommitted = 0

    async def __aenter__(self) -> "Replica":
        """Open every partition's state, from the newest checkpoint where that is further.

        Raises PositionError if the log does not hold what a state needs next.
        """
        held = await asyncio.to_thread(held_offsets, self.log, self._keyed)
        await asyncio.to_thread(self.partitions.open, sorted(held))
        self._held = dict(held)
        try:
            for place, part in held.items():
                part.start(self.partitions.position(*place), self.partitions.pass_over)
        except PositionError:
            self.partitions.close_all()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self.turn:
            for state in self.partitions.states.values():
                state.commit()
            self.partitions.close_all()

    async def run(self) -> None:
        """Follow events, catalogue, users and models for ever; raises what reading raises."""
        jobs = [
            asyncio.ensure_future(job)
            for job in (
                for_ever(self._follow_keyed, self._keyed[-1]),
                read_whole(self.log, self.topics.models, self.channels.announced),
                read_whole(self.log, self.topics.catalogue, self.channels.catalogue),
                self._commit_now_and_then(),
            )
        ]
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
        """Whether answers can be given: caught up, and a bundle loaded and warmed."""
        return self.caught_up and self.models.recommender is not None

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

    def position_of(self, user_id: str) -> tuple[int, int]:
        """Partition of a user and the next offset of the events topic there."""
        state = self.state_of(user_id)
        return state.partition, state.position(self.topics.events) or 0

    # Following

    async def _follow_keyed(self) -> None:
        states = self.partitions
        positions = {place: states.position(*place) or 0 for place in self._held}
        async for records in follow(self.log, positions, self._apply):
            topic, partition = records[0].topic, records[0].partition
            async with self.turn:
                if topic in self._events:
                    await self._ingest(records)
                    self.log_times.applied(records)
                elif topic == self.topics.catalogue:
                    await self._catalog.items(records)
                else:
                    await self._catalog.users(records)
                self._uncommitted += len(records)
                state = states[partition]
                if state.erasing or self._uncommitted >= COMMIT_RECORDS:
                    await self._commit()
            # Requests have their turn, however fast the log can be read.
            await asyncio.sleep(0)

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
        for state in self.partitions.states.values():
            if state.positions != state.committed or state.pending:
                erasing = state.erasing
                await _to_the_end(state.commit)
                if erasing:
                    await _to_the_end(state.compact_erased)


async def _to_the_end(work: Callable[[], object]) -> None:
    """Do something in another thread; whoever is cancelled meanwhile waits until it is done.

    Otherwise a state would be closed while it is being committed.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
