"""The HTTP API. Ids are in the query, never in the path: they may hold any character."""

from fastapi import APIRouter, Depends

from console import (
    health_api,
    item_times_api,
    items_api,
    lists_api,
    models_api,
    people_api,
    policies_api,
    writes_api,
)
from console.answers import problems_of
from console.guard import only_known_parameters

__all__ = ["health", "router"]

router = APIRouter(responses=problems_of(), dependencies=[Depends(only_known_parameters)])
# Each part says /v1 itself: metrics are labelled by the path that a route was declared with.
for part in (
    lists_api,
    items_api,
    item_times_api,
    people_api,
    models_api,
    writes_api,
    policies_api,
):
    router.include_router(part.router)
health = health_api.router
