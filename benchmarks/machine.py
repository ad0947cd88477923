"""The machine that is measured on: its name, and who runs on which of its cores."""

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cores", "cpu_model", "pinned"]


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
