"""Bodies of requests and responses, as OpenAPI shows them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from console.serving import DEEPEST

__all__ = [
    "Accepted", "Bundle", "ChannelBody", "Closed", "Erasing", "Health", "HistoryEntry", "ItemBody",
    "ItemDemand", "ItemEdges", "ItemRef", "ListBody", "ListContext", "ManyLists", "Pinning",
    "Place", "PlaceText", "ReceiptBody", "RecommendedBody", "RolledBack", "Session", "Similar",
    "UserBody", "UserList", "UserLists", "Written",
]  # fmt: skip


def _as_text(value: object) -> object:
    """Write a whole number as text, as the readers of foreign topics do."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Id = Annotated[_Text, BeforeValidator(_as_text, json_schema_input_type=_Text | int)]
Repeats = Literal["exclude", "include", "only"]
MOST = 100
#: Items that a body may exclude: what the application has shown or sold to a user.
MOST_EXCLUDED = 500
PlaceText = Annotated[
    str, StringConstraints(max_length=300, pattern="^[^/]+/[0-9]{1,9}/[0-9]{1,18}$")
]
AT_LEAST = (
    "Places of records, topic/partition/offset, that the answer must include: it waits for them, "
    "and gets status 503 if that takes too long."
)


#: A surface of the owner's, such as a page; a device.
Surface = Annotated[str, StringConstraints(min_length=1, max_length=64)]
CONTEXT = "For policies: request.surface, request.device, request.hour, request.weekday."
TIME_ZONE = (
    "IANA name of the zone of request.hour and request.weekday; none: the user's attribute "
    "time_zone, or UTC."
)
EXPLAIN = "With `why`: the parts of each score, and the items of the history that are nearest."


class Closed(BaseModel):
    """A body of a request, without fields of other names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ItemRef(Closed):
    """An item by type and id: ids are unique within a type only."""

    item_type: Id
    item_id: Id


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


class HistoryEntry(BaseModel):
    """What a user had."""

    item_type: str
    item_id: str
    title: str
    time: int = Field(description="Of the latest event, ms UTC.")
    strong_time: int | None = Field(description="Of the latest strong one.")
    visits: list[int] = Field(description="Buckets with an event, counted back from the latest.")


class UserBody(BaseModel):
    """What is known of a user."""

    user_id: str
    partition: int
    position: int = Field(description="Next offset of `topic` that is not applied.")
    topic: str = Field(description="The topic of events, or of a source in place.")
    positions: dict[str, int] = Field(description="The same for every topic of events, by name.")
    attributes: dict[str, Any]
    entries: int
    history: list[HistoryEntry]


class ItemBody(BaseModel):
    """What is known of an item."""

    item_type: str
    item_id: str
    catalogue: dict[str, Any] | None
    recommendable: bool = Field(
        description="Whether lists can hold it: it is not deleted, and the bundle has its vector."
    )
    users: int = Field(description="Number of users who had it inside the window.")
    neighbours: list["NeighbourBody"]


class NeighbourBody(BaseModel):
    """An item that the same users had."""

    item_type: str
    item_id: str
    title: str | None
    users: int


class MarketDemand(BaseModel):
    """Events of an item from one market."""

    market: int | None = Field(description="Its number; 0: no country is known; null: all others.")
    countries: list[str] = Field(description="Countries in it that users are known to be from.")
    events: list[int] = Field(description="By bucket.")


class ItemDemand(BaseModel):
    """Demand for an item by bucket of the window, oldest first."""

    item_type: str
    item_id: str
    bucket_ms: int
    starts: list[int] = Field(description="Of each bucket, ms UTC.")
    events: list[int] = Field(description="In each bucket, of all markets.")
    markets: list[MarketDemand] = Field(description="Those with the most events first.")


class EdgeBody(BaseModel):
    """An edge to a neighbour, and where its weight comes from."""

    item_type: str
    item_id: str
    title: str | None
    users: int = Field(description="Users of both items inside the window.")
    by_bucket: list[int] = Field(description="The same users, by the bucket that counts them.")


class ItemEdges(BaseModel):
    """Edges of an item by bucket of the window, oldest first."""

    item_type: str
    item_id: str
    bucket_ms: int
    starts: list[int] = Field(description="Of each bucket, ms UTC.")
    neighbours: list[EdgeBody]


class Place(BaseModel):
    """The place of a record in the log."""

    topic: str
    partition: int
    offset: int


class RowError(BaseModel):
    """A record that workers would refuse."""

    index: int = Field(description="Of the record in the body, from 0.")
    reason: str = Field(description="As in a dead letter.")
    detail: str


class Accepted(BaseModel):
    """Records that the log has, and those that were refused."""

    accepted: int = Field(description="Records that are in the log.")
    ignored: int = Field(description="Events of an ignored kind; they are not written.")
    rejected: int = Field(description="Records that were refused.")
    errors: list[RowError]
    positions: list[Place] = Field(description="The last record in each partition.")
    at_least: list[str] = Field(
        description="The same, for `at_least` of a list that must include the records."
    )


class Erasing(BaseModel):
    """The records of an erasure. It is done when there is a receipt."""

    events: Place
    users: Place
    receipt: str = Field(description="Path of the receipt.")


class ReceiptBody(BaseModel):
    """The receipt of an erasure."""

    applied_here: bool = Field(
        description="Whether the user is removed from this console's own states."
    )
    done: bool = Field(description="Whether a worker has written the receipt.")
    held: bool | None = Field(default=None, description="Whether there was a history.")
    position: int | None = Field(
        default=None, description="No state at this offset or later holds the user."
    )
    user_sha256: str | None = None
    checkpoints: list[dict[str, Any]] = []
    count_from: dict[str, int] = Field(
        default={},
        description="topic/partition of a source -> offset from which the user counts again.",
    )
    copies: list[dict[str, Any]] = Field(
        default=[], description="Other places that may hold data of the user, with days."
    )


class Bundle(BaseModel):
    """A dynamic bundle in the artifact store."""

    name: str
    generation: int | None
    created_at: int | None = None
    static: str | None = None
    types: list[str] = []
    metrics: dict[str, Any] = {}
    bytes: int = 0
    channel: str = Field(default="default", description="Whose trainer made it.")
    served_on: list[str] = Field(default=[], description="Channels on which it is served here.")
    pinned_on: list[str] = Field(default=[], description="Channels on which it is pinned.")
    problem: str | None = None


class ArmBody(BaseModel):
    """A part of the users."""

    name: str
    share: float = Field(description="Current share of all users.")


class ChannelBody(BaseModel):
    """What a channel serves, and to which users."""

    channel: str
    arms: list[ArmBody] = Field(description="None: all users have the default channel.")
    served: str | None = Field(description="Name of the bundle.")
    generation: int | None
    lacks_bundle: bool = Field(
        description="It has no bundle that can be served, and serves that of the default channel."
    )
    pinned: str | None = Field(description="Name of the pinned bundle.")
    newest: str | None = Field(description="Newest bundle of the channel's trainer.")
    before: str | None = Field(description="Target of a rollback, if it is complete.")


class Pinning(Closed):
    """The bundle to pin."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern="^[a-z0-9_-]+$")]


class Written(BaseModel):
    """The record that was written; readers of the topic follow it."""

    record: Place


class RolledBack(Written):
    """The result of a rollback."""

    instead_of: str = Field(description="The bundle that was served.")
    pinned: str = Field(description="The one before it.")


class Health(BaseModel):
    """Whether this console can answer."""

    ready: bool
    caught_up: bool
    lag: int = Field(description="Records of the log at the start that are not applied yet.")
    generation: int | None
