"""Lists over HTTP: of a user from the live state, and of a session without a name."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Response

from agents.working.partitions import user_state
from console.answers import answer, placed_items, problems_of
from console.cursor import BadCursor, Cursor
from console.parameters import (
    ListQuery,
    People,
    TheReplica,
    TheServing,
    check_ready,
    check_types,
    check_user,
)
from console.problems import Problem
from console.replica import Replica
from console.serving import DEEPEST, Page, Serving, Wanted
from console.wire import ListBody, Session
from dynamic_layer import UserState
from state import item_key

__all__ = ["PATH", "list_of", "router"]

PATH = "/v1/recommendations"
router = APIRouter(prefix="/v1")


@router.get(
    PATH.removeprefix("/v1"), tags=["lists"], response_model=ListBody,
    responses=problems_of(401, 403, 404, 503), summary="A user's list, from the live state",
)  # fmt: skip
async def recommendations(
    replica: TheReplica, serving: TheServing, _: People, query: Annotated[ListQuery, Query()]
) -> Response:
    """Made now, of every event that this console has applied: `position` says up to which.

    A user without history gets what is popular in the user's market.
    """
    return await list_of(replica, serving, query)


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


async def list_of(replica: Replica, serving: Serving, query: ListQuery) -> Response:
    """Answer with a user's list; raises Problem, NotReady, Overloaded."""
    check_user(query.user)
    check_types(serving, query.types)
    check_ready(replica)
    wanted = Wanted(
        types=tuple(sorted(set(query.types))), repeats=query.repeats, k=query.k,
        exclude=frozenset(_split(text) for text in query.exclude),
    )  # fmt: skip
    cursor = _cursor(query.page)
    async with replica.turn:
        known = user_state(replica.state_of(query.user), query.user)
        partition, position = replica.position_of(query.user)
    found = await serving.page(known, wanted, cursor)
    return _list(replica, found, query.titles, partition=partition, position=position,
                 cold=not serving.knows_any(known))  # fmt: skip


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
