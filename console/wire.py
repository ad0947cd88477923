"""Bodies of requests and responses, as OpenAPI shows them."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

__all__ = [
    "Accepted",
    "Bundle",
    "ChannelBody",
    "Closed",
    "Erasing",
    "Health",
    "HistoryEntry",
    "ItemBody",
    "ItemDemand",
    "ItemEdges",
    "ItemRef",
    "Pinning",
    "Place",
    "PlaceText",
    "ReceiptBody",
    "RolledBack",
    "UserBody",
    "Written",
]


def _as_text(value: object) -> object:
    """Write a whole number as text, as the readers of foreign topics do."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Id = Annotated[_Text, BeforeValidator(_as_text, json_schema_input_type=_Text | int)]
PlaceText = Annotated[
    str, StringConstraints(max_length=300, pattern="^[^/]+/[0-9]{1,9}/[0-9]{1,18}$")
]
AT_LEAST = (
    "Places of records, topic/partition/offset, that the answer must include: it waits for them, "
    "and gets status 503 if that takes too long."
)


class Closed(BaseModel):
    """A body of a request, without fields of other names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ItemRef(Closed):
    """An item by type and id: ids are unique within a type only."""

    item_type: Id
    item_id: Id


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
