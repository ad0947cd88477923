"""Commits of a worker's partitions, and what is stored before them."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from agents.demand import news_of_demand
from agents.outputs import Outputs
from agents.recommend import Recommend
from agents.requests import Requests
from agents.settings import WorkerSettings
from agents.working.partitions import Partitions
from streams import TopicSettings

__all__ = ["BEHIND", "Commits", "LastPositions"]

#: Name of the number of records before a committed position whose users are not all answered, the
#: greatest of the topics of events: a standby does not go beyond it.
BEHIND = "behind"
#: Time after which counts of earlier days are told to others; those of today are with each commit.
TELL_EVERY_MS = 60_000


class LastPositions(NamedTuple):
    """Where partitions ended: as `Worker.positions` and `Worker.counts`."""

    positions: dict[tuple[str, int], int]
    counts: dict[int, dict[str, int]]


class Commits:
    """Commits partitions once the outputs of what they applied are stored.

    A commit also notes how far back the users lie who still wait for an answer. read_to: next
    offset that the worker has to read, by (topic, partition) of events.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        topics: TopicSettings,
        partitions: Partitions,
        recommend: Recommend,
        requests: Requests,
        outputs: Outputs,
        ticks_ms: Callable[[], int],
        event_topics: Collection[str],
    ) -> None:
        """event_topics: whose users are answered. All calls are made in the worker's turn."""
        self._settings, self._topics, self._partitions = settings, topics, partitions
        self._recommend, self._requests, self._outputs = recommend, requests, outputs
        self._ticks_ms, self._event_topics = ticks_ms, event_topics
        self.read_to: dict[tuple[str, int], int] = {}
        self._committed_at: dict[int, int] = {}
        self._handled_at: dict[int, int] = {}
        self._told_at: dict[int, int] = {}
        self._counts: dict[int, dict[str, int]] = {}

    def opened(self, partition: int, now: int) -> None:
        """Take note that a partition was opened."""
        self._committed_at[partition] = now
        self._counts[partition] = self._noted(partition)
        for topic in self._event_topics:
            position = self._partitions.position(topic, partition) or 0
            self.read_to[topic, partition] = position - self._partitions.rewind(topic, partition)

    def closed(self, partition: int) -> None:
        """Forget a partition."""
        del self._counts[partition]

    def handled(self, partition: int) -> None:
        """Take note that there is something to commit."""
        self._handled_at[partition] = self._ticks_ms()

    @property
    def counts(self) -> Mapping[int, dict[str, int]]:
        """Events applied, records refused and `BEHIND` by partition, as of the last commit."""
        return self._counts

    def _noted(self, number: int) -> dict[str, int]:
        """What the group's offsets of a partition say beside them, at a commit."""
        state = self._partitions[number]
        behind = max(self._partitions.rewind(topic, number) for topic in self._event_topics)
        return {**state.counts, BEHIND: behind}

    def due(self, now: int) -> set[int]:
        """Open partitions to commit: the last commit is long ago, or nothing more comes."""
        settings = self._settings
        return {
            number
            # A copy: partitions are opened in another thread.
            for number in list(self._partitions.states)
            if now - self._committed_at.get(number, now) >= settings.commit_every_ms
            or (
                number in self._handled_at
                and now - self._handled_at[number] >= settings.commit_quiet_ms
            )
        }

    async def commit(self, numbers: set[int], *, all_of_it: bool = False) -> None:
        """Store outputs, then commit; all_of_it: tell others all counts of demand."""
        # Before the flush: an answer that is sent while it lasts may not be safe after it.
        changed = {number for number in numbers if self._note_unanswered(number)}
        answered = self._requests.next_offsets(numbers)
        for number in numbers:
            await self._tell_demand(number, all_of_it=all_of_it)
        if numbers:
            await self._outputs.flush()
        self._requests.flushed(answered)
        for number in numbers:
            state = self._partitions.states[number]
            if number in changed or state.positions != state.committed or state.telling:
                state.commit()
            self._counts[number] = self._noted(number)
            self._committed_at[number] = self._ticks_ms()
            self._handled_at.pop(number, None)

    async def _tell_demand(self, number: int, *, all_of_it: bool) -> None:
        now = self._ticks_ms()
        if now - self._told_at.setdefault(number, now) >= TELL_EVERY_MS:
            all_of_it = True
        if all_of_it:
            self._told_at[number] = now
        for key, value in news_of_demand(self._partitions.states[number], all_of_it=all_of_it):
            await self._outputs.send(self._topics.demand, key, value)

    def _note_unanswered(self, number: int) -> bool:
        """Record in a state how far back the waiting users are; returns whether that changed."""
        state, news = self._partitions.states[number], False
        for topic in self._event_topics:
            position, first = state.position(topic) or 0, self.read_to[topic, number]
            waiting = self._recommend.unanswered(topic, number)
            if waiting is not None:
                first = min(waiting, first)
            behind = min(position - first, self._settings.answer_backlog)
            news = state.set_behind(topic, behind) or news
        return news
