"""Users with news get new lists: at most one answer per user and interval."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from agents.bundles.channels import Channels, Served
from agents.outputs import Outputs
from agents.settings import WorkerSettings
from agents.working.partitions import Partitions, user_state
from agents.working.tally import Tally
from agents.working.tracing import Traces
from agents.working.waiting import Touched, TouchedUsers, Waiting
from dynamic_layer import ListSettings, Ranking, UserState, default_lists
from streams import (
    LogRecord,
    Recommendation,
    Source,
    TopicSettings,
    decode_requests,
    encode,
)
from streams.lists import listed_items
from streams.outbox import Headers, Outgoing

__all__ = ["Recommend"]


class _Making:
    """Lists that are being made, and the users who were erased in the meantime."""

    def __init__(self) -> None:
        self.withdrawn: set[str] = set()


class Recommend:
    """Answers users whose history changed, and requests."""

    def __init__(
        self,
        settings: WorkerSettings,
        topics: TopicSettings,
        partitions: Partitions,
        channels: Channels,
        outputs: Outputs,
        tally: Tally,
        clock_ms: Callable[[], int],
        traces: Traces | None = None,
    ) -> None:
        """Read and write through the objects given."""
        self._settings = settings
        self._topics = topics
        self._partitions = partitions
        self._channels = channels
        self._outputs = outputs
        self._tally = tally
        self._clock_ms = clock_ms
        self._traces = traces
        self._waiting = Waiting(
            settings.waiting_users, settings.answer_every_ms, settings.answer_backlog,
            fair_ms=round(settings.answer_fair_s * 1000),
        )  # fmt: skip
        self._serving_since = clock_ms()
        self._answering: list[Touched] = []
        self._hurry = False
        self._making: list[_Making] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop the users of partitions that are answered elsewhere from now on."""
        self._waiting.forget(partitions)

    def unanswered(self, topic: str, partition: int) -> int | None:
        """Offset from which a topic's partition holds all who are not answered, or None."""
        answering = [
            t.offset for t in self._answering if (t.topic, t.partition) == (topic, partition)
        ]
        waiting = self._waiting.first(topic, partition)
        return min(answering + ([] if waiting is None else [waiting]), default=None)

    def withdraw(self, user: str) -> None:
        """Drop a user who was erased: waiting, answered, or with lists that are being made."""
        self._waiting.withdraw(user)
        if self._traces is not None:
            self._traces.withdraw(user)
        for making in self._making:
            making.withdrawn.add(user)

    def touch(self, users: TouchedUsers) -> None:
        """Note users whose history changed."""
        self._waiting.add(users, self._clock_ms())

    def take(self) -> list[tuple[Touched, UserState]]:
        """Take the users that are due, at most `answer_users`, with what is known of them now."""
        now = self._clock_ms()
        if self._channels.default.recommender is None:
            self._serving_since = now
            return []
        # Nobody is blamed for the time in which there was nothing to serve.
        oldest = now - round(self._settings.answer_within_s * 1000)
        if oldest > self._serving_since:
            self._waiting.shed_older(oldest)
        self._tally.shed(self._waiting.shed)
        self._answering = self._waiting.due(now, self._settings.answer_users)
        self._hurry = len(self._waiting) >= self._settings.head_waiting
        return [(touched, self._state(touched)) for touched in self._answering]

    async def answer(self, taken: Sequence[tuple[Touched, UserState]]) -> None:
        """Write the lists of users that were taken."""
        with self._withdrawable() as making:
            await self._answer(
                making, [state for _, state in taken], [t for t, _ in taken], hurry=self._hurry
            )
        self._answering = []

    async def requests(
        self, records: Sequence[LogRecord]
    ) -> list[tuple[Touched, UserState, frozenset[str]]]:
        """Read requests; returns who asks for which lists (none named: all).

        A user without history gets the popularity of the market.
        """
        batch, letters = decode_requests(records)
        for letter in letters:
            await self._outputs.send(self._topics.dead_letters, letter.key, encode(letter))
        self._tally.refused(letters)
        asked = []
        for request, offset in zip(batch.records, batch.offset.tolist(), strict=True):
            touched = Touched(
                user_id=request.user_id,
                topic=records[0].topic,
                partition=records[0].partition,
                offset=offset,
                event_timestamp=self._clock_ms(),
            )
            asked.append((touched, self._state(touched), frozenset(request.lists or ())))
        return asked

    async def answer_requests(
        self, asked: Sequence[tuple[Touched, UserState, frozenset[str]]]
    ) -> None:
        """Write the lists that were asked for."""
        with self._withdrawable() as making:
            for start in range(0, len(asked), self._settings.answer_users):
                part = asked[start : start + self._settings.answer_users]
                await self._answer(
                    making, [s for _, s, _ in part], [t for t, _, _ in part], [w for *_, w in part]
                )

    def _state(self, touched: Touched) -> UserState:
        # Requests are keyed by user too, so that they come to the partition of the history.
        return user_state(self._partitions[touched.partition], touched.user_id)

    @contextmanager
    def _withdrawable(self) -> "Iterator[_Making]":
        """Learn of users who are erased while their lists are being made.

        To be entered before anything is awaited after their states were read.
        """
        making = _Making()
        self._making.append(making)
        try:
            yield making
        finally:
            self._making.remove(making)

    async def _answer(
        self,
        making: "_Making",
        users: Sequence[UserState],
        touched: Sequence[Touched],
        wanted: Sequence[frozenset[str]] | None = None,
        *,
        hurry: bool = False,
    ) -> None:
        if self._traces is None:
            return await self._write(making, users, touched, wanted, {}, hurry=hurry)
        with self._traces.answering([because.user_id for because in touched]) as headers:
            return await self._write(making, users, touched, wanted, headers, hurry=hurry)

    async def _write(
        self,
        making: "_Making",
        users: Sequence[UserState],
        touched: Sequence[Touched],
        wanted: Sequence[frozenset[str]] | None,
        headers: Mapping[str, Headers],
        *,
        hurry: bool,
    ) -> None:
        if not users:
            return
        now = self._clock_ms()
        found = await self._channels.recommend(users, self.lists, now, hurry=hurry)
        if found is None:
            return
        self._tally.hurried(Counter(served.arm for served in found if served.without_head))
        records: list[Outgoing] = []
        by_arm: Counter[str] = Counter()
        for place, (because, served) in enumerate(zip(touched, found, strict=True)):
            names = wanted[place] if wanted else None
            if because.user_id in making.withdrawn:
                continue
            for name, ranking in served.rankings.items():
                if names and name not in names:
                    continue
                record = self._record(because, name, ranking, served)
                records.append(Outgoing(record.key, encode(record), headers.get(because.user_id)))
                if served.arm is not None:
                    by_arm[served.arm] += 1
        # Whoever is erased from here on has the end of his lists sent after these.
        await self._outputs.send_many(self._topics.recommendations, records)
        self._tally.answered(len(records), by_arm)

    def lists(self, types: Sequence[str]) -> Sequence[ListSettings]:
        """Return the lists that are made."""
        return self._settings.lists or default_lists(types, self._settings.list_length)

    def _record(
        self, because: Touched, name: str, ranking: Ranking, served: Served
    ) -> Recommendation:
        return Recommendation(
            user_id=because.user_id,
            list=name,
            items=listed_items(ranking.names, ranking.rows, ranking.scores.tolist()),
            generation=served.generation,
            arm=served.arm,
            by_head=ranking.by_head,
            source=Source(topic=because.topic, partition=because.partition, offset=because.offset),
            event_timestamp=because.event_timestamp,
            created_at=self._clock_ms(),
        )
