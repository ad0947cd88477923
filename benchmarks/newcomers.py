"""How soon new items reach the people who wait for them, on a real broker.

    segue bench newcomers --json var/bench-newcomers.json

The simulated world is written to the topics, a static bundle is built and a trainer learns until it
rests, all as in the demo, with a worker and a trainer as processes of their own. Then items that
nobody has met appear one after another, as catalogue records and nothing else. Lists are longer
than usual, so that one can see what stands further down. While the items are new,
three kinds of users send events: fans of the item's topic who are with that topic at the moment,
fans who are with something else, and users who do not follow the topic. This process reads the
recommendations like any other consumer. At the end each item is deleted, and the fans who were
shown it go on. Broker, worker, trainer and this process share the machine.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.machine import broker_at, cpu_model, measured
from benchmarks.newcomer_places import Standing, places
from benchmarks.newcomer_watch import DEPTHS, Launch, Watched, Watcher
from segue.demo.flow import DemoOptions, demo_settings
from segue.demo.kafka_runtime import KafkaRuntime
from segue.demo.material import Material, simulated
from segue.demo.steps import Speed, ingest, make_static, rested_bundle, until, write_world
from segue.screen import StageBars, console, progress_bars
from segue.settings import Settings
from simulation import Newcomer, World, WorldSettings
from streams import Item
from streams.log_record import now_ms

__all__ = ["GROUPS", "NewcomersPlan", "launches", "run", "show"]

GROUPS = ("fans, with the topic", "fans, with something else", "others")


@dataclass(frozen=True, kw_only=True)
class NewcomersPlan:
    """What is measured.

    items, users, events: of the world; newcomers: items that appear; asked: users of each group for
    each of them; fan: least share of a fan's interests that the topic has; deadline_s: by when an
    item is to be shown; hgnn_epochs: of the HGNN's training.
    """

    items: int = 2_000
    users: int = 5_000
    events: int = 200_000
    newcomers: int = 30
    asked: int = 8
    fan: float = 0.2
    deadline_s: float = 5.0
    hgnn_epochs: int = 10
    seed: int = 1


def run(plan: NewcomersPlan, file: Path) -> dict[str, Any]:
    """Measure and write the report to `file`."""
    return measured(file, partial(_measure, plan))


def _measure(plan: NewcomersPlan, scratch: Path) -> dict[str, Any]:
    settings = WorldSettings(
        items=plan.items, users=plan.users, events=plan.events, end_ms=now_ms(),
        reserve=max(200, 10 * plan.newcomers),
    )  # fmt: skip
    world = World(settings, plan.seed)
    # No days are held out: nothing is judged here.
    material = simulated(settings, seed=plan.seed, test_days=0.0, live_rate=0.0, live_seconds=0.0)
    with broker_at(scratch / "kafka", os.environ.get("KAFKA_BOOTSTRAP_SERVERS")) as address:
        base = Settings(data=str(scratch / "data"))
        base = replace(base, kafka=replace(base.kafka, bootstrap_servers=address))
        options = DemoOptions(seed=plan.seed, hgnn_epochs=plan.hgnn_epochs)
        made = demo_settings(base, material, options)
        made = replace(made, worker=replace(made.worker, list_length=DEPTHS[-1]))
        runtime = KafkaRuntime(made, f"Kafka at {address}")
        return asyncio.run(_on(runtime, plan, world, material))


async def _on(
    runtime: KafkaRuntime, plan: NewcomersPlan, world: World, material: Material
) -> dict[str, Any]:
    runtime.settings.folder.mkdir(parents=True, exist_ok=True)
    try:
        await runtime.start()
        await _prepare(runtime, plan, material)
        async with Watcher(runtime, plan.deadline_s) as watcher:
            found = [await watcher.watch(launch) for launch in launches(plan, world)]
        await runtime.checkpoint()
        ranks = await asyncio.to_thread(places, runtime.settings, found)
    finally:
        await runtime.close()
        runtime.stop()
    return _report(plan, found, ranks)


async def _prepare(runtime: KafkaRuntime, plan: NewcomersPlan, material: Material) -> None:
    """Have a bundle served that was trained until nothing was left to learn."""
    with progress_bars() as bars:
        speed = Speed()
        await write_world(runtime, bars, material)
        await ingest(runtime, bars, material, "graph", speed)
        await runtime.checkpoint()
        await make_static(runtime, plan.seed, StageBars(bars))
        await ingest(runtime, bars, material, "learn", speed)
        await runtime.learn()
        bundle = await rested_bundle(runtime)
        await until(
            runtime,
            lambda: runtime.serves(bundle.generation),
            "the worker does not serve the trainer's bundle",
        )


def launches(plan: NewcomersPlan, world: World) -> list[Launch]:
    """Return the items that appear and who is asked; items with too few fans are passed over."""
    rng = np.random.default_rng([plan.seed, plan.newcomers])
    users, catalogue = world.users(), world.catalogue()
    countries = np.array(users["country"].to_pylist())
    names = list(
        zip(*(catalogue[name].to_pylist() for name in ("item_type", "item_id")), strict=True)
    )
    found: list[Launch] = []
    for place in range(world.settings.reserve):
        newcomer = world.newcomer(place, world.settings.end_ms)
        fans = np.flatnonzero(newcomer.interest >= plan.fan)
        if len(fans) < 2 * plan.asked or len(newcomer.alike) < 2:
            continue
        # Of the markets of its language: else the language alone would tell them from the fans.
        near = np.isin(countries, np.unique(countries[fans]))
        others = np.flatnonzero(near & (newcomer.interest == 0))
        asked = [
            *np.array_split(rng.choice(fans, 2 * plan.asked, replace=False), 2),
            rng.choice(others, plan.asked, replace=False),
        ]
        found.append(_launch(world, newcomer, asked, names, rng))
        if len(found) == plan.newcomers:
            return found
    raise ValueError(
        f"only {len(found)} of {world.settings.reserve} items have {2 * plan.asked} fans: "
        "ask for more users, or ask fewer of them"
    )


def _launch(
    world: World,
    newcomer: Newcomer,
    asked: list[np.ndarray[Any, np.dtype[np.int64]]],
    names: list[tuple[str, str]],
    rng: np.random.Generator,
) -> Launch:
    """Draw what the users of each group listen to: the topic, or whatever else they like."""
    entry, all_users = newcomer.entry, world.users()["user_id"].to_pylist()
    groups: dict[str, str] = {}
    listens: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {}
    for group, rows in zip(GROUPS, asked, strict=True):
        ids = [all_users[row] for row in rows.tolist()]
        chance = world.affinity(ids, entry["item_type"], world.settings.end_ms)
        topic = np.isin(np.arange(chance.shape[1]), newcomer.alike)
        chance = chance * ~topic if group != GROUPS[0] else np.broadcast_to(topic, chance.shape)
        for user, row in zip(ids, chance, strict=True):
            groups[user] = group
            one, two = rng.choice(len(row), 2, p=row / row.sum()).tolist()
            listens[user] = (names[one], names[two])
    # Not one group after the other: whoever comes first may come before the item is known.
    order = rng.permutation(list(listens)).tolist()
    return Launch(
        item=Item(**{name: value for name, value in entry.items() if value is not None}),
        alike=frozenset(names[row] for row in newcomer.alike.tolist()),
        asked=groups,
        listens={user: listens[user] for user in order},
    )


def _report(
    plan: NewcomersPlan, found: list[Watched], standings: list[list[Standing]]
) -> dict[str, Any]:
    firsts = {d: [w.first_s[d] for w in found if d in w.first_s] for d in DEPTHS}
    after = [second for watched in found for second in watched.after_s]
    pairs = [
        (watched, standing)
        for watched, users in zip(found, standings, strict=True)
        for standing in users
    ]
    return {
        "machine": cpu_model(),
        "cores": os.cpu_count(),
        **asdict(plan),
        "first_list_s": {f"first {d}": _percentiles(firsts[d]) for d in DEPTHS},
        "never_listed": {f"first {d}": len(found) - len(firsts[d]) for d in DEPTHS},
        "groups": {group: _group(plan, group, pairs) for group in GROUPS},
        "deleted": {
            "lists_with_it_later": len(after),
            "last_s": round(max(after, default=0.0), 3),
            "fans_answered_later": sum(watched.stayed for watched in found),
        },
        "launches": [_row(watched) for watched in found],
    }


def _group(
    plan: NewcomersPlan, group: str, pairs: list[tuple[Watched, Standing]]
) -> dict[str, Any]:
    mine = [(w, s) for w, s in pairs if w.launch.asked[s.user] == group]
    near, far = (
        [w.shown[d][s.user] for w, s in mine if w.shown[d].get(s.user, np.inf) <= plan.deadline_s]
        for d in DEPTHS
    )
    missed = [s for w, s in mine if s.user not in w.shown[DEPTHS[0]]]
    return {
        "asked": len(mine),
        "answered": sum(s.user in w.answered for w, s in mine),
        "shown": len(near),
        "share": round(len(near) / max(1, len(mine)), 4),
        "shown_s": _percentiles(near),
        "within_reach": round(len(far) / max(1, len(mine)), 4),
        "within_reach_s": _percentiles(far),
        "place": _percentiles([s.place for _, s in mine]),
        "missed": {
            "place": _percentiles([s.place for s in missed]),
            "topic_in_the_first_ten": round(float(np.mean([s.alike for s in missed] or [0])), 3),
        },
    }


def _row(watched: Watched) -> dict[str, Any]:
    item = watched.launch.item
    shown = Counter(watched.launch.asked[user] for user in watched.shown[DEPTHS[0]])
    return {
        "item_type": item.item_type,
        "item_id": item.item_id,
        "title": item.title,
        "alike": len(watched.launch.alike),
        "first_list_s": {f"first {d}": round(s, 3) for d, s in watched.first_s.items()},
        "shown": {group: shown[group] for group in GROUPS},
    }


def _percentiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = np.percentile(values, [50, 95, 100]).round(3).tolist()
    return dict(zip(("p50", "p95", "most"), found, strict=True))


def show(report: dict[str, Any]) -> None:
    """Print the report."""
    table = Table(
        title=f"{report['newcomers']} new items among {report['items']:,}, {report['users']:,} "
        f"users; {report['machine']}, {report['cores']} cores"
    )
    columns = ("users", "asked", "first 10", "s p50", "s p95", "first 100", "place p50", "p95")
    for name in columns:
        table.add_column(name, justify="left" if name == "users" else "right")
    for group, row in report["groups"].items():
        times = row["shown_s"] or {}
        table.add_row(
            group, f"{row['asked']:,}", f"{row['share']:.1%}",
            *(f"{times[name]:.2f}" if times else "-" for name in ("p50", "p95")),
            f"{row['within_reach']:.1%}",
            *(f"{row['place'][name]:,.0f}" for name in ("p50", "p95")),
        )  # fmt: skip
    console.print(table)
    for which, found in report["first_list_s"].items():
        times = ", ".join(f"{name} {value:.2f} s" for name, value in (found or {}).items())
        console.print(
            f"catalogue record to a list with it among the {which}: {times or 'never'}; "
            f"{report['never_listed'][which]} of {report['newcomers']} in no list within "
            f"{report['deadline_s']:g} s",
            highlight=False,
        )
    deleted = report["deleted"]
    missed = report["groups"][GROUPS[0]]["missed"]
    where = missed["place"] or {}
    console.print(
        f"deleted: {deleted['lists_with_it_later']} lists with it later, the last after "
        f"{deleted['last_s']:.2f} s, while {deleted['fans_answered_later']} fans were answered\n"
        "fans with the topic who were not shown it: its place in their list is "
        + ", ".join(f"{name} {value:,.0f}" for name, value in where.items())
        + f"; of the ten items at its head {missed['topic_in_the_first_ten']:.0%} are of its topic",
        highlight=False,
    )
