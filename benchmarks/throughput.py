"""Records in the topic to committed state: Segue, its peers and the limit on the same data.

    segue bench throughput --json var/bench-throughput.json

One process of a job at a time, pinned to one core; broker and harness have the others. The jobs
take turns: each round runs all of them. Every run's pair counts are compared with the definition
(`listening.work_of`): a job that counts otherwise has no row, and the command fails. A job that
cannot be had here is left out with the reason.
"""

import asyncio
import platform
import shutil
import statistics
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.job import BenchError, Job, Place
from benchmarks.jobs import JOBS
from benchmarks.listening import Listening, Work, work_of
from benchmarks.machine import Cores, broker_at, cpu_model, pinned, written
from benchmarks.measure import Run, measure
from segue.screen import console, errors, marked
from streams import KafkaSettings, TopicSettings, bulk_write, create_topics, delete_topics, topics

__all__ = ["BenchError", "Plan", "run", "show", "write"]

PARTITIONS = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure.

    jobs:         names from `JOBS`.
    events:       numbers of events that Segue gets, one row each. The limit and the second
                  transport get the last of them.
    peer_events:  events that the peers get: all events of the first users of the same data.
    faust_events: events that Faust gets, which is slower still.
    repeat:       rounds; a row has the median of its runs.
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
    """Runs of one job on one number of events; seconds and rates are medians over the rounds.

    seconds:             from the begin of consumption to the commit of the topic's end.
    seconds_from_start:  from the start of the process to the same end.
    cpu_seconds:         processor time of the job in `seconds`.
    cpu_us_per_event:    that of an event, in microseconds: what a busy machine changes least.
    deltas_per_event:    pair deltas that the events cause, by the definition.
    peak_rss_bytes:      greatest of the runs.
    runs_per_second:     the rate of each round.
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
    cpu_us_per_event: float
    runs_per_second: tuple[float, ...]


@dataclass(kw_only=True)
class _Turn:
    """What a job does in each round, and its runs so far."""

    job: Job
    workers: int
    events: int
    runs: list[Run] = field(default_factory=list)

    def __str__(self) -> str:
        of = f" of {self.workers} workers" if self.workers > 1 else ""
        return f"{self.job.name}{of} on {self.events:,} events"


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Measure and return the report as JSON values. Raises BenchError, BrokerError.

    folder: for scratch files; what is made there goes at the end.
    A job that dies, gets stuck or counts otherwise than the definition has no row: it is named
    under `failed` with the reason, and the others are measured all the same.
    """
    skipped: dict[str, str] = {}
    for name in plan.jobs:
        try:
            JOBS[name].prepare()
        except BenchError as error:
            skipped[name] = str(error)
    turns = [turn for turn in _turns(plan) if turn.job.name not in skipped]
    if not turns:
        raise BenchError("; ".join(skipped.values()) or "no job is named")
    cores = Cores.of_this_machine()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(pinned(cores.others))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        kafka = KafkaSettings(
            bootstrap_servers=stack.enter_context(broker_at(scratch / "kafka", plan.broker))
        )
        bench = _Bench(plan, kafka, scratch, cores, stack.enter_context(_bars()))
        stack.callback(bench.close)
        rows = bench.rows(turns)
    return _report(plan, cores, rows, {"failed": bench.failed, "skipped": skipped})


def _turns(plan: Plan) -> Iterator[_Turn]:
    for name, job in JOBS.items():
        if name not in plan.jobs:
            continue
        if job.size != "events":
            yield _Turn(job=job, workers=1, events=getattr(plan, job.size))
        else:
            for events in plan.events if name == "segue" else plan.events[-1:]:
                yield _Turn(job=job, workers=1, events=events)
        if name == "segue" and plan.workers == 2:
            yield _Turn(job=job, workers=2, events=plan.events[-1])


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    machine = report["machine"]
    table = Table(title=f"{machine['cpu']}, {machine['cores']} cores; {machine['placement']}")
    table.add_column("job", no_wrap=True)
    best = f"/ {report['best_peer']}" if report["best_peer"] else "/ best peer"
    for column in ("workers", "events", "s", "CPU us", "MiB", "events/s", best, "/ drain"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in report["jobs"]:
        table.add_row(
            row["job"], str(row["workers"]), f"{row['events']:,}", f"{row['seconds']:.1f}",
            f"{row['cpu_us_per_event']:.3g}", f"{row['peak_rss_bytes'] / 2**20:,.0f}",
            f"{row['events_per_second']:,.0f}", _shown(row["of_best_peer"]),
            _shown(row["of_drain"]),
        )  # fmt: skip
    console.print(table)
    for kind in ("failed", "skipped"):
        for name, reason in report[kind].items():
            errors.print(marked("[red]{} {}:[/] {}", name, kind, reason), highlight=False)
    if report["two_workers"]:
        console.print(f"two workers are {_shown(report['two_workers'])} times one")


def _shown(ratios: Sequence[float]) -> str:
    """The median of the rounds' ratios, and their range."""
    if not ratios:
        return ""
    low, middle, high = (f"{of(ratios):.3g}" for of in (min, statistics.median, max))
    return middle if len(ratios) == 1 else f"{middle} ({low}-{high})"


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
        self._filled: dict[int, tuple[TopicSettings, Work]] = {}
        self.failed: dict[str, str] = {}

    def rows(self, turns: Sequence[_Turn]) -> list[Row]:
        """Run every job once in each round."""
        for number in range(self._plan.repeat):
            for turn in turns:
                if str(turn) not in self.failed:
                    try:
                        turn.runs.append(self._run(turn, number))
                    except BenchError as error:
                        # The others' figures are worth as much as before.
                        self.failed[str(turn)] = str(error)
        whole = [turn for turn in turns if str(turn) not in self.failed]
        return [_row_of(turn, self._filled[turn.events][1]) for turn in whole]

    def close(self) -> None:
        """Delete the topics."""
        for names, _ in self._filled.values():
            delete_topics(self._kafka, [definition.name for definition in topics(names)])

    def _topic(self, events: int) -> tuple[TopicSettings, Work]:
        """Topics with so many events, and what must become of them."""
        if events not in self._filled:
            names = TopicSettings(prefix=f"bench-{uuid.uuid4().hex[:8]}", partitions=PARTITIONS)
            create_topics(self._kafka, topics(names))
            listening = Listening.generate(events, self._plan.seed)
            self._filled[events] = names, work_of(listening)
            task = self._bars.add_task(f"write {events:,} events", total=events)
            asyncio.run(
                bulk_write(
                    self._kafka, names.events, PARTITIONS, listening.records(),
                    lambda done: self._bars.update(task, completed=done),
                )
            )  # fmt: skip
        return self._filled[events]

    def _run(self, turn: _Turn, number: int) -> Run:
        names, work = self._topic(turn.events)
        title = f"round {number + 1} of {self._plan.repeat}: {turn}"
        task = self._bars.add_task(title, total=turn.events)
        group = f"bench-{uuid.uuid4().hex[:8]}"
        place = Place(kafka=self._kafka, topics=names, group=group, folder=self._scratch / group)
        place.folder.mkdir()
        try:
            found = measure(
                turn.job, place, self._cores.of_workers(turn.workers),
                lambda done: self._bars.update(task, completed=done), self._plan.timeout_s,
            )  # fmt: skip
        finally:
            # Faust and Kafka Streams give these topics the same names.
            tables = ("histories", "pairs")
            delete_topics(self._kafka, [f"{group}-{table}-changelog" for table in tables])
        shutil.rmtree(place.folder)
        if found.totals not in (None, work.totals):
            raise BenchError(
                f"{turn.job.name} left other pair counts than the definition: {found.totals}, "
                f"not {work.totals}. Its speed means nothing."
            )
        return found


def _row_of(turn: _Turn, work: Work) -> Row:
    rates = tuple(run.events / run.seconds for run in turn.runs)
    return Row(
        job=turn.job.name,
        workers=turn.workers,
        events=turn.events,
        seconds=statistics.median(run.seconds for run in turn.runs),
        events_per_second=statistics.median(rates),
        deltas_per_event=work.deltas / turn.events,
        peak_rss_bytes=max(run.peak_rss_bytes for run in turn.runs),
        seconds_from_start=statistics.median(run.seconds_from_start for run in turn.runs),
        cpu_seconds=statistics.median(run.cpu_seconds for run in turn.runs),
        cpu_us_per_event=statistics.median(run.cpu_seconds / run.events * 1e6 for run in turn.runs),
        runs_per_second=rates,
    )


def _report(
    plan: Plan, cores: Cores, rows: Sequence[Row], left_out: dict[str, dict[str, str]]
) -> dict[str, Any]:
    peers = [row for row in rows if JOBS[row.job].peer]
    best = max(peers, key=lambda row: row.events_per_second, default=None)
    drain = next((row for row in rows if row.job == "drain"), None)
    two = next((row for row in rows if row.workers == 2), None)
    alone = next(
        (row for row in rows if two and (row.job, row.events) == ("segue", two.events)), None
    )
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
        "best_peer": best.job if best else None,
        "jobs": [
            {**asdict(row), "of_best_peer": _ratios(row, best), "of_drain": _ratios(row, drain)}
            for row in rows
        ],
        **left_out,
        "two_workers": _ratios(two, alone),
    }


def _ratios(row: Row | None, to: Row | None) -> list[float]:
    """Ratio of two rates in each round, which share the state of the machine; none without both."""
    if row is None or to is None:
        return []
    pairs = zip(row.runs_per_second, to.runs_per_second, strict=True)
    return [mine / other for mine, other in pairs]


@contextmanager
def _bars() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=errors) as bars:
        yield bars


def write(report: dict[str, Any], file: Path) -> None:
    """Write the report as JSON."""
    written(report, file)
