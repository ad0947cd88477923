"""Errors in the format of RFC 9457, including the framework's."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiokafka.errors import KafkaError
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from console.batching import Overloaded
from console.serving import NotReady
from console.writers import NotWritten
from state import StoreUnavailable
from static_layer import TextModelError
from streams import AdminError

__all__ = [
    "PROBLEM_JSON",
    "Problem",
    "ProblemBody",
    "handle_problems",
    "problem_of",
    "problem_response",
]

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_S = 1
STORE_RETRY_S = 10
LOG_RETRY_S = 5


class Problem(Exception):
    """What went wrong, for the client."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """more: further members of the body."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.more = more


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    where: str = Field(description="As in query.k or body.items.0.item_id.")
    what: str


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="about:blank: the status says everything.")
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = Field(default=None, description="By part of the request.")


def problem_response(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Return the response of a problem."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return Response(
        msgspec.json.encode(body), status, media_type=PROBLEM_JSON, headers=dict(headers or {})
    )


def problem_of(error: Problem | NotReady | Overloaded) -> Response:
    """Return the response of an error that tells the client what to do."""
    if isinstance(error, Problem):
        return problem_response(error.status, error.detail, error.headers, **error.more)
    detail = "no bundle is loaded yet: see /ready" if isinstance(error, NotReady) else str(error)
    return problem_response(503, detail, {"Retry-After": str(RETRY_S)})


def handle_problems(app: FastAPI) -> None:
    """Have an app answer every error by a problem."""

    @app.exception_handler(Problem)
    @app.exception_handler(NotReady)
    @app.exception_handler(Overloaded)
    async def problem(_: Request, error: Problem | NotReady | Overloaded) -> Response:
        return problem_of(error)

    @app.exception_handler(StoreUnavailable)
    async def store_unavailable(_: Request, error: StoreUnavailable) -> Response:
        logger.warning("a request needs the artifact store: %s", error)
        detail = "the artifact store does not answer; the console's log says why"
        return problem_response(503, detail, {"Retry-After": str(STORE_RETRY_S)})

    @app.exception_handler(NotWritten)
    async def not_written(_: Request, error: NotWritten) -> Response:
        logger.warning("a request could not write: %s", error)
        return problem_response(503, str(error), {"Retry-After": str(LOG_RETRY_S)})

    @app.exception_handler(AdminError)
    @app.exception_handler(KafkaError)
    async def no_log(_: Request, error: AdminError | KafkaError) -> Response:
        logger.warning("a request needs the log: %s", error)
        detail = "the log does not answer; the console's log says why"
        return problem_response(503, detail, {"Retry-After": str(LOG_RETRY_S)})

    @app.exception_handler(TextModelError)
    async def no_text_model(_: Request, error: TextModelError) -> Response:
        return problem_response(503, f"texts cannot be searched: {error}")

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        errors = [
            # What was sent is not repeated: it may be long, and it may be a secret.
            {"where": ".".join(str(part) for part in found["loc"]), "what": found["msg"]}
            for found in _of_one_form(error.errors())[:20]
        ]
        return problem_response(422, "the request is invalid", errors=errors)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return problem_response(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        logger.error("a request failed", exc_info=error)
        return problem_response(500, "the server failed; its log says why")


def _of_one_form(errors: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors of the form that was meant, of a body that may have several.

    Such errors name the form behind `body`. The one that lacks the fewest fields was meant.
    """
    forms = {form: [one for one in errors if _form(one) == form] for form in map(_form, errors)}
    others = forms.pop("", [])
    if not forms:
        return others

    def lacks(form: str) -> tuple[int, int]:
        return sum(one["type"] == "missing" for one in forms[form]), len(forms[form])

    meant = forms[min(forms, key=lacks)]
    return [*others, *({**one, "loc": (one["loc"][0], *one["loc"][2:])} for one in meant)]


def _form(error: dict[str, Any]) -> str:
    """Return the name of a body's form; fields begin with a small letter."""
    name = error["loc"][1] if len(error["loc"]) > 1 else ""
    return name if isinstance(name, str) and name[:1].isupper() else ""
