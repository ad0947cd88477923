"""Settings of the static job on Ray, and its failure; known where Ray is not installed, too."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """Where the static job runs beyond one machine (needs the extra `ray`).

    address: host:port of a Ray cluster's head, `auto` (the cluster that this machine is part of),
        or `local` (processes on this machine, to try it); empty runs the job without Ray. Every
        machine needs the same version of Segue and access to the artifact store.
    workers: processes that train together.
    cpus: processors of each process.
    gpu: whether each process has a GPU of its own.
    retries: how often a training starts again after it lost a worker or a machine; the merge is not
        repeated.
    """

    address: str = ""
    workers: int = 2
    cpus: int = 1
    gpu: bool = False
    retries: int = 2


class ClusterFailed(RuntimeError):
    """The cluster could not be reached, or did not finish the job; the message says why."""
