"""The HTTP API: its parts, probes, and metrics for Prometheus.

Ids are in the query, never in the path: they may hold any character.
"""

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from console import (
    item_times_api,
    items_api,
    lists_api,
    models_api,
    people_api,
    policies_api,
    writes_api,
)
from console.answers import answer, problems_of
from console.guard import only_known_parameters
from console.parameters import TheReplica
from console.wire import Health

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
health = APIRouter()


@health.get(
    "/health", operation_id="get_health", tags=["health"], summary="Whether the process runs"
)
async def alive() -> Response:
    """For a liveness probe: true as long as it can answer at all."""
    return answer({"alive": True})


@health.get(
    "/ready", operation_id="get_ready",
    tags=["health"], response_model=Health,
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
    return answer(body, status=200 if replica.ready else 503)


@health.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    text = generate_latest(request.app.state.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
