"""An item over time: its events by bucket of the window, and the buckets of its edges."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from console import state_reads
from console.answers import answer, problems_of
from console.item_times import ItemTimes
from console.items_api import look_up, strongest
from console.parameters import TheReplica, TheServing
from console.wire import Id, ItemDemand, ItemEdges

__all__ = ["router"]

router = APIRouter(prefix="/v1")


async def _times(request: Request) -> ItemTimes:
    times: ItemTimes = request.app.state.times
    return times


TheTimes = Annotated[ItemTimes, Depends(_times)]
ItemType = Annotated[Id, Query(alias="type")]
ItemId = Annotated[Id, Query(alias="id")]


@router.get(
    "/item/demand", operation_id="get_item_demand",
    tags=["items"], response_model=ItemDemand, responses=problems_of(404, 503),
    summary="Demand for an item over time",
)  # fmt: skip
async def demand(
    replica: TheReplica, serving: TheServing, times: TheTimes, item_type: ItemType, item_id: ItemId
) -> Response:
    """Events of the kinds that make edges, by bucket of the window and by market.

    A market is a number derived from a country; `countries` lists its countries that
    have users. As of the last commit, about a second ago.
    """
    await look_up(replica, serving, item_type, item_id)
    found = await times.wanting(item_type, item_id)
    markets = [
        {"market": number, "countries": countries, "events": events}
        for number, countries, events in found.markets
    ]
    return answer(
        {
            "item_type": item_type, "item_id": item_id, "bucket_ms": found.bucket_ms,
            "starts": found.starts, "events": found.events, "markets": markets,
        }
    )  # fmt: skip


@router.get(
    "/item/edges", operation_id="get_item_edges",
    tags=["items"], response_model=ItemEdges, responses=problems_of(404, 503),
    summary="Edges of an item over time",
)  # fmt: skip
async def edges(
    replica: TheReplica,
    serving: TheServing,
    times: TheTimes,
    item_type: ItemType,
    item_id: ItemId,
    k: Annotated[int, Query(ge=1, le=20, description="Neighbours, the strongest first.")] = 8,
) -> Response:
    """Users of both items by bucket of the window.

    A user counts in the bucket of the earlier of the user's latest events on the two items.
    When that bucket leaves the window, these users no longer count.
    """
    _, _, near = await look_up(replica, serving, item_type, item_id)
    best = strongest(replica, near, k)
    found = await times.edges(item_type, item_id, [key for key, _, _ in best])
    neighbours = [
        {
            "item_type": kind, "item_id": name, "title": state_reads.title(replica, kind, name),
            "users": sum(found.by_neighbour[key]), "by_bucket": found.by_neighbour[key],
        }
        for key, (kind, name), _ in best
    ]  # fmt: skip
    return answer(
        {
            "item_type": item_type, "item_id": item_id, "bucket_ms": found.bucket_ms,
            "starts": found.starts, "neighbours": neighbours,
        }
    )  # fmt: skip
