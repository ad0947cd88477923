"""Settings of the static job on Ray, and its failure; known where Ray is not installed, too."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """Where the static job runs beyond one machine (needs the extra `ray`).

    address: host:port of a Ray cluster's head, `auto` (the cluster that this machine is part of),
             or `local` (processes on this machine, for a try); empty runs the job without Ray.
             Every machine needs Segue in the same version, and reaches the artifact store.
    workers: processes that train together.
    cpus:    processors of each, and
    gpu:     whether each has a GPU of its own.
    retries: a training that lost a worker or a machine starts again, at most so often; the merge is
             not repeated.
    """

    address: str = ""
    workers: int = 2
    cpus: int = 1
    gpu: bool = False
    retries: int = 2


class ClusterFailed(RuntimeError):
    """The cluster could not be reached, or did not finish the job; the message says why."""
