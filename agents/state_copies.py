"""Copies of the workers' states, which follow the log without outputs.

State is a pure function of a prefix of its partition: the same records and code give the same
state. The console answers from such copies; a worker's standby continues from them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from agents.catalog import Catalog
from agents.erased import ErasedUsers
from agents.erasure import withdraw_nothing
from agents.forgetting import drop_unread
from agents.ingest import Ingest
from agents.outputs import NoOutputs
from agents.settings import WorkerSettings
from agents.working.partitions import Partitions
from agents.working.tally import Tally
from state import Checkpoints, Erased, PartitionState, StateSettings
from streams import (
    EventRules,
    Held,
    LogRecord,
    PersonalTopic,
    TopicIdentity,
    TopicSettings,
    check_topology,
    event_decoders,
)
from streams.schema_wait import fetch_unknown

__all__ = ["StateCopies"]

Withdraw = Callable[[str, int, Iterable[str], Sequence[Erased]], Awaitable[None]]


class StateCopies:
    """Opens copies of partitions' states, applies records to them, commits them.

    It writes to no topic and to no checkpoint. All but `open` is called in the owner's turn.

    events: the topics of events. keyed: all topics whose records are applied.
    """

    def __init__(
        self,
        *,
        settings: WorkerSettings,
        state: StateSettings,
        topics: TopicSettings,
        rules: EventRules,
        sources: Sequence[PersonalTopic],
        checkpoints: Checkpoints,
        folder: Path,
        clock_ms: Callable[[], int],
        erased: ErasedUsers,
        tally: Tally,
        withdraw: Withdraw = withdraw_nothing,
    ) -> None:
        """Keep the states below `folder`.

        withdraw: told of the users whose erasures are applied; see `Ingest`.
        """
        self._topics, self._erased = topics, erased
        self._decoders = event_decoders(topics.events, sources, rules)
        self.events = tuple(self._decoders)
        self.keyed = (topics.users, topics.catalogue, *self._decoders)
        self.partitions = Partitions(folder, state, self.keyed, checkpoints, clock_ms)
        nowhere = NoOutputs()
        self._catalog = Catalog(topics, self.partitions, nowhere, tally, erased)
        self._ingest = Ingest(
            settings, topics, self._decoders, self.partitions, nowhere, tally, erased,
            withdraw, rules, clock_ms,
        )  # fmt: skip

    async def open(
        self,
        held: Mapping[tuple[str, int], Held],
        found: Mapping[str, TopicIdentity],
        *,
        begin_again: bool,
    ) -> None:
        """Open the states of partitions, from the newest checkpoint where that is further.

        held: what the log holds of them. found: the topics as they are now.
        begin_again: restore copies of another log from the store once more.
        Raises PositionError if the log does not hold what a state needs next, or is another one
        than the workers' states were made from; then the states of `held` stay open.
        """
        numbers = {number for _, number in held}
        await to_the_end(partial(self.partitions.open, sorted(held)))
        self.check_topology(found)
        if begin_again:
            begin = partial(self.partitions.begin_again, found, numbers, with_store=False)
            await to_the_end(begin)
        # Of these alone: records are applied to the others meanwhile, and some may be closed.
        await to_the_end(partial(self.partitions.note_log, found, numbers))
        for place, part in held.items():
            part.start(self.partitions.position(*place), self.partitions.pass_over)
        for number in numbers:
            await drop_unread(self._erased, self.partitions[number], self._decoders)
            await to_the_end(partial(self.partitions.compact_erased, number))

    def check_topology(self, found: Mapping[str, TopicIdentity]) -> None:
        """Raise LogChanged if topics have other numbers of partitions than the settings say."""
        check_topology(found, self._topics)

    async def prepare(self, records: Sequence[LogRecord]) -> None:
        """Read the schemas that records need; it needs no turn, and may take long.

        Raises SourceError where a schema registry does not answer.
        """
        await fetch_unknown(self._decoders.get(records[0].topic), records)

    async def apply(self, records: Sequence[LogRecord]) -> PartitionState:
        """Apply records of one partition of a keyed topic, after `prepare`; returns its state."""
        topic = records[0].topic
        if topic in self.events:
            await self._ingest(records)
        elif topic == self._topics.catalogue:
            await self._catalog.items(records)
        else:
            await self._catalog.users(records)
        return self.partitions[records[0].partition]

    async def commit(self, numbers: Collection[int] | None = None) -> None:
        """Commit the states that changed, of these partitions or all, in another thread.

        The bytes of users who were erased since the last commit are removed from this disk.
        """
        for number, state in list(self.partitions.states.items()):
            if numbers is not None and number not in numbers:
                continue
            if state.positions != state.committed or state.pending:
                await to_the_end(state.commit)
                if state.uncompacted:
                    await to_the_end(partial(self.partitions.compact_erased, number))


async def to_the_end(work: Callable[[], object]) -> None:
    """Run a function in another thread; a cancelled caller waits until it has finished.

    Otherwise a state would be closed while it is being committed.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
