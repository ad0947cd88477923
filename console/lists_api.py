"""Lists over HTTP: of a user from the live state, and of a session without a name."""

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from agents.working.partitions import user_state
from console.answers import answer, placed_items, problems_of
from console.cursor import BadCursor, Cursor
from console.guard import Credentials, Tokens
from console.list_wire import ListBody, ListContext, ManyLists, Session, UserList, UserLists
from console.parameters import (
    ListQuery,
    People,
    TheReplica,
    TheServing,
    check_applied,
    check_ready,
    check_types,
    check_user,
)
from console.problems import Problem
from console.replica import Replica
from console.serving import DEEPEST, Page, Serving, Wanted
from console.settings import PEOPLE
from dynamic_layer import UserState
from state import item_key

__all__ = ["PATH", "list_of", "router"]

PATH = "/v1/recommendations"
router = APIRouter(prefix="/v1")

#: The type of `type:id`, up to the first colon that no backslash stands before.
_TYPE = re.compile(r"(?:\\.|[^:\\])+", re.DOTALL)
_ESCAPED = re.compile(r"\\([:\\])")


@router.get(
    PATH.removeprefix("/v1"), operation_id="get_recommendations", tags=["lists"],
    response_model=ListBody,
    responses=problems_of(401, 403, 404, 503), summary="A user's list, from the live state",
)  # fmt: skip
async def recommendations(
    replica: TheReplica, serving: TheServing, _: People, query: Annotated[ListQuery, Query()]
) -> Response:
    """Made now, from every event that this console has applied; `position` says up to which.

    `at_least` waits for a record that was written a moment ago.

    A user without history gets what is popular in the user's market.
    """
    return await list_of(replica, serving, query)


@router.post(
    "/recommendations", operation_id="recommend", tags=["lists"], response_model=ListBody,
    responses=problems_of(401, 403, 404, 503),
    # A session has no name, and takes no token.
    openapi_extra={"security": [{}]},
    summary="A list for a user, or for the items of a session without a user id",
)  # fmt: skip
async def recommend(
    request: Request,
    replica: TheReplica,
    serving: TheServing,
    credentials: Credentials,
    body: Session | UserList,
    titles: bool = False,
) -> Response:
    """The same lists as by GET. No session is stored. A list of a user takes the right `people`."""
    if isinstance(body, UserList):
        tokens: Tokens = request.app.state.tokens
        tokens.require(credentials, PEOPLE)
        await _check(replica, serving, (body.user,), body.types, body.at_least)
        found = await _user_list(
            replica, serving, body.user, _wanted(body), page=body.page, titles=body.titles or titles
        )
        return answer(found)
    await _check(replica, serving, (), body.types, ())
    cursor = _cursor(body.page, serving)
    known = _session_state(body, cursor.now_ms if cursor else serving.now_ms())
    page = await serving.page(known, _wanted(body), cursor)
    cold = not serving.knows_any(known)
    return answer(_list(replica, page, body.titles or titles, cold=cold))


@router.post(
    "/recommendations/users", operation_id="recommend_many", tags=["lists"],
    response_model=ManyLists, responses=problems_of(401, 403, 404, 503),
    summary="Lists for many users",
)  # fmt: skip
async def recommend_many(
    replica: TheReplica, serving: TheServing, _: People, body: UserLists
) -> Response:
    """Each list reflects the state of its own user; all are made together."""
    await _check(replica, serving, body.users, body.types, body.at_least)
    wanted = _wanted(body)
    lists = await asyncio.gather(
        *(_user_list(replica, serving, user, wanted, titles=body.titles) for user in body.users)
    )
    made = zip(body.users, lists, strict=True)
    return answer({"lists": [{"user_id": user, **found} for user, found in made]})


async def list_of(replica: Replica, serving: Serving, query: ListQuery) -> Response:
    """Answer with a user's list; raises Problem, NotReady, Overloaded."""
    await _check(replica, serving, (query.user,), query.types, query.at_least)
    wanted = Wanted(
        types=tuple(sorted(set(query.types))), repeats=query.repeats, k=query.k,
        exclude=frozenset(_split(text) for text in query.exclude), name=query.list_name,
        explain=query.explain,
        context=tuple((name, getattr(query, name)) for name in ListContext.model_fields),
    )  # fmt: skip
    found = await _user_list(
        replica, serving, query.user, wanted, page=query.page, titles=query.titles
    )
    return answer(found)


async def _check(
    replica: Replica, serving: Serving, users: Sequence[str], types: Sequence[str],
    at_least: Sequence[str],
) -> None:  # fmt: skip
    """Raise Problem for what cannot be answered; wait for the records of `at_least`."""
    for user in users:
        check_user(user)
    check_types(serving, types)
    check_ready(replica)
    await check_applied(replica, at_least)


async def _user_list(
    replica: Replica, serving: Serving, user: str, wanted: Wanted, *,
    titles: bool, page: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    cursor = _cursor(page, serving)
    async with replica.turn:
        known = user_state(replica.state_of(user), user)
        place = replica.position_of(user)
    found = await serving.page(known, wanted, cursor)
    return _list(replica, found, titles, **place, cold=not serving.knows_any(known))


def _wanted(body: Session | UserList | UserLists) -> Wanted:
    return Wanted(
        types=tuple(sorted(set(body.types))), repeats=body.repeats, k=body.k,
        exclude=frozenset((item.item_type, item.item_id) for item in body.exclude),
        name=body.list_name, explain=body.explain, context=tuple(body.context or ()),
    )  # fmt: skip


def _cursor(text: str | None, serving: Serving) -> Cursor | None:
    if text is None:
        return None
    try:
        return Cursor.read(text, DEEPEST, serving.now_ms())
    except BadCursor as error:
        raise Problem(404, f"there is no such page: {error}") from error


def _split(text: str) -> tuple[str, str]:
    r"""Return the type and id of `type:id`.

    >>> _split("podcast:a:b"), _split(r"my\:type:a"), _split(r"back\\slash:a\b")
    (('podcast', 'a:b'), ('my:type', 'a'), ('back\\slash', 'a\\b'))
    """
    written = _TYPE.match(text)
    end = written.end() if written else 0
    return _ESCAPED.sub(r"\1", text[:end]), text[end + 1 :]


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
        attributes=body.attributes,
    )


def _list(replica: Replica, page: Page, titles: bool, **more: Any) -> dict[str, Any]:
    return {
        "generation": page.generation,
        "items": placed_items(replica, page.items, titles),
        **({"filtered": page.filtered._asdict()} if page.filtered else {}),
        "next_page": page.next_page,
        "continued": page.continued,
        **more,
    }
