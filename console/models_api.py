"""Bundles over HTTP: which there are, and which one is pinned."""

from fastapi import APIRouter, Response

from console.answers import answer, place_of, problems_of
from console.operations import UnknownBundle
from console.parameters import TheOperations, Writing
from console.problems import Problem
from console.wire import Bundle, Pinning, Written

__all__ = ["router"]

router = APIRouter(prefix="/v1")


@router.get(
    "/generations", tags=["models"], response_model=list[Bundle],
    summary="Bundles that can be served, the newest first",
)  # fmt: skip
async def generations(operations: TheOperations) -> Response:
    """Those in the artifact store: `trainer.keep_bundles` of them, and the pinned one."""
    return answer(await operations.generations())


@router.put(
    "/pin", status_code=202, tags=["models"], response_model=Written,
    responses=problems_of(401, 403, 404), summary="Roll back: serve this bundle and no other",
)  # fmt: skip
async def pin(operations: TheOperations, by: Writing, body: Pinning) -> Response:
    """All workers and consoles load it, and stay with it until the pin is taken off.

    The trainer goes on learning and publishing meanwhile.
    """
    try:
        written = await operations.pin(body.name, by)
    except UnknownBundle as error:
        raise Problem(404, str(error)) from error
    return answer({"record": place_of(written)}, status=202)


@router.delete(
    "/pin", status_code=202, tags=["models"], response_model=Written,
    responses=problems_of(401, 403), summary="Serve the trainer's newest bundle again",
)  # fmt: skip
async def unpin(operations: TheOperations, by: Writing) -> Response:
    """Without a pin, nothing changes."""
    return answer({"record": place_of(await operations.unpin(by))}, status=202)
