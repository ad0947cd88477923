"""Batches of one partition, and the positions between a seek and the handler that applies them.

What every transport on Kafka does the same way: where reading begins, which records are new, which
offsets hold none, and what a seek or a revocation makes void. ADR 4, 36 and 80.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from streams.log_watch import CheckLog
from streams.positions import Held, PassOver, Positions
from streams.record_columns import RecordColumns

__all__ = [
    "COMMIT_S", "HEARTBEAT_S", "POLL_RECORDS", "AskHeld", "Batch", "BatchHandler", "BatchReading",
    "Hooks", "OnPartitions", "Partitions", "PassEmpty", "Place", "Rewind", "cut",
]  # fmt: skip

HEARTBEAT_S = 0.5
"""Longest time between two heartbeats: their answers tell a member of a rebalance."""
# A commit that takes longer is given up: the next one, or that of the next owner, covers it.
COMMIT_S = 2.0
# Records that are made of fetched bytes at once. A compressed fetch can hold half a million, each
# of them 700 bytes as an object: without a limit a worker took 1.6 GB where it now takes half.
POLL_RECORDS = 8_192

Place = tuple[str, int]
"""Topic and partition."""
Partitions = set[Place]
OnPartitions = Callable[[Partitions], Awaitable[None]]

Rewind = Callable[[str, int], int]
"""(topic, partition) -> records before the store's position that are handed over again."""

PassEmpty = Callable[[str, int, int, int], Awaitable[bool]]
"""(topic, partition, first, end): no offset from `first` up to `end` holds a record to apply.

Returns whether the store has noted it; False if it has not yet applied all that lies before."""


class Batch(RecordColumns):
    """Records of one partition, in offset order, never empty.

    epoch: number of the seek after which they were read; a newer seek voids them.
    """

    __slots__ = ("epoch",)

    def __init__(self, records: RecordColumns, epoch: int) -> None:
        """Take over the records of one partition, at least one."""
        super().__init__(records.topic, records.partition, records.data, records.table)
        self.epoch = epoch

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.partition

    @property
    def next_offset(self) -> int:
        """The position after this batch."""
        return int(self.offsets[-1]) + 1


BatchHandler = Callable[[Batch], Awaitable[None]]
AskHeld = Callable[[Partitions], Awaitable[Collection[Held]]]
"""What the log holds of partitions, asked now."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What an app reads, and what its store is asked and told; see `streams.app.create_app`."""

    batched: Mapping[str, int]
    positions: Positions
    rewind: Rewind
    pass_over: PassOver
    pass_empty: PassEmpty
    check_log: CheckLog
    accept_gap: bool
    from_group: Collection[str]
    hold: Callable[[str], bool]
    on_assigned: OnPartitions
    on_revoked: OnPartitions


def cut(records: RecordColumns, most: int) -> Iterator[RecordColumns]:
    """Yield records in pieces of at most so many."""
    for start in range(0, len(records), most):
        yield records[start : start + most]


class BatchReading:
    """Next offsets of the partitions that are read, from one seek to the next.

    next: next offset to hand over, by partition; those that are not in it are not read.
    """

    def __init__(self, hooks: Hooks, ask_held: AskHeld) -> None:
        """Read no partition yet. ask_held: may be called at any time while partitions are read."""
        self._hooks = hooks
        self._ask_held = ask_held
        self._seeks = 0
        self._epochs: dict[Place, int] = {}
        self.next: dict[Place, int] = {}
        # First offset behind the last record handed over, where no record lies up to `next`.
        self._empty_from: dict[Place, int] = {}

    def epoch(self, place: Place) -> int | None:
        """Number of the seek since which a partition is read; None if it is not."""
        return self._epochs.get(place)

    def is_at(self, place: Place, epoch: int | None) -> bool:
        """Tell whether a partition is read and was not sought since `epoch`."""
        return epoch is not None and self._epochs.get(place) == epoch

    def is_current(self, batch: Batch) -> bool:
        """Tell whether a batch may be applied: its partition is held and was not sought since."""
        return self.is_at(batch.place, batch.epoch)

    def void(self, places: Iterable[Place] | None = None) -> None:
        """Declare void what was fetched of partitions (None: of all) and not yet applied."""
        for place in list(self._epochs if places is None else places):
            self._epochs.pop(place, None)
            self.next.pop(place, None)
            self._empty_from.pop(place, None)

    def begin(self, target: Mapping[Place, int]) -> None:
        """Note that partitions were sought to offsets; what was fetched of them before is void."""
        self.void(target)
        self._seeks += 1
        self._epochs |= dict.fromkeys(target, self._seeks)
        self.next |= target

    async def targets(
        self, places: Partitions, committed: Mapping[Place, int | None]
    ) -> dict[Place, int]:
        """Where reading begins: at the store's positions, or at `committed` for `from_group`.

        Raises PositionError when the log does not hold what a store needs next.
        """
        hooks, target = self._hooks, dict[Place, int]()
        for part in await self._ask_held(places):
            place = part.topic, part.partition
            if part.topic in hooks.from_group:
                target[place] = part.nearest(committed.get(place))
                continue
            position = part.start(
                hooks.positions(*place), hooks.pass_over, accept_gap=hooks.accept_gap
            )
            target[place] = max(position - hooks.rewind(*place), part.first)
        return target

    async def advance(self, records: RecordColumns, epoch: int) -> Batch | None:
        """Return the records that are new and go on behind them; None if there are none.

        Raises PositionError when the log has deleted records before they were read, or was created
        again.
        """
        place = records.topic, records.partition
        first = int(records.offsets[0])
        expected = self.next.get(place, first)
        if first != expected:
            if first < expected:
                # The client has begun again: the topic may be another one.
                await self._hooks.check_log()
            await self._check_jump(place)
        if not self.is_at(place, epoch):
            return None
        unseen = records[int(np.searchsorted(records.offsets, self.next[place])) :]
        if not unseen:
            return None
        batch = Batch(unseen, epoch)
        self.next[place] = batch.next_offset
        self._empty_from.pop(place, None)
        return batch

    async def pass_empty(
        self,
        reached: Mapping[Place, int],
        tell: Callable[[Place, int, int, int], Awaitable[bool]],
    ) -> None:
        """Have the store go on behind offsets that hold no record for it.

        reached: next offset to fetch, by partition, when all before it was handed over.
        tell:    (partition, first, end, epoch) -> whether the store has noted it.
        """
        epochs = dict(self._epochs)
        ahead = {
            place: offset
            for place, offset in reached.items()
            if offset > self.next.get(place, offset)
        }
        await self._check_jump(*ahead)
        for place, offset in ahead.items():
            if self.is_at(place, epochs.get(place)) and offset > self.next[place]:
                self._empty_from.setdefault(place, self.next[place])
                self.next[place] = offset
        for place, first in list(self._empty_from.items()):
            if not self.is_at(place, epochs.get(place)):
                continue
            epoch = epochs[place]
            if await tell(place, first, self.next[place], epoch) and self.is_at(place, epoch):
                self._empty_from.pop(place, None)

    async def _check_jump(self, *jumped: Place) -> None:
        """Tell offsets without records, which are harmless, from retention that was faster than us.

        The client answers an offset that is out of range by the earliest one there is, silently.
        A store without positions (the trainer has none) takes what comes.
        """
        from_group = self._hooks.from_group
        expected = {
            place: self.next[place]
            for place in jumped
            if place in self.next
            and (place[0] in from_group or self._hooks.positions(*place) is not None)
        }
        if not expected:
            return
        for held in await self._ask_held(set(expected)):
            place = held.topic, held.partition
            if held.topic not in from_group:
                held.check(expected[place])
            elif place in self.next:
                self.next[place] = held.nearest(expected[place])
