"""Selects a demo's Kafka and runtime: a configured Kafka, a local one, or the embedded log."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from segue.demo.embedded_runtime import EmbeddedRuntime, embedded_runtime
from segue.demo.kafka_runtime import KafkaRuntime
from segue.demo.kept import stop_kept
from segue.demo.runtime import DemoError
from segue.settings import Settings
from streams import delete_topics, describe_topics, topics
from streams.broker import DevelopmentBroker
from streams.distribution import POM, JarsUnavailableError, JavaMissingError, MavenMissingError

__all__ = ["open_runtime", "start_kafka"]


def start_kafka(settings: Settings) -> tuple[Settings, str, DevelopmentBroker | None]:
    """Return settings with the Kafka's address, its name, and the broker if one was started.

    The Kafka is that of the environment's KAFKA_BOOTSTRAP_SERVERS, else a new one in the data
    folder, whose JARs are in the folder beside it. Raises BrokerError where none can be started.
    """
    broker = None
    address = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    name = f"Kafka at {address}"
    if not address:
        libs = settings.folder.parent / "kafka" / "libs"
        broker = DevelopmentBroker(settings.folder / "kafka", POM, libs=libs)
        address = broker.start()
        name = f"a local Apache Kafka at {address}"
    kafka = replace(settings.kafka, bootstrap_servers=address)
    return replace(settings, kafka=kafka), name, broker


@asynccontextmanager
async def open_runtime(
    settings: Settings, choice: str, *, keep: bool
) -> AsyncIterator[KafkaRuntime | EmbeddedRuntime]:
    """Open the runtime: the configured Kafka, else a local one, else the embedded log.

    choice: `auto`, `kafka` or `embedded`. keep: keep Kafka and the roles running at the end.
    Raises DemoError if Kafka is requested and not available.
    """
    stop_kept(settings.folder)
    shutil.rmtree(settings.folder, ignore_errors=True)
    settings.folder.mkdir(parents=True)
    if choice == "embedded":
        async with embedded_runtime(settings, "the embedded log") as runtime:
            yield runtime
        return
    try:
        settings, name, broker = await asyncio.to_thread(start_kafka, settings)
    except (JavaMissingError, MavenMissingError, JarsUnavailableError) as error:
        if choice == "kafka":
            raise DemoError(str(error)) from error
        async with embedded_runtime(settings, f"the embedded log, since {error}") as runtime:
            yield runtime
        return
    kafka = KafkaRuntime(settings if broker else _beside(settings), name)
    finished = False
    try:
        await kafka.start()
        yield kafka
        finished = True
    finally:
        await kafka.close()
        if not (keep and finished):
            kafka.stop()
            if broker:
                await asyncio.to_thread(broker.stop)


def _beside(settings: Settings) -> Settings:
    """Settings for a user's own Kafka: existing topics are never changed."""
    if describe_topics(settings.kafka, [t.name for t in topics(settings.topics)]):
        prefix = f"{settings.topics.prefix}-demo"
        settings = replace(settings, topics=replace(settings.topics, prefix=prefix))
        delete_topics(settings.kafka, [t.name for t in topics(settings.topics)])
    stamp = int(time.time())
    return replace(
        settings,
        worker=replace(settings.worker, group=f"{settings.worker.group}-demo-{stamp}"),
        trainer=replace(settings.trainer, group=f"{settings.trainer.group}-demo-{stamp}"),
    )
