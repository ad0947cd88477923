"""Erasures of users: writes erasure records and follows the receipts."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence

from console.replica import Replica
from console.writers import Writer
from streams import LogRecord, Receipt, Source, erasure_value, readable
from streams.log_following import read_whole

__all__ = ["Erasures"]

logger = logging.getLogger(__name__)

#: Newest receipts of each partition that are kept to be shown.
RECEIPTS = 1_000


class Erasures:
    """Writes requested erasures, and knows their receipts."""

    def __init__(self, replica: Replica, writer: Writer) -> None:
        """Write through `writer`; `run` follows the receipts."""
        self._replica = replica
        self._writer = writer
        self._receipts: OrderedDict[bytes, Receipt] = OrderedDict()

    async def run(self) -> None:
        """Follow the receipts continuously."""
        topic = self._replica.topics.receipts
        await read_whole(self._replica.log, topic, self.receipts_came, newest=RECEIPTS)

    async def receipts_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the receipts topic."""
        for record, receipt in readable(Receipt, records):
            if record.key is not None:
                self._receipts[record.key] = receipt
        while len(self._receipts) > RECEIPTS * self._replica.topics.partitions:
            self._receipts.popitem(last=False)

    async def erase(self, user_id: str, by: str) -> tuple[Source, Source]:
        """Ask for a user's erasure; returns the places of both records: attributes, events.

        Attributes first: from the receipt on neither is there.
        """
        replica = self._replica
        topics, key = replica.topics, user_id.encode()
        value = await asyncio.to_thread(erasure_value, replica.log, user_id, replica.sources)
        attributes = await self._writer.append(topics.users, key, None)
        events = await self._writer.append(topics.events, key, value)
        # Not whom: the log outlives the erasure.
        logger.info("an erasure was requested by %s: %s", by, events.place.decode())
        return attributes, events

    def receipt(self, source: Source) -> Receipt | None:
        """The receipt of an erasure, once a worker has written it."""
        return self._receipts.get(source.place)

    def applied(self, source: Source) -> bool:
        """Whether this console's own replica is beyond a place."""
        at = self._replica.partitions.position(source.topic, source.partition)
        return at is not None and at > source.offset
