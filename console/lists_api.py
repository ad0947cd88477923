"""Lists over HTTP: of a user from the live state, and of a session without a name."""

from typing import Any

import numpy as np
from fastapi import APIRouter, Response

from agents.partitions import user_state
from console.answers import answer, placed_items, problems_of
from console.cursor import BadCursor, Cursor
from console.parameters import (
    Excluded,
    K,
    PageText,
    People,
    TheReplica,
    TheServing,
    Types,
    UserId,
    check_ready,
    check_types,
    check_user,
)
from console.problems import Problem
from console.replica import Replica
from console.serving import DEEPEST, Page, Wanted
from console.wire import ListBody, Repeats, Session
from dynamic_layer import UserState
from state import item_key

__all__ = ["router"]

router = APIRouter(prefix="/v1")


@router.get(
    "/recommendations", tags=["lists"], response_model=ListBody,
    responses=problems_of(401, 403, 404, 503), summary="A user's list, from the live state",
)  # fmt: skip
async def recommendations(
    replica: TheReplica,
    serving: TheServing,
    _: People,
    user: UserId,
    types: Types = [],  # noqa: B006 pydantic copies it
    exclude: Excluded = [],  # noqa: B006
    repeats: Repeats = "exclude",
    k: K = 10,
    page: PageText = None,
    titles: bool = False,
) -> Response:
    """Made now, of every event that this console has applied: `position` says up to which.

    A user without history gets what is popular in the user's market.
    """
    check_user(user)
    check_types(serving, types)
    check_ready(replica)
    wanted = Wanted(
        types=tuple(sorted(set(types))), repeats=repeats, k=k,
        exclude=frozenset(_split(text) for text in exclude),
    )  # fmt: skip
    async with replica.turn:
        known = user_state(replica.state_of(user), user)
        partition, position = replica.position_of(user)
    found = await serving.page(known, wanted, _cursor(page))
    return _list(replica, found, titles, partition=partition, position=position,
                 cold=not serving.knows_any(known))  # fmt: skip


@router.post(
    "/recommendations", tags=["lists"], response_model=ListBody, responses=problems_of(404, 503),
    summary="A list for somebody without a name, from the items of a session",
)  # fmt: skip
async def session(
    replica: TheReplica, serving: TheServing, body: Session, titles: bool = False
) -> Response:
    """The same lists as for users. Nothing of the session is kept."""
    check_types(serving, body.types)
    check_ready(replica)
    cursor = _cursor(body.page)
    wanted = Wanted(
        types=tuple(sorted(set(body.types))), repeats=body.repeats, k=body.k,
        exclude=frozenset((item.item_type, item.item_id) for item in body.exclude),
    )  # fmt: skip
    known = _session_state(body, cursor.now_ms if cursor else serving.now_ms())
    found = await serving.page(known, wanted, cursor)
    return _list(replica, found, titles, cold=not serving.knows_any(known))


def _cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    try:
        return Cursor.read(text, DEEPEST)
    except BadCursor as error:
        raise Problem(404, f"there is no such page: {error}") from error


def _split(text: str) -> tuple[str, str]:
    item_type, _, item_id = text.partition(":")
    return item_type, item_id


def _session_state(body: Session, now_ms: int) -> UserState:
    items = {item_key(seen.item_type, seen.item_id): seen for seen in reversed(body.items)}
    rows = [(now_ms if seen.timestamp is None else seen.timestamp, key, seen.strong)
            for key, seen in reversed(items.items())]  # fmt: skip
    rows.sort(key=lambda row: -row[0])
    return UserState(
        user_id="",
        history_item=np.array([row[1] for row in rows], np.uint64),
        history_time=np.array([row[0] for row in rows], np.int64),
        history_strong=np.array([row[2] for row in rows], np.bool_),
        country=body.country,
        birth_year=body.birth_year,
    )


def _list(replica: Replica, page: Page, titles: bool, **more: Any) -> Response:
    return answer(
        {
            "generation": page.generation,
            "items": placed_items(replica, page.items, titles),
            "next_page": page.next_page,
            "continued": page.continued,
            **more,
        }
    )
