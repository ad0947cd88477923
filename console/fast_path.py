"""Fast path for `GET /v1/recommendations`: bypasses the framework, keeps its rules."""

from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from console.batching import Overloaded
from console.guard import Tokens
from console.lists_api import PATH, list_of, router
from console.parameters import ListQuery
from console.problems import Problem, problem_of
from console.replica import Replica
from console.serving import NotReady, Serving
from console.settings import PEOPLE

__all__ = ["FastPath"]

_MANY = ("types", "exclude", "at_least")


class FastPath:
    """Answers `GET /v1/recommendations` as FastAPI would, without its resolution of dependencies.

    The resolution takes longer than a list in a batch. A request with invalid parameters or an
    invalid token is passed on to FastAPI, which is the only place that reports errors.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens, replica: Replica, serving: Serving) -> None:
        """Pass all other requests on to `app`."""
        self._app = app
        self._tokens, self._replica, self._serving = tokens, replica, serving
        # Requests are counted by the route that FastAPI would have found.
        self._route = next(route for route in router.routes if getattr(route, "path", "") == PATH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        query = self._query(scope)
        if query is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        try:
            response = await list_of(self._replica, self._serving, query)
        except (Problem, NotReady, Overloaded) as error:
            response = problem_of(error)
        await response(scope, receive, send)

    def _query(self, scope: Scope) -> ListQuery | None:
        """Return an authorised client's request; None for all else."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            return None
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(shown) != 1 or shown[0][:7].lower() != b"bearer ":
            return None
        token = self._tokens.find(shown[0][7:].decode("latin-1"))
        if token is None or PEOPLE not in token.rights:
            return None
        asked: dict[str, str | list[str]] = {}
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), True):
            if name in _MANY:
                asked[name] = [*asked.get(name, ()), value]
            elif name in asked:
                return None
            else:
                asked[name] = value
        try:
            return ListQuery.model_validate(asked)
        except ValidationError:
            return None
