"""Bundles over HTTP: which there are, which each channel serves, and which one is pinned there."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from agents.bundles.choosing import TornBundle, UnknownBundle
from console.answers import answer, place_of, problems_of
from console.bundles import NoBundleBefore, UnknownChannel
from console.parameters import TheBundles, Writing
from console.problems import Problem
from console.wire import Bundle, ChannelBody, Pinning, RolledBack, Written
from streams import DEFAULT_CHANNEL, NAME_PATTERN

__all__ = ["router"]

router = APIRouter(prefix="/v1")

Channel = Annotated[
    str,
    Query(pattern=NAME_PATTERN, description="Channel on which it is served, as named in the arms."),
]


@router.get(
    "/channels", operation_id="list_channels",
    tags=["models"], response_model=list[ChannelBody],
    summary="What each channel serves, and to which users",
)  # fmt: skip
async def channels(bundles: TheBundles) -> Response:
    """The channels of the arms of `[experiments]`, the default first; without arms only that."""
    return answer(await bundles.channels())


@router.get(
    "/generations", operation_id="list_bundles",
    tags=["models"], response_model=list[Bundle],
    summary="Bundles that can be served, the newest first",
)  # fmt: skip
async def generations(bundles: TheBundles) -> Response:
    """Bundles in the artifact store: `trainer.keep_bundles` of each channel, and pinned ones."""
    return answer(await bundles.all())


@router.put(
    "/pin", operation_id="pin_bundle",
    status_code=202, tags=["models"], response_model=Written,
    responses=problems_of(401, 403, 404, 409, 503), summary="Pin a bundle",
)  # fmt: skip
async def pin(
    bundles: TheBundles, by: Writing, body: Pinning, channel: Channel = DEFAULT_CHANNEL
) -> Response:
    """All workers and consoles load it for the channel and keep it until the pin is removed.

    The trainer continues to learn and to publish. The bundle may be of another channel. 404
    for an unknown bundle or channel, 409 for an incomplete bundle.
    """
    try:
        written = await bundles.pin(body.name, channel, by.name)
    except (UnknownBundle, UnknownChannel) as error:
        raise Problem(404, str(error)) from error
    except TornBundle as error:
        raise Problem(409, str(error)) from error
    return answer({"record": place_of(written)}, status=202)


@router.delete(
    "/pin", operation_id="unpin_bundle",
    status_code=202, tags=["models"], response_model=Written,
    responses=problems_of(401, 403, 404, 503), summary="Serve the trainer's newest bundle again",
)  # fmt: skip
async def unpin(bundles: TheBundles, by: Writing, channel: Channel = DEFAULT_CHANNEL) -> Response:
    """Without a pin on the channel, nothing changes."""
    try:
        written = await bundles.unpin(channel, by.name)
    except UnknownChannel as error:
        raise Problem(404, str(error)) from error
    return answer({"record": place_of(written)}, status=202)


@router.post(
    "/rollback", operation_id="roll_back",
    status_code=202, tags=["models"], response_model=RolledBack,
    responses=problems_of(401, 403, 404, 409, 503), summary="Pin the bundle before the one served",
)  # fmt: skip
async def rollback(
    bundles: TheBundles, by: Writing, channel: Channel = DEFAULT_CHANNEL
) -> Response:
    """The bundle of the same trainer. A second call pins the one before that.

    To choose a bundle by name, use PUT /v1/pin. 409 if there is no earlier bundle.
    """
    try:
        served, pinned, written = await bundles.rollback(channel, by.name)
    except UnknownChannel as error:
        raise Problem(404, str(error)) from error
    except NoBundleBefore as error:
        raise Problem(409, str(error)) from error
    body = {"instead_of": served, "pinned": pinned, "record": place_of(written)}
    return answer(body, status=202)
