"""Queue of users who wait for an answer; each user at most once per interval."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

import msgspec

from streams import Context

__all__ = ["Touched", "TouchedUsers", "Waiting"]


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
    """Users of one batch whose histories changed, each once, as columns of equal length.

    offset, event_timestamp: of the last event of each user in the batch. context: of events that
    have one, by offset. first: offset of the first record of the batch: reading from there returns
    all of them.
    """

    topic: str
    partition: int
    user_id: Sequence[str]
    offset: Sequence[int]
    event_timestamp: Sequence[int]
    first: int = 0
    context: Mapping[int, Context] = {}


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
        # Partition -> (first offset, last offset of a user, users), the earliest batch first.
        self._batches: dict[tuple[str, int], deque[tuple[int, int, list[str]]]] = {}
        self._reason: dict[str, tuple[int, int, str, int, int, Context | None]] = {}
        # When each batch came, ms, with its users, the earliest first.
        self._came: deque[tuple[int, list[str]]] = deque()
        self.shed = 0
        # In the order of their news. A user stands here once for each batch with news; the last
        # place counts, and who is not in `_reason` any more waits no longer.
        self._order: deque[str] = deque()
        self._answered_at: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._reason)

    def add(self, touched: TouchedUsers, now: int = 0) -> None:
        """Note users whose history changed; now: ms, for `shed_older`."""
        reasons = zip(
            touched.offset,
            touched.event_timestamp,
            repeat(touched.topic),
            repeat(touched.partition),
            repeat(now),
            map(touched.context.get, touched.offset),
            strict=False,
        )
        self._reason.update(zip(touched.user_id, reasons, strict=False))
        self._order.extend(touched.user_id)
        if touched.user_id:
            self._came.append((now, list(touched.user_id)))
            batches = self._batches.setdefault((touched.topic, touched.partition), deque())
            batches.append((touched.first, max(touched.offset), list(touched.user_id)))
            while batches[0][1] < touched.first - self._backlog:
                batches.popleft()
        if len(self._order) > 2 * self._most:
            self._shorten()

    def first(self, topic: str, partition: int) -> int | None:
        """Offset from which a topic's partition holds all waiting users; None if no user waits.

        Not further back than the backlog. Looks at each user of a batch once, however often called.
        """
        batches = self._batches.get((topic, partition))
        while batches:
            first, last, users = batches[0]
            while users:
                reason = self._reason.get(users[-1])
                if reason and reason[2:4] == (topic, partition) and first <= reason[0] <= last:
                    return first
                users.pop()
            batches.popleft()
        return None

    def shed_older(self, came_ms: int) -> int:
        """Drop users whose last update is older than `came_ms`; returns their number."""
        dropped = 0
        while self._came and self._came[0][0] < came_ms:
            for user in self._came.popleft()[1]:
                reason = self._reason.get(user)
                if reason is not None and reason[4] < came_ms:
                    del self._reason[user]
                    dropped += 1
        self.shed += dropped
        return dropped

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop the users of partitions that other workers answer from now on."""
        gone = set(partitions)
        for place in [place for place in self._batches if place[1] in gone]:
            del self._batches[place]
        self._reason = {
            user: reason for user, reason in self._reason.items() if reason[3] not in gone
        }

    def withdraw(self, user: str) -> None:
        """Drop one user, as if there were neither updates nor answers."""
        self._reason.pop(user, None)
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
        if len(self._reason) > most:
            self._longest(due, now, most // 2)
        early: list[str] = []
        while self._order and len(due) < most:
            user = self._order.pop()
            if user in answered:
                early.append(user)
            elif user in self._reason:
                due.append(self._take(user, now))
        # Answered in this interval, perhaps just now: users with later events keep their places.
        self._order.extend(user for user in reversed(early) if user in self._reason)
        return due

    def _longest(self, due: list[Touched], now: int, most: int) -> None:
        """Take users who wait longest until there are `most`, unless they wait too long already."""
        early: list[str] = []
        while self._order and len(due) < most:
            user = self._order[0]
            reason = self._reason.get(user)
            if reason is not None and user not in self._answered_at:
                if reason[4] < now - self._fair_ms:
                    break
                due.append(self._take(user, now))
            elif reason is not None:
                early.append(user)
            self._order.popleft()
        self._order.extendleft(reversed(early))

    def _take(self, user: str, now: int) -> Touched:
        offset, timestamp, topic, partition, _, context = self._reason.pop(user)
        self._answered_at[user] = now
        return Touched(
            user_id=user,
            topic=topic,
            partition=partition,
            offset=offset,
            event_timestamp=timestamp,
            context=context,
        )

    def _shorten(self) -> None:
        """Keep the last place of each user, and drop those who have waited longest."""
        last_places = dict.fromkeys(reversed(self._order))
        waiting = [user for user in last_places if user in self._reason]
        for user in waiting[self._most :]:
            del self._reason[user]
            self.shed += 1
        self._order = deque(waiting[: self._most][::-1])
        latest = {user: reason[4] for user, reason in self._reason.items()}
        self._came = deque(
            (came, left)
            for came, users in self._came
            if (left := [user for user in users if latest.get(user) == came])
        )
