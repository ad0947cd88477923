"""Creates the roles from settings: the one place where objects of all packages are connected."""

import atexit
import gc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from agents import Train, Worker
from agents.demand import live_popularity
from agents.outputs import Outputs
from agents.patience import monotonic_ms
from agents.working.tracing import Traces, TraceSettings
from segue.folders import folder_of, text_cache, text_models, trainer_name
from segue.settings import Settings
from static_layer import TextEncoder, TextSettings
from streams import ItemCatalogue, Log, LogRecord
from streams.log_record import now_ms

__all__ = [
    "make_encoder",
    "make_traces",
    "make_train",
    "make_worker",
    "spare_collections",
    "text_settings",
]


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


def text_settings(settings: Settings) -> TextSettings:
    """Settings of the text encoder, with its files in the data folder unless they name others."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    return replace(
        settings.static.text,
        cache=str(text_cache(settings)),
        compiled=str(text_models(settings)),
    )


def make_encoder(settings: Settings) -> TextEncoder:
    """Create the text encoder."""
    return TextEncoder(text_settings(settings))


def spare_collections() -> None:
    """Make Python's garbage collector run rarely and scan few objects.

    Each log record is an object, and a hundred thousand arrive per second. With default thresholds
    the collector scans the half a million objects of the imports (mostly torch's) repeatedly and
    takes a third of a worker's time. Reference counts free records; the collector still finds
    cycles.
    """
    gc.freeze()
    # Frozen objects are not freed when Python ends, and native modules then print what they leaked.
    atexit.register(gc.unfreeze)
    gc.set_threshold(50_000, 20, 50)


def make_worker(
    settings: Settings,
    name: str,
    outputs: Outputs,
    clock_ms: Callable[[], int] = now_ms,
    log: Log | None = None,
) -> Worker:
    """Create the objects of a worker; its files are in `<data>/workers/<name>`.

    log: from which it reads erasures first; see `Worker`.
    """
    return Worker(
        settings=settings.worker,
        state=settings.state,
        topics=settings.topics,
        rules=settings.events,
        store=settings.store(),
        folder=_folder(settings, "workers", name),
        encoder=lambda: make_encoder(settings),
        outputs=outputs,
        clock_ms=clock_ms,
        sources=settings.personal_sources,
        item_sources=settings.item_sources,
        traces=make_traces(settings.trace, "segue-worker"),
        experiments=settings.experiments,
        log=log,
    )


def make_train(
    settings: Settings,
    name: str,
    outputs: Outputs,
    clock_ms: Callable[[], int] = now_ms,
    read_models: Callable[[], Awaitable[Sequence[LogRecord]]] | None = None,
    ticks_ms: Callable[[], int] = monotonic_ms,
) -> Train:
    """Create the objects of a trainer; its files are in `<data>/trainers/<name>`.

    Files of a channel other than the default are in `<data>/trainers/<name>.<channel>`.
    read_models: reads the complete models topic, for decisions on canaries. ticks_ms: when periodic
    work is due, ms.
    """
    return Train(
        settings=settings.trainer,
        dynamic=settings.dynamic,
        topics=settings.topics,
        store=settings.store(),
        folder=_folder(settings, "trainers", trainer_name(settings, name)),
        outputs=outputs,
        clock_ms=clock_ms,
        live=live_popularity(settings.state),
        experiments=settings.experiments,
        read_models=read_models,
        ticks_ms=ticks_ms,
        encoder=lambda: make_encoder(settings),
        items=ItemCatalogue(settings.topics, settings.item_sources),
    )


def _folder(settings: Settings, role: str, name: str) -> Path:
    folder = folder_of(settings, role, name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
