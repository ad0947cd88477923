"""Effects of an erasure outside the state: withdraws lists, writes a receipt.

The receipt names the other places that can hold data of the user, and for how long.
"""

from collections.abc import Callable, Iterable, Sequence

from agents.erased import ErasedUsers
from agents.outputs import Outputs
from agents.patience import BRIEFLY, patiently
from agents.settings import WorkerSettings
from agents.working.leftovers import LEFTOVER_DAYS
from agents.working.partitions import Partitions
from state import Erased
from streams import (
    HoldingCheckpoint,
    HoldingCopy,
    PersonalTopic,
    Receipt,
    Source,
    TopicSettings,
    encode,
    user_sha256,
)

__all__ = ["Withdraw", "copies_of", "withdraw_nothing"]


def copies_of(topics: TopicSettings, sources: Iterable[PersonalTopic]) -> list[HoldingCopy]:
    """Return every place, as a receipt names it; docs/erasure.md says what each holds.

    Without a number of days: Segue does not remove it, or another event removes it.
    """
    days: dict[str, float | None] = {
        f"topic {topics.users}": topics.users_days,
        f"topic {topics.events}": topics.events_days,
        f"topic {topics.impressions}": topics.events_days,
        f"topic {topics.recommendations}": topics.recommendations_days,
        f"topic {topics.requests}": topics.requests_days,
        f"topic {topics.dead_letters}": topics.dead_letters_days,
        f"topic {topics.examples}": topics.events_days,
        f"topic {topics.receipts}": topics.receipts_days,
        f"topic {topics.rows}": None,
        f"topic {topics.erasures}": None,
        **{
            f"topic {source.topic}": None
            for source in sources
            if source.topic != topics.impressions
        },
        "workers: files of the partition's state, until its next checkpoint": None,
        "workers: local state of partitions that other workers hold": LEFTOVER_DAYS,
        "workers and consoles: state that was put aside "
        "(*.damaged, *.other-log, *.other-settings)": LEFTOVER_DAYS,
        "checkpoints of another log, until the partition's next checkpoint": None,
        "consoles that are not running": None,
        "replays": None,
        "trainers: replay buffer and checkpoints": None,
        "static and dynamic bundles": None,
        "items whose ids are texts": None,
    }
    return [HoldingCopy(place=place, days=found) for place, found in days.items()]


async def withdraw_nothing(
    topic: str, partition: int, users: Iterable[str], erased: Sequence[Erased]
) -> None:
    """Withdraw nothing: a replay or a replica has written nothing of the users who were erased."""


class Withdraw:
    """Withdraws the lists of erased users and writes their receipts.

    Call it after the state has erased them and before the commit: a crash in between repeats both
    and loses none.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        topics: TopicSettings,
        sources: Sequence[PersonalTopic],
        partitions: Partitions,
        withdraw: Callable[[str], None],
        outputs: Outputs,
        erased: ErasedUsers,
        clock_ms: Callable[[], int],
    ) -> None:
        """Read and write through the objects given.

        withdraw: called with each user; nothing may be written for it afterwards.
        """
        self._checkpoint_every_ms = int(settings.checkpoint_every_s * 1000)
        self._topics = topics
        self._sources = sources
        self._partitions = partitions
        self._withdraw = withdraw
        self._outputs = outputs
        self._erased = erased
        self._clock_ms = clock_ms

    async def __call__(
        self, topic: str, partition: int, users: Iterable[str], erased: Sequence[Erased]
    ) -> None:
        """Withdraw the lists of users; write receipts of erasures that were applied just now.

        An erasure that is read again withdraws again: the events before it were read again too.
        """
        for user in users:
            self._withdraw(user)
            await self._outputs.send(self._topics.recommendations, user.encode(), None)
        if not erased:
            return
        now = self._clock_ms()
        older = await patiently(
            lambda: self._partitions.older_checkpoints(partition, topic),
            "listing the checkpoints for a receipt", BRIEFLY,
        )  # fmt: skip
        for offset, user, held in erased:
            source = Source(topic=topic, partition=partition, offset=offset)
            known = self._erased.of(user)
            # Before the commit, and for good: the log may drop the erasure before the events that
            # it covers in other topics.
            await self._outputs.send(self._topics.erasures, known.key, encode(known))
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
                count_from=next((e.count_from for e in known.erasures if e.source == source), {}),
                copies=copies_of(self._topics, self._sources),
            )
            await self._outputs.send(self._topics.receipts, receipt.key, encode(receipt))
