"""Steps of a demo: write records, wait until they are applied, build a static bundle, train."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import polars as pl

from agents.bundles.announcements import announcement_of
from agents.bundles.announcing import fetch_dynamic
from dynamic_layer import DynamicBundle, compile_list_kernels
from segue.demo.material import Material
from segue.demo.runtime import POLL_S, DemoError, Runtime
from segue.feeding import catalogue_records, event_records, user_records
from segue.roles import make_encoder
from segue.screen import Bars, StageBars
from segue.settings import Settings
from segue.static_job import run_static_job
from static_layer import StaticBundle
from static_layer.item_text import catalogue_texts
from streams import ModelAnnouncement

__all__ = [
    "Speed",
    "applied",
    "beside",
    "encode_texts",
    "get_ready",
    "ingest",
    "make_static",
    "rested_bundle",
    "until",
    "write_world",
]

#: Longest time without progress in a step, before the demo gives up. Roles that died are noticed at
#: once, and a busy machine takes many times as long as an idle one.
PATIENCE_S = 1_800.0


@dataclass
class Speed:
    """Number of events ingested at full speed, and seconds from first write to last apply."""

    events: int = 0
    seconds: float = 0.0


async def _write(
    runtime: Runtime,
    bars: Bars,
    what: str,
    topic: str,
    records: Iterable[tuple[bytes, bytes]],
    total: int,
) -> int:
    task = bars.add_task(f"write {what}", total=total, note="")
    written = await runtime.write(topic, records, lambda n: bars.update(task, completed=n))
    bars.update(task, completed=written, total=written)
    return written


def get_ready(settings: Settings, material: Material, progress: StageBars) -> None:
    """Encode the catalogue's texts, and compile list kernels.

    Both take time that the other steps of a run leave: until the first events are applied, this
    process waits for the worker. Raises TextModelError.
    """
    encode_texts(settings, material, progress)
    compile_list_kernels()


def encode_texts(settings: Settings, material: Material, progress: StageBars) -> None:
    """Encode the catalogue's texts into the cache of the static job; raises TextModelError."""
    catalogue = pl.from_arrow(material.catalogue)
    if not isinstance(catalogue, pl.DataFrame):
        raise TypeError("the catalogue is not a table")
    texts, _ = catalogue_texts(catalogue)

    def made(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        if stage != "text":
            progress(stage, done, total, figures)

    with closing(make_encoder(settings)) as encoder:
        if settings.static.text.backend == "static":
            # The model is made. Its vectors have no cache, and cost little.
            encoder.encode(texts[:1], made)
        else:
            encoder.encode(texts, progress)


@asynccontextmanager
async def beside(work: Callable[[], None]) -> AsyncIterator[None]:
    """Do something in a thread while the body runs; at the end, wait for it and raise its error.

    After an error of the body nothing is waited for.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        yield
        await task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def write_world(runtime: Runtime, bars: Bars, material: Material) -> None:
    """Write the catalogue and the users and wait until they are applied."""
    names, items, users = runtime.settings.topics, material.catalogue, material.users
    await _write(
        runtime, bars, "catalogue", names.catalogue, catalogue_records(items), items.num_rows
    )
    if users is not None:
        await _write(runtime, bars, "users", names.users, user_records(users), users.num_rows)
    await applied(runtime, bars, "apply catalogue and users")


async def applied(runtime: Runtime, bars: Bars, what: str) -> None:
    """Wait until the worker has applied everything that is in the log."""
    first = await runtime.waiting()
    task = bars.add_task(what, total=max(first, 1), note="")
    deadline, least = time.monotonic() + PATIENCE_S, first
    while left := await runtime.waiting():
        if left < least:
            least, deadline = left, time.monotonic() + PATIENCE_S
        if time.monotonic() > deadline:
            raise DemoError(f"the worker has still {left:,} records to apply")
        first = max(first, left)
        bars.update(task, completed=first - left, total=first)
        await asyncio.sleep(POLL_S)
    bars.update(task, completed=max(first, 1), total=max(first, 1))


async def ingest(runtime: Runtime, bars: Bars, material: Material, part: str, speed: Speed) -> None:
    """Write a part of the history and wait until it is applied."""
    events = material.part(part)
    batches = events.to_arrow().to_batches(max_chunksize=65_536)
    started = time.monotonic()
    topic = runtime.settings.topics.events
    await _write(runtime, bars, f"events to {part}", topic, event_records(batches), events.height)
    await applied(runtime, bars, f"apply events to {part}")
    speed.events += events.height
    speed.seconds += time.monotonic() - started


async def make_static(
    runtime: Runtime,
    seed: int,
    stages: StageBars,
    change: Callable[[StaticBundle], StaticBundle] | None = None,
) -> StaticBundle:
    """Run the static job and wait until the worker knows its bundle; change: see the job."""
    async with runtime.outputs() as outputs:
        bundle = await run_static_job(
            runtime.settings, outputs, seed=seed, progress=stages, clock_ms=runtime.clock_ms,
            change=change,
        )  # fmt: skip
    await until(
        runtime,
        lambda: runtime.makes_examples(bundle.generation),
        "the worker does not know the static bundle",
    )
    return bundle


async def until(runtime: Runtime, condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition; raises DemoError with `otherwise` after the time limit."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        runtime.check()
        if time.monotonic() > deadline:
            raise DemoError(otherwise)
        await asyncio.sleep(POLL_S)


async def rested_bundle(runtime: Runtime) -> DynamicBundle:
    """Wait for a bundle that the trainer made from all examples."""
    while await runtime.examples_waiting():
        runtime.check()
        await asyncio.sleep(POLL_S)
    deadline = time.monotonic() + PATIENCE_S
    seen = len(await runtime.read(runtime.settings.topics.models, {}))
    rested: ModelAnnouncement | None = None
    while rested is None:
        runtime.check()
        if time.monotonic() > deadline:
            raise DemoError(f"the trainer has published no bundle for {PATIENCE_S:.0f} s")
        await asyncio.sleep(POLL_S)
        records = await runtime.read(runtime.settings.topics.models, {})
        for record in records[max(0, seen - 1) :]:
            found = announcement_of(record)
            if found and found.key == b"dynamic" and found.metrics.get("resting"):
                rested = found
    scratch = runtime.settings.folder / "demo" / "bundle"
    return await asyncio.to_thread(fetch_dynamic, runtime.settings.store(), rested.name, scratch)
