"""`segue rekey` as a process of its own, without the rest of the command line (and of torch).

Can be made to die of SIGKILL in the middle of its work, after so many records were sent.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import msgspec

from streams import rekey_app
from streams.batch_outbox import BatchOutbox
from streams.event_batch import EventRules
from streams.security import KafkaSettings
from streams.sources import RekeySettings, SourceSettings
from streams.topics import TopicSettings


def die_after(records: int) -> type[BatchOutbox]:
    """An outbox whose process is killed between two of its batches."""
    left = records

    class MortalOutbox(BatchOutbox):
        async def send_many(
            self, topic: str, partition: int, records: Sequence[tuple[bytes, bytes]]
        ) -> None:
            nonlocal left
            left -= len(records)
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            await super().send_many(topic, partition, records)

    return MortalOutbox


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("broker", "topics", "sources", "rekey"):
        parser.add_argument(name)
    parser.add_argument("--die-after", type=int)
    options = parser.parse_args()
    if options.die_after:
        rekey_app.BatchOutbox = die_after(options.die_after)  # type: ignore[misc]
    return asyncio.run(
        rekey_app.serve_rekey(
            KafkaSettings(bootstrap_servers=options.broker),
            msgspec.json.decode(options.topics, type=TopicSettings),
            msgspec.json.decode(options.sources, type=tuple[SourceSettings, ...]),
            EventRules(),
            msgspec.json.decode(options.rekey, type=RekeySettings),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
