"""Warm states of partitions that other workers own (docs/adr/0097-warm-standby.md).

A standby follows a partition as far as its owner has committed it and answered its users. So its
state is what an older checkpoint of the owner's would be: a worker that takes the partition over
reads on from there, and no output is missing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

import msgspec
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from agents.commits import BEHIND
from agents.erased import ErasedUsers
from agents.patience import Pause
from agents.settings import WorkerSettings
from agents.state_copies import StateCopies, to_the_end
from agents.working.partitions import Partitions
from state import DamagedState, WrongState
from streams import AdminError, Log, LogRecord, PositionError, TopicIdentity, held_offsets
from streams.broadcast import read_again
from streams.log_following import Place, follow
from streams.offsets import Committed
from streams.sources import SourceError

__all__ = ["Owners", "Standby", "followed_to"]

logger = logging.getLogger(__name__)

#: Between two looks at what the owners have committed.
LOOK_S = 0.5
#: Between a revocation, or the start, and the first opening of a state, unless partitions are
#: assigned before: most of them come back within a rebalance.
SETTLE_MS = 10_000
#: After a partition could not be followed, until it is tried again.
AGAIN_MS = 60_000
#: Records that are applied at once; the worker's own batches wait meanwhile.
APPLY = 1_024


class Owners(Protocol):
    """What a standby asks the broker, again and again."""

    async def topics_now(self, names: Iterable[str], /) -> Mapping[str, TopicIdentity]:
        """Return the topics as they are now; nothing if the broker does not answer."""

    async def committed(self, group: str, /) -> Mapping[Place, Committed]:
        """Return what the workers' group has committed. Raises AdminError."""


def followed_to(found: Mapping[Place, Committed], events: Collection[str]) -> dict[Place, int]:
    """Return by place the offset below which its owner has stored all outputs and answered.

    Owners of earlier versions do not note how far back unanswered users lie: then a place of a
    topic of events is left out.
    """
    ends = {}
    for place, (offset, note) in found.items():
        if place[0] not in events:
            ends[place] = offset
            continue
        with suppress(msgspec.DecodeError, KeyError):
            ends[place] = offset - msgspec.json.decode(note, type=dict[str, int])[BEHIND]
    return ends


class Standby:
    """Keeps states of the partitions that this worker does not own, in the worker's folder.

    It writes nothing but these states. A partition is followed while none of it is assigned:
    `release` closes its state before the worker opens it, `settled` and `left` say that partitions
    have come and gone. A partition that cannot be followed is logged and tried again later; it
    does not stop the worker.
    """

    def __init__(
        self,
        copies: StateCopies,
        owned: Partitions,
        settings: WorkerSettings,
        *,
        numbers: int,
        log: Log,
        erased: ErasedUsers,
        ticks_ms: Callable[[], int],
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Follow partitions 0 to `numbers` that are not among `owned`."""
        self._copies, self._owned, self._settings = copies, owned, settings
        self._numbers, self._log, self._erased = numbers, log, erased
        self._ticks_ms, self._pause = ticks_ms, pause
        self._turn = asyncio.Lock()
        self._ready: set[int] = set()
        self._taken: set[int] = set()
        self._opening: tuple[int, asyncio.Future[None]] | None = None
        self._not_before = ticks_ms() + SETTLE_MS
        self._again_at: dict[int, int] = {}
        self._ends: dict[Place, int] = {}
        self._changed = False
        self._committed_at = ticks_ms()
        self.begin_again = False

    # What the worker says

    async def release(self, numbers: Collection[int]) -> None:
        """Commit and close the states of partitions that the worker opens now."""
        self._taken.update(numbers)
        if self._opening is not None and self._opening[0] in numbers:
            await asyncio.wait({self._opening[1]})
        for number in self.followed & set(numbers):
            await self._guarded(number, partial(self._close, number))

    def settled(self) -> None:
        """Take note that the worker has opened what was assigned to it."""
        self._not_before = self._ticks_ms()

    def left(self, numbers: Collection[int]) -> None:
        """Take note that the worker has closed partitions: most of them may come back at once."""
        self._taken.difference_update(numbers)
        self._not_before = self._ticks_ms() + SETTLE_MS

    async def stop(self) -> None:
        """Commit and close every state."""
        await self.release(range(self._numbers))

    def close(self) -> None:
        """Close every state; uncommitted work is dropped."""
        self._ready.clear()
        self._copies.partitions.close_all()

    # What is known of it

    @property
    def followed(self) -> frozenset[int]:
        """Partitions whose state is open here, and ready to apply records."""
        return frozenset(self._ready)

    @property
    def in_use(self) -> frozenset[int]:
        """Partitions whose folder is used here: those that are followed, or being opened."""
        opening = {self._opening[0]} if self._opening is not None else set[int]()
        return self.followed | opening

    def lag(self) -> int:
        """Records that the owners have committed and answered, and that are not applied here."""
        partitions = self._copies.partitions
        return sum(
            max(0, end - (partitions.position(*place) or 0))
            for place, end in list(self._ends.items())
            if place[1] in self._ready and place[0] in self._copies.keyed
        )

    # Following

    async def run(self, owners: Owners) -> None:
        """Follow what the worker does not own, without end."""
        following = read_again(self._follow, "the standby's partitions", retried=(KafkaError,))
        jobs = [asyncio.ensure_future(job) for job in (following, self._look(owners))]
        try:
            await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def look(self, owners: Owners) -> None:
        """Ask how far the owners are, close states of other topics, open those that are missing."""
        found = await owners.topics_now(self._copies.keyed)
        if not found:
            return
        await self._check(found)
        committed = await owners.committed(self._settings.group)
        self._ends = followed_to(committed, self._copies.events)
        if self._committed_at + self._settings.commit_every_ms <= self._ticks_ms():
            await self._commit()
        for number in range(self._numbers):
            if self._is_wanted(number) and number not in self.followed:
                await self._open(number, found)

    async def _look(self, owners: Owners) -> None:
        known = True
        while True:
            try:
                await self.look(owners)
                known = True
            except AdminError as error:
                level = logging.WARNING if known else logging.DEBUG
                logger.log(level, "the standby does not know how far the owners are: %s", error)
                known = False
            await self._pause(LOOK_S)

    def _is_wanted(self, number: int) -> bool:
        now = self._ticks_ms()
        return (
            now >= self._not_before
            and now >= self._again_at.get(number, now)
            and number not in self._taken
            and number not in self._owned.states
        )

    async def _check(self, found: Mapping[str, TopicIdentity]) -> None:
        """Close all states if one was made from other topics than those of now."""
        async with self._turn:
            try:
                self._copies.check_topology(found)
                await to_the_end(partial(self._copies.partitions.note_log, found))
            except PositionError as error:
                for number in self.followed:
                    self._give_up(number, error)

    async def _open(self, number: int, found: Mapping[str, TopicIdentity]) -> None:
        async def opened() -> None:
            await self._erased.read()
            held = {
                place: part
                for place, part in (
                    await asyncio.to_thread(held_offsets, self._log, self._copies.keyed)
                ).items()
                if place[1] == number
            }
            await self._copies.open(held, found, begin_again=self.begin_again)
            self._ready.add(number)
            self._changed = True
            logger.info("the standby follows partition %d", number)

        opening = asyncio.ensure_future(self._guarded(number, opened))
        self._opening = number, opening
        try:
            await opening
        finally:
            self._opening = None

    async def _guarded(self, number: int, work: Callable[[], Awaitable[None]]) -> None:
        """Do something with a partition; if it cannot be followed, close it for a while."""
        try:
            await work()
        except (PositionError, WrongState, DamagedState, SourceError, OSError) as error:
            async with self._turn:
                self._give_up(number, error)
        except BaseException:
            self._drop(number)
            raise

    def _give_up(self, number: int, error: Exception) -> None:
        logger.error(
            "the standby does not follow partition %d, and tries again in %d s: %s",
            number, AGAIN_MS // 1000, error,
        )  # fmt: skip
        self._again_at[number] = self._ticks_ms() + AGAIN_MS
        self._drop(number)

    async def follow(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Apply what the owners have committed, until `ended`, or until states come and go."""
        self._changed = False
        partitions = self._copies.partitions
        positions = {
            (topic, number): partitions.position(topic, number) or 0
            for number in self.followed
            for topic in self._copies.keyed
        }
        reading = follow(
            self._log,
            positions,
            APPLY,
            self._pass_empty,
            below=self._below,
            ended=lambda: self._changed or ended(),
        )
        try:
            async for records in reading:
                await self._guarded(records[0].partition, partial(self._apply, records))
                # The worker's own batches have their turn.
                await asyncio.sleep(0)
        except OffsetOutOfRangeError:
            # The opening tells which of them the log no longer holds.
            async with self._turn:
                for number in self.followed:
                    self._drop(number)

    async def _follow(self) -> None:
        while True:
            await self.follow()

    async def _apply(self, records: Sequence[LogRecord]) -> None:
        number = records[0].partition
        await self._copies.prepare(records)
        async with self._turn:
            if self._changed or number not in self.followed:
                return
            state = await self._copies.apply(records)
            if state.erasing or state.pending > self._settings.commit_deltas:
                await self._commit_now(number)

    def _below(self, place: Place) -> int:
        return self._ends.get(place, 0) if place[1] in self.followed else 0

    async def _pass_empty(self, place: Place, first: int, end: int) -> None:
        async with self._turn:
            if not self._changed and place[1] in self.followed:
                self._copies.partitions[place[1]].pass_empty(place[0], first, end)

    # Commits

    async def _commit(self) -> None:
        for number in self.followed:
            await self._guarded(number, partial(self._commit_one, number))
        self._committed_at = self._ticks_ms()

    async def _commit_one(self, number: int) -> None:
        async with self._turn:
            if number in self.followed:
                await self._commit_now(number)

    async def _commit_now(self, number: int) -> None:
        self._note_answered(number)
        await self._copies.commit({number})

    def _note_answered(self, number: int) -> None:
        """Note that the users below the owner's mark are answered: none is to be read again."""
        state = self._copies.partitions[number]
        for topic in self._copies.events:
            end = self._ends.get((topic, number))
            if end is not None and (state.position(topic) or 0) <= end:
                state.set_behind(topic, 0)

    async def _close(self, number: int) -> None:
        async with self._turn:
            if number in self.followed:
                await self._commit_now(number)
                self._drop(number)

    def _drop(self, number: int) -> None:
        """Close a state; uncommitted work is dropped."""
        self._ready.discard(number)
        if number in self._copies.partitions.states:
            self._copies.partitions.close([(topic, number) for topic in self._copies.keyed])
            self._changed = True
