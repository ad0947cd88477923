"""What requests of the API hold, what they need of the process, and what is refused early."""

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from console.bundles import Bundles
from console.erasures import Erasures
from console.guard import may_see_people, may_write
from console.problems import Problem
from console.replica import Replica
from console.serving import Serving
from console.wire import MOST, Id, Repeats
from streams.faults import id_fault

__all__ = [
    "Excluded",
    "K",
    "ListQuery",
    "PageText",
    "People",
    "TheBundles",
    "TheErasures",
    "TheReplica",
    "TheServing",
    "Types",
    "UserId",
    "Writing",
    "check_ready",
    "check_types",
    "check_user",
]

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


TheReplica = Annotated[Replica, Depends(_replica)]
TheServing = Annotated[Serving, Depends(_serving)]
TheErasures = Annotated[Erasures, Depends(_erasures)]
TheBundles = Annotated[Bundles, Depends(_bundles)]


def check_user(user: str) -> None:
    """Raise Problem for an id that no event can have."""
    if fault := id_fault(user):
        raise Problem(404, f"no user can have this id: {fault[1]}")


def check_types(serving: Serving, types: list[Id]) -> None:
    """Raise Problem for item types that the bundle in use does not know."""
    known = serving.types()
    if unknown := sorted(set(types) - set(known)):
        raise Problem(404, f"the bundle in use knows the types {known}, not {unknown}")


def check_ready(replica: Replica) -> None:
    """Raise Problem while no lists can be made."""
    if not replica.ready:
        raise Problem(503, "not ready yet: see /ready", headers={"Retry-After": "1"})
