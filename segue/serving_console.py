"""The console made from settings: its replica, its app, and the server around both."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
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
    create_app,
)
from console.bundles import followed
from console.pages import Pages
from console.quality import Quality
from console.settings import PEOPLE, WRITE
from segue.roles import now_ms, spare_collections, text_settings
from segue.settings import Settings
from static_layer import TextEncoder
from streams import AdminError, EmbeddedLog, group_lag

__all__ = ["NewToken", "new_token", "open_console", "serve_console", "tune_search"]

logger = logging.getLogger(__name__)

#: Ends what is open when the server stops, in seconds: watchers never end by themselves.
GRACE_S = 5


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token and what the settings know of it."""

    token: str
    settings: TokenSettings


def new_token(name: str, *, write: bool) -> NewToken:
    """Make a token of 256 random bits."""
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    rights = (PEOPLE, WRITE) if write else (PEOPLE,)
    return NewToken(token=token, settings=TokenSettings(name=name, sha256=digest, rights=rights))


def tune_search() -> None:
    """Have FAISS answer a batch by one multiplication of matrices.

    By itself it scans all vectors once for each query up to twenty; from four on this is slower.
    """
    import faiss

    faiss.cvar.distance_compute_blas_threshold = 4


@asynccontextmanager
async def open_console(
    settings: Settings,
    name: str,
    log: EmbeddedLog | None = None,
    clock_ms: Callable[[], int] = now_ms,
    encoder: TextEncoder | None = None,
) -> AsyncIterator[tuple[FastAPI, asyncio.Future[Any]]]:
    """Open a replica and follow the log; yields the app, and what ends only when following fails.

    log: the embedded log, whose owner runs in this process; default Kafka.
    encoder: of texts, default the one of the settings.
    Raises PositionError, AdminError, WrongState.
    """
    own = settings.console
    # Not what people search for: the vectors of their words are on no disk.
    texts = encoder or TextEncoder(replace(text_settings(settings), cache=""))
    folder = settings.folder / "consoles" / name
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
        sources=settings.sources,
        apply=own.apply,
        ready_lag=own.ready_lag,
        experiments=settings.experiments,
    )
    serving = Serving(
        replica.models, clock_ms, batch=own.batch, waiting=own.waiting, channels=replica.channels
    )
    writer = KafkaWriter(settings.kafka) if log is None else EmbeddedWriter(log)
    erasures = Erasures(replica, writer)
    bundles = Bundles(
        store=replica.store, channels=replica.channels, writer=writer,
        topic=settings.topics.models, scratch=folder / "tried", clock_ms=clock_ms,
    )  # fmt: skip
    metrics = ConsoleMetrics()
    metrics.watch(
        waiting=lambda: len(serving),
        lag=replica.lag,
        generation=lambda: replica.models.generation,
        pinned=lambda: any(row["pinned"] for row in followed(replica.channels)),
    )

    async def lags() -> dict[int, int] | None:
        events = settings.topics.events
        found: dict[int, int] | None = None
        try:
            found = (
                await asyncio.to_thread(group_lag, settings.kafka, settings.worker.group, [events])
            )[events]
        except AdminError as error:
            logger.warning("the workers' lag is not known: %s", error)
        metrics.workers_lag(found or {})
        return found

    watching = Pages(
        replica, clock_ms, letters=own.letters, people=own.people_searched,
        lags=lags if log is None else None,
    )  # fmt: skip
    app = create_app(
        own, replica=replica, serving=serving, erasures=erasures, bundles=bundles,
        metrics=metrics, watching=watching, quality=Quality(replica.store, clock_ms),
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


async def serve_console(settings: Settings, name: str, started: Callable[[str], None]) -> None:
    """Serve until a signal comes or following fails; raises what it failed of.

    started: called with the address once the console listens.
    """
    own = settings.console
    spare_collections()  # one look through everything keeps all who ask waiting for .3 s
    async with open_console(settings, name) as (app, following):
        server = uvicorn.Server(
            uvicorn.Config(
                app, host=own.host, port=own.port, log_config=None, log_level="warning",
                access_log=False, proxy_headers=False, server_header=False,
                timeout_graceful_shutdown=GRACE_S,
                h11_max_incomplete_event_size=16_384,
            )
        )  # fmt: skip
        serving = asyncio.ensure_future(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(0.02)
        if server.started:
            port = server.servers[0].sockets[0].getsockname()[1]
            started(f"http://{own.host}:{port}")
        both: set[asyncio.Future[Any]] = {serving, following}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        if following.done():
            following.result()
