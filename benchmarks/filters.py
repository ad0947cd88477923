"""What policies cost: recall and time of a filtered search, and a list with rules against none.

    segue bench filters --items 1000000 --list-items 20000 --json FILE

Seconds are of the processor, on one thread, so that other processes change them little. Recall is
against exact search over what the filter leaves at that moment, on users as `ItemSpace` draws them,
while items come and go: `tick` searches, then a change. A list has a filter that leaves three
quarters, a cap and diversity; its ratio is the median over pairs of batches, with and without
rules, one after the other.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from rich.table import Table

from benchmarks.index_data import ItemSpace
from benchmarks.machine import cpu_model, measured
from benchmarks.trained_world import NOW, World, trainer_of, with_drawn_head
from benchmarks.types import users_of
from dynamic_layer import (
    IndexSettings,
    InForce,
    ItemIndex,
    ListSettings,
    Policies,
    Policy,
    Recommender,
    rules_of,
)
from segue.screen import console

__all__ = ["FiltersPlan", "run", "show"]

_K = 10
_RULES: dict[str, dict[str, Any]] = {
    "filter": {"filter": "item.stock > 0"},
    "cap": {"cap": [{"attribute": "creator", "most": 2}]},
    "diversity": {"diversity": 0.3},
}
_RULES["filter, cap, diversity"] = {**_RULES["filter"], **_RULES["cap"], **_RULES["diversity"]}
_TYPES = {"item.stock": "number", "item.creator": "text"}


@dataclass(frozen=True, kw_only=True)
class FiltersPlan:
    """What is measured.

    items: in the index; shares: that filters leave; queries: each a search of its own; changed:
    share of the items that are replaced before, and again between the searches, every `tick` of
    them. list_items, users: of the world in which lists are made, `batch` at once; repeat: pairs of
    batches, without and with rules, 0 for none.
    """

    items: int = 200_000
    width: int = 128
    shares: tuple[float, ...] = (0.5, 0.05, 0.005, 0.001)
    queries: int = 300
    changed: float = 0.01
    tick: int = 10
    list_items: int = 20_000
    users: int = 2_000
    batch: int = 64
    repeat: int = 40
    seed: int = 1


def run(plan: FiltersPlan, file: Path) -> dict[str, Any]:
    """Measure and write the report to `file`."""
    threads, of_faiss = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    try:
        return measured(file, lambda _: _measured(plan))
    finally:
        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(of_faiss)


def _measured(plan: FiltersPlan) -> dict[str, Any]:
    return {
        "machine": cpu_model(),
        "plan": asdict(plan),
        "search": _search(plan),
        "lists": _lists(plan) if plan.repeat else [],
    }


def _search(plan: FiltersPlan) -> list[dict[str, Any]]:
    rng, space = np.random.default_rng(plan.seed), ItemSpace.draw(plan.width, plan.seed)
    came = min(int(plan.items * plan.changed), IndexSettings().fresh_limit // 3)
    ticks = -(-plan.queries // plan.tick) * (len(plan.shares) + 1)
    each = -(-came // ticks)
    # Half of the changes come before, half between the searches.
    vectors = space.items(plan.items + came + each * ticks, rng)
    alive = np.zeros(len(vectors), np.bool_)
    alive[: plan.items] = True
    index = ItemIndex(
        vectors[: plan.items], np.zeros(plan.items, np.int64), IndexSettings(),
        queries=space.queries(256, rng),
    )  # fmt: skip
    size = _replace(index, vectors, alive, plan.items, came, rng)
    rows = []
    for share in (1.0, *plan.shares):
        passes = rng.random(len(vectors)) < share
        queries = space.queries(plan.queries, rng)
        seconds, hits, wanted = [], 0, 0
        for start in range(0, plan.queries, plan.tick):
            size = _replace(index, vectors, alive, size, each, rng)
            # The same array until the catalogue changes, as `RowMasks` returns it.
            allowed = None if share == 1.0 else passes[:size]
            of_tick = queries[start : start + plan.tick]
            found = []
            for query in of_tick:
                begun = time.thread_time()
                found.append(index.search_type(query[None], 0, _K, allowed=allowed).rows[0])
                seconds.append(time.thread_time() - begun)
            # Afterwards, since exact search over all vectors empties the processor's caches.
            left = alive & passes
            scores = np.where(left[:, None], vectors @ of_tick.T, np.float32(-np.inf))
            wide = min(_K, int(left.sum()))
            best = np.argpartition(-scores, wide - 1, axis=0)[:wide].T
            hits += sum(
                len(set(one.tolist()) & set(other.tolist()))
                for one, other in zip(best, found, strict=True)
            )
            wanted += best.size
        rows.append(
            {
                "share": share,
                "left": int(left.sum()),
                "recall_at_10": hits / wanted,
                "p50_ms": 1e3 * float(np.quantile(seconds, 0.5)),
                "p99_ms": 1e3 * float(np.quantile(seconds, 0.99)),
                "after_change_ms": 1e3 * float(np.median(seconds[:: plan.tick])),
            }
        )
    return rows


def _replace(
    index: ItemIndex, vectors: Any, alive: Any, size: int, n: int, rng: np.random.Generator
) -> int:
    """Remove `n` items, and add as many from place `size` on; returns the next place."""
    gone = rng.choice(np.flatnonzero(alive), n, replace=False)
    index.remove(gone)
    alive[gone] = False
    index.add(vectors[size : size + n], np.zeros(n, np.int64))
    alive[size : size + n] = True
    return size + n


def _lists(plan: FiltersPlan) -> list[dict[str, Any]]:
    world = World.draw(items=plan.list_items, users=plan.users, history=24, seed=plan.seed)
    trainer = trainer_of(world, plan.seed, head=True)
    trainer.train(max_steps=40)
    bundle = trainer.publish()
    found = []
    for head in (False, True):
        made = with_drawn_head(bundle, plan.seed) if head else bundle
        found += [{"head": head, **row} for row in _list_rows(plan, world, made)]
    return found


def _list_rows(plan: FiltersPlan, world: World, bundle: Any) -> list[dict[str, Any]]:
    rng, in_force = np.random.default_rng(plan.seed), InForce()
    in_force.columns.put(
        world.items.item_keys.tolist(),
        [
            {"stock": int(stock), "creator": f"creator-{creator}"}
            for stock, creator in zip(
                rng.integers(4, size=plan.list_items),
                rng.integers(plan.list_items // 20, size=plan.list_items),
                strict=True,
            )
        ],
    )
    recommender = Recommender(bundle, in_force=in_force)
    users, lists = users_of(world, plan.batch), [ListSettings(name="mix")]
    kinds = {"none": Policies(by_list={})}
    for name, rules in _RULES.items():
        policy = Policy.of(rules_of({"types": _TYPES, **rules}))
        kinds[name] = Policies(by_list={"*": policy})

    def seconds(name: str) -> float:
        in_force.policies = kinds[name]
        return _seconds(lambda: recommender.recommend(users, lists, NOW))

    found = []
    for name in kinds:
        # One after the other, so that a machine that slows down slows both; the first warms up.
        pairs = [(seconds("none"), seconds(name)) for _ in range(plan.repeat + 1)][1:]
        ratios = [ruled / plain for plain, ruled in pairs]
        low, high = _interval_of_median(ratios, plan.seed)
        own = float(np.median([ruled for _, ruled in pairs]))
        found.append(
            {
                "rules": name, "ms_per_list": 1e3 * own / plan.batch,
                "ratio": float(np.median(ratios)), "low": low, "high": high, "ratios": ratios,
            }
        )  # fmt: skip
    return found


def _interval_of_median(values: list[float], seed: int) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a median."""
    drawn = np.random.default_rng(seed).choice(values, (2_000, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(low), float(high)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def show(report: dict[str, Any]) -> None:
    """Print both tables."""
    plan = report["plan"]
    table = Table(title=f"filtered search, {plan['items']:,} items, {report['machine']}")
    for name in ("left", "recall@10", "p50", "p99", "after a change"):
        table.add_column(name, justify="right")
    for row in report["search"]:
        table.add_row(
            f"{row['share']:.1%}", f"{row['recall_at_10']:.3f}",
            *(f"{row[name]:.2f} ms" for name in ("p50_ms", "p99_ms", "after_change_ms")),
        )  # fmt: skip
    console.print(table)
    if not report["lists"]:
        return
    table = Table(title=f"lists, {plan['list_items']:,} items, {plan['batch']} users at once")
    for name in ("rules", "head", "a list", "ratio", "from", "to"):
        table.add_column(name, justify="right")
    for row in report["lists"]:
        table.add_row(
            row["rules"], "yes" if row["head"] else "no", f"{row['ms_per_list']:.3f} ms",
            f"{row['ratio']:.2f}", f"{row['low']:.2f}", f"{row['high']:.2f}",
        )  # fmt: skip
    console.print(table)
