"""What the number of item types costs, for the same items, edges and events.

    segue bench types --types 1 --types 2 --types 5 --types 40

Only the types of the items differ between the rows. Seconds are of the processor, on one thread,
so that other processes change them little; what matters is their ratio to the row of two types.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from rich.table import Table

from benchmarks.machine import cpu_model, measured
from benchmarks.trained_world import NOW, World, trainer_of, with_drawn_head
from dynamic_layer import ListSettings, Recommender, UserState
from segue.screen import console
from state import CoInteractions
from static_layer import GraphSettings, TrainSettings, build_graph
from static_layer.infer import item_vectors
from static_layer.settings import HGNNSettings
from static_layer.train import train

__all__ = ["STAGES", "TypesPlan", "run", "show", "users_of"]

T = TypeVar("T")
STAGES = ("graph", "HGNN epoch", "item vectors", "towers", "bundle", "mixed lists")
BASE = 2
"""Number of types that the ratios refer to."""


@dataclass(frozen=True, kw_only=True)
class TypesPlan:
    """What is measured.

    types:  numbers of item types, a row each; `BASE` is always measured.
    items, users, history: size of the world; history is in events of a user.
    edges:  of an epoch of the HGNN. steps: of the towers.
    lists:  users in a batch, each with one list over all types. repeat: batches.
    """

    types: tuple[int, ...] = (1, 2, 5, 40)
    items: int = 20_000
    users: int = 4_000
    history: int = 24
    edges: int = 20_000
    steps: int = 40
    lists: int = 64
    repeat: int = 5
    seed: int = 1


def run(plan: TypesPlan, file: Path) -> dict[str, Any]:
    """Measure each number of types and write the report to `file`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measured(file, lambda _: _measured(plan))
    finally:
        torch.set_num_threads(threads)


def _measured(plan: TypesPlan) -> dict[str, Any]:
    # Kernels are compiled before anything is timed.
    _row(TypesPlan(items=500, users=200, edges=500, steps=2, lists=4, repeat=1), 5)
    rows = {number: _row(plan, number) for number in sorted({*plan.types, BASE})}
    return {
        "machine": cpu_model(),
        "plan": asdict(plan),
        "rows": [
            {
                "types": number,
                "seconds": seconds,
                "ratios": {name: seconds[name] / rows[BASE][name] for name in STAGES},
            }
            for number, seconds in rows.items()
        ],
    }


def _row(plan: TypesPlan, types: int) -> dict[str, float]:
    """Return processor seconds by stage."""
    names = [f"type-{number:03d}" for number in range(types)]
    world = World.draw(
        items=plan.items, users=plan.users, history=plan.history, seed=plan.seed, types=names
    )
    return {**_static(plan, world), **_dynamic(plan, world)}


def _static(plan: TypesPlan, world: World) -> dict[str, float]:
    items, seconds = world.items, dict[str, float]()
    counts = _counts(world)
    catalogue = pl.DataFrame({"item_key": items.item_keys, "item_type": items.item_types})
    graph = _timed(seconds, "graph", lambda: build_graph(counts, catalogue, GraphSettings()))
    # Every row learns from as many edges: balanced, they would depend on the smallest relation.
    settings = TrainSettings(
        epochs=1, max_edges_per_epoch=plan.edges, balanced=False, device="cpu",
        max_validation_edges=100,
    )  # fmt: skip
    order = np.argsort(items.item_keys)
    trained = _timed(
        seconds, "HGNN epoch",
        lambda: train(graph, items.text[order], HGNNSettings(), settings, seed=plan.seed),
    )  # fmt: skip
    _timed(seconds, "item vectors", lambda: item_vectors(trained.model, graph, trained.features))
    return seconds


def _counts(world: World) -> CoInteractions:
    """Return how many users met each pair of items that some user met one after the other."""
    n = len(world.items.item_keys)
    left, right = world.histories[:, :-1].ravel(), world.histories[:, 1:].ravel()
    apart = left != right
    codes = np.minimum(left, right)[apart] * n + np.maximum(left, right)[apart]
    codes, count = np.unique(codes, return_counts=True)
    item, users = np.unique(world.histories, return_counts=True)
    keys = world.items.item_keys
    return CoInteractions.from_pairs(
        np.concatenate([keys[item], keys[codes // n]]),
        np.concatenate([keys[item], keys[codes % n]]),
        np.concatenate([users, count]),
    )


def _dynamic(plan: TypesPlan, world: World) -> dict[str, float]:
    seconds: dict[str, float] = {}
    trainer = trainer_of(world, plan.seed, head=True)
    trainer.train(max_steps=2)
    _timed(seconds, "towers", lambda: trainer.train(max_steps=plan.steps))
    bundle = _timed(seconds, "bundle", trainer.publish)
    recommender = Recommender(with_drawn_head(bundle, plan.seed))
    users, mix = users_of(world, plan.lists), [ListSettings(name="mix")]
    recommender.recommend(users, mix, NOW)
    _timed(
        seconds, "mixed lists",
        lambda: [recommender.recommend(users, mix, NOW) for _ in range(plan.repeat)],
    )  # fmt: skip
    return seconds


def users_of(world: World, number: int) -> Sequence[UserState]:
    """Return the first users of a world as a recommender reads them."""
    newest = slice(None, None, -1)
    return [
        UserState(
            user_id=f"user-{row}",
            history_item=world.items.item_keys[world.histories[row, newest]],
            history_time=world.times[newest],
            history_strong=np.ones(world.histories.shape[1], np.bool_),
        )
        for row in range(number)
    ]


def _timed(seconds: dict[str, float], name: str, work: Callable[[], T]) -> T:
    begun = time.process_time()
    result = work()
    seconds[name] = time.process_time() - begun
    return result


def show(report: dict[str, Any]) -> None:
    """Print seconds of the processor by stage, and in brackets the ratio to two types."""
    table = Table(title=f"types, {report['plan']['items']:,} items, one core, {report['machine']}")
    for name in ("types", *STAGES):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        cells = [f"{row['seconds'][name]:.2f} s ({row['ratios'][name]:.2f})" for name in STAGES]
        table.add_row(str(row["types"]), *cells)
    console.print(table)
