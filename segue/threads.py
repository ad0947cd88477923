"""How many threads compute, and how they wait for each other: one place for every role.

OpenMP's threads meet at a barrier behind each parallel loop, and a step of training has hundreds.
By default they spin there. On a machine with other work the thread they wait for has no core, and
those that spin take what there is: an epoch of the HGNN on two cores beside busy loops took 62 s
and 35 s of CPU. With threads that sleep it took 12 s and 6 s of CPU, as much as one thread needs.
"""

import math
import os
from pathlib import Path

__all__ = ["cores", "sleep_at_barriers", "use_threads"]

_CGROUP = Path("/sys/fs/cgroup")


def sleep_at_barriers() -> None:
    """Have OpenMP's threads sleep while they wait, here and in processes that are started.

    To be called before torch is imported: OpenMP reads its environment once. A policy that the
    environment names already stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def use_threads(threads: int = 0) -> int:
    """Let torch and FAISS compute with so many threads; return the number.

    threads: 0 takes as many as torch would (OMP_NUM_THREADS counts), but not more than `cores`.
    """
    import faiss
    import torch

    count = threads or min(torch.get_num_threads(), cores())
    torch.set_num_threads(count)
    faiss.omp_set_num_threads(count)
    return count


def cores(cgroup: Path = _CGROUP) -> int:
    """Return how many cores this process may use, at least 1.

    These are the cores of its affinity mask, or what the container's limit of CPU time comes to
    where that is less. cgroup: where the kernel shows the container's limits.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(cgroup)
    limit = allowed or 1
    return max(1, limit if quota >= limit else math.ceil(quota))


def _quota(cgroup: Path) -> float:
    """Return the container's limit in cores, infinity without one."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # version 1 of cgroups
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    if not limit.isdigit():  # `max`, or -1: no limit
        return math.inf
    return int(limit) / int(period)
