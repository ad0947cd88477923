"""Applies catalogue entries and users to the state; the static job reads them from checkpoints."""

from collections.abc import Sequence

import msgspec

from agents.erased import ErasedUsers, logged_at
from agents.outputs import Outputs
from agents.working.partitions import States
from agents.working.tally import Tally
from state import LOGGED_AT
from streams import (
    DeadLetter,
    LogRecord,
    TopicSettings,
    User,
    decode_items,
    decode_users,
    encode,
)

__all__ = ["Catalog"]


class Catalog:
    """Applies batches of the catalogue and users topics to the partitions' states."""

    def __init__(
        self,
        topics: TopicSettings,
        partitions: States,
        outputs: Outputs,
        tally: Tally,
        erased: ErasedUsers,
    ) -> None:
        """Read and write through the objects given; attributes of erased users do not count."""
        self._topics = topics
        self._partitions = partitions
        self._outputs = outputs
        self._tally = tally
        self._erased = erased

    async def items(self, records: Sequence[LogRecord]) -> None:
        """Apply records of one partition of the catalogue."""
        batch, letters = decode_items(records)
        self._partitions[records[0].partition].apply_items(
            records[0].topic,
            [
                (offset, item.key, None if item.deleted else msgspec.json.encode(item))
                for offset, item in zip(batch.offset.tolist(), batch.records, strict=True)
            ],
            records[-1].offset + 1,
        )
        await self._refuse(letters)

    async def users(self, records: Sequence[LogRecord]) -> None:
        """Apply records of one partition of the users."""
        batch, letters = decode_users(records)
        by_offset = {record.offset: record for record in records}

        def stored(offset: int, user: User) -> bytes | None:
            record = by_offset[offset]
            gone = user.deleted or self._erased.covered(record, user.user_id)
            return None if gone else _attributes(user, logged_at(record))

        self._partitions[records[0].partition].apply_users(
            records[0].topic,
            [
                (offset, user.user_id, stored(offset, user))
                for offset, user in zip(batch.offset.tolist(), batch.records, strict=True)
            ],
            records[-1].offset + 1,
        )
        await self._refuse(self._erased.without(records, letters))

    async def _refuse(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            await self._outputs.send(self._topics.dead_letters, letter.key, encode(letter))
        self._tally.refused(letters)


def _attributes(user: User, at: int) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(user), LOGGED_AT: at})
