"""Prints how many processes `make test` uses on this machine: python tests/processes.py.

Tests wait for a third of their time, so there are three processes a core, eight at most, and no
more than memory allows: a process that has imported everything takes up to 3 GiB.
"""

# ruff: noqa: T201 - a command for make
import os
from pathlib import Path

MOST, PER_CORE, GIB_EACH = 8, 3, 3


def processes(cores: int, gib: int) -> int:
    """Return the number of processes for so many cores and so much memory."""
    return max(2, min(PER_CORE * cores, MOST, gib // GIB_EACH))


def memory_gib(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Return this machine's memory, or its container's."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = limit.read_text().strip() if limit.exists() else ""
    return (min(memory, int(said)) if said.isdigit() else memory) >> 30


if __name__ == "__main__":
    print(processes(len(os.sched_getaffinity(0)), memory_gib()))
