"""Who may do what, how often, and how much at once."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.problems import Problem, problem_response
from console.settings import PEOPLE, WRITE, ConsoleSettings, Right, TokenSettings

__all__ = [
    "BoundedBodies",
    "RateLimit",
    "SafeHeaders",
    "Tokens",
    "may_see_people",
    "may_write",
    "only_known_parameters",
]

_bearer = HTTPBearer(auto_error=False, description="A token of `segue token`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]

#: Paths that Kubernetes and Prometheus ask for, and must always get.
UNLIMITED = ("/health", "/ready", "/metrics")


class Tokens:
    """The tokens that are known, by their hashes."""

    def __init__(self, tokens: tuple[TokenSettings, ...]) -> None:
        """Know these."""
        self._tokens = tokens

    def find(self, token: str) -> TokenSettings | None:
        """Return whose a token is; the time it takes tells nothing about the tokens."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for known in self._tokens:
            if hmac.compare_digest(known.sha256, digest):
                found = known
        return found

    def require(self, credentials: HTTPAuthorizationCredentials | None, right: Right) -> str:
        """Return the name of a token that has a right; raises Problem 401 or 403."""
        if credentials is None:
            raise Problem(401, "this needs a bearer token", headers={"WWW-Authenticate": "Bearer"})
        found = self.find(credentials.credentials)
        if found is None:
            challenge = 'Bearer error="invalid_token"'
            raise Problem(401, "the token is not known", headers={"WWW-Authenticate": challenge})
        if right not in found.rights:
            raise Problem(403, f"the token of {found.name} lacks the right {right!r}")
        return found.name


async def _people(request: Request, credentials: Credentials) -> str:
    tokens: Tokens = request.app.state.tokens
    return tokens.require(credentials, PEOPLE)


async def _write(request: Request, credentials: Credentials) -> str:
    tokens: Tokens = request.app.state.tokens
    return tokens.require(credentials, WRITE)


may_see_people: Callable[..., Awaitable[str]] = _people
may_write: Callable[..., Awaitable[str]] = _write


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
        raise Problem(
            422, "the request is not as it should be", errors=[{"where": "query", "what": what}]
        )


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


class RateLimit:
    """Lets a client send so many requests a second; the others get 429 and when to come again.

    A token bucket for each client: whoever shows a known token is that token, everybody else is the
    address that the connection comes from. Headers that proxies set are not believed.
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
        wait = self.take(self._client(scope))
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

    def _client(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                found = self._tokens.find(value[7:].decode("latin-1"))
                if found:
                    return f"token {found.name}"
        return scope["client"][0] if scope["client"] else ""


class BoundedBodies:
    """Refuses bodies beyond a size with 413, also those that do not say how long they are."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        """most: bytes."""
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > self._most:
            refusal = problem_response(413, f"a body may have {self._most} bytes")
            await refusal(scope, receive, send)
            return
        came = 0

        async def bounded() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                # Of all exceptions FastAPI lets this one through while it reads a body.
                raise HTTPException(413, f"a body may have {self._most} bytes")
            return message

        await self._app(scope, bounded, send)


class SafeHeaders:
    """Tells browsers to run nothing that is not ours, and to show this in no one else's frame."""

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
        """Pass on, with headers."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)
