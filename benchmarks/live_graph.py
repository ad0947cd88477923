"""What the live graph costs beside a stream of events, and how late vectors follow it.

    segue bench live-graph
    segue bench live-graph ../shared/data/lfm1m

The events of a data set, or of a drawn world of users who keep to a few topics: the first ones are
in the static bundle, the last ones come at a rate, and rows are made every few seconds. Vectors of
texts and weights of the HGNN are drawn.
Seconds are of the processor, on one thread. Not in them: the towers' vectors and the sending, which
changed rows cost without a graph too.
"""

import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.machine import cpu_model, measured
from benchmarks.trained_world import EXAMPLES, StaticItems, World
from dynamic_layer import DynamicSettings, EaseSettings, LiveGraph, LiveGraphSettings
from dynamic_layer.counts.item_weights import capped
from dynamic_layer.counts.live_counts import LiveCounts
from dynamic_layer.counts.state_weights import TOGETHER, count_matrix
from dynamic_layer.examples.from_events import examples_of
from dynamic_layer.examples.replay import PaddedExamples, pad
from dynamic_layer.examples.same_user import added_pairs
from dynamic_layer.items.features import GAIN
from dynamic_layer.items.trained_items import TrainedItems
from segue.screen import console
from state import item_key

__all__ = ["LiveGraphPlan", "run", "show"]

_AT_ONCE = 40_000  # examples: histories of 512 entries are 270 MB


@dataclass(frozen=True, kw_only=True)
class LiveGraphPlan:
    """What is measured.

    data: folder with events.parquet and items.parquet; None for a drawn world.
    items, users: size of the world. before: events of a user in its static bundle.
    rate: events a second. every_s: seconds between two deltas of rows. rounds: deltas.
    history: entries of an example; the default of `worker.example_history`.
    """

    data: str | None = None
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


@dataclass(frozen=True)
class _Events:
    """Events in order of time: user i64 [n], item u64 [n], time i64 [n], ms UTC."""

    user: NDArray[np.int64]
    item: NDArray[np.uint64]
    time: NDArray[np.int64]

    def examples(self, begin: int, end: int, history: int) -> PaddedExamples:
        """Return events `begin` to before `end` with the histories before them."""
        batch = examples_of(
            user=self.user[:end], item_key=self.item[:end], timestamp=self.time[:end],
            strong=np.ones(end, np.bool_), first=begin, history_cap=history,
        )  # fmt: skip
        return pad(batch, history, 0)


def _measured(plan: LiveGraphPlan) -> dict[str, Any]:
    number = int(plan.rate * plan.every_s)
    drawn, events = _drawn(plan) if plan.data is None else _read(Path(plan.data), plan.seed)
    first = len(events.user) - number * plan.rounds
    if first <= 0:
        raise ValueError(
            f"expected more than {number * plan.rounds} events, got {len(events.user)}"
        )
    static = _static(drawn, events, first)
    items = TrainedItems(static, use_hgnn=True)
    settings = LiveGraphSettings(enabled=True)
    graph = LiveGraph(settings, static)
    started = time.process_time()
    graph.features(items)
    begun, rows = time.process_time() - started, []
    for begin in range(first, len(events.user), number):
        came = events.examples(begin, begin + number, plan.history)
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
        "machine": cpu_model(), "plan": asdict(plan), "items": len(items.features),
        "counts": len(graph.counts.count), "begin_s": begun, "rows": rows,
        "least_cosine": float(both.min()),
    }  # fmt: skip


def _drawn(plan: LiveGraphPlan) -> tuple[StaticItems, _Events]:
    """Return a world's items, and its events: users in turn."""
    more = -(-int(plan.rate * plan.every_s) * plan.rounds // plan.users)
    world = World.draw(
        items=plan.items, users=plan.users, history=plan.before + more, seed=plan.seed
    )
    user, step = np.arange(plan.users), np.arange(plan.before + more)
    events = _Events(
        np.tile(user, len(step)),
        world.items.item_keys[world.histories.T.ravel()],
        np.repeat(world.times, plan.users),
    )
    return world.items, events


def _read(folder: Path, seed: int) -> tuple[StaticItems, _Events]:
    """Return items of a data set with drawn vectors, and its events."""
    items = pl.read_parquet(folder / "items.parquet").unique(["item_type", "item_id"])
    names = zip(items["item_type"], items["item_id"], strict=True)
    keys = pl.Series("key", [item_key(*name) for name in names], dtype=pl.UInt64())
    items = items.with_columns(keys).sort("key")
    events = pl.read_parquet(folder / "events.parquet").sort("timestamp", maintain_order=True)
    events = events.join(items, on=["item_type", "item_id"], maintain_order="left")
    n, types = len(items), items["item_type"].unique().sort().to_list()
    drawn = World.draw(items=n, users=1, history=EXAMPLES, seed=seed, types=types).items
    own = replace(drawn, item_keys=items["key"].to_numpy(), item_types=items["item_type"].to_list())
    return own, _Events(
        events["user_id"].rank("dense").cast(pl.Int64).to_numpy(),
        events["key"].to_numpy(),
        events["timestamp"].cast(pl.Int64).to_numpy(),
    )


def _static(items: StaticItems, events: _Events, first: int) -> _Counted:
    """Return the bundle of the first events, with as many counts as the static job gives it."""
    counts, whole = LiveCounts(2**31), DynamicSettings().replay.whole_history
    for begin in range(0, first, _AT_ONCE):
        counts.add(*added_pairs(events.examples(begin, min(begin + _AT_ONCE, first), whole)))
    counts.sum()
    matrix = capped(count_matrix(counts, items.item_keys), EaseSettings().degree_cap)
    own = {field.name: getattr(items, field.name) for field in fields(items)}
    return _Counted(**own, counts={TOGETHER: matrix})


def show(report: dict[str, Any]) -> None:
    """Print a row for each delta."""
    plan = report["plan"]
    table = Table(
        title=f"live graph, {report['items']:,} items, {report['counts']:,} counts, "
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
