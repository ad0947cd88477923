"""Probes, and metrics for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from console.answers import answer
from console.parameters import TheReplica
from console.wire import Health

__all__ = ["router"]

router = APIRouter()


@router.get(
    "/health", operation_id="get_health", tags=["health"], summary="Whether the process runs"
)
async def alive() -> Response:
    """For a liveness probe: true as long as it can answer at all."""
    return answer({"alive": True})


@router.get(
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


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    text = generate_latest(request.app.state.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
