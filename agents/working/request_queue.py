"""Requests that wait for an answer, by partition and in the order of their offsets."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from agents.working.waiting import Touched
from streams import LogRecord

__all__ = ["Asked", "RequestQueue"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Lists to make for one user.

    lists:  names of the lists; empty means all.
    record: the request; None where an event is the reason.
    """

    touched: Touched
    lists: frozenset[str] = frozenset()
    record: LogRecord | None = None


class RequestQueue:
    """Requests that were read and not answered yet, and the positions that follow from them.

    A request stays in the queue until its answer is sent. `next_offset` is thus the offset from
    which a successor must read: every request below it was answered, refused or withdrawn.
    Positions become `flushed` after the flush of the outputs, and only these may be committed.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: dict[int, deque[Asked]] = {}
        self._read_to: dict[int, int] = {}
        self._flushed: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, partition: int, asked: Iterable[Asked], next_offset: int) -> None:
        """Append requests of one partition that was read up to `next_offset`."""
        self._waiting.setdefault(partition, deque()).extend(asked)
        self._read_to[partition] = next_offset

    def pass_empty(self, partition: int, first: int, end: int) -> bool:
        """Note that no offset from `first` up to `end` holds a request; False if `first` is ahead.

        Before the first read request, it is unknown whether others are before `first`.
        """
        read_to = self._read_to.get(partition)
        if read_to is None or read_to < first:
            return False
        self._read_to[partition] = max(read_to, end)
        return True

    def first(self, most: int, is_open: Callable[[int], bool]) -> list[Asked]:
        """Return the first requests of open partitions, at most `most`; they stay in the queue."""
        found: list[Asked] = []
        for partition, queue in self._waiting.items():
            if is_open(partition):
                for asked in queue:
                    if len(found) == most:
                        return found
                    found.append(asked)
        return found

    def answered(self, asked: Sequence[Asked]) -> set[int]:
        """Remove requests that `first` returned; returns their partitions."""
        changed = set()
        done = {id(one) for one in asked}
        for partition in {one.touched.partition for one in asked} & self._waiting.keys():
            queue = self._waiting[partition]
            while queue and id(queue[0]) in done:
                queue.popleft()
                changed.add(partition)
        # The next round starts with another partition.
        for partition in changed:
            self._waiting[partition] = self._waiting.pop(partition)
        return changed

    def next_offset(self, partition: int) -> int | None:
        """Offset of the first request without an answer; None if nothing was read."""
        queue = self._waiting.get(partition)
        return queue[0].touched.offset if queue else self._read_to.get(partition)

    def flush(self, next_offsets: Mapping[int, int]) -> None:
        """Note that what was sent for the requests below these offsets is stored."""
        self._flushed.update(next_offsets)

    @property
    def flushed(self) -> Mapping[int, int]:
        """Partition -> next offset that may be committed."""
        return self._flushed

    def withdraw(self, user: str) -> None:
        """Remove the requests of an erased user."""
        for partition, queue in self._waiting.items():
            if any(asked.touched.user_id == user for asked in queue):
                self._waiting[partition] = deque(a for a in queue if a.touched.user_id != user)

    def forget(self, partitions: Iterable[int]) -> None:
        """Remove everything about partitions that other workers read from now on."""
        for partition in partitions:
            for by_partition in (self._waiting, self._read_to, self._flushed):
                by_partition.pop(partition, None)
