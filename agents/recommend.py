"""Sends new lists to users whose history changed: at most one answer per user and interval."""

from collections.abc import Callable, Iterable

from agents.answers import Answers, UserBatch
from agents.settings import WorkerSettings
from agents.working.request_queue import Asked
from agents.working.tally import Tally
from agents.working.waiting import Touched, TouchedUsers, Waiting
from dynamic_layer.serving.batch import WITHOUT_HEAD

__all__ = ["Recommend"]


class Recommend:
    """Answers users whose history changed."""

    def __init__(
        self,
        settings: WorkerSettings,
        answers: Answers,
        tally: Tally,
        ticks_ms: Callable[[], int],
    ) -> None:
        """Read and write through the objects given; ticks_ms: monotonic time in ms."""
        self._settings = settings
        self._answers = answers
        self._tally = tally
        self._ticks_ms = ticks_ms
        self._waiting = Waiting(
            settings.waiting_users, settings.answer_every_ms, settings.answer_backlog,
            fair_ms=round(settings.answer_fair_s * 1000),
        )  # fmt: skip
        self._serving_since = ticks_ms()
        self._answering: list[Touched] = []
        self._fewer = 1

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def answering(self) -> bool:
        """Whether users were taken whose lists are not all written."""
        return bool(self._answering)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop the users of partitions that other workers answer from now on."""
        self._waiting.forget(partitions)

    def unanswered(self, topic: str, partition: int) -> int | None:
        """Offset from which a topic's partition holds all who are not answered, or None."""
        answering = [
            t.offset for t in self._answering if (t.topic, t.partition) == (topic, partition)
        ]
        waiting = self._waiting.first(topic, partition)
        return min(answering + ([] if waiting is None else [waiting]), default=None)

    def withdraw(self, user: str) -> None:
        """Drop an erased user from the queue."""
        self._waiting.withdraw(user)

    def touch(self, users: TouchedUsers) -> None:
        """Note users whose history changed."""
        self._waiting.add(users, self._ticks_ms())

    def take(self) -> UserBatch | None:
        """Read the users that are due, at most `answer_users`; None if there are none."""
        now = self._ticks_ms()
        if not self._answers.possible:
            self._serving_since = now
            return None
        # Time before the first bundle does not count as waiting.
        oldest = now - round(self._settings.answer_within_s * 1000)
        if oldest > self._serving_since:
            self._waiting.shed_older(oldest)
        self._tally.shed(self._waiting.shed)
        self._answering = self._waiting.due(now, self._settings.answer_users)
        self._fewer = _fewer(len(self._waiting), self._settings.head_waiting)
        if not self._answering:
            return None
        return self._answers.read([Asked(touched=touched) for touched in self._answering])

    async def answer(self, batch: UserBatch) -> None:
        """Write the lists of users that were taken."""
        if not await self._answers.write(batch, fewer=self._fewer):
            raise RuntimeError(
                "the current bundle is missing; a worker never drops its default one"
            )
        self._answering = []


def _fewer(waiting: int, many: int) -> int:
    """Return by what candidates are divided while so many users wait beside a round.

    WITHOUT_HEAD from four times `many` on: then a quarter of them does not suffice, and lists
    would be late by seconds.

    >>> [_fewer(waiting, 32) for waiting in (31, 32, 64, 127, 128)]
    [1, 2, 4, 4, 0]
    """
    if waiting >= 4 * many:
        return WITHOUT_HEAD
    return 1 if waiting < many else 2 if waiting < 2 * many else 4
