"""Records in the topic to committed state: Segue, Faust tables and Kafka Streams on the same data.

    segue bench throughput --json var/bench-throughput.json

One process of a job at a time, pinned to one core; broker and harness have the others. Every run's
pair counts are compared with the definition (`listening.work_of`): a job that counts otherwise has
no row, and the command fails.
"""

import asyncio
import json
import platform
import shutil
import statistics
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.broker import broker_at
from benchmarks.jobs import JOBS, BenchError, Job, Place
from benchmarks.listening import Listening, Work, work_of
from benchmarks.machine import Cores, cpu_model, pinned
from benchmarks.measure import Run, measure
from segue.screen import console, errors, marked
from streams import KafkaSettings, TopicSettings, bulk_write, create_topics, delete_topics, topics

__all__ = ["BenchError", "Plan", "run", "show", "write"]

ROOT = Path(__file__).parents[1]
PARTITIONS = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure.

    jobs:         names from `JOBS`.
    events:       numbers of events that Segue gets, one row each.
    peer_events:  events that Kafka Streams gets: all events of the first users of the same data.
    faust_events: events that Faust gets, which is slower still.
    repeat:       runs of each row; the row has their median.
    workers:      2 measures two workers on two cores, too, on the last of `events`: with few, the
                  run is over before both have begun.
    seed:         of the events.
    timeout_s:    longest time of one run, in seconds.
    broker:       host:port of a broker that runs already; None starts one for this benchmark.
    """

    jobs: tuple[str, ...] = tuple(JOBS)
    events: tuple[int, ...] = (1_000_000, 5_000_000)
    peer_events: int = 200_000
    faust_events: int = 10_000
    repeat: int = 3
    workers: int = 1
    seed: int = 1
    timeout_s: float = 300.0
    broker: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be measured."""
        if unknown := set(self.jobs) - JOBS.keys():
            raise ValueError(f"no such job: {', '.join(sorted(unknown))}; there are {list(JOBS)}")
        if min(*self.events, self.peer_events, self.faust_events, self.repeat) < 1:
            raise ValueError("numbers of events and repeat must be positive")
        if self.workers not in (1, 2):
            raise ValueError(f"workers: expected 1 or 2, got {self.workers}")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Runs of one job on one number of events; seconds and rates are medians over the runs.

    seconds:             from the begin of consumption to the commit of the topic's end.
    seconds_from_start:  from the start of the process to the same end.
    cpu_seconds:         processor time of the job in `seconds`.
    deltas_per_event:    pair deltas that the events cause, by the definition.
    peak_rss_bytes:      greatest of the runs.
    runs_per_second:     the rate of each run, lowest first.
    """

    job: str
    workers: int
    events: int
    seconds: float
    events_per_second: float
    deltas_per_event: float
    peak_rss_bytes: int
    seconds_from_start: float
    cpu_seconds: float
    runs_per_second: tuple[float, ...]


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Measure and return the report as JSON values. Raises BenchError, BrokerError.

    folder: for scratch files; what is made there goes at the end.
    A job that dies, gets stuck or counts otherwise than the definition has no row: it is named
    under `failed` with the reason, and the others are measured all the same.
    """
    for name in plan.jobs:
        JOBS[name].prepare()
    cores = Cores.of_this_machine()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(pinned(cores.others))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        kafka = KafkaSettings(
            bootstrap_servers=stack.enter_context(broker_at(scratch / "kafka", plan.broker))
        )
        bench = _Bench(plan, kafka, scratch, cores, stack.enter_context(_bars()))
        rows = [row for events, jobs in _by_events(plan) for row in bench.rows(events, jobs)]
    return _report(plan, cores, rows, bench.failed)


def _by_events(plan: Plan) -> Iterator[tuple[int, list[tuple[Job, int]]]]:
    """Numbers of events, and the jobs that get so many with their numbers of processes."""
    if "segue" in plan.jobs:
        for position, events in enumerate(plan.events):
            last = position == len(plan.events) - 1
            workers = range(1, plan.workers + 1) if last else (1,)
            yield events, [(JOBS["segue"], number) for number in workers]
    if "faust" in plan.jobs:
        yield plan.faust_events, [(JOBS["faust"], 1)]
    if streams := [name for name in plan.jobs if name.startswith("kafka-streams")]:
        yield plan.peer_events, [(JOBS[name], 1) for name in streams]


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    machine = report["machine"]
    table = Table(title=f"{machine['cpu']}, {machine['cores']} cores; {machine['placement']}")
    table.add_column("job", no_wrap=True)
    for column in ("workers", "events", "s", "events/s", "runs", "CPU s", "deltas", "MiB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in [*report["jobs"], *report["two_workers"]["rows"]]:
        runs = row["runs_per_second"]
        table.add_row(
            row["job"], str(row["workers"]), f"{row['events']:,}", f"{row['seconds']:.1f}",
            f"{row['events_per_second']:,.0f}", f"{runs[0]:,.0f}-{runs[-1]:,.0f}",
            f"{row['cpu_seconds']:.1f}", f"{row['deltas_per_event']:.1f}",
            f"{row['peak_rss_bytes'] / 2**20:,.0f}",
        )  # fmt: skip
    console.print(table)
    for name, reason in report["failed"].items():
        errors.print(marked("[red]{} failed:[/] {}", name, reason), highlight=False)
    for name, ratio in report["times_faster_than"].items():
        console.print(f"segue is {ratio:.1f} times {name}")
    if report["two_workers"]["ratio"]:
        console.print(f"two workers are {report['two_workers']['ratio']:.2f} times one")


class _Bench:
    """Fills a topic for each number of events and runs jobs on it."""

    def __init__(
        self, plan: Plan, kafka: KafkaSettings, scratch: Path, cores: Cores, bars: Progress
    ) -> None:
        self._plan = plan
        self._kafka = kafka
        self._scratch = scratch
        self._cores = cores
        self._bars = bars
        self.failed: dict[str, str] = {}

    def rows(self, events: int, jobs: Sequence[tuple[Job, int]]) -> list[Row]:
        """Measure jobs on the same topics, which go afterwards."""
        names = TopicSettings(prefix=f"bench-{uuid.uuid4().hex[:8]}", partitions=PARTITIONS)
        definitions = topics(names)
        create_topics(self._kafka, definitions)
        try:
            work = self._fill(names, events)
            rows = []
            for job, number in jobs:
                try:
                    rows.append(self._row(job, names, events, work, number))
                except BenchError as error:
                    # The others' figures are worth as much as before.
                    self.failed[job.name] = str(error)
            return rows
        finally:
            delete_topics(self._kafka, [definition.name for definition in definitions])

    def _fill(self, names: TopicSettings, events: int) -> Work:
        listening = Listening.generate(events, self._plan.seed)
        task = self._bars.add_task(f"write {events:,} events", total=events)
        asyncio.run(
            bulk_write(
                self._kafka, names.events, PARTITIONS, listening.records(),
                lambda done: self._bars.update(task, completed=done),
            )
        )  # fmt: skip
        return work_of(listening)

    def _row(self, job: Job, names: TopicSettings, events: int, work: Work, workers: int) -> Row:
        runs = []
        for number in range(self._plan.repeat):
            title = f"{job.name}, {number + 1} of {self._plan.repeat}"
            title += f", {workers} workers" if workers > 1 else ""
            task = self._bars.add_task(title, total=events)
            group = f"bench-{uuid.uuid4().hex[:8]}"
            place = Place(
                kafka=self._kafka, topics=names, group=group, folder=self._scratch / group
            )
            place.folder.mkdir()
            try:
                found = measure(
                    job, place, self._cores.of_workers(workers),
                    lambda done, task=task: self._bars.update(task, completed=done),  # type: ignore[misc]
                    self._plan.timeout_s,
                )  # fmt: skip
            finally:
                # Faust and Kafka Streams give these topics the same names.
                tables = ("histories", "pairs")
                delete_topics(self._kafka, [f"{group}-{table}-changelog" for table in tables])
            shutil.rmtree(place.folder)
            if found.totals != work.totals:
                raise BenchError(
                    f"{job.name} left other pair counts than the definition: {found.totals}, "
                    f"not {work.totals}. Its speed means nothing."
                )
            runs.append(found)
        return _row_of(job.name, workers, events, work, runs)


def _row_of(job: str, workers: int, events: int, work: Work, runs: Sequence[Run]) -> Row:
    rates = sorted(run.events / run.seconds for run in runs)
    return Row(
        job=job,
        workers=workers,
        events=events,
        seconds=statistics.median(run.seconds for run in runs),
        events_per_second=statistics.median(rates),
        deltas_per_event=work.deltas / events,
        peak_rss_bytes=max(run.peak_rss_bytes for run in runs),
        seconds_from_start=statistics.median(run.seconds_from_start for run in runs),
        cpu_seconds=statistics.median(run.cpu_seconds for run in runs),
        runs_per_second=tuple(rates),
    )


def _report(
    plan: Plan, cores: Cores, rows: Sequence[Row], failed: Mapping[str, str]
) -> dict[str, Any]:
    one = [row for row in rows if row.workers == 1]
    two = [row for row in rows if row.workers == 2]
    ours = next((row for row in one if row.job == "segue"), None)
    alone = next((row for row in one if two and row.events == two[0].events), None)
    peers = [row for row in one if row.job != "segue"]
    return {
        "plan": asdict(plan),
        "machine": {
            "cpu": cpu_model(),
            "cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "system": platform.platform(),
            "python": platform.python_version(),
            "placement": str(cores),
        },
        "jobs": [asdict(row) for row in one],
        "failed": dict(failed),
        "times_faster_than": {
            row.job: ours.events_per_second / row.events_per_second for row in peers if ours
        },
        "two_workers": {
            "rows": [asdict(row) for row in two],
            "ratio": two[0].events_per_second / alone.events_per_second if two and alone else None,
        },
    }


@contextmanager
def _bars() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=errors) as bars:
        yield bars


def write(report: dict[str, Any], file: Path) -> None:
    """Write the report as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n")
