"""What the live graph costs beside a stream of events, and how late vectors follow it.

    segue bench live-graph

A drawn world of users who keep to a few topics: the first events of each are in the static bundle,
the next ones come at a rate, and rows are made every few seconds. Weights of the HGNN are drawn.
Seconds are of the processor, on one thread. Not in them: the towers' vectors and the sending, which
changed rows cost without a graph too.
"""

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from rich.table import Table

from benchmarks.machine import cpu_model
from benchmarks.report import measured
from benchmarks.trained_world import StaticItems, World
from dynamic_layer import EaseSettings, LiveGraph, LiveGraphSettings
from dynamic_layer.counts.item_weights import capped
from dynamic_layer.counts.live_counts import LiveCounts
from dynamic_layer.counts.state_weights import TOGETHER, count_matrix
from dynamic_layer.examples.from_events import examples_of
from dynamic_layer.examples.pairs import added_pairs
from dynamic_layer.examples.replay import PaddedExamples, pad
from dynamic_layer.items.features import GAIN
from dynamic_layer.items.trained_items import TrainedItems
from segue.screen import console

__all__ = ["LiveGraphPlan", "run", "show"]


@dataclass(frozen=True, kw_only=True)
class LiveGraphPlan:
    """What is measured.

    items, users: size of the world. before: events of a user in the static bundle.
    rate: events a second. every_s: seconds between two deltas of rows. rounds: deltas.
    history: entries of an example; the default of `worker.example_history`.
    """

    items: int = 12_500
    users: int = 5_000
    before: int = 60
    rate: int = 2_000
    every_s: float = 5.0
    rounds: int = 6
    history: int = 50
    seed: int = 1


@dataclass
class _Counted(StaticItems):
    """A static bundle with the counts behind its graph."""

    counts: dict[str, sp.csr_array]


def run(plan: LiveGraphPlan, file: Path) -> dict[str, Any]:
    """Play the events and write the report to `file`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measured(file, lambda _: _measured(plan))
    finally:
        torch.set_num_threads(threads)


def _measured(plan: LiveGraphPlan) -> dict[str, Any]:
    events = int(plan.rate * plan.every_s)
    more = -(-events * plan.rounds // plan.users)
    world = World.draw(
        items=plan.items, users=plan.users, history=plan.before + more, seed=plan.seed
    )
    static = _static(plan, world)
    items = TrainedItems(static, use_hgnn=True)
    settings = LiveGraphSettings(enabled=True)
    graph = LiveGraph(settings, static)
    started = time.process_time()
    graph.features(items)
    begun, rows = time.process_time() - started, []
    first = plan.before * plan.users
    for number in range(plan.rounds):
        begin = first + number * events
        came = _examples(plan, world, begin, begin + events)
        started = time.process_time()
        graph.add(came)
        counted = time.process_time()
        made = graph.features(items)
        ended = time.process_time()
        assert graph.last is not None  # noqa: S101 - made above
        rows.append(
            {
                "events": len(came), "count_s": counted - started, "vectors_s": ended - counted,
                "share": (ended - started) / plan.every_s, "lag_s": plan.every_s + ended - counted,
                "computed": graph.last.computed, "changed": graph.last.changed,
                "waiting": graph.last.waiting,
            }
        )  # fmt: skip
    exact = LiveGraph(LiveGraphSettings(enabled=True, threshold=0.0), static)
    exact.restore(graph.saved())
    batch = exact.features(items)
    both = (made.content * batch.content)[:, items.text_width :].sum(dim=1) / float(GAIN) ** 2
    return {
        "machine": cpu_model(), "plan": asdict(plan), "counts": len(graph.counts.count),
        "begin_s": begun, "rows": rows, "least_cosine": float(both.min()),
    }  # fmt: skip


def _static(plan: LiveGraphPlan, world: World) -> _Counted:
    """Return the bundle of the first events, with as many counts as the static job gives it."""
    counts = LiveCounts(2**31)
    for begin in range(0, plan.before * plan.users, 4 * plan.users):
        came = _examples(plan, world, begin, min(begin + 4 * plan.users, plan.before * plan.users))
        counts.add(*added_pairs(came))
    counts.sum()
    keys = world.items.item_keys
    matrix = capped(count_matrix(counts, keys), EaseSettings().degree_cap)
    own = {field.name: getattr(world.items, field.name) for field in fields(world.items)}
    return _Counted(**own, counts={TOGETHER: matrix})


def _examples(plan: LiveGraphPlan, world: World, begin: int, end: int) -> PaddedExamples:
    """Return events `begin` to before `end`, users in turn, with the histories before them."""
    users, length = world.histories.shape
    place = np.arange(min(end, users * length))
    user, step = place % users, place // users
    batch = examples_of(
        user=user, item_key=world.items.item_keys[world.histories[user, step]],
        timestamp=world.times[step], strong=np.ones(len(place), np.bool_), first=begin,
        history_cap=plan.history,
    )  # fmt: skip
    return pad(batch, plan.history, 0)


def show(report: dict[str, Any]) -> None:
    """Print a row for each delta."""
    plan = report["plan"]
    table = Table(
        title=f"live graph, {plan['items']:,} items, {report['counts']:,} counts, "
        f"{plan['rate']:,} events/s, {report['machine']}"
    )
    for name in ("counting", "graph and vectors", "share of a core", "lag", "computed", "changed"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        table.add_row(
            f"{row['count_s']:.2f} s", f"{row['vectors_s']:.2f} s", f"{row['share']:.0%}",
            f"{row['lag_s']:.1f} s", f"{row['computed']:,}", f"{row['changed']:,}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"first computation of all vectors: {report['begin_s']:.1f} s; "
        f"least cosine to batch inference: {report['least_cosine']:.6f}"
    )
