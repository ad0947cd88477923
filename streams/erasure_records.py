"""The records of erasures: what is asked, what is done, and the receipt."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.log_record import (
    INT64_MAX,
    Id,
    Offset,
    Source,
    Timestamp,
)


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
    or greater holds the user. It is written when the state has dropped the user; the files of the
    state hold the user's bytes a little longer, as `copies` says. held tells whether there was a
    history to erase. checkpoints are older: those that may still hold the user. user_sha256 is the
    sha256, in hex, of the key, a NUL and the user's id: only who knows the id can tell whose it is.
    count_from says of other topics of events, by topic/partition, from which offset records of the
    user count again; of those that are not named, records up to the log time of the erasure are
    erased. copies are other places that may hold something of the user for a while. Delivered at
    least once; the key tells a repeat.
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
