"""Prometheus metrics of the console."""

import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.store_tally import StoreTally

__all__ = ["ConsoleMetrics", "Counted"]

#: Routes whose status 503 is an answer.
PROBES = ("/ready", "/console/events")

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5)


class ConsoleMetrics:
    """Metrics of one console. Labels: routes as they are declared, and classes of status."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry` (default a fresh one)."""
        self.registry = registry or CollectorRegistry()
        self.store = StoreTally(self.registry)
        self._requests = Counter(
            "segue_http_requests",
            "Requests answered, by route and class of status; a 503 of a probe is `not_ready`.",
            ["route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "segue_http_request_duration_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._rows = Counter(
            "segue_http_rows",
            "Records received over HTTP, by kind and outcome: written, refused, ignored.",
            ["records", "outcome"],
            registry=self.registry,
        )
        self.bytes_in_flight = Gauge(
            "segue_console_write_bytes",
            "Bytes of bodies that are received but not yet in the log.",
            registry=self.registry,
        )
        self._workers_lag = Gauge(
            "segue_workers_lag_records",
            "Event records that the workers have not committed.",
            ["partition"],
            registry=self.registry,
        )
        self.lists_waiting = Gauge(
            "segue_console_waiting_requests", "Lists that wait for a batch.", registry=self.registry
        )
        self.lag = Gauge(
            "segue_console_replica_lag_records",
            "Records in the log at the start that the replica has not applied.",
            registry=self.registry,
        )
        self.generation = Gauge(
            "segue_console_served_generation", "Current generation.", registry=self.registry
        )
        self.pinned = Gauge(
            "segue_console_pinned",
            "1 while a bundle is pinned on any channel.",
            registry=self.registry,
        )

    def watch(
        self,
        *,
        waiting: Callable[[], int],
        lag: Callable[[], int],
        generation: Callable[[], int | None],
        pinned: Callable[[], bool],
        writing: Callable[[], int],
    ) -> None:
        """Read gauges when they are asked for."""
        self.lists_waiting.set_function(waiting)
        self.lag.set_function(lag)
        self.generation.set_function(lambda: generation() or 0)
        self.pinned.set_function(pinned)
        self.bytes_in_flight.set_function(writing)

    def rows(self, records: str, outcome: str, count: int) -> None:
        """Count records that came over HTTP."""
        self._rows.labels(records, outcome).inc(count)

    def workers_lag(self, lags: Mapping[int, int]) -> None:
        """Show the workers' lag by partition; what is not known is not shown."""
        self._workers_lag.clear()
        for partition, lag in lags.items():
            self._workers_lag.labels(partition).set(lag)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        # That the console is not ready yet is what a probe asks for, and no failure.
        expected = status == 503 and route in PROBES
        self._requests.labels(route, "not_ready" if expected else f"{status // 100}xx").inc()
        self._seconds.labels(route).observe(seconds)


class Counted:
    """Counts what goes through an app by declared route: nothing that clients send is a label."""

    def __init__(self, app: ASGIApp, metrics: ConsoleMetrics) -> None:
        """Count into `metrics`."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = 500, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "") or "other"
            self._metrics.answered(route, status, time.perf_counter() - begun)
