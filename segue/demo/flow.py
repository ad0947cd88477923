"""Runs the complete demo."""

import asyncio
import ctypes
import gc
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import psutil

from dynamic_layer import DynamicBundle
from segue.demo.judge import Histories, Judge, Quality, train_without_hgnn
from segue.demo.live import LiveResult, live_traffic
from segue.demo.material import Material, spanning
from segue.demo.runtime import DemoError, Runtime
from segue.demo.steps import (
    Speed,
    applied,
    beside,
    get_ready,
    ingest,
    make_static,
    rested_bundle,
    until,
    write_world,
)
from segue.screen import Bars, StageBars
from segue.settings import Settings
from segue.showing import titles_of
from static_layer import StaticBundle
from static_layer.text_model import MULTILINGUAL_MODEL
from streams import decode_items

__all__ = ["DemoOptions", "demo_settings", "run_demo"]

#: Items above which the text model would take most of the demo's time: it encodes 150 to 250 of the
#: world's texts in a second of one core, and a demo begins with an empty cache.
STATIC_TEXTS_ABOVE = 20_000
PEOPLE = 3
SHOWN_TITLES = 5


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of the demo in addition to the settings.

    test_days: days held out to evaluate the models. bad: bad records in live traffic.
    hgnn_epochs:  of the HGNN, so that a seed gives the same vectors however busy the machine is.
    hgnn_seconds: emergency stop of its training; the report says so if it ended there. 0: none.
    """

    test_days: float = 14.0
    live_seconds: float = 30.0
    bad: int = 24
    seed: int = 1
    hgnn_seconds: float = 0.0
    hgnn_epochs: int = 10


def demo_settings(base: Settings, material: Material, options: DemoOptions) -> Settings:
    """Return settings for a demo on this material: its window, short intervals, its text model.

    More than `STATIC_TEXTS_ABOVE` items are encoded by the static text model, unless the settings
    name a backend.
    """
    static = base.static
    whole = static.text.model == MULTILINGUAL_MODEL  # it has no static form
    if (
        not whole
        and static.text.backend == "auto"
        and material.catalogue.num_rows > STATIC_TEXTS_ABOVE
    ):
        static = replace(static, text=replace(static.text, backend="static"))
    train = replace(static.train, max_seconds=options.hgnn_seconds, epochs=options.hgnn_epochs)
    return spanning(replace(base, static=static), material, train, seed=options.seed)


async def run_demo(
    runtime: Runtime, material: Material, options: DemoOptions, bars: Bars
) -> dict[str, Any]:
    """Run every step; returns the figures of the report. Raises DemoError."""
    started = time.monotonic()
    memory = _PeakMemory(runtime)
    names = runtime.settings.topics
    stages = StageBars(bars)
    scratch = runtime.settings.folder / "demo"
    with memory:
        speed = Speed()
        async with beside(partial(get_ready, runtime.settings, material, stages)):
            await write_world(runtime, bars, material)
            await ingest(runtime, bars, material, "graph", speed)
            await runtime.checkpoint()
        static = await make_static(runtime, options.seed, stages)
        _return_memory()
        await ingest(runtime, bars, material, "learn", speed)
        await runtime.checkpoint()
        histories = await asyncio.to_thread(Histories, runtime.settings, scratch / "split")
        judge = await asyncio.to_thread(Judge, material, histories)
        two_tower_hgnn = await _train(runtime, static, options.seed, bars, stages, judge)
        with _Spinner(bars, "evaluate on the test days"):
            await asyncio.to_thread(judge.bundle, "two_tower_hgnn", two_tower_hgnn)
        histories.close()
        quality, built, trained = judge.quality(), _built(static), two_tower_hgnn.generation
        # What the tests needed goes before the roles have live traffic, when they need the most.
        del judge, static, two_tower_hgnn
        _return_memory()

        await ingest(runtime, bars, material, "test", speed)
        await until(
            runtime,
            lambda: runtime.serves(trained),
            "the worker does not serve the trainer's bundle",
        )
        task = bars.add_task("live traffic", total=len(material.live), note="")
        live = await live_traffic(
            runtime, material.live, stamped=material.stamped,
            bad=options.bad if material.live else 0, item_type=material.item_types[0],
            advance=lambda n: bars.advance(task, n),
        )  # fmt: skip
        bars.update(task, completed=len(material.live))
        await applied(runtime, bars, "apply remaining records")
        await runtime.checkpoint()
        final = await asyncio.to_thread(Histories, runtime.settings, scratch / "end")
        records_in = sum((await runtime.ends(names.events)).values())
        titles = titles_of(decode_items(await runtime.read(names.catalogue, {}))[0].records)
        report = built | _report(material, options, quality, live, speed, final)
        report["people"] = _people(live, final, titles)
        final.close()
        shutil.rmtree(scratch, ignore_errors=True)
        report["runs_on"] = runtime.name
        report["records_in"] = records_in
        runtime.check()
    report["seconds"] = round(time.monotonic() - started, 1)
    report["peak_memory_bytes"] = memory.peak
    return report


async def _train(
    runtime: Runtime, static: StaticBundle, seed: int, bars: Bars, stages: StageBars, judge: Judge
) -> DynamicBundle:
    """Train and test without the HGNN here while the trainer trains with it; returns its bundle."""
    names = runtime.settings.topics
    task = bars.add_task("trainer: first bundle", total=1, note="")
    records = await runtime.read(names.examples, {})
    if not records:
        raise DemoError(
            "the worker made no examples. Check that there are events between graph and test."
        )

    def without_hgnn() -> None:
        bundle = train_without_hgnn(static, records, runtime.settings.dynamic, seed, stages)
        judge.baselines()
        judge.bundle("two_tower", bundle)

    async with beside(without_hgnn):
        await runtime.learn()
        with_hgnn = await rested_bundle(runtime)
        bars.update(task, completed=1, note=f"generation {with_hgnn.generation}")
    return with_hgnn


def _report(
    material: Material,
    options: DemoOptions,
    quality: Quality,
    live: LiveResult,
    speed: Speed,
    final: Histories,
) -> dict[str, Any]:
    return {
        "data": material.title,
        "test_days": options.test_days,
        "seed": options.seed,
        "events": speed.events,
        "events_per_second": round(speed.events / max(speed.seconds, 1e-9)),
        "applied": final.counts["applied"],
        "dead_lettered": final.counts["refused"],
        "state": {
            "histories": final.users(), "pairs": final.pairs(), "bytes": final.bytes,
        },
        "hr_at_10": quality.hr_at_10,
        "coverage": quality.coverage,
        "test_users": quality.users,
        "recommendations": live.recommendations,
        "latency_ms": live.latency_ms,
        "dead_letters": live.reasons,
        "live": {
            "events": live.events,
            "faults": live.faults,
            "launches": live.launches,
            "launched_recommended": live.launched_recommended,
            "unanswered": live.unanswered,
            "served": live.served,
            "active_users": live.active_users,
        },
    }  # fmt: skip


def _built(static: StaticBundle) -> dict[str, Any]:
    """What the report says of the static bundle."""
    metrics = static.manifest["metrics"]
    return {
        "texts": {"backend": static.manifest["text"]["backend"]},
        "graph": {"nodes": metrics["nodes"], "edges": metrics["edges"]},
        "hgnn": {
            "epochs": metrics["epochs"],
            "loss": metrics["loss"],
            "validation": metrics["validation_mrr"],
            "seconds": metrics["seconds"]["train"],
            "stopped_by": metrics["stopped_by"],
        },
    }


def _people(
    live: LiveResult, histories: Histories, titles: dict[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """Users with the longest lists, their last items and their recommendations."""
    by_key = histories.titles(titles)
    people = []
    for user, lists in sorted(live.lists.items()):
        state = histories(user)
        known = [by_key[int(k)] for k in state.history_item if int(k) in by_key]
        name = next(iter(lists))
        if len(known) < SHOWN_TITLES or not lists[name].items:
            continue
        people.append(
            {
                "user_id": user,
                "list": name,
                "history": known[:SHOWN_TITLES],
                "recommended": [
                    f"{titles.get((i.item_type, i.item_id), i.item_id)} [{i.item_type}]"
                    for i in lists[name].items[:SHOWN_TITLES]
                ],
            }
        )
        if len(people) == PEOPLE:
            break
    return people


def _return_memory() -> None:
    """Return freed memory to the system: glibc keeps what smaller arrays had for the next ones."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


class _PeakMemory:
    """Samples the memory of all demo processes once per second.

    A page that several processes share, such as one of torch's libraries, counts once.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak = 0

    def __enter__(self) -> "_PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            total = 0
            for process in [psutil.Process(), *self._runtime.processes()]:
                with suppress(psutil.NoSuchProcess):
                    used = process.memory_full_info()
                    # Only Linux tells the proportional share.
                    total += getattr(used, "pss", used.rss)
            self.peak = max(self.peak, total)
            if self._stop.wait(1.0):
                return


class _Spinner:
    """A progress bar for a step of unknown length."""

    def __init__(self, bars: Bars, what: str) -> None:
        self._bars = bars
        self._task = bars.add_task(what, total=None, note="")

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._bars.update(self._task, total=1, completed=1)
