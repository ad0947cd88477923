"""Users are erased by records, and receipts say what came of it."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

from console.following import read_whole
from console.replica import Replica
from console.writers import Writer
from streams import LogRecord, Receipt, Source, decode

__all__ = ["Erasures"]

logger = logging.getLogger(__name__)

#: Newest receipts of each partition that are kept to be shown.
RECEIPTS = 1_000


class Erasures:
    """Writes the erasures that people ask for, and knows what came of them."""

    def __init__(self, replica: Replica, writer: Writer) -> None:
        """Write through `writer`; `run` follows the receipts."""
        self._replica = replica
        self._writer = writer
        self._receipts: OrderedDict[bytes, Receipt] = OrderedDict()

    async def run(self) -> None:
        """Follow the receipts for ever."""
        topic = self._replica.topics.receipts
        await read_whole(self._replica.log, topic, self.receipts_came, newest=RECEIPTS)

    async def receipts_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the receipts topic."""
        for record in records:
            if record.value is not None and record.key is not None:
                self._receipts[record.key] = decode(Receipt, record.value)
        while len(self._receipts) > RECEIPTS * self._replica.topics.partitions:
            self._receipts.popitem(last=False)

    async def erase(self, user_id: str, by: str) -> tuple[Source, Source]:
        """Ask for a user's erasure; returns the places of both records: attributes, events.

        Attributes first: from the receipt on neither is there.
        """
        topics, key = self._replica.topics, user_id.encode()
        attributes = await self._writer.append(topics.users, key, None)
        events = await self._writer.append(topics.events, key, None)
        # Not whom: the log outlives the erasure.
        logger.info("an erasure was asked for by %s: %s", by, events.place.decode())
        return attributes, events

    def receipt(self, source: Source) -> Receipt | None:
        """The receipt of an erasure, once a worker has written it."""
        return self._receipts.get(source.place)

    def applied(self, source: Source) -> bool:
        """Whether this console's own replica is beyond a place."""
        at = self._replica.partitions.position(source.topic, source.partition)
        return at is not None and at > source.offset
