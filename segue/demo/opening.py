"""Selects the demo's runtime: a configured Kafka, a local one, or the embedded log."""

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from segue.demo.embedded_runtime import EmbeddedRuntime, embedded_runtime
from segue.demo.kafka_runtime import KEPT, KafkaRuntime, end_process
from segue.demo.runtime import DemoError
from segue.settings import Settings
from streams import delete_topics, describe_topics, topics
from streams.broker import DevelopmentBroker
from streams.distribution import (
    POM,
    JarsUnavailableError,
    JavaMissingError,
    MavenMissingError,
)

__all__ = ["kept_demos", "open_runtime", "stop_kept"]


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
    named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    broker: DevelopmentBroker | None = None
    if named:
        settings = _named_kafka(settings, named)
        name = f"Kafka at {named}"
    else:
        broker = DevelopmentBroker(
            settings.folder / "kafka", POM, libs=settings.folder.parent / "kafka" / "libs"
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


def kept_demos(directory: Path) -> list[Path]:
    """Return the folders of running demos that were started in a directory."""
    folders: dict[Path, None] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = process.cmdline()
            if "--config" not in words or not {"worker", "trainer"} & set(words):
                continue
            started_in = Path(process.cwd())
            folder = (started_in / words[words.index("--config") + 1 :][0]).parent
            if started_in == directory.resolve() and (folder / KEPT).exists():
                folders[folder] = None
    return list(folders)


def stop_kept(folder: Path) -> bool:
    """Stop what an earlier `segue demo --keep` left running; returns whether anything ran.

    folder: of the demo, in the data folder.
    """
    kept = folder / KEPT
    found = False
    if kept.exists():
        for entry in json.loads(kept.read_text()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(entry["pid"])
                if process.create_time() == entry["started"]:
                    found = True
                    end_process(process)
        kept.unlink()
    return DevelopmentBroker(folder / "kafka", POM).stop() or found


def _named_kafka(settings: Settings, address: str) -> Settings:
    """Settings for a user's own Kafka: existing topics are never changed."""
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
