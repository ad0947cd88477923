"""Records over HTTP: events, impressions, items and users, one or many in a request."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.requests import ClientDisconnect

from console.answers import problems_of
from console.guard import (
    may_write_events,
    may_write_impressions,
    may_write_items,
    may_write_users,
)
from console.parameters import TheWrites
from console.problems import Problem
from console.settings import TokenSettings
from console.wire import Accepted
from console.writes import Body, Writes

__all__ = ["PATHS", "router"]

router = APIRouter(prefix="/v1", tags=["records"])

#: Paths whose bodies have a limit of their own.
PATHS = ("/v1/events", "/v1/impressions", "/v1/items", "/v1/users")
JSON, LINES = "application/json", "application/x-ndjson"

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255,
        description="A repeat with the same key gets the same answer and writes nothing.",
    ),
]  # fmt: skip


def _operation(record: str, *more: int) -> dict[str, Any]:
    """What OpenAPI says of an operation that takes records: see console.openapi."""
    one = {"$ref": f"#/components/schemas/{record}"}
    many = {"type": "array", "items": one, "minItems": 1, "title": f"{record}s"}
    return {
        "status_code": 202,
        "response_model": Accepted,
        "responses": problems_of(401, 403, *more, 413, 415, 503),
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {
                    JSON: {"schema": {"anyOf": [many, one]}},
                    LINES: {"schema": {"type": "string", "description": "One record a line."}},
                },
            }
        },
    }


@router.post(
    "/events", operation_id="write_events", summary="Write events", **_operation("Event")
)  # fmt: skip
async def events(
    request: Request,
    writes: TheWrites,
    token: Annotated[TokenSettings, Depends(may_write_events)],
    key: Key = None,
) -> Response:
    """Answers once the log has the good rows; the others are named by index and reason.

    422 if no row is good: then nothing is written.
    """
    return await _written("events", request, writes, token, key)


@router.post(
    "/impressions", operation_id="write_impressions", summary="Write what was shown",
    **_operation("Impression", 409),
)  # fmt: skip
async def impressions(
    request: Request,
    writes: TheWrites,
    token: Annotated[TokenSettings, Depends(may_write_impressions)],
    key: Key = None,
) -> Response:
    """As for events. 409 if the settings name no source of impressions: nothing would read them."""
    return await _written("impressions", request, writes, token, key)


@router.post(
    "/items", operation_id="write_items", summary="Write entries of the catalogue",
    **_operation("Item"),
)  # fmt: skip
async def items(
    request: Request,
    writes: TheWrites,
    token: Annotated[TokenSettings, Depends(may_write_items)],
    key: Key = None,
) -> Response:
    """As for events. An entry replaces the one before; `deleted` takes the item out of lists."""
    return await _written("items", request, writes, token, key)


@router.post(
    "/users", operation_id="write_users", summary="Write attributes of users", **_operation("User")
)  # fmt: skip
async def users(
    request: Request,
    writes: TheWrites,
    token: Annotated[TokenSettings, Depends(may_write_users)],
    key: Key = None,
) -> Response:
    """As for events. They replace all earlier attributes. This erases no history."""
    return await _written("users", request, writes, token, key)


async def _written(
    name: str, request: Request, writes: Writes, token: TokenSettings, key: str | None
) -> Response:
    lines = _is_lines(request)
    content = await _content(request, writes)
    body = Body(content=content, lines=lines, token=token, key=key)
    answer, repeated = await writes.accept(name, body)
    headers = {"Idempotency-Replayed": "true"} if repeated else {}
    return Response(answer, 202, headers, media_type=JSON)


def _is_lines(request: Request) -> bool:
    """Whether the body is lines of JSON, not one value. Raises Problem 415 for all else."""
    if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
        raise Problem(415, f"expected a body without Content-Encoding, got {encoding[:50]!r}")
    kind, *parameters = request.headers.get("content-type", JSON).lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise Problem(415, f"expected UTF-8, got {parameter.strip()[:50]!r}")
    if kind.strip() in (LINES, "application/ndjson", "application/jsonl"):
        return True
    if kind.strip() != JSON:
        raise Problem(415, f"expected {JSON} or {LINES}, got {kind.strip()[:50]!r}")
    return False


async def _content(request: Request, writes: Writes) -> bytes:
    """Return the body; its bytes are counted in flight, to be taken over by `Writes.accept`."""
    parts: list[bytes] = []
    counted = 0
    try:
        async for part in request.stream():
            writes.in_flight.take(len(part))
            counted += len(part)
            parts.append(part)
    except BaseException as error:
        writes.in_flight.give_back(counted)
        if isinstance(error, ClientDisconnect):
            raise Problem(400, "the connection ended before the body did") from error
        raise
    return b"".join(parts)
