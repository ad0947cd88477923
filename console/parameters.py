"""What requests of the API hold, what they need of the process, and what is refused early."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from console.bundles import Bundles
from console.erasures import Erasures
from console.guard import may_see_people, may_write
from console.list_wire import CONTEXT, EXPLAIN, MOST, TIME_ZONE, Repeats, Surface
from console.policies import PolicyEditing
from console.problems import Problem
from console.replica import Replica
from console.serving import Serving
from console.settings import TokenSettings
from console.wire import AT_LEAST, Id, PlaceText
from console.writes import Writes
from streams.dead_letters import id_fault

__all__ = [
    "AtLeast",
    "Excluded",
    "K",
    "ListQuery",
    "PageText",
    "People",
    "TheBundles",
    "TheErasures",
    "ThePolicies",
    "TheReplica",
    "TheServing",
    "TheWrites",
    "Types",
    "UserId",
    "Writing",
    "check_applied",
    "check_ready",
    "check_types",
    "check_user",
]

People = Annotated[TokenSettings, Depends(may_see_people)]
Writing = Annotated[TokenSettings, Depends(may_write)]
UserId = Annotated[Id, Query(description="At most 256 bytes.")]
Types = Annotated[list[Id], Query(max_length=20, description="Item types; none: all.")]
K = Annotated[int, Query(ge=1, le=MOST, description="Items in the answer.")]
TypeAndId = Annotated[
    str, StringConstraints(min_length=3, max_length=1200, pattern=r"^(\\[\s\S]|[^:\\])+:[\s\S]+$")
]
Excluded = Annotated[
    list[TypeAndId],
    Query(
        max_length=MOST,
        description=r"Items to leave out, as type:id. In a type write \: for : and \\ for \.",
    ),
]
AtLeast = Annotated[list[PlaceText], Query(max_length=20, description=AT_LEAST)]
PageText = Annotated[
    str | None, Query(max_length=400, description="`next_page` of the page before.")
]


ListName = Annotated[
    str,
    Query(
        alias="list",
        max_length=256,
        description="Name of the list whose policy applies; none: that of *.",
    ),
]


class ListQuery(BaseModel):
    """What a user's list is asked for by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: UserId
    types: Types = []
    exclude: Excluded = []
    repeats: Repeats = "exclude"
    k: K = 10
    page: PageText = None
    titles: bool = False
    explain: Annotated[bool, Query(description=EXPLAIN)] = False
    at_least: AtLeast = []
    list_name: ListName = ""
    surface: Annotated[Surface | None, Query(description=CONTEXT)] = None
    device: Annotated[Surface | None, Query(description=CONTEXT)] = None
    time_zone: Annotated[Surface | None, Query(description=TIME_ZONE)] = None


# Coroutines, short as they are: FastAPI asks a plain function in a thread, which takes longer than
# all else of a request.
async def _replica(request: Request) -> Replica:
    replica: Replica = request.app.state.replica
    return replica


async def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


async def _erasures(request: Request) -> Erasures:
    erasures: Erasures = request.app.state.erasures
    return erasures


async def _bundles(request: Request) -> Bundles:
    bundles: Bundles = request.app.state.bundles
    return bundles


async def _writes(request: Request) -> Writes:
    writes: Writes = request.app.state.writes
    return writes


async def _policies(request: Request) -> PolicyEditing:
    policies: PolicyEditing = request.app.state.policies
    return policies


TheReplica = Annotated[Replica, Depends(_replica)]
TheServing = Annotated[Serving, Depends(_serving)]
TheErasures = Annotated[Erasures, Depends(_erasures)]
ThePolicies = Annotated[PolicyEditing, Depends(_policies)]
TheBundles = Annotated[Bundles, Depends(_bundles)]
TheWrites = Annotated[Writes, Depends(_writes)]


def check_user(user: str) -> None:
    """Raise Problem for an id that no event can have."""
    if fault := id_fault(user):
        raise Problem(404, f"no user can have this id: {fault[1]}")


def check_types(serving: Serving, types: Sequence[str]) -> None:
    """Raise Problem for item types that the bundle in use does not know."""
    known = serving.types()
    if unknown := sorted(set(types) - set(known)):
        raise Problem(404, f"the bundle in use knows the types {known}, not {unknown}")


async def check_applied(replica: Replica, at_least: Sequence[str]) -> None:
    """Wait until the replica has applied the records at some places; raises Problem, Overloaded."""
    places = []
    for text in at_least:
        topic, partition, offset = text.rsplit("/", 2)
        if not replica.follows(topic, int(partition)):
            raise Problem(
                404,
                f"at_least waits for records of events and of users, not of {topic}/{partition}",
            )
        places.append(((topic, int(partition)), int(offset)))
    waits = (replica.applied.wait(place, offset) for place, offset in places)
    if not all(await asyncio.gather(*waits)):
        raise Problem(
            503,
            f"the records of at_least were not applied here within {replica.applied.seconds:g} s",
            headers={"Retry-After": "1"},
        )


def check_ready(replica: Replica) -> None:
    """Raise Problem while no lists can be made."""
    if not replica.ready:
        raise Problem(503, "not ready yet: see /ready", headers={"Retry-After": "1"})
