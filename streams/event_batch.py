"""Good events and records as columns, and the rules by which they are good.

The rules include what kinds of events mean (`ActionSettings`) and the normal form of ids that are
texts (`normal_ids`).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, Literal, NamedTuple, TypeVar
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from streams.records import Context


@dataclass(frozen=True, kw_only=True)
class ActionSettings:
    """Meaning of one kind of event.

    kind: name of the kind; it need not be in events.kinds too.
    sign: negative: the item leaves the user's lists, items like it are demoted (state.demotion),
        and the event is not a training example, demand, a co-interaction or a question. positive:
        takes back an earlier negative action on the item. neutral: a signal that does not take it
        back.
    weight: weight of its training examples; 0 leaves them out. Not for negative kinds.
    known: whether it makes the item known to the user, so that lists of discovery leave it out;
        default: as `graph`.
    graph: whether it builds the graph and counts as demand and as a question, in addition to the
        kinds of state.graph_kinds. A change needs a replay of the log.
    """

    kind: str
    sign: Literal["positive", "neutral", "negative"] = "positive"
    weight: float = 1.0
    known: bool | None = None
    graph: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no meaning; raises ValueError."""
        if not self.kind:
            raise ValueError("actions: kind: expected a name, got an empty one")
        if self.sign == "negative" and self.graph:
            raise ValueError(f"actions: {self.kind!r} is negative and cannot build the graph")
        if self.sign == "negative" and self.weight != 1.0:
            raise ValueError(
                f"actions: {self.kind!r} is negative and makes no training examples: it has no "
                "weight"
            )


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EventRules:
    """Which events are accepted.

    kinds:     accepted kinds of events, and those of `actions`; others are dead letters.
    actions:   meaning of kinds of events that are more than strong or weak.
    ignore:    ignored kinds: such a record is neither an event nor a dead letter.
    text_types: item types whose ids are texts, such as queries: the text is normalised
                (`normal_text` in streams.event_batch) and needs no catalogue entry.
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


def normal_text(text: str) -> str:
    """Return the form in which a text is an id; the normal form of a normal form is itself.

    Unicode NFKC, case folded, white space collapsed. A text of white space alone becomes empty,
    which is no id. What a text becomes never changes with a newer Unicode, unless it has characters
    that the older one did not know.

    >>> normal_text("  Foo\\t\u0130stanbul \uff22ar ")
    'foo i\u0307stanbul bar'
    """
    # Case folding takes some characters out of NFKC.
    return " ".join(normalize("NFKC", normalize("NFKC", text).casefold()).split())


def normal_ids(
    item_types: Sequence[str], item_ids: list[str], text_types: frozenset[str]
) -> list[str]:
    """Return ids, those of the text types in their normal form."""
    if text_types.isdisjoint(item_types):
        return item_ids
    return [
        normal_text(item_id) if item_type in text_types else item_id
        for item_type, item_id in zip(item_types, item_ids, strict=True)
    ]
