"""Bodies of requests for lists and of lists, as OpenAPI shows them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from console.serving import DEEPEST
from console.wire import AT_LEAST, Closed, Id, ItemRef, PlaceText

__all__ = [
    "ListBody",
    "ListContext",
    "ManyLists",
    "RecommendedBody",
    "Session",
    "Similar",
    "UserList",
    "UserLists",
]


Repeats = Literal["exclude", "include", "only"]


MOST = 100


#: Items that a body may exclude: what the application has shown or sold to a user.
MOST_EXCLUDED = 500


#: A surface of the owner's, such as a page; a device.
Surface = Annotated[str, StringConstraints(min_length=1, max_length=64)]


CONTEXT = "For policies: request.surface, request.device, request.hour, request.weekday."


TIME_ZONE = (
    "IANA name of the zone of request.hour and request.weekday; none: the user's attribute "
    "time_zone, or UTC."
)


EXPLAIN = "With `why`: the parts of each score, and the items of the history that are nearest."


class Seen(ItemRef):
    """An item of a session."""

    timestamp: int | None = Field(
        default=None, ge=0, le=2**53 - 1, description="When, in ms UTC; none: now."
    )
    strong: bool = Field(default=True, description="True for a strong event, such as a stream.")


class ListContext(Closed):
    """Where a list is shown."""

    surface: Surface | None = None
    device: Surface | None = None
    time_zone: Surface | None = Field(default=None, description=TIME_ZONE)


class _ListWanted(Closed):
    """What a list should be like."""

    types: list[Id] = Field(default=[], max_length=20, description="None: all.")
    exclude: list[ItemRef] = Field(
        default=[], max_length=MOST_EXCLUDED, description="Items to leave out."
    )
    repeats: Repeats = "exclude"
    k: int = Field(default=10, ge=1, le=MOST)
    titles: bool = False
    explain: bool = Field(default=False, description=EXPLAIN)
    list_name: str = Field(
        default="", alias="list", max_length=256,
        description="Name of the list whose policy applies; none: that of *.",
    )  # fmt: skip
    context: ListContext | None = Field(default=None, description=CONTEXT)


class Session(_ListWanted):
    """Items of a session without a user id, newest first, and the wanted list."""

    items: list[Seen] = Field(max_length=MOST)
    country: str = Field(default="", max_length=64)
    birth_year: int = Field(default=0, ge=0, le=9999)
    page: str | None = Field(
        default=None, max_length=400, description="`next_page` of the page before."
    )
    attributes: dict[str, bool | int | float | str | list[str] | None] = Field(
        default={}, max_length=256, description="For policies: user.NAME."
    )


class UserList(_ListWanted):
    """A user, and the wanted list."""

    user: Id
    page: str | None = Field(
        default=None, max_length=400, description="`next_page` of the page before."
    )
    at_least: list[PlaceText] = Field(default=[], max_length=20, description=AT_LEAST)


class UserLists(_ListWanted):
    """Users, and the wanted list of each."""

    users: list[Id] = Field(min_length=1, max_length=MOST)
    at_least: list[PlaceText] = Field(default=[], max_length=20, description=AT_LEAST)


class NearBody(BaseModel):
    """An item of the history that is close to a recommended one."""

    item_type: str
    item_id: str
    cosine: float = Field(description="Of the vectors of both, at most 1.")


class RuleBody(BaseModel):
    """A rule of the list's policy that applies to an item."""

    rule: str = Field(
        description="Its place in the policy: boost[0], bury[1], fresh, slots[0], explore."
    )
    when: str = Field(description="Its condition; of `fresh`, the attribute; empty for a slot.")
    adds: float = Field(description="To the score. A slot gives the place and adds nothing.")
    propensity: float | None = Field(
        default=None, description="Of `explore`: the probability that the item has this place."
    )


class FilteredBody(BaseModel):
    """What the filter of the list's policy leaves."""

    items: int = Field(description="Items of the list's types.")
    left: int = Field(description="Items of these types that pass the filter.")


class WhyBody(BaseModel):
    """The reasons for an item's place."""

    parts: dict[str, float] = Field(
        description="Parts of the score by name; they sum to it. docs/scores.md"
    )
    rules: list[RuleBody] = Field(default=[], description="Rules that apply to the item.")
    new: bool = Field(description="The item had no events when the model was made.")
    nearest: list[NearBody]


class RecommendedBody(BaseModel):
    """A place in a list."""

    item_type: str
    item_id: str
    score: float = Field(description="Greater is better; comparable within one list.")
    title: str | None = None
    why: WhyBody | None = Field(default=None, description="With `explain`.")


class ListBody(BaseModel):
    """A part of a list, best first."""

    generation: int = Field(description="Generation of the bundle that made it.")
    items: list[RecommendedBody]
    filtered: FilteredBody | None = Field(
        default=None, description="With `explain`, if the list's policy has a filter."
    )
    next_page: str | None = Field(
        default=None, description=f"For `page`; none at the end, after {DEEPEST} places at most."
    )
    continued: bool = Field(
        default=True,
        description="False: the user or the model changed since the page before; items may repeat.",
    )
    cold: bool | None = Field(
        default=None, description="Whether the model knows no item of the history."
    )
    partition: int | None = Field(default=None, description="Partition of the user's events.")
    position: int | None = Field(
        default=None,
        description="Every event of the partition below this offset of `topic` is in the list.",
    )
    topic: str | None = Field(
        default=None, description="Topic of `position`: of the events, or of a source in place."
    )
    positions: dict[str, int] = Field(
        default={}, description="The same for every topic of events, by name."
    )


class ListOfUser(ListBody):
    """A user's list."""

    user_id: str


class ManyLists(BaseModel):
    """A list for each user, in the order of the request."""

    lists: list[ListOfUser]


class Similar(BaseModel):
    """Items close to an item or a text, nearest first; scores are cosines."""

    generation: int
    items: list[RecommendedBody]
