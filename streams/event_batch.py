"""Good events and records as columns, and the rules by which they are good."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.actions import ActionSettings
from streams.records import Context

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EventRules:
    """Which events are accepted.

    kinds:     accepted kinds of events, and those of `actions`; others are dead letters.
    actions:   meaning of kinds of events that are more than strong or weak.
    ignore:    ignored kinds: such a record is neither an event nor a dead letter.
    text_types: item types whose ids are texts, such as queries: the text is normalised
                (streams.text_ids) and needs no catalogue entry.
    future_ms: maximum time of an event after the record's log timestamp, in milliseconds (clocks of
               devices run ahead); compared with the log, so that a replay decides in the same way.
    jump_ms:   maximum time of an event after the latest one of its partition, in milliseconds, on
               topics with producer timestamps (CreateTime) and for events ahead of the system
               clock; a later event would move the window and drop its content.
    max_bytes: maximum length of an event's value in bytes.
    """

    kinds: tuple[str, ...] = ("stream", "follow", "preview", "intent")
    actions: tuple[ActionSettings, ...] = ()
    ignore: tuple[str, ...] = ()
    text_types: tuple[str, ...] = ()
    future_ms: int = 3_600_000
    jump_ms: int = 86_400_000
    max_bytes: int = 65_536

    def __post_init__(self) -> None:
        """Accept the kinds of actions; refuse a kind that is both wanted and ignored."""
        # A frozen value is completed here as __init__ would.
        object.__setattr__(
            self, "kinds", tuple(dict.fromkeys([*self.kinds, *(a.kind for a in self.actions)]))
        )
        if reserved := sorted(kind for kind in self.kinds if kind.startswith("segue:")):
            raise ValueError(f"kinds: names that begin with segue: are Segue's own, not {reserved}")
        if both := sorted(set(self.kinds) & set(self.ignore)):
            raise ValueError(f"ignore: {', '.join(both)} is also one of kinds")


class Erasure(NamedTuple):
    """A user is to be erased; see `streams.erasure_records.EraseUser`.

    logged_at: when the log took the record, ms UTC. count_from: topic/partition -> offset.
    topic_ids: topic -> id.
    """

    offset: int
    user_id: str
    logged_at: int
    count_from: Mapping[str, int] = MappingProxyType({})
    topic_ids: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, eq=False)
class EventBatch:
    """Good events as columns of equal length n, in the order of the records.

    user_id, item_type, item_id, kind: n strings, in lists or as `streams.text_columns`;
    timestamp: int64[n], ms UTC;
    offset: int64[n], the place in the partition of each event.
    position: of impressions, int64[n], the place in the list; None for events.
    list_code: of impressions, int64[n], `list_code` of the list; None for events.
    context: of events that have one, by offset.
    erasures: the records that erase a user, in order: a user's key with a null value, or an
    `EraseUser`.
    ignored: number of records whose kind is one that is passed over.
    """

    user_id: Sequence[str]
    item_type: Sequence[str]
    item_id: Sequence[str]
    kind: Sequence[str]
    timestamp: NDArray[np.int64]
    offset: NDArray[np.int64]
    position: NDArray[np.int64] | None = None
    list_code: NDArray[np.int64] | None = None
    context: Mapping[int, Context] = field(default_factory=dict)
    erasures: list[Erasure] = field(default_factory=list)
    ignored: int = 0

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.user_id)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordBatch(Generic[T]):
    """Good records in the order of the log: records, a list of n; offset, int64[n].

    An item or user that was deleted, by a null value or by its own field, has deleted set.
    """

    records: list[T]
    offset: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)


def without_rows(batch: EventBatch, rows: Container[int]) -> EventBatch:
    """Return the events but for some rows; erasures stay."""
    keep = [row for row in range(len(batch)) if row not in rows]
    return EventBatch(
        user_id=[batch.user_id[row] for row in keep],
        item_type=[batch.item_type[row] for row in keep],
        item_id=[batch.item_id[row] for row in keep],
        kind=[batch.kind[row] for row in keep],
        timestamp=batch.timestamp[keep],
        offset=batch.offset[keep],
        position=None if batch.position is None else batch.position[keep],
        list_code=None if batch.list_code is None else batch.list_code[keep],
        context=batch.context,
        erasures=batch.erasures,
        ignored=batch.ignored,
    )
