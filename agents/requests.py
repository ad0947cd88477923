"""Requests for lists: read in batches, answered in order, without loss."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from agents.answers import Answers, UserBatch
from agents.outputs import Outputs
from agents.settings import WorkerSettings
from agents.working.request_queue import Asked, RequestQueue
from agents.working.tally import Tally
from agents.working.waiting import Touched
from streams import LogRecord, TopicSettings, decode_requests, encode

__all__ = ["Requests"]


class Requests:
    """Answers requests in the order of their offsets.

    A request waits until there is a bundle and the state of its partition is open, without a time
    limit. It is not dropped. Its offset may be committed once its answer is stored.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        topics: TopicSettings,
        answers: Answers,
        outputs: Outputs,
        tally: Tally,
        clock_ms: Callable[[], int],
    ) -> None:
        """Read and write through the objects given."""
        self._settings = settings
        self._topics = topics
        self._answers = answers
        self._outputs = outputs
        self._tally = tally
        self._clock_ms = clock_ms
        self._queue = RequestQueue()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether further requests are to stay in the log for now."""
        return len(self._queue) >= self._settings.waiting_requests

    async def add(self, records: Sequence[LogRecord]) -> None:
        """Queue requests of one partition; those that cannot be read become dead letters."""
        topic, partition = records[0].topic, records[0].partition
        batch, letters = decode_requests(records)
        for letter in letters:
            await self._outputs.send(self._topics.dead_letters, letter.key, encode(letter))
        self._tally.refused(letters)
        by_offset = {record.offset: record for record in records}
        now = self._clock_ms()
        asked = [
            Asked(
                touched=Touched(
                    user_id=request.user_id,
                    topic=topic,
                    partition=partition,
                    offset=offset,
                    event_timestamp=now,
                    context=request.context,
                ),
                lists=frozenset(request.lists or ()),
                record=by_offset[offset],
            )
            for request, offset in zip(batch.records, batch.offset.tolist(), strict=True)
        ]
        self._queue.add(partition, asked, records[-1].offset + 1)

    def pass_empty(self, partition: int, first: int, end: int) -> bool:
        """Go on at `end`: no offset from `first` up to it holds a request.

        Returns False while what lies before `first` was not read.
        """
        return self._queue.pass_empty(partition, first, end)

    def take(self, open_partitions: Collection[int]) -> UserBatch | None:
        """Read the users of the next requests, at most `answer_users`; None if there are none."""
        if not self._answers.possible:
            return None
        asked = self._queue.first(self._settings.answer_users, open_partitions.__contains__)
        return self._answers.read(asked) if asked else None

    async def answer(self, batch: UserBatch) -> set[int]:
        """Answer requests that were taken; returns the partitions that went on."""
        if not await self._answers.write(batch):
            return set()
        return self._queue.answered([*batch.asked, *(asked for asked, _ in batch.failed)])

    def next_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Partition -> offset of the first request without an answer, where any was read."""
        found = {number: self._queue.next_offset(number) for number in partitions}
        return {number: offset for number, offset in found.items() if offset is not None}

    def flushed(self, next_offsets: Mapping[int, int]) -> None:
        """Note that the answers to the requests below these offsets are stored."""
        self._queue.flush(next_offsets)

    def positions(self) -> dict[tuple[str, int], int]:
        """Next offsets that may be committed, by (topic, partition)."""
        return {(self._topics.requests, n): at for n, at in self._queue.flushed.items()}

    def withdraw(self, user: str) -> None:
        """Drop the requests of an erased user."""
        self._queue.withdraw(user)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop the requests of partitions that other workers read from now on."""
        self._queue.forget(partitions)
