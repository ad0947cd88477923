"""Traces from event to recommendation, for records whose producers started a trace.

Off by default: the agents then hold None, and a batch costs one comparison. On, a record with the
header `traceparent` (W3C Trace Context) gets the spans

    segue.ingest ─▶ segue.state        segue.recommend ─▶ segue.produce

below its producer's own, and each of the lists that it leads to carries the header on. Which events
are traced is for their producer to decide; Segue begins no trace of its own.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams import LogRecord
from streams.record_columns import RecordColumns

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from streams.outbox import Headers

__all__ = ["TraceSettings", "Traces"]

PARENT, STATE = "traceparent", "tracestate"


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """OpenTelemetry traces; they need the extra `otel`.

    endpoint: OTLP/HTTP endpoint for spans, e.g. http://collector:4318/v1/traces; empty turns
              tracing off. Other exporter options (headers, TLS, batches) come from OpenTelemetry's
              environment variables (OTEL_EXPORTER_OTLP_HEADERS, ...).
    users:    maximum number of remembered users whose traced event waits for its answer.
    """

    endpoint: str = ""
    users: int = 10_000


class Traces:
    """Spans of traced records; remembers by user what waits for an answer.

    A user who has several traced events before an answer is answered for the last one.
    """

    def __init__(
        self, tracer: "Tracer", *, users: int = 10_000, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Write spans through `tracer`."""
        from opentelemetry import trace  # noqa: PLC0415 an extra
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._tracer = tracer
        self._most = users
        self._clock_ns = clock_ns
        self._api = trace
        self._carrier = TraceContextTextMapPropagator()
        self._waiting: OrderedDict[str, Context] = OrderedDict()

    @contextmanager
    def ingesting(self, records: Sequence[LogRecord]) -> Iterator[Callable[[], None]]:
        """Span the handling of records; call what is yielded when they are in the state."""
        began = self._clock_ns()
        spans = [
            (record, self._span("segue.ingest", context, began, record))
            for record in _with_headers(records)
            if (context := self._context(record)) is not None
        ]

        def applied() -> None:
            now = self._clock_ns()
            for record, span in spans:
                below = self._api.set_span_in_context(span)
                self._span("segue.state", below, began, record).end(now)

        try:
            yield applied
        finally:
            for record, span in spans:
                span.end(self._clock_ns())
                if record.key:
                    self._wait(
                        record.key.decode(errors="replace"), self._api.set_span_in_context(span)
                    )

    @contextmanager
    def answering(self, users: Sequence[str]) -> Iterator["dict[str, Headers]"]:
        """Span the making of lists; yields the headers of each traced user's lists."""
        began = self._clock_ns()
        spans: dict[str, tuple[Span, Span]] = {}
        headers: dict[str, Headers] = {}
        for user in users:
            if (context := self._waiting.pop(user, None)) is None:
                continue
            making = self._span("segue.recommend", context, began)
            produced = self._span("segue.produce", self._api.set_span_in_context(making), began)
            spans[user] = making, produced
            carried: dict[str, str] = {}
            self._carrier.inject(carried, self._api.set_span_in_context(produced))
            headers[user] = [(name, value.encode()) for name, value in carried.items()]
        try:
            yield headers
        finally:
            for making, produced in spans.values():
                produced.end(self._clock_ns())
                making.end(self._clock_ns())

    def withdraw(self, user: str) -> None:
        """Forget a user who was erased."""
        self._waiting.pop(user, None)

    def _wait(self, user: str, context: "Context") -> None:
        self._waiting[user] = context
        self._waiting.move_to_end(user)
        if len(self._waiting) > self._most:
            self._waiting.popitem(last=False)

    def _context(self, record: LogRecord) -> "Context | None":
        """What a record's headers say of the trace that it belongs to."""
        headers = getattr(record, "headers", None)
        if not headers:
            return None
        carried = {
            name: value.decode("ascii", "replace")
            for name, value in headers
            if name in (PARENT, STATE) and value is not None
        }
        if PARENT not in carried:
            return None
        context = self._carrier.extract(carried)
        valid = self._api.get_current_span(context).get_span_context().is_valid
        return context if valid else None

    def _span(
        self, name: str, context: "Context", began: int, record: LogRecord | None = None
    ) -> "Span":
        attributes: dict[str, str | int] = {"messaging.system": "kafka"}
        if record is not None:
            attributes |= {
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
            }
        return self._tracer.start_span(name, context, attributes=attributes, start_time=began)


def _with_headers(records: Sequence[LogRecord]) -> Sequence[LogRecord]:
    """Records that may have headers."""
    return records.with_headers() if isinstance(records, RecordColumns) else records
