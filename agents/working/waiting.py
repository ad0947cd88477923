"""Queue of users who wait for an answer; each user at most once per interval."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from state.kernel import I64
from state.names import NameTable, utf8_of
from streams import Context

__all__ = ["Touched", "TouchedUsers", "Waiting"]


#: What is known of a user: whether it waits, and its last event; when that came, ms.
_ROW = np.dtype(
    [
        ("offset", np.int64),
        ("timestamp", np.int64),
        ("came", np.int64),
        ("row", np.int64),
        ("place", np.int32),
        ("waits", np.bool_),
    ],
    align=True,
)
#: Users of a batch that are looked at together.
_LOOK = 256


class Touched(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user who waits for an answer, and the record that is the reason.

    event_timestamp: ms UTC of the event; of a request, when it was read.
    context: of the record.
    """

    user_id: str
    topic: str
    partition: int
    offset: int
    event_timestamp: int
    context: Context | None = None


class TouchedUsers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Users of one batch whose histories changed, a row an event, as columns of equal length.

    A user may stand in several rows; the last one counts. offset, event_timestamp: int64 [n].
    context: of events that have one, by offset. first: offset of the first record of the batch:
    reading from there returns all of them.
    """

    topic: str
    partition: int
    user_id: Sequence[str]
    offset: I64
    event_timestamp: I64
    first: int = 0
    context: Mapping[int, Context] = {}


class _Batch(msgspec.Struct, gc=False):
    """Users of one batch, as numbers; offsets of the first record and of the last event."""

    first: int
    last: int
    users: I64


class Waiting:
    """Users that wait. Adding a batch costs a few column operations, independent of its size.

    The most recently updated users are answered first, so that a backlog (a restart, a history read
    at full speed) never delays active users. While the backlog is short, half of a round goes to
    those who wait longest: otherwise a few would never be answered at full load. Users who have
    waited too long are dropped and counted.

    shed: users who were dropped, by number or by age.
    """

    def __init__(self, most: int, every_ms: int, backlog: int = 20_000, fair_ms: int = 0) -> None:
        """most: maximum number of waiting users; beyond it, the longest-waiting are dropped.
        every_ms: interval.

        backlog: records of a partition within which `first` looks for users.
        fair_ms: while no user's update is older, half of a round is for the users who wait longest.
        """
        self._fair_ms = fair_ms
        self._most = most
        self._every_ms = every_ms
        self._backlog = backlog
        self._places: dict[tuple[str, int], int] = {}
        # The batches of each place, the earliest first.
        self._batches: dict[int, deque[_Batch]] = {}
        # Users have numbers; a row for each.
        self._names = NameTable()
        self._rows = np.zeros(1024, _ROW)
        self._contexts: dict[int, Context] = {}
        self._count = 0
        # When each batch came, ms, with its users, the earliest first.
        self._came: deque[tuple[int, I64]] = deque()
        self.shed = 0
        # In the order of their news: order[begin:end]. A user stands here once for each batch with
        # news; the last place counts, and who does not wait any more is passed over.
        self._order = np.zeros(1024, np.int64)
        self._begin = self._end = 0
        self._answered_at: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def add(self, touched: TouchedUsers, now: int = 0) -> None:
        """Note users whose history changed; now: ms, for `shed_older`."""
        if not len(touched.user_id):
            return
        users = self._names.numbers(utf8_of(touched.user_id))
        while len(self._names) > len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        rows = self._rows
        last = _last_rows(rows["row"], users)
        users, offset = users[last], np.asarray(touched.offset, np.int64)[last]
        place = self._places.setdefault((touched.topic, touched.partition), len(self._places))
        self._count += len(users) - int(np.count_nonzero(rows["waits"][users]))
        rows["waits"][users] = True
        rows["offset"][users] = offset
        rows["timestamp"][users] = np.asarray(touched.event_timestamp, np.int64)[last]
        rows["place"][users], rows["came"][users] = place, now
        if touched.context or self._contexts:
            for user, at in zip(users.tolist(), offset.tolist(), strict=True):
                self._contexts.pop(user, None)
                if at in touched.context:
                    self._contexts[user] = touched.context[at]
        self._extend(users)
        self._came.append((now, users))
        batches = self._batches.setdefault(place, deque())
        batches.append(_Batch(touched.first, int(offset.max()), users))
        while batches[0].last < touched.first - self._backlog:
            batches.popleft()
        if max(self._end - self._begin, len(self._names)) > 2 * self._most:
            self._shorten()

    def first(self, topic: str, partition: int) -> int | None:
        """Offset from which a topic's partition holds all waiting users; None if no user waits.

        Not further back than the backlog. Looks at each user of a batch once, however often called.
        """
        place = self._places.get((topic, partition), -1)
        batches = self._batches.get(place)
        while batches:
            batch = batches[0]
            # From the end: a user who waits is found after few rows.
            users = batch.users[-_LOOK:]
            offset = self._rows["offset"][users]
            waits = self._rows["waits"][users] & (self._rows["place"][users] == place)
            if (waits & (batch.first <= offset) & (offset <= batch.last)).any():
                return batch.first
            batch.users = batch.users[:-_LOOK]
            if not len(batch.users):
                batches.popleft()
        return None

    def shed_older(self, came_ms: int) -> int:
        """Drop users whose last update is older than `came_ms`; returns their number."""
        dropped = 0
        while self._came and self._came[0][0] < came_ms:
            _, users = self._came.popleft()
            old = users[self._rows["waits"][users] & (self._rows["came"][users] < came_ms)]
            dropped += self._drop(old)
        self.shed += dropped
        return dropped

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop the users of partitions that other workers answer from now on."""
        gone = set(partitions)
        for (_, partition), place in self._places.items():
            if partition in gone:
                self._batches.pop(place, None)
                rows = self._rows[: len(self._names)]
                self._drop(np.flatnonzero(rows["waits"] & (rows["place"] == place)))

    def withdraw(self, user: str) -> None:
        """Drop one user, as if there were neither updates nor answers."""
        number = self._names.find(user)
        if number is not None and self._rows["waits"][number]:
            self._drop(np.array([number]))
        self._answered_at.pop(user, None)

    def due(self, now: int, most: int) -> list[Touched]:
        """Take users who may be answered at `now` (ms), `most` of them.

        The most recently updated users come first; in a full round, those who wait longest come
        before them.
        """
        answered = self._answered_at
        while answered and next(iter(answered.values())) <= now - self._every_ms:
            answered.popitem(last=False)
        due: list[Touched] = []
        if self._count > most:
            self._longest(due, now, most // 2)
        early: list[int] = []
        while self._end > self._begin and len(due) < most:
            self._end -= 1
            number = int(self._order[self._end])
            if self._rows["waits"][number]:
                user = self._names.name(number).decode()
                if user in answered:
                    early.append(number)
                else:
                    due.append(self._take(number, user, now))
        # Answered in this interval, perhaps just now: users with later events keep their places.
        early = [number for number in reversed(early) if self._rows["waits"][number]]
        self._extend(np.array(early, np.int64))
        return due

    def _longest(self, due: list[Touched], now: int, most: int) -> None:
        """Take users who wait longest until there are `most`, unless they wait too long already."""
        early: list[int] = []
        while self._end > self._begin and len(due) < most:
            number = int(self._order[self._begin])
            if self._rows["waits"][number]:
                user = self._names.name(number).decode()
                if user in self._answered_at:
                    early.append(number)
                elif self._rows["came"][number] < now - self._fair_ms:
                    break
                else:
                    due.append(self._take(number, user, now))
            self._begin += 1
        # They go where they were: so many places before the first are free.
        self._begin -= len(early)
        self._order[self._begin : self._begin + len(early)] = early

    def _take(self, number: int, user: str, now: int) -> Touched:
        row = self._rows[number]
        self._drop(np.array([number]))
        self._answered_at[user] = now
        topic, partition = list(self._places)[row["place"]]
        return Touched(
            user_id=user,
            topic=topic,
            partition=partition,
            offset=int(row["offset"]),
            event_timestamp=int(row["timestamp"]),
            context=self._contexts.pop(number, None),
        )

    def _drop(self, users: I64) -> int:
        """Let users, all of whom wait, wait no longer; returns their number."""
        self._rows["waits"][users] = False
        self._count -= len(users)
        return len(users)

    def _extend(self, users: I64) -> None:
        """Put users behind the others."""
        end = self._end + len(users)
        if end > len(self._order):
            used = self._order[self._begin : self._end]
            self._order = np.concatenate([used, np.zeros(len(used) + len(users), np.int64)])
            self._begin, self._end, end = 0, len(used), len(used) + len(users)
        self._order[self._end : end] = users
        self._end = end

    def _shorten(self) -> None:
        """Keep the last place of each user, and drop those who have waited longest.

        Users who wait have new numbers, from 0 on; of others nothing is kept.
        """
        rows = self._rows
        order = self._order[self._begin : self._end]
        order = order[rows["waits"][order]]
        order = order[_last_rows(rows["row"], order)]
        self.shed += self._drop(order[: -self._most])
        order = order[-self._most :]
        names, self._names = self._names, NameTable()
        number = np.full(len(rows), -1, np.int64)
        number[order] = self._names.numbers(names.utf8(order))
        self._rows = np.concatenate([rows[order], np.zeros(max(len(order), 1024), _ROW)])
        self._order, self._begin, self._end = np.arange(len(order)), 0, len(order)
        self._contexts = {
            int(number[user]): context
            for user, context in self._contexts.items()
            if number[user] >= 0
        }
        for batches in self._batches.values():
            for batch in batches:
                batch.users = number[batch.users][number[batch.users] >= 0]
        self._came = deque(
            (came, number[left])
            for came, users in self._came
            if len(left := users[rows["waits"][users] & (rows["came"][users] == came)])
        )


def _last_rows(scratch: NDArray[np.int64], numbers: I64) -> I64:
    """Return the rows, ascending, in which each number stands last; scratch: by number."""
    rows = np.arange(len(numbers))
    scratch[numbers] = rows  # of equal numbers the last assignment stays
    return np.flatnonzero(scratch[numbers] == rows)
