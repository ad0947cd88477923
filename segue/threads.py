"""How many threads compute, and how they wait for each other: one place for every role.

OpenMP's threads meet at a barrier behind each parallel loop, and a step of training has hundreds.
By default they spin there. On a machine with other work the thread they wait for has no core, and
those that spin take what there is: an epoch of the HGNN on two cores beside busy loops took 62 s
and 35 s of CPU. With threads that sleep it took 12 s and 6 s of CPU, as much as one thread needs.

NumPy's OpenBLAS has threads of its own, which spin and cannot be told to sleep. It divides products
as small as those of 64 users by a matrix of 64 columns. Two workers beside a broker on two cores
then answered after 5 to 8 s in the median, and after .3 s with one thread of OpenBLAS each. Segue's
large products are torch's and FAISS's, which this does not touch.
"""

import math
import os
from pathlib import Path

__all__ = ["cores", "prepare_threads", "use_threads"]

_CGROUP = Path("/sys/fs/cgroup")


def prepare_threads() -> None:
    """Have no thread spin while it waits for another, here and in processes that are started.

    OpenMP's threads sleep; NumPy's OpenBLAS has one thread. To be called before NumPy and torch are
    imported: their libraries read the environment once. What the environment names already stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


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
