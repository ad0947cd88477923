"""The roles made from settings: one place where objects of all rooms meet."""

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from agents import Train, Worker
from agents.demand import live_popularity
from agents.outputs import Outputs
from segue.settings import Settings
from segue.tracing import make_traces
from static_layer import TextEncoder, TextSettings
from streams import DEFAULT_CHANNEL, LogRecord

__all__ = [
    "make_encoder",
    "make_train",
    "make_worker",
    "now_ms",
    "spare_collections",
    "text_settings",
]


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def text_settings(settings: Settings) -> TextSettings:
    """Settings of the text encoder, with its cache in the data folder unless they name one."""
    text = settings.static.text
    if text.cache:
        return text
    settings.folder.mkdir(parents=True, exist_ok=True)
    return replace(text, cache=str(settings.folder / "text-vectors.db"))


def make_encoder(settings: Settings) -> TextEncoder:
    """Make the text encoder."""
    return TextEncoder(text_settings(settings))


def spare_collections() -> None:
    """Have Python's garbage collector look at little and seldom.

    A record of the log is an object to it, and a hundred thousand come in a second; what the
    imports made (half a million objects, most of them torch's) was looked through again and again.
    With its own thresholds the collector took a third of a worker's time. Records die by their
    reference counts; cycles are still found.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def make_worker(
    settings: Settings, name: str, outputs: Outputs, clock_ms: Callable[[], int] = now_ms
) -> Worker:
    """Make the objects of a worker; its files lie in `<data>/workers/<name>`."""
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
        sources=settings.sources,
        traces=make_traces(settings.trace, "segue-worker"),
        experiments=settings.experiments,
    )


def make_train(
    settings: Settings,
    name: str,
    outputs: Outputs,
    clock_ms: Callable[[], int] = now_ms,
    read_models: Callable[[], Awaitable[Sequence[LogRecord]]] | None = None,
) -> Train:
    """Make the objects of a trainer; its files lie in `<data>/trainers/<name>`.

    Those of another channel than the default one lie in `<data>/trainers/<name>.<channel>`.
    read_models: reads the models topic whole, for decisions on canaries.
    """
    channel = settings.trainer.channel
    if channel != DEFAULT_CHANNEL:
        name = f"{name}.{channel}"
    return Train(
        settings=settings.trainer,
        dynamic=settings.dynamic,
        topics=settings.topics,
        store=settings.store(),
        folder=_folder(settings, "trainers", name),
        outputs=outputs,
        clock_ms=clock_ms,
        live=live_popularity(settings.state),
        experiments=settings.experiments,
        read_models=read_models,
    )


def _folder(settings: Settings, role: str, name: str) -> Path:
    folder = settings.folder / role / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
