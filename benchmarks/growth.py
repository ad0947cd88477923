"""What an event costs as the state grows: the state of one partition at 10^5, 10^6, 10^7 events.

    segue bench growth --json var/bench-growth.json

Each row is a process of its own on one core: records of events are decoded, go into a
`PartitionState` and are committed as a worker commits them. Kafka is not in it (`segue bench
throughput` has it). While the last tenth of the events goes in, the neighbours of items drawn by
their demand are read between the batches.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.table import Table

from agents import WorkerSettings
from benchmarks.listening import Listening, item_name
from benchmarks.machine import cpu_model, written
from segue.screen import console, progress_bars
from state import (
    ArtifactStore,
    Checkpoints,
    PartitionState,
    StateSettings,
    compile_kernels,
    database,
)
from streams import EventRules, Record, decode_events

__all__ = ["GrowthRow", "run", "show"]

ROOT = Path(__file__).parents[1]
TOPIC = "events"
BATCH = WorkerSettings().batch
COMMIT_DELTAS = WorkerSettings().commit_deltas
COMMIT_S = WorkerSettings().commit_every_ms / 1000


@dataclass(frozen=True, kw_only=True)
class GrowthRow:
    """One size of state.

    decode_us, apply_us, commit_us: microseconds an event, merging of runs included in the commits.
    cpu_us:               processor time of all three, RocksDB's background threads included.
    histories, entries, pairs: users, history entries, distinct live pairs of two items.
    bytes_per_entry:      packed history bytes an entry, keys included.
    bytes_per_pair:       bytes of adjacency runs a pair (both directions), keys included.
    disk_bytes:           RocksDB's files at the end.
    rss_bytes:            resident memory beyond what the process had before the first event.
    neighbours_ms:        reading an item's neighbours while events go in: p50, p99.
    neighbours:           neighbours that such a read found, in the mean.
    checkpoint_bytes:     size of a checkpoint at the end.
    uploaded_share:       share of it that was not in the store yet, which had a checkpoint from
                          before the last hundredth of the events.
    """

    events: int
    decode_us: float
    apply_us: float
    commit_us: float
    cpu_us: float
    histories: int
    entries: int
    pairs: int
    bytes_per_entry: float
    bytes_per_pair: float
    disk_bytes: int
    rss_bytes: int
    neighbours_ms: dict[str, float]
    neighbours: float
    checkpoint_bytes: int
    uploaded_share: float


def run(events: list[int], seed: int, repeat: int, file: Path) -> dict[str, Any]:
    """Measure every size in a process of its own and write the report to `file`.

    A row is the run with the median processor time; `cost_ratio` is the median over rounds, each
    of which measures all sizes one after the other, since the machine's speed drifts.
    """
    rounds: list[list[dict[str, Any]]] = []
    with progress_bars() as bars:
        task = bars.add_task("growth", total=repeat * len(events), note="")
        for _ in range(repeat):
            rounds.append([])
            for number in events:
                bars.update(task, note=f"{number:,} events")
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.growth", str(number), str(seed)],
                    check=True, stdout=subprocess.PIPE, cwd=ROOT,
                )  # fmt: skip
                rounds[-1].append(json.loads(done.stdout))
                bars.advance(task)
    ratios = sorted(round(rows[-1]["cpu_us"] / rows[0]["cpu_us"], 2) for rows in rounds)
    report = {
        "machine": cpu_model(),
        "seed": seed,
        "rows": [_median(runs) for runs in zip(*rounds, strict=True)],
        "cost_ratio": statistics.median_low(ratios),
        "runs_cost_ratio": ratios,
    }
    return written(report, file)


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    table = Table(title=f"state of one partition, one core, {report['machine']}")
    for name in (
        "events", "us: decode", "apply", "commit", "cpu us", "runs", "histories", "pairs",
        "bytes/entry", "bytes/pair", "disk MiB", "RSS MiB", "neighbours ms p50", "p99", "found",
        "upload",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for row in report["rows"]:
        table.add_row(
            f"{row['events']:,}", f"{row['decode_us']:.2f}", f"{row['apply_us']:.2f}",
            f"{row['commit_us']:.2f}", f"{row['cpu_us']:.2f}",
            f"{row['runs_cpu_us'][0]:.1f}-{row['runs_cpu_us'][-1]:.1f}",
            f"{row['histories']:,}", f"{row['pairs']:,}",
            f"{row['bytes_per_entry']:.1f}", f"{row['bytes_per_pair']:.1f}",
            f"{row['disk_bytes'] / 2**20:,.0f}", f"{row['rss_bytes'] / 2**20:,.0f}",
            f"{row['neighbours_ms']['p50']:.2f}", f"{row['neighbours_ms']['p99']:.2f}",
            f"{row['neighbours']:,.0f}", f"{row['uploaded_share']:.1%}",
        )  # fmt: skip
    console.print(table)
    console.print(
        "cost of an event at the greatest size / at the least, median: "
        f"{report['cost_ratio']}; runs: {report['runs_cost_ratio']}"
    )


def _median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the run with the median processor time, and the times of all."""
    ordered = sorted(runs, key=lambda row: row["cpu_us"])
    times = [round(row["cpu_us"], 2) for row in ordered]
    return ordered[(len(runs) - 1) // 2] | {"runs_cpu_us": times}


class _Worker:
    """Does with batches of records what a worker does, and keeps the time."""

    def __init__(self, state: PartitionState) -> None:
        self._state = state
        self._rules = EventRules()
        self._committed_at = time.perf_counter()
        self.decode_s = self.apply_s = self.commit_s = self.cpu_s = 0.0

    def take(self, batch: list[Record]) -> None:
        """Decode and apply a batch; commit when it is time."""
        begin, cpu = time.perf_counter(), time.process_time()
        events, _ = decode_events(batch, self._rules)
        decoded = time.perf_counter()
        self._state.apply_events(TOPIC, events, batch[-1].offset + 1)
        applied = time.perf_counter()
        self.decode_s += decoded - begin
        self.apply_s += applied - decoded
        self.cpu_s += time.process_time() - cpu
        if self._state.pending > COMMIT_DELTAS or applied - self._committed_at > COMMIT_S:
            self.commit()

    def commit(self) -> None:
        begin, cpu = time.perf_counter(), time.process_time()
        self._state.commit()
        self._committed_at = time.perf_counter()
        self.commit_s += self._committed_at - begin
        self.cpu_s += time.process_time() - cpu


def measure(events: int, seed: int) -> GrowthRow:
    """Measure one size in this process."""
    listening = Listening.generate(events, seed)
    chance = np.random.default_rng(seed)
    compile_kernels()
    process = psutil.Process()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    names = [item_name(number) for number in range(int(listening.item.max()) + 1)]
    with tempfile.TemporaryDirectory(prefix="segue-growth-") as scratch:
        home, links = Path(scratch) / "state", Path(scratch) / "links"
        checkpoints = Checkpoints(ArtifactStore(f"{scratch}/store"))
        state = PartitionState(home, 0, StateSettings())
        worker = _Worker(state)
        rss = process.memory_info().rss
        reads: list[tuple[float, int]] = []
        records = listening.records()
        for first in range(0, events, BATCH):
            if first <= events - events // 100 < first + BATCH:
                worker.commit()  # on the clock; the checkpoint itself is not
                checkpoints.create(state, links, 0)
            worker.take([
                Record(TOPIC, 0, first + row, int(listening.time[first + row]), *record)
                for row, record in enumerate(itertools.islice(records, BATCH))
            ])  # fmt: skip
            if first + BATCH > events * 9 // 10:
                asked = names[int(chance.choice(listening.item))]
                begin = time.perf_counter()
                found = len(state.neighbours(*asked)[0])
                reads.append((time.perf_counter() - begin, found))
        worker.commit()
        rss = process.memory_info().rss - rss
        uploaded = checkpoints.create(state, links, 1)
        history_bytes, histories = _stored(state, database.HISTORY)
        run_bytes = sum(len(state.run_files[run.number]) for run in state.runs)
        entries = sum(len(state.history(user)) for user in _users(state))
        pairs = state.co_interactions().pairs
        state.close()
        disk = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    times = np.array([seconds for seconds, _ in reads]) * 1e3
    return GrowthRow(
        events=events,
        decode_us=worker.decode_s / events * 1e6,
        apply_us=worker.apply_s / events * 1e6,
        commit_us=worker.commit_s / events * 1e6,
        cpu_us=worker.cpu_s / events * 1e6,
        histories=histories,
        entries=entries,
        pairs=pairs,
        bytes_per_entry=history_bytes / max(entries, 1),
        bytes_per_pair=run_bytes / max(pairs, 1),
        disk_bytes=disk,
        rss_bytes=rss,
        neighbours_ms={
            "p50": float(np.percentile(times, 50)),
            "p99": float(np.percentile(times, 99)),
        },
        neighbours=float(np.mean([found for _, found in reads])),
        checkpoint_bytes=uploaded.manifest.bytes,
        uploaded_share=uploaded.new_bytes / uploaded.manifest.bytes,
    )


def _stored(state: PartitionState, prefix: bytes) -> tuple[int, int]:
    """Bytes of keys and values below a prefix, and how many there are."""
    total = count = 0
    for key, value in state.database.scan(prefix, database.after(prefix)):
        total += len(key) + len(value)
        count += 1
    return total, count


def _users(state: PartitionState) -> list[str]:
    prefix = database.HISTORY
    rows = state.database.scan(prefix, database.after(prefix))
    return [key[len(prefix) :].decode() for key, _ in rows]


if __name__ == "__main__":
    print(json.dumps(asdict(measure(int(sys.argv[1]), int(sys.argv[2])))))
