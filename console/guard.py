"""Authorisation, rate limits, and limits of size and time of requests."""

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from console.problems import Problem, problem_response
from console.settings import (
    EVENTS,
    IMPRESSIONS,
    ITEMS,
    PEOPLE,
    READ_POLICIES,
    USERS,
    WRITE,
    WRITE_POLICIES,
    ConsoleSettings,
    Right,
    TokenSettings,
)

__all__ = [
    "BoundedBodies",
    "Client",
    "Credentials",
    "Origins",
    "RateLimit",
    "SafeHeaders",
    "Tokens",
    "may_read_policies",
    "may_see_people",
    "may_write",
    "may_write_events",
    "may_write_impressions",
    "may_write_items",
    "may_write_policies",
    "may_write_users",
    "only_known_parameters",
    "timed_requests",
]

_bearer = HTTPBearer(auto_error=False, description="A token of `segue token`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]

#: Digits of a body's length, at most; more is too long whatever the limit.
MOST_DIGITS = 18

#: Paths that Kubernetes and Prometheus ask for, and must always get.
UNLIMITED = ("/health", "/ready", "/metrics")


class Tokens:
    """The configured tokens, by their hashes."""

    def __init__(self, tokens: tuple[TokenSettings, ...]) -> None:
        """Know these."""
        self._tokens = tokens

    def find(self, token: str) -> TokenSettings | None:
        """Return the owner of a token, in constant time."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for known in self._tokens:
            if hmac.compare_digest(known.sha256, digest):
                found = known
        return found

    def require(
        self, credentials: HTTPAuthorizationCredentials | None, right: Right
    ) -> TokenSettings:
        """Return the token of a request if it has a right; raises Problem 401 or 403."""
        if credentials is None:
            raise Problem(401, "this needs a bearer token", headers={"WWW-Authenticate": "Bearer"})
        found = self.find(credentials.credentials)
        if found is None:
            challenge = 'Bearer error="invalid_token"'
            raise Problem(401, "the token is not known", headers={"WWW-Authenticate": challenge})
        if right not in found.rights:
            raise Problem(403, f"the token of {found.name} lacks the right {right!r}")
        return found


Permission = Callable[..., Awaitable[TokenSettings]]


def _permission(right: Right) -> Permission:
    """Return a dependency that answers with the request's token if it has a right."""

    async def required(request: Request, credentials: Credentials) -> TokenSettings:
        tokens: Tokens = request.app.state.tokens
        return tokens.require(credentials, right)

    return required


may_see_people = _permission(PEOPLE)
may_write = _permission(WRITE)
may_write_events = _permission(EVENTS)
may_write_impressions = _permission(IMPRESSIONS)
may_write_items = _permission(ITEMS)
may_write_users = _permission(USERS)
may_read_policies = _permission(READ_POLICIES)
may_write_policies = _permission(WRITE_POLICIES)


async def only_known_parameters(request: Request) -> None:
    """Refuse parameters of the query that the operation does not have: most are misspelt.

    Raises Problem 422, which names those that there are.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not request.query_params:
        return
    # Names of an operation are the same in every app.
    known = _KNOWN.get(route.unique_id)
    if known is None:
        known = _KNOWN[route.unique_id] = _query_of(route.dependant)
    if set(request.query_params) - known:
        there_are = ", ".join(sorted(known)) or "none"
        what = f"a parameter that this operation does not have; it has: {there_are}"
        raise Problem(422, "the request is invalid", errors=[{"where": "query", "what": what}])


_KNOWN: dict[str, set[str]] = {}


def _query_of(operation: Dependant) -> set[str]:
    """Names of the parameters of the query that an operation has, or what it depends on."""
    own: set[str] = set()
    for parameter in operation.query_params:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            own.update(model.model_fields)
        else:
            own.add(parameter.alias)
    return own.union(*(_query_of(inner) for inner in operation.dependencies))


class Client(NamedTuple):
    """The client of a request: the token's name if it is known and not public, else the address."""

    name: str
    known: bool

    @classmethod
    def of(cls, scope: Scope, tokens: Tokens) -> "Client":
        """Return the client of a request. Proxy headers are not trusted."""
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                found = tokens.find(value[7:].decode("latin-1"))
                if found and not found.public:
                    return cls(f"token {found.name}", True)
        return cls(scope["client"][0] if scope["client"] else "", False)


class RateLimit:
    """Limits the requests per second of a client; further requests get 429 with the time to wait.

    A token bucket for each client: a request with a known token that is not public belongs to the
    token, any other one to the address that its connection comes from.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ConsoleSettings,
        tokens: Tokens,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: seconds."""
        self._app = app
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        # Client -> (tokens in the bucket, when that was so); the longest silent first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED or not self._settings.rate_per_s:
            await self._app(scope, receive, send)
            return
        wait = self.take(Client.of(scope, self._tokens).name)
        if wait is None:
            await self._app(scope, receive, send)
            return
        rate = f"{self._settings.rate_per_s:g} requests a second"
        headers = {"Retry-After": str(max(1, round(wait)))}
        await problem_response(429, f"more than {rate}", headers)(scope, receive, send)

    def take(self, client: str) -> float | None:
        """Take one from a client's bucket; returns the seconds to wait if it is empty."""
        now, burst, rate = self._clock(), self._settings.burst, self._settings.rate_per_s
        held, since = self._buckets.pop(client, (float(burst), now))
        held = min(float(burst), held + (now - since) * rate)
        allowed = held >= 1
        self._buckets[client] = (held - 1 if allowed else held, now)
        if len(self._buckets) > self._settings.clients:
            self._buckets.popitem(last=False)
        return None if allowed else (1 - held) / rate


class BoundedBodies:
    """Refuses bodies beyond a size with 413, also those without a length."""

    def __init__(self, app: ASGIApp, most: int, of_paths: Mapping[str, int] | None = None) -> None:
        """most: bytes; of_paths: the same for paths with a limit of their own."""
        self._app = app
        self._most = most
        self._of_paths = of_paths or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._of_paths.get(scope["path"], self._most)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        # By its length first: Python refuses to read a number of thousands of digits.
        digits = said.lstrip(b"0")
        if not said.isdigit() or len(digits) > MOST_DIGITS or int(said[-MOST_DIGITS:]) > most:
            refusal = problem_response(413, f"a body may have {most} bytes")
            await refusal(scope, receive, send)
            return
        came = 0

        async def bounded() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                # Of all exceptions FastAPI lets this one through while it reads a body.
                raise HTTPException(413, f"a body may have {most} bytes")
            return message

        await self._app(scope, bounded, send)


class Origins:
    """Lets pages of some origins call some paths (CORS), without cookies; other paths stay closed.

    A page needs this for requests with a token or a JSON body.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str], paths: Collection[str]) -> None:
        """origins: as in console.origins; none closes all paths."""
        self._app = app
        self._paths = paths if origins else ()
        self._open = CORSMiddleware(
            app, allow_origins=origins, allow_methods=["POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Idempotency-Replayed", "Retry-After"],
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer what a browser asks before a request."""
        is_open = scope["type"] == "http" and scope["path"] in self._paths
        await (self._open if is_open else self._app)(scope, receive, send)


class SafeHeaders:
    """Sets headers so that browsers run only Segue's scripts and do not frame the pages."""

    _HEADERS = (
        (b"content-security-policy", b"default-src 'self'; style-src 'self' 'unsafe-inline'; "
         b"img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )  # fmt: skip

    def __init__(self, app: ASGIApp) -> None:
        """Add headers to what `app` sends."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers; what a response says of its caching stays."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                more = [header for header in self._HEADERS if header[0] not in own]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, with_headers)


def timed_requests(seconds: float) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with a time limit for each request to arrive as a whole.

    seconds: from the connection, or from the first byte of a later request, to the last byte of
    its body. Uvicorn itself limits only the pause between two requests.
    """

    class TimedRequests(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # chosen at run time
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._check()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._check()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _incomplete(self) -> bool:
            cycle = self.cycle
            return cycle is None or cycle.more_body or cycle.response_complete

        def _check(self) -> None:
            if not self._incomplete() or self.transport.is_closing():
                self._stop_timer()
            elif self._late is None:
                self._late = self.loop.call_later(seconds, self._end)

        def _stop_timer(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _end(self) -> None:
            self._late = None
            if self._incomplete():
                self.transport.close()

    return TimedRequests
