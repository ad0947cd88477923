"""A worker and the bundles that it serves while the artifact store fails, or is slow."""

import asyncio
import itertools
import shutil
import threading

import pytest
from fsspec.implementations.local import LocalFileSystem

from agents import Worker, WorkerSettings
from agents.bundles.announcing import announce
from agents.bundles.models import Models
from agents.outputs import EmbeddedOutputs
from dynamic_layer import DynamicBundle
from state import ArtifactStore, Checkpoints, DamagedState, StoreUnavailable
from tests.agents.worlds import TOPICS, Bench, bench
from tests.waiting import PATIENCE_S, within_patience

SETTINGS = WorkerSettings(checkpoint_every_s=600)
EVERY_MS = 600_000


class Store:
    """Lets operations of a worker's store fail, or wait until a test lets them go on."""

    def __init__(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()
        self.store = worker.partitions._checkpoints.store
        self.store._sleep = lambda _seconds: None
        # Not the one that all stores of a process share.
        self.store.files = LocalFileSystem(skip_instance_cache=True)
        for name in ("put_file", "pipe_file", "get_file", "cat_file", "ls", "size"):
            monkeypatch.setattr(self.store.files, name, self._held(getattr(self.store.files, name)))

    def _held(self, really):
        def call(*args, **kwargs):
            self.reached.set()
            assert self.open.wait(PATIENCE_S)
            if self.away:
                raise ConnectionError("the network is down")
            return really(*args, **kwargs)

        return call


def value(worker: Worker, name: str, **labels: str) -> float:
    return worker.tally.registry.get_sample_value(name, labels) or 0.0


async def started(b: Bench) -> None:
    await b.worker.assigned(b.keyed)
    b.listen("ann", "a", "b")
    await b.drain()


async def ticked(worker: Worker) -> None:
    """Do what is due, and wait for the checkpoint that was begun."""
    await worker.tick()
    if worker._checkpointing is not None:
        await worker._checkpointing


async def test_an_upload_that_fails_is_counted_and_tried_again_with_growing_pauses(
    tmp_path, monkeypatch
):
    with bench(tmp_path, SETTINGS) as b:
        await started(b)
        store = Store(b.worker, monkeypatch)
        store.away = True
        b.clock.ms += EVERY_MS
        failed = []
        # Ticks a second apart: the attempts are at the times at which the count grows.
        begun = b.clock.ms
        while b.clock.ms < begun + 40_000:
            before = value(b.worker, "segue_checkpoints_failed_total")
            await ticked(b.worker)
            await ticked(b.worker)
            if value(b.worker, "segue_checkpoints_failed_total") > before:
                failed.append((b.clock.ms - begun) // 1_000)
            b.clock.ms += 1_000
        assert failed[0] == 0
        pauses = [later - earlier for earlier, later in itertools.pairwise(failed)]
        assert pauses == sorted(pauses)
        assert 2 <= len(failed) <= 8
        assert value(b.worker, "segue_store_failures_total", operation="list") > 0
        # Ingestion went on, and the next attempt uploads all of it.
        b.listen("ann", "c")
        await b.drain()
        store.away = False
        b.clock.ms += EVERY_MS
        await ticked(b.worker)
        await ticked(b.worker)
        assert value(b.worker, "segue_checkpoints_total") >= 1
        other = b.new_worker("another disk")
        await other.assigned(b.keyed)
        assert sum(other.positions().values()) == 3
        other.close()


async def test_a_checkpoint_that_is_asked_for_while_the_store_fails_raises_nothing(
    tmp_path, monkeypatch
):
    with bench(tmp_path, SETTINGS) as b:
        await started(b)
        Store(b.worker, monkeypatch).away = True
        assert await b.worker.checkpoint() == []
        assert not list((tmp_path / "w" / "state").glob("*.checkpoint-*"))


async def test_a_worker_with_its_local_state_starts_without_the_store(tmp_path, monkeypatch):
    with bench(tmp_path, SETTINGS) as b:
        await started(b)
        await b.worker.commit()
        before = b.worker.positions()
        b.worker.close()
        b.worker = b.new_worker("w")
        Store(b.worker, monkeypatch).away = True
        await b.worker.assigned(b.keyed)
        assert b.worker.positions() == before
        b.listen("ann", "c")
        await b.drain()


async def test_a_worker_without_local_state_waits_for_the_store_and_then_ends(
    tmp_path, monkeypatch
):
    with bench(tmp_path, SETTINGS) as b:
        await started(b)
        await b.worker.checkpoint()
        waited = []
        other = b.new_worker("another disk")
        store = Store(other, monkeypatch)
        store.away = True

        async def pause(seconds: float) -> None:
            waited.append(seconds)

        other._pause = pause
        with pytest.raises(StoreUnavailable):
            await other.assigned(b.keyed)
        assert waited == [1.0, 2.0]
        assert not list((tmp_path / "another disk" / "state").glob("0*"))
        store.away = False
        await other.assigned(b.keyed)
        assert sum(other.positions().values()) == 2
        other.close()


async def test_a_rebalance_does_not_wait_for_an_upload(tmp_path, monkeypatch):
    """The upload of one checkpoint hangs; another worker takes the partitions meanwhile."""
    with bench(tmp_path, SETTINGS) as b:
        await started(b)
        await b.worker.checkpoint()
        store = Store(b.worker, monkeypatch)
        store.open.clear()
        b.listen("ann", "c")
        await b.drain()
        store.reached.clear()
        upload = asyncio.ensure_future(b.worker.checkpoint())
        assert await asyncio.to_thread(store.reached.wait, 60)
        b.listen("ann", "d")
        await b.drain()
        await within_patience(b.worker.revoked(b.keyed))
        assert b.worker.partitions.states == {}
        # Nor does the next assignment of this worker wait, though the store still hangs.
        assert not upload.done()
        store.open.set()
        await upload
        await b.worker.uploaded()
        other = b.new_worker("another disk")
        await other.assigned(b.keyed)
        assert sum(other.positions().values()) == 4
        other.close()
        assert not list((tmp_path / "w" / "state").glob("*.checkpoint-*"))


async def test_what_the_next_owner_has_further_is_not_uploaded_behind_it(tmp_path, monkeypatch):
    with bench(tmp_path, SETTINGS) as b:
        await started(b)
        await b.worker.checkpoint()
        b.listen("ann", "c")
        await b.drain()
        store = Store(b.worker, monkeypatch)
        store.open.clear()
        await b.worker.revoked(b.keyed)
        checkpoints = Checkpoints(ArtifactStore(str(tmp_path / "artifacts")))
        other = b.new_worker("another disk")
        await other.assigned(b.keyed)
        b.listen("ann", "d")
        await b.drain(other)
        await other.checkpoint()
        names = {number: checkpoints.names(number) for number in range(TOPICS.partitions)}
        store.open.set()
        await b.worker.uploaded()
        assert {n: checkpoints.names(n) for n in range(TOPICS.partitions)} == names
        other.close()


async def test_a_revoked_partition_that_cannot_be_uploaded_is_left_to_its_next_owner(
    tmp_path, monkeypatch, caplog
):
    with bench(tmp_path, SETTINGS) as b:
        await started(b)
        await b.worker.checkpoint()
        b.listen("ann", "c")
        await b.drain()
        Store(b.worker, monkeypatch).away = True
        await b.worker.revoked(b.keyed)
        await b.worker.uploaded()
        assert "its next owner reads the rest" in caplog.text
        assert value(b.worker, "segue_checkpoints_failed_total") == 1
        other = b.new_worker("another disk")
        await other.assigned(b.keyed)
        await b.drain(other)
        assert sum(other.partitions[n].counts["applied"] for n in other.partitions.states) == 3
        other.close()


async def test_damage_that_an_upload_finds_ends_the_worker_and_the_next_one_restores(tmp_path):
    with bench(tmp_path, SETTINGS) as b:
        await started(b)
        await b.worker.checkpoint()
        b.listen("ann", "c")
        await b.drain()
        await b.worker.commit()
        for number, state in b.worker.partitions.states.items():
            state.database.flush()
            for path in (tmp_path / "w" / "state" / f"{number:05d}").glob("*.sst"):
                content = bytearray(path.read_bytes())
                content[len(content) // 10] ^= 1
                path.write_bytes(bytes(content))
        b.clock.ms += EVERY_MS
        with pytest.raises(DamagedState):
            await ticked(b.worker)
            await ticked(b.worker)
        b.worker.close()
        b.worker = b.new_worker("w")
        await b.worker.assigned(b.keyed)
        await b.drain()
        states = b.worker.partitions.states.values()
        assert sum(state.counts["applied"] for state in states) == 3


# Bundles


class Pauses(list):
    """Pauses that take no time; after some of them something happens."""

    def __init__(self, after: int, then) -> None:
        self._after, self._then = after, then

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        if len(self) == self._after:
            self._then()


async def test_a_bundle_is_read_once_the_store_is_back(tmp_path, monkeypatch):
    models = Models(
        ArtifactStore(str(tmp_path / "artifacts")), tmp_path / "scratch", lambda: None, lambda: 0
    )
    away, served = [True], []

    def fetch(name: str):
        if away[0]:
            raise StoreUnavailable("the network is down")
        served.append(name)
        raise AssertionError("read")

    pauses = Pauses(4, lambda: away.__setitem__(0, False))
    monkeypatch.setattr(models, "_fetch", fetch)
    monkeypatch.setattr(models, "_pause", pauses)
    with pytest.raises(AssertionError, match="read"):
        await models.load("g1")
    assert served == ["g1"]
    assert pauses == [1.0, 2.0, 4.0, 8.0]


async def test_a_graph_of_which_the_end_cannot_be_read_stops_no_worker(tmp_path):
    store = ArtifactStore(str(tmp_path / "artifacts"), sleep=lambda _seconds: None)
    (tmp_path / "artifacts").write_text("a file where the folder was")
    models = Models(store, tmp_path / "scratch", lambda: None, lambda: 0)
    assert models._ends_of("s1") == {}


async def test_nothing_is_announced_that_could_not_be_stored(tmp_path, monkeypatch):
    with bench(tmp_path) as b:
        store = ArtifactStore(str(tmp_path / "artifacts"), sleep=lambda _seconds: None)
        (tmp_path / "artifacts").write_text("a file where the folder was")
        monkeypatch.setattr(DynamicBundle, "__init__", lambda self: None)
        bundle = DynamicBundle()
        monkeypatch.setattr(DynamicBundle, "save", lambda self, folder: None)
        monkeypatch.setattr(DynamicBundle, "generation", 1)
        pauses = Pauses(9, lambda: None)

        async def publish():
            await announce(
                bundle, "g1", {}, store=store, scratch=tmp_path / "scratch",
                outputs=EmbeddedOutputs(b.log), topics=TOPICS, now_ms=0, keep=1, pause=pauses,
            )  # fmt: skip

        with pytest.raises(StoreUnavailable):
            await publish()
        assert pauses == [1.0, 2.0]
        assert b.records(TOPICS.models) == []
        (tmp_path / "artifacts").unlink()
        await publish()
        assert len(b.records(TOPICS.models)) == 1
        shutil.rmtree(tmp_path / "artifacts")
