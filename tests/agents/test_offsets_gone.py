"""A worker whose log no longer holds what its state needs, on the embedded log."""

import pytest

from agents import Train, TrainerSettings, WorkerSettings
from agents.apps.embedded import EmbeddedRoles
from agents.outputs import EmbeddedOutputs
from dynamic_layer import DynamicSettings
from state import ArtifactStore, Missing
from streams import EmbeddedLog, PositionError, create_topics, delete_topics, topics
from tests.agents.worlds import TOPICS, bench


def roles(b):
    train = Train(
        settings=TrainerSettings(),
        dynamic=DynamicSettings(),
        topics=TOPICS,
        store=ArtifactStore(str(b.folder / "artifacts")),
        folder=b.folder / "trainer",
        outputs=EmbeddedOutputs(b.log),
        clock_ms=b.clock,
    )
    return EmbeddedRoles(b.log, TOPICS, b.worker, train, WorkerSettings())


def reopened(b, segment_bytes=64 << 20):
    b.log.close()
    b.log = EmbeddedLog(b.folder / "log", clock=b.clock, segment_bytes=segment_bytes)


async def worker_after(b, records):
    """A worker that has applied so many events of ann's, closed; another one with its disk."""
    await b.worker.assigned(b.keyed)
    b.listen("ann", *(f"i{n}" for n in range(records)))
    await b.drain()
    await b.worker.commit()
    [(_, partition)] = [place for place in b.worker.positions() if place[0] == TOPICS.events]
    b.worker.close()
    b.worker = b.new_worker("w")
    return partition


async def test_records_that_were_removed_unread_stop_the_worker(tmp_path):
    with bench(tmp_path) as b:
        reopened(b, segment_bytes=500)
        partition = await worker_after(b, 10)
        b.listen("ann", *(f"i{n}" for n in range(10, 30)))
        reopened(b)
        segments = sorted((tmp_path / "log" / TOPICS.events / str(partition)).glob("*.log"))
        b.log.close()
        for segment in segments[:-1]:
            segment.unlink()
        reopened(b)
        with pytest.raises(PositionError, match=r"goes on at offset 10, .* begins at offset"):
            async with roles(b):
                pass
        assert b.worker.partitions.states == {}

        await b.worker.assigned(b.keyed)
        first = b.log.first_offset(TOPICS.events, partition)
        b.worker.partitions.pass_over(TOPICS.events, partition, first)
        await b.drain()
        await b.worker.commit()
        b.worker.close()
        b.worker = b.new_worker("w")
        await b.worker.assigned(b.keyed)
        state = b.worker.partitions[partition]
        assert state.missing == (Missing(TOPICS.events, 10, first),)
        assert state.position(TOPICS.events) == 30


async def test_a_log_that_was_made_anew_stops_the_worker(tmp_path):
    with bench(tmp_path) as b:
        await worker_after(b, 10)
        delete_topics(b.log, [TOPICS.events])
        create_topics(b.log, topics(TOPICS))
        b.listen("ann", "i1")
        with pytest.raises(PositionError, match="offset 10, but the partition ends at offset 1"):
            async with roles(b):
                pass
