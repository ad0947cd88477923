"""Data of the pages beyond the API: current statistics, dead letters, checkpoints, events."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from agents.bundles.announcements import announcement_of
from agents.working.partitions import user_state
from console import state_reads
from console.answers import known_of
from console.bundles import followed
from console.guard import Client, Credentials, Tokens
from console.health import findings
from console.letters import Letters
from console.parameters import People, TheReplica, TheServing, UserId
from console.problems import Problem
from console.recent_stats import RecentStats
from console.replica import Replica
from console.series import RANGES
from console.settings import WRITE
from console.space import Space
from console.user_page import user_page
from state import Checkpoints, CorruptArtifact
from streams import LogRecord, ModelAnnouncement, Recommendation, readable
from streams.log_following import read_whole

__all__ = ["Pages", "Watcher", "Watchers", "router"]


@dataclass(eq=False)
class Watcher:
    """One connection. client: an address, or a token's name if `known`."""

    client: str
    known: bool
    ended: bool = False


class Watchers:
    """Connections to the event stream, at most `most`.

    When all places are taken, one is ended for the newcomer: the oldest connection of the client
    with the most of them. Clients with a token come last, so that anonymous connections, however
    many, neither refuse nor end theirs.
    """

    def __init__(self, most: int) -> None:
        """most: at least 1."""
        self._most = most
        self._open: list[Watcher] = []  # the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, client: str, *, known: bool) -> Watcher:
        """Add a connection."""
        if len(self._open) >= self._most:
            held = Counter((watcher.known, watcher.client) for watcher in self._open)
            # Of equals the first, which is the oldest.
            ended = max(self._open, key=lambda w: (not w.known, held[w.known, w.client]))
            ended.ended = True
            self.leave(ended)
        watcher = Watcher(client, known)
        self._open.append(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Remove a connection that is closed; one that was ended is removed already."""
        if watcher in self._open:
            self._open.remove(watcher)


router = APIRouter(prefix="/console", include_in_schema=False)

NO_RIGHTS: dict[str, Any] = {"name": None, "rights": ()}
TICK_S = 1.0
LAG_S = 5.0
#: A log that takes longer to answer counts as silent; clients go on trying for half a minute.
PATIENCE_S = 8.0


class Pages:
    """Follows the workers' output, and keeps the data for the pages."""

    def __init__(
        self,
        replica: Replica,
        clock_ms: Callable[[], int],
        *,
        letters: int,
        people: int,
        watchers: int = 200,
        lags: Callable[[], Awaitable[dict[int, int] | None]] | None = None,
        docs_url: str = "",
    ) -> None:
        """letters: dead letters kept; people: users that a search shows; watchers: connections.

        All three are limits.

        lags: of the workers by partition; None says that the log does not answer.

        docs_url: of the documentation site, for links to the runbook; empty: no links.
        """
        self.replica = replica
        self.people = people
        self.recent = RecentStats(replica, clock_ms)
        self.space = Space(replica.models, partial(state_reads.entry, replica))
        self.letters = Letters(letters)
        self._most_letters = letters
        self.announced: dict[str, ModelAnnouncement] = {}
        self.watchers = Watchers(watchers)
        self.log_answers = True
        self._lags = lags
        self.docs_url = docs_url
        self._news = asyncio.Condition()
        self._text: bytes | None = None

    async def run(self) -> None:
        """Follow recommendations, dead letters and models continuously."""
        log, topics = self.replica.log, self.replica.topics
        await asyncio.gather(
            read_whole(log, topics.recommendations, self.answers_came, newest=0),
            read_whole(log, topics.dead_letters, self.letters_came, newest=self._most_letters),
            read_whole(log, topics.models, self.models_came),
            self._tick(),
            self._ask_for_lags(),
        )

    async def answers_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the recommendations topic."""
        for record, answer in readable(Recommendation, records):
            self.recent.answered(record.timestamp, answer)

    async def letters_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the dead letters' topic."""
        self.letters.came(records)

    async def models_came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the models topic."""
        for record in records:
            if (found := announcement_of(record)) is not None:
                self.announced[found.key.decode()] = found
            elif record.value is None and record.key is not None:
                self.announced.pop(record.key.decode(errors="replace"), None)

    async def watch(self, watcher: Watcher) -> AsyncIterator[bytes]:
        """The recent statistics as JSON, at once and every second, until the watcher is ended."""
        yield self._encoded()
        while True:
            async with self._news:
                await self._news.wait()
            if watcher.ended:
                return
            yield self._encoded()

    def _encoded(self) -> bytes:
        """What `now` returns as JSON, made once for all who watch."""
        if self._text is None:
            self._text = msgspec.json.encode(self.now())
        return self._text

    def now(self) -> dict[str, Any]:
        """What the first page shows."""
        view = self.recent.view() | {
            "ready": self.replica.ready,
            "behind": 0 if self.replica.caught_up else self.replica.lag(),
            "docs_url": self.docs_url,
            "log_answers": self.log_answers,
            "channels": followed(self.replica.channels),
            "models": {
                kind: {
                    "name": found.name,
                    "generation": found.generation,
                    "created_at": found.created_at,
                    "metrics": found.metrics,
                }
                for kind, found in self.announced.items()
            },
        }
        return view | {"findings": [asdict(found) for found in findings(view)]}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.recent.tick()
            self._text = None
            async with self._news:
                self._news.notify_all()

    def _is_silent(self) -> None:
        self.log_answers = False

    async def _ask_for_lags(self) -> None:
        while self._lags is not None:
            late = asyncio.get_running_loop().call_later(PATIENCE_S, self._is_silent)
            try:
                found = await self._lags()
            finally:
                late.cancel()
            self.log_answers, self.recent.lags = found is not None, found or {}
            await asyncio.sleep(LAG_S)


async def _pages(request: Request) -> Pages:
    pages: Pages = request.app.state.pages
    return pages


ThePages = Annotated[Pages, Depends(_pages)]


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.get("/now")
async def now(pages: ThePages) -> Response:
    """The present, once."""
    return _json(pages.now())


@router.get("/series")
async def series(pages: ThePages, seconds: int) -> Response:
    """Points of a range of `RANGES`, oldest first, and the seconds of each."""
    if seconds not in RANGES:
        raise Problem(422, f"seconds: expected one of {', '.join(map(str, RANGES))}, got {seconds}")
    return _json({"step": RANGES[seconds], "points": pages.recent.series.points(seconds)})


@router.get("/events")
async def events(request: Request, pages: ThePages) -> Response:
    """The present as server-sent events, one a second."""
    client = Client.of(request.scope, request.app.state.tokens)

    async def told() -> AsyncIterator[bytes]:
        watcher = pages.watchers.enter(client.name, known=client.known)
        try:
            async for view in pages.watch(watcher):
                yield b"data: " + view + b"\n\n"
        finally:
            pages.watchers.leave(watcher)

    return StreamingResponse(told(), media_type="text/event-stream")


@router.get("/user")
async def one_user(
    replica: TheReplica,
    serving: TheServing,
    by: People,
    user: UserId,
    types: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006
    k: Annotated[int, Query(ge=1, le=50)] = 10,
) -> Response:
    """A user's history and list, and for each place of the list why."""
    if not replica.ready:
        raise Problem(503, "not ready yet: see /ready", headers={"Retry-After": "1"})
    async with replica.turn:
        known = user_state(replica.state_of(user), user)
    body = await known_of(replica, user, 200) | {"may_erase": WRITE in by.rights}
    return _json(body | await user_page(replica, serving, known, tuple(types), k))


@router.get("/people")
async def people(
    pages: ThePages, _: People, q: Annotated[str, Query(min_length=1, max_length=256)]
) -> Response:
    """Users whose ids begin so, a few of them."""
    return _json(await asyncio.to_thread(state_reads.users_like, pages.replica, q, pages.people))


@router.get("/types")
async def item_types(serving: TheServing) -> Response:
    """Item types of the bundle in use."""
    return _json(serving.types())


@router.get("/rights")
async def rights(request: Request, credentials: Credentials) -> Response:
    """Name and rights of the token of a request; none where it has no known one."""
    tokens: Tokens = request.app.state.tokens
    known = tokens.find(credentials.credentials) if credentials else None
    return _json({"name": known.name, "rights": known.rights} if known else NO_RIGHTS)


@router.get("/space")
async def space(pages: ThePages) -> Response:
    """Every item's place on a map of the space in use: the two greatest principal components."""
    found = await pages.space.map()
    if found is None:
        raise Problem(503, "no bundle is loaded yet", headers={"Retry-After": "1"})
    return _json({"now": pages.recent.now_ms(), "map": msgspec.Raw(found)})


@router.get("/letters")
async def dead_letters(pages: ThePages, _: People) -> Response:
    """The newest dead letters by reason, and what to do for each."""
    return _json(pages.letters.view() | {"now": pages.recent.now_ms(), "docs_url": pages.docs_url})


@router.get("/checkpoints")
async def checkpoints(replica: TheReplica) -> Response:
    """The checkpoints of each partition, the newest first."""
    return _json(await asyncio.to_thread(_checkpoints, replica))


def _checkpoints(replica: Replica) -> list[dict[str, Any]]:
    store, found = Checkpoints(replica.store), []
    for partition in store.partitions():
        for name in store.names(partition)[::-1]:
            row: dict[str, Any] = {"partition": partition, "name": name}
            try:
                manifest = store.manifest(partition, name)
            except CorruptArtifact as error:
                found.append(row | {"problem": str(error)})
                continue
            found.append(
                row
                | {
                    "created_at": manifest.created_at,
                    "bytes": manifest.bytes,
                    "positions": manifest.positions,
                    "watermark": manifest.watermark,
                    "counts": manifest.counts,
                    "missing": msgspec.to_builtins(manifest.missing),
                }
            )
    return found
