"""What `segue static schedule` counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["BuildTally"]


class BuildTally:
    """Counts of one schedule since it started."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry` (default a fresh one)."""
        self.registry = registry = registry or CollectorRegistry()
        self._builds = Counter(
            "segue_static_builds", "Builds that ended, by outcome.", ["outcome"], registry=registry
        )
        self._seconds = Gauge(
            "segue_static_build_duration_seconds", "Of the last build.", registry=registry
        )
        self._at = Gauge(
            "segue_static_build_timestamp_seconds",
            "When the last build succeeded.",
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
