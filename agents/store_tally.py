"""Prometheus metrics of the artifact store."""

from prometheus_client import CollectorRegistry, Counter

from state import ArtifactStore

__all__ = ["StoreTally"]

OPERATIONS = ("list", "read", "write", "remove")


class StoreTally:
    """Counts failed attempts on the artifact store; most are retried."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register with `registry`."""
        self._failures = Counter(
            "segue_store_failures",
            "Failed operations on the artifact store; counts each attempt.",
            ["operation"],
            registry=registry,
        )
        for operation in OPERATIONS:
            self._failures.labels(operation)

    def watch(self, store: ArtifactStore) -> None:
        """Count the failures of a store from now on."""
        store.failed = lambda operation: self._failures.labels(operation).inc()
