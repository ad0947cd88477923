"""The records on the wire: one struct for each, JSON in UTF-8, times in ms UTC.

Readers ignore fields that they do not know, so that writers may add some. Each record says by
`key` which key it travels under: the key decides the partition, and on compacted topics it is
what a newer record replaces.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from msgspec import Meta, Struct

MAX_ID_BYTES = 256
INT64_MAX = 2**63 - 1
#: Maximum number of items in one record of impressions.
MAX_SHOWN = 1_000

Id = Annotated[
    str, Meta(min_length=1, max_length=MAX_ID_BYTES, description="At most 256 bytes, no NUL.")
]
Timestamp = Annotated[int, Meta(ge=0, le=INT64_MAX, description="Milliseconds since 1970, UTC.")]
Offset = Annotated[int, Meta(ge=0, le=INT64_MAX)]
#: Names of arms and channels: they stand in keys, metrics' labels and names of files.
NAME_PATTERN = "^[a-z0-9][a-z0-9_-]{0,31}$"
Name = Annotated[
    str,
    Meta(pattern=NAME_PATTERN, description="At most 32 of a-z, 0-9, _ and -, not - or _ first."),
]
#: The channel of bundles that everybody is served from who is in no experiment.
DEFAULT_CHANNEL = "default"
ItemTypeName = Id


CREATE_TIME = 0
"""Kafka's type of a record's time that its producer has set, not the broker."""


class LogRecord(Protocol):
    """A record as a log hands it out; aiokafka's ConsumerRecord and our Record are both one.

    timestamp is the log's own (ms UTC), negative where it has none; key and value are None when
    absent. timestamp_type is CREATE_TIME where a producer has set the timestamp.
    """

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def timestamp_type(self) -> int | None: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


class Record(NamedTuple):
    """A record of the embedded log, with the fields of LogRecord."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def timestamp_type(self) -> int:
        """LogAppendTime: the embedded log's own clock has set the timestamp."""
        return 1


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


class Source(Struct, frozen=True, kw_only=True):
    """The place of a record in the log."""

    topic: str
    partition: Offset
    offset: Offset

    @property
    def place(self) -> bytes:
        """As a key: topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}".encode()


class NearItem(Struct, frozen=True, kw_only=True):
    """An item of the user's history that is near to a recommended one; cosine of their vectors."""

    item_id: str
    item_type: str
    cosine: float


class AppliedRule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule of the list's policy that applies to an item, and what it adds to the score.

    rule: its place in the policy, as boost[0]; when: its condition; of `fresh`, the attribute.
    propensity: of `explore`, how likely it was that the item has this place.
    """

    rule: str
    when: str
    adds: float
    propensity: float | None = None


class Reasons(Struct, frozen=True, kw_only=True):
    """The reasons for an item's place.

    parts: what adds to the score, by name; they sum to it. new: the item had no events when the
    bundle was made. nearest: items of the history, nearest first.
    """

    parts: dict[str, float]
    rules: list[AppliedRule]
    new: bool
    nearest: list[NearItem]


class FilteredItems(Struct, frozen=True, kw_only=True):
    """How many items of a list's types there are, and how many its policy's filter leaves."""

    items: int
    left: int


class ExploredPlace(Struct, frozen=True, kw_only=True):
    """A place of a list that exploration decided about; 1 is the first.

    new: whether it put a new item there. propensity: how likely this item was, or that there is
    none.
    """

    position: int
    new: bool
    propensity: float


class RecommendedItem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place in a list; a greater score is better, scores of one list are comparable.

    why: where the list's settings ask for it (`explain`).
    """

    item_id: Id
    item_type: ItemTypeName
    score: float
    why: Reasons | None = None


class Recommendation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's list, best item first. Key: user_id. A null value withdraws all of a user's lists.

    Delivered at least once: (source, generation, list) is the key for de-duplication. source and
    event_timestamp are those of the record that caused it and absent where none did. arm is the
    user's in the experiment, absent where there is none. by_head says whether the bundle's ranking
    head ranked the list; records of versions that did not say it lack it. filtered: beside the
    reasons of items, where the list's policy has a filter. explored: where the list's policy
    explores, what off-policy evaluation needs to know.
    """

    user_id: Id
    list: str
    items: Sequence[RecommendedItem]
    generation: int
    created_at: Timestamp
    source: Source | None = None
    event_timestamp: Timestamp | None = None
    arm: Name | None = None
    by_head: bool | None = None
    filtered: FilteredItems | None = None
    explored: Sequence[ExploredPlace] = ()

    @property
    def key(self) -> bytes:
        """The user, so that a user's lists stay in order."""
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


class EraseUser(Struct, frozen=True, kw_only=True):
    """Erases a user, in every topic of events. Key: user_id. On the events topic.

    count_from: topic/partition -> the offset from which records of the user count again; records
    below it are erased, whenever they are read. Topics that are not named are erased up to the log
    time of this record. A null value under the user's key erases in the same way and names none.
    topic_ids: topic -> id, of the topics that are named: offsets are of these topics, and of none
    that has the same name later.
    """

    user_id: Id
    erase: Literal[True]
    count_from: dict[str, Offset]
    topic_ids: dict[str, str] = {}

    @property
    def key(self) -> bytes:
        """The user, so that it lies in the partition of the user's events."""
        return self.user_id.encode()


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


class ErasurePlace(Struct, frozen=True, kw_only=True):
    """One erasure of a user: its place, the log's time of it, and what `EraseUser` names.

    topic_ids has the topic of source too.
    """

    source: Source
    logged_at: Annotated[int, Meta(ge=-1, le=INT64_MAX)]
    count_from: dict[str, Offset]
    topic_ids: dict[str, str] = {}


class ErasedUser(Struct, frozen=True, kw_only=True):
    """A user was erased, without the name. Key: user_sha256. On a compacted topic.

    Every reader of events has this before it reads them, and passes over what was erased.
    user_sha256 is the sha256 of the user's id, in hex: only who knows the id can tell whose it is.
    erasures: all that are known of the user, so that the newest record says everything.
    """

    user_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    erasures: Sequence[ErasurePlace]

    @property
    def key(self) -> bytes:
        """The user's hash, so that compaction keeps what is known of the user."""
        return self.user_sha256.encode()


class HoldingCheckpoint(Struct, frozen=True, kw_only=True):
    """A checkpoint made before an erasure. It is pruned by the time given if a worker runs."""

    name: str
    pruned_by: Timestamp


class HoldingCopy(Struct, frozen=True, kw_only=True):
    """A place beside the state that may still hold something of an erased user.

    days: how long after the erasure at most; absent where nothing of ours removes it by time.
    docs/erasure.md says of each place what it holds.
    """

    place: str
    days: Annotated[float, Meta(ge=0)] | None = None


class Receipt(Struct, frozen=True, kw_only=True):
    """A user was erased. Key: the place of the erasure, topic/partition/offset.

    source is the record that asked for it; no state whose position in that partition is `position`
    or greater holds the user. held tells whether there was a history to erase. checkpoints are
    older: those that may still hold the user. user_sha256 is the sha256, in hex, of the key, a NUL
    and the user's id: only who knows the id can tell whose it is. count_from says of other topics
    of events, by topic/partition, from which offset records of the user count again; of those that
    are not named, records up to the log time of the erasure are erased. copies are other places
    that may hold something of the user for a while. Delivered at least once; the key tells a
    repeat.
    """

    user_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    source: Source
    position: Offset
    held: bool
    checkpoints: Sequence[HoldingCheckpoint]
    created_at: Timestamp
    count_from: dict[str, Offset] = {}
    copies: Sequence[HoldingCopy] = []

    @property
    def key(self) -> bytes:
        """The place of the erasure: the same receipt written twice has the same key."""
        return self.source.place


def user_sha256(source: Source, user_id: str) -> str:
    """Return what a receipt calls its user, 64 hex digits.

    The place of the erasure is in it, so two receipts of one user do not show that they are.
    """
    return hashlib.sha256(source.place + b"\0" + user_id.encode()).hexdigest()


WireRecord = (
    Event
    | Impression
    | Item
    | User
    | Request
    | Recommendation
    | ModelAnnouncement
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
    ArmShare,
    DeadLetter,
    EraseUser,
    ErasedUser,
    Receipt,
    ListPolicy,
)
