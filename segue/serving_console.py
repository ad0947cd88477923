"""Creates the console from settings: its replica, its app, and the server."""

import asyncio
import hashlib
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from console import (
    Bundles,
    ConsoleMetrics,
    EmbeddedWriter,
    Erasures,
    KafkaWriter,
    Replica,
    Serving,
    TokenSettings,
    Writes,
    create_app,
)
from console.bundles import followed
from console.click_through import ClickThrough
from console.guard import timed_requests
from console.pages import Pages
from console.policies import PolicyEditing
from console.quality import Quality
from console.settings import ConsoleSettings, Right
from segue.folders import folder_of
from segue.roles import spare_collections, text_settings
from segue.serving_metrics import bound_socket
from segue.settings import Settings
from static_layer import TextEncoder
from streams import AdminError, EmbeddedLog, group_lag
from streams.log_record import now_ms

__all__ = [
    "NewToken", "new_token", "open_console", "open_replica", "serve_console", "server_config",
    "tune_search",
]  # fmt: skip

logger = logging.getLogger(__name__)

#: Ends what is open when the server stops, in seconds: watchers never end by themselves.
GRACE_S = 5


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token and its entry in the settings."""

    token: str
    settings: TokenSettings


def new_token(
    name: str, rights: tuple[Right, ...], *, public: bool = False, user_prefix: str = ""
) -> NewToken:
    """Create a token of 256 random bits. Raises ValueError for rights that it may not have."""
    token = secrets.token_urlsafe(32)
    made = TokenSettings(
        name=name, sha256=hashlib.sha256(token.encode()).hexdigest(), rights=rights,
        public=public, user_prefix=user_prefix,
    )  # fmt: skip
    return NewToken(token=token, settings=made)


def tune_search() -> None:
    """Make FAISS answer a batch with one matrix multiplication.

    By default it scans all vectors once per query for up to twenty queries; from four queries on
    this is slower.
    """
    import faiss

    faiss.cvar.distance_compute_blas_threshold = 4


def open_replica(
    settings: Settings,
    folder: Path,
    log: EmbeddedLog | None = None,
    clock_ms: Callable[[], int] = now_ms,
    encoder: TextEncoder | None = None,
) -> tuple[Replica, Serving]:
    """Return a replica with its files below `folder`, and what makes lists from it.

    Neither is entered or running yet. log, encoder: as for `open_console`.
    """
    own = settings.console
    # Not what people search for: the vectors of their words are on no disk.
    texts = encoder or TextEncoder(replace(text_settings(settings), cache=""))
    replica = Replica(
        log=settings.kafka if log is None else log,
        settings=settings.worker,
        state=settings.state,
        topics=settings.topics,
        rules=settings.events,
        store=settings.store(),
        folder=folder,
        encoder=lambda: texts,
        clock_ms=clock_ms,
        sources=settings.personal_sources,
        item_sources=settings.item_sources,
        apply=own.apply,
        ready_lag=own.ready_lag,
        waiting=own.waiting,
        at_least_s=own.at_least_s,
        experiments=settings.experiments,
    )
    serving = Serving(
        replica.models, clock_ms, batch=own.batch, waiting=own.waiting, channels=replica.channels
    )
    return replica, serving


@asynccontextmanager
async def open_console(
    settings: Settings,
    name: str,
    log: EmbeddedLog | None = None,
    clock_ms: Callable[[], int] = now_ms,
    encoder: TextEncoder | None = None,
) -> AsyncIterator[tuple[FastAPI, asyncio.Future[Any]]]:
    """Open a replica and follow the log; yields the app, and a task that ends if following fails.

    log: the embedded log, if its owner runs in this process; default Kafka.
    encoder: text encoder; default from the settings.
    Raises PositionError, AdminError, WrongState.
    """
    own = settings.console
    folder = folder_of(settings, "consoles", name)
    replica, serving = open_replica(settings, folder, log, clock_ms, encoder)
    writer = KafkaWriter(settings.kafka) if log is None else EmbeddedWriter(log)
    erasures = Erasures(replica, writer)
    bundles = Bundles(
        store=replica.store, channels=replica.channels, writer=writer,
        log=replica.log, topic=settings.topics.models, scratch=folder / "tried",
        clock_ms=clock_ms,
    )  # fmt: skip
    metrics = ConsoleMetrics()
    writes = Writes(
        writer, settings.topics, settings.events, own.writes, clock_ms, metrics,
        impressions=any(one.topic == settings.topics.impressions for one in settings.sources),
    )  # fmt: skip
    metrics.store.watch(replica.store)
    metrics.watch(
        waiting=lambda: len(serving),
        lag=replica.lag,
        generation=lambda: replica.models.generation,
        pinned=lambda: any(row["pinned"] for row in followed(replica.channels)),
        writing=lambda: writes.in_flight.bytes,
    )

    async def lags() -> dict[int, int] | None:
        events = settings.topics.events
        found: dict[int, int] | None = None
        try:
            found = (
                await asyncio.to_thread(group_lag, settings.kafka, settings.worker.group, [events])
            )[events]
        except AdminError as error:
            logger.warning("the workers' lag is unknown: %s", error)
        metrics.workers_lag(found or {})
        return found

    watching = Pages(
        replica, clock_ms, letters=own.letters, people=own.people_searched, watchers=own.watchers,
        lags=lags if log is None else None, docs_url=own.docs_url,
    )  # fmt: skip
    policies = PolicyEditing(
        replica, writer, clock_ms, settings.worker.lists, settings.worker.list_length
    )
    click_through = ClickThrough(replica, policies.names)
    quality = Quality(replica.store, clock_ms, click_through, serving.explored)
    app = create_app(
        own, replica=replica, serving=serving, erasures=erasures, bundles=bundles,
        metrics=metrics, watching=watching, quality=quality, writes=writes,
        policies=policies,
    )  # fmt: skip
    async with replica:
        following: asyncio.Future[Any] = asyncio.gather(
            replica.run(), erasures.run(), watching.run()
        )
        try:
            yield app, following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await writer.close()


def server_config(settings: ConsoleSettings, app: FastAPI) -> uvicorn.Config:
    """Return the configuration of the console's server."""
    return uvicorn.Config(
        app, host=settings.host, port=settings.port, log_config=None, log_level="warning",
        access_log=False, proxy_headers=False, server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=16_384, http=timed_requests(settings.request_s),
    )  # fmt: skip


async def serve_console(
    settings: Settings,
    name: str,
    started: Callable[[str], None],
    log: EmbeddedLog | None = None,
    bound: socket.socket | None = None,
) -> None:
    """Serve until a signal arrives or following fails; raises the error of following, or PortError.

    started: called with the address when the console listens. log: as in `open_console`.
    bound: from `bound_socket`; default a new one at the address of the settings.
    """
    own = settings.console
    bound = bound or bound_socket(own.host, own.port)
    spare_collections()  # one look through everything keeps all who ask waiting for .3 s
    async with open_console(settings, name, log) as (app, following):
        server = uvicorn.Server(server_config(own, app))
        serving = asyncio.ensure_future(server.serve([bound]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.02)
        if server.started:
            started(f"http://{own.host}:{bound.getsockname()[1]}")
        both: set[asyncio.Future[Any]] = {serving, following}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        if following.done():
            following.result()
