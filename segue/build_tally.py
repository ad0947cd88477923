"""What `segue static schedule` counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from agents.store_tally import StoreTally

__all__ = ["BuildTally"]


class BuildTally:
    """Counters of one schedule since its start."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry` (default: a new one)."""
        self.registry = registry = registry or CollectorRegistry()
        self.store = StoreTally(registry)
        self._builds = Counter(
            "segue_static_builds", "Finished builds, by outcome.", ["outcome"], registry=registry
        )
        self._seconds = Gauge(
            "segue_static_build_duration_seconds", "Duration of the last build.", registry=registry
        )
        self._at = Gauge(
            "segue_static_build_timestamp_seconds",
            "Time of the last successful build.",
            registry=registry,
        )
        for outcome in ("succeeded", "failed"):
            self._builds.labels(outcome)

    def ended(self, *, succeeded: bool, seconds: float, now_ms: int) -> None:
        """Count a build."""
        self._builds.labels("succeeded" if succeeded else "failed").inc()
        self._seconds.set(seconds)
        if succeeded:
            self._at.set(now_ms / 1000)
