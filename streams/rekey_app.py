"""`segue rekey` on Kafka: reads by batches from the group's committed positions."""

import asyncio
import logging

from prometheus_client import CollectorRegistry

from streams.admin import group_positions
from streams.app import Partitions, WorkerApp, create_app, serve
from streams.batch_outbox import BatchOutbox
from streams.codec import EventRules
from streams.rekeying import Rekeyer, RekeySettings
from streams.security import KafkaSettings
from streams.sources import SourceError, SourceSettings, rekeyed
from streams.topics import TopicSettings
from streams.transport import Batch

logger = logging.getLogger(__name__)


async def serve_rekey(
    kafka: KafkaSettings,
    topics: TopicSettings,
    sources: tuple[SourceSettings, ...],
    rules: EventRules,
    settings: RekeySettings,
    registry: CollectorRegistry | None = None,
) -> int:
    """Re-key until told to stop by a signal or until it fails; returns the exit status.

    At least once: the group's positions are committed after what lies below them is acknowledged,
    and a new start goes on from there. Raises SourceError if there is nothing to re-key.
    """
    if not rekeyed(sources):
        raise SourceError("no source has keyed_by_user = false: there is nothing to re-key")
    async with BatchOutbox(kafka) as outbox:
        rekeyer = Rekeyer(sources, rules, topics, outbox, registry)

        async def assigned(partitions: Partitions) -> None:
            committed = await asyncio.to_thread(group_positions, kafka, settings.group)
            rekeyer.begin({place: committed[place] for place in partitions & committed.keys()})

        async def revoked(partitions: Partitions) -> None:
            await rekeyer.settle()
            await app.consumer.commit_positions(rekeyer.settled)
            rekeyer.forget(partitions)

        app = create_app(
            settings.group,
            kafka,
            batched=dict.fromkeys(rekeyer.source_topics, settings.batch),
            positions=lambda topic, partition: rekeyer.settled.get((topic, partition)),
            on_assigned=assigned,
            on_revoked=revoked,
        )

        @app.batches(*rekeyer.source_topics)
        async def rekey(batch: Batch) -> None:
            await rekeyer(batch)

        noting = asyncio.ensure_future(_note(app, rekeyer, settings.settle_every_ms / 1000))
        try:
            return await serve(app)
        finally:
            noting.cancel()
            await asyncio.gather(noting, return_exceptions=True)


async def _note(app: WorkerApp, rekeyer: Rekeyer, every_s: float) -> None:
    """Commit what is settled, for the next start."""
    noted: dict[tuple[str, int], int] = {}
    try:
        while True:
            await asyncio.sleep(every_s)
            settled = await rekeyer.settle()
            if settled != noted and await app.commit_positions(settled):
                noted = settled
    except Exception as error:
        logger.exception("re-keyed events were not stored")
        await app.crash(error)
