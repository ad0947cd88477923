"""`segue demo --shop`: a shop whose rules hold while it sells, runs out of stock and takes down."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from agents.policies import PolicyBook
from agents.policy_text import PolicyFile, parse_policy
from agents.policy_versions import AttributeTypes, checked, write_version
from segue.demo.live import LiveResult, live_traffic
from segue.demo.material import Material, simulated
from segue.demo.runtime import Runtime
from segue.demo.shop_lists import Consumer, Name, Removal, RuleFigures
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
from simulation import WorldSettings
from simulation.catalogue import with_attributes
from streams import Item, ListPolicy, decode_items, encode
from streams.log_record import now_ms

__all__ = ["POLICY", "ShopOptions", "broken", "run_shop", "shop_material"]

#: The policy of the demo, to which docs/policies.md leads.
POLICY = Path(__file__).with_name("shop.toml")
#: Parts of live traffic after which the stock of an item runs out, and another is taken down.
SELLS_OUT, TAKEN_DOWN = 1 / 3, 2 / 3
#: Seconds of live traffic that are sent again at a time, and how often at most.
MORE_S, MOST_MORE = 2.0, 30


@dataclass(frozen=True, kw_only=True)
class ShopOptions:
    """Length of live traffic in seconds, its events per second, and the seed of everything."""

    live_seconds: float = 30.0
    live_rate: float = 100.0
    seed: int = 1


def shop_material(world: WorldSettings, options: ShopOptions) -> Material:
    """Return a generated world whose items have a stock, a price, a creator and markets."""
    made = simulated(
        replace(world, reserve=0), seed=options.seed, test_days=0,
        live_rate=options.live_rate, live_seconds=options.live_seconds,
    )  # fmt: skip
    catalogue = with_attributes(made.catalogue, world.markets, options.seed)
    return replace(made, title=f"a generated shop (seed {options.seed})", catalogue=catalogue)


async def run_shop(
    runtime: Runtime, material: Material, options: ShopOptions, bars: Bars
) -> dict[str, Any]:
    """Run every step; returns the figures. Raises DemoError, PolicyError."""
    started = time.monotonic()
    topics = runtime.settings.topics
    await _learn(runtime, material, options.seed, bars)
    policy, said = await _apply(runtime)
    applied_ms = now_ms()
    consumer = Consumer(runtime.log, topics.recommendations, await runtime.ends(
        topics.recommendations
    ))  # fmt: skip
    reading = asyncio.ensure_future(consumer.run())
    try:
        removals, live, seconds = await _live(runtime, material, options, bars, consumer)
        await _later_lists(runtime, material, removals, consumer)
        await applied(runtime, bars, "apply remaining records")
        ends = await runtime.ends(topics.recommendations)
        await until(runtime, lambda: consumer.has_read(ends) or reading.done(), "lists are unread")
    finally:
        if not reading.done():
            reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
    for removal in removals:
        removal.count(consumer.lists)
    rules = RuleFigures.of(
        consumer.lists,
        applied_ms,
        _attributes(material),
        _countries(material),
        policy.rules.cap[0].most,
    )
    runtime.check()
    return {
        "runs_on": runtime.name,
        "data": material.title,
        "seed": options.seed,
        "policy": {"list": said.list, "version": said.version, "text": POLICY.read_text()},
        "live": {
            "events": live.events, "wanted_rate": options.live_rate,
            "rate": round(live.events / max(seconds, 1e-9), 1),
            "served": live.served, "active_users": live.active_users, "lists": len(consumer.lists),
        },
        "latency_ms": live.latency_ms,
        "removals": [removal.figures() for removal in removals],
        "rules": {**msgspec.to_builtins(rules), "broken": rules.broken},
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def broken(report: Mapping[str, Any]) -> list[str]:
    """Return what is not as the shop wants it; empty where everything is."""
    found = []
    for removal in report["removals"]:
        name = f"{removal['what']}: {removal['item'][0]} {removal['item'][1]}"
        if not removal["before"] or not removal["checked"]:
            found.append(f"{name}: nothing to check, no list before it or none after it")
        if removal["violations"]:
            found.append(f"{name}: {removal['violations']:,} lists hold it a second later")
    if report["rules"]["broken"]:
        found.append(f"lists break the policy in {report['rules']['broken']:,} cases")
    return found


async def _learn(runtime: Runtime, material: Material, seed: int, bars: Bars) -> None:
    """Apply the history, and wait until the worker serves the bundle that was made of it."""
    speed, stages = Speed(), StageBars(bars)
    async with beside(partial(get_ready, runtime.settings, material, stages)):
        await write_world(runtime, bars, material)
        await ingest(runtime, bars, material, "graph", speed)
        await runtime.checkpoint()
    await make_static(runtime, seed, stages)
    await ingest(runtime, bars, material, "learn", speed)
    await runtime.checkpoint()
    task = bars.add_task("trainer: first bundle", total=1, note="")
    await runtime.learn()
    bundle = await rested_bundle(runtime)
    bars.update(task, completed=1, note=f"generation {bundle.generation}")
    await until(
        runtime,
        lambda: runtime.serves(bundle.generation),
        "the worker does not serve the trainer's bundle",
    )


async def _apply(runtime: Runtime) -> tuple[PolicyFile, ListPolicy]:
    """Put the packaged policy in force."""
    topics, book = runtime.settings.topics, PolicyBook()
    book.take_items(decode_items(await runtime.read(topics.catalogue, {}))[0].records)
    policy = checked(parse_policy(POLICY.read_text()), AttributeTypes.of(book.in_force.columns))

    async def append(key: bytes, value: bytes) -> tuple[int, int, int]:
        return await (await runtime.append(topics.policies, key, value))()

    said = await write_version(
        partial(runtime.read, topics.policies, {}), append, policy,
        author="segue demo", comment="the rules of a shop", now_ms=runtime.clock_ms(),
    )  # fmt: skip
    await until(
        runtime,
        lambda: runtime.follows_policy(said.list, said.version),
        "the worker does not follow the policy",
    )
    return policy, said


async def _live(
    runtime: Runtime, material: Material, options: ShopOptions, bars: Bars, consumer: Consumer
) -> tuple[list[Removal], LiveResult, float]:
    """Send live events; meanwhile the stock of an item runs out and another is taken down.

    Returns also the seconds in which the events were sent: more than they should where the machine
    is too slow.
    """
    task = bars.add_task("live traffic", total=len(material.live), note="")
    started = last = time.monotonic()

    def sent(events: int) -> None:
        nonlocal last
        last = time.monotonic()
        bars.advance(task, events)

    traffic = asyncio.ensure_future(
        live_traffic(
            runtime, material.live, stamped=True, bad=0, item_type=material.item_types[0],
            advance=sent,
        )
    )  # fmt: skip
    removals: list[Removal] = []
    try:
        for part, what in ((SELLS_OUT, "stock runs out"), (TAKEN_DOWN, "takedown")):
            due = part * options.live_seconds - (time.monotonic() - started)
            await asyncio.wait([traffic], timeout=max(0.0, due))
            gone = {removal.item for removal in removals}
            removals.append(await _remove(runtime, material, what, gone, consumer))
        live = await traffic
    finally:
        traffic.cancel()
        await asyncio.gather(traffic, return_exceptions=True)
    bars.update(task, completed=len(material.live))
    return removals, live, last - started


async def _later_lists(
    runtime: Runtime, material: Material, removals: list[Removal], consumer: Consumer
) -> None:
    """Send events again until there are lists to check after each removal.

    On a slow machine the first lists may come when live traffic ends.
    """
    more = [event for event in material.live if event.due_s < MORE_S]
    for _ in range(MOST_MORE):
        for removal in removals:
            removal.count(consumer.lists)
        if all(removal.checked for removal in removals):
            return
        await live_traffic(
            runtime, more, stamped=True, bad=0, item_type=material.item_types[0],
            advance=lambda _: None,
        )  # fmt: skip


async def _remove(
    runtime: Runtime, material: Material, what: str, gone: set[Name], consumer: Consumer
) -> Removal:
    """Let the item leave that most lists hold: by its stock, or by a takedown."""
    rows = {(row["item_type"], row["item_id"]): row for row in material.catalogue.to_pylist()}
    found: Name | None = None

    def chosen() -> bool:
        nonlocal found
        found = consumer.most_frequent(rows.keys() - gone)
        return found is not None

    await until(runtime, chosen, "no list was written in live traffic")
    if found is None:
        raise AssertionError("chosen() holds")
    row = rows[found]
    item = Item(item_type=found[0], item_id=found[1], deleted=True)
    if what != "takedown":
        item = Item(**{**row, "attributes": {**row["attributes"], "stock": 0}})
    place = await runtime.append(runtime.settings.topics.catalogue, item.key, encode(item))
    _, _, at_ms = await place()
    return Removal(what=what, item=found, title=row["title"], at_ms=at_ms)


def _attributes(material: Material) -> dict[Name, Mapping[str, Any]]:
    return {
        (row["item_type"], row["item_id"]): row["attributes"]
        for row in material.catalogue.to_pylist()
    }


def _countries(material: Material) -> dict[str, str]:
    rows = [] if material.users is None else material.users.to_pylist()
    return {row["user_id"]: row["country"] for row in rows}
