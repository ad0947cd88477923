"""`segue rekey` on Kafka: reads by batches from the group's committed positions."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from streams.app import WorkerApp, create_app
from streams.batch_outbox import BatchOutbox
from streams.batches import Batch, Partitions
from streams.event_batch import EventRules
from streams.log_watch import CheckLog, LogWatch, check_again
from streams.offsets import group_positions
from streams.positions import LogChanged, PositionError, TopicIdentity
from streams.pulse import Pulse
from streams.rekeying import Rekeyer
from streams.running import serve
from streams.schema_wait import SchemaWait
from streams.security import KafkaSettings
from streams.sources import PersonalTopic, RekeySettings, require_rekeyed
from streams.topics import TopicSettings

logger = logging.getLogger(__name__)


async def serve_rekey(
    kafka: KafkaSettings,
    topics: TopicSettings,
    sources: Sequence[PersonalTopic],
    rules: EventRules,
    settings: RekeySettings,
    registry: CollectorRegistry | None = None,
    *,
    pulse: Pulse | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> int:
    """Re-key until told to stop by a signal or until it fails; returns the exit status.

    pulse: takes signs of life. on_stop: called when the stop begins.

    At least once: the group's positions are committed after what lies below them is acknowledged,
    and a new start goes on from there. Raises SourceError if there is nothing to re-key.
    """
    require_rekeyed(sources)
    async with BatchOutbox(kafka) as outbox:
        rekeyer = Rekeyer(sources, rules, topics, outbox, registry)
        schemas: SchemaWait[Batch] = SchemaWait(rekeyer.decoders, rekeyer, asyncio.Lock())

        made_from: dict[str, TopicIdentity] = {}
        watch = LogWatch(kafka)

        async def assigned(partitions: Partitions) -> None:
            made_from.update(await watch.topics_now(rekeyer.source_topics))
            committed = await asyncio.to_thread(group_positions, kafka, settings.group)
            rekeyer.begin({place: committed[place] for place in partitions & committed.keys()})

        async def check_log() -> None:
            # A topic of ours tells a broker that does not answer from sources that are gone.
            names = (*rekeyer.source_topics, topics.events)
            now = await watch.topics_now(names)
            rekeyer.missing.note(names, now)
            for topic, found in now.items():
                check_same_source(made_from.get(topic), found)

        async def revoked(partitions: Partitions) -> None:
            schemas.forget(partitions)
            await rekeyer.settle()
            await app.commit_closed(rekeyer.settled)
            rekeyer.forget(partitions)

        app = create_app(
            settings.group,
            kafka,
            batched=dict.fromkeys(rekeyer.source_topics, settings.batch),
            positions=lambda topic, partition: rekeyer.settled.get((topic, partition)),
            pass_over=lambda topic, partition, at: rekeyer.begin({(topic, partition): at}),
            pass_empty=rekeyer.pass_empty,
            check_log=check_log,
            hold=schemas.holds,
            on_assigned=assigned,
            on_revoked=revoked,
            pulse=pulse,
        )

        @app.batches(*rekeyer.source_topics)
        async def rekey(batch: Batch) -> None:
            if not schemas.takes(batch):
                await rekeyer(batch)

        beside = [
            asyncio.ensure_future(_note(app, rekeyer, schemas, settings.settle_every_ms / 1000)),
            asyncio.ensure_future(_check(app, check_log)),
        ]
        try:
            return await serve(app, on_stop=on_stop)
        finally:
            for job in beside:
                job.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            schemas.close()
            await watch.close()


def check_same_source(before: TopicIdentity | None, found: TopicIdentity) -> None:
    """Raise LogChanged if a source was deleted and created again while it was read.

    Partitions that were added are no fault: each record is re-keyed by itself.
    """
    if before is not None and found.is_another_than(before.id):
        raise LogChanged(
            f"source {found.topic} was deleted and created again while it was read (its id was "
            f"{before.id}, and is {found.id} now): start segue rekey again, which reads it from "
            "its beginning"
        )


async def _check(app: WorkerApp, check_log: CheckLog) -> None:
    try:
        await check_again(check_log)
    except PositionError as error:
        await app.fail(error)


async def _note(
    app: WorkerApp, rekeyer: Rekeyer, schemas: SchemaWait[Batch], every_s: float
) -> None:
    """Commit what is settled, for the next start."""
    noted: dict[tuple[str, int], int] = {}
    try:
        while True:
            await asyncio.sleep(every_s)
            schemas.check()
            settled = await rekeyer.settle()
            if settled != noted and await app.commit_positions(settled):
                noted = settled
    except Exception as error:
        logger.exception("re-keyed events were not stored")
        await app.crash(error)
