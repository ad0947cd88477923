"""The static job as the catalogue grows: checkpoints to item vectors, time and memory by stage.

    segue bench static --items 100000 --edges 2000000 --json var/bench-static.json

Each size is made by a process of its own: users with 24 items each go through `PartitionState`,
whose checkpoints and catalogue lie in an artifact store, and the text vectors in the encoder's
cache. Another process runs the job on that: merge, text, graph, structure, one epoch, vectors,
bundle. One epoch is the paper's: all edges of the smallest relation, as many of each other one.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import psutil
import torch
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.machine import cpu_model, written
from segue.screen import console, progress_bars
from state import (
    ArtifactStore,
    Checkpoints,
    CoInteractions,
    PartitionState,
    StateSettings,
    compile_kernels,
    item_key,
    merge_checkpoints,
)
from static_layer import (
    GraphSettings,
    HeteroGraph,
    StaticSettings,
    TextEncoder,
    TextSettings,
    TrainSettings,
    build,
    build_graph,
)
from static_layer.text_cache import VectorCache
from static_layer.train import sampler_factory

__all__ = ["StaticPlan", "run", "run_samplers", "show", "show_samplers"]

ROOT = Path(__file__).parents[1]
DAY_MS = 86_400_000
END_MS = 20_000 * DAY_MS
TYPES, SHARES = ("episode", "podcast", "audiobook"), (0.75, 0.17, 0.08)
PER_USER = 24
"""Items of a user: 276 pairs."""
COMMUNITY = 2_000
"""Items that share an audience; four of five of a user's items are of one community."""
PARTITIONS = 4
BATCH = 4096
COMMIT_DELTAS = 2_000_000
TEXT_WIDTH = 384


@dataclass(frozen=True, kw_only=True)
class StaticPlan:
    """What is measured.

    items, edges: size of the graph.
    fan_outs, batch_size: of the training, see TrainSettings.
    threads: of torch.
    """

    items: int
    edges: int
    fan_outs: tuple[int, ...] = (5, 5)
    batch_size: int = 4096
    threads: int = 2
    seed: int = 1


def run(plans: list[StaticPlan], file: Path) -> dict[str, Any]:
    """Measure every plan in processes of its own and write the report to `file`."""
    rows = []
    with progress_bars() as bars:
        task = bars.add_task("static job", total=len(plans), note="")
        for plan in plans:
            bars.update(task, note=f"{plan.items:,} items, {plan.edges:,} edges")
            with tempfile.TemporaryDirectory(prefix="segue-static-") as folder:
                for step in ("generate", "measure"):
                    command = [sys.executable, "-m", "benchmarks.static_scale", step, folder]
                    subprocess.run(
                        [*command, json.dumps(asdict(plan))],
                        check=True, cwd=ROOT, env={**os.environ, **_threads(plan)},
                    )  # fmt: skip
                rows.append(json.loads((Path(folder) / "row.json").read_text()))
            bars.advance(task)
    report = {"machine": cpu_model(), "rows": rows}
    return written(report, file)


def show(report: dict[str, Any]) -> None:
    """Print the report: a row for each size, seconds and peak memory of each stage."""
    table = Table(title=f"static job, {report['machine']}")
    stages = list(report["rows"][0]["stages"])
    for name in ("items", "edges", "epoch edges/s", *stages, "total", "peak GiB"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        table.add_row(
            f"{row['plan']['items']:,}", f"{row['edges']:,}", f"{row['epoch_edges_per_s']:,.0f}",
            *(f"{s['seconds']:.1f} s\n{s['peak_gib']:.2f} GiB" for s in row["stages"].values()),
            f"{row['seconds']:.0f} s", f"{row['peak_gib']:.2f}",
        )  # fmt: skip
    console.print(table)


class Stages:
    """Seconds and peak resident memory of each stage, sampled every 20 ms."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, float]] = {}
        self._name = ""
        self._process = psutil.Process()
        self._begun, self._cpu = time.perf_counter(), 0.0
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._watch.start()
        try:
            yield
        finally:
            self.enter("")
            self._ended.set()
            self._watch.join()

    def enter(self, name: str) -> None:
        if name == self._name:
            return
        now, cpu = time.perf_counter(), sum(self._process.cpu_times()[:2])
        if self._name:
            figures = self.figures[self._name]
            figures["seconds"] += now - self._begun
            figures["cpu_seconds"] += cpu - self._cpu
        self._begun, self._cpu = now, cpu
        if name:
            self.figures.setdefault(name, {"seconds": 0.0, "cpu_seconds": 0.0, "peak_gib": 0.0})
        self._name = name

    def __call__(
        self, stage: str, done: int, total: int, figures: Mapping[str, float] | None = None
    ) -> None:
        """Be told by the static job; see static_layer.Progress."""
        self.enter(stage)

    def _sample(self) -> None:
        while not self._ended.wait(0.02):
            name, gib = self._name, self._process.memory_info().rss / 2**30
            if name:
                self.figures[name]["peak_gib"] = max(self.figures[name]["peak_gib"], gib)


def measure(folder: Path, plan: StaticPlan) -> dict[str, Any]:
    """Run the job on what `generate` left in the folder."""
    torch.set_num_threads(plan.threads)
    settings = StaticSettings(
        train=TrainSettings(
            epochs=1, max_edges_per_epoch=0, batch_size=plan.batch_size,
            fan_outs=plan.fan_outs, device="cpu",
        ),
    )  # fmt: skip
    stages = Stages()
    encoder = TextEncoder(_text(folder))
    with stages.watching():
        stages.enter("merge")
        merged = merge_checkpoints(Checkpoints(ArtifactStore(str(folder / "store"))), _state())
        stages.enter("text")
        bundle = build(merged, settings, seed=plan.seed, encoder=encoder, progress=stages)
        stages.enter("save")
        bundle.save(folder / "bundle")
    encoder.close()
    metrics = bundle.manifest["metrics"]
    epoch = stages.figures["hgnn"]
    return {
        "plan": asdict(plan),
        "edges": sum(metrics["edges"].values()),
        "relations": metrics["edges"],
        "pairs": merged.co_interactions.pairs,
        "epoch_edges": metrics["edges_seen"],
        # An edge is an example of the epoch; a pass over all edges is that much longer.
        "epoch_edges_per_s": metrics["edges_seen"] / epoch["seconds"],
        "validation_mrr": metrics["validation_mrr"],
        "stages": stages.figures,
        "seconds": sum(figures["seconds"] for figures in stages.figures.values()),
        "peak_gib": max(figures["peak_gib"] for figures in stages.figures.values()),
    }


def generate(folder: Path, plan: StaticPlan) -> None:
    """Write checkpoints whose merged graph has the plan's edges, and a cache of text vectors."""
    compile_kernels()
    rng = np.random.default_rng(plan.seed)
    types = rng.choice(len(TYPES), size=plan.items, p=SHARES)
    names = [(TYPES[kind], f"{number:07d}") for number, kind in enumerate(types.tolist())]
    histories = _histories(plan, rng)
    checkpoints = Checkpoints(ArtifactStore(str(folder / "store")))
    texts = [f"{kind} {number} of community {int(number) // COMMUNITY}" for kind, number in names]
    for partition in range(PARTITIONS):
        state = PartitionState(folder / "state" / str(partition), partition, _state())
        _apply(state, histories[partition::PARTITIONS], names, rng)
        mine = range(partition, plan.items, PARTITIONS)
        state.apply_items(
            "catalogue",
            (
                (offset, b"%d" % item_key(*names[row]), _entry(names[row], texts[row]))
                for offset, row in enumerate(mine)
            ),
            len(mine),
        )
        checkpoints.create(state, folder / "scratch", END_MS)
        state.close()
    _fill_cache(folder, texts, rng)


def run_samplers(plan: StaticPlan, steps: int, file: Path) -> dict[str, Any]:
    """Measure both neighbour samplers on the plan's graph, in this process; write the report."""
    torch.set_num_threads(plan.threads)
    graph = _graph(plan)
    rng = np.random.default_rng(plan.seed)
    asked = [
        torch.from_numpy(rng.permutation(graph.nodes)[: 2 * plan.batch_size]) for _ in range(steps)
    ]
    rows = []
    for name in ("torch", "dgl"):
        try:
            sampler = sampler_factory(name)(graph, plan.fan_outs, torch.device("cpu"))
        except ModuleNotFoundError:
            console.print("DGL is not installed (pip install segue\\[dgl]): its row is left out")
            continue
        generator = torch.Generator().manual_seed(plan.seed)
        sampler.blocks(asked[0], generator)
        drawn, begun, cpu = 0, time.perf_counter(), time.process_time()
        for batch in asked:
            blocks = sampler.blocks(batch, generator)
            drawn += sum(len(relation.indices) for b in blocks for relation in b.relations)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        rows.append(
            {
                "sampler": name,
                "targets_per_s": steps * len(asked[0]) / seconds,
                "neighbours_per_s": drawn / seconds,
                "neighbours_per_cpu_s": drawn / cpu,
                "seconds": seconds,
            }
        )
    report = {"machine": cpu_model(), "plan": asdict(plan), "steps": steps, "samplers": rows}
    return written(report, file)


def show_samplers(report: dict[str, Any]) -> None:
    """Print what `run_samplers` measured."""
    plan = report["plan"]
    table = Table(
        title=f"neighbour samplers, {plan['items']:,} items, fan-outs {plan['fan_outs']},"
        f" {2 * plan['batch_size']:,} targets a step, {report['machine']}"
    )
    for name in ("sampler", "targets/s", "neighbours/s", "neighbours/cpu s", "s"):
        table.add_column(name, justify="left" if name == "sampler" else "right")
    for row in report["samplers"]:
        table.add_row(
            row["sampler"], f"{row['targets_per_s']:,.0f}", f"{row['neighbours_per_s']:,.0f}",
            f"{row['neighbours_per_cpu_s']:,.0f}", f"{row['seconds']:.1f}",
        )  # fmt: skip
    console.print(table)


def _graph(plan: StaticPlan) -> HeteroGraph:
    """Make the plan's graph without the state: what the users' items have in common."""
    rng = np.random.default_rng(plan.seed)
    types = rng.choice(len(TYPES), size=plan.items, p=SHARES)
    histories = _histories(plan, rng)
    left, right = np.triu_indices(PER_USER, 1)
    keys = np.arange(plan.items, dtype=np.uint64)
    ends = [histories[:, side].ravel().astype(np.uint64) for side in (left, right)]
    met = ends[0] != ends[1]
    ones = np.ones(int(met.sum()), np.int64)
    names = [TYPES[kind] for kind in types]
    return build_graph(
        CoInteractions.from_pairs(ends[0][met], ends[1][met], ones),
        pl.DataFrame({"item_key": keys, "item_type": names}),
        GraphSettings(),
    )


def _histories(plan: StaticPlan, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw users' items i64[users, PER_USER] until they make the plan's number of edges."""
    communities = max(plan.items // COMMUNITY, 1)
    size = plan.items // communities
    drawn, pairs = [], np.zeros(0, np.int64)
    left, right = np.triu_indices(PER_USER, 1)
    # GraphSettings.max_degree leaves out one pair in twenty.
    wanted = plan.edges * 106 // 100
    while len(pairs) < wanted:
        users = max((wanted - len(pairs)) // len(left), 10)
        home = rng.integers(communities, size=users)[:, None]
        # Popularity falls with the place in the community: density 1 / sqrt(place).
        place = (size * rng.random((users, PER_USER)) ** 2).astype(np.int64)
        away = rng.random((users, PER_USER)) < 0.2
        items = np.where(away, rng.integers(communities, size=away.shape), home) * size + place
        low, high = np.sort(np.stack([items[:, left], items[:, right]]), axis=0)
        met = (low * plan.items + high)[low != high]
        pairs = np.union1d(pairs, met)
        drawn.append(items)
    return np.concatenate(drawn)


def _apply(
    state: PartitionState,
    histories: NDArray[np.int64],
    names: list[tuple[str, str]],
    rng: np.random.Generator,
) -> None:
    """Send the users' events through the state as a worker does, in order of time."""
    user, place = np.divmod(rng.permutation(histories.size), PER_USER)
    item = histories[user, place]
    time_ms = np.sort(END_MS - rng.integers(90 * DAY_MS, size=len(user)))
    for first in range(0, len(user), BATCH):
        part = slice(first, first + BATCH)
        mine = [names[row] for row in item[part].tolist()]
        columns = SimpleNamespace(
            user_id=[f"user-{state.partition}-{number}" for number in user[part].tolist()],
            item_type=[kind for kind, _ in mine],
            item_id=[number for _, number in mine],
            kind=["stream"] * len(mine),
            timestamp=time_ms[part],
            offset=np.arange(first, first + len(mine)),
        )
        state.apply_events("events", columns, first + len(mine))
        if state.pending > COMMIT_DELTAS:
            state.commit()


def _entry(name: tuple[str, str], text: str) -> bytes:
    return msgspec.json.encode({"item_type": name[0], "item_id": name[1], "title": text})


def _fill_cache(folder: Path, texts: list[str], rng: np.random.Generator) -> None:
    """Give every text a vector near its community's, as a run of the job before would have."""
    encoder = TextEncoder(_text(folder))
    keys = [encoder.key(text) for text in texts]
    encoder.close()
    centres = rng.standard_normal((len(texts) // COMMUNITY + 1, TEXT_WIDTH), dtype=np.float32)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    with VectorCache(Path(_text(folder).cache)) as cache:
        for first in range(0, len(order), 10_000):
            rows = order[first : first + 10_000]
            vectors = centres[np.array(rows) // COMMUNITY]
            vectors = vectors + rng.standard_normal(vectors.shape, dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            cache.add({keys[row]: vector for row, vector in zip(rows, vectors, strict=True)})


def _state() -> StateSettings:
    return StateSettings()


def _text(folder: Path) -> TextSettings:
    return TextSettings(cache=str(folder / "text.db"), device="cpu")


def _threads(plan: StaticPlan) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(plan.threads), "OPENBLAS_NUM_THREADS": str(plan.threads)}


if __name__ == "__main__":
    fields = json.loads(sys.argv[3])
    arguments = StaticPlan(**{**fields, "fan_outs": tuple(fields["fan_outs"])})
    if sys.argv[1] == "generate":
        generate(Path(sys.argv[2]), arguments)
    else:
        row = measure(Path(sys.argv[2]), arguments)
        (Path(sys.argv[2]) / "row.json").write_text(json.dumps(row))
