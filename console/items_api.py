"""Items over HTTP: what is near to one or to a text, and what is known of one."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from console import state_reads
from console.answers import answer, placed_items, problems_of
from console.list_wire import Similar
from console.parameters import K, TheReplica, TheServing, Types, check_ready, check_types
from console.problems import Problem
from console.replica import Replica
from console.serving import Serving
from console.wire import Id, ItemBody

__all__ = ["look_up", "router", "strongest"]

router = APIRouter(prefix="/v1")


@router.get(
    "/similar", operation_id="get_similar_items",
    tags=["items"], response_model=Similar, responses=problems_of(404, 503),
    summary="Similar items",
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
    """By cosine in the space of the two towers; popularity has no effect."""
    check_types(serving, types)
    check_ready(replica)
    generation, found = await serving.similar(item_type, item_id, types, k)
    if found is None:
        raise Problem(404, "the bundle in use has no vector for this item")
    return answer(Similar(generation=generation, items=placed_items(replica, found, titles)))


@router.get(
    "/search", operation_id="search_items",
    tags=["items"], response_model=Similar, responses=problems_of(404, 503),
    summary="Items close to a text",
)  # fmt: skip
async def search(
    replica: TheReplica,
    serving: TheServing,
    q: Annotated[str, Query(min_length=1, max_length=500)],
    types: Types = [],  # noqa: B006
    k: K = 10,
    titles: bool = True,
) -> Response:
    """The text is encoded like a new item with this description."""
    check_types(serving, types)
    check_ready(replica)
    generation, found = await serving.search(q, types, k)
    return answer(Similar(generation=generation, items=placed_items(replica, found, titles)))


@router.get(
    "/item", operation_id="get_item",
    tags=["items"], response_model=ItemBody, responses=problems_of(404, 503),
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
    entry, users, near = await look_up(replica, serving, item_type, item_id)
    neighbours = [
        {
            "item_type": kind, "item_id": name, "title": state_reads.title(replica, kind, name),
            "users": count,
        }
        for _, (kind, name), count in strongest(replica, near, k)
    ]  # fmt: skip
    body = {
        "item_type": item_type,
        "item_id": item_id,
        "catalogue": entry,
        "recommendable": serving.recommends(item_type, item_id),
        "users": users,
        "neighbours": neighbours,
    }
    return answer(body)


async def look_up(
    replica: Replica, serving: Serving, item_type: str, item_id: str
) -> tuple[dict[str, Any] | None, int, dict[int, int]]:
    """Return an item's entry, its users, and the users of both by the key of what they had too.

    Without what others may not see. Raises Problem 503, or 404 where nothing is known of it.
    """
    check_ready(replica)
    users, near = await state_reads.neighbours(replica, item_type, item_id)
    entry = state_reads.entry(replica, item_type, item_id)
    if entry is None and not (users and _is_public(replica, serving, item_type, item_id)):
        raise Problem(404, "neither the catalogue nor any user has this item")
    if replica.state_settings.text_types:
        others = state_reads.names(replica, near)
        near = {key: near[key] for key in others if _is_public(replica, serving, *others[key])}
    return entry, users, near


def strongest(
    replica: Replica, near: dict[int, int], k: int
) -> list[tuple[int, tuple[str, str], int]]:
    """Key, name and users in common of the `k` neighbours that have most, best first."""
    best = sorted(near.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
    names = state_reads.names(replica, (key for key, _ in best))
    return [(key, names[key], count) for key, count in best]


def _is_public(replica: Replica, serving: Serving, item_type: str, item_id: str) -> bool:
    """Whether others may see an item: texts only once the bundle in use has them.

    A text can tell who wrote it, and is an item of a bundle once enough users did.
    """
    texts = replica.state_settings.text_types
    return item_type not in texts or serving.has_vector(item_type, item_id)
