"""The HTTP API. Ids are in the query, never in the path: they may hold any character."""

from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, StringConstraints

from agents.partitions import user_state
from console.cursor import BadCursor, Cursor
from console.guard import may_see_people, may_write, only_known_parameters
from console.operations import Operations, UnknownBundle
from console.problems import PROBLEM_JSON, Problem, ProblemBody
from console.replica import Replica
from console.serving import DEEPEST, Page, Placed, Serving, Wanted
from console.wire import (
    MOST,
    Bundle,
    Erasing,
    Health,
    Id,
    ItemBody,
    ListBody,
    Pinning,
    ReceiptBody,
    Repeats,
    Session,
    Similar,
    UserBody,
    Written,
)
from dynamic_layer import UserState
from state import item_key
from state.compare import entry_view
from state.dump import entries_of
from streams import Source
from streams.faults import id_fault

__all__ = ["TheReplica", "TheServing", "UserId", "health", "known_of", "router"]

People = Annotated[str, Depends(may_see_people)]
Writing = Annotated[str, Depends(may_write)]
UserId = Annotated[Id, Query(description="At most 256 bytes.")]
Types = Annotated[list[Id], Query(max_length=20, description="Item types; none: all.")]
K = Annotated[int, Query(ge=1, le=MOST, description="Items in the answer.")]
TypeAndId = Annotated[
    str, StringConstraints(min_length=3, max_length=600, pattern=r"^[^:]+:[\s\S]+$")
]
Excluded = Annotated[
    list[TypeAndId],
    Query(max_length=MOST, description="Items that must not come, as type:id."),
]
PageText = Annotated[str | None, Query(max_length=400, description="`next_page` of a page.")]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {PROBLEM_JSON: {"schema": ProblemBody.model_json_schema()}}
    return {
        status: {"description": "A problem (RFC 9457).", "content": content}
        for status in (400, 413, 422, 429, 500, *statuses)
    }


router = APIRouter(
    prefix="/v1", responses=_problems(), dependencies=[Depends(only_known_parameters)]
)
health = APIRouter()


def _replica(request: Request) -> Replica:
    replica: Replica = request.app.state.replica
    return replica


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.operations
    return operations


TheReplica = Annotated[Replica, Depends(_replica)]
TheServing = Annotated[Serving, Depends(_serving)]
TheOperations = Annotated[Operations, Depends(_operations)]


# Lists


@router.get(
    "/recommendations", tags=["lists"], response_model=ListBody,
    responses=_problems(401, 403, 404, 503), summary="A user's list, from the live state",
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
    _check_user(user)
    _check_types(serving, types)
    _check_ready(replica)
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
    "/recommendations", tags=["lists"], response_model=ListBody, responses=_problems(404, 503),
    summary="A list for somebody without a name, from the items of a session",
)  # fmt: skip
async def session(
    replica: TheReplica, serving: TheServing, body: Session, titles: bool = False
) -> Response:
    """The same lists as for users. Nothing of the session is kept."""
    _check_types(serving, body.types)
    _check_ready(replica)
    cursor = _cursor(body.page)
    wanted = Wanted(
        types=tuple(sorted(set(body.types))), repeats=body.repeats, k=body.k,
        exclude=frozenset((item.item_type, item.item_id) for item in body.exclude),
    )  # fmt: skip
    known = _session_state(body, cursor.now_ms if cursor else serving.now_ms())
    found = await serving.page(known, wanted, cursor)
    return _list(replica, found, titles, cold=not serving.knows_any(known))


@router.get(
    "/similar", tags=["items"], response_model=Similar, responses=_problems(404, 503),
    summary="Items near to an item",
)  # fmt: skip
async def similar_items(
    replica: TheReplica,
    serving: TheServing,
    item_type: Annotated[Id, Query(alias="type")],
    item_id: Annotated[Id, Query(alias="id")],
    types: Types = [],  # noqa: B006
    k: K = 10,
    titles: bool = False,
) -> Response:
    """By cosine in the space of the two towers; popularity plays no part."""
    _check_types(serving, types)
    _check_ready(replica)
    generation, found = await serving.similar(item_type, item_id, types, k)
    if found is None:
        raise Problem(404, "the bundle in use has no vector for this item")
    return _json(Similar(generation=generation, items=_items(replica, found, titles)))


@router.get(
    "/search", tags=["items"], response_model=Similar, responses=_problems(404, 503),
    summary="Items near to a text",
)  # fmt: skip
async def search(
    replica: TheReplica,
    serving: TheServing,
    q: Annotated[str, Query(min_length=1, max_length=500)],
    types: Types = [],  # noqa: B006
    k: K = 10,
    titles: bool = True,
) -> Response:
    """The text is placed in the shared space as a new item with this description would be."""
    _check_types(serving, types)
    _check_ready(replica)
    generation, found = await serving.search(q, types, k)
    return _json(Similar(generation=generation, items=_items(replica, found, titles)))


# What is known


@router.get(
    "/item", tags=["items"], response_model=ItemBody, responses=_problems(404, 503),
    summary="What is known of an item",
)  # fmt: skip
async def item(
    replica: TheReplica,
    serving: TheServing,
    item_type: Annotated[Id, Query(alias="type")],
    item_id: Annotated[Id, Query(alias="id")],
    k: K = 10,
) -> Response:
    """Its entry in the catalogue, its users, and the items that the same users had."""
    _check_ready(replica)
    users, near = await replica.neighbours(item_type, item_id)
    entry = replica.entry(item_type, item_id)
    if entry is None and not users:
        raise Problem(404, "neither the catalogue nor any user has this item")
    best = sorted(near.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
    names = replica.names(key for key, _ in best)
    neighbours = [
        {
            "item_type": names[key][0], "item_id": names[key][1],
            "title": replica.title(*names[key]), "users": count,
        }
        for key, count in best
    ]  # fmt: skip
    body = {
        "item_type": item_type,
        "item_id": item_id,
        "catalogue": entry,
        "recommendable": serving.has_vector(item_type, item_id),
        "users": users,
        "neighbours": neighbours,
    }
    return _json(body)


@router.get(
    "/user", tags=["people"], response_model=UserBody, responses=_problems(401, 403, 404, 503),
    summary="What is known of a user",
)  # fmt: skip
async def user_body(replica: TheReplica, _: People, user: UserId, k: K = 50) -> Response:
    """Attributes, and the history inside the window, newest first; a stranger's is empty."""
    _check_user(user)
    _check_ready(replica)
    return _json(await known_of(replica, user, k))


async def known_of(replica: Replica, user: str, most: int) -> dict[str, Any]:
    """What the replica knows of a user, as JSON values."""
    async with replica.turn:
        state = replica.state_of(user)
        entries = entries_of(state.history(user))
        attributes = dict(state.user(user))
        partition, position = replica.position_of(user)
    names = replica.names(entry[0] for entry in entries[:most])
    history = [
        {
            "item_type": names[entry[0]][0],
            "item_id": names[entry[0]][1],
            "title": replica.title(*names[entry[0]]) or names[entry[0]][1],
            **entry_view(entry),
        }
        for entry in entries[:most]
    ]
    return {
        "user_id": user,
        "partition": partition,
        "position": position,
        "attributes": attributes,
        "entries": len(entries),
        "history": history,
    }


# What people change


@router.delete(
    "/user", status_code=202, tags=["people"], response_model=Erasing,
    responses=_problems(401, 403, 404), summary="Erase a user",
)  # fmt: skip
async def erase(operations: TheOperations, request: Request, by: Writing, user: UserId) -> Response:
    """Writes the records of `segue erase`; what goes when: docs/erasure.md."""
    _check_user(user)
    attributes, events = await operations.erase(user, by)
    receipt = f"{request.url_for('receipt').path}?{urlencode(_place(events))}"
    return _json(
        {"events": _place(events), "users": _place(attributes), "receipt": receipt},
        status=202, headers={"Location": receipt},
    )  # fmt: skip


@router.get(
    "/receipt", tags=["people"], response_model=ReceiptBody, responses=_problems(401, 403),
    summary="What came of an erasure",
)  # fmt: skip
async def receipt(
    operations: TheOperations,
    _: Writing,
    topic: Annotated[str, Query(min_length=1, max_length=249)],
    partition: Annotated[int, Query(ge=0, lt=1 << 31)],
    offset: Annotated[int, Query(ge=0, lt=1 << 53)],
) -> Response:
    """By the place of the erasure's record on the topic of events; the newest are known here."""
    source = Source(topic=topic, partition=partition, offset=offset)
    found = operations.receipt(source)
    body: dict[str, Any] = {"applied_here": operations.applied(source), "done": found is not None}
    if found is not None:
        body |= {
            "held": found.held,
            "position": found.position,
            "user_sha256": found.user_sha256,
            "checkpoints": msgspec.to_builtins(found.checkpoints),
        }
    return _json(body)


@router.get(
    "/generations", tags=["models"], response_model=list[Bundle],
    summary="Bundles that can be served, the newest first",
)  # fmt: skip
async def generations(operations: TheOperations) -> Response:
    """Those in the artifact store: `trainer.keep_bundles` of them, and the pinned one."""
    return _json(await operations.generations())


@router.put(
    "/pin", status_code=202, tags=["models"], response_model=Written,
    responses=_problems(401, 403, 404), summary="Roll back: serve this bundle and no other",
)  # fmt: skip
async def pin(operations: TheOperations, by: Writing, body: Pinning) -> Response:
    """All workers and consoles load it, and stay with it until the pin is taken off.

    The trainer goes on learning and publishing meanwhile.
    """
    try:
        written = await operations.pin(body.name, by)
    except UnknownBundle as error:
        raise Problem(404, str(error)) from error
    return _json({"record": _place(written)}, status=202)


@router.delete(
    "/pin", status_code=202, tags=["models"], response_model=Written,
    responses=_problems(401, 403), summary="Serve the trainer's newest bundle again",
)  # fmt: skip
async def unpin(operations: TheOperations, by: Writing) -> Response:
    """Without a pin, nothing changes."""
    return _json({"record": _place(await operations.unpin(by))}, status=202)


# Health


@health.get("/health", tags=["health"], summary="Whether the process runs")
async def alive() -> Response:
    """For a liveness probe: true as long as it can answer at all."""
    return _json({"alive": True})


@health.get(
    "/ready", tags=["health"], response_model=Health,
    responses={503: {"model": Health, "description": "Not yet."}},
    summary="Whether lists can be made",
)  # fmt: skip
async def ready(replica: TheReplica) -> Response:
    """For a readiness probe: the states are as far as the log was, and a bundle is warm."""
    body = {
        "ready": replica.ready,
        "caught_up": replica.caught_up,
        "lag": replica.lag(),
        "generation": replica.models.generation,
    }
    return _json(body, status=200 if replica.ready else 503)


@health.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    text = generate_latest(request.app.state.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


# Small parts


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = body.model_dump_json() if isinstance(body, BaseModel) else msgspec.json.encode(body)
    return Response(content, status, headers, media_type="application/json")


def _place(source: Source) -> dict[str, Any]:
    return {"topic": source.topic, "partition": source.partition, "offset": source.offset}


def _check_user(user: str) -> None:
    if fault := id_fault(user):
        raise Problem(404, f"no user can have this id: {fault[1]}")


def _check_types(serving: Serving, types: list[Id]) -> None:
    known = serving.types()
    if unknown := sorted(set(types) - set(known)):
        raise Problem(404, f"the bundle in use knows the types {known}, not {unknown}")


def _check_ready(replica: Replica) -> None:
    if not replica.ready:
        raise Problem(503, "not ready yet: see /ready", headers={"Retry-After": "1"})


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


def _items(replica: Replica, found: list[Placed], titles: bool) -> list[Any]:
    return [
        {
            "item_type": placed.item_type,
            "item_id": placed.item_id,
            "score": placed.score,
            "title": replica.title(placed.item_type, placed.item_id) if titles else None,
        }
        for placed in found
    ]


def _list(replica: Replica, page: Page, titles: bool, **more: Any) -> Response:
    return _json(
        {
            "generation": page.generation,
            "items": _items(replica, page.items, titles),
            "next_page": page.next_page,
            "continued": page.continued,
            **more,
        }
    )
