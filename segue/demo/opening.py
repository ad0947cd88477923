"""Which surroundings the demo gets: named Kafka, a local one, or the embedded log."""

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import psutil

from segue.commands.kafka import broker_of, pom_file
from segue.demo.embedded_runtime import EmbeddedRuntime, embedded_runtime
from segue.demo.kafka_runtime import KafkaRuntime, end_process
from segue.demo.runtime import DemoError
from segue.settings import Settings
from streams import delete_topics, describe_topics, topics
from streams.broker import DevelopmentBroker
from streams.distribution import JarsUnavailableError, JavaMissingError, MavenMissingError

__all__ = ["open_runtime", "stop_kept"]


@asynccontextmanager
async def open_runtime(
    settings: Settings, choice: str, *, keep: bool
) -> AsyncIterator[KafkaRuntime | EmbeddedRuntime]:
    """Open the surroundings: Kafka that is named, else a local one, else the embedded log.

    choice: `auto`, `kafka` or `embedded`. keep: leave Kafka and the roles running at the end.
    Raises DemoError when Kafka was asked for and cannot be had.
    """
    stop_kept(settings)
    shutil.rmtree(settings.folder, ignore_errors=True)
    settings.folder.mkdir(parents=True)
    if choice == "embedded":
        async with embedded_runtime(settings, "the embedded log") as runtime:
            yield runtime
        return
    named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    broker: DevelopmentBroker | None = None
    if named:
        settings = _named_kafka(settings, named)
        name = f"Kafka at {named}"
    else:
        broker = DevelopmentBroker(
            settings.folder / "kafka", pom_file(), libs=settings.folder.parent / "kafka" / "libs"
        )
        try:
            address = await asyncio.to_thread(broker.start)
        except (JavaMissingError, MavenMissingError, JarsUnavailableError) as error:
            if choice == "kafka":
                raise DemoError(str(error)) from error
            async with embedded_runtime(settings, f"the embedded log, since {error}") as runtime:
                yield runtime
            return
        settings = replace(settings, kafka=replace(settings.kafka, bootstrap_servers=address))
        name = f"a local Apache Kafka at {address}"
    kafka = KafkaRuntime(settings, name)
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


def stop_kept(settings: Settings) -> bool:
    """Stop what an earlier `segue demo --keep` left running; returns whether there was anything."""
    kept = settings.folder / "processes.json"
    found = False
    if kept.exists():
        for entry in json.loads(kept.read_text()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(entry["pid"])
                if process.create_time() == entry["started"]:
                    found = True
                    end_process(process)
        kept.unlink()
    broker = broker_of(settings)
    return broker.stop() or found


def _named_kafka(settings: Settings, address: str) -> Settings:
    """Settings for somebody's own Kafka: topics that are there already are never touched."""
    settings = replace(settings, kafka=replace(settings.kafka, bootstrap_servers=address))
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
