"""`segue static build` as two processes of torchrun, and what it says without Ray."""

import asyncio
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from typer.testing import CliRunner

from segue.cli import app
from segue.settings import load_settings
from segue.static_job import run_static_job
from state import LONG, ArtifactStore, Checkpoints, MergedState, merge_checkpoints
from static_layer import StaticBundle, TextEncoder, build, silent
from streams import (
    EmbeddedLog,
    Item,
    ItemSourceSettings,
    TopicDefinition,
    create_topics,
    encode,
    topics,
)
from tests.static_layer.small_world import STATE, STATIC, flags, text_settings, write_world
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_build_the_bundle_that_one_builds_and_one_of_them_writes(
    tmp_path: Path,
) -> None:
    write_world(tmp_path)
    announced, store = tmp_path / "announced", ArtifactStore(str(tmp_path / "store"))
    merged = merge_checkpoints(Checkpoints(store), STATE)
    with closing(TextEncoder(text_settings(tmp_path))) as encoder:
        alone = build(merged, STATIC, seed=5, encoder=encoder)
    done = subprocess.run(
        [
            sys.executable, *TORCHRUN, "-m", "tests.segue.announcing", str(announced),
            "static", "build", "--seed", "5", *flags(tmp_path),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    [name] = store.names("static")
    together = StaticBundle.load(store.fetch("static", name, tmp_path / "fetched"))
    records = [json.loads(line) for line in announced.read_text().splitlines()]
    assert [record["name"] for record in records] == [name]
    assert together.manifest["metrics"]["processes"] == 2
    assert together.offsets == merged.offsets
    assert together.manifest["watermark"] == merged.watermark
    assert together.items.equals(alone.items)
    assert np.array_equal(together.text, alone.text)
    # Sums in another order, forwarded through two epochs of Adam.
    assert np.allclose(together.hgnn, alone.hgnn, atol=2e-3)


class _Sent:
    """Keys that were sent."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []

    async def send(self, _topic: str, key: bytes | None, _value: object, _: object = None) -> None:
        self.keys.append(key)

    async def flush(self) -> None:
        pass


async def test_a_store_that_fails_now_and_then_costs_no_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_world(tmp_path)
    settings = load_settings(flags=flags(tmp_path)[1::2])
    store, calls, pauses = settings.store(LONG), itertools.count(), list[float]()
    store.files = LocalFileSystem(skip_instance_cache=True)
    monkeypatch.setattr(store, "_sleep", pauses.append)

    def at_times(work: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if next(calls) % 3:
                raise ConnectionError("the network is down")
            return work(*args, **kwargs)

        return call

    for name in ("put_file", "pipe_file", "get_file", "cat_file", "ls"):
        monkeypatch.setattr(store.files, name, at_times(getattr(store.files, name)))
    outputs = _Sent()
    bundle = await run_static_job(settings, outputs, seed=5, progress=silent, store=store)
    assert ArtifactStore(store.url).names("static") == [bundle.name]
    made = StaticBundle.load(store.fetch("static", bundle.name, tmp_path / "fetched"))
    # Of so few items none is near to a hundredth.
    filled = {name: matrix.nnz > 0 for name, matrix in made.weights.items()}
    assert filled == {"ease": True, "cosine": True, "next": True, "text": False}
    assert {name for name, matrix in made.counts.items() if matrix.nnz} == {
        "together", "following"
    }  # fmt: skip
    assert outputs.keys == [b"static"]
    assert set(pauses) == {0.5, 1.0}


async def test_a_cancelled_build_has_ended_when_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at its next word of progress; until then its files must stay."""
    begun, ended, never = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def long_job(*args: Any, **_: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        try:
            for step in range(2_000):
                never.wait(0.001)
                args[3]("hgnn", step, 2_000)
        finally:
            ended.set()

    monkeypatch.setattr("segue.static_job._here", long_job)
    settings = load_settings(flags=flags(tmp_path)[1::2])
    job = asyncio.ensure_future(run_static_job(settings, _Sent(), seed=5, progress=silent))
    await begun.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert ended.is_set()


async def test_the_catalogue_is_that_of_all_its_topics_where_there_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Merged(Exception):
        pass

    def seen(merged: MergedState, *_: object, **__: object) -> None:
        raise _Merged(merged)

    monkeypatch.setattr("segue.static_job.build_together", seen)
    write_world(tmp_path)
    settings = load_settings(flags=flags(tmp_path)[1::2])
    settings = replace(settings, item_sources=(ItemSourceSettings(topic="shop"),))
    log = EmbeddedLog(tmp_path / "log")
    create_topics(log, [*topics(settings.topics), TopicDefinition(name="shop", partitions=1)])
    for item in (
        Item(item_id="0", item_type="audiobook", title="theirs", attributes={"stock": 1}),
        Item(item_id="1", item_type="podcast", deleted=True),
        Item(item_id="new", item_type="podcast", title="new"),
    ):
        log.append("shop", item.key, encode(item))
    with pytest.raises(_Merged) as found:
        await run_static_job(settings, _Sent(), seed=5, progress=silent, log=log)
    [merged] = found.value.args
    rows = merged.catalogue.select("item_type", "item_id", "title").sort("item_id").rows()
    # Not those of the checkpoints: the log no longer has them.
    assert rows == [("audiobook", "0", "theirs"), ("podcast", "new", "new")]
    assert merged.catalogue["item_key"].is_sorted()
    log.close()


def test_without_ray_the_command_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "static_layer.on_ray", raising=False)
    monkeypatch.delitem(sys.modules, "static_layer.merge_on_ray", raising=False)
    monkeypatch.setattr("segue.rights.require_rights_of", lambda *_: None)
    monkeypatch.setattr("agents.outputs.ProducerOutputs.__aenter__", _nothing)
    done = CliRunner().invoke(app, ["static", "build", "--ray", "auto", *flags(tmp_path)])
    assert done.exit_code == 1
    assert "pip install 'segue[ray]'" in done.stderr.replace("\n", " ")


async def _nothing(outputs: object) -> object:
    return outputs
