"""What follows from an erasure outside of the state: lists withdrawn, a receipt written."""

import asyncio
from collections.abc import Callable, Sequence

from agents.outputs import Outputs
from agents.partitions import Partitions
from agents.recommend import Recommend
from agents.settings import WorkerSettings
from state import Erased
from streams import HoldingCheckpoint, Receipt, Source, TopicSettings, encode, user_sha256

__all__ = ["Withdraw"]


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

    async def __call__(self, topic: str, partition: int, erased: Sequence[Erased]) -> None:
        """Withdraw the lists of users that were erased in one partition of the events topic."""
        now = self._clock_ms()
        older = await asyncio.to_thread(self._partitions.older_checkpoints, partition, topic)
        for offset, user, held in erased:
            self._recommend.withdraw(user)
            await self._outputs.send(self._topics.recommendations, user.encode(), None)
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

    async def again(self, users: Sequence[str]) -> None:
        """Withdraw users whose erasure is read again, as after a crash.

        Their events lie before it and were read again, too: lists may have been made of them.
        """
        for user in users:
            self._recommend.withdraw(user)
            await self._outputs.send(self._topics.recommendations, user.encode(), None)
