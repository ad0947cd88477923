"""Lists over HTTP: how many a second, and how late, on one core, asked by a real client.

The console runs in a process of its own, bound to one core, on the embedded log; the client runs on
another. Requests come at random moments at a given rate, whether or not the ones before are
answered, and latency counts from the moment at which a request was due: a server that stalls is
charged for everyone who would have come meanwhile.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import faiss
import numpy as np
import psutil
import torch
import uvicorn
import uvloop
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.index_data import ItemSpace
from benchmarks.machine import cpu_model
from console import ConsoleSettings, TokenSettings
from dynamic_layer import DynamicBundle, DynamicSettings, ExampleBatch, Trainer
from segue.serving_console import open_console, tune_search
from segue.settings import Settings
from state import compile_kernels, item_key
from static_layer.hgnn import HGNN, HGNNSettings
from streams import EmbeddedLog, Event, ModelAnnouncement, create_topics, encode, topics

__all__ = ["ApiPlan", "run", "show"]

TOKEN = "bench"  # noqa: S105 of a console that lives for a minute on this machine
NOW = 1_760_000_000_000
DAY_MS = 86_400_000
PATIENCE_S = 300.0


@dataclass(frozen=True, kw_only=True)
class ApiPlan:
    """What is measured.

    items: in the index, of two types; users: with a history; history: events of each.
    rates: requests a second, one row each; seconds: how long each.
    """

    items: int = 100_000
    users: int = 5_000
    history: int = 30
    rates: tuple[int, ...] = (250, 500, 750)
    seconds: float = 20.0
    k: int = 10
    seed: int = 1


@dataclass
class _Items:
    """A static bundle's columns; vectors lie in topics, without which no index finds its way."""

    item_keys: NDArray[np.uint64]
    item_ids: list[str]
    item_types: list[str]
    languages: list[str | None]
    genres: list[list[str] | None]
    titles: list[str | None]
    text: NDArray[np.float16]
    hgnn: NDArray[np.float32]
    model: Any
    manifest: dict[str, Any]


def run(plan: ApiPlan, file: Path) -> dict[str, Any]:
    """Measure; writes the figures to `file` and returns them."""
    with tempfile.TemporaryDirectory(prefix="segue-api-", ignore_cleanup_errors=True) as folder:
        _prepare(plan, Path(folder))
        cores = sorted(os.sched_getaffinity(0))
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.api", folder, str(cores[0])],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        try:
            address = _address(Path(folder) / "address", server)
            os.sched_setaffinity(0, set(cores[1:]) or set(cores))
            rows = asyncio.run(_measure(plan, address, psutil.Process(server.pid)))
        finally:
            server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(30)
            server.kill()
            os.sched_setaffinity(0, set(cores))
    report = {"plan": asdict(plan), "machine": cpu_model(), "rows": rows}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1))
    return report


def show(report: dict[str, Any]) -> None:
    """Print the figures."""
    plan = report["plan"]
    table = Table(title=f"{plan['items']:,} items, {plan['users']:,} users, one core, HTTP/1.1")
    for head in (
        "asked/s",
        "answered/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "cpu ms",
        "errors",
    ):
        table.add_column(head, justify="right")
    for row in report["rows"]:
        table.add_row(
            f"{row['rate']:,}", f"{row['answered_per_s']:,.0f}",
            *(f"{row[name]:,.1f}" for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
            f"{row['processor_ms']:.2f}", str(row["errors"]),
        )  # fmt: skip
    Console().print(table)


async def _measure(plan: ApiPlan, address: str, server: psutil.Process) -> list[dict[str, Any]]:
    rng = np.random.default_rng(plan.seed)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(limit=256)
    async with aiohttp.ClientSession(address, connector=connector, headers=headers) as session:
        await _one_rate(session, plan, 100, 3.0, rng)  # connections and caches
        rows = []
        for rate in plan.rates:
            before = sum(server.cpu_times()[:2])
            row = await _one_rate(session, plan, rate, plan.seconds, rng)
            # What a request costs tells what a core bears, however busy the machine is with others.
            spent = sum(server.cpu_times()[:2]) - before
            rows.append(row | {"processor_ms": round(1_000 * spent / row["requests"], 3)})
        return rows


async def _one_rate(
    session: aiohttp.ClientSession,
    plan: ApiPlan,
    rate: int,
    seconds: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    due = np.cumsum(rng.exponential(1 / rate, size=int(rate * seconds)))
    users = rng.integers(plan.users, size=len(due))
    taken: list[float] = []
    errors = 0
    begin = time.perf_counter() + 0.1

    async def ask(at: float, user: int) -> None:
        nonlocal errors
        path = f"/v1/recommendations?user={quote(f'user-{user}')}&k={plan.k}"
        async with session.get(path) as answer:
            body = await answer.read()
        if answer.status != 200 or len(json.loads(body)["items"]) != plan.k:
            errors += 1
        taken.append(time.perf_counter() - begin - at)

    async with asyncio.TaskGroup() as group:
        for at, user in zip(due.tolist(), users.tolist(), strict=True):
            if (early := begin + at - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            group.create_task(ask(at, user))
    spent = time.perf_counter() - begin
    p50, p95, p99 = (round(float(v) * 1_000, 2) for v in np.percentile(taken, [50, 95, 99]))
    return {
        "rate": rate, "requests": len(due),
        "answered_per_s": round((len(taken) - errors) / spent, 1),
        "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": round(max(taken) * 1_000, 2),
        "errors": errors,
    }  # fmt: skip


def _address(file: Path, server: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        if server.poll() is not None:
            raise RuntimeError(f"the console ended with status {server.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the console was not ready after {PATIENCE_S:.0f} s")
        time.sleep(0.1)
    return file.read_text()


def _settings(folder: Path) -> Settings:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    token = TokenSettings(name="bench", sha256=digest, rights=("people",))
    console = ConsoleSettings(port=0, tokens=(token,), rate_per_s=0)
    return Settings(data=str(folder), console=console)


def _prepare(plan: ApiPlan, folder: Path) -> None:
    """Write events and a bundle of this size."""
    settings, rng = _settings(folder), np.random.default_rng(plan.seed)
    items = _random_items(plan, rng)
    with EmbeddedLog(folder / "log", clock=lambda: NOW) as log:
        create_topics(log, topics(settings.topics))
        for user in range(plan.users):
            for back, row in enumerate(rng.integers(plan.items, size=plan.history).tolist()):
                event = Event(
                    user_id=f"user-{user}", item_id=items.item_ids[row],
                    item_type=items.item_types[row], kind="stream",
                    timestamp=NOW - (plan.history - back) * DAY_MS,
                )  # fmt: skip
                log.append(settings.topics.events, event.key, encode(event))
        bundle = _bundle(items, rng)
        work = folder / "bundle"
        work.mkdir()
        bundle.save(work)
        store = settings.store()
        store.publish("dynamic", "g000000001", work)
        shutil.rmtree(work)
        record = ModelAnnouncement(
            kind="dynamic", name="g000000001", url=store.url, generation=1, created_at=NOW,
            metrics={},
        )  # fmt: skip
        log.append(settings.topics.models, record.key, encode(record))


def _random_items(plan: ApiPlan, rng: np.random.Generator) -> _Items:
    n, shape = plan.items, HGNNSettings()
    ids = [f"item-{row}" for row in range(n)]
    types = [("audiobook", "podcast")[row % 2] for row in range(n)]
    text, hgnn = (
        ItemSpace.draw(width, plan.seed).items(n, rng)[:, :-1] for width in (384, shape.output)
    )
    return _Items(
        item_keys=np.array([item_key(t, i) for t, i in zip(types, ids, strict=True)], np.uint64),
        item_ids=ids,
        item_types=types,
        languages=[None] * n,
        genres=[None] * n,
        titles=[f"Item {row}" for row in range(n)],
        text=text.astype(np.float16),
        hgnn=hgnn,
        model=HGNN(384, 2, shape).eval(),
        manifest={"name": "random", "offsets": {}},
    )


def _bundle(items: _Items, rng: np.random.Generator) -> DynamicBundle:
    """Towers of the default size, with one step of training."""
    n, width = 2_000, 10
    rows = rng.integers(len(items.item_ids), size=(n, width + 1))
    at = NOW - np.sort(rng.integers(30 * DAY_MS, size=n))[::-1]
    batch = ExampleBatch(
        topic="segue.events", partition=0, offset=np.arange(n), target=items.item_keys[rows[:, 0]],
        timestamp=at, strong=np.ones(n, np.bool_), repeat=np.zeros(n, np.bool_),
        country=[""] * n, birth_year=np.zeros(n, np.int16),
        indptr=np.arange(n + 1, dtype=np.int64) * width,
        history_item=items.item_keys[rows[:, 1:]].ravel(),
        history_time=(at[:, None] - DAY_MS * np.arange(1, width + 1)).ravel(),
        history_strong=np.ones(n * width, np.bool_),
    )  # fmt: skip
    base = DynamicSettings()
    popularity = replace(base.popularity, weights=(0.5,), half_lives_days=(14.0,))
    trainer = Trainer(items, replace(base, popularity=popularity), seed=1, clock_ms=lambda: NOW)
    trainer.add(batch)
    trainer.train(max_steps=1)
    return trainer.publish()


def _serve(folder: Path, core: int) -> None:
    """Be the console, on one core, until told to stop."""
    os.sched_setaffinity(0, {core})
    compile_kernels()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    tune_search()

    async def serve() -> None:
        with EmbeddedLog(folder / "log", clock=lambda: NOW) as log:
            async with open_console(_settings(folder), "c", log, lambda: NOW) as (app, following):
                while not app.state.replica.ready and not following.done():
                    await asyncio.sleep(0.05)
                config = uvicorn.Config(app, port=0, log_level="warning", access_log=False)
                server = uvicorn.Server(config)
                task = asyncio.ensure_future(server.serve())
                while not server.started:
                    await asyncio.sleep(0.02)
                port = server.servers[0].sockets[0].getsockname()[1]
                aside = folder / "address.new"
                aside.write_text(f"http://127.0.0.1:{port}")
                aside.replace(folder / "address")
                await task

    uvloop.run(serve())


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
