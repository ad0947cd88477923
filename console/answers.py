"""What answers of the API hold."""

from typing import Any

import msgspec
from fastapi import Response
from pydantic import BaseModel

from agents.reasons import reasons_of
from console import state_reads
from console.problems import PROBLEM_JSON
from console.replica import Replica
from console.serving import Placed
from state.canonical import entries_of
from state.compare import entry_view
from streams import Source

__all__ = ["answer", "known_of", "place_of", "placed_items", "problems_of"]


def problems_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these statuses, and of those that any request can have."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {
        status: {"description": "A problem (RFC 9457).", "content": content}
        for status in (400, 413, 422, 429, 500, *statuses)
    }


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    content = body.model_dump_json() if isinstance(body, BaseModel) else msgspec.json.encode(body)
    return Response(content, status, headers, media_type="application/json")


def place_of(source: Source) -> dict[str, Any]:
    """A place in the log, as JSON values."""
    return {"topic": source.topic, "partition": source.partition, "offset": source.offset}


async def known_of(replica: Replica, user: str, most: int) -> dict[str, Any]:
    """What the replica knows of a user, as JSON values."""
    async with replica.turn:
        state = replica.state_of(user)
        entries = entries_of(state.history(user))
        attributes = dict(state.user(user))
        place = replica.position_of(user)
    names = state_reads.names(replica, (entry[0] for entry in entries[:most]))
    history = [
        {
            "item_type": names[entry[0]][0],
            "item_id": names[entry[0]][1],
            "title": state_reads.title(replica, *names[entry[0]]) or names[entry[0]][1],
            **entry_view(entry),
        }
        for entry in entries[:most]
    ]
    return {
        "user_id": user,
        **place,
        "attributes": attributes,
        "entries": len(entries),
        "history": history,
    }


def placed_items(replica: Replica, found: list[Placed], titles: bool) -> list[Any]:
    """Items of a list, as JSON values."""

    def titled(placed: Placed) -> str | None:
        return state_reads.title(replica, placed.item_type, placed.item_id) if titles else None

    return [
        {
            "item_type": placed.item_type,
            "item_id": placed.item_id,
            "score": placed.score,
            "title": titled(placed),
            **({"why": msgspec.to_builtins(reasons_of(placed.why))} if placed.why else {}),
        }
        for placed in found
    ]
