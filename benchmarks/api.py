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
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
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
from rich.console import Console
from rich.table import Table

from benchmarks.machine import cpu_model, written
from benchmarks.trained_world import NOW, World, bundle_of
from console import ConsoleSettings, TokenSettings
from segue.roles import spare_collections
from segue.serving_console import open_console, tune_search
from segue.settings import Settings
from state import compile_kernels
from streams import EmbeddedLog, Event, ModelAnnouncement, create_topics, encode, topics

__all__ = ["ApiPlan", "measure", "prepare", "run", "show"]

TOKEN = "bench"  # noqa: S105 of a console that lives for a minute on this machine
PATIENCE_S = 300.0
CHECKOUT = Path(__file__).parents[1]
_COLUMNS = (
    "asked/s", "answered/s", "p50 ms", "p95 ms", "p99 ms", "p99 of the rounds", "server cpu ms",
    "client cpu ms", "errors",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ApiPlan:
    """What is measured.

    items: in the index, of two types; users: with a history; history: events of each.
    rates: requests a second; seconds: how long each; rounds: of all rates, one after the other.
    k: items in an answer; head: whether a ranking head ranks them.
    """

    items: int = 100_000
    users: int = 5_000
    history: int = 30
    rates: tuple[int, ...] = (250, 500, 750)
    seconds: float = 20.0
    rounds: int = 3
    k: int = 10
    head: bool = False
    seed: int = 1


def run(plan: ApiPlan, file: Path) -> dict[str, Any]:
    """Measure; writes the figures to `file` and returns them."""
    with tempfile.TemporaryDirectory(prefix="segue-api-", ignore_cleanup_errors=True) as folder:
        index = prepare(plan, Path(folder))
        rows = measure(plan, Path(folder))
    report = {"plan": asdict(plan), "machine": cpu_model(), "index": index, "rows": rows}
    return written(report, file)


def measure(plan: ApiPlan, folder: Path, checkout: Path = CHECKOUT) -> list[dict[str, Any]]:
    """Serve a prepared world by a checkout of the code, and ask: a row for each rate and round."""
    cores = sorted(os.sched_getaffinity(0))
    (folder / "address").unlink(missing_ok=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.api", str(folder), str(cores[0])],
        cwd=checkout,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        address = _address(folder / "address", server)
        os.sched_setaffinity(0, set(cores[1:]) or set(cores))
        return uvloop.run(_measure(plan, address, psutil.Process(server.pid)))
    finally:
        server.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        server.kill()
        os.sched_setaffinity(0, set(cores))


def show(report: dict[str, Any]) -> None:
    """Print the medians of the rounds, and the range of p99."""
    plan, rows = report["plan"], report["rows"]
    head = "with a ranking head" if plan["head"] else "towers alone"
    table = Table(title=f"{plan['items']:,} items, {plan['users']:,} users, one core, {head}")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for rate in plan["rates"]:
        own = [row for row in rows if row["rate"] == rate]
        middle = {name: statistics.median(row[name] for row in own) for name in own[0]}
        p99 = [row["p99_ms"] for row in own]
        table.add_row(
            f"{rate:,}", f"{middle['answered_per_s']:,.0f}",
            *(f"{middle[name]:,.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
            f"{min(p99):,.0f}-{max(p99):,.0f}", f"{middle['processor_ms']:.2f}",
            f"{middle['client_ms']:.2f}", str(sum(row["errors"] for row in own)),
        )  # fmt: skip
    Console().print(table)


async def _measure(plan: ApiPlan, address: str, server: psutil.Process) -> list[dict[str, Any]]:
    rng = np.random.default_rng(plan.seed)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(limit=256)
    async with aiohttp.ClientSession(address, connector=connector, headers=headers) as session:
        await _one_rate(session, plan, 100, 3.0, rng)  # connections and caches
        rows = []
        for number in range(plan.rounds):
            for rate in plan.rates:
                before, own = _spent(server), _spent(psutil.Process())
                row = await _one_rate(session, plan, rate, plan.seconds, rng)
                # What a request costs tells what a core bears, however busy it is with others.
                for what, spent in (
                    ("processor_ms", _spent(server) - before),
                    ("client_ms", _spent(psutil.Process()) - own),
                ):
                    row[what] = round(1_000 * spent / row["requests"], 3)
                rows.append({"round": number} | row)
        return rows


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


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


def prepare(plan: ApiPlan, folder: Path) -> dict[str, Any]:
    """Write the events and the bundle of a world of this size; returns how it is searched."""
    settings = _settings(folder)
    world = World.draw(items=plan.items, users=plan.users, history=plan.history, seed=plan.seed)
    items, times = world.items, world.times.tolist()
    with EmbeddedLog(folder / "log", clock=lambda: NOW) as log:
        create_topics(log, topics(settings.topics))
        for user, history in enumerate(world.histories.tolist()):
            for row, at in zip(history, times, strict=True):
                event = Event(
                    user_id=f"user-{user}", item_id=items.item_ids[row],
                    item_type=items.item_types[row], kind="stream", timestamp=at,
                )  # fmt: skip
                log.append(settings.topics.events, event.key, encode(event))
        bundle = bundle_of(world, plan.seed, head=plan.head)
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
    return {
        bundle.types[number]: {
            "items": len(built), "lists": built.lists, "probes": built.probes,
            "recall": round(built.recall, 4),
        }
        for number, built in bundle.index.built.items()
    }  # fmt: skip


def _serve(folder: Path, core: int) -> None:
    """Be the console, on one core, until told to stop."""
    os.sched_setaffinity(0, {core})
    compile_kernels()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    tune_search()
    spare_collections()

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
