"""People over HTTP: what is known of one, and to erase it."""

from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query, Request, Response

from console.answers import answer, known_of, place_of, problems_of
from console.parameters import (
    AtLeast,
    K,
    People,
    TheErasures,
    TheReplica,
    UserId,
    Writing,
    check_applied,
    check_ready,
    check_user,
)
from console.wire import Erasing, ReceiptBody, UserBody
from streams import Source

__all__ = ["router"]

router = APIRouter(prefix="/v1")


@router.get(
    "/user", operation_id="get_user",
    tags=["people"], response_model=UserBody, responses=problems_of(401, 403, 404, 503),
    summary="What is known of a user",
)  # fmt: skip
async def user_body(
    replica: TheReplica,
    _: People,
    user: UserId,
    k: K = 50,
    at_least: AtLeast = [],  # noqa: B006
) -> Response:
    """Attributes, and the history inside the window, newest first; empty for unknown users."""
    check_user(user)
    check_ready(replica)
    await check_applied(replica, at_least)
    return answer(await known_of(replica, user, k))


@router.delete(
    "/user", operation_id="erase_user",
    status_code=202, tags=["people"], response_model=Erasing,
    responses=problems_of(401, 403, 404, 503), summary="Erase a user",
)  # fmt: skip
async def erase(erasures: TheErasures, request: Request, by: Writing, user: UserId) -> Response:
    """Writes the records of `segue erase`. docs/erasure.md says what is removed when."""
    check_user(user)
    attributes, events = await erasures.erase(user, by.name)
    receipt = f"{request.url_for('receipt').path}?{urlencode(place_of(events))}"
    return answer(
        {"events": place_of(events), "users": place_of(attributes), "receipt": receipt},
        status=202, headers={"Location": receipt},
    )  # fmt: skip


@router.get(
    "/receipt", operation_id="get_receipt",
    tags=["people"], response_model=ReceiptBody, responses=problems_of(401, 403, 503),
    summary="The receipt of an erasure",
)  # fmt: skip
async def receipt(
    erasures: TheErasures,
    _: Writing,
    topic: Annotated[str, Query(min_length=1, max_length=249)],
    partition: Annotated[int, Query(ge=0, lt=1 << 31)],
    offset: Annotated[int, Query(ge=0, lt=1 << 53)],
) -> Response:
    """By the place of the erasure's record on the topic of events; only the newest are known."""
    source = Source(topic=topic, partition=partition, offset=offset)
    found = erasures.receipt(source)
    body: dict[str, Any] = {"applied_here": erasures.applied(source), "done": found is not None}
    if found is not None:
        body |= {
            "held": found.held,
            "position": found.position,
            "user_sha256": found.user_sha256,
            "checkpoints": msgspec.to_builtins(found.checkpoints),
            "count_from": found.count_from,
            "copies": msgspec.to_builtins(found.copies),
        }
    return answer(body)
