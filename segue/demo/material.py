"""Data of the demo: a generated world or the user's events, split by time.

    graph | learn | test | live
          ^ static bundle   ^ end of the history before the demo
                  ^ split: models are tested on later events

The graph ends before the first example that the two-tower learns from, and both end before the
test. Live traffic follows in real time. `spanning` gives settings whose window spans all of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from agents.experiments.arms import ExperimentSettings
from segue.feeding import require_milliseconds
from segue.file_rows import read_parquet
from segue.settings import Settings
from simulation import World, WorldSettings
from state import Window
from static_layer import TrainSettings
from static_layer.settings import RaySettings

__all__ = [
    "LiveEvent",
    "Material",
    "from_parquet",
    "from_tables",
    "in_one_folder",
    "simulated",
    "spanning",
]

DAY_MS = 86_400_000
#: Share of the events before the split that the graph is made of; the rest are examples.
GRAPH_SHARE = 0.8
WINDOW_BUCKETS = 120
#: The first and the last of ninety days are both cut by midnight, and live traffic may cross it.
WORLD_BUCKETS = 92
EVENT_COLUMNS = ["user_id", "item_id", "item_type", "kind", "timestamp"]


@dataclass(frozen=True, kw_only=True)
class LiveEvent:
    """One live record: an event, or a new catalogue entry (`launch`).

    due_s: seconds after the start of live traffic.
    """

    due_s: float
    row: dict[str, Any]
    launch: bool = False


@dataclass(frozen=True, kw_only=True)
class Material:
    """Tables and split times of one demo.

    events:   frame of `EVENT_COLUMNS` in order of time: graph, learn and test.
    graph_ms, split_ms: start of learning and of the test, ms UTC.
    window:   (bucket_ms, buckets) of the state.
    live:     the records of live traffic, in order of `due_s`; with stamped, live events have their
              send time as timestamp.
    launches: catalogue rows of items that are published during the test, in order of
              `published_at`; the catalogue has the others.
    """

    title: str
    catalogue: pa.Table
    users: pa.Table | None
    events: pl.DataFrame
    graph_ms: int
    split_ms: int
    window: tuple[int, int]
    live: list[LiveEvent]
    stamped: bool
    launches: pa.Table | None = None

    @property
    def item_types(self) -> list[str]:
        """Types of the catalogue, then of the events, in order of first appearance."""
        types = [*self.catalogue["item_type"].cast(pa.string()).to_pylist()]
        if self.launches is not None:
            types += self.launches["item_type"].cast(pa.string()).to_pylist()
        return list(dict.fromkeys([*types, *self.events["item_type"].unique(maintain_order=True)]))

    def part(self, name: str) -> pl.DataFrame:
        """Events of `graph`, `learn` or `test`."""
        at = pl.col("timestamp")
        chosen = {
            "graph": at < self.graph_ms,
            "learn": (at >= self.graph_ms) & (at < self.split_ms),
            "test": at >= self.split_ms,
        }[name]
        return self.events.filter(chosen)


def simulated(
    settings: WorldSettings, *, seed: int, test_days: float, live_rate: float, live_seconds: float
) -> Material:
    """Generate a world whose history ends at `settings.end_ms`."""
    world = World(settings, seed)
    events = _frame(pa.Table.from_batches(list(world.history())), "stream")
    steps = world.live(live_rate, settings.end_ms, live_seconds, launches=min(settings.reserve, 10))
    live = list(_live_of(steps, settings.end_ms)) if live_seconds > 0 else []
    split_ms = settings.end_ms - round(test_days * DAY_MS)
    return Material(
        title=f"a generated world (seed {seed})",
        catalogue=world.catalogue(),
        users=world.users(),
        events=events,
        graph_ms=_graph_end(events, split_ms),
        split_ms=split_ms,
        window=(DAY_MS, WORLD_BUCKETS),
        live=live,
        stamped=True,
    )


def from_parquet(
    events: Path,
    items: Path,
    *,
    test_days: float,
    until_ms: int | None,
    live_rate: float,
    live_seconds: float,
) -> Material:
    """Read a data set in the canonical format; its last events become the live traffic.

    until_ms: events from this time on are ignored. Raises ValueError if a split leaves a part
              empty,
    TableError for a file that cannot be read.
    """
    table = read_parquet(events, ("user_id", "item_id", "item_type", "timestamp"))
    require_milliseconds(table.column("timestamp"), f"{events}: timestamp")
    frame = _frame(table, "stream")
    if until_ms is not None:
        frame = frame.filter(pl.col("timestamp") < until_ms)
    if frame.is_empty():
        raise ValueError(f"{events} holds no events before the requested end")
    first, last = int(frame["timestamp"][0]), int(frame["timestamp"][-1])
    split_ms = (last + 1 if until_ms is None else until_ms) - round(test_days * DAY_MS)
    after = frame.filter(pl.col("timestamp") >= split_ms).height
    # Live traffic takes from the test days, but never more than a fifth of them.
    held = min(round(live_rate * live_seconds), after // 5)
    past, tail = frame.head(frame.height - held), frame.tail(held)
    material = Material(
        title=f"{events.name}, {frame.height:,} events",
        catalogue=read_parquet(items, ("item_id", "item_type")),
        users=None,
        events=past,
        graph_ms=_graph_end(past, split_ms),
        split_ms=split_ms,
        window=_window(first, last),
        live=[
            LiveEvent(due_s=number / live_rate, row=row)
            for number, row in enumerate(tail.iter_rows(named=True))
        ],
        stamped=False,
    )
    for name in ("graph", "learn", "test"):
        if material.part(name).is_empty():
            raise ValueError(f"test_days={test_days} leaves no events for {name}")
    return material


def from_tables(
    title: str, catalogue: pa.Table, events: pl.DataFrame, split_ms: int | None = None
) -> Material:
    """Return a data set without live traffic; raises ValueError if the graph is empty.

    events: frame of `EVENT_COLUMNS` in order of time. split_ms: start of the test, ms UTC; None
    holds no event out.
    """
    if events.is_empty():
        raise ValueError(f"{title}: there are no events")
    first, last = int(events["timestamp"][0]), int(events["timestamp"][-1])
    split_ms = last + 1 if split_ms is None else split_ms
    material = Material(
        title=title,
        catalogue=catalogue,
        users=None,
        events=events.select(EVENT_COLUMNS),
        graph_ms=_graph_end(events, split_ms),
        split_ms=split_ms,
        window=_window(first, last),
        live=[],
        stamped=False,
    )
    if material.part("graph").is_empty():
        raise ValueError(
            f"{title}: all events have nearly the same time; expected events over a longer time"
        )
    return material


def _window(first_ms: int, last_ms: int) -> tuple[int, int]:
    """Return the (bucket_ms, buckets) of a window that spans a history."""
    days = max(1, math.ceil((last_ms - first_ms + DAY_MS) / DAY_MS / (WINDOW_BUCKETS - 1)))
    return days * DAY_MS, WINDOW_BUCKETS


def _frame(table: pa.Table, kind: str) -> pl.DataFrame:
    frame: Any = pl.from_arrow(table)
    if "kind" not in frame.columns:
        frame = frame.with_columns(pl.lit(kind).alias("kind"))
    if isinstance(frame.schema["timestamp"], pl.Datetime):
        frame = frame.with_columns(pl.col("timestamp").dt.epoch("ms"))
    for name in ("user_id", "item_id", "item_type"):
        if frame.schema[name].is_float():
            raise ValueError(f"{name}: expected text or whole numbers, got {frame.schema[name]}")
    text = [pl.col(n).cast(pl.String) for n in ("user_id", "item_id", "item_type", "kind")]
    chosen: pl.DataFrame = (
        frame.with_columns(*text, pl.col("timestamp").cast(pl.Int64))
        .select(EVENT_COLUMNS)
        .sort("timestamp", maintain_order=True)
    )
    return chosen


def _graph_end(events: pl.DataFrame, split_ms: int) -> int:
    """Return the time before which `GRAPH_SHARE` of the events before the split happen."""
    before = events.filter(pl.col("timestamp") < split_ms)["timestamp"]
    if before.is_empty():
        raise ValueError("there are no events before the split; use fewer test days")
    return int(before[min(int(len(before) * GRAPH_SHARE), len(before) - 1)])


def _live_of(steps: Any, start_ms: int) -> Iterator[LiveEvent]:
    for step in steps:
        for row in step.launches.to_pylist():
            yield LiveEvent(due_s=(step.time_ms - start_ms) / 1000, row=row, launch=True)
        for row in step.events.to_pylist():
            yield LiveEvent(due_s=(row["timestamp"] - start_ms) / 1000, row=row)


def in_one_folder(
    settings: Settings, folder: Path, *, texts: str = "", models: str = ""
) -> Settings:
    """Return settings of a run that keeps its files in a folder and uses no other service.

    Of the sources, the topic stays to which workers write the lists that count as shown.
    texts, models: file of the text vectors and folder of the compiled text model; in `folder` by
    default.
    """
    text = replace(settings.static.text, cache=texts, compiled=models)
    own = tuple(one for one in settings.sources if one.topic == settings.topics.impressions)
    return replace(
        settings, data=str(folder), artifacts="", sources=own, item_sources=(), user_sources=(),
        ray=RaySettings(), experiments=ExperimentSettings(),
        static=replace(settings.static, text=text),
    )  # fmt: skip


def spanning(base: Settings, material: Material, train: TrainSettings, *, seed: int) -> Settings:
    """Return settings whose window spans the material, for roles that share few cores.

    train: of the HGNN.
    """
    bucket_ms, buckets = material.window
    span_days = bucket_ms * buckets / 86_400_000
    return replace(
        base,
        state=replace(base.state, window=Window(bucket_ms=bucket_ms, buckets=buckets)),
        static=replace(base.static, train=train),
        dynamic=replace(base.dynamic, replay=replace(base.dynamic.replay, window_days=span_days)),
        trainer=replace(base.trainer, publish_every_s=15.0, threads=1, seed=seed),
        worker=replace(base.worker, checkpoint_every_s=3_600.0),
    )
