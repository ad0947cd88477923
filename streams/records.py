"""The records on the wire: one struct for each, JSON in UTF-8, times in ms UTC.

Readers ignore fields that they do not know, so that writers may add some. Each record says by
`key` which key it travels under: the key decides the partition, and on compacted topics it is
what a newer record replaces.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from streams.erasure_records import ErasedUser, EraseUser, Receipt
from streams.log_record import (
    DEFAULT_CHANNEL,
    INT64_MAX,
    Id,
    ItemTypeName,
    Name,
    Offset,
    Source,
    Timestamp,
)
from streams.recommendation_records import Recommendation

#: Maximum number of items in one record of impressions.
MAX_SHOWN = 1_000


class Context(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Where a list is shown: a surface, such as a page, a device, and a time zone (IANA).

    Policies can use it. It is not stored.
    """

    surface: Annotated[str, Meta(max_length=64)] | None = None
    device: Annotated[str, Meta(max_length=64)] | None = None
    time_zone: Annotated[str, Meta(max_length=64)] | None = None


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user did something with an item. Key: user_id. A null value erases the user.

    context: of the lists that are written because of the event.
    """

    user_id: Id
    item_id: Id
    item_type: ItemTypeName
    kind: Id
    timestamp: Timestamp
    context: Context | None = None

    @property
    def key(self) -> bytes:
        """The user, so that one partition sees all of a user's events in order."""
        return self.user_id.encode()


AttributeValue = bool | int | float | str | list[str] | None
"""Text, a number, a boolean, a list of text, or a time: text in ISO 8601, or ms UTC."""
Attributes = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=64)],
        AttributeValue,
    ],
    Meta(max_length=256, description="At most 256 values by name; see docs/policies.md."),
]


class ShownItem(Struct, frozen=True, kw_only=True):
    """An item that was shown, at a place of a list; 1 is the first."""

    item_id: Id
    item_type: ItemTypeName
    position: Annotated[int, Meta(ge=1, le=100_000)]


class Impression(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Items were shown to a user. Key: user_id.

    list_id names the list that was shown: as in the settings, and behind it, after a slash, an
    optional id of the request. Click-through is counted by the name of the list.
    """

    user_id: Id
    items: Annotated[list[ShownItem], Meta(min_length=1, max_length=MAX_SHOWN)]
    timestamp: Timestamp
    list_id: Annotated[str, Meta(max_length=256)] | None = None

    @property
    def key(self) -> bytes:
        """The user, so that it lies in the same partition number as the user's events."""
        return self.user_id.encode()


class AssumedImpression(Impression, frozen=True, kw_only=True, omit_defaults=True):
    """An impression, perhaps one that a worker assumes because it wrote the list.

    made_at: then the offset of the topic of events to which the worker had read, in the partition
    of the same number; an erasure that lies there or later covers the record. None of one that was
    seen.
    """

    made_at: Annotated[int, Meta(ge=0, le=INT64_MAX)] | None = None


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of the catalogue. Key: item_type, NUL, item_id. A null value or deleted removes it.

    published_at is in ms UTC and negative before 1970; genres and language are plain names.
    attributes are the owner's own, for policies.
    """

    item_id: Id
    item_type: ItemTypeName
    title: str | None = None
    description: str | None = None
    language: str | None = None
    genres: list[str] | None = None
    published_at: Annotated[int, Meta(ge=-INT64_MAX, le=INT64_MAX)] | None = None
    attributes: Attributes | None = None
    deleted: bool = False

    @property
    def key(self) -> bytes:
        """Type and id, for ids are unique within a type only."""
        return f"{self.item_type}\0{self.item_id}".encode()


class User(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known about a user besides events. Key: user_id. A null value or deleted removes it.

    attributes are values by name, for example {"plan": "premium"}, for policies.
    """

    user_id: Id
    country: Annotated[str, Meta(max_length=64)] | None = None
    birth_year: Annotated[int, Meta(ge=1, le=9999)] | None = None
    attributes: Attributes | None = None
    deleted: bool = False

    @property
    def key(self) -> bytes:
        """The user, so that it lies in the same partition number as the user's events."""
        return self.user_id.encode()


class Request(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Asks for a user's recommendations now. Key: user_id. No lists means all configured ones."""

    user_id: Id
    lists: list[str] | None = None
    request_id: str | None = None
    context: Context | None = None

    @property
    def key(self) -> bytes:
        """The user, so that it reaches the worker that holds the user's history."""
        return self.user_id.encode()


class ModelAnnouncement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A bundle is ready to be served. Key: kind, so that compaction keeps the one in use.

    url is the artifact store and name the artefact in it; generations of one kind only grow.
    kind pinned names a dynamic bundle that is served whatever the trainer publishes; a null value
    under its key ends that. The key of a channel other than the default one is kind/channel; static
    bundles are of all channels.
    """

    kind: Literal["static", "dynamic", "pinned"]
    name: str
    url: str
    generation: Offset
    created_at: Timestamp
    metrics: dict[str, float]
    channel: Name = DEFAULT_CHANNEL

    @property
    def key(self) -> bytes:
        """The kind of bundle, and the channel if that is not the default one."""
        return announcement_key(self.kind, self.channel)


def announcement_key(kind: str, channel: str = DEFAULT_CHANNEL) -> bytes:
    """Return the key under which bundles of a kind are announced to a channel.

    >>> announcement_key("dynamic"), announcement_key("dynamic", "next")
    (b'dynamic', b'dynamic/next')
    """
    return (kind if channel == DEFAULT_CHANNEL else f"{kind}/{channel}").encode()


class LeavingBundles(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trainer is about to prune bundles. Key: leaving, as of announcements, on the models topic.

    names are of dynamic bundles that no channel had pinned; one that is pinned later is lost. A
    null value under the key ends it.
    """

    names: list[str]
    created_at: Timestamp
    channel: Name = DEFAULT_CHANNEL

    @property
    def key(self) -> bytes:
        """`leaving`, and the trainer's channel if that is not the default one."""
        return announcement_key("leaving", self.channel)


class ArmShare(Struct, frozen=True, kw_only=True):
    """The share of users that a canary arm has now. Key: share/arm, on the models topic.

    share is of all users; salt that of the experiment: shares of another one say nothing. A stopped
    arm has no users until a person restarts it. Evidence counts from bundles whose generation is
    greater than after_generation. reasons say why the share is what it is.
    """

    arm: Name
    salt: str
    share: Annotated[float, Meta(ge=0, le=1)]
    state: Literal["growing", "stopped"]
    started_at: Timestamp
    changed_at: Timestamp
    after_generation: Offset
    reasons: list[str]

    @property
    def key(self) -> bytes:
        """The arm, so that compaction keeps the share in force."""
        return f"share/{self.arm}".encode()


class Reason(StrEnum):
    """Why a record could not be applied; failed: no lists could be made for its user."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_LIST = "unknown_list"
    BAD_ID = "bad_id"
    MISSING_KEY = "missing_key"
    KEY_MISMATCH = "key_mismatch"
    FUTURE = "future"
    BEFORE_EPOCH = "before_epoch"
    TOO_OLD = "too_old"
    FAILED = "failed"


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A record that could not be applied, and why. Key: its place, topic/partition/offset.

    payload is the start of the value: text, or base64 where encoding says so; payload_bytes is
    the full length of the value before it was cut.
    """

    reason: Reason
    detail: str
    source: Source
    payload: str
    encoding: Literal["utf-8", "base64"]
    payload_bytes: Offset

    @property
    def key(self) -> bytes:
        """The place of the refused record: the same letter written twice has the same key."""
        return self.source.place


class ListPolicy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rules of a list, or of every list without its own (*). Key: list, a slash, the version.

    Of the versions of one list the greatest is in force; one without rules ends the policy. Each
    version has a key of its own, so that compaction keeps them all. rules: docs/policies.md.
    """

    list: Annotated[str, Meta(min_length=1, max_length=256)]
    version: Annotated[int, Meta(ge=1, le=99_999_999)]
    author: Annotated[str, Meta(max_length=256)]
    created_at: Timestamp
    rules: dict[str, Any]
    comment: Annotated[str, Meta(max_length=4_000)] = ""

    @property
    def key(self) -> bytes:
        """The list and the version, which sort as they are written."""
        return f"{self.list}/{self.version:08d}".encode()


WireRecord = (
    Event
    | Impression
    | Item
    | User
    | Request
    | Recommendation
    | ModelAnnouncement
    | LeavingBundles
    | ArmShare
    | DeadLetter
    | EraseUser
    | ErasedUser
    | Receipt
    | ListPolicy
)
WIRE_RECORDS: tuple[type[Any], ...] = (
    Event,
    Impression,
    Item,
    User,
    Request,
    Recommendation,
    ModelAnnouncement,
    LeavingBundles,
    ArmShare,
    DeadLetter,
    EraseUser,
    ErasedUser,
    Receipt,
    ListPolicy,
)
