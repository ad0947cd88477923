"""What follows from an erasure outside of the state: lists withdrawn, a receipt written."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from agents.outputs import Outputs
from agents.recommend import Recommend
from agents.settings import WorkerSettings
from agents.working.partitions import Partitions
from state import Erased
from streams import HoldingCheckpoint, Receipt, Source, TopicSettings, encode, user_sha256

__all__ = ["Withdraw", "withdraw_nothing"]


async def withdraw_nothing(
    topic: str, partition: int, users: Iterable[str], erased: Sequence[Erased]
) -> None:
    """Withdraw nothing: a replay or a replica has written nothing of the users who were erased."""


class Withdraw:
    """Withdraws what was said of erased users and writes their receipts.

    To be called when the state has forgotten them, and before that is committed: a crash between
    the two repeats both and loses none.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        topics: TopicSettings,
        partitions: Partitions,
        recommend: Recommend,
        outputs: Outputs,
        clock_ms: Callable[[], int],
    ) -> None:
        """Read and write through the objects given."""
        self._checkpoint_every_ms = int(settings.checkpoint_every_s * 1000)
        self._topics = topics
        self._partitions = partitions
        self._recommend = recommend
        self._outputs = outputs
        self._clock_ms = clock_ms

    async def __call__(
        self, topic: str, partition: int, users: Iterable[str], erased: Sequence[Erased]
    ) -> None:
        """Withdraw the lists of users; write receipts of erasures that were applied just now.

        An erasure that is read again withdraws again: the events before it were read again too.
        """
        for user in users:
            self._recommend.withdraw(user)
            await self._outputs.send(self._topics.recommendations, user.encode(), None)
        if not erased:
            return
        now = self._clock_ms()
        older = await asyncio.to_thread(self._partitions.older_checkpoints, partition, topic)
        for offset, user, held in erased:
            source = Source(topic=topic, partition=partition, offset=offset)
            receipt = Receipt(
                user_sha256=user_sha256(source, user),
                source=source,
                position=offset + 1,
                held=held,
                checkpoints=[
                    HoldingCheckpoint(
                        name=name, pruned_by=now + checkpoints * self._checkpoint_every_ms
                    )
                    for name, position, checkpoints in older
                    if position <= offset
                ],
                created_at=now,
            )
            await self._outputs.send(self._topics.receipts, receipt.key, encode(receipt))
