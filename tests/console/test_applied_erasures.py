"""A replica may be ahead of the workers: what it has erased stays erased over a restart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents import WorkerSettings
from console.replica import Replica
from state import ArtifactStore, StateSettings
from static_layer import TextEncoder
from streams import (
    EmbeddedLog,
    Event,
    EventRules,
    SourceSettings,
    TopicSettings,
    create_topics,
    encode,
    erasure_value,
    topics,
)
from streams.topics import TopicDefinition

NOW = 1_800_000_000_000
TOPICS = TopicSettings(partitions=1)
PLAYER = "player"
SOURCES = (SourceSettings(topic=PLAYER),)


@contextmanager
def a_log(folder: Path) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(folder / "log", clock=lambda: NOW) as log:
        create_topics(log, topics(TOPICS))
        log.create_topic(TopicDefinition(name=PLAYER, partitions=1))
        yield log


def opened(folder: Path, log: EmbeddedLog) -> Replica:
    return Replica(
        log=log, settings=WorkerSettings(), state=StateSettings(delta_room=1 << 12), topics=TOPICS,
        rules=EventRules(), store=ArtifactStore(str(folder / "store")), folder=folder / "console",
        encoder=TextEncoder, clock_ms=lambda: NOW, sources=SOURCES,
    )  # fmt: skip


async def test_an_erasure_that_no_worker_has_applied_covers_what_is_read_after_a_restart(tmp_path):
    with a_log(tmp_path) as log:
        for user in ("ann", "bob"):
            event = Event(user_id=user, item_id="i", item_type="song", kind="stream", timestamp=NOW)
            log.append(PLAYER, event.key, encode(event))
        log.append(TOPICS.events, b"ann", erasure_value(log, "ann", SOURCES))
        async with opened(tmp_path, log) as replica:
            await replica._copies.apply(log.read(TOPICS.events, 0, 0))
        async with opened(tmp_path, log) as replica:
            assert replica.event_positions(0)["positions"] == {TOPICS.events: 1, PLAYER: 0}
            await replica._copies.apply(log.read(PLAYER, 0, 0))
            await replica._commit()
            assert list(replica.partitions[0].user_ids()) == ["bob"]
            assert b"ann" not in (tmp_path / "console" / "erasures").read_bytes()
            # Once a worker has written it, the topic says it.
            known = replica._erased.of("ann")
            log.append(TOPICS.erasures, known.key, encode(known))
        async with opened(tmp_path, log) as replica:
            assert replica._applied_erasures._users == {}
            assert replica._erased.of("ann") == known


async def test_a_line_that_cannot_be_read_is_passed_over(tmp_path, caplog):
    with a_log(tmp_path) as log:
        log.append(TOPICS.events, b"ann", None)
        async with opened(tmp_path, log) as replica:
            await replica._copies.apply(log.read(TOPICS.events, 0, 0))
            known = replica._erased.of("ann")
        file = tmp_path / "console" / "erasures"
        file.write_bytes(b"{\n" + file.read_bytes())
        async with opened(tmp_path, log) as replica:
            assert replica._erased.of("ann") == known
        assert "is passed over" in caplog.text
