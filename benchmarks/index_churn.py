"""A catalogue that changes while it is searched: 1 % of 1,000,000 items a minute.

    segue bench index --items 1000000 --churn 0.01 --minutes 2 --json FILE

One core for everything: this process is pinned to it, the thread that makes new indexes included.
Half of the replaced items are deleted for new ones, half get another vector (a new row for the
index, and the old one must not return either). Every answer is checked for deleted rows; samples
are compared with exact search over what is there at that moment, off the clock.
"""

import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.index_data import ItemSpace
from benchmarks.machine import cpu_model, pinned, written
from dynamic_layer import IndexSettings, ItemIndex
from segue.screen import console

__all__ = ["ChurnPlan", "measure", "run", "show"]

_K = 10
_CHECKED = 64
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class ChurnPlan:
    """What is measured.

    churn: share of the items that is replaced in a minute; rate: searches a second of `batch`
    queries; tick_s: between two changes; check_s: between two comparisons with exact search.
    Without `paced` nobody waits for the clock: changes and searches follow each other at once, and
    new indexes are waited for.
    """

    items: int = 1_000_000
    width: int = 128
    churn: float = 0.01
    minutes: float = 2.0
    rate: float = 40.0
    batch: int = 1
    tick_s: float = 0.25
    check_s: float = 2.0
    seed: int = 1
    paced: bool = True
    settings: IndexSettings = field(default_factory=IndexSettings)


class _Catalogue:
    """All rows that ever were, and which of them are there: what the index must agree with."""

    def __init__(self, plan: ChurnPlan) -> None:
        self._rng = np.random.default_rng(plan.seed)
        self._space = ItemSpace.draw(plan.width, plan.seed)
        added = round(plan.items * plan.churn * plan.minutes) + plan.items
        self.vectors = np.empty((added + plan.items // 100 + 1_000, plan.width + 1), np.float32)
        self.alive = np.zeros(len(self.vectors), np.bool_)
        self.size = 0
        self.come(plan.items)

    def queries(self, n: int) -> NDArray[np.float32]:
        return self._space.queries(n, self._rng)

    def come(self, n: int) -> NDArray[np.float32]:
        """Return the vectors of `n` new rows."""
        new = slice(self.size, self.size + n)
        self.vectors[new] = self._space.items(n, self._rng)
        self.alive[new] = True
        self.size += n
        return self.vectors[new]

    def go(self, n: int) -> NDArray[np.int64]:
        """Return `n` rows that are no longer there."""
        rows = np.zeros(0, np.int64)
        while len(rows) < n:
            drawn = self._rng.integers(self.size, size=2 * n)
            rows = np.unique(np.concatenate([rows, drawn[self.alive[drawn]]]))
        rows = self._rng.permutation(rows)[:n]
        self.alive[rows] = False
        return rows

    def recall(self, index: ItemIndex) -> float:
        """Return recall@10 against exact search over what is there now."""
        queries = self.queries(_CHECKED)
        found = index.search(queries, _K).rows
        best = np.full((_CHECKED, _K), -np.inf, np.float32)
        for start in range(0, self.size, 65_536):
            part = slice(start, min(start + 65_536, self.size))
            scores = queries @ self.vectors[part].T
            scores[:, ~self.alive[part]] = -np.inf
            best = np.sort(np.concatenate([best, scores], axis=1), axis=1)[:, -_K:]
        scores = np.einsum("qd,qkd->qk", queries, self.vectors[np.maximum(found, 0)])
        scores[(found < 0) | ~self.alive[np.maximum(found, 0)]] = -np.inf
        # By score: an item that ties with the tenth is as good.
        floor = best[:, :1] - 1e-4 * np.abs(best[:, :1])
        return float((scores >= floor).mean())


def measure(plan: ChurnPlan) -> dict[str, Any]:
    """Change a catalogue and search it; return the report."""
    process = psutil.Process()
    catalogue = _Catalogue(plan)
    begin, cpu = time.perf_counter(), time.process_time()
    index = ItemIndex(
        catalogue.vectors[: plan.items],
        np.zeros(plan.items, np.int64),
        plan.settings,
        queries=catalogue.queries(256),
    )
    built = index.built[0]
    report: dict[str, Any] = {
        "plan": asdict(plan),
        "build_s": time.perf_counter() - begin,
        "build_processor_s": time.process_time() - cpu,
        "lists": built.lists,
        "probes": built.probes,
        "candidates": built.candidates,
    }
    ticks = round(plan.minutes * 60 / plan.tick_s)
    per_tick = plan.items * plan.churn / 60 * plan.tick_s
    wall: list[float] = []
    processor: list[float] = []
    changes: list[float] = []
    recalls: list[float] = []
    memory: list[dict[str, float]] = []
    deleted = replaced = folds = fresh = 0
    off_clock = 0.0
    start = time.perf_counter()
    for tick in range(ticks):
        due = round((tick + 1) * per_tick) - replaced
        replaced += due
        at = time.perf_counter()
        index.remove(catalogue.go(due))
        index.add(catalogue.come(due), np.zeros(due, np.int64))
        changes.append((time.perf_counter() - at) * 1e3)
        if not plan.paced:
            index.settle()
        fresh = max(fresh, index.fresh)
        for number in range(round(plan.rate * plan.tick_s)):
            queries = catalogue.queries(plan.batch)
            if plan.paced:
                moment = start + off_clock + tick * plan.tick_s + number / plan.rate
                time.sleep(max(0.0, moment - time.perf_counter()))
            at, cpu = time.perf_counter(), time.thread_time()
            rows = index.search(queries, _K).rows
            processor.append((time.thread_time() - cpu) * 1e3)
            wall.append((time.perf_counter() - at) * 1e3)
            deleted += int((~catalogue.alive[rows[rows >= 0]]).sum())
        folds += index.built[0] is not built
        built = index.built[0]
        if tick % max(1, round(plan.check_s / plan.tick_s)) == 0:
            at = time.perf_counter()
            recalls.append(catalogue.recall(index))
            rss = process.memory_info().rss / _MIB
            memory.append({"s": tick * plan.tick_s, "rss_mib": rss})
            off_clock += time.perf_counter() - at
    index.settle()
    return report | {
        "seconds": time.perf_counter() - start - off_clock,
        "searches": len(wall),
        "search_ms": _percentiles(wall),
        "slowest": sorted(
            zip(wall, processor, np.arange(len(wall)).tolist(), strict=True), reverse=True
        )[:10],
        "search_processor_ms": _percentiles(processor),
        "change_ms": _percentiles(changes),
        "replaced": replaced,
        "folds": folds,
        "most_fresh": fresh,
        "recall": {
            "checks": len(recalls),
            "queries": len(recalls) * _CHECKED,
            "mean": float(np.mean(recalls)),
            "least": min(recalls),
        },
        "deleted_returned": deleted,
        "memory": memory,
    }


def _percentiles(times: list[float]) -> dict[str, float]:
    found = np.percentile(times, [50, 90, 99, 100])
    return dict(zip(("p50", "p90", "p99", "max"), found.tolist(), strict=True))


def run(plan: ChurnPlan, file: Path) -> dict[str, Any]:
    """Measure on one core and write the report to `file`."""
    faiss.omp_set_num_threads(1)
    one = {max(os.sched_getaffinity(0))} if hasattr(os, "sched_getaffinity") else set()
    with pinned(one):
        report = {"machine": cpu_model(), **measure(plan)}
    return written(report, file)


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    plan, recall = report["plan"], report["recall"]
    table = Table(title=f"index under churn, one core, {report['machine']}", show_header=False)
    rss = [sample["rss_mib"] for sample in report["memory"]]
    kind = f"{report['probes']} of {report['lists']} lists" if report["lists"] else "exact"
    rows = {
        "items": f"{plan['items']:,} x {plan['width'] + 1}, {kind}, {plan['settings']['storage']}",
        "built in": f"{report['build_s']:.1f} s ({report['build_processor_s']:.1f} processor s)",
        "replaced": f"{report['replaced']:,} in {report['seconds']:.0f} s",
        "new indexes made aside": f"{report['folds']} (at most {report['most_fresh']:,} fresh)",
        f"recall@{_K}": f"{recall['mean']:.4f}, least {recall['least']:.4f} of {recall['checks']} "
        f"checks of {_CHECKED} queries",
        "deleted items returned": str(report["deleted_returned"]),
        f"search of {plan['batch']}, ms": _line(report["search_ms"]),
        "its processor time, ms": _line(report["search_processor_ms"]),
        "change, ms": _line(report["change_ms"]),
        "RSS, MiB": f"first {rss[0]:,.0f}, most {max(rss):,.0f}, last {rss[-1]:,.0f}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _line(times: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in times.items())
