"""Where spans go: OpenTelemetry's exporter, made from the settings."""

from agents.working.tracing import Traces, TraceSettings

__all__ = ["make_traces"]


def make_traces(settings: TraceSettings, service: str) -> Traces | None:
    """Make what the settings say; None where there is no endpoint.

    service: what the spans say they come from, e.g. segue-worker.
    Raises ValueError where the extra is not installed.
    """
    if not settings.endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ValueError(
            f"trace.endpoint is set, but {error.name} is not installed: pip install segue[otel]"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
    return Traces(provider.get_tracer("segue"), users=settings.users)
