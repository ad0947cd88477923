"""What a benchmark runs on: the machine and its cores, a broker, a folder for its figures."""

import contextlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.broker import DevelopmentBroker
from streams.distribution import POM

__all__ = ["Cores", "broker_at", "cpu_model", "measured", "pinned", "written"]


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Which cores the measured processes have, and which the broker and this process have.

    Both are empty where the system has no way to choose cores.
    """

    workers: tuple[int, ...]
    others: set[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        if not hasattr(os, "sched_getaffinity"):
            return cls(workers=(), others=set())
        mine = sorted(os.sched_getaffinity(0))
        return cls(workers=tuple(mine[:2]), others=set(mine[1:]) or set(mine))

    def of_workers(self, number: int) -> list[set[int]]:
        return [{*self.workers[at : at + 1]} for at in range(number)]

    def __str__(self) -> str:
        if not self.workers:
            return "nothing is pinned: this system cannot"
        return f"worker on core {self.workers[0]}, broker on {sorted(self.others)}"


@contextlib.contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Keep this thread, and what is started by it, on these cores; on all where there are none."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except FileNotFoundError:
        pass
    return platform.processor() or platform.machine()


def measured(file: Path, measure: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Measure in a scratch folder beside `file`, and write the report to `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        report = measure(Path(scratch))
    return written(report, file)


def written(report: dict[str, Any], file: Path) -> dict[str, Any]:
    """Write a report to `file` as JSON, and return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n")
    return report


ROOT = Path(__file__).parents[1]


@contextmanager
def broker_at(folder: Path, address: str | None = None) -> Iterator[str]:
    """Give the address of a broker: the one named, else one with its data in `folder`."""
    if address:
        yield address
        return
    libs = ROOT / "var" / "kafka" / "libs"
    node = DevelopmentBroker(folder, POM, libs=libs)
    started = node.start()
    try:
        yield started
    finally:
        node.stop()
