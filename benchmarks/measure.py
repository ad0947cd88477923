"""One run of one job: from records in the topic to committed state, with processes on given cores.

A run begins when the job begins to consume, and ends when the broker has got the commit of the
topic's end, or when the job says that all is done; both are read from logs afterwards. Meanwhile
the job is looked at every two seconds.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.commits import Commit, group_commits
from benchmarks.job import BenchError, Job, Place
from benchmarks.listening import Totals
from benchmarks.machine import pinned
from segue.compose import without_settings
from streams import AdminError, end_offsets, group_lag

__all__ = ["Run", "all_at_work", "end_of", "measure"]

ROOT = Path(__file__).parents[1]
LOOK_S = 2.0
STOP_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run measured.

    events:             events committed between begin and end.
    seconds:            of one process from the begin of consumption to the end; of several the time
                        in which all of them were at work.
    seconds_from_start: from the start of the first process to the end.
    cpu_seconds:        processor time that the processes had in `seconds`, read every two seconds:
                        below it by much, and others had the core.
    peak_rss_bytes:     greatest resident memory of all processes together, each at its peak.
    """

    events: int
    seconds: float
    seconds_from_start: float
    cpu_seconds: float
    peak_rss_bytes: int
    totals: Totals | None


def measure(
    job: Job,
    place: Place,
    cores: Sequence[set[int]],
    on_progress: Callable[[int], None],
    timeout_s: float,
) -> Run:
    """Run a job with one process for each set of cores until the whole topic is done.

    Raises BenchError when a process dies or the time is over.
    """
    topic = place.topics.events
    ends = end_offsets(place.kafka, [topic])[topic]
    total = sum(ends.values())
    launched = time.time_ns() // 1_000_000
    processes = _Processes(job, place, cores)
    try:
        deadline = time.monotonic() + timeout_s
        left = total
        while left := _left(job, place, processes.logs(), total, left):
            processes.look()
            on_progress(total - left)
            if time.monotonic() > deadline:
                raise BenchError(
                    f"{job.name} still had {left:,} of {total:,} events to do "
                    f"after {timeout_s:g} s: give it fewer events, or more time"
                )
            time.sleep(LOOK_S)
        processes.look()
        on_progress(total)
    finally:
        processes.stop()
    logs = processes.logs()
    commits = asyncio.run(group_commits(place.kafka, place.group, topic))
    begun = [job.started_ms(log, commits) for log in logs]
    if None in begun:
        raise BenchError(f"{job.name} does not say when it began:\n{logs[begun.index(None)]}")
    begun_ms = max(at for at in begun if at is not None)
    done = job.done(logs[0]) if job.tells else None
    last_ms = done.at_ms if done else end_of(commits, ends)
    events, end_ms = total, last_ms
    if len(cores) > 1:
        events, begun_ms, end_ms = all_at_work(commits, ends, begun_ms)
    return Run(
        events=events,
        seconds=(end_ms - begun_ms) / 1000,
        seconds_from_start=(last_ms - launched) / 1000,
        cpu_seconds=processes.cpu_seconds(begun_ms, end_ms),
        peak_rss_bytes=processes.peak_rss_bytes,
        totals=job.totals(place, logs),
    )


def end_of(commits: Iterable[Commit], ends: dict[int, int]) -> int:
    """Return when the end of the topic was committed, ms. Raises BenchError if it never was."""
    return max(_reached(commits, ends).values())


def all_at_work(
    commits: Sequence[Commit], ends: dict[int, int], begun_ms: int
) -> tuple[int, int, int]:
    """Return the events committed while every process was at work, and from when to when, in ms.

    That begins when each partition has a commit from `begun_ms` on, when the last process had
    begun, and lasts until the first partition is at its end: before and after it some processes
    have nothing to do, for a time that does not grow with the topic. Between two commits of a
    partition its events are taken to come evenly. Raises BenchError where no time is left.
    """
    reached = _reached(commits, ends)
    firsts: dict[int, int] = {}
    for commit in commits:
        if commit.at_ms >= begun_ms:
            firsts.setdefault(commit.partition, commit.at_ms)
    begin, end = max(firsts[partition] for partition in reached), min(reached.values())
    if begin >= end:
        raise BenchError("the processes were never all at work together: give them more events")
    events = 0.0
    for partition in reached:
        mine = [commit for commit in commits if commit.partition == partition]
        at, offset = [commit.at_ms for commit in mine], [commit.offset for commit in mine]
        before, after = np.interp([begin, end], at, offset)
        events += float(after - before)
    return round(events), begin, end


def _reached(commits: Iterable[Commit], ends: dict[int, int]) -> dict[int, int]:
    """Return when each partition that is not empty was committed to its end, ms."""
    done: dict[int, int] = {}
    for commit in commits:
        if commit.offset >= ends[commit.partition]:
            done.setdefault(commit.partition, commit.at_ms)
    filled = {partition for partition, end in ends.items() if end}
    if not filled or filled - done.keys():
        raise BenchError(f"the group's commits do not reach the ends {ends}: {done}")
    return {partition: done[partition] for partition in filled}


class _Processes:
    """The processes of one run; their output goes to files in the run's folder."""

    def __init__(self, job: Job, place: Place, cores: Sequence[set[int]]) -> None:
        self._name = job.name
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs = [place.folder / f"{job.name}-{number}.log" for number in range(len(cores))]
        self._peaks = [0] * len(cores)
        self._cpu: list[tuple[float, float]] = []  # time in ms, processor seconds so far
        environment = without_settings(os.environ) | {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        for number, (path, mine) in enumerate(zip(self._logs, cores, strict=True)):
            with path.open("wb") as log, pinned(mine):
                process = subprocess.Popen(
                    job.command(place, number), stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, env=environment, start_new_session=True,
                )  # fmt: skip
            self._processes.append(process)

    @property
    def peak_rss_bytes(self) -> int:
        return sum(self._peaks)

    def look(self) -> None:
        """Note the memory in use. Raises BenchError if a process has died."""
        for number, process in enumerate(self._processes):
            if process.poll() is not None:
                tail = "\n".join(self.logs()[number].splitlines()[-20:])
                raise BenchError(f"{self._name} ended with status {process.returncode}:\n{tail}")
            self._peaks[number] = max(self._peaks[number], _peak_rss(process.pid))
        used = [psutil.Process(process.pid).cpu_times() for process in self._processes]
        self._cpu.append((time.time() * 1000, sum(times.user + times.system for times in used)))

    def cpu_seconds(self, begin_ms: int, end_ms: int) -> float:
        """Processor time of all processes between two times."""
        at, used = zip(*self._cpu, strict=True)
        begin, end = np.interp([begin_ms, end_ms], at, used)
        return float(end - begin)

    def stop(self) -> None:
        """End all processes, with time to close what they hold."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self) -> list[str]:
        return [path.read_text(errors="replace") for path in self._logs]


def _left(job: Job, place: Place, logs: Sequence[str], total: int, before: int) -> int:
    """Events that are not done yet; `before` when the broker is too busy to tell."""
    if job.tells:
        done = job.done(logs[0])
        return total - done.events if done else total
    try:
        lag = group_lag(place.kafka, place.group, [place.topics.events])
    except AdminError:
        return before
    return sum(lag[place.topics.events].values())


def _peak_rss(pid: int) -> int:
    """Peak of resident memory in bytes; where the system does not keep it, what it is now."""
    try:
        if sys.platform == "linux":
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return 0
